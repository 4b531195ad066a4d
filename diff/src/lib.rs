//! From staged objects and the live cluster to a plan.
