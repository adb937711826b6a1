//! The JSON objects of a configuration file.

use std::{marker::PhantomData, path::PathBuf};

use gometa_zab::NodeId;
use serde::de::{Error, IgnoredAny, MapAccess};

use super::{
    address::{self, Address},
    json::{AddressesSeed, ListSeed, Section, SectionSeed, TextSeed, Unknowns},
    settings,
};

/// The number of peers in one file.
const PEERS_MAX: usize = 63;
/// The length of an ensemble's name, in bytes.
const NAME_MAX: usize = 100;

/// The values of `Host`, `Peer` or `Bind`. `Bind` has no id, and may contain wildcards.
#[derive(Default)]
pub(super) struct Ports {
    pub(super) election: Option<Address>,
    pub(super) message: Option<Address>,
    pub(super) request: Option<Address>,
    pub(super) id: Option<NodeId>,
}

/// The file.
#[derive(Default)]
pub(super) struct Document {
    pub(super) host: Option<Host>,
    pub(super) peers: Option<Vec<Peer>>,
    pub(super) join: Option<Vec<String>>,
    pub(super) bind: Option<BindSection>,
    pub(super) ensemble: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) heartbeat_ms: Option<u64>,
    pub(super) election_timeout_ms: Option<u64>,
    pub(super) session_timeout_ms: Option<u32>,
    pub(super) clients_max: Option<usize>,
    pub(super) client_memory_mb: Option<usize>,
    pub(super) cache_mb: Option<usize>,
    pub(super) disk_reserve_mb: Option<u64>,
    pub(super) scrub_interval_s: Option<u64>,
    pub(super) admin_address: Option<Address>,
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

/// Declares a section with the addresses of a node.
macro_rules! ports_section {
    ($section:ident, $name:literal, $keys:expr, $parse:path) => {
        #[derive(Default)]
        pub(super) struct $section(pub(super) Ports);

        impl Section for $section {
            const NAME: &'static str = $name;
            const KEYS: &'static [&'static str] = $keys;

            fn read<'de, M: MapAccess<'de>>(
                &mut self,
                key: &'static str,
                map: &mut M,
                _: &Unknowns,
            ) -> Result<(), M::Error> {
                self.0.read(key, map, $parse)
            }
        }
    };
}

const ADDRESSES_AND_ID: &[&str] = &["ElectionAddr", "MessageAddr", "RequestAddr", "Id"];

ports_section!(Host, "Host", ADDRESSES_AND_ID, Address::parse_announced);
ports_section!(Peer, "Peer", ADDRESSES_AND_ID, Address::parse_announced);
ports_section!(BindSection, "Bind", &["ElectionAddr", "MessageAddr", "RequestAddr"], Address::parse);

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
        "CacheMb",
        "DiskReserveMb",
        "ScrubIntervalS",
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
            "Join" => self.join = Some(map.next_value_seed(AddressesSeed { key })?),
            "Bind" => self.bind = Some(map.next_value_seed(SectionSeed::new(unknowns))?),
            "Ensemble" => {
                let parse = |text: &str| match text.len() {
                    1..=NAME_MAX => Ok(text.to_owned()),
                    _ => Err("is not a valid name".to_owned()),
                };
                let expected = "a string of 1 to 100 bytes";
                self.ensemble = Some(map.next_value_seed(TextSeed { key, expected, parse })?);
            }
            "DataDir" => {
                let parse = |text: &str| match text {
                    "" => Err("is empty".to_owned()),
                    text => Ok(PathBuf::from(text)),
                };
                let expected = "the path of a directory";
                self.data_dir = Some(map.next_value_seed(TextSeed { key, expected, parse })?);
            }
            "HeartbeatMs" => self.heartbeat_ms = Some(map.next_value_seed(settings::HEARTBEAT_MS)?),
            "ElectionTimeoutMs" => {
                self.election_timeout_ms = Some(map.next_value_seed(settings::ELECTION_TIMEOUT_MS)?)
            }
            "SessionTimeoutMs" => {
                self.session_timeout_ms = Some(map.next_value_seed(settings::SESSION_TIMEOUT_MS)?)
            }
            "ClientsMax" => self.clients_max = Some(map.next_value_seed(settings::CLIENTS_MAX)?),
            "CacheMb" => self.cache_mb = Some(map.next_value_seed(settings::CACHE_MB)?),
            "DiskReserveMb" => self.disk_reserve_mb = Some(map.next_value_seed(settings::DISK_RESERVE_MB)?),
            "ScrubIntervalS" => {
                self.scrub_interval_s = Some(map.next_value_seed(settings::SCRUB_INTERVAL_S)?)
            }
            "ClientMemoryMb" => {
                self.client_memory_mb = Some(map.next_value_seed(settings::CLIENT_MEMORY_MB)?)
            }
            "AdminAddr" => {
                let seed = TextSeed { key, expected: address::EXPECTED, parse: Address::parse };
                self.admin_address = Some(map.next_value_seed(seed)?);
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
                let remedy = "remove it, and keep the ports on a network of trusted machines";
                return Err(M::Error::custom(format_args!("{key} is not supported yet: {remedy}")));
            }
        }
        Ok(())
    }
}
