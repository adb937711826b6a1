//! Three processes of one system on loopback.

mod etcd;
mod gometa;
mod process;
mod zookeeper;

use std::{
    fs, io,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::process::Node;
use crate::{
    args::{Args, Placement, System},
    client::{self, Client},
    procfs::{self, Usage},
};

/// The processes of an ensemble.
pub(crate) const NODES: usize = 3;
/// How long an ensemble may take until it has a leader and accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an ensemble is started with other ports, if another program takes one of them meanwhile.
const ATTEMPTS: usize = 3;
/// The pause between two looks at processes that are starting.
const POLL: Duration = Duration::from_millis(100);
/// A running ensemble. Its processes are killed when it is dropped.
pub(crate) struct Ensemble {
    system: System,
    nodes: Vec<Node>,
    /// The command line of the first process, without its environment.
    command: String,
}

impl Ensemble {
    /// Starts the processes with data and logs in `directory`, and waits until they serve.
    pub(crate) async fn start(system: System, args: &Args, directory: &Path) -> Result<Ensemble> {
        let mut attempts = 1..=ATTEMPTS;
        loop {
            let attempt = attempts.next().unwrap_or(ATTEMPTS);
            let directory = directory.join(format!("{system}-{attempt}"));
            match Self::start_once(system, args, &directory).await {
                Ok(ensemble) => return Ok(ensemble),
                Err(error) if attempts.is_empty() || error.downcast_ref::<io::Error>().is_some() => {
                    return Err(error.context(format!("{} cannot be started", system.name())));
                }
                Err(_) => {}
            }
        }
    }

    async fn start_once(system: System, args: &Args, directory: &Path) -> Result<Ensemble> {
        let mut plans = Vec::new();
        let directories: Vec<PathBuf> =
            (1..=NODES).map(|node| directory.join(format!("node{node}"))).collect();
        for directory in &directories {
            fs::create_dir_all(directory)?;
        }
        let ports = free_ports(NODES * 3)?;
        match system {
            System::Gometa => plans.extend(gometa::plans(args, &directories, &ports)?),
            System::Etcd => plans.extend(etcd::plans(args, &directories, &ports)),
            System::ZooKeeper => plans.extend(zookeeper::plans(args, &directories, &ports)?),
        }
        let mut ensemble = Ensemble { system, nodes: Vec::new(), command: plans[0].described() };
        for (plan, directory) in plans.into_iter().zip(directories) {
            ensemble.nodes.push(plan.start(&directory)?);
        }
        let begun = Instant::now();
        loop {
            ensemble.check_alive()?;
            match ensemble.leader().await {
                Ok(_) if ensemble.all_accept().await => return Ok(ensemble),
                Ok(_) => {}
                Err(error) if begun.elapsed() > START_TIMEOUT => {
                    let last = ensemble.nodes[0].last_log_lines();
                    return Err(error.context(format!("not ready within {START_TIMEOUT:?}\n{last}")));
                }
                Err(_) => {}
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// The command line of the first process.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    async fn all_accept(&self) -> bool {
        for node in &self.nodes {
            match Client::connect(self.system, &node.address).await {
                Ok(client) => client.close().await,
                Err(_) => return false,
            }
        }
        true
    }

    /// Returns an error with the end of its log if a process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if let Some(status) = node.ended()? {
                let (name, log) = (self.system.name(), node.last_log_lines());
                bail!("process {} of {name} has ended: {status}\n{log}", number + 1);
            }
        }
        Ok(())
    }

    /// The address of the leader.
    pub(crate) async fn leader(&self) -> Result<&str> {
        let mut failure = None;
        for node in &self.nodes {
            match client::leads(self.system, &node.address).await {
                Ok(true) => return Ok(&node.address),
                Ok(false) => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure
            .map_or_else(|| anyhow::anyhow!("no node leads"), |error| error.context("no leader found")))
    }

    /// Opens connections: all to the leader, or the same number to each node.
    pub(crate) async fn connect(&self, count: usize, placement: Placement) -> Result<Vec<Client>> {
        let addresses: Vec<&str> = match placement {
            Placement::Leader => vec![self.leader().await?],
            Placement::Spread => self.nodes.iter().map(|node| node.address.as_str()).collect(),
        };
        let mut clients = Vec::new();
        for address in addresses.iter().cycle().take(count) {
            let client = Client::connect(self.system, address).await;
            clients.push(
                client.with_context(|| format!("cannot connect to {} at {address}", self.system.name()))?,
            );
        }
        Ok(clients)
    }

    /// What the processes have used together.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of_all(self.nodes.iter().map(|node| node.pid()))
    }

    /// The resident memory of each process in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<Vec<u64>> {
        self.nodes.iter().map(|node| procfs::resident_bytes(node.pid())).collect()
    }

    /// What the program says of its version.
    pub(crate) async fn version(&self, args: &Args) -> Result<String> {
        Ok(match self.system {
            System::Gometa => {
                format!("{}, commit {}", printed(&args.gometa, "-version")?, args.gometa_commit)
            }
            System::Etcd => printed(&args.etcd, "--version")?,
            System::ZooKeeper => {
                let answer = client::zookeeper::describe(&self.nodes[0].address).await?;
                let version = answer.lines().next().unwrap_or_default();
                format!("{version}; {}", printed(&args.java, "-version")?)
            }
        })
    }
}

/// The lines that a program prints with one argument, joined.
fn printed(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let output = output.with_context(|| program.display().to_string())?;
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", "))
}

/// Ports that are free for TCP and UDP. All are held until the last one is chosen, so that they differ.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        if let Ok(socket) = UdpSocket::bind(("127.0.0.1", port)) {
            held.push((port, listener, socket));
        }
    }
    Ok(held.into_iter().map(|(port, _, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(9).expect("nine free ports");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
    }
}
