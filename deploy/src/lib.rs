//! From an approved plan to a settled cluster.
