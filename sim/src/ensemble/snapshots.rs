//! The transfer of snapshots between two nodes, as their servers do it: a checkpoint, a manifest, parts with credits, the
//! verification at the end. What a part contains is not simulated, only whether it arrived whole; the content is handed
//! over when all parts have.
//!
//! A transfer is lost with its connection, and goes on over the next one if the sender still has the snapshot. Parts come
//! twice, or damaged. A sender may fail to make a snapshot, a receiver may find a complete one to be wrong; both then give
//! up, or begin again. A receiver may also report a snapshot of an earlier connection, which its node must refuse if its
//! log has grown meanwhile.

use std::rc::Rc;

use bytes::Bytes;
use gometa_node::Event;
use gometa_zab::{Event as Zab, LinkId, Message, Role};

use super::{Ensemble, violation};
use crate::{
    actions::Action,
    checkers::Check,
    disk::{Snapshot, TableView},
    settings::MILLISECOND,
    transfers::{Made, Receiving, Transfers},
};

/// A message of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Sender: this snapshot has so many parts.
    Manifest { id: u64, parts: u64 },
    /// Receiver: send the part with this number.
    Ask { id: u64, part: u64 },
    /// Sender: the part with this number, perhaps damaged.
    Data { id: u64, part: u64, whole: bool },
}

impl Part {
    fn encode(self) -> Bytes {
        let (kind, id, number) = match self {
            Part::Manifest { id, parts } => (0, id, parts),
            Part::Ask { id, part } => (1, id, part),
            Part::Data { id, part, whole: true } => (2, id, part),
            Part::Data { id, part, whole: false } => (3, id, part),
        };
        [&[kind][..], &id.to_be_bytes(), &number.to_be_bytes()].concat().into()
    }

    fn decode(bytes: &[u8]) -> Option<Part> {
        let (kind, rest) = bytes.split_first()?;
        let (id, number) = rest.split_at_checked(8)?;
        let id = u64::from_be_bytes(id.try_into().ok()?);
        let number = u64::from_be_bytes(number.try_into().ok()?);
        Some(match kind {
            0 => Part::Manifest { id, parts: number },
            1 => Part::Ask { id, part: number },
            2 | 3 => Part::Data { id, part: number, whole: *kind == 2 },
            _ => return None,
        })
    }
}

impl Ensemble {
    fn chance(&mut self, per_million: u32) -> bool {
        !self.faults_ended && self.machine.chance(per_million)
    }

    fn send_part(&mut self, node: usize, link: LinkId, part: Part) -> Check {
        if !self.network.is_open(node, link) {
            return Ok(());
        }
        self.trace.line(self.now, Some(node), || format!("{link}: {part:?}"));
        let mut bytes = bytes::BytesMut::new();
        let message = Message::Snapshot(part.encode());
        if let Err(error) = gometa_codec::message::encode(&message, &mut bytes) {
            return violation("codec: what is sent arrives", format!("{error} for {message:?}"));
        }
        self.network.send(self.now, node, link, bytes.freeze());
        Ok(())
    }

    /// A server closes a connection.
    fn give_up(&mut self, node: usize, link: LinkId) {
        if self.network.is_open(node, link) {
            self.trace.line(self.now, Some(node), || format!("gives up the transfer on {link}"));
            self.counts.faults.transfers_given_up += 1;
            self.network.close(self.now, node, link);
            self.deliver(node, Event::Zab(Zab::Closed { link }));
        }
    }

    // ---- Sender

    /// A node wants a snapshot of its state to be sent.
    pub(super) fn request_snapshot(&mut self, node: usize, link: LinkId) {
        self.processes[node].transfers.sending.remove(&link);
        let life = self.processes[node].life;
        let at = self.now + self.machine.below(20 * MILLISECOND);
        self.schedule(at, Action::Checkpoint { node, life, link });
    }

    /// The snapshot is made, or one that was made before is used.
    pub(crate) fn checkpoint(&mut self, node: usize, life: u64, link: LinkId) -> Check {
        let process = &self.processes[node];
        if process.life != life || !process.is_up() || !self.network.is_open(node, link) {
            return Ok(());
        }
        if self.chance(self.settings.snapshots.fails) {
            self.give_up(node, link);
            return Ok(());
        }
        let made = self.processes[node].transfers.made.take();
        let id = match made.filter(|_| self.machine.one_in(2)) {
            Some(id) => id,
            None => {
                let process = &mut self.processes[node];
                let (table, log) = process.disk.checkpoint();
                let checkpoint = gometa_store::Table::checkpoint(&crate::disk::TableView::of(table.clone()));
                let named = process.node.as_ref().and_then(|node| node.snapshot_zxid(&checkpoint));
                let Some(at) = named else {
                    let detail = format!("n{node} cannot name its own state at {}", checkpoint.applied);
                    return violation("base <= A", detail);
                };
                let parts = self.machine.between(1, self.settings.snapshots.parts_max);
                let snapshot = Rc::new(Snapshot { at, table, log });
                self.snapshots.push(Made { parts, snapshot });
                self.counts.faults.snapshots_made += 1;
                let counter = checkpoint.applied;
                self.deliver(node, Event::Flushed { counter });
                self.snapshots.len() as u64 - 1
            }
        };
        let Made { parts, snapshot } = self.snapshots[id as usize].clone();
        let transfers = &mut self.processes[node].transfers;
        transfers.made = Some(id);
        transfers.sending.insert(link, id);
        self.deliver(node, Event::Zab(Zab::SnapshotBegun { link, zxid: snapshot.at }));
        self.send_part(node, link, Part::Manifest { id, parts })
    }

    // ---- Both

    /// A message of a transfer arrives.
    pub(super) fn part_arrives(&mut self, node: usize, link: LinkId, bytes: &[u8]) -> Check {
        self.deliver(node, Event::Zab(Zab::Heard { link }));
        let Some(part) = Part::decode(bytes) else {
            return violation("codec: what is sent arrives", format!("{bytes:?} is no part of a snapshot"));
        };
        match part {
            Part::Manifest { id, parts } => self.manifest(node, link, (id, parts)),
            Part::Ask { id, part } => self.asked_for(node, link, (id, part)),
            Part::Data { id, part, whole } => self.data(node, link, (id, part), whole),
        }
    }

    fn asked_for(&mut self, node: usize, link: LinkId, (id, part): (u64, u64)) -> Check {
        if self.processes[node].transfers.sending.get(&link) != Some(&id) {
            return Ok(());
        }
        let whole = !self.chance(self.settings.snapshots.damaged);
        self.counts.faults.damaged_parts += u64::from(!whole);
        if self.chance(self.settings.snapshots.doubled) {
            self.send_part(node, link, Part::Data { id, part, whole })?;
        }
        self.send_part(node, link, Part::Data { id, part, whole })
    }

    // ---- Receiver

    /// Whether a snapshot waits for the node's decision.
    fn has_ready(&self, node: usize) -> bool {
        self.processes[node].transfers.ready.is_some_and(|link| self.network.is_open(node, link))
    }

    fn manifest(&mut self, node: usize, link: LinkId, (id, parts): (u64, u64)) -> Check {
        if self.has_ready(node) {
            self.give_up(node, link);
            return Ok(());
        }
        let receiving = &mut self.processes[node].transfers.receiving;
        match receiving {
            Some(known) if known.id == id => {
                self.counts.faults.resumed_transfers += u64::from(known.have > 0 && known.link != link);
                known.link = link;
            }
            _ => *receiving = Some(Receiving { id, link, parts, have: 0 }),
        }
        self.proceed(node)
    }

    fn data(&mut self, node: usize, link: LinkId, (id, part): (u64, u64), whole: bool) -> Check {
        let Some(receiving) = &mut self.processes[node].transfers.receiving else { return Ok(()) };
        if (receiving.id, receiving.link, receiving.have) != (id, link, part) || receiving.is_complete() {
            return Ok(());
        }
        if whole {
            receiving.have += 1;
            return self.proceed(node);
        }
        self.begin_again(node)
    }

    /// What was received is thrown away; the receiver asks for all of it, or connects again.
    fn begin_again(&mut self, node: usize) -> Check {
        let Some(receiving) = &mut self.processes[node].transfers.receiving else { return Ok(()) };
        receiving.have = 0;
        let link = receiving.link;
        if self.machine.one_in(2) {
            self.proceed(node)
        } else {
            self.give_up(node, link);
            Ok(())
        }
    }

    /// Asks for the next part, or verifies the whole.
    fn proceed(&mut self, node: usize) -> Check {
        let process = &self.processes[node];
        let Some(receiving) = process.transfers.receiving else { return Ok(()) };
        let Receiving { id, link, have, .. } = receiving;
        if receiving.is_complete() {
            let life = process.life;
            let at = self.now + self.machine.below(self.settings.snapshots.verify_max);
            self.schedule(at, Action::Verified { node, life, id, link });
            return Ok(());
        }
        self.send_part(node, link, Part::Ask { id, part: have })
    }

    /// A snapshot is verified: reports it on this connection.
    pub(crate) fn verified(&mut self, node: usize, life: u64, id: u64, link: LinkId) -> Check {
        let process = &self.processes[node];
        let Transfers { receiving, complete, .. } = process.transfers;
        let awaited = receiving.is_some_and(|it| it.id == id && it.is_complete());
        let late = complete.is_some_and(|(known, _)| known == id);
        if process.life != life || !process.is_up() || self.has_ready(node) || !(awaited || late) {
            return Ok(());
        }
        // What the sender has altered, too, is not what its manifest says.
        if !super::integrity::sum_holds(&TableView::of(self.snapshots[id as usize].snapshot.table.clone())) {
            self.counts.faults.wrong_snapshots += 1;
            return if awaited { self.begin_again(node) } else { Ok(()) };
        }
        self.processes[node].transfers.complete = Some((id, link));
        if awaited && self.chance(self.settings.snapshots.wrong) {
            self.counts.faults.wrong_snapshots += 1;
            return self.begin_again(node);
        }
        if self.network.is_open(node, link) {
            let snapshot = self.snapshots[id as usize].snapshot.clone();
            let zxid = snapshot.at;
            let store = gometa_store::Store::open(TableView::of(snapshot.table.clone()));
            let configuration = match store.and_then(|store| gometa_node::configuration_of(&store)) {
                Ok(configuration) => configuration,
                Err(error) => {
                    return violation("state = f(applied log)", format!("the snapshot at {zxid}: {error}"));
                }
            };
            self.trace.line(self.now, Some(node), || format!("{link}: has received a snapshot at {zxid}"));
            self.processes[node].disk.receive(snapshot);
            self.processes[node].transfers.ready = Some(link);
            self.deliver(
                node,
                Event::Zab(Zab::SnapshotReceived { link, zxid, configuration: configuration.clone() }),
            );
            if self.chance(self.settings.snapshots.doubled) {
                self.deliver(node, Event::Zab(Zab::SnapshotReceived { link, zxid, configuration }));
            }
        }
        Ok(())
    }

    /// A node has described its log on a connection: perhaps a snapshot that it has received before is reported on it.
    pub(super) fn report_late(&mut self, node: usize, link: LinkId) {
        let process = &self.processes[node];
        let Some((id, _)) = process.transfers.complete.filter(|(_, reported)| *reported != link) else {
            return;
        };
        let life = process.life;
        if self.chance(self.settings.snapshots.late) {
            self.counts.faults.late_snapshots += 1;
            let at = self.now + self.machine.below(5 * MILLISECOND);
            self.schedule(at, Action::Verified { node, life, id, link });
        }
    }

    /// A snapshot is about to be installed: perhaps the connection to the leader breaks now.
    pub(super) fn installing(&mut self, node: usize) {
        self.decided(node);
        let Role::Following { leader, .. } = self.processes[node].role else { return };
        if self.chance(self.settings.snapshots.leader_lost)
            && let Some(leader) = self.index(leader)
        {
            self.network.reset_between(self.now, node, leader);
        }
    }

    /// The snapshot that was received is installed, or discarded.
    pub(super) fn decided(&mut self, node: usize) {
        let transfers = &mut self.processes[node].transfers;
        (transfers.receiving, transfers.ready) = (None, None);
    }
}
