//! From objects to the same objects with every image judged.
