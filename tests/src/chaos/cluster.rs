//! One ensemble and its clients, from the start to the final check.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{self, Command},
    sync::Mutex,
    time::{Duration, Instant},
};

use gometa_client::{Client, Role};

use super::{
    images::{Images, RUN_VARIABLE},
    judge::{Evidence, judge},
    kinds::Kind,
    preload::Preload,
    tally::Tally,
    workload::{COUNTER, Workload},
};
use crate::{
    ensemble::Ensemble,
    lock,
    program::program,
    random::{self, Random},
    wait::until,
};

const NODES: usize = 3;
/// The deadline for the next acknowledged write, and for complete recovery, after the end of a fault.
pub(super) const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// The timeout of one attempt of the client that waits for the next acknowledged write.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The minimum number of operations between two faults, and the minimum time in which their rate is measured.
const CALM_OPERATIONS: u64 = 100;
const CALM_TIME: Duration = Duration::from_millis(300);
/// The destination of the standard output and standard error of all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// Files, whose last lines are checked.
    Kept,
    /// Full pipes that are not read.
    Blocked,
}

/// The fields are dropped in order: clients, then processes, then their disks.
pub(super) struct Cluster {
    pub(super) workload: Workload,
    pub(super) probe: Client,
    pub(super) ensemble: Ensemble,
    pub(super) images: Option<Images>,
    preload: Option<Preload>,
    pub(super) random: Random,
    /// A node that has lost its directory. It counts in no quorum, so there are no faults after that.
    pub(super) wiped: Option<usize>,
    /// Nodes that run on damaged files, where the damage had no effect so far.
    pub(super) damaged: BTreeSet<usize>,
}

impl Cluster {
    /// Starts three nodes and, when they are ready, the clients.
    pub(super) async fn start(seed: u64, outputs: Outputs, tally: &Mutex<Tally>) -> Cluster {
        let mut random = random::seeded(seed);
        let images = Images::mount(NODES);
        let mut ensemble = Ensemble::prepare_on_network(NODES, &mut random).await;
        if outputs == Outputs::Blocked {
            ensemble.block_outputs();
        }
        let preload = Preload::compile(ensemble.scratch(), NODES);
        let mut skipped = Vec::new();
        if let Err(error) = &images {
            skipped.push(format!("full disks and power cuts: no loop-mounted images ({error})"));
        }
        if let Err(error) = &preload {
            skipped.push(format!("failing and slow syncs, jumping clocks: no library for them ({error})"));
        }
        lock(tally).skipped = skipped;
        let probe = ensemble.client(PROBE_TIMEOUT);
        let clients = 4 + random.below(5) as usize;
        let mut cluster = Cluster {
            // There are no clients yet; dropping this value stops the nodes if anything fails.
            workload: Workload::none(),
            probe,
            ensemble,
            images: images.ok(),
            preload: preload.ok(),
            random,
            wiped: None,
            damaged: BTreeSet::new(),
        };
        cluster.restart(&cluster.ensemble.all()).await;
        let counter = cluster.probe.add(COUNTER, "0").await;
        counter.unwrap_or_else(|error| panic!("a new ensemble takes no write: {error}"));
        cluster.workload = Workload::start(&cluster.ensemble, clients, &mut cluster.random);
        cluster
    }

    /// Returns the disk images.
    pub(super) fn images(&self) -> &Images {
        self.images.as_ref().unwrap_or_else(|| panic!("there are no disk images"))
    }

    /// Returns the preloaded library.
    pub(super) fn library(&self) -> &Preload {
        self.preload.as_ref().unwrap_or_else(|| panic!("there is no library"))
    }

    /// Whether this machine has what a kind of fault needs.
    pub(super) fn allows(&self, kind: Kind) -> bool {
        (self.images.is_some() || !kind.needs_images()) && (self.preload.is_some() || !kind.needs_library())
    }

    /// Whether there are disk images and the library.
    pub(super) fn has_all_means(&self) -> bool {
        self.images.is_some() && self.preload.is_some()
    }

    /// Returns a node's data directory.
    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.images.as_ref().map_or_else(|| self.ensemble.data(node), |images| images.data(node))
    }

    /// Returns the acknowledged writes of keys that are written once, with their revisions.
    pub(super) fn written(&self) -> Vec<(String, u64)> {
        self.workload.shared.written()
    }

    /// Returns the number of clients.
    pub(super) fn clients(&self) -> usize {
        self.workload.clients
    }

    /// Returns the nanoseconds since the clients were started, as in their histories.
    pub(super) fn now(&self) -> u64 {
        self.workload.shared.now()
    }

    /// Starts a node without waiting for it.
    pub(super) fn spawn(&mut self, node: usize) {
        self.spawn_with(node, &[]);
    }

    /// The same, with flags.
    pub(super) fn spawn_with(&mut self, node: usize, flags: &[&str]) {
        let mut command = Command::new(program("gometa-server"));
        command.args(flags);
        command.env(RUN_VARIABLE, process::id().to_string());
        if let Some(images) = &self.images {
            command.env("GOMETA_DATA_DIR", images.data(node));
        }
        if let Some(preload) = &self.preload {
            preload.apply(node, &mut command);
        }
        self.ensemble.spawn_with(node, command);
    }

    /// Stops the clients, and returns the results that they received.
    pub(super) async fn stop(&mut self) -> Evidence {
        let promises = self.workload.stop().await;
        Evidence { clients: self.workload.clients, promises, written: self.workload.shared.written() }
    }

    /// Checks the results of clients that have stopped.
    pub(super) async fn verdict(&self, evidence: &Evidence) -> Tally {
        let mut verdict = Tally::default();
        judge(&self.ensemble, &self.workload.shared, evidence, &mut verdict).await;
        verdict
    }

    /// Lets the clients work for a while, and returns the acknowledged operations per second.
    pub(super) async fn calm(&self) -> f64 {
        let (begun, before) = (Instant::now(), self.workload.acknowledged());
        until("the clients go on", RECOVERY_MAX, || async {
            let done = self.workload.acknowledged() - before;
            if done >= CALM_OPERATIONS && begun.elapsed() >= CALM_TIME {
                Ok(())
            } else {
                Err(format!("{done} operations"))
            }
        })
        .await;
        (self.workload.acknowledged() - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Waits for the next acknowledged write, and returns the time since `since`.
    pub(super) async fn serves_again(&self, since: Instant) -> Duration {
        until("the next write is acknowledged", RECOVERY_MAX, || async {
            self.probe.set("probe", "x").await.map_err(|error| error.to_string())
        })
        .await;
        since.elapsed()
    }

    /// Waits until the ensemble has recovered completely.
    pub(super) async fn whole(&self) {
        whole(&self.ensemble, &self.probe).await;
    }
}

/// Waits until one node leads, all others follow it, all vote, and all have applied the last write.
pub(super) async fn whole(ensemble: &Ensemble, probe: &Client) {
    let written = until("a write through the whole ensemble", RECOVERY_MAX, || async {
        probe.set("probe", "x").await.map_err(|error| error.to_string())
    })
    .await;
    until("the ensemble is whole again", RECOVERY_MAX, || async {
        let mut leaders = 0;
        let mut statuses = Vec::new();
        for node in ensemble.all() {
            statuses.push(ensemble.status(node).await.map_err(|error| error.to_string())?);
        }
        for status in &statuses {
            leaders += usize::from(status.role == Role::Leading);
            let well = matches!(status.role, Role::Leading | Role::Following)
                && status.votes
                && status.leader == statuses[0].leader
                && status.applied_revision >= written.revision;
            if !well {
                return Err(format!("{status:?}"));
            }
        }
        if leaders == 1 { Ok(()) } else { Err(format!("{leaders} lead")) }
    })
    .await;
}
