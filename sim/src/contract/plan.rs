//! The writes of one opening, generated from a seed: valid writes in the order and with the waits of a node.

use bytes::Bytes;
use gometa_store::{Batch, Checkpoint, Space};
use gometa_zab::{
    Addresses, EnsembleId, Epoch, Founding, Genesis, HardState, Incarnation, Kind, LogEntry, NodeId, Voter,
    Zxid,
};

use super::{State, Write};
use crate::random::{Random, Stream};

/// One step of a plan.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Submit this write.
    Write(Write),
    /// Wait until this many of the plan's writes are reported.
    Settle(usize),
    /// Read the table and a part of the log chosen by this seed, and compare both with the model.
    Inspect(u64),
}

/// The size of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The number of steps.
    pub steps: usize,
    /// The maximum size of a payload, in bytes.
    pub payload_max: u64,
}

impl Shape {
    /// A short plan with small entries.
    pub const SMALL: Shape = Shape { steps: 40, payload_max: 2_000 };
    /// Enough bytes to cause flushes and compactions of a database.
    pub const BULKY: Shape = Shape { steps: 160, payload_max: 1 << 20 };
}

/// The maximum number of writes in flight.
const IN_FLIGHT_MAX: usize = 48;

/// The steps for one opening of a storage.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Returns the plan of a seed for a storage with this state.
    pub fn new(seed: u64, base: &State, shape: Shape) -> Plan {
        let random = Random::new(seed, Stream::Workload);
        let mut generator = Generator {
            random,
            shape,
            state: base.clone(),
            steps: Vec::new(),
            writes: 0,
            settled: 0,
            course: vec![base.last().counter],
        };
        while generator.steps.len() < shape.steps {
            generator.step();
        }
        Plan { steps: generator.steps }
    }

    /// The writes of the plan, in order.
    pub fn writes(&self) -> Vec<Write> {
        let write = |step: &Step| match step {
            Step::Write(write) => Some(write.clone()),
            Step::Settle(_) | Step::Inspect(_) => None,
        };
        self.steps.iter().filter_map(write).collect()
    }
}

struct Generator {
    random: Random,
    shape: Shape,
    /// The state after all writes so far.
    state: State,
    steps: Vec<Step>,
    writes: usize,
    settled: usize,
    /// The log's last counter after each number of writes.
    course: Vec<u64>,
}

impl Generator {
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

    /// Waits for all writes in flight, or for some of them.
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
            // An unsealed genesis may be replaced or sealed.
            Some(founding) if self.random.one_in(2) => founding.genesis.clone(),
            _ => {
                let ensemble = EnsembleId { id: self.random.wide() | 1, history: 1 };
                Genesis {
                    ensemble,
                    voters: vec![voter(5_001), voter(6_001), voter(7_001)],
                    level: gometa_zab::FIRST_LEVEL,
                }
            }
        };
        let sealed = self.random.one_in(2);
        self.write(Write::Log(gometa_zab::Write::Founding(Founding { genesis, sealed })));
    }

    /// Epochs never fall.
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

    /// Never truncates released entries; sometimes truncates to the end of the log.
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

    /// All payloads differ, so that a truncated entry is recognised if it reappears.
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

    /// Applies some or all of the entries that are certainly durable and not applied.
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
        self.write(Write::Table(Batch { checkpoint, writes, ..Batch::default() }));
    }
}
