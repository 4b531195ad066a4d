//! The ledger, the blobs and their view.
