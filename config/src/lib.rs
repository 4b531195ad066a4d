//! What a person tells the agent: its own file, the signers file and the platform file.
