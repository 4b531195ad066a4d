//! Whose field is it: who owns which fields of an object, and what follows from that for us.
//!
//! Flow: [`Managed`] reads an object's `managedFields` into [`FieldSet`]s; the table in `rules` is the table that says
//! what a field of somebody else is to us; `give_way` leaves out of a body what is left to others, before
//! it is sent; `overridden` reads from an answer what a forced apply takes from whom. All of it is
//! pure: nothing here asks or writes.

mod fields;
mod managers;
mod rules;

pub use fields::{FieldSet, Path, display};
pub(crate) use fields::{is_at, take_out, value_at};
pub use managers::{Entry, Foreign, Managed, Ownership};
pub use rules::altered;
pub(crate) use rules::{At, give_way, intruders, lost, overridden};
pub use rules::{FieldRules, IgnoreRule, ObjectRules, Override, Whose};
pub use tk8s_core::{Conflicts, DriftMode};
