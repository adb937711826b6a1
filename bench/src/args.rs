//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::workload::{Operation, Workload};

/// A system that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum System {
    Gometa,
    Etcd,
    #[value(name = "zookeeper")]
    ZooKeeper,
}

impl System {
    pub(crate) const ALL: [System; 3] = [System::Gometa, System::Etcd, System::ZooKeeper];

    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Gometa => "gometa",
            System::Etcd => "etcd",
            System::ZooKeeper => "ZooKeeper",
        }
    }

    /// Whether it has an operation: ZooKeeper lists names, not values.
    pub(crate) fn has(self, operation: Operation) -> bool {
        self != System::ZooKeeper || operation != Operation::Page
    }
}

/// Which nodes the clients are connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Placement {
    /// All to the leader: no system forwards a request.
    Leader,
    /// The same number to each node.
    Spread,
}

/// Compares gometa with etcd and ZooKeeper: three processes of each on loopback, the same load on one after the other.
///
/// `make bench` builds or downloads what it needs, and runs it with ARGS. docs/benchmarks.md describes what is measured.
#[derive(Parser, Debug)]
#[command(name = "gometa-bench", version, args_override_self = true)]
pub(crate) struct Args {
    /// Systems to measure
    #[arg(long, value_delimiter = ',', default_values_t = System::ALL)]
    pub(crate) systems: Vec<System>,

    /// Workloads, OPERATION-CONNECTIONS or OPERATION-CONNECTIONSxIN_FLIGHT, of the operations set, get (linearizable),
    /// local, page (of 1,000 keys) and txn (of two keys) [default: set-1,set-64,set-8x32,get-64,local-64,page-8,txn-64; with
    /// --rate set-64,get-64,local-64]
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,

    /// Open loop: start N operations a second (over all connections), and measure latency from the intended start
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Keys that exist before the measurement; several numbers, ascending, are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: Vec<u32>,

    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) value_size: u32,

    /// Rounds; each measures every workload on every system [default: 5, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Seconds of one measurement [default: 5, quick: 2]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,

    /// Seconds of load on every system before the first measurement of each workload, for the JIT and the caches
    /// [default: 15, quick: 4]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(0..=600))]
    warm_up: Option<u32>,

    /// A short run, to see that everything works. ZooKeeper's JIT is not warm then
    #[arg(long)]
    pub(crate) quick: bool,

    /// Nodes that clients are connected to
    #[arg(long, value_enum, default_value_t = Placement::Leader)]
    pub(crate) placement: Placement,

    /// Threads of the load generator
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,

    /// Directory for the data of all systems, in which a temporary directory is made. Not on a tmpfs
    #[arg(long, value_name = "DIR", default_value = "target/gometa-bench-data")]
    pub(crate) data_dir: PathBuf,

    /// Leave data and logs there at the end
    #[arg(long)]
    pub(crate) keep: bool,

    /// File for all results; FILE is replaced
    #[arg(long, value_name = "FILE", default_value = "target/gometa-bench.json")]
    pub(crate) json: PathBuf,

    /// The program gometa-server
    #[arg(long, value_name = "FILE", default_value = "gometa-server")]
    pub(crate) gometa: PathBuf,

    /// The commit that it was built from, for the report
    #[arg(long, value_name = "COMMIT", default_value = "unknown")]
    pub(crate) gometa_commit: String,

    /// The program etcd
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    pub(crate) etcd: PathBuf,

    /// The program java
    #[arg(long, value_name = "FILE", default_value = "java")]
    pub(crate) java: PathBuf,

    /// The directory of ZooKeeper's jars
    #[arg(long, value_name = "DIR", default_value = "zookeeper/lib")]
    pub(crate) zookeeper_lib: PathBuf,

    /// Heap of each ZooKeeper process in MiB [default: 1000, as zkServer.sh; 3000 from 500,000 keys on]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=65_536))]
    zookeeper_heap: Option<u32>,

    /// Measures syncs to FILE, and prints latencies; internal
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) sync_probe: Option<PathBuf>,
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name().to_lowercase())
    }
}

impl Args {
    /// The workloads of the run.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let defaults: &[&str] = if self.rate.is_some() { &Workload::OPEN } else { &Workload::CLOSED };
        let mut workloads = self.workloads.clone();
        if workloads.is_empty() {
            workloads.extend(defaults.iter().map(|name| name.parse::<Workload>().expect("a workload")));
        }
        match self.rate {
            Some(rate) => workloads.into_iter().map(|workload| workload.at_rate(rate)).collect(),
            None => workloads,
        }
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    /// The time of one measurement.
    pub(crate) fn duration(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 2 } else { 5 });
        Duration::from_secs(seconds.into())
    }

    pub(crate) fn warm_up(&self) -> Duration {
        let seconds = self.warm_up.unwrap_or(if self.quick { 4 } else { 15 });
        Duration::from_secs(seconds.into())
    }

    /// The heap of a ZooKeeper process in MiB.
    pub(crate) fn zookeeper_heap(&self) -> u32 {
        let keys = self.keys.last().copied().unwrap_or(0);
        self.zookeeper_heap.unwrap_or(if keys < 500_000 { 1000 } else { 3000 })
    }

    /// Checks what clap does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.keys.is_empty() || !self.keys.is_sorted_by(|one, next| one < next) {
            return Err("--keys: expected ascending numbers, as in --keys 1000,1000000".to_owned());
        }
        if self.systems.is_empty() {
            return Err("--systems: expected at least one".to_owned());
        }
        let mut systems = self.systems.clone();
        systems.sort_unstable();
        systems.dedup();
        if systems.len() != self.systems.len() {
            return Err("--systems: each system at most once".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Loop;

    fn args(line: &str) -> Result<Args, String> {
        let words = ["gometa-bench"].into_iter().chain(line.split_whitespace());
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        args.check().map(|()| args)
    }

    #[test]
    fn an_empty_line_is_the_whole_comparison() {
        let args = args("").expect("valid");
        assert_eq!(args.systems, System::ALL);
        assert_eq!(args.workloads().len(), Workload::CLOSED.len());
        assert_eq!((args.rounds(), args.duration().as_secs(), args.warm_up().as_secs()), (5, 5, 15));
        assert_eq!((&args.keys[..], args.value_size, args.zookeeper_heap()), (&[1000][..], 128, 1000));
    }

    #[test]
    fn quick_shortens_what_is_not_given() {
        let args = args("--quick --rounds 3").expect("valid");
        assert_eq!((args.rounds(), args.duration().as_secs(), args.warm_up().as_secs()), (3, 2, 4));
    }

    #[test]
    fn a_rate_opens_the_loop() {
        let open = args("--rate 2000").expect("valid").workloads();
        assert_eq!(open.len(), Workload::OPEN.len());
        assert!(open.iter().all(|workload| workload.pacing == Loop::Open { rate: 2000 }));
        let one = args("--rate 5 --workloads set-1").expect("valid").workloads();
        assert_eq!(one.iter().map(ToString::to_string).collect::<Vec<_>>(), ["set-1@5"]);
    }

    #[test]
    fn a_million_keys_get_a_larger_heap() {
        let large = args("--keys 1000,1000000 --systems etcd,zookeeper").expect("valid");
        assert_eq!((&large.keys[..], large.zookeeper_heap()), (&[1000, 1_000_000][..], 3000));
        assert_eq!(large.systems, [System::Etcd, System::ZooKeeper]);
        assert_eq!(args("--zookeeper-heap 500 --keys 1000000").expect("valid").zookeeper_heap(), 500);
    }

    #[test]
    fn wrong_values_name_their_option() {
        for (line, word) in [
            ("--keys 0", "--keys"),
            ("--keys 2,1", "--keys"),
            ("--systems etcd,etcd", "--systems"),
            ("--systems raft", "--systems"),
            ("--workloads put-1", "set-8x32"),
            ("--rate 0", "--rate"),
            ("--seconds 0", "--seconds"),
            ("--value-size 0", "--value-size"),
        ] {
            let error = args(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
