//! One ensemble, its clients and its faults, from the start to the verdict.

use std::{
    process::{self, Command},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use gometa_client::{Client, Role};

use super::{
    faults::{DECK, Kind},
    images::{Images, RUN_VARIABLE},
    judge::judge,
    sync_fault::SyncFaults,
    tally::{RATE_MIN, Tally},
    tell,
    workload::{COUNTER, Workload},
};
use crate::{ensemble::Ensemble, program::program, random::Random, wait::until};

const NODES: usize = 3;
/// How long an ensemble may take to acknowledge a write again, and to be whole again, once nothing is in its way.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// One attempt of the client that waits for the next acknowledged write.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Operations between two faults, at least, and the time in which their rate is measured, at least.
const CALM_OPERATIONS: u64 = 100;
const CALM_TIME: Duration = Duration::from_millis(300);

/// See the module. What is first ends first: clients, then processes, then the disks under them.
pub(super) struct Arena {
    workload: Workload,
    probe: Client,
    pub(super) ensemble: Ensemble,
    pub(super) images: Option<Images>,
    pub(super) syncs: Option<SyncFaults>,
    pub(super) random: Random,
    lying: bool,
}

impl Arena {
    /// Three nodes, ready, and clients at work. Where the disks lie, no sync does anything and all power is cut, again
    /// and again.
    pub(super) async fn start(seed: u64, lying: bool, tally: &Mutex<Tally>) -> Arena {
        let mut random = Random::new(seed);
        let images = Images::mount(NODES);
        let ensemble = Ensemble::prepare_on_network(NODES, &mut random).await;
        let syncs = SyncFaults::compile(ensemble.scratch());
        let mut skipped = Vec::new();
        if let Err(error) = &images {
            skipped.push(format!("full disks and power cuts: no loop-mounted images ({error})"));
        }
        if let Err(error) = &syncs {
            skipped.push(format!("failing and slow syncs: no library for them ({error})"));
        }
        lock(tally).skipped = skipped;
        let probe = ensemble.client(PROBE_TIMEOUT);
        let clients = 4 + random.below(5) as usize;
        // Clients call nobody before they run, and this value ends what was started if anything fails.
        let workload = Workload::none();
        let (images, syncs) = (images.ok(), syncs.ok());
        let mut arena = Arena { workload, probe, ensemble, images, syncs, random, lying };
        for node in arena.ensemble.all() {
            arena.spawn(node);
        }
        for node in arena.ensemble.all() {
            arena.ensemble.ready(node).await;
        }
        let counter = arena.probe.add(COUNTER, "0").await;
        counter.unwrap_or_else(|error| panic!("a new ensemble takes no write: {error}"));
        for node in arena.ensemble.all().into_iter().filter(|_| lying) {
            let syncs = arena.syncs.as_ref().unwrap_or_else(|| panic!("lying disks need the library"));
            syncs.lie(node).unwrap_or_else(|error| panic!("lying disks: {error}"));
        }
        arena.workload = Workload::start(&arena.ensemble, clients, &mut arena.random);
        arena
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.workload.clients
    }

    /// Starts a node and does not wait for it.
    pub(super) fn spawn(&mut self, node: usize) {
        let mut command = Command::new(program("gometa-server"));
        command.env(RUN_VARIABLE, process::id().to_string());
        if let Some(images) = &self.images {
            command.env("GOMETA_DATA_DIR", images.data(node));
        }
        if let Some(syncs) = &self.syncs {
            syncs.apply(node, &mut command);
        }
        self.ensemble.spawn_with(node, command);
    }

    /// Strikes until the time is over, then judges.
    pub(super) async fn run(&mut self, time: Duration, tally: &Mutex<Tally>) {
        let begun = Instant::now();
        let mut deck = Vec::new();
        while begun.elapsed() < time {
            if deck.is_empty() {
                deck = self.deck();
            }
            let Some(kind) = deck.pop() else { break };
            let rate = self.calm().await;
            let mut blow = self.strike(kind).await;
            self.whole().await;
            if rate < RATE_MIN {
                let reason = format!("fewer than {RATE_MIN:.0} operations a second before the fault");
                blow.effect = blow.effect.and(Err(reason));
            }
            let said = match &blow.effect {
                Ok(()) => String::new(),
                Err(reason) => format!("; INVALID: {reason}"),
            };
            tell(&format!(
                "{:>7.1} s  {:<28} {rate:>6.0}/s before, served after {:>7.0?}  {}{said}",
                begun.elapsed().as_secs_f64(),
                kind.name(),
                blow.served,
                blow.what
            ));
            let mut tally = lock(tally);
            tally.rate(rate);
            tally.fault(kind, blow.processes, blow.effect, blow.served);
        }
        self.calm().await;
        let promises = self.workload.stop().await;
        let shared = self.workload.shared.clone();
        let mut verdict = Tally::default();
        judge(&self.ensemble, &shared, &promises, self.workload.clients, &mut verdict).await;
        let failed = !verdict.is_clean();
        let violations = verdict.violations.join("\n");
        {
            let mut tally = lock(tally);
            tally.operations += shared.operations.load(Relaxed);
            tally.acknowledged += shared.acknowledged.load(Relaxed);
            tally.refused += shared.refused.load(Relaxed);
            tally.unknown += shared.unknown.load(Relaxed);
            tally.looked_for += verdict.looked_for;
            tally.lost += verdict.lost;
            tally.histories += verdict.histories;
            tally.illegal += verdict.illegal;
            tally.unverified += verdict.unverified;
            tally.violations.append(&mut verdict.violations);
        }
        // Ends like any other failure: directories, images and logs are kept.
        assert!(!failed, "{JUDGED}:\n{violations}");
    }

    /// All kinds that this machine allows, shuffled.
    fn deck(&mut self) -> Vec<Kind> {
        if self.lying {
            return vec![Kind::PowerCutAll];
        }
        let all = DECK.iter().flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times));
        let allowed = all.filter(|kind| {
            (self.images.is_some() || !kind.needs_images()) && (self.syncs.is_some() || !kind.needs_library())
        });
        let mut deck: Vec<Kind> = allowed.collect();
        for place in (1..deck.len()).rev() {
            deck.swap(place, self.random.below(place as u64 + 1) as usize);
        }
        deck
    }

    /// Lets the clients work for a while, and gives the operations a second that were acknowledged.
    async fn calm(&self) -> f64 {
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

    /// Waits until one node leads, all others follow it, all vote, and all have what was written last.
    async fn whole(&self) {
        let written = until("a write through the whole ensemble", RECOVERY_MAX, || async {
            self.probe.set("probe", "x").await.map_err(|error| error.to_string())
        })
        .await;
        until("the ensemble is whole again", RECOVERY_MAX, || async {
            let mut leaders = 0;
            let mut statuses = Vec::new();
            for node in self.ensemble.all() {
                statuses.push(self.ensemble.status(node).await.map_err(|error| error.to_string())?);
            }
            for status in &statuses {
                leaders += usize::from(status.role() == Role::Leading);
                let well = matches!(status.role(), Role::Leading | Role::Following)
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
}

/// What a failure begins with whose violations are counted already.
pub(super) const JUDGED: &str = "the verdict";

/// The tally, also after a failure elsewhere.
pub(super) fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run shares with its caller.
pub(super) type SharedTally = Arc<Mutex<Tally>>;
