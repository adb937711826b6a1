//! A model of the log, and runs of random operations against it.

use std::rc::Rc;

use gometa_log::{
    Log, Maintenance, OpenError, Options, Recovered, Start, WriteError,
    medium::{Fault, Medium},
};
use gometa_zab::{
    Addresses, EnsembleId, Epoch, Founding, Genesis, HardState, Incarnation, LogEntry, NodeId, Voter, Zxid,
};

/// The number of seeds: `GOMETA_LOG_SEEDS` if it is set.
pub(crate) fn seeds(usual: u64) -> u64 {
    std::env::var("GOMETA_LOG_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// splitmix64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub(crate) fn entry(epoch: u64, counter: u64, payload: Vec<u8>) -> LogEntry {
    let zxid = Zxid::new(epoch, counter);
    LogEntry { zxid, kind: gometa_zab::Kind::Command, level: 1, payload: payload.into() }
}

pub(crate) fn founding(n: u64, sealed: bool) -> Founding {
    let voter = Voter {
        node: NodeId(1),
        incarnation: Some(Incarnation(n.into())),
        addresses: Addresses { message: format!("host-{n}:7000"), ..Addresses::default() },
    };
    let ensemble = EnsembleId { id: n.into(), history: 1 };
    Founding { genesis: Genesis { ensemble, voters: vec![voter], level: gometa_zab::FIRST_LEVEL }, sealed }
}

pub(crate) fn hard_state(accepted: u64, current: u64) -> HardState {
    let leader = (accepted > 0).then_some(NodeId(7));
    HardState { accepted_epoch: Epoch(accepted), accepted_leader: leader, current_epoch: Epoch(current) }
}

/// What a log contains.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Model {
    /// All entries since the beginning, deleted ones too: entry n has counter n + 1. There may be more than `end`.
    entries: Rc<Vec<LogEntry>>,
    end: u64,
    pub(crate) hard_state: HardState,
    pub(crate) founding: Option<Founding>,
    /// The counter released with the last batch.
    pub(crate) released: u64,
}

impl Model {
    fn entries(&self) -> &[LogEntry] {
        &self.entries[..self.end as usize]
    }

    fn zxid(&self, counter: u64) -> Zxid {
        counter.checked_sub(1).map_or(Zxid::ZERO, |at| self.entries[at as usize].zxid)
    }

    fn boundaries(&self, base: u64) -> Vec<Zxid> {
        let mut ends: Vec<Zxid> = Vec::new();
        for entry in &self.entries()[base as usize..] {
            match ends.last_mut() {
                Some(end) if end.epoch == entry.zxid.epoch => *end = entry.zxid,
                _ => ends.push(entry.zxid),
            }
        }
        ends
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Append,
    Truncate,
    Compact,
    /// Appends until a new segment begins.
    Roll,
    HardState,
}

/// A log on a medium beside its model.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) medium: Medium,
    pub(crate) log: Option<Log<Medium>>,
    pub(crate) maintenance: Option<Maintenance<Medium>>,
    /// What is durable.
    pub(crate) model: Model,
    /// What may be durable: the states that operations in progress lead to, in order.
    pub(crate) possible: Vec<Model>,
    /// The counter through which the state is flushed.
    pub(crate) applied: u64,
    pub(crate) base: u64,
    epoch: u64,
    starts: u64,
}

pub(crate) const SEGMENT: u64 = 16_384;

impl Run {
    pub(crate) fn new(seed: u64, block: usize) -> Run {
        let medium = Medium::new(block, seed);
        let model = Model {
            entries: Rc::default(),
            end: 0,
            hard_state: HardState::default(),
            founding: None,
            released: 0,
        };
        let start = Start {
            base: Zxid::ZERO,
            hard_state: model.hard_state,
            founding: None,
            configuration: bytes::Bytes::from_static(b"configuration"),
            released: 0,
        };
        let log = Log::create(medium.clone(), options(seed, 0), start).expect("the medium is sound");
        let maintenance = Some(log.maintenance());
        let random = Random(seed ^ 0x5eed);
        Run {
            seed,
            random,
            medium,
            log: Some(log),
            maintenance,
            model,
            possible: Vec::new(),
            applied: 0,
            base: 0,
            epoch: 1,
            starts: 0,
        }
    }

    fn log(&mut self) -> &mut Log<Medium> {
        self.log.as_mut().expect("the log is open")
    }

    /// Random operations until one fails.
    pub(crate) fn operations(&mut self) {
        let fault = if self.random.one_in(4) { Fault::Fail } else { Fault::Stop };
        let at = self.random.below(60);
        self.medium.fail_at(at, fault);
        for _ in 0..200 {
            let kind = match self.random.below(16) {
                0 => Kind::Truncate,
                1 => Kind::Compact,
                2 => Kind::HardState,
                3 => Kind::Roll,
                _ => Kind::Append,
            };
            if self.operation(kind).is_err() {
                return;
            }
        }
    }

    /// Operations without a fault.
    pub(crate) fn warm_up(&mut self) {
        for _ in 0..30 {
            let kind = match self.random.below(8) {
                0 => Kind::Truncate,
                1 => Kind::Compact,
                2 => Kind::HardState,
                _ => Kind::Append,
            };
            self.operation(kind).expect("the medium is sound");
        }
    }

    /// One operation that stops at this step; false if it has fewer steps.
    pub(crate) fn crash_in(&mut self, kind: Kind, step: u64) -> bool {
        self.medium.fail_at(step, Fault::Stop);
        self.operation(kind).is_err()
    }

    fn operation(&mut self, kind: Kind) -> Result<(), WriteError> {
        match kind {
            Kind::Append => self.append()?,
            Kind::Roll => {
                let before = self.log().status().segments;
                while self.log().status().segments == before {
                    self.append()?;
                }
            }
            Kind::Truncate => self.truncate()?,
            Kind::Compact => self.compact()?,
            Kind::HardState => {
                self.epoch += 1;
                let epoch = self.epoch;
                let state = hard_state(epoch, epoch - 1);
                let mut next = self.model.clone();
                next.hard_state = state;
                if self.random.one_in(2) {
                    next.founding = Some(founding(epoch, epoch.is_multiple_of(2)));
                }
                self.possible.push(next.clone());
                let released = self.model.released;
                self.log().hard_state(released, state)?;
                if let Some(founding) = next.founding.clone() {
                    self.log().founding(released, founding)?;
                }
                self.log().commit()?;
                self.settle(next);
            }
        }
        if self.random.one_in(4) {
            self.log().sync_mark()?;
        }
        if self.random.one_in(3) {
            self.maintenance.as_ref().expect("the log is open").run()?;
        }
        Ok(())
    }

    fn settle(&mut self, model: Model) {
        self.possible.clear();
        self.model = model;
        let end = self.model.end as usize;
        Rc::make_mut(&mut self.model.entries).truncate(end);
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.random.below(20) {
            0 => self.random.below(SEGMENT),
            1..=4 => self.random.below(2_000),
            _ => self.random.below(200),
        };
        let byte = self.random.next() as u8;
        vec![byte; length as usize]
    }

    fn append(&mut self) -> Result<(), WriteError> {
        if self.random.one_in(6) {
            self.epoch += 1;
        }
        let mut next = self.model.clone();
        next.released += self.random.below(self.model.end - self.model.released + 1);
        let before = next.end;
        let entries: Vec<LogEntry> = (before + 1..=before + 1 + self.random.below(8))
            .map(|counter| entry(self.epoch, counter, self.payload()))
            .collect();
        // Also what the model does not reach yet.
        next.entries = Rc::default();
        Rc::make_mut(&mut self.model.entries).extend(entries.iter().cloned());
        next.entries = self.model.entries.clone();
        for _ in &entries {
            // A long append is split: each part may be durable.
            next.end += 1;
            self.possible.push(next.clone());
        }
        let released = next.released;
        self.log().append(released, &entries)?;
        self.log().commit()?;
        self.settle(next);
        Ok(())
    }

    fn truncate(&mut self) -> Result<(), WriteError> {
        let (released, end) = (self.model.released, self.model.end);
        let to = released + self.random.below(end - released + 1);
        let mut next = self.model.clone();
        next.end = to;
        self.possible.push(next.clone());
        let zxid = next.zxid(to);
        self.log().truncate(released, zxid)?;
        self.settle(next);
        Ok(())
    }

    fn compact(&mut self) -> Result<(), WriteError> {
        // The state is flushed first.
        self.applied += self.random.below(self.model.released - self.applied + 1);
        self.base += self.random.below(self.applied - self.base + 1);
        let zxid = self.model.zxid(self.base);
        self.log().compact(zxid)?;
        self.maintenance.as_ref().expect("the log is open").run()
    }

    /// Ends the process in one of the possible ways and opens the log again, with crashes in the opening too.
    pub(crate) fn recover(&mut self) {
        (self.log, self.maintenance) = (None, None);
        for attempt in 0.. {
            assert!(attempt < 30, "seed {}: opening does not end", self.seed);
            self.starts += 1;
            if self.random.one_in(2) {
                let seed = self.random.next();
                self.medium.cut_power(seed);
            } else {
                self.medium.kill();
            }
            if self.random.one_in(3) {
                let fault = if self.random.one_in(2) { Fault::Fail } else { Fault::Stop };
                let at = self.random.below(12);
                self.medium.fail_at(at, fault);
            }
            match Log::open(self.medium.clone(), options(self.seed, self.starts), self.applied) {
                Ok((log, recovered)) => {
                    self.verify(&log, &recovered);
                    self.maintenance = Some(log.maintenance());
                    self.log = Some(log);
                    break;
                }
                Err(OpenError::Io { .. }) => {}
                Err(error) => panic!("seed {}: {error}\n{:?}", self.seed, self.model.end),
            }
        }
        self.medium.fail_at(u64::MAX >> 1, Fault::Stop);
    }

    /// The log is what was durable, or what an operation in progress would have made of it.
    fn verify(&mut self, log: &Log<Medium>, recovered: &Recovered) {
        let base = recovered.base.counter;
        assert!(base <= self.applied, "seed {}", self.seed);
        let last = recovered.boundaries.last().copied().unwrap_or(recovered.base);
        let entries = log.reader().read(base + 1, u64::MAX, usize::MAX).expect("the medium is sound");
        assert_eq!(entries.len() as u64, last.counter - base, "seed {}", self.seed);
        let candidates = self.possible.iter().chain([&self.model]);
        let matching = candidates.filter(|model| {
            model.end == last.counter
                && model.end >= base
                && model.zxid(base) == recovered.base
                && model.boundaries(base) == recovered.boundaries
                && model.entries()[base as usize..] == entries
                && model.hard_state == recovered.hard_state
                && model.founding == recovered.founding
                && model.released.max(self.applied) == recovered.released
        });
        let Some(found) = matching.last().cloned() else {
            panic!(
                "seed {}: recovered {recovered:?}, expected end {} or one of {:?}",
                self.seed,
                self.model.end,
                self.possible.iter().map(|model| model.end).collect::<Vec<_>>()
            );
        };
        assert_eq!(&recovered.configuration[..], b"configuration");
        assert_eq!(log.last(), last);
        self.settle(found);
        self.base = base;
        self.model.released = recovered.released;
    }
}

pub(crate) fn options(seed: u64, starts: u64) -> Options {
    let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(starts));
    let salt = u128::from(random.next()) << 64 | u128::from(random.next());
    Options { segment_bytes: SEGMENT, salt }
}
