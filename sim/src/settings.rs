//! What one run is made of: the size of the ensemble and the faults it meets, drawn from the seed.
//!
//! Every kind of fault is left out of some runs, so that the others are seen on their own too.

use gometa_node::HistoryBounds;
use gometa_zab::Bounds;

use crate::random::{Random, Stream};

/// One second of virtual time.
pub const SECOND: u64 = 1_000_000;
/// What a server's node applies ahead of its table, in bytes.
pub const UNSTORED_BYTES_MAX: usize = 32 << 20;
/// One of this many seeds loses a majority of its voters.
const RECOVERY_SEEDS: u64 = 16;
/// One millisecond of virtual time.
pub const MILLISECOND: u64 = 1_000;

/// Faults of the network. Shares are per million, times in microseconds.
#[derive(Clone, PartialEq, Debug)]
pub struct NetworkSettings {
    /// The shortest delay.
    pub delay_min: u64,
    /// The longest common delay.
    pub delay_max: u64,
    /// Messages and datagrams that take up to fifty times `delay_max`.
    pub slow: u32,
    /// Datagrams lost.
    pub loss: u32,
    /// Datagrams that arrive twice.
    pub duplicate: u32,
    /// Datagrams behind which an earlier one arrives again.
    pub replay: u32,
    /// Datagrams with some bits flipped.
    pub flip: u32,
    /// Datagrams accompanied by one of random bytes.
    pub garbage: u32,
    /// Messages on which the connection is reset.
    pub reset: u32,
    /// Messages on which one direction of the connection stalls.
    pub stall: u32,
    /// The longest stall.
    pub stall_max: u64,
    /// Connections that are up to twenty times slower than others, for all of their life.
    pub slow_link: u32,
    /// Mean time between partitions; 0 for none.
    pub partition_every: u64,
    /// The longest partition.
    pub partition_max: u64,
}

/// Faults of the disk. Shares are per million, times in microseconds.
#[derive(Clone, PartialEq, Debug)]
pub struct DiskSettings {
    /// The fastest sync.
    pub sync_min: u64,
    /// The slowest common sync.
    pub sync_max: u64,
    /// Every sync takes at least this long, also when the faults have ended: a disk that is just slow.
    pub slow_disk: u64,
    /// The same of one disk only, that of the last founder.
    pub one_slow_disk: u64,
    /// Syncs that stall.
    pub stall: u32,
    /// The longest stall.
    pub stall_max: u64,
    /// Syncs that fail, which ends the process.
    pub error: u32,
    /// Groups that take only a part of what is queued.
    pub partial: u32,
    /// The slowest common write to the table.
    pub table_max: u64,
    /// Writes to the table that are followed by a flush of the database's own.
    pub flush: u32,
    /// The number of entries after which the table is flushed, and this is reported.
    pub flush_every: u64,
    /// Lookups of the table that do not find their record in memory.
    pub cold: u32,
    /// The slowest common read of a record that is not in memory.
    pub read_max: u64,
    /// The size of the log's segments, in bytes.
    pub segment_bytes: u64,
    /// Starts in which the process ends, or the machine loses power.
    pub interrupted_start: u32,
    /// Mean time until a disk is full; 0 for none.
    pub full_every: u64,
    /// Mean time until the free space of a disk crosses a level of its reserve; 0 for never.
    pub space_every: u64,
    /// The longest time until there is space again.
    pub full_max: u64,
    /// A storage that is wrong, for tests of the simulator: a start does not look at the mark.
    pub ignores_mark: bool,
    /// Mean time until a disk violates an invariant; 0 for none. At most a minority of the disks, ever.
    pub damage_every: u64,
    /// Mean time until a record of a table is altered, unnoticed; 0 for never. Of the same minority.
    pub alter_every: u64,
    /// Mean time between two scrubs of a table while faults go on; 0 for none.
    pub scrub_every: u64,
}

/// Faults of the machine. Times in microseconds.
#[derive(Clone, PartialEq, Debug)]
pub struct ProcessSettings {
    /// Mean time between crashes; 0 for none.
    pub crash_every: u64,
    /// Mean time between pauses; 0 for none.
    pub pause_every: u64,
    /// The longest time down.
    pub down_max: u64,
    /// The longest pause.
    pub pause_max: u64,
    /// Crashes that hit every node at once, per million.
    pub crash_all: u32,
    /// Crashes after which the data directory is gone, per million; at most a minority, ever.
    pub wipe: u32,
    /// Crashes after which the node never comes back, per million; of the same minority.
    pub no_return: u32,
    /// Not a minority only: all disks but one may be lost or damaged, and all nodes but one never come back. Without
    /// a quorum nothing may happen any more, wrong or right. (When all directories are empty, there is no ensemble
    /// left, and the nodes form a new one.)
    pub beyond_quorum: bool,
    /// Some crashes while the ensemble forms.
    pub early_crashes: bool,
    /// Messages of discovery and synchronisation before or behind which their sender crashes, per million.
    pub sync_crash: u32,
    /// Mean time between leaders that are deposed on purpose; 0 for none.
    pub depose_every: u64,
    /// Mean time between changes of the members that are asked for; 0 for none.
    pub change_every: u64,
    /// Mean time between transfers of the leadership that are requested; 0 for none.
    pub transfer_every: u64,
    /// How often a majority of the voters is lost for good, and the ensemble founded anew.
    pub recoveries: u32,
    /// How far a node's clock may run too fast or too slow, per million.
    pub drift: u32,
}

/// How much of the log is kept, and what happens to snapshots. Chances are per million.
#[derive(Clone, PartialEq, Debug)]
pub struct SnapshotSettings {
    /// The number of entries that are kept; `u64::MAX` for all.
    pub log_kept: u64,
    /// The number of further entries that are kept for followers.
    pub log_held_max: u64,
    /// The most parts of a snapshot.
    pub parts_max: u64,
    /// The longest verification of a complete snapshot, in microseconds.
    pub verify_max: u64,
    /// Snapshots that cannot be made.
    pub fails: u32,
    /// Parts that come damaged.
    pub damaged: u32,
    /// Parts that come twice.
    pub doubled: u32,
    /// Complete snapshots that turn out to be wrong.
    pub wrong: u32,
    /// Snapshots of an earlier connection that are reported on a later one.
    pub late: u32,
    /// Installations that begin when the connection to the leader breaks.
    pub leader_lost: u32,
}

/// What clients do.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkloadSettings {
    /// How many.
    pub clients: usize,
    /// Keys among them.
    pub keys: usize,
    /// Most operations that one client has in flight.
    pub in_flight_max: usize,
    /// Mean pause of a client between operations, in microseconds.
    pub think: u64,
    /// Operations cancelled before their answer, per million.
    pub cancel: u32,
    /// The longest deadline of an attempt, in milliseconds, where the call goes on under the same (session, seq) after
    /// it; 0 for attempts that mostly name none.
    pub attempt_max_ms: u32,
}

/// One run.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The seed.
    pub seed: u64,
    /// Nodes may found the ensemble with a quorum of the voters, and some start late.
    pub founds_with_quorum: bool,
    /// The nodes that found the ensemble: its first voters.
    pub nodes: usize,
    /// Further nodes, which may be added to the ensemble later.
    pub spares: usize,
    /// Milliseconds.
    pub heartbeat_ms: u64,
    /// Milliseconds.
    pub election_ms: u64,
    /// Milliseconds.
    pub session_timeout_ms: u32,
    /// How long faults go on, in microseconds.
    pub fault_time: u64,
    /// How much a node holds.
    pub bounds: Bounds,
    /// The interval of counters at which nodes compare their state hashes.
    pub state_hash_interval: u64,
    /// How much history is kept.
    pub history: HistoryBounds,
    /// How much it applies ahead of its table, in bytes.
    pub unstored_bytes_max: usize,
    /// The network's faults.
    pub network: NetworkSettings,
    /// The disks' faults.
    pub disk: DiskSettings,
    /// The machines' faults.
    pub process: ProcessSettings,
    /// Compaction, and the transfer of snapshots.
    pub snapshots: SnapshotSettings,
    /// The clients.
    pub workload: WorkloadSettings,
}

impl Settings {
    /// A run without faults.
    pub fn quiet(seed: u64, nodes: usize) -> Settings {
        Settings {
            seed,
            founds_with_quorum: false,
            nodes,
            spares: 0,
            heartbeat_ms: 50,
            election_ms: 400,
            session_timeout_ms: 10_000,
            fault_time: 5 * SECOND,
            bounds: Bounds::default(),
            state_hash_interval: 8,
            history: HistoryBounds::DEFAULT,
            unstored_bytes_max: UNSTORED_BYTES_MAX,
            network: NetworkSettings {
                delay_min: 100,
                delay_max: 400,
                slow: 0,
                loss: 0,
                duplicate: 0,
                replay: 0,
                flip: 0,
                garbage: 0,
                reset: 0,
                stall: 0,
                stall_max: 0,
                slow_link: 0,
                partition_every: 0,
                partition_max: 0,
            },
            disk: DiskSettings {
                sync_min: 150,
                sync_max: 400,
                slow_disk: 0,
                one_slow_disk: 0,
                stall: 0,
                stall_max: 0,
                error: 0,
                partial: 0,
                table_max: 40,
                flush: 1_000_000,
                flush_every: u64::MAX,
                cold: 0,
                read_max: 40,
                segment_bytes: 65_536,
                interrupted_start: 0,
                full_every: 0,
                space_every: 0,
                full_max: 0,
                ignores_mark: false,
                damage_every: 0,
                alter_every: 0,
                scrub_every: 0,
            },
            snapshots: SnapshotSettings {
                log_kept: u64::MAX,
                log_held_max: 0,
                parts_max: 1,
                fails: 0,
                damaged: 0,
                doubled: 0,
                wrong: 0,
                late: 0,
                leader_lost: 0,
                verify_max: MILLISECOND,
            },
            process: ProcessSettings {
                crash_every: 0,
                pause_every: 0,
                down_max: 0,
                pause_max: 0,
                crash_all: 0,
                wipe: 0,
                no_return: 0,
                beyond_quorum: false,
                early_crashes: false,
                sync_crash: 0,
                depose_every: 0,
                change_every: 0,
                transfer_every: 0,
                recoveries: 0,
                drift: 0,
            },
            workload: WorkloadSettings {
                clients: 3,
                keys: 4,
                in_flight_max: 2,
                think: 50_000,
                cancel: 0,
                attempt_max_ms: 0,
            },
        }
    }

    /// The run of a seed.
    pub fn of_seed(seed: u64) -> Settings {
        let mut settings = Settings::without_recovery(seed);
        let r = &mut Random::new(seed, Stream::Recovery);
        if r.one_in(RECOVERY_SEEDS) {
            settings.add_recoveries(r);
        }
        settings
    }

    /// A majority is lost in this run. Other data directories are not lost, and disks keep their promises: whether a quorum
    /// remains is judged by what is lost.
    fn add_recoveries(&mut self, r: &mut Random) {
        self.nodes = r.pick(&[2, 3, 3, 5, 5, 5]);
        self.founds_with_quorum = false;
        let process = &mut self.process;
        process.recoveries = r.pick(&[1, 1, 2]);
        (process.wipe, process.no_return, process.beyond_quorum) = (0, 0, false);
        (self.disk.damage_every, self.disk.alter_every) = (0, 0);
        if self.nodes == 5 && r.one_in(2) {
            // A leader that is separated with a minority goes on proposing what is never committed.
            process.depose_every = r.between(400, 1_500) * MILLISECOND;
        }
    }

    /// The run of a seed, but for what [`Stream::Recovery`] draws.
    fn without_recovery(seed: u64) -> Settings {
        let mut random = Random::new(seed, Stream::Shape);
        let r = &mut random;
        let nodes = match r.below(20) {
            0 => 1,
            1..=3 => 5,
            _ => 3,
        };
        let (heartbeat_ms, election_ms) =
            r.pick(&[(20, 200), (50, 400), (50, 400), (100, 1_000), (300, 1_000)]);
        let mut bounds = Bounds { proposals_max: 256, ..Bounds::default() };
        if r.one_in(2) {
            bounds.tail_bytes = r.pick(&[0, 400, 4_000]);
            bounds.batch_bytes_max = r.pick(&[1, 300, 2_000]);
            bounds.window_bytes_max = r.pick(&[4_000, 40_000]);
        }
        let sometimes =
            |r: &mut Random, share: u32| if r.chance(700_000) { r.below(u64::from(share)) as u32 } else { 0 };
        let every = |r: &mut Random, low: u64, high: u64| {
            if r.chance(700_000) { r.between(low, high) * MILLISECOND } else { 0 }
        };
        let network = NetworkSettings {
            delay_min: 50,
            delay_max: r.pick(&[300, 1_000, 5_000, 20_000]),
            slow: sometimes(r, 20_000),
            loss: sometimes(r, 300_000),
            duplicate: sometimes(r, 100_000),
            replay: sometimes(r, 100_000),
            flip: sometimes(r, 50_000),
            garbage: sometimes(r, 50_000),
            reset: sometimes(r, 3_000),
            stall: sometimes(r, 3_000),
            stall_max: r.pick(&[50, 500, 3_000]) * MILLISECOND,
            slow_link: sometimes(r, 200_000),
            partition_every: every(r, 800, 7_000),
            partition_max: r.pick(&[500, 2_000, 6_000]) * MILLISECOND,
        };
        let mut disk = DiskSettings {
            sync_min: 100,
            sync_max: r.pick(&[200, 1_000, 10_000, 40_000]),
            slow_disk: 0,
            one_slow_disk: 0,
            stall: sometimes(r, 6_000),
            stall_max: r.pick(&[100, 1_000, 8_000, 30_000]) * MILLISECOND,
            error: if r.one_in(4) { 500 } else { 0 },
            partial: sometimes(r, 500_000),
            table_max: r.pick(&[40, 40, 2_000, 100_000]),
            flush: r.pick(&[0, 10_000, 100_000, 1_000_000]),
            flush_every: u64::MAX,
            cold: 0,
            read_max: 40,
            segment_bytes: 65_536,
            interrupted_start: if r.one_in(3) { r.pick(&[50_000, 300_000]) } else { 0 },
            space_every: if r.one_in(4) { r.between(200, 4_000) * MILLISECOND } else { 0 },
            full_every: if r.one_in(6) { r.between(1_000, 8_000) * MILLISECOND } else { 0 },
            full_max: r.pick(&[200, 2_000, 20_000]) * MILLISECOND,
            ignores_mark: false,
            damage_every: if r.one_in(4) { r.between(500, 6_000) * MILLISECOND } else { 0 },
            alter_every: 0,
            scrub_every: 0,
        };
        // Such a run takes several times as long, so there are few of them.
        let long = r.one_in(40);
        let mut process = ProcessSettings {
            crash_every: every(r, 400, 6_000),
            pause_every: every(r, 1_000, 7_000),
            down_max: r.pick(&[20, 500, 4_000]) * MILLISECOND,
            pause_max: if long { 60 * SECOND } else { r.pick(&[50, 1_000, 5_000]) * MILLISECOND },
            crash_all: sometimes(r, 250_000),
            wipe: if r.one_in(5) { 200_000 } else { 0 },
            no_return: if r.one_in(8) { 150_000 } else { 0 },
            beyond_quorum: r.one_in(12),
            early_crashes: r.one_in(3),
            sync_crash: if r.one_in(3) { r.pick(&[30_000, 150_000]) } else { 0 },
            drift: if r.chance(700_000) { 50_000 } else { 0 },
            depose_every: 0,
            change_every: 0,
            transfer_every: 0,
            recoveries: 0,
        };
        let clients = if r.one_in(4) { r.between(7, 10) } else { r.between(3, 6) } as usize;
        let workload = WorkloadSettings {
            clients,
            keys: r.between(1, 5) as usize,
            in_flight_max: r.pick(&[1, 2, 4, 8]),
            // The more clients, the less each of them does: a key's history is to be short enough for its judge.
            think: r.between(10, 150) * MILLISECOND * clients.max(4) as u64 / 4,
            cancel: sometimes(r, 60_000),
            attempt_max_ms: 0,
        };
        bounds.round_jump_max = r.pick(&[2, bounds.round_jump_max]);
        bounds.proposals_max = r.pick(&[3, bounds.proposals_max, bounds.proposals_max]);
        let log_kept = if r.one_in(3) { u64::MAX } else { r.between(0, 20) };
        let snapshots = SnapshotSettings {
            log_kept,
            log_held_max: r.pick(&[0, 3, 20, 1_000]),
            parts_max: r.pick(&[1, 3, 12]),
            fails: sometimes(r, 200_000),
            damaged: sometimes(r, 100_000),
            doubled: sometimes(r, 200_000),
            wrong: sometimes(r, 200_000),
            late: r.pick(&[0, 300_000, 1_000_000]),
            leader_lost: sometimes(r, 300_000),
            verify_max: r.pick(&[1, 20, 600]) * MILLISECOND,
        };
        disk.flush_every = r.between(5, 50);
        let session_timeout_ms = r.pick(&[1_500, 4_000, 20_000]);
        let fault_time = if long { r.between(30, 70) } else { r.between(10, 18) } * SECOND;
        if r.one_in(if nodes == 5 { 2 } else { 3 }) {
            process.depose_every = r.between(700, 4_000) * MILLISECOND;
        }
        let mut unstored_bytes_max = r.pick(&[1, 2_000, UNSTORED_BYTES_MAX, UNSTORED_BYTES_MAX]);
        let attempt_max_ms = if r.one_in(3) { r.pick(&[60, 200, 500]) } else { 0 };
        let workload = WorkloadSettings { attempt_max_ms, ..workload };
        if r.one_in(16) {
            // About as long as the election timeout. Longer, and little happens in a run.
            disk.slow_disk = (election_ms * r.pick(&[500, 1_000, 1_500])).min(800 * MILLISECOND);
            // Clients that ask anew before such a disk has written would fill a few places with one write.
            bounds.proposals_max = bounds.proposals_max.max(256);
            // One entry applied for each of its writes would leave a node behind at the end.
            unstored_bytes_max = UNSTORED_BYTES_MAX;
        }
        disk.cold = r.pick(&[0, 0, 50_000, 300_000, 900_000]);
        disk.read_max = r.pick(&[40, 2_000, 30_000]);
        if r.one_in(if nodes == 5 { 2 } else { 4 }) {
            disk.alter_every = r.between(500, 5_000) * MILLISECOND;
            disk.scrub_every = if r.chance(700_000) { r.between(1_000, 8_000) * MILLISECOND } else { 0 };
        }
        let mut spares = 0;
        if r.one_in(3) {
            process.change_every = r.between(100, 2_000) * MILLISECOND;
            spares = r.between(1, 2) as usize;
            // A node that is lost for good is not replaced yet, and without it a change may take the quorum away.
            process = ProcessSettings { no_return: 0, beyond_quorum: false, ..process };
            disk = DiskSettings { damage_every: 0, alter_every: 0, ..disk };
        }
        let state_hash_interval = r.pick(&[2, 8, 8, 32]);
        if r.one_in(3) {
            process.transfer_every = r.between(100, 2_000) * MILLISECOND;
        }
        // Small, so that segments end often and some appends are split.
        disk.segment_bytes = r.pick(&[8_192, 8_192, 16_384, 65_536]);
        if nodes > 1 && disk.slow_disk == 0 && r.one_in(12) {
            disk.one_slow_disk = (election_ms * r.pick(&[500, 1_000])).min(500 * MILLISECOND);
            bounds.proposals_max = bounds.proposals_max.max(256);
            unstored_bytes_max = UNSTORED_BYTES_MAX;
        }
        let founds_with_quorum = nodes > 1 && r.one_in(5);
        let history = HistoryBounds {
            age_us: r.pick(&[0, 300, 3_000, 3_600_000]) * MILLISECOND,
            revisions_min: r.pick(&[0, 5, 50, 10_000]),
            bytes_max: r.pick(&[500, 5_000, 1 << 30]),
            bytes_limit: u64::MAX,
            interval_us: r.pick(&[50, 1_000]) * MILLISECOND,
        };
        Settings {
            seed,
            founds_with_quorum,
            nodes,
            spares,
            heartbeat_ms,
            election_ms,
            session_timeout_ms,
            fault_time,
            bounds,
            state_hash_interval,
            history,
            unstored_bytes_max,
            network,
            disk,
            snapshots,
            process,
            workload,
        }
    }

    /// The settings of a node's disk.
    pub fn disk_of(&self, node: usize) -> DiskSettings {
        let slow = if node + 1 == self.nodes { self.disk.one_slow_disk } else { 0 };
        DiskSettings { slow_disk: self.disk.slow_disk.max(slow), ..self.disk.clone() }
    }

    /// How many nodes may lose their disks, or never come back: a minority where the ensemble is founded with a quorum. There
    /// a quorum of nodes with empty directories may found a second ensemble, which is the documented risk of the flag.
    pub fn lost_max(&self) -> usize {
        let beyond_quorum = self.process.beyond_quorum && !self.founds_with_quorum;
        if beyond_quorum { self.nodes - 1 } else { (self.nodes - 1) / 2 }
    }
}
