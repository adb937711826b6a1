//! The configuration: one JSON file, read and checked once, before anything is opened.
//!
//! A node's file names its own three addresses (`Host`) and the other nodes' (`Peer`); a client's file has
//! `Peer` with `RequestAddr`s only. Keys are matched without regard to case; an unknown key is an error that names
//! the nearest known one, because a misspelt `Peer` would found an ensemble of its own. Errors name file, line and
//! column where they have one, and what was expected.
//! What needs the network (resolving, listening) is not done here.

mod address;
mod json;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::File,
    io::Read,
    marker::PhantomData,
    path::{Path, PathBuf},
};

pub use address::Address;
use gometa_zab::{Addresses, NodeId, Voter};
use json::{ListSeed, NumberSeed, Section, SectionSeed, TextSeed, Unknowns};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess};

/// A configuration file is at most this long, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// Peers in one file.
const PEERS_MAX: usize = 63;
/// Length of an ensemble's name, in bytes.
const NAME_MAX: usize = 100;
/// What a node's file says about its peers.
const PEER_EXPECTED: &str = "expected \"Peer\": [{\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\"}, …] with the \
                             other nodes, or \"Peer\": [] for an ensemble of this node alone";
/// Where data is kept if nothing else is said, in the working directory.
pub const DATA_DIR_DEFAULT: &str = "gometa-data";
const DATA_DIR_SOURCE_DEFAULT: &str = "the default; -data-dir names another one";
/// The port below those of the first node on this machine.
pub const PORT_BASE: u16 = 5_000;
/// Between the ports of two nodes on this machine.
pub const PORT_STRIDE: u16 = 1_000;
/// Clients connected at a time, unless configured.
pub const CLIENTS_MAX_DEFAULT: usize = 10_000;
/// What clients' frames, requests and answers may hold in memory together, in MiB, unless configured.
pub const CLIENT_MEMORY_MB_DEFAULT: usize = 256;

/// What becomes of keys that are not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownKeys {
    /// The file is refused.
    Refuse,
    /// They are passed over, with a warning each.
    Warn,
}

/// What a node is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// What to call the source in error messages: the file, or the flag.
    pub source: String,
    /// This node's id: configured, or derived from its MessageAddr.
    pub node: NodeId,
    /// What is announced to peers and clients.
    pub announced: Bind,
    /// What to listen on.
    pub bind: Bind,
    /// This node and its peers, ascending by id.
    pub voters: Vec<Voter>,
    /// The ensemble's name, for people.
    pub ensemble: Option<String>,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// What to call the source of `data_dir` in error messages: a flag, a variable, a key of the file.
    pub data_dir_source: String,
    /// Between a leader's heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Silence after which leader and follower give each other up, in milliseconds.
    pub election_timeout_ms: u64,
    /// A session without contact for this long ends, in milliseconds.
    pub session_timeout_ms: u32,
    /// Clients connected at a time.
    pub clients_max: usize,
    /// What clients' frames, requests and answers may hold in memory together, in MiB.
    pub client_memory_mb: usize,
    /// For the log: what is odd but does not hinder.
    pub warnings: Vec<String>,
}

/// One address for each of a node's three ports.
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
    /// The announced addresses, as they are told to others.
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
            ensemble: None,
            data_dir,
            data_dir_source: DATA_DIR_SOURCE_DEFAULT.to_owned(),
            heartbeat_ms: Milliseconds::default().heartbeat,
            election_timeout_ms: Milliseconds::default().election,
            session_timeout_ms: SESSION_TIMEOUT_MS_DEFAULT,
            clients_max: CLIENTS_MAX_DEFAULT,
            client_memory_mb: CLIENT_MEMORY_MB_DEFAULT,
            warnings: Vec::new(),
        }
    }
}

/// What `-check` prints.
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
        writeln!(f, "quorum            {} of {}", self.voters.len() / 2 + 1, self.voters.len())?;
        writeln!(f, "data directory    {}", self.data_dir.display())?;
        writeln!(f, "heartbeat         {} ms", self.heartbeat_ms)?;
        writeln!(f, "election timeout  {} ms", self.election_timeout_ms)?;
        writeln!(f, "session timeout   {} ms", self.session_timeout_ms)?;
        writeln!(f, "clients           at most {}", self.clients_max)?;
        writeln!(f, "client memory     {} MiB", self.client_memory_mb)
    }
}

/// What an interactive client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// Where to connect, in the file's order; at least one.
    pub request_addresses: Vec<Address>,
    /// For people: what is odd but does not hinder.
    pub warnings: Vec<String>,
}

/// What is wrong with a configuration, in one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something at a place in the file.
    #[error("{file}:{line}:{column}: {what}")]
    At {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes; just behind what is wrong.
        column: usize,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// Something about the file as a whole.
    #[error("{file}: {what}")]
    Whole {
        /// The file.
        file: String,
        /// What is wrong, and what was expected.
        what: String,
    },
}

/// Reads a node's configuration file, which `source` names: a flag or a variable. Errors name it by its absolute path.
pub fn load_server(
    path: &Path,
    source: &str,
    unknown_keys: UnknownKeys,
) -> Result<ServerConfig, ConfigError> {
    let path = absolute(path);
    parse_server(&path.display().to_string(), &read(&path, source)?, unknown_keys)
}

/// Reads a client's configuration file, which `source` names: a flag or a variable. A node's file serves as well, if
/// its peers have RequestAddrs.
pub fn load_client(
    path: &Path,
    source: &str,
    unknown_keys: UnknownKeys,
) -> Result<ClientConfig, ConfigError> {
    let path = absolute(path);
    parse_client(&path.display().to_string(), &read(&path, source)?, unknown_keys)
}

/// The path from the root on; as it is where the working directory is not known.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The name most like `word`, if one is like it at all.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_ascii_lowercase()), *name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn read(path: &Path, source: &str) -> Result<String, ConfigError> {
    let whole = |what: String| ConfigError::Whole { file: path.display().to_string(), what };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| whole(format!("cannot be read: {error}; check the path given with {source}")))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(whole(format!("longer than {FILE_MAX} bytes: expected a configuration in JSON")));
    }
    String::from_utf8(bytes).map_err(|_| whole("not UTF-8 text: expected a configuration in JSON".to_owned()))
}

const SESSION_TIMEOUT_MS_DEFAULT: u32 = 60_000;

struct Milliseconds {
    heartbeat: u64,
    election: u64,
}

impl Default for Milliseconds {
    fn default() -> Milliseconds {
        Milliseconds { heartbeat: 100, election: 1_000 }
    }
}

/// `Host`, `Peer` or `Bind` as they stand in the file. `Bind` has no id, and may name wildcards.
#[derive(Default)]
struct Ports {
    election: Option<Address>,
    message: Option<Address>,
    request: Option<Address>,
    id: Option<NodeId>,
}

#[derive(Default)]
struct Host(Ports);

#[derive(Default)]
struct Peer(Ports);

#[derive(Default)]
struct BindSection(Ports);

/// The file.
#[derive(Default)]
struct Document {
    host: Option<Host>,
    peers: Option<Vec<Peer>>,
    bind: Option<BindSection>,
    ensemble: Option<String>,
    data_dir: Option<PathBuf>,
    heartbeat_ms: Option<u64>,
    election_timeout_ms: Option<u64>,
    session_timeout_ms: Option<u64>,
    clients_max: Option<usize>,
    client_memory_mb: Option<usize>,
    admin_address: Option<Address>,
}

impl Ports {
    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut M,
        parse: fn(&str) -> Result<Address, String>,
    ) -> Result<(), M::Error> {
        let slot = match key {
            "ElectionAddr" => &mut self.election,
            "MessageAddr" => &mut self.message,
            "RequestAddr" => &mut self.request,
            _ => {
                let expected = "1 to 16 hexadecimal digits, not all 0";
                self.id = Some(map.next_value_seed(TextSeed { key, expected, parse: parse_id })?);
                return Ok(());
            }
        };
        *slot = Some(map.next_value_seed(TextSeed { key, expected: address::EXPECTED, parse })?);
        Ok(())
    }
}

fn parse_id(text: &str) -> Result<NodeId, String> {
    match u64::from_str_radix(text, 16) {
        Ok(id) if id > 0 && text.len() <= 16 && !text.starts_with('+') => Ok(NodeId(id)),
        _ => Err("is not a node id".to_owned()),
    }
}

impl Section for Host {
    const NAME: &'static str = "Host";
    const KEYS: &'static [&'static str] = &["ElectionAddr", "MessageAddr", "RequestAddr", "Id"];

    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut M,
        _: &Unknowns,
    ) -> Result<(), M::Error> {
        self.0.read(key, map, Address::parse_announced)
    }
}

impl Section for Peer {
    const NAME: &'static str = "Peer";
    const KEYS: &'static [&'static str] = Host::KEYS;

    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut M,
        _: &Unknowns,
    ) -> Result<(), M::Error> {
        self.0.read(key, map, Address::parse_announced)
    }
}

impl Section for BindSection {
    const NAME: &'static str = "Bind";
    const KEYS: &'static [&'static str] = &["ElectionAddr", "MessageAddr", "RequestAddr"];

    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut M,
        _: &Unknowns,
    ) -> Result<(), M::Error> {
        self.0.read(key, map, Address::parse)
    }
}

impl Section for Document {
    const NAME: &'static str = "the configuration";
    const KEYS: &'static [&'static str] = &[
        "Host",
        "Peer",
        "Bind",
        "Ensemble",
        "DataDir",
        "HeartbeatMs",
        "ElectionTimeoutMs",
        "SessionTimeoutMs",
        "ClientsMax",
        "ClientMemoryMb",
        "AdminAddr",
        "Join",
        "Tls",
    ];

    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut M,
        unknowns: &Unknowns,
    ) -> Result<(), M::Error> {
        match key {
            "Host" => self.host = Some(map.next_value_seed(SectionSeed::new(unknowns))?),
            "Peer" => {
                let seed = ListSeed { unknowns, max: PEERS_MAX, section: PhantomData };
                self.peers = Some(map.next_value_seed(seed)?);
            }
            "Bind" => self.bind = Some(map.next_value_seed(SectionSeed::new(unknowns))?),
            "Ensemble" => {
                let parse = |text: &str| match text.len() {
                    1..=NAME_MAX => Ok(text.to_owned()),
                    _ => Err("is no name".to_owned()),
                };
                let expected = "a string of 1 to 100 bytes";
                self.ensemble = Some(map.next_value_seed(TextSeed { key, expected, parse })?);
            }
            "DataDir" => {
                let parse = |text: &str| match text {
                    "" => Err("is empty".to_owned()),
                    text => Ok(PathBuf::from(text)),
                };
                self.data_dir =
                    Some(map.next_value_seed(TextSeed { key, expected: "a directory's path", parse })?);
            }
            "HeartbeatMs" => self.heartbeat_ms = Some(milliseconds(map, key, 10, 60_000)?),
            "ElectionTimeoutMs" => self.election_timeout_ms = Some(milliseconds(map, key, 100, 600_000)?),
            "SessionTimeoutMs" => self.session_timeout_ms = Some(milliseconds(map, key, 1_000, 86_400_000)?),
            "ClientsMax" => self.clients_max = Some(number(map, key, "clients", 16, 1_000_000)?),
            "ClientMemoryMb" => self.client_memory_mb = Some(number(map, key, "MiB", 16, 65_536)?),
            "AdminAddr" => {
                let seed = TextSeed { key, expected: address::EXPECTED, parse: Address::parse };
                self.admin_address = Some(map.next_value_seed(seed)?);
            }
            "Join" => {
                map.next_value::<IgnoredAny>()?;
                return Err(M::Error::custom(
                    "Join is refused until membership changes exist: list every node under Host and Peer instead",
                ));
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
                return Err(M::Error::custom(
                    "Tls is refused because encryption is not built yet: remove it, and keep the ports on a \
                     network that only trusted machines reach",
                ));
            }
        }
        Ok(())
    }
}

fn milliseconds<'de, M: MapAccess<'de>>(
    map: &mut M,
    key: &'static str,
    min: u64,
    max: u64,
) -> Result<u64, M::Error> {
    map.next_value_seed(NumberSeed { key, unit: "milliseconds", min, max })
}

fn number<'de, M: MapAccess<'de>>(
    map: &mut M,
    key: &'static str,
    unit: &'static str,
    min: u64,
    max: u64,
) -> Result<usize, M::Error> {
    let number = map.next_value_seed(NumberSeed { key, unit, min, max })?;
    usize::try_from(number).map_err(|_| M::Error::custom(format_args!("{key} is too large for this machine")))
}

/// Reads the JSON, with a warning for each key that was passed over.
fn parse_document(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
) -> Result<(Document, Vec<String>), ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unknowns = Unknowns::new(unknown_keys);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let document = SectionSeed::<Document>::new(&unknowns)
        .deserialize(&mut deserializer)
        .and_then(|document| deserializer.end().map(|()| document))
        .map_err(|error| locate(file, text, &error))?;
    let warnings = unknowns
        .into_warnings()
        .into_iter()
        .map(|(key, what)| {
            let line = text
                .find(&format!("\"{key}\""))
                .map_or(1, |offset| text[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1);
            format!("{file}:{line}: ignored: {what}")
        })
        .collect();
    Ok((document, warnings))
}

/// serde_json's error in our words.
fn locate(file: &str, json: &str, error: &serde_json::Error) -> ConfigError {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let what = match what {
        what if what.starts_with("control character") => {
            "a string does not end on its line: expected a closing \"".to_owned()
        }
        "trailing comma" => "a comma with nothing behind it: expected another item, or no comma".to_owned(),
        "trailing characters" => "text behind the configuration: expected the end of the file".to_owned(),
        what if what.starts_with("EOF while parsing") => {
            format!("the file ends too early ({what}): expected the rest of it")
        }
        "key must be a string" => "expected a key in double quotes".to_owned(),
        "expected value" => "expected a value: a string in double quotes, a number, {…} or […]".to_owned(),
        what => what.to_owned(),
    };
    let file = file.to_owned();
    match (error.line(), error.column()) {
        (0, _) => ConfigError::Whole { file, what },
        // Something is missing at the end of a line: point there, not before the next one.
        (line, 0) if line > 1 => {
            let column = json.lines().nth(line - 2).map_or(1, |before| before.len() + 1);
            ConfigError::At { file, line: line - 1, column, what }
        }
        (line, column) => ConfigError::At { file, line, column, what },
    }
}

pub(crate) fn parse_server(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
) -> Result<ServerConfig, ConfigError> {
    let (document, mut warnings) = parse_document(file, text, unknown_keys)?;
    let whole = |what: String| ConfigError::Whole { file: file.to_owned(), what };
    let Some(Host(host)) = document.host else {
        let hint = match &document.peers {
            Some(peers)
                if peers.iter().all(|Peer(peer)| peer.request.is_some() && peer.message.is_none()) =>
            {
                " (this looks like a client's file: use it with -client=true)"
            }
            _ => "",
        };
        return Err(whole(format!(
            "Host is missing: expected \"Host\": {{\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\", \
             \"RequestAddr\": \"…\"}}{hint}"
        )));
    };
    let missing = |key: &str, place: &str| whole(format!("{key} is missing in {place}: expected host:port"));
    let announced = Bind {
        election: host.election.ok_or_else(|| missing("ElectionAddr", "Host"))?,
        message: host.message.ok_or_else(|| missing("MessageAddr", "Host"))?,
        request: host.request.ok_or_else(|| missing("RequestAddr", "Host"))?,
    };
    let node = host.id.unwrap_or_else(|| announced.message.node_id());
    let mut taken: Vec<Taken> = Vec::new();
    claim(
        &mut taken,
        "Host",
        [Some(&announced.election), Some(&announced.message), Some(&announced.request)],
    )
    .map_err(whole)?;

    // An ensemble of one is founded only where the file asks for it: a list that was forgotten, or that names
    // nobody else, would found one that the other nodes' clients are led to.
    let peers = document.peers.ok_or_else(|| whole(format!("Peer is missing: {PEER_EXPECTED}")))?;
    let alone = peers.is_empty();
    let mut voters = vec![Voter { node, incarnation: None, addresses: announced.texts() }];
    for (index, Peer(peer)) in peers.into_iter().enumerate() {
        let place = format!("Peer number {}", index + 1);
        let message = peer.message.as_ref().ok_or_else(|| missing("MessageAddr", &place))?;
        let election = peer.election.as_ref().ok_or_else(|| missing("ElectionAddr", &place))?;
        let itself = message.canonical() == announced.message.canonical()
            && election.canonical() == announced.election.canonical();
        if itself && peer.id.is_none_or(|id| id == node) {
            continue;
        }
        claim(&mut taken, &place, [Some(election), Some(message), peer.request.as_ref()]).map_err(whole)?;
        let id = peer.id.unwrap_or_else(|| message.node_id());
        if let Some(other) = voters.iter().find(|voter| voter.node == id) {
            return Err(whole(format!(
                "{place} ({}) has the same id {id} as {}: give each node an Id of its own",
                message.text, other.addresses.message
            )));
        }
        let addresses = Addresses {
            election: election.text.clone(),
            message: message.text.clone(),
            request: peer.request.map(|address| address.text).unwrap_or_default(),
        };
        voters.push(Voter { node: id, incarnation: None, addresses });
    }
    if voters.len() == 1 && !alone {
        return Err(whole(format!("Peer lists this node only: {PEER_EXPECTED}")));
    }
    voters.sort_by_key(|voter| voter.node);

    let BindSection(bind) = document.bind.unwrap_or_default();
    let bind = Bind {
        election: bind.election.unwrap_or_else(|| announced.election.clone()),
        message: bind.message.unwrap_or_else(|| announced.message.clone()),
        request: bind.request.unwrap_or_else(|| announced.request.clone()),
    };
    if bind.message.canonical() == bind.request.canonical() {
        return Err(whole(format!(
            "Bind has {} for both MessageAddr and RequestAddr: give each its own port",
            bind.message.text
        )));
    }

    let defaults = Milliseconds::default();
    let heartbeat_ms = document.heartbeat_ms.unwrap_or(defaults.heartbeat);
    let election_timeout_ms = document.election_timeout_ms.unwrap_or(defaults.election);
    if heartbeat_ms * 3 > election_timeout_ms {
        return Err(whole(format!(
            "ElectionTimeoutMs ({election_timeout_ms}) is too short for HeartbeatMs ({heartbeat_ms}): expected at \
             least three times as much"
        )));
    }
    if let Some(admin) = document.admin_address {
        warnings.push(format!("{file}: AdminAddr {} is ignored: nothing is served there yet", admin.text));
    }
    Ok(ServerConfig {
        source: file.to_owned(),
        node,
        announced,
        bind,
        voters,
        ensemble: document.ensemble,
        data_dir_source: match &document.data_dir {
            Some(_) => format!("DataDir in {file}"),
            None => DATA_DIR_SOURCE_DEFAULT.to_owned(),
        },
        data_dir: document.data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR_DEFAULT)),
        heartbeat_ms,
        election_timeout_ms,
        session_timeout_ms: document
            .session_timeout_ms
            .and_then(|ms| u32::try_from(ms).ok())
            .unwrap_or(SESSION_TIMEOUT_MS_DEFAULT),
        clients_max: document.clients_max.unwrap_or(CLIENTS_MAX_DEFAULT),
        client_memory_mb: document.client_memory_mb.unwrap_or(CLIENT_MEMORY_MB_DEFAULT),
        warnings,
    })
}

/// An address that stands in the file.
struct Taken {
    canonical: String,
    /// As it was written.
    text: String,
    /// Its key and section.
    place: String,
}

/// Notes a node's addresses; each may stand in one place only.
fn claim(taken: &mut Vec<Taken>, place: &str, addresses: [Option<&Address>; 3]) -> Result<(), String> {
    for (key, address) in ["ElectionAddr", "MessageAddr", "RequestAddr"].into_iter().zip(addresses) {
        let Some(address) = address else { continue };
        let (canonical, here) = (address.canonical(), format!("{key} of {place}"));
        if let Some(other) = taken.iter().find(|other| other.canonical == canonical) {
            let (there, text) = (&other.place, &address.text);
            let both = if other.text == *text {
                format!("{here} is {text}, and so is {there}")
            } else {
                format!("{here} is {text}, and {there} is {}, which is the same address", other.text)
            };
            return Err(format!("{both}: give each its own port"));
        }
        taken.push(Taken { canonical, text: address.text.clone(), place: here });
    }
    Ok(())
}

pub(crate) fn parse_client(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
) -> Result<ClientConfig, ConfigError> {
    let (document, warnings) = parse_document(file, text, unknown_keys)?;
    let expected = "expected \"Peer\": [{\"RequestAddr\": \"host:port\"}, …]";
    let whole = |what: String| ConfigError::Whole { file: file.to_owned(), what };
    let mut request_addresses: Vec<Address> = Vec::new();
    let host = document.host.and_then(|Host(host)| host.request);
    let peers = document.peers.unwrap_or_default();
    let is_server_file = host.is_some();
    request_addresses.extend(host);
    for (index, Peer(peer)) in peers.into_iter().enumerate() {
        match peer.request {
            Some(address) if request_addresses.iter().any(|a| a.canonical() == address.canonical()) => {
                if !is_server_file {
                    return Err(whole(format!(
                        "RequestAddr {} stands twice: name each node once",
                        address.text
                    )));
                }
            }
            Some(address) => request_addresses.push(address),
            None if is_server_file => {}
            None => {
                return Err(whole(format!(
                    "RequestAddr is missing in Peer number {}: {expected}",
                    index + 1
                )));
            }
        }
    }
    if request_addresses.is_empty() {
        return Err(whole(format!("Peer is missing or empty: {expected}")));
    }
    Ok(ClientConfig { request_addresses, warnings })
}
