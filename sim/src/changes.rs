//! What is left out of a run: kinds of faults by name, and sizes.
//!
//! A seed determines a run. To see which faults matter, some are left out: by hand, with the options of
//! `gometa-sim` that carry these names, or by [`shrink`](crate::shrink). [`KNOBS`] has a line for each kind of
//! fault that [`Settings`] can hold; a test fails for a fault that has none.

use std::fmt;

use gometa_zab::Bounds;

use crate::settings::{SECOND, Settings, UNSTORED_BYTES_MAX};

/// A kind of fault that can be left out.
#[derive(Clone, Copy)]
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    off: fn(&mut Settings),
}

/// A line of the table.
const fn knob(name: &'static str, what: &'static str, off: fn(&mut Settings)) -> Knob {
    Knob { name, what, off }
}

/// All of them.
pub const KNOBS: &[Knob] = &[
    knob("delay", "a network slower than 0.3 ms", |s| s.network.delay_max = s.network.delay_max.min(300)),
    knob("slow", "single messages that take up to fifty times as long", |s| s.network.slow = 0),
    knob("loss", "lost datagrams", |s| s.network.loss = 0),
    knob("duplicate", "datagrams that arrive twice", |s| s.network.duplicate = 0),
    knob("replay", "earlier datagrams that arrive again", |s| s.network.replay = 0),
    knob("flip", "datagrams with flipped bits", |s| s.network.flip = 0),
    knob("garbage", "datagrams of random bytes", |s| s.network.garbage = 0),
    knob("reset", "connections that are reset", |s| s.network.reset = 0),
    knob("stall", "connections that stall in one direction", |s| s.network.stall = 0),
    knob("slow-link", "connections that are slow for all of their life", |s| s.network.slow_link = 0),
    knob("partition", "partitions", |s| s.network.partition_every = 0),
    knob("slow-sync", "disks slower than 0.2 ms", |s| s.disk.sync_max = s.disk.sync_max.min(200)),
    knob("slow-disk", "disks of which every sync takes about an election time-out", |s| s.disk.slow_disk = 0),
    knob("one-slow-disk", "one disk that is much slower than the others", |s| s.disk.one_slow_disk = 0),
    knob("disk-stall", "syncs that stall", |s| s.disk.stall = 0),
    knob("disk-error", "syncs that fail", |s| s.disk.error = 0),
    knob("table-slow", "writes to the table slower than 40 µs", |s| s.disk.table_max = 40),
    knob("flush-rare", "writes to the table that no flush follows", |s| s.disk.flush = 1_000_000),
    knob("compaction", "logs that are compacted", |s| s.snapshots.log_kept = u64::MAX),
    knob("snapshot-faults", "snapshots that come damaged, twice, late or not at all", |s| {
        s.snapshots = crate::settings::SnapshotSettings {
            fails: 0,
            damaged: 0,
            doubled: 0,
            wrong: 0,
            late: 0,
            leader_lost: 0,
            ..s.snapshots.clone()
        };
    }),
    knob("cold", "lookups of the table that do not find their record in memory", |s| s.disk.cold = 0),
    knob("read-slow", "reads of the table slower than 40 µs", |s| s.disk.read_max = 40),
    knob("partial", "groups of writes that take only a part of what is queued", |s| s.disk.partial = 0),
    knob("interrupted-start", "starts that end before they have synced what they found", |s| {
        s.disk.interrupted_start = 0
    }),
    knob("disk-space", "disks with little space", |s| s.disk.space_every = 0),
    knob("full-disk", "disks without space", |s| s.disk.full_every = 0),
    knob("damage", "disks that break what they promise", |s| s.disk.damage_every = 0),
    knob("alter", "records altered unnoticed", |s| s.disk.alter_every = 0),
    knob("crash", "crashes at any time", |s| s.process.crash_every = 0),
    knob("early-crash", "crashes while the ensemble forms", |s| s.process.early_crashes = false),
    knob("sync-crash", "crashes in the midst of discovery and synchronisation", |s| s.process.sync_crash = 0),
    knob("depose", "leaders that are deposed on purpose", |s| s.process.depose_every = 0),
    knob("transfer", "transfers of the leadership", |s| s.process.transfer_every = 0),
    knob("change", "changes of the members", |s| {
        s.process.change_every = 0;
        s.spares = 0;
    }),
    knob("crash-all", "crashes of all nodes at once", |s| s.process.crash_all = 0),
    knob("wipe", "lost data directories", |s| s.process.wipe = 0),
    knob("no-return", "nodes that never come back", |s| s.process.no_return = 0),
    knob("beyond-quorum", "more disks lost than a quorum can repair", |s| s.process.beyond_quorum = false),
    knob("recovery", "lost majorities, after which the ensemble is founded anew", |s| {
        s.process.recoveries = 0
    }),
    knob("pause", "paused processes", |s| s.process.pause_every = 0),
    knob("drift", "clocks that run too fast or too slow", |s| s.process.drift = 0),
    knob("cancel", "operations that are cancelled", |s| s.workload.cancel = 0),
    knob("short-deadlines", "attempts with short deadlines", |s| s.workload.attempt_max_ms = 0),
    knob("tight-bounds", "small batches, windows and memories", |s| {
        s.bounds = Bounds { proposals_max: 256, ..Bounds::default() };
        s.unstored_bytes_max = UNSTORED_BYTES_MAX;
    }),
    knob("short-sessions", "sessions that end within less than 20 s", |s| s.session_timeout_ms = 20_000),
];

impl Knob {
    /// The knob of this name.
    pub fn of_name(name: &str) -> Option<&'static Knob> {
        KNOBS.iter().find(|knob| knob.name == name)
    }

    /// Leaves this out.
    pub fn turn_off(&self, settings: &mut Settings) {
        (self.off)(settings);
    }

    /// Whether a run has any of this.
    pub fn is_on(&self, settings: &Settings) -> bool {
        let mut without = settings.clone();
        self.turn_off(&mut without);
        without != *settings
    }
}

/// The changes to the run of a seed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Names of [`KNOBS`] that are off.
    pub without: Vec<&'static str>,
    /// The number of nodes.
    pub nodes: Option<usize>,
    /// The number of clients, besides the liveness phase's own.
    pub clients: Option<usize>,
    /// The number of keys.
    pub keys: Option<usize>,
    /// The number of operations of one client in flight, at most.
    pub in_flight: Option<usize>,
    /// Faults end at this time, in microseconds.
    pub until: Option<u64>,
    /// Another run of the same settings; 0 is the seed's own.
    pub variant: u64,
}

impl Changes {
    /// Whether this is just the seed.
    pub fn is_none(&self) -> bool {
        *self == Changes::default()
    }

    /// The settings of a seed, changed.
    pub fn settings(&self, seed: u64) -> Settings {
        let mut settings = Settings::of_seed(seed);
        for knob in KNOBS.iter().filter(|knob| self.without.contains(&knob.name)) {
            knob.turn_off(&mut settings);
        }
        settings.seed = seed ^ self.variant.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        settings.nodes = self.nodes.unwrap_or(settings.nodes);
        settings.fault_time = self.until.unwrap_or(settings.fault_time);
        let workload = &mut settings.workload;
        workload.clients = self.clients.unwrap_or(workload.clients);
        workload.keys = self.keys.unwrap_or(workload.keys);
        workload.in_flight_max = self.in_flight.unwrap_or(workload.in_flight_max);
        settings
    }

    /// Leaves out one more kind of fault.
    pub fn leave_out(&mut self, knob: &Knob) {
        if !self.without.contains(&knob.name) {
            self.without.push(knob.name);
        }
    }
}

/// Options of `gometa-sim`, each after a space.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changes { without, nodes, clients, keys, in_flight, until, variant } = self;
        if !without.is_empty() {
            let names = KNOBS.iter().map(|knob| knob.name).filter(|name| without.contains(name));
            write!(f, " --without {}", names.collect::<Vec<_>>().join(","))?;
        }
        for (option, value) in
            [("nodes", nodes), ("clients", clients), ("keys", keys), ("in-flight", in_flight)]
        {
            if let Some(value) = value {
                write!(f, " --{option} {value}")?;
            }
        }
        if let Some(until) = until {
            write!(f, " --until {}", time(*until))?;
        }
        if *variant > 0 {
            write!(f, " --variant {variant}")?;
        }
        Ok(())
    }
}

/// Formats microseconds: `3.2s`.
pub fn time(us: u64) -> String {
    let fraction = format!("{:06}", us % SECOND);
    match fraction.trim_end_matches('0') {
        "" => format!("{}s", us / SECOND),
        fraction => format!("{}.{fraction}s", us / SECOND),
    }
}

/// Parses the format of [`time`], and `900ms`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time such as 3.2s or 900ms");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, SECOND / 1_000),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, SECOND),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return Err(wrong());
    }
    let scale = 10_u64.pow(fraction.len() as u32);
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = fraction.parse().map_err(|_| wrong())?;
    whole.checked_mul(unit).and_then(|us| us.checked_add(fraction * unit / scale)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{
        DiskSettings, NetworkSettings, ProcessSettings, SnapshotSettings, WorkloadSettings,
    };

    /// How much there is of each kind of fault. What is taken apart here is complete: for a new field, say whether
    /// it is a fault (then it belongs into the list and into `KNOBS`) or not (then it is `_`).
    fn faults(settings: &Settings) -> Vec<(&'static str, u64)> {
        let Settings { network, disk, process, snapshots, workload, .. } = settings;
        let SnapshotSettings {
            log_kept,
            log_held_max: _,
            parts_max: _,
            fails,
            damaged,
            doubled,
            wrong,
            late,
            leader_lost,
            verify_max: _,
        } = snapshots;
        let NetworkSettings {
            delay_min: _,
            delay_max: _,
            slow,
            loss,
            duplicate,
            replay,
            flip,
            garbage,
            reset,
            stall,
            stall_max: _,
            slow_link,
            partition_every,
            partition_max: _,
        } = network;
        let DiskSettings {
            sync_min: _,
            sync_max: _,
            slow_disk,
            one_slow_disk,
            stall: disk_stall,
            stall_max: _,
            error,
            partial,
            table_max,
            flush,
            flush_every: _,
            cold,
            read_max,
            interrupted_start,
            full_every,
            space_every,
            full_max: _,
            // Never in a seed's settings.
            ignores_mark: _,
            segment_bytes: _,
            damage_every,
            alter_every,
            scrub_every: _,
        } = disk;
        let ProcessSettings {
            crash_every,
            pause_every,
            down_max: _,
            pause_max: _,
            crash_all,
            wipe,
            no_return,
            beyond_quorum,
            early_crashes,
            sync_crash,
            depose_every,
            change_every,
            transfer_every,
            recoveries,
            drift,
        } = process;
        let WorkloadSettings { clients: _, keys: _, in_flight_max: _, think: _, cancel, attempt_max_ms } =
            workload;
        vec![
            ("slow", u64::from(*slow)),
            ("loss", u64::from(*loss)),
            ("duplicate", u64::from(*duplicate)),
            ("replay", u64::from(*replay)),
            ("flip", u64::from(*flip)),
            ("garbage", u64::from(*garbage)),
            ("reset", u64::from(*reset)),
            ("stall", u64::from(*stall)),
            ("slow link", u64::from(*slow_link)),
            ("partition", *partition_every),
            ("slow-disk", *slow_disk),
            ("one slow disk", *one_slow_disk),
            ("disk stall", u64::from(*disk_stall)),
            ("disk error", u64::from(*error)),
            ("compaction", u64::from(*log_kept < u64::MAX)),
            ("fails", u64::from(*fails)),
            ("damaged", u64::from(*damaged)),
            ("doubled", u64::from(*doubled)),
            ("wrong", u64::from(*wrong)),
            ("late", u64::from(*late)),
            ("leader lost", u64::from(*leader_lost)),
            ("partial", u64::from(*partial)),
            ("table-slow", table_max.saturating_sub(40)),
            ("flush-rare", u64::from(1_000_000_u32.saturating_sub(*flush))),
            ("cold", u64::from(*cold)),
            ("read-slow", read_max.saturating_sub(40)),
            ("interrupted start", u64::from(*interrupted_start)),
            ("full disk", *full_every),
            ("disk space", *space_every),
            ("damage", *damage_every),
            ("alter", *alter_every),
            ("crash", *crash_every),
            ("pause", *pause_every),
            ("crash-all", u64::from(*crash_all)),
            ("wipe", u64::from(*wipe)),
            ("no return", u64::from(*no_return)),
            ("beyond quorum", u64::from(*beyond_quorum)),
            ("early crash", u64::from(*early_crashes)),
            ("sync-crash", u64::from(*sync_crash)),
            ("depose", *depose_every),
            ("change", *change_every),
            ("transfer", *transfer_every),
            ("recovery", u64::from(*recoveries)),
            ("drift", u64::from(*drift)),
            ("cancel", u64::from(*cancel)),
            ("short-deadlines", u64::from(*attempt_max_ms)),
        ]
    }

    #[test]
    fn every_kind_of_fault_occurs_and_can_be_left_out() {
        let mut met = vec![0; faults(&Settings::quiet(0, 3)).len()];
        for seed in 0..300 {
            let mut settings = Settings::of_seed(seed);
            for (met, (_, fault)) in met.iter_mut().zip(faults(&settings)) {
                *met += u64::from(fault > 0);
            }
            for knob in KNOBS {
                knob.turn_off(&mut settings);
            }
            let left: Vec<_> = faults(&settings).into_iter().filter(|(_, fault)| *fault > 0).collect();
            assert!(left.is_empty(), "no knob leaves these out: {left:?}");
        }
        assert!(!met.contains(&0), "never met: {met:?}");
    }

    #[test]
    fn every_knob_changes_some_run_and_is_off_then() {
        for knob in KNOBS {
            let seeds = (0..300).filter(|seed| knob.is_on(&Settings::of_seed(*seed)));
            assert!(seeds.count() > 10, "{} changes nothing", knob.name);
            let changes = Changes { without: vec![knob.name], ..Changes::default() };
            assert!((0..300).all(|seed| !knob.is_on(&changes.settings(seed))), "{} stays on", knob.name);
        }
    }

    #[test]
    fn changes_are_printed_as_options() {
        assert_eq!(Changes::default().to_string(), "");
        assert_eq!(Changes::default().settings(7), Settings::of_seed(7));
        let changes = Changes {
            without: vec!["pause", "loss"],
            nodes: Some(3),
            clients: Some(2),
            keys: None,
            in_flight: Some(1),
            until: Some(3_200_000),
            variant: 4,
        };
        let options = " --without loss,pause --nodes 3 --clients 2 --in-flight 1 --until 3.2s --variant 4";
        assert_eq!(changes.to_string(), options);
        let settings = changes.settings(7);
        assert_eq!((settings.nodes, settings.workload.clients, settings.fault_time), (3, 2, 3_200_000));
        assert_ne!(settings.seed, 7);
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for us in [0, 1, 900, 1_000_000, 3_200_000, 12_000_001] {
            assert_eq!(parse_time(&time(us)), Ok(us));
        }
        assert_eq!(parse_time("900ms"), Ok(900_000));
        assert_eq!(parse_time("1.5ms"), Ok(1_500));
        for wrong in ["", "s", "3", "3.s", ".5s", "-1s", "1.0000001s", "3 s", "99999999999999999999s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert!(parse_time("18446744073710s").is_err());
    }
}
