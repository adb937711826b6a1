//! 27. **Recovery**: an ensemble is founded anew on the survivor that has every entry which was committed and which a compared
//!     survivor has. All of that survivor's log stays; in the new history it is committed, its sessions have ended, and every
//!     invariant holds as in one that has just been formed. A node that was left behind serves nobody, and takes part in
//!     nothing of the new history.
//!
//! Each history has an oracle of its own. That of a later history begins with the log of the survivor, so it knows nothing of
//! entries, epochs and answers that were lost; nodes that were left behind are judged by the earlier one.

use std::ops::Deref;

use gometa_zab::{HardState, Incarnation, Message, Role};

use super::{
    Check, Oracle, ensure,
    handovers::Handovers,
    quarantines::Quarantines,
    replies::{Replies, Unanswered},
    serving::Serving,
    sessions::Sessions,
    state::State,
};
use crate::disk::Image;

const NAME: &str = "27 recovery";

/// The oracles of all histories. What is asked without a node is answered by that of the latest one.
pub struct Oracles {
    /// Ascending by history.
    all: Vec<Oracle>,
    /// The history that each node's directory belongs to, or is to belong to.
    of: Vec<usize>,
}

impl Deref for Oracles {
    type Target = Oracle;

    fn deref(&self) -> &Oracle {
        &self.all[self.all.len() - 1]
    }
}

impl Oracles {
    /// The oracle of the first history, for `nodes` nodes, the first `founders` of which found an ensemble.
    pub fn new(nodes: usize, founders: usize) -> Oracles {
        Oracles { all: vec![Oracle::new(nodes, founders)], of: vec![0; nodes] }
    }

    /// The oracle of a node's history.
    pub fn of(&mut self, node: usize) -> &mut Oracle {
        &mut self.all[self.of[node]]
    }

    /// The same.
    pub fn at(&self, node: usize) -> &Oracle {
        &self.all[self.of[node]]
    }

    /// The number of times that the ensemble was founded anew.
    pub fn recoveries(&self) -> usize {
        self.all.len() - 1
    }

    /// Whether a node has the data of an earlier history.
    pub fn is_left_behind(&self, node: usize) -> bool {
        self.of[node] < self.recoveries()
    }

    /// A node's directory was replaced by one with this incarnation: it belongs to the latest history.
    pub fn wiped(&mut self, node: usize, incarnation: Incarnation) {
        self.of[node] = self.recoveries();
        self.of(node).wiped(node, incarnation);
    }

    /// A request that should have been answered long ago.
    pub fn unanswered(&self, now: u64, deadline_default_ms: u32) -> Option<Unanswered> {
        self.all.iter().find_map(|oracle| oracle.unanswered(now, deadline_default_ms))
    }

    /// A survivor is chosen to found the ensemble anew; these were compared, with what their disks hold.
    pub fn chooses(&self, chosen: (usize, &Image), compared: &[(usize, Image)]) -> Check {
        let (node, image) = chosen;
        for (other, theirs) in compared {
            let last = self.protocol.last_committed_in(theirs);
            ensure!(
                image.contains(last),
                NAME,
                "n{node} is founded anew with a log that ends at {}; n{other} has {last}, which was committed",
                image.last()
            );
        }
        Ok(())
    }

    /// A node has founded the ensemble anew, and its disk holds this; before, it had `old` entries and this hard state.
    pub fn refounds(&mut self, node: usize, image: &Image, old: usize, before: HardState) -> Check {
        let after = image.hard_state;
        ensure!(
            after.accepted_epoch > before.accepted_epoch && after.current_epoch == after.accepted_epoch,
            NAME,
            "n{node} is founded anew with {after:?}, before it had {before:?}"
        );
        let end = image.last();
        ensure!(
            image.log[old..].iter().all(|entry| entry.zxid.epoch == after.current_epoch),
            NAME,
            "n{node} is founded anew in epoch {}, its log ends at {end}",
            after.current_epoch
        );
        let nodes = self.of.len();
        let state = State::of_log(&image.log)?;
        let open: Vec<u64> = state.model().sessions.keys().copied().collect();
        ensure!(open.is_empty(), NAME, "n{node} is founded anew, and the sessions {open:?} stay open");
        let oracle = Oracle {
            protocol: self.protocol.refounded(nodes, node, image, old)?,
            serving: Serving::new(nodes),
            state,
            replies: Replies::shown(end.counter),
            sessions: Sessions::default(),
            quarantines: Quarantines::default(),
            handovers: Handovers::default(),
        };
        self.all.push(oracle);
        self.of[node] = self.recoveries();
        Ok(())
    }

    /// A node takes a role.
    pub fn is_fit_for(&self, node: usize, role: Role) -> Check {
        let serves = matches!(
            role,
            Role::Leading { established: Some(_) } | Role::Following { established: Some(_), .. }
        );
        ensure!(
            !(serves && self.is_left_behind(node)),
            NAME,
            "n{node}, which was left behind with an earlier history, is {role:?}"
        );
        Ok(())
    }

    /// A node sends a message on a connection to a process of a peer.
    pub fn keeps_apart(&self, node: usize, peer: usize, message: &Message) -> Check {
        let introduces = matches!(message, Message::Hello(_) | Message::Refuse(_) | Message::Duplicate(_));
        ensure!(
            introduces || self.of[node] == self.of[peer],
            NAME,
            "n{node} and n{peer} have different histories, and one sends {message:?} to the other"
        );
        Ok(())
    }
}

impl Oracle {
    /// The voters of the latest committed configuration that have their directories, and the number of all.
    pub fn present_voters(&self) -> (Vec<usize>, usize) {
        self.protocol.present_voters()
    }

    /// Whether these nodes, with their present directories, can elect a leader: by any configuration that ever was, or by
    /// the latest committed one and those above it.
    pub fn can_elect(&self, nodes: &[usize], by_any: bool) -> bool {
        self.protocol.can_elect(nodes, by_any)
    }

    /// The record of a key, as (value, revision), after all that is committed.
    pub fn record(&self, key: &[u8]) -> Option<(bytes::Bytes, u64)> {
        let record = self.state.model().key_at(key, u64::MAX)?;
        Some((record.value.clone(), record.mod_revision))
    }
}
