//! Snapshots on their way between two processes.

use std::{collections::BTreeMap, rc::Rc};

use gometa_zab::LinkId;

use crate::disk::Snapshot;

/// The transfers of one process.
#[derive(Debug, Default)]
pub struct Transfers {
    /// The snapshot that is sent on each connection.
    pub(crate) sending: BTreeMap<LinkId, u64>,
    /// The last snapshot that was made.
    pub(crate) made: Option<u64>,
    pub(crate) receiving: Option<Receiving>,
    /// The last snapshot that was complete, and the connection on which it was reported.
    pub(crate) complete: Option<(u64, LinkId)>,
    /// The connection on which a snapshot was reported that the node has neither installed nor discarded. While it is open,
    /// no other is received.
    pub(crate) ready: Option<LinkId>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiving {
    pub(crate) id: u64,
    pub(crate) link: LinkId,
    pub(crate) parts: u64,
    pub(crate) have: u64,
}

impl Receiving {
    pub(crate) fn is_complete(&self) -> bool {
        self.have == self.parts
    }
}

/// A snapshot that was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) parts: u64,
    pub(crate) snapshot: Rc<Snapshot>,
}
