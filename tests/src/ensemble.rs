//! Supervises an ensemble of real `gometa-server` processes on one machine: starts, kills, pauses and wipes them.
//!
//! Each node has a scratch directory of its own, which is its working directory, with `node.json`, `gometa-data`,
//! and the output of each of its starts. Each ensemble has a loopback address of its own (127.x.y.z), and the
//! system picks the ports there: connections that start from 127.0.0.1, as all others on the machine do, cannot
//! take the port of a node that is being restarted.

use std::{
    fs,
    io::PipeReader,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use gometa_client::{Client, NodeStatus, Role};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    network::{Network, Target},
    program::{Process, program},
    random::Random,
    say,
    wait::{PATIENCE, until},
};

/// The timeout of a status request.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of lines that are printed of each node's log after a failure.
const TAIL_LINES: usize = 40;

/// A node's three addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// UDP.
    pub election: SocketAddr,
    /// TCP, for nodes.
    pub message: SocketAddr,
    /// TCP, for clients.
    pub request: SocketAddr,
}

/// Reserved ports: no other process gets them while this value exists.
pub struct Reserved {
    /// The addresses.
    pub addresses: Addresses,
    _sockets: (UdpSocket, TcpListener, TcpListener),
}

impl Addresses {
    /// Reserves free ports until the returned value is dropped.
    pub fn reserve(ip: IpAddr) -> Reserved {
        let pick = || {
            let election = UdpSocket::bind((ip, 0))?;
            let (message, request) = (TcpListener::bind((ip, 0))?, TcpListener::bind((ip, 0))?);
            let addresses = Addresses {
                election: election.local_addr()?,
                message: message.local_addr()?,
                request: request.local_addr()?,
            };
            std::io::Result::Ok(Reserved { addresses, _sockets: (election, message, request) })
        };
        pick().unwrap_or_else(|error| panic!("no free port on {ip}: {error}"))
    }

    /// Returns ports that are free at this moment.
    pub fn free(ip: IpAddr) -> Addresses {
        Addresses::reserve(ip).addresses
    }

    /// The addresses for other nodes.
    fn target(&self) -> Target {
        Target { election: self.election, message: self.message }
    }

    /// Returns the addresses in the form of a configuration file.
    pub fn json(&self) -> Value {
        json!({
            "ElectionAddr": self.election.to_string(),
            "MessageAddr": self.message.to_string(),
            "RequestAddr": self.request.to_string(),
        })
    }
}

/// Returns a random loopback address, which is most likely unused.
pub fn loopback_address() -> IpAddr {
    let random = getrandom::u32().unwrap_or_else(|error| panic!("no random numbers: {error}"));
    let octet = |shift: u32| 1 + ((random >> shift) as u8 % 254);
    IpAddr::V4(Ipv4Addr::new(127, octet(0), octet(8), octet(16)))
}

struct Node {
    directory: PathBuf,
    addresses: Addresses,
    process: Option<Process>,
    starts: usize,
}

/// An ensemble. Dropping it kills its processes, and removes its directory unless the test has failed.
pub struct Ensemble {
    nodes: Vec<Node>,
    network: Option<Network>,
    observer: Client,
    /// Whether nodes are started with blocked outputs.
    blocked: bool,
    scratch: TempDir,
}

impl Ensemble {
    /// Starts an ensemble of `size` nodes, and waits until all are ready.
    pub async fn start(nodes: usize) -> Ensemble {
        let mut ensemble = Ensemble::prepare(nodes);
        ensemble.start_all().await;
        ensemble
    }

    /// Starts an ensemble whose nodes are connected by gateways, and waits until all are ready.
    pub async fn start_on_network(nodes: usize, random: &mut Random) -> Ensemble {
        let mut ensemble = Ensemble::prepare_on_network(nodes, random).await;
        ensemble.start_all().await;
        ensemble
    }

    /// Creates directories and configuration files, and starts nothing.
    pub fn prepare(nodes: usize) -> Ensemble {
        Ensemble::prepare_reserving(nodes).0
    }

    /// The second value keeps the ports reserved.
    fn prepare_reserving(nodes: usize) -> (Ensemble, Vec<Reserved>) {
        let scratch = tempfile::Builder::new().prefix("gometa-e2e-").tempdir();
        let scratch = scratch.unwrap_or_else(|error| panic!("no scratch directory: {error}"));
        let ip = loopback_address();
        let reserved: Vec<Reserved> = (0..nodes).map(|_| Addresses::reserve(ip)).collect();
        let nodes: Vec<Node> = reserved
            .iter()
            .enumerate()
            .map(|(index, reserved)| Node {
                directory: scratch.path().join(format!("node-{}", index + 1)),
                addresses: reserved.addresses,
                process: None,
                starts: 0,
            })
            .collect();
        let observer = Client::builder().timeout(STATUS_TIMEOUT).pinned(true);
        let observer = observer.build(nodes.iter().map(|node| node.addresses.request.to_string()));
        let observer = observer.unwrap_or_else(|error| panic!("no client: {error}"));
        let ensemble = Ensemble { nodes, network: None, observer, blocked: false, scratch };
        for (index, node) in ensemble.nodes.iter().enumerate() {
            let peers = ensemble.nodes.iter().enumerate().filter(|(peer, _)| *peer != index);
            let peers: Vec<Value> = peers.map(|(_, peer)| peer.addresses.json()).collect();
            write_configuration(&node.directory, &json!({"Host": node.addresses.json(), "Peer": peers}));
        }
        (ensemble, reserved)
    }

    /// As [`prepare`](Self::prepare), with gateways between the nodes. Every node announces its gateway's addresses for
    /// votes and messages, and has the id by which the gateways know it.
    pub async fn prepare_on_network(nodes: usize, random: &mut Random) -> Ensemble {
        let (mut ensemble, reserved) = Ensemble::prepare_reserving(nodes);
        let targets: Vec<Target> = ensemble.nodes.iter().map(|node| node.addresses.target()).collect();
        let ip = ensemble.nodes[0].addresses.message.ip();
        let network = Network::between(&targets, ip, random.word()).await;
        drop(reserved);
        for (index, node) in ensemble.nodes.iter().enumerate() {
            let peers: Vec<Value> =
                (0..nodes).filter(|other| *other != index).map(|peer| network.json(peer)).collect();
            let mut host = network.json(index);
            host["RequestAddr"] = node.addresses.request.to_string().into();
            let configuration = json!({"Host": host, "Bind": node.addresses.json(), "Peer": peers});
            write_configuration(&node.directory, &configuration);
        }
        ensemble.network = Some(network);
        ensemble
    }

    /// Returns a node's configuration file.
    pub fn configuration(&self, node: usize) -> Value {
        let file = self.nodes[node].directory.join("node.json");
        let read = fs::read(&file).map_err(|error| error.to_string());
        let read = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        read.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Replaces a node's configuration file, which is read at the node's next start.
    pub fn configure(&self, node: usize, configuration: &Value) {
        write_configuration(&self.nodes[node].directory, configuration);
    }

    /// Gives a node that is not running other addresses, which no other node's file has. Its id stays.
    pub async fn readdress(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "node {node} is running");
        let addresses = Addresses::free(self.nodes[node].addresses.message.ip());
        let mut configuration = self.configuration(node);
        let mut host = addresses.json();
        if let Some(network) = &mut self.network {
            network.moves(node, addresses.target()).await;
            configuration["Bind"] = addresses.json();
            host = network.json(node);
            host["RequestAddr"] = addresses.request.to_string().into();
        }
        configuration["Host"] = host;
        self.configure(node, &configuration);
        self.nodes[node].addresses = addresses;
    }

    /// Lists the other nodes in the file of a node of a network where they are now. It is read at the node's next start.
    pub fn list_peers(&self, node: usize) {
        let peers: Vec<Value> = self.others(node).into_iter().map(|peer| self.network().json(peer)).collect();
        let mut configuration = self.configuration(node);
        configuration["Peer"] = peers.into();
        self.configure(node, &configuration);
    }

    /// Makes the nodes announce these addresses to clients instead of those where they listen. For nodes that have not
    /// been started.
    pub fn announce(&self, requests: &[SocketAddr]) {
        for (node, announced) in requests.iter().enumerate().take(self.nodes.len()) {
            let mut configuration = self.configuration(node);
            configuration["Bind"] = json!({"RequestAddr": configuration["Host"]["RequestAddr"]});
            configuration["Host"]["RequestAddr"] = announced.to_string().into();
            // The other nodes announce their own addresses to clients.
            for peer in configuration["Peer"].as_array_mut().into_iter().flatten() {
                peer.as_object_mut().and_then(|peer| peer.remove("RequestAddr"));
            }
            self.configure(node, &configuration);
        }
    }

    /// Starts nodes from now on with both outputs blocked: a full pipe from which nothing is read. What
    /// they log is lost, and they are ready when their status says that they lead, follow or learn.
    pub fn block_outputs(&mut self) {
        self.blocked = true;
    }

    /// Whether nodes are started with blocked outputs.
    pub fn has_blocked_outputs(&self) -> bool {
        self.blocked
    }

    /// Changes a setting of every node. For nodes that have not been started.
    pub fn configure_all(&self, name: &str, value: &Value) {
        for node in self.all() {
            let mut configuration = self.configuration(node);
            configuration[name] = value.clone();
            self.configure(node, &configuration);
        }
    }

    /// Returns the number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Returns all nodes.
    pub fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// Returns all nodes but one.
    pub fn others(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|other| *other != node).collect()
    }

    /// Returns the network between the nodes.
    pub fn network(&self) -> &Network {
        self.network.as_ref().unwrap_or_else(|| panic!("this ensemble has no network that can be broken"))
    }

    /// Returns the addresses that a node listens on.
    pub fn addresses(&self, node: usize) -> Addresses {
        self.nodes[node].addresses
    }

    /// Returns a node's address for clients.
    pub fn request(&self, node: usize) -> String {
        self.nodes[node].addresses.request.to_string()
    }

    /// Returns the nodes' addresses for clients, beginning with `first`.
    pub fn requests_from(&self, first: usize) -> Vec<String> {
        (0..self.size()).map(|offset| self.request((first + offset) % self.size())).collect()
    }

    /// Returns a client of all nodes.
    pub fn client(&self, timeout: Duration) -> Client {
        self.client_from(0, timeout)
    }

    /// Returns a client of all nodes, which tries `first` first.
    pub fn client_from(&self, first: usize, timeout: Duration) -> Client {
        let built = Client::builder().timeout(timeout).build(self.requests_from(first));
        built.unwrap_or_else(|error| panic!("no client: {error}"))
    }

    /// Returns a client that stays on one node, also if it does not lead.
    pub fn client_of(&self, node: usize, timeout: Duration) -> Client {
        let built = Client::builder().timeout(timeout).pinned(true).build([self.request(node)]);
        built.unwrap_or_else(|error| panic!("no client: {error}"))
    }

    /// Returns a node's working directory.
    pub fn directory(&self, node: usize) -> &Path {
        &self.nodes[node].directory
    }

    /// Returns a directory for other files of a test.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns a node's data directory.
    pub fn data(&self, node: usize) -> PathBuf {
        self.nodes[node].directory.join("gometa-data")
    }

    /// Starts a node without waiting for it.
    pub fn spawn(&mut self, node: usize) {
        self.spawn_with(node, Command::new(program("gometa-server")));
    }

    /// Limits the files of a running node: as on a full disk, a write beyond this size fails.
    pub fn limit_files(&self, node: usize, bytes: u64) {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        let set = prlimit(Some(self.process(node).pid()), Resource::Fsize, limit);
        set.unwrap_or_else(|error| panic!("the limit of node {node}: {error}"));
    }

    /// Starts a node by the given command, to which the server's arguments are added. Does not wait for it.
    pub fn spawn_with(&mut self, node: usize, mut command: Command) {
        let node = &mut self.nodes[node];
        assert!(node.process.is_none(), "{} is running already", node.addresses.message);
        node.starts += 1;
        command.current_dir(&node.directory).args(["-config=node.json", "-watch-stdin=true"]);
        node.process = Some(if self.blocked {
            Process::start_blocked(&mut command)
        } else {
            Process::start(&mut command, &node.directory, &format!("start-{}", node.starts))
        });
    }

    fn take(&mut self, node: usize) -> Process {
        self.nodes[node].process.take().unwrap_or_else(|| panic!("node {node} is not running"))
    }

    /// Waits until a node has exited by itself, and returns its status and its last line.
    pub async fn end(&mut self, node: usize) -> (ExitStatus, String) {
        let process = self.take(node);
        let status = process.end(PATIENCE).await;
        (status, last_line(&process.err()))
    }

    /// Waits until a node is ready, and returns the READY line's JSON; of a node with blocked outputs, its role only.
    pub async fn ready(&self, node: usize) -> Value {
        let what = format!("node {node} is ready");
        until(&what, PATIENCE, || async {
            let missing = match self.looks_ready(node).await {
                Ok(ready) => return Ok(ready),
                Err(missing) => missing,
            };
            assert!(self.process(node).ended().is_none(), "node {node} has ended: {missing}");
            Err(missing)
        })
        .await
    }

    /// Returns the result of [`ready`](Self::ready) if the node is ready now.
    ///
    /// # Errors
    /// If it is not ready; the error is the node's last line.
    pub async fn looks_ready(&self, node: usize) -> Result<Value, String> {
        if self.blocked {
            let status = self.status(node).await.map_err(|error| error.to_string())?;
            return match status.role {
                Role::Leading => Ok(json!({"role": "leader"})),
                Role::Following => Ok(json!({"role": "follower"})),
                Role::Learning => Ok(json!({"role": "learner"})),
                _ => Err(format!("{status:?}")),
            };
        }
        let process = self.process(node);
        match process.out().lines().find_map(|line| line.strip_prefix("GOMETA READY ")) {
            Some(line) => Ok(serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))),
            None => Err(last_line(&process.err())),
        }
    }

    /// Starts all nodes, and waits until they are ready.
    pub async fn start_all(&mut self) {
        self.all().into_iter().for_each(|node| self.spawn(node));
        self.all_ready().await;
    }

    /// Waits until all nodes are ready.
    pub async fn all_ready(&self) {
        for node in self.all() {
            self.ready(node).await;
        }
    }

    /// Starts a node, and waits until it is ready.
    pub async fn restart(&mut self, node: usize) -> Value {
        self.spawn(node);
        self.ready(node).await
    }

    /// Returns the process of a running node.
    pub fn process(&self, node: usize) -> &Process {
        self.nodes[node].process.as_ref().unwrap_or_else(|| panic!("node {node} is not running"))
    }

    /// Returns the pipe of a node with blocked outputs, for reading.
    pub fn unblock(&mut self, node: usize) -> PipeReader {
        let process = self.nodes[node].process.as_mut();
        process.unwrap_or_else(|| panic!("node {node} is not running")).unblock()
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, node: usize) {
        if let Some(process) = self.nodes[node].process.take() {
            process.kill();
        }
    }

    /// Pauses a node with SIGSTOP.
    pub fn pause(&self, node: usize) {
        self.process(node).signal(Signal::STOP);
    }

    /// Resumes a paused node with SIGCONT.
    pub fn resume(&self, node: usize) {
        self.process(node).signal(Signal::CONT);
    }

    /// Stops a node with SIGTERM, and waits for its exit.
    pub async fn terminate(&mut self, node: usize) -> ExitStatus {
        let process = self.take(node);
        process.signal(Signal::TERM);
        process.end(PATIENCE).await
    }

    /// Closes the standard input that a node watches, and waits for its exit.
    pub async fn close_stdin(&mut self, node: usize) -> ExitStatus {
        let mut process = self.take(node);
        process.close_stdin();
        process.end(PATIENCE).await
    }

    /// Removes the data directory of a node that is not running.
    pub fn wipe(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "node {node} is running");
        let data = self.data(node);
        fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("cannot remove {}: {error}", data.display()));
    }

    /// Returns the log of a node's latest start.
    pub fn log(&self, node: usize) -> String {
        let node = &self.nodes[node];
        fs::read(node.directory.join(format!("start-{}.err", node.starts)))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until the log of a node's latest start has a line with all these words, and returns that line.
    pub async fn logged(&self, node: usize, words: &[&str]) -> String {
        let what = format!("node {node} logs {words:?}");
        until(&what, PATIENCE, || async {
            let log = self.log(node);
            let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned).ok_or_else(|| format!("its last line: {}", last_line(&log)))
        })
        .await
    }

    /// Returns the leader, and one of the others at random.
    pub async fn leader_and_other(&self, random: &mut Random) -> (usize, usize) {
        let leader = self.leader().await;
        let others = self.others(leader);
        (leader, others[random.below(others.len() as u64) as usize])
    }

    /// Returns a node's status.
    pub async fn status(&self, node: usize) -> gometa_client::Result<NodeStatus> {
        self.observer.status_of(&self.request(node)).await
    }

    /// Waits until `wanted` accepts a node's status; its error names what is missing.
    pub async fn status_when(
        &self,
        node: usize,
        what: &str,
        wanted: impl Fn(&NodeStatus) -> bool,
    ) -> NodeStatus {
        until(&format!("node {node} {what}"), PATIENCE, || async {
            let status = self.status(node).await.map_err(|error| error.to_string())?;
            if wanted(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
    }

    /// Waits until one of these nodes leads, and returns the one with the highest epoch.
    pub async fn leader_among(&self, nodes: &[usize]) -> usize {
        until(&format!("a leader among {nodes:?}"), PATIENCE, || async {
            let mut found = None;
            for node in nodes {
                if let Ok(status) = self.status(*node).await
                    && status.role == Role::Leading
                {
                    found = found.max(Some((status.epoch, *node)));
                }
            }
            found.map(|(_, node)| node).ok_or_else(|| "none leads".to_owned())
        })
        .await
    }

    /// Waits until one of the running nodes leads, and returns it.
    pub async fn leader(&self) -> usize {
        let running: Vec<usize> =
            self.all().into_iter().filter(|node| self.nodes[*node].process.is_some()).collect();
        self.leader_among(&running).await
    }

    /// Waits until one of these nodes leads, the others follow, and all have applied everything that the leader has
    /// applied; returns their statuses in the same order.
    ///
    /// # Panics
    /// If that does not happen before the deadline, or if two nodes have different states at the same revision.
    pub async fn converged(&self, nodes: &[usize]) -> Vec<NodeStatus> {
        until(&format!("nodes {nodes:?} are at the same revision"), PATIENCE, || async {
            let mut statuses = Vec::new();
            for node in nodes {
                statuses.push(self.status(*node).await.map_err(|error| error.to_string())?);
            }
            let first = &statuses[0];
            for (node, status) in nodes.iter().zip(&statuses) {
                let same = status.applied_revision == first.applied_revision;
                assert!(
                    !same || status.state_hash == first.state_hash,
                    "nodes {} and {node} differ at revision {}: {statuses:#?}",
                    nodes[0],
                    first.applied_revision
                );
            }
            let leaders = statuses.iter().filter(|status| status.role == Role::Leading).count();
            let level = statuses.iter().all(|status| {
                status.applied_revision == first.applied_revision
                    && status.last_revision == first.applied_revision
                    && status.leader == first.leader
                    && status.leader.is_some()
            });
            if leaders == 1 && level { Ok(statuses) } else { Err(format!("{statuses:#?}")) }
        })
        .await
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.process = None;
        }
        if std::thread::panicking() {
            self.scratch.disable_cleanup(true);
            let mut text = format!("directories and logs are kept in {}", self.scratch.path().display());
            for (index, node) in self.nodes.iter().enumerate() {
                let log = self.log(index);
                let skip = log.lines().count().saturating_sub(TAIL_LINES);
                let (path, starts) = (node.addresses.message, node.starts);
                text += &format!("\n--- node {index} ({path}), end of the log of start {starts}:\n");
                text += &log.lines().skip(skip).collect::<Vec<_>>().join("\n");
            }
            say(&text);
        }
    }
}

fn write_configuration(directory: &Path, configuration: &Value) {
    let written = fs::create_dir_all(directory)
        .and_then(|()| fs::write(directory.join("node.json"), format!("{configuration:#}\n")));
    written.unwrap_or_else(|error| panic!("cannot write {}/node.json: {error}", directory.display()));
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or("the log is empty").to_owned()
}
