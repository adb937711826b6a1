//! Rule 20: a node that says that it serves has applied what it must. On a follower that is everything through the
//! commit index of the UpToDate that it was sent, on a leader its initial history. What it shows to clients as its
//! role is no more than that.

use std::collections::BTreeMap;

use gometa_proto::v1;
use gometa_zab::{Epoch, Message, Role};

use super::{Check, ensure, leaders::Leadership};
use crate::disk::Disk;

const SERVING: &str = "rule 20, applied before serving";

/// What each node must have applied, and whether it serves.
pub(super) struct Serving {
    /// The lowest commit index of an UpToDate that a node was sent in an epoch; which of several has reached it is
    /// not known here.
    from: BTreeMap<(usize, u64), u64>,
    serves: Vec<bool>,
    /// Has served once since its process started.
    served: Vec<bool>,
}

impl Serving {
    pub(super) fn new(nodes: usize) -> Serving {
        Serving { from: BTreeMap::new(), serves: vec![false; nodes], served: vec![false; nodes] }
    }

    pub(super) fn starts(&mut self, node: usize) {
        self.serves[node] = false;
        self.served[node] = false;
    }

    /// Whether a node has served since its process started: what it holds is no older than that.
    pub(super) fn has_served(&self, node: usize) -> bool {
        self.served[node]
    }

    pub(super) fn sends(&mut self, peer: Option<usize>, message: &Message) {
        if let (Some(peer), Message::UpToDate { epoch, commit }) = (peer, message) {
            let from = self.from.entry((peer, epoch.0)).or_insert(*commit);
            *from = (*from).min(*commit);
        }
    }

    /// A node takes a role; `leadership` is that of an epoch.
    pub(super) fn plays<'a>(
        &mut self,
        node: usize,
        role: Role,
        disk: &Disk,
        leadership: impl Fn(Epoch) -> Option<&'a Leadership>,
    ) -> Check {
        let (epoch, from) = match role {
            Role::Leading { established: Some(epoch) } => {
                let known = leadership(epoch).filter(|known| known.established);
                (epoch, known.map(|known| known.initial.counter))
            }
            Role::Following { established: Some(epoch), .. } => {
                (epoch, self.from.get(&(node, epoch.0)).copied())
            }
            Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => {
                self.serves[node] = false;
                return Ok(());
            }
        };
        let applied = disk.applied();
        ensure!(
            from.is_some_and(|from| applied >= from),
            SERVING,
            "n{node} serves in epoch {epoch} and has applied {applied}, it must have applied {from:?}"
        );
        self.serves[node] = true;
        self.served[node] = true;
        Ok(())
    }

    /// What a node shows to its clients.
    pub(super) fn shows(&self, node: usize, view: &v1::View) -> Check {
        let serves = matches!(view.role(), v1::Role::Leading | v1::Role::Following | v1::Role::Learning);
        ensure!(
            self.serves[node] || !serves,
            SERVING,
            "n{node} does not serve, and shows {:?} to its clients",
            view.role()
        );
        Ok(())
    }
}
