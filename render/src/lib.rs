//! From a verified tree to Kubernetes objects.
