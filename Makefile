# What can be done with this repository. `make help` lists it.

TK8S_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tk8s-agent
export TK8S_CACHE
export CARGO_TARGET_DIR ?= $(TK8S_CACHE)/target

.PHONY: help test lint

help: ## list what can be done
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

test: ## run every test
	scripts/prerequisites.sh
	cargo test --workspace

lint: ## what a change must pass besides the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	scripts/deny.sh
