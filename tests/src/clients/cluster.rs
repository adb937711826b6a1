//! An ensemble that clients reach through proxies, and its faults, all of which can be undone.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    pin::pin,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use gometa_client::{Client, ErrorKind, NodeStatus, Role};
use tokio::time::{Instant, sleep, timeout};

use super::proxy::Proxy;
use crate::{ensemble::Ensemble, impostors::Impostors, program::program, wait::PATIENCE};

/// The timeout of the observer's reads.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two of them.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Three nodes behind proxies, and other servers that are no nodes.
pub struct Cluster {
    ensemble: Ensemble,
    proxy: Proxy,
    impostors: Impostors,
    killed: BTreeSet<usize>,
    paused: BTreeSet<usize>,
}

impl Cluster {
    /// Starts three nodes, and waits until they are ready.
    pub async fn start() -> Cluster {
        let mut ensemble = Ensemble::prepare(3);
        let targets: Vec<SocketAddr> =
            ensemble.all().iter().map(|node| ensemble.addresses(*node).request).collect();
        let proxy = Proxy::of(&targets).await;
        ensemble.announce(proxy.addresses());
        ensemble.start_all().await;
        let impostors = Impostors::start().await;
        Cluster { ensemble, proxy, impostors, killed: BTreeSet::new(), paused: BTreeSet::new() }
    }

    /// Returns the addresses for the names `$nodes`, `$http`, `$noise`, `$silent`, `$dead`; anything else is an address.
    pub fn peers(&self, name: &str) -> String {
        match name {
            "$nodes" => {
                let all: Vec<String> = self.proxy.addresses().iter().map(ToString::to_string).collect();
                all.join(",")
            }
            "$http" => self.impostors.http.to_string(),
            "$noise" => self.impostors.noise.to_string(),
            "$silent" => self.impostors.silent.to_string(),
            "$dead" => self.impostors.dead.to_string(),
            address => address.to_owned(),
        }
    }

    /// Returns the nodes' own addresses.
    pub fn direct(&self) -> Vec<String> {
        self.ensemble.requests_from(0)
    }

    /// Returns a client that bypasses the proxies. It is pinned, so that it does not follow announced addresses.
    pub fn observer(&self) -> Client {
        let built = Client::builder().timeout(LOOK_TIMEOUT).pinned(true).build(self.direct());
        built.unwrap_or_else(|error| panic!("no client: {error}"))
    }

    /// Waits until a key has this value, or does not exist if there is none.
    pub async fn until_written(&self, key: &[u8], value: Option<&[u8]>) -> anyhow::Result<()> {
        let (observer, begun) = (self.observer(), Instant::now());
        loop {
            let read = observer.get(key).await;
            let found = match &read {
                Ok(entry) => Some(&*entry.value),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => anyhow::bail!("{error}"),
            };
            if found == value {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the write is not applied");
            sleep(LOOK_PAUSE).await;
        }
    }

    /// Injects or ends a fault by its name, or waits until it has had an effect.
    pub async fn fault(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            "withhold-answers" => self.proxy.withhold(0),
            "withhold-answers-after-next" => self.proxy.withhold(1),
            "until-answer-withheld" => {
                let withheld = timeout(PATIENCE, self.proxy.until_withheld()).await;
                withheld.context("no answer was withheld")?;
            }
            "release-answers" => self.proxy.release(),
            "kill-leader" => {
                let leader = self.ensemble.leader().await;
                self.kill(leader);
            }
            "lose-quorum" => {
                let leader = self.ensemble.leader().await;
                for node in self.ensemble.others(leader) {
                    self.kill(node);
                }
            }
            "regain-quorum" | "restart-killed" => self.start_killed().await,
            "restart-all" => {
                self.ensemble.all().into_iter().for_each(|node| self.kill(node));
                self.start_killed().await;
            }
            "pause-leader" => {
                let leader = self.ensemble.leader().await;
                self.ensemble.pause(leader);
                self.paused.insert(leader);
            }
            "resume" => self.resume(),
            "found-anew" => self.found_anew().await?,
            "cut-connections" => self.ensemble.all().into_iter().for_each(|node| self.proxy.cut(node)),
            _ => anyhow::bail!("there is no fault {name}"),
        }
        Ok(())
    }

    /// Waits for work, whose tasks run by themselves, and kills the leader every `every` meanwhile. Returns the result and the
    /// number of kills.
    pub async fn kill_leaders_during<T>(
        &mut self,
        every: Duration,
        work: impl Future<Output = T>,
    ) -> (T, usize) {
        let mut work = pin!(work);
        let mut kills = 0;
        loop {
            match timeout(every, &mut work).await {
                Ok(done) => return (done, kills),
                Err(_) => {
                    self.change_leader().await;
                    kills += 1;
                }
            }
        }
    }

    /// Kills the leader, and restarts it when another node leads.
    pub async fn change_leader(&mut self) {
        let leader = self.ensemble.leader().await;
        self.kill(leader);
        self.ensemble.leader().await;
        self.start_killed().await;
    }

    /// Ends all faults, and waits until all nodes have the same state.
    pub async fn mend(&mut self) {
        self.proxy.release();
        self.resume();
        self.start_killed().await;
        self.ensemble.converged(&self.ensemble.all()).await;
    }

    fn kill(&mut self, node: usize) {
        if self.killed.insert(node) {
            self.ensemble.kill(node);
            self.proxy.cut(node);
        }
    }

    async fn start_killed(&mut self) {
        let killed = std::mem::take(&mut self.killed);
        killed.iter().for_each(|node| self.ensemble.spawn(*node));
        for node in killed {
            self.ensemble.ready(node).await;
        }
    }

    /// Stops all nodes, founds the ensemble anew from one of them, and lets the others join it with empty directories. Ends
    /// the withholding of answers: those that are withheld are dropped.
    async fn found_anew(&mut self) -> anyhow::Result<()> {
        let running: Vec<usize> =
            self.ensemble.all().into_iter().filter(|node| !self.killed.contains(node)).collect();
        // Nodes that follow no leader cannot converge: then the one that is left has everything.
        if running.len() > 1 {
            self.ensemble.converged(&running).await;
        }
        let founder = *running.first().context("all nodes are killed")?;
        running.iter().for_each(|node| self.kill(*node));
        self.proxy.release();
        let mut recovery = tokio::process::Command::new(program("gometa-server"));
        recovery.args(["-recover=yes-lose-unreplicated-writes", "-config=node.json"]).stdin(Stdio::null());
        let output = recovery.current_dir(self.ensemble.directory(founder)).kill_on_drop(true).output();
        let output = timeout(PATIENCE, output).await.context("the recovery does not end")??;
        anyhow::ensure!(output.status.success(), "{output:?}");
        self.ensemble.restart(founder).await;
        for node in self.ensemble.others(founder) {
            self.ensemble.wipe(node);
            let mut command = Command::new(program("gometa-server"));
            command.args([format!("-join={}", self.ensemble.request(founder)), "-voter".to_owned()]);
            self.ensemble.spawn_with(node, command);
        }
        for node in self.ensemble.others(founder) {
            let votes = |status: &NodeStatus| status.votes && status.role == Role::Following;
            self.ensemble.status_when(node, "is a voter", votes).await;
        }
        self.killed.clear();
        Ok(())
    }

    fn resume(&mut self) {
        for node in std::mem::take(&mut self.paused) {
            self.ensemble.resume(node);
        }
    }
}
