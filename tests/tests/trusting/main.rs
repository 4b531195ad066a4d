//! Whom the agent believes: the whole agent with signers, approvals and what becomes of both.

#![allow(missing_docs, clippy::unwrap_used)]

mod approving;
mod states;
