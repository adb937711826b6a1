//! One ensemble and its clients, from the start to the verdict.

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
    tally::{Tally, lock},
    workload::{COUNTER, Workload},
};
use crate::{
    ensemble::Ensemble,
    program::program,
    random::{self, Random},
    wait::until,
};

const NODES: usize = 3;
/// How long an ensemble may take to acknowledge a write again, and to be whole again, once nothing is in its way.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// One attempt of the client that waits for the next acknowledged write.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Operations between two faults, at least, and the time in which their rate is measured, at least.
const CALM_OPERATIONS: u64 = 100;
const CALM_TIME: Duration = Duration::from_millis(300);
/// What becomes of the standard output and standard error of all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// They go into files, and last lines are looked at.
    Kept,
    /// They are full pipes that are not read.
    Blocked,
}

/// See the module. What is first ends first: clients, then processes, then the disks under them.
pub(super) struct Cluster {
    pub(super) workload: Workload,
    probe: Client,
    pub(super) ensemble: Ensemble,
    pub(super) images: Option<Images>,
    preload: Option<Preload>,
    pub(super) random: Random,
    /// A node that has lost its directory: it is counted in no quorum, so there are no faults after that.
    pub(super) wiped: Option<usize>,
    /// Nodes that go on with files in which bits have changed that nobody needs.
    pub(super) damaged: BTreeSet<usize>,
}

impl Cluster {
    /// Three nodes, ready, and clients at work.
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
        // Clients call nobody before they run, and this value ends what was started if anything fails.
        let workload = Workload::none();
        let (images, preload) = (images.ok(), preload.ok());
        let mut cluster = Cluster {
            workload,
            probe,
            ensemble,
            images,
            preload,
            random,
            wiped: None,
            damaged: BTreeSet::new(),
        };
        for node in cluster.ensemble.all() {
            cluster.spawn(node);
        }
        for node in cluster.ensemble.all() {
            cluster.ensemble.ready(node).await;
        }
        let counter = cluster.probe.add(COUNTER, "0").await;
        counter.unwrap_or_else(|error| panic!("a new ensemble takes no write: {error}"));
        cluster.workload = Workload::start(&cluster.ensemble, clients, &mut cluster.random);
        cluster
    }

    /// The disk images.
    ///
    /// # Panics
    /// If there are none: kinds that need them are not in the schedule then.
    pub(super) fn images(&self) -> &Images {
        self.images.as_ref().unwrap_or_else(|| panic!("there are no disk images"))
    }

    /// The library between servers and system.
    ///
    /// # Panics
    /// If there is none: kinds that need it are not in the schedule then.
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

    /// Where a node's data is.
    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.images.as_ref().map_or_else(|| self.ensemble.data(node), |images| images.data(node))
    }

    /// Acknowledged writes of keys that are written once, so far, with their revisions.
    pub(super) fn written(&self) -> Vec<(String, u64)> {
        self.workload.shared.written()
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.workload.clients
    }

    /// Nanoseconds since the clients began, as in their histories.
    pub(super) fn now(&self) -> u64 {
        self.workload.shared.now()
    }

    /// Starts a node and does not wait for it.
    pub(super) fn spawn(&mut self, node: usize) {
        let mut command = Command::new(program("gometa-server"));
        command.env(RUN_VARIABLE, process::id().to_string());
        if let Some(images) = &self.images {
            command.env("GOMETA_DATA_DIR", images.data(node));
        }
        if let Some(preload) = &self.preload {
            preload.apply(node, &mut command);
        }
        self.ensemble.spawn_with(node, command);
    }

    /// Stops the clients, and gives what they were promised.
    pub(super) async fn stop(&mut self) -> Evidence {
        let promises = self.workload.stop().await;
        Evidence { clients: self.workload.clients, promises, written: self.workload.shared.written() }
    }

    /// Judges what the clients were promised, who have stopped, and nothing else.
    pub(super) async fn verdict(&self, evidence: &Evidence) -> Tally {
        let mut verdict = Tally::default();
        judge(&self.ensemble, &self.workload.shared, evidence, &mut verdict).await;
        verdict
    }

    /// Lets the clients work for a while, and gives the operations a second that were acknowledged.
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

    /// Waits for the next acknowledged write, and says how long after `since` it was.
    pub(super) async fn serves_again(&self, since: Instant) -> Duration {
        until("the next write is acknowledged", RECOVERY_MAX, || async {
            self.probe.set("probe", "x").await.map_err(|error| error.to_string())
        })
        .await;
        since.elapsed()
    }

    /// Waits until the ensemble is whole.
    pub(super) async fn whole(&self) {
        whole(&self.ensemble, &self.probe, self.wiped).await;
    }
}

/// Waits until one node leads, all others follow it, all vote, and all have what was written last. A node that was
/// wiped learns, and has no vote.
pub(super) async fn whole(ensemble: &Ensemble, probe: &Client, wiped: Option<usize>) {
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
        for (node, status) in statuses.iter().enumerate() {
            leaders += usize::from(status.role == Role::Leading);
            let voter = matches!(status.role, Role::Leading | Role::Following) && status.votes;
            let well = (if wiped == Some(node) { status.role == Role::Learning } else { voter })
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
