//! The `tk8s-agent` program: an in-cluster GitOps agent, and the commands that people use with it.

#![allow(unreachable_pub, reason = "a program has no callers: `pub` marks what a module offers to the others")]

mod anchor;
mod api;
mod causes;
mod cli;
mod client;
mod clock;
mod colour;
mod disk;
mod doctor;
mod endpoint;
mod engine;
mod error;
mod hooks;
mod identity;
mod install;
mod lease;
mod materials;
mod memory;
mod metrics;
mod pipeline;
mod plain_yaml;
mod promotion;
mod recorded;
mod reload;
mod report;
mod rights;
mod rules;
mod run;
mod source;
mod telemetry;
mod triggers;
mod trust;

use clap::Parser as _;

/// One arena that gives back what is freed: with one for each thread, each would keep the most that it ever needed. How it is
/// set up stands in `.cargo/config.toml`, and what that gained in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // A child of the launcher: it gives up its rights while it is one thread, and becomes another program.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == tk8s_render::launcher::child::WORD) {
        return tk8s_render::launcher::child::main(words);
    }
    cli::main(cli::Arguments::parse())
}
