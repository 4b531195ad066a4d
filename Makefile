# What can be done with this repository. `make help` lists it.

TK8S_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tk8s-agent
export TK8S_CACHE
export CARGO_TARGET_DIR ?= $(TK8S_CACHE)/target

FUZZ_TARGETS = yaml kustomization tree object known_hosts allowed_signers krl ssh_signature openpgp cms

.PHONY: help build programs demo demo-fleet cluster test bench image lint fuzz mutants

help: ## list what can be done
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

programs:
	@scripts/prerequisites.sh
	@mkdir -p bin
	@tests/cluster/build.sh > bin/programs.new && mv bin/programs.new bin/programs
	@scripts/renderers.sh > bin/renderers.new && mv bin/renderers.new bin/renderers

build: programs ## put tk8s-agent and the cluster's programs under bin/
	cargo build --workspace
	@for program in $$(cat bin/programs)/* $$(cat bin/renderers)/*; do ln -sf $$program bin/; done
	@ln -sf $(CARGO_TARGET_DIR)/debug/tk8s-agent bin/tk8s-agent
	@ln -sf $$(cat bin/renderers)/* $(CARGO_TARGET_DIR)/debug/

demo: build ## watch the agent do its main job on a real control plane (KEEP=1 leaves it running, KUBECONFIG=... uses that cluster)
	@TK8S_AGENT_BIN=$(CARGO_TARGET_DIR)/debug/tk8s-agent TK8S_ASSETS=$$(cat bin/programs) tests/demo.sh

demo-fleet: build ## watch one repository serve three clusters, from staging to one of production after the other (2 GB of memory; KEEP=1)
	@TK8S_AGENT_BIN=$(CARGO_TARGET_DIR)/debug/tk8s-agent TK8S_ASSETS=$$(cat bin/programs) tests/fleet.sh

cluster: build ## start a control plane with a simulated node until interrupted; writes bin/kubeconfig
	@TK8S_ASSETS=$$(cat bin/programs) tests/cluster/run.sh bin/kubeconfig

test: build ## run every test
	TK8S_ASSETS=$$(cat bin/programs) TK8S_RENDERERS=$$(cat bin/renderers) cargo test --workspace

bench: programs ## measure the agent beside a bare client and git (OBJECTS=10000, PAIRS=5, JSON=file, PART=rollbacks): see docs/performance.md
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)-release cargo build --workspace --release --bin tk8s-agent --bin bench
	@TK8S_ASSETS=$$(cat bin/programs) $(CARGO_TARGET_DIR)-release/release/bench \
		$(if $(OBJECTS),--objects $(OBJECTS)) $(if $(PAIRS),--pairs $(PAIRS)) $(if $(JSON),--json $(JSON)) $(if $(PART),--part $(PART))

image: programs ## build the image without a daemon, and measure it as root (OUT=bin/image, PLATFORM=linux/arm64, IMAGE_NAME=...): see docs/image.md
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)-release install/image/build.sh $(or $(OUT),bin/image) $(PLATFORM)
	@[ -n "$(PLATFORM)" ] || TK8S_ASSETS=$$(cat bin/programs) install/image/measure.sh $(or $(OUT),bin/image)

lint: ## what a change must pass besides the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cd install/image && test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet ./...
	scripts/writes.sh
	scripts/deny.sh

fuzz: ## look for inputs that break a reader (SECONDS=60 for each, TARGETS="yaml tree"); needs a nightly compiler and cargo-fuzz
	@for target in $(or $(TARGETS),$(FUZZ_TARGETS)); do \
		mkdir -p fuzz/corpus/$$target && \
		cargo +nightly fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(or $(SECONDS),60) -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 || exit 1; \
	done

mutants: ## take out each part of the verification by itself, which a test has to notice (SHARD=1/8); needs cargo-mutants, and hours
	cargo mutants --package tk8s-gitsync $(if $(SHARD),--shard $(SHARD)) -- --lib --test verifying --test signatures
