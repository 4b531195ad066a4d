//! From a Git remote to a verified, read-only tree.
