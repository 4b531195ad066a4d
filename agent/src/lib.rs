//! The process: wiring, triggers, the pipeline, HTTP API and CLI.
