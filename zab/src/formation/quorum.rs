//! Formation with a quorum of the configured voters, on nodes that are configured so (protocol.md 5.7).
//!
//! A genesis that records all configured voters is *full*; one that records a quorum of them, its *participants*, is not: the
//! others are absent, are listed without an incarnation, and count in no quorum. The *author* of a genesis is the recorded
//! voter with the lowest id, which coordinates it. It alone seals it first, when all participants have prepared it; it never
//! goes on with a genesis of an earlier start.
//!
//! At most one genesis is sealed:
//!
//! - Two that are not full have a participant in common, which prepares one of them only: it replaces such a genesis by a
//!   later one of the same author, or by any other if it is the author itself, and so gives its own up.
//! - A full one needs every voter. It replaces any unsealed genesis, and is replaced by full ones only. The author of
//!   another genesis that prepares it gives its own up.

use alloc::vec::Vec;

use super::{Contact, Forming, Stage};
use crate::{
    effect::Notice,
    message::{Genesis, Hello, Reason, Voter},
    quorum,
    state::Core,
    types::NodeId,
};

/// The time for which a quorum waits for the other voters before it founds the ensemble without them, in election timeouts.
const ABSENCE_TIMEOUT: u64 = 5;

impl Genesis {
    /// The recorded voter that coordinates it.
    pub(super) fn author(&self) -> Option<NodeId> {
        self.recorded().next().map(|voter| voter.node)
    }

    /// Whether it records all configured voters.
    pub(super) fn is_full(&self) -> bool {
        self.recorded().count() == self.voters.len()
    }

    /// Whether it records a quorum of its voters.
    pub(super) fn has_quorum(&self) -> bool {
        let quorum = quorum::is_quorum(self.recorded().count(), self.voters.len());
        planted!(quorum, founds_without_quorum => true)
    }

    /// The voters with a recorded incarnation, ascending by id.
    fn recorded(&self) -> impl Iterator<Item = &Voter> {
        self.voters.iter().filter(|voter| voter.incarnation.is_some())
    }
}

impl Contact {
    /// Whether the other end takes part in founding without all voters, as far as this node knows.
    fn participates(&self, core: &Core) -> bool {
        let hello = self.ready.and_then(|link| core.links.get(&link)).and_then(|link| link.hello.as_ref());
        hello.is_some_and(|hello| self.declined != Some((hello.incarnation, hello.boot)))
    }

    /// The node has greeted.
    pub(super) fn greeted(&mut self, hello: &Hello) {
        self.is_founded = hello.ensemble.is_some();
    }
}

impl Forming {
    /// The other voters that may take part in founding an ensemble with a quorum: those with lower ids, and those with
    /// higher ones, which take part if this node founds it.
    pub(super) fn participants(&self, core: &Core) -> (Vec<NodeId>, Vec<NodeId>) {
        let voters = core.configuration().voters().iter().map(|voter| voter.node);
        let participates = |node: &NodeId| self.contacts.get(node).is_some_and(|it| it.participates(core));
        voters.filter(participates).partition(|node| *node < core.me())
    }

    /// Whether this node is to found an ensemble with a quorum now: it has the lowest id of a quorum that is connected, the
    /// others have not appeared for a while, and no node belongs to an ensemble, or may have belonged to one. Connected
    /// nodes with lower ids have their turns first; they may reach fewer nodes, or found with all voters only.
    pub(super) fn is_quorum_due(&mut self, core: &Core) -> bool {
        if !core.config.founds_with_quorum || core.config.never_founds {
            return false;
        }
        let (lower, participants) = self.participants(core);
        let voters = core.configuration().voters();
        let is_quorum = quorum::is_quorum(participants.len() + 1, voters.len());
        let ready = planted!(is_quorum, founds_without_quorum => true)
            && voters.iter().any(|voter| voter.node == core.me())
            && !self.contacts.values().any(|contact| contact.is_founded);
        if !ready {
            self.quorum_since = None;
            return false;
        }
        let since = *self.quorum_since.get_or_insert(core.now);
        let own_held =
            self.held.as_ref().is_none_or(|held| !held.is_full() && held.author() == Some(core.me()));
        let turns = lower.len() as u64 + 1;
        probe!("formation.not-the-lowest", turns > 1);
        core.now.since(since) >= core.config.timeouts.election * ABSENCE_TIMEOUT * turns
            && planted!(own_held, replaces_genesis_of_other_author => true)
    }

    /// Whether this node may prepare a genesis in place of the one that it has prepared, or is preparing.
    pub(super) fn may_replace(&self, core: &Core, genesis: &Genesis) -> bool {
        let Some(held) = &self.held else { return true };
        let permitted = if genesis.is_full() {
            probe!("formation.full-replaces-quorum", !held.is_full());
            true
        } else {
            let by_author = held.author() == genesis.author() || held.author() == Some(core.me());
            !held.is_full() && by_author
        };
        probe!("formation.replacement-refused", !permitted);
        planted!(permitted, replaces_genesis_of_other_author => true)
    }

    /// Notes why a voter refuses this node.
    pub(super) fn refused(&mut self, core: &Core, node: NodeId, reason: Reason) {
        let Some(contact) = self.contacts.get_mut(&node) else { return };
        match reason {
            Reason::FoundsWithAll => {
                probe!("formation.declined");
                let links = core.links.values().filter_map(|link| link.hello.as_ref());
                let hello = links.into_iter().find(|hello| hello.node == node);
                contact.declined = hello.map(|hello| (hello.incarnation, hello.boot));
            }
            // It belongs to an ensemble, or may have.
            Reason::NeverFounds | Reason::NotAMember | Reason::OtherEnsemble => contact.is_founded = true,
            Reason::NotLeading
            | Reason::SnapshotNeeded
            | Reason::NoCommonPoint
            | Reason::WrongNode
            | Reason::Configuration
            | Reason::Version
            | Reason::Level
            | Reason::TooSoon => {}
        }
    }

    /// Reports the voters that a genesis of this node leaves out.
    pub(super) fn report_absent(core: &mut Core, genesis: &Genesis) {
        let absent = genesis.voters.iter().filter(|voter| voter.incarnation.is_none());
        let absent: Vec<NodeId> = absent.map(|voter| voter.node).collect();
        if !absent.is_empty() {
            probe!("formation.with-quorum");
            core.notice(Notice::FoundsWithQuorum(absent));
        }
    }

    /// Whether all participants of this node's genesis have prepared it.
    pub(super) fn is_prepared(&self, core: &Core) -> bool {
        let Stage::Preparing { genesis, prepared, .. } = &self.stage else { return false };
        genesis.recorded().all(|voter| voter.node == core.me() || prepared.contains(&voter.node))
    }
}
