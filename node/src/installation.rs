//! The installation of a snapshot.

use gometa_zab::{Token, Zxid};

/// An installation that storage has not completed.
#[derive(Debug)]
pub(crate) struct Installing {
    pub(crate) token: Token,
    pub(crate) at: Zxid,
    /// Whether the table was exchanged.
    pub(crate) exchanged: bool,
}
