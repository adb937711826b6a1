//! Reports of `gometa-server -inspect=DIR -inspect-format=json`. Fields that are not needed here are ignored.

use std::{fmt, fs::File, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    input::{read_all, without_byte_order_mark},
    output::Failure,
};

/// What a data directory contains. What cannot be read in it is `None`.
#[derive(Deserialize, Debug)]
pub(crate) struct Report {
    /// The file of the report, as it was named.
    #[serde(skip)]
    pub(crate) file: String,
    pub(crate) directory: String,
    pub(crate) identity: Option<Identity>,
    pub(crate) ensemble: Option<Ensemble>,
    /// The configuration in force. Earlier versions of gometa-server do not report it.
    pub(crate) configuration: Option<Configuration>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) log: Option<Log>,
    pub(crate) state: Option<State>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) sound: bool,
}

/// Ids are hexadecimal.
#[derive(Deserialize, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) node: String,
    pub(crate) incarnation: String,
}

/// The genesis.
#[derive(Deserialize, Debug)]
pub(crate) struct Ensemble {
    pub(crate) id: String,
    pub(crate) history: u64,
    pub(crate) sealed: bool,
    voters: Vec<Member>,
}

#[derive(Deserialize, Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) voters: Vec<Member>,
    pub(crate) learners: Vec<Member>,
}

#[derive(Deserialize, Clone, Debug)]
pub(crate) struct Member {
    pub(crate) node: String,
    /// `None` for a voter that was absent at the founding: it does not vote.
    pub(crate) incarnation: Option<String>,
    pub(crate) request_address: String,
}

#[derive(Deserialize, Debug)]
pub(crate) struct HardState {
    pub(crate) accepted_epoch: u64,
    pub(crate) current_epoch: u64,
}

#[derive(Deserialize, Debug)]
pub(crate) struct Log {
    pub(crate) end: Option<Position>,
    released: Option<u64>,
}

#[derive(Deserialize, Debug)]
pub(crate) struct State {
    applied: Option<u64>,
}

#[derive(Deserialize, Debug)]
pub(crate) struct Damage {
    pub(crate) file: String,
    pub(crate) what: String,
    pub(crate) repaired: bool,
}

/// A zxid.
#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    #[serde(rename(serialize = "revision"))]
    pub(crate) counter: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.epoch, self.counter)
    }
}

impl Member {
    /// Whether the member is this data directory.
    pub(crate) fn is(&self, identity: &Identity) -> bool {
        self.node == identity.node && self.incarnation.as_ref() == Some(&identity.incarnation)
    }
}

impl Report {
    /// The configuration in force on the directory: without one in the report, that of the founding.
    pub(crate) fn members(&self) -> Option<Configuration> {
        let founding = || {
            let ensemble = self.ensemble.as_ref()?;
            Some(Configuration { voters: ensemble.voters.clone(), learners: Vec::new() })
        };
        self.configuration.clone().or_else(founding)
    }

    /// The counter through which the directory knows entries to be committed.
    pub(crate) fn committed(&self) -> u64 {
        let released = self.log.as_ref().and_then(|log| log.released);
        let applied = self.state.as_ref().and_then(|state| state.applied);
        released.max(applied).unwrap_or(0)
    }

    /// Why the directory cannot be used: the first damage that the node does not repair.
    pub(crate) fn damaged(&self) -> Option<String> {
        if self.sound {
            return None;
        }
        let damage = self.damage.iter().find(|damage| !damage.repaired);
        Some(
            damage
                .map_or("damaged".to_owned(), |Damage { file, what, .. }| format!("damaged: {file}: {what}")),
        )
    }
}

/// Reads a report.
///
/// # Errors
/// The file cannot be read, or is no report.
pub(crate) fn read(path: &Path) -> Result<Report, Failure> {
    let file = path.display().to_string();
    let bytes = File::open(path).and_then(read_all);
    let bytes = bytes.map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
    let parsed = serde_json::from_slice::<Report>(without_byte_order_mark(&bytes));
    let report = parsed.map_err(|error| {
        let what = if error.is_data() { "no report of gometa-server -inspect" } else { "no JSON" };
        Failure::usage(format!(
            "{file} is {what}: {error}; write it with: gometa-server -inspect=DIR -inspect-format=json > FILE"
        ))
    })?;
    Ok(Report { file, ..report })
}
