//! 22. **Quarantine**: a leader tells a node to go into quarantine only while a majority of the voters is connected and up
//!     to date without that node, if its state hash differs only when a majority of the voters has another one, and no
//!     other node before the first is back. What the node goes for is true, which
//!     `ensemble/integrity` checks.

use std::collections::BTreeMap;

use gometa_zab::{Epoch, Fault, LinkId, Message};

use super::{Check, ensure};

const NAME: &str = "22 quarantine";

/// The orders of all leaders.
#[derive(Default)]
pub(super) struct Quarantines {
    /// The followers that a leader has brought up to date, by leader and connection; with the leadership, and whether the
    /// follower was counted then.
    serving: BTreeMap<(usize, LinkId), (Epoch, usize, bool)>,
    /// The state hash of each node at each counter at which it has ended a batch, and whether it was counted then. It may
    /// have lost its directory since, and its leader may not know of that yet.
    hashes: BTreeMap<(usize, u64), (u128, bool)>,
    /// The last order of each leader, while the node is not back.
    ordered: BTreeMap<usize, Order>,
}

struct Order {
    epoch: Epoch,
    peer: usize,
    gone: bool,
}

impl Quarantines {
    /// A node sends a message on a connection to a peer.
    pub(super) fn sends(
        &mut self,
        (node, link, peer): (usize, LinkId, usize),
        message: &Message,
        is_counted: impl Fn(usize) -> bool,
        quorum: usize,
    ) -> Check {
        match message {
            Message::UpToDate { epoch, .. } => {
                self.serving.insert((node, link), (*epoch, peer, is_counted(peer)));
                self.ordered.retain(|leader, order| *leader != node || order.peer != peer);
            }
            // It has connected again without having gone.
            Message::FollowerEpoch { .. } => {
                self.ordered.retain(|leader, order| *leader != peer || order.peer != node || order.gone);
            }
            Message::Quarantine { epoch, fault } => {
                let followers = self.serving.iter().filter(|((leader, _), (in_epoch, other, counted))| {
                    *leader == node && in_epoch == epoch && *other != peer && (*counted || is_counted(*other))
                });
                let count = usize::from(is_counted(node)) + followers.count();
                ensure!(
                    count >= quorum,
                    NAME,
                    "n{node} tells n{peer} to go ({fault:?}) with {count} voters up to date"
                );
                if let Fault::Diverged(majority) = fault {
                    let has_hash = |((node, counter), (hash, counted)): (&(usize, u64), &(u128, bool))| {
                        *counter == majority.counter
                            && *hash == majority.hash
                            && (*counted || is_counted(*node))
                    };
                    let count = self.hashes.iter().filter(|item| has_hash(*item)).count();
                    ensure!(count >= quorum, NAME, "n{node} tells n{peer} to go ({fault:?}), {count} agree");
                }
                let before = self.ordered.insert(node, Order { epoch: *epoch, peer, gone: false });
                if let Some(before) = before {
                    // The same node again: on a connection whose other end is gone, and which the leader still has.
                    ensure!(
                        before.epoch != *epoch || before.peer == peer,
                        NAME,
                        "n{node} tells n{peer} to go ({fault:?}) before n{} is back",
                        before.peer
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A node, which is counted or not, ends a batch.
    pub(super) fn ends_batch(&mut self, node: usize, applied: u64, hash: u128, counted: bool) {
        let before = self.hashes.get(&(node, applied)).is_some_and(|before| *before == (hash, true));
        self.hashes.insert((node, applied), (hash, counted || before));
    }

    /// A node closes a connection, or learns that it is closed.
    pub(super) fn closes(&mut self, node: usize, link: LinkId) {
        self.serving.remove(&(node, link));
    }

    /// A node's process starts.
    pub(super) fn starts(&mut self, node: usize) {
        self.serving.retain(|(leader, _), _| *leader != node);
        self.ordered.remove(&node);
    }

    /// A node goes into quarantine.
    pub(super) fn goes(&mut self, node: usize) {
        self.ordered.values_mut().filter(|order| order.peer == node).for_each(|order| order.gone = true);
    }
}
