//! The writes of one opening, from a seed: what a node could issue, in an order and with the waits of its kind.

use bytes::Bytes;
use gometa_store::{Batch, Checkpoint, Space};
use gometa_zab::{
    Addresses, EnsembleId, Epoch, Founding, Genesis, HardState, Incarnation, Kind, LogEntry, NodeId, Voter,
    Zxid,
};

use super::{State, Write};
use crate::random::{Random, Stream};

/// One thing to do with a storage.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Submit it.
    Write(Write),
    /// Wait until this many of the plan's writes are reported.
    Settle(usize),
    /// Read the table and the log, with this seed, and compare.
    Inspect(u64),
}

/// How large a plan is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Steps.
    pub steps: usize,
    /// Bytes of the larger payloads.
    pub payload_max: u64,
}

impl Shape {
    /// Some tens of steps with small entries.
    pub const SMALL: Shape = Shape { steps: 40, payload_max: 2_000 };
    /// Enough bytes to make a database move its records about in the midst of it.
    pub const BULKY: Shape = Shape { steps: 160, payload_max: 1 << 20 };
}

/// Writes that a plan leaves unreported, at most.
const IN_FLIGHT_MAX: usize = 48;

/// What to do with a storage during one opening.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed for a storage that holds this.
    pub fn new(seed: u64, base: &State, shape: Shape) -> Plan {
        let random = Random::new(seed, Stream::Workload);
        let mut maker = Maker {
            random,
            shape,
            state: base.clone(),
            steps: Vec::new(),
            writes: 0,
            settled: 0,
            course: vec![base.last().counter],
        };
        while maker.steps.len() < shape.steps {
            maker.step();
        }
        Plan { steps: maker.steps }
    }

    /// Its writes, in order.
    pub fn writes(&self) -> Vec<Write> {
        let write = |step: &Step| match step {
            Step::Write(write) => Some(write.clone()),
            Step::Settle(_) | Step::Inspect(_) => None,
        };
        self.steps.iter().filter_map(write).collect()
    }
}

struct Maker {
    random: Random,
    shape: Shape,
    /// What all writes so far make.
    state: State,
    steps: Vec<Step>,
    writes: usize,
    settled: usize,
    /// After each number of writes: the log's last counter.
    course: Vec<u64>,
}

impl Maker {
    fn step(&mut self) {
        if self.writes - self.settled >= IN_FLIGHT_MAX {
            return self.settle();
        }
        let sealed = self.state.founding.as_ref().is_some_and(|founding| founding.sealed);
        let draw = self.random.below(100);
        match draw {
            0..10 => self.settle(),
            10..16 => {
                let seed = self.random.word();
                self.steps.push(Step::Inspect(seed));
            }
            // No node votes before the genesis is sealed, and nothing is proposed before an election.
            _ if !sealed => self.found(),
            _ if self.state.hard_state.accepted_epoch == Epoch(0) => self.promise(),
            16..26 => self.promise(),
            26..38 => self.truncate(),
            38..60 => self.apply(),
            _ => self.append(),
        }
    }

    fn write(&mut self, write: Write) {
        self.state.write(&write);
        self.writes += 1;
        self.course.push(self.state.last().counter);
        self.steps.push(Step::Write(write));
    }

    /// All, or some and leave the rest in flight.
    fn settle(&mut self) {
        let waiting = self.writes - self.settled;
        let some = if self.random.one_in(2) { waiting } else { self.random.index(waiting + 1) };
        self.settled += if waiting >= IN_FLIGHT_MAX { some.max(1) } else { some };
        self.steps.push(Step::Settle(self.settled));
    }

    fn found(&mut self) {
        let voter = |node: u64| Voter {
            node: NodeId(node),
            incarnation: Some(Incarnation(u128::from(node) << 64 | 1)),
            addresses: Addresses {
                election: format!("127.0.0.1:{node}"),
                message: format!("127.0.0.1:{}", node + 1),
                request: String::new(),
            },
        };
        let genesis = match &self.state.founding {
            // An unsealed one may be replaced, or sealed as it is.
            Some(founding) if self.random.one_in(2) => founding.genesis.clone(),
            _ => {
                let ensemble = EnsembleId { id: self.random.wide() | 1, history: 1 };
                Genesis { ensemble, voters: vec![voter(5_001), voter(6_001), voter(7_001)] }
            }
        };
        let sealed = self.random.one_in(2);
        self.write(Write::Log(gometa_zab::Write::Founding(Founding { genesis, sealed })));
    }

    /// Epochs only rise.
    fn promise(&mut self) {
        let mut promised = self.state.hard_state;
        if promised.current_epoch < promised.accepted_epoch && self.random.one_in(2) {
            promised.current_epoch = promised.accepted_epoch;
        } else {
            let HardState { accepted_epoch, accepted_leader, .. } = &mut promised;
            *accepted_epoch = Epoch(accepted_epoch.0 + self.random.between(1, 2));
            *accepted_leader = Some(NodeId(self.random.pick(&[5_001, 6_001, 7_001])));
        }
        self.write(Write::Log(gometa_zab::Write::HardState(promised)));
    }

    /// Never below what is released; sometimes to where the log ends anyway.
    fn truncate(&mut self) {
        let to = self.random.between(self.state.released, self.state.last().counter);
        let zxid = match to.checked_sub(1) {
            Some(at) => self.state.log[at as usize].zxid,
            None => Zxid::ZERO,
        };
        self.write(Write::Log(gometa_zab::Write::Truncate(zxid)));
    }

    fn append(&mut self) {
        let last = self.state.last();
        let low = last.epoch.0.max(1);
        let epoch = self.random.between(low, self.state.hard_state.accepted_epoch.0);
        let count = self.random.between(1, 5);
        let entries = (1..=count).map(|above| self.entry(epoch, last.counter + above)).collect();
        self.write(Write::Log(gometa_zab::Write::Append(entries)));
    }

    /// No two have the same payload, so that one which comes back after it was cut is known.
    fn entry(&mut self, epoch: u64, counter: u64) -> LogEntry {
        let size = match self.random.below(8) {
            0 => self.random.below(self.shape.payload_max),
            _ => self.random.below(200),
        };
        let mut payload = self.random.wide().to_be_bytes().to_vec();
        let fill = payload[0];
        payload.resize(payload.len() + size as usize, fill);
        LogEntry { zxid: Zxid::new(epoch, counter), kind: Kind::Command, level: 1, payload: payload.into() }
    }

    /// As far as the log is durable for certain, or less far.
    fn apply(&mut self) {
        let applied = self.state.checkpoint.applied;
        let durable = self.course[self.settled..].iter().min().copied().unwrap_or(0);
        if applied >= durable {
            return self.append();
        }
        let applied = self.random.between(applied + 1, durable);
        let mut keys: Vec<(Space, Bytes)> = (0..12_u8)
            .map(|key| (Space::Data, Bytes::from(format!("key {key}"))))
            .chain((0..4_u64).map(|id| (Space::Session, Bytes::copy_from_slice(&id.to_be_bytes()))))
            .collect();
        self.random.shuffle(&mut keys);
        keys.truncate(self.random.index(8));
        let writes = keys.into_iter().map(|(space, key)| {
            let value = Bytes::copy_from_slice(&self.random.wide().to_be_bytes());
            (space, key, (!self.random.one_in(4)).then_some(value))
        });
        let writes = writes.collect();
        let checkpoint = Checkpoint { applied, hash: self.random.wide(), keys: self.random.below(100) };
        self.write(Write::Table(Batch { checkpoint, writes }));
    }
}
