//! What each feature level of the ensemble adds, for people.

/// The levels after the first one, ascending, and what each adds.
const ADDED: &[(u32, &str)] = &[
    #[cfg(gometa_next_level)]
    (2, "the request append; records of keys that name the level at which they were written"),
];

/// What a feature level adds to the one before it; `None` if it is the first one, or not known to this program.
#[must_use]
pub fn added_by(level: u32) -> Option<&'static str> {
    ADDED.iter().find(|(added, _)| *added == level).map(|(_, what)| *what)
}
