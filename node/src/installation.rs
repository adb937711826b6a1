//! The installation of a snapshot, and the configuration that a state records.

use gometa_store::{Corrupt, Store, Table};
use gometa_zab::{Configuration, Token, Zxid};

/// The configuration that a state records; `None` if the genesis is in force in it.
///
/// # Errors
/// [`Corrupt`] if the record contains none, or one of an entry that the state has not applied.
pub fn configuration_of<T: Table>(store: &Store<T>) -> Result<Option<Configuration>, Corrupt> {
    let Some(record) = store.configuration() else { return Ok(None) };
    match Configuration::decode(record) {
        Some(configuration) if configuration.version().counter <= store.applied() => Ok(Some(configuration)),
        Some(_) => Err(Corrupt::new("its configuration is of a later log entry than the last applied one")),
        None => Err(Corrupt::new("the record of its configuration cannot be decoded")),
    }
}

/// An installation that storage has not completed.
#[derive(Debug)]
pub(crate) struct Installing {
    pub(crate) token: Token,
    pub(crate) at: Zxid,
    /// Whether the table was exchanged.
    pub(crate) exchanged: bool,
}
