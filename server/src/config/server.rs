//! A node's configuration.

use std::{fmt, path::PathBuf};

use gometa_zab::{Addresses, NodeId, Voter};

use super::{
    address::Address,
    file::{self, ConfigError},
    json::UnknownKeys,
    sections::{BindSection, Document, Host, Peer, Ports},
    settings,
};

/// What a node's file says about its peers.
const PEER_EXPECTED: &str = "expected \"Peer\": [{\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\"}, …] with the \
                             other nodes, or \"Peer\": [] for an ensemble of this node alone";
/// The default data directory, in the working directory.
pub const DATA_DIR_DEFAULT: &str = "gometa-data";
const DATA_DIR_SOURCE_DEFAULT: &str = "the default; -data-dir names another one";
/// The default base of the ports of nodes on this machine.
pub const PORT_BASE: u16 = 5_000;
/// The difference between the ports of two nodes on this machine.
pub const PORT_STRIDE: u16 = 1_000;

/// A node's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// The source for error messages: the file, or the flag.
    pub source: String,
    /// This node's id: configured, or derived from its MessageAddr.
    pub node: NodeId,
    /// The addresses announced to peers and clients.
    pub announced: Bind,
    /// The addresses to listen on.
    pub bind: Bind,
    /// This node and its peers, ascending by id.
    pub voters: Vec<Voter>,
    /// The request addresses of members of the ensemble that this node joins; empty if it is to form one.
    pub join: Vec<String>,
    /// The source of `join` for error messages: a flag, a variable, a key of the file.
    pub join_source: String,
    /// With `join`: the node is to become a voter, not only a learner.
    pub joins_as_voter: bool,
    /// A node with an empty data directory founds no ensemble.
    pub never_founds: bool,
    /// The node founds an ensemble with a quorum of the listed voters, if others are absent.
    pub founds_with_quorum: bool,
    /// The ensemble's name, for people.
    pub ensemble: Option<String>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The source of `data_dir` for error messages: a flag, a variable, a key of the file.
    pub data_dir_source: String,
    /// The time between a leader's heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// The time without messages after which leader and follower consider each other lost, in milliseconds.
    pub election_timeout_ms: u64,
    /// The time without contact after which a session ends, in milliseconds.
    pub session_timeout_ms: u32,
    /// The number of connected clients.
    pub clients_max: usize,
    /// The memory for clients' frames, requests and answers together, in MiB.
    pub client_memory_mb: usize,
    /// The memory for blocks of the state's files, in MiB.
    pub cache_mb: usize,
    /// The space on the disk that writes leave free, in MiB; 0 for the default.
    pub disk_reserve_mb: u64,
    /// The time between two passes over log and state that look for damage, in seconds; 0 for none.
    pub scrub_interval_s: u64,
    /// Warnings for the log.
    pub warnings: Vec<String>,
}

/// The addresses of a node's three ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind {
    /// UDP, for votes.
    pub election: Address,
    /// TCP, for nodes.
    pub message: Address,
    /// TCP, for clients.
    pub request: Address,
}

impl Bind {
    fn texts(&self) -> Addresses {
        Addresses {
            election: self.election.text.clone(),
            message: self.message.text.clone(),
            request: self.request.text.clone(),
        }
    }
}

impl ServerConfig {
    /// The announced addresses.
    pub fn addresses(&self) -> Addresses {
        self.announced.texts()
    }

    /// Node `index` (from 0) of `count` nodes on this machine: ports 5001…5003, 6001…6003 and so on.
    pub fn on_this_machine(source: &str, index: u16, count: u16, data_dir: PathBuf) -> ServerConfig {
        ServerConfig::on_ports(source, PORT_BASE, index, count, data_dir)
    }

    /// Node `index` (from 0) of `count` nodes on this machine: the first one's ports are `base` + 1 to `base` + 3, the
    /// next one's are 1,000 higher, and so on. All have to be below 65,536.
    pub fn on_ports(source: &str, base: u16, index: u16, count: u16, data_dir: PathBuf) -> ServerConfig {
        let bind = |index: u16| {
            let address = |port: u16| {
                let port = base + PORT_STRIDE * index + port;
                Address { text: format!("127.0.0.1:{port}"), host: "127.0.0.1".to_owned(), port }
            };
            Bind { election: address(1), message: address(2), request: address(3) }
        };
        let mut voters: Vec<Voter> = (0..count)
            .map(|index| Voter {
                node: bind(index).message.node_id(),
                incarnation: None,
                addresses: bind(index).texts(),
            })
            .collect();
        voters.sort_by_key(|voter| voter.node);
        ServerConfig {
            source: source.to_owned(),
            node: bind(index).message.node_id(),
            announced: bind(index),
            bind: bind(index),
            voters,
            join: Vec::new(),
            join_source: String::new(),
            joins_as_voter: false,
            never_founds: false,
            founds_with_quorum: false,
            ensemble: None,
            data_dir,
            data_dir_source: DATA_DIR_SOURCE_DEFAULT.to_owned(),
            heartbeat_ms: settings::HEARTBEAT_MS.default,
            election_timeout_ms: settings::ELECTION_TIMEOUT_MS.default,
            session_timeout_ms: settings::SESSION_TIMEOUT_MS.default,
            clients_max: settings::CLIENTS_MAX.default,
            client_memory_mb: settings::CLIENT_MEMORY_MB.default,
            cache_mb: settings::CACHE_MB.default,
            disk_reserve_mb: settings::DISK_RESERVE_MB.default,
            scrub_interval_s: settings::SCRUB_INTERVAL_S.default,
            warnings: Vec::new(),
        }
    }
}

/// The output of `-check`.
impl fmt::Display for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is valid", self.source)?;
        if let Some(name) = &self.ensemble {
            writeln!(f, "ensemble          {name}")?;
        }
        for (name, announced, bind) in [
            ("ElectionAddr", &self.announced.election, &self.bind.election),
            ("MessageAddr", &self.announced.message, &self.bind.message),
            ("RequestAddr", &self.announced.request, &self.bind.request),
        ] {
            let listens =
                if announced == bind { String::new() } else { format!(" (listens on {})", bind.text) };
            writeln!(f, "{name:<17} {}{listens}", announced.text)?;
        }
        writeln!(f, "node id           {}", self.node)?;
        for peer in self.voters.iter().filter(|voter| voter.node != self.node) {
            writeln!(f, "peer              {} (id {})", peer.addresses.message, peer.node)?;
        }
        if self.join.is_empty() {
            writeln!(f, "quorum            {} of {}", self.voters.len() / 2 + 1, self.voters.len())?;
        } else {
            let role = if self.joins_as_voter { "a voter" } else { "a learner" };
            writeln!(f, "joins             {} as {role}", self.join.join(", "))?;
        }
        writeln!(f, "data directory    {}", self.data_dir.display())?;
        writeln!(f, "heartbeat         {} ms", self.heartbeat_ms)?;
        writeln!(f, "election timeout  {} ms", self.election_timeout_ms)?;
        writeln!(f, "session timeout   {} ms", self.session_timeout_ms)?;
        writeln!(f, "clients           at most {}", self.clients_max)?;
        writeln!(f, "client memory     {} MiB", self.client_memory_mb)?;
        writeln!(f, "cache             {} MiB", self.cache_mb)?;
        match self.disk_reserve_mb {
            0 => writeln!(f, "disk reserve      5 %, at least 512 MiB, at most 20 %")?,
            megabytes => writeln!(f, "disk reserve      {megabytes} MiB, at most 20 %")?,
        }
        match self.scrub_interval_s {
            0 => writeln!(f, "scrubbing         never"),
            seconds => writeln!(f, "scrubbing         every {seconds} s"),
        }
    }
}

/// `joins`: a flag names members of the ensemble to join, so that the file need not list peers.
pub(crate) fn parse_server(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
    joins: bool,
) -> Result<ServerConfig, ConfigError> {
    let (document, warnings) = file::parse_document(file, text, unknown_keys)?;
    from_document(file, document, joins, warnings).map_err(|what| ConfigError::whole(file, what))
}

/// Checks a node's file. An error is one line without the file's name.
fn from_document(
    file: &str,
    document: Document,
    joins: bool,
    mut warnings: Vec<String>,
) -> Result<ServerConfig, String> {
    let (announced, id) = announced(document.host, document.peers.as_deref())?;
    let node = id.unwrap_or_else(|| announced.message.node_id());
    let join = document.join.unwrap_or_default();
    let peers = match document.peers {
        None if joins || !join.is_empty() => Vec::new(),
        peers => peers.ok_or_else(|| format!("Peer is missing: {PEER_EXPECTED}"))?,
    };
    let voters = voters(node, &announced, peers)?;
    let bind = bind(&announced, document.bind.unwrap_or_default())?;
    let heartbeat_ms = document.heartbeat_ms.unwrap_or(settings::HEARTBEAT_MS.default);
    let election_timeout_ms = document.election_timeout_ms.unwrap_or(settings::ELECTION_TIMEOUT_MS.default);
    if heartbeat_ms * 3 > election_timeout_ms {
        return Err(format!(
            "ElectionTimeoutMs ({election_timeout_ms}) is too short for HeartbeatMs ({heartbeat_ms}): expected at \
             least three times as much"
        ));
    }
    if let Some(admin) = document.admin_address {
        warnings.push(format!("{file}: AdminAddr {} is ignored: it is not supported yet", admin.text));
    }
    Ok(ServerConfig {
        source: file.to_owned(),
        node,
        announced,
        bind,
        voters,
        join_source: format!("Join in {file}"),
        join,
        joins_as_voter: false,
        never_founds: false,
        founds_with_quorum: false,
        ensemble: document.ensemble,
        data_dir_source: match &document.data_dir {
            Some(_) => format!("DataDir in {file}"),
            None => DATA_DIR_SOURCE_DEFAULT.to_owned(),
        },
        data_dir: document.data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR_DEFAULT)),
        heartbeat_ms,
        election_timeout_ms,
        session_timeout_ms: document.session_timeout_ms.unwrap_or(settings::SESSION_TIMEOUT_MS.default),
        clients_max: document.clients_max.unwrap_or(settings::CLIENTS_MAX.default),
        client_memory_mb: document.client_memory_mb.unwrap_or(settings::CLIENT_MEMORY_MB.default),
        cache_mb: document.cache_mb.unwrap_or(settings::CACHE_MB.default),
        disk_reserve_mb: document.disk_reserve_mb.unwrap_or(settings::DISK_RESERVE_MB.default),
        scrub_interval_s: document.scrub_interval_s.unwrap_or(settings::SCRUB_INTERVAL_S.default),
        warnings,
    })
}

fn missing(key: &str, place: &str) -> String {
    format!("{key} is missing in {place}: expected host:port")
}

/// The addresses and the id in `Host`.
fn announced(host: Option<Host>, peers: Option<&[Peer]>) -> Result<(Bind, Option<NodeId>), String> {
    let Some(Host(Ports { election, message, request, id })) = host else {
        let is_client_file = peers.is_some_and(|peers| {
            peers.iter().all(|Peer(peer)| peer.request.is_some() && peer.message.is_none())
        });
        let hint =
            if is_client_file { " (this looks like a client's file: use it with -client=true)" } else { "" };
        return Err(format!(
            "Host is missing: expected \"Host\": {{\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\", \
             \"RequestAddr\": \"…\"}}{hint}"
        ));
    };
    let bind = Bind {
        election: election.ok_or_else(|| missing("ElectionAddr", "Host"))?,
        message: message.ok_or_else(|| missing("MessageAddr", "Host"))?,
        request: request.ok_or_else(|| missing("RequestAddr", "Host"))?,
    };
    Ok((bind, id))
}

/// This node and its peers, ascending by id. An ensemble of one is founded only where the file asks for it by an empty
/// list: clients could be led to one founded by mistake.
fn voters(node: NodeId, announced: &Bind, peers: Vec<Peer>) -> Result<Vec<Voter>, String> {
    let mut claimed: Vec<Claim> = Vec::new();
    claim(
        &mut claimed,
        "Host",
        [Some(&announced.election), Some(&announced.message), Some(&announced.request)],
    )?;
    let alone = peers.is_empty();
    let mut voters = vec![Voter { node, incarnation: None, addresses: announced.texts() }];
    for (index, Peer(peer)) in peers.into_iter().enumerate() {
        let place = format!("Peer number {}", index + 1);
        let message = peer.message.as_ref().ok_or_else(|| missing("MessageAddr", &place))?;
        let election = peer.election.as_ref().ok_or_else(|| missing("ElectionAddr", &place))?;
        let is_this_node = message.canonical() == announced.message.canonical()
            && election.canonical() == announced.election.canonical();
        if is_this_node && peer.id.is_none_or(|id| id == node) {
            continue;
        }
        claim(&mut claimed, &place, [Some(election), Some(message), peer.request.as_ref()])?;
        let id = peer.id.unwrap_or_else(|| message.node_id());
        if let Some(other) = voters.iter().find(|voter| voter.node == id) {
            return Err(format!(
                "{place} ({}) has the same id {id} as {}: give each node an Id of its own",
                message.text, other.addresses.message
            ));
        }
        let addresses = Addresses {
            election: election.text.clone(),
            message: message.text.clone(),
            request: peer.request.map(|address| address.text).unwrap_or_default(),
        };
        voters.push(Voter { node: id, incarnation: None, addresses });
    }
    if voters.len() == 1 && !alone {
        return Err(format!("Peer lists this node only: {PEER_EXPECTED}"));
    }
    voters.sort_by_key(|voter| voter.node);
    Ok(voters)
}

/// The addresses to listen on.
fn bind(announced: &Bind, BindSection(bind): BindSection) -> Result<Bind, String> {
    let bind = Bind {
        election: bind.election.unwrap_or_else(|| announced.election.clone()),
        message: bind.message.unwrap_or_else(|| announced.message.clone()),
        request: bind.request.unwrap_or_else(|| announced.request.clone()),
    };
    if bind.message.canonical() == bind.request.canonical() {
        return Err(format!(
            "Bind has {} for both MessageAddr and RequestAddr: give each its own port",
            bind.message.text
        ));
    }
    Ok(bind)
}

/// An address in the file.
struct Claim {
    canonical: String,
    /// As written.
    text: String,
    /// Its key and section.
    place: String,
}

/// Records a node's addresses. Each may appear in one place only.
fn claim(claimed: &mut Vec<Claim>, place: &str, addresses: [Option<&Address>; 3]) -> Result<(), String> {
    for (key, address) in ["ElectionAddr", "MessageAddr", "RequestAddr"].into_iter().zip(addresses) {
        let Some(address) = address else { continue };
        let (canonical, here) = (address.canonical(), format!("{key} of {place}"));
        if let Some(other) = claimed.iter().find(|other| other.canonical == canonical) {
            let (there, text) = (&other.place, &address.text);
            let both = if other.text == *text {
                format!("{here} is {text}, and so is {there}")
            } else {
                format!("{here} is {text}, and {there} is {}, which is the same address", other.text)
            };
            return Err(format!("{both}: give each its own port"));
        }
        claimed.push(Claim { canonical, text: address.text.clone(), place: here });
    }
    Ok(())
}
