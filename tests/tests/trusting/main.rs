//! Whom the agent believes: the whole agent with signers, approvals, rewritten refs and the word of other instances.

#![allow(missing_docs, clippy::unwrap_used)]

mod approving;
mod calling;
mod components;
mod incidents;
mod promoting;
mod states;
