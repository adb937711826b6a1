//! What is known of a run from above, state by state: the simulator's own checks of the protocol, and reads.

use std::collections::BTreeMap;

use gometa_zab::{Effect, LinkId, Notice};

use super::{
    links,
    node::{Node, NodeStep, Outcome},
    snapshot::applied,
};
use crate::{
    checkers::{Check, Protocol, Violation, ensure},
    disk::Disk,
};

/// The part of a state that no node knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Ghost {
    protocol: Protocol,
    /// The highest counter that a node has ever applied: a client may have received answers for all entries through it.
    applied: u64,
    /// Reads in flight: at which counter each must read at least.
    reads: BTreeMap<u64, u64>,
}

impl Ghost {
    pub(super) fn new(nodes: usize, founders: usize) -> Ghost {
        Ghost { protocol: Protocol::new(nodes, founders), applied: 0, reads: BTreeMap::new() }
    }

    /// After an outcome of a node that was `before`.
    pub(super) fn after(&self, before: &Node, outcome: &Outcome) -> Result<Ghost, crate::Violation> {
        let mut ghost = self.clone();
        let node = before.index();
        let mut disk = before.disk.fork();
        for step in &outcome.steps {
            match step {
                NodeStep::Synced => {
                    disk.sync_one();
                    ghost.protocol.hardened(node, &disk.durable)?;
                }
                NodeStep::Crashed { kept } => {
                    disk.crash_keeping(*kept);
                    // Requests to a node that crashes get no answer.
                    ghost.reads.retain(|id, _| reader(*id) != node);
                }
                NodeStep::Started => {
                    recover(node, &mut disk)?;
                    ghost.protocol.hardened(node, &disk.durable)?;
                }
                NodeStep::Wiped(incarnation) => ghost.protocol.wiped(node, *incarnation),
                NodeStep::Asked { id } => {
                    ghost.reads.insert(*id, ghost.applied);
                }
                NodeStep::Received(snapshot) => disk.receive(snapshot.clone()),
                NodeStep::Effect(effect) => ghost.did(node, &mut disk, effect)?,
            }
        }
        match &outcome.violation {
            Some(violation) => Err(violation.clone()),
            None => Ok(ghost),
        }
    }

    fn did(&mut self, node: usize, disk: &mut Disk, effect: &Effect) -> Check {
        match effect {
            Effect::Write { token, write } => {
                self.protocol.issues(node, disk, write)?;
                disk.issue(*token, write.clone(), 0);
                Ok(())
            }
            Effect::Commit { counter } => {
                self.protocol.applies(node, disk, *counter)?;
                disk.store_at_once(&applied(*counter));
                self.applied = self.applied.max(*counter);
                Ok(())
            }
            Effect::Read { from, to, .. } => {
                let durable = disk.durable.last().counter;
                ensure!(
                    *from > 0 && from <= to && *to <= durable,
                    "12 log contiguity",
                    "n{node} reads {from}..={to} of {durable} durable entries"
                );
                Ok(())
            }
            Effect::Datagram { vote, .. } => self.protocol.votes(node, disk, vote),
            Effect::Send { link: LinkId(link), message } => {
                let link = *link as u8;
                let peer = links::node_at(link, 1 - links::side_of(link, node));
                self.protocol.sends(node, Some(peer), disk, message)
            }
            Effect::Notice(Notice::Discovered { epoch, last }) => {
                self.protocol.discovered(node, *epoch, *last, disk)
            }
            Effect::Notice(Notice::Established { epoch, last }) => {
                self.protocol.established_by(node, *epoch, *last)
            }
            Effect::DiscardSnapshot => {
                disk.discard();
                Ok(())
            }
            Effect::BarrierPassed { id, commit } => {
                let due = self.reads.remove(id).unwrap_or(0);
                ensure!(
                    *commit >= due,
                    "18 linearizability",
                    "n{node} reads at {commit}, but {due} was acknowledged before it was asked"
                );
                Ok(())
            }
            Effect::BarrierFailed { id } => {
                self.reads.remove(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What a start finds; the disks here break no promise, so it finds it whole.
fn recover(node: usize, disk: &mut Disk) -> Check {
    match disk.recover() {
        Ok(_) => Ok(()),
        Err(refused) => {
            let detail = format!("n{node} cannot start: {refused:?}");
            Err(Violation { invariant: "a node must not stop", detail })
        }
    }
}

/// A read's number, from who is asked and how many are left to ask.
pub(super) fn read_id(node: usize, left: u8) -> u8 {
    left * 4 + node as u8
}

fn reader(id: u64) -> usize {
    (id % 4) as usize
}
