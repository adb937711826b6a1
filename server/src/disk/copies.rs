//! Whether other nodes have what this one has: then a damaged directory is emptied and filled again by them; otherwise it is
//! kept, and the start is refused.
//!
//! The members change while the node runs, and neither log nor state can be trusted to name them when they are damaged. So a
//! small file of its own says whether there are other voters: those have every acknowledged write. Until it is written, the
//! genesis counts.

use std::{path::Path, sync::atomic::Ordering};

use gometa_zab::{Founding, Voter};
use tracing::warn;

use super::{
    DiskError, Snapshots,
    directory::Directory,
    sealed::{field, read_sealed, write_sealed},
};

/// The name of the file.
pub(super) const VOTERS: &str = "VOTERS";

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Voters {
    /// The id of the ensemble.
    pub(super) ensemble: u128,
    /// Whether it has other voters.
    pub(super) others: bool,
}

/// Whether another node has what this directory has. `has_peers`: the configuration lists other nodes.
pub(super) fn is_copied(directory: &Directory, founding: Option<&Founding>, has_peers: bool) -> bool {
    recorded(directory.path()).map_or_else(
        || {
            let other = |voter: &Voter| voter.node != directory.node;
            founding.map_or(has_peers, |founding| founding.genesis.voters.iter().any(other))
        },
        |voters| voters.others,
    )
}

/// The content of the file; `None` if it is missing or damaged.
pub(super) fn recorded(dir: &Path) -> Option<Voters> {
    let body = read_sealed(dir, VOTERS).ok()?;
    let ensemble = u128::from_str_radix(field(&body, "ensemble")?, 16).ok()?;
    let others = match field(&body, "others")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    Some(Voters { ensemble, others })
}

/// The text of the file.
pub(super) fn text(Voters { ensemble, others }: Voters) -> String {
    format!("ensemble {ensemble:032x}\nothers {}\n", if others { "yes" } else { "no" })
}

impl Snapshots {
    /// Sets whether the ensemble has other voters. [`record_voters`](Self::record_voters) must follow.
    pub(crate) fn set_other_voters(&self, ensemble: u128, others: bool) {
        self.directory.set_voters(Voters { ensemble, others });
    }

    /// Records what was set last, for later starts. Waits for the disk.
    pub(crate) fn record_voters(&self) {
        self.directory.record_voters();
    }
}

impl Directory {
    /// Records durably that no other node has what this directory has.
    pub(super) fn record_alone(&self, ensemble: u128) -> Result<(), DiskError> {
        write_sealed(self.path(), VOTERS, &text(Voters { ensemble, others: false }))
    }

    fn set_voters(&self, voters: Voters) {
        self.copied.store(voters.others, Ordering::Relaxed);
        *self.voters.lock() = Some(voters);
    }

    fn record_voters(&self) {
        let _recording = self.recording.lock();
        let Some(voters) = *self.voters.lock() else { return };
        if recorded(self.path()) == Some(voters) {
            return;
        }
        if let Err(error) = write_sealed(self.path(), VOTERS, &text(voters)) {
            warn!(%error, "members not recorded beside the log");
        }
    }
}

#[cfg(test)]
mod tests {
    use gometa_zab::{Addresses, EnsembleId, Genesis, NodeId};

    use super::*;

    #[test]
    fn the_recorded_voters_count_and_before_them_those_of_the_genesis() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let me = NodeId(1);
        let directory = Directory::open(&path, me, 0).unwrap();
        let founded_by = |nodes: &[u64]| {
            let voter = |node: &u64| Voter {
                node: NodeId(*node),
                incarnation: None,
                addresses: Addresses::default(),
            };
            let ensemble = EnsembleId { id: 1, history: 1 };
            Founding {
                genesis: Genesis {
                    ensemble,
                    voters: nodes.iter().map(voter).collect(),
                    level: gometa_zab::FIRST_LEVEL,
                },
                sealed: true,
            }
        };
        for (founders, has_peers, expected) in [
            (None, true, true),
            (None, false, false),
            (Some(founded_by(&[1])), true, false),
            (Some(founded_by(&[2])), false, true),
            (Some(founded_by(&[1, 2, 3])), false, true),
        ] {
            assert_eq!(is_copied(&directory, founders.as_ref(), has_peers), expected, "{founders:?}");
        }
        // Of three, two were removed; then another one joined.
        for others in [false, true] {
            directory.set_voters(Voters { ensemble: 1, others });
            directory.record_voters();
            assert_eq!(recorded(&path), Some(Voters { ensemble: 1, others }));
            assert_eq!(is_copied(&directory, Some(&founded_by(&[1, 2, 3])), true), others);
            assert_eq!(is_copied(&directory, Some(&founded_by(&[1])), false), others);
        }
        std::fs::write(path.join(VOTERS), "ensemble 1\nothers no\nchecksum 0\n").unwrap();
        assert!(is_copied(&directory, Some(&founded_by(&[1, 2, 3])), true), "a damaged file counts as none");
    }
}
