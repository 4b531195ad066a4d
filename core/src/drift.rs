//! What a component asks for where others write to its objects.

/// What happens when a field of ours was taken, or an object of ours is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriftMode {
    /// It is put back.
    #[default]
    Repair,
    /// It is told, and nothing is written.
    Report,
    /// Nothing.
    Ignore,
}

/// What happens when a field that we want for the first time belongs to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Conflicts {
    /// The plan is denied, and says who owns what.
    #[default]
    Report,
    /// It is taken.
    Force,
    /// It is left to them.
    Yield,
}
