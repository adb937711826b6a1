//! Addresses, "host:port", and the ids derived from them.

use gometa_zab::NodeId;
use xxhash_rust::xxh3::xxh3_64;

/// A checked "host:port".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// As written.
    pub text: String,
    /// Without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

/// The expected form, for error messages.
pub(super) const EXPECTED: &str = "host:port, such as \"127.0.0.1:5002\"";

/// The longest host name in DNS, in bytes.
const HOST_MAX: usize = 253;

impl Address {
    /// Parses "host:port", with an IPv6 address in brackets. The error is a predicate about the text.
    pub fn parse(text: &str) -> Result<Address, String> {
        let Some((host, port)) = text.rsplit_once(':') else { return Err("has no port".to_owned()) };
        let bare = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err("has no IPv6 address in its brackets".to_owned()),
            None if host.contains(':') => {
                return Err("has more than one colon (an IPv6 address is written in brackets)".to_owned());
            }
            None => host,
        };
        if bare.is_empty() {
            return Err("has no host".to_owned());
        }
        let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if bare.len() > HOST_MAX || !bare.chars().all(plausible) {
            return Err("has a host that is neither a name nor an IP address".to_owned());
        }
        match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Address { text: text.to_owned(), host: bare.to_owned(), port: number })
            }
            _ => Err(format!("has port {port:?}, not one from 1 to 65535")),
        }
    }

    /// Parses an address that is announced to others; a wildcard is an error.
    pub fn parse_announced(text: &str) -> Result<Address, String> {
        let wildcard = "is a wildcard, which peers and clients cannot reach (put it in Bind, and announce the \
                        host's own address here)";
        let (no_host, host_star) = (text.rfind(':') == Some(0), text.starts_with("*:"));
        if no_host || host_star {
            return Err(wildcard.to_owned());
        }
        let address = Address::parse(text)?;
        match address.host.parse::<std::net::IpAddr>() {
            Ok(ip) if ip.is_unspecified() => Err(wildcard.to_owned()),
            _ => Ok(address),
        }
    }

    /// The canonical spelling: lower case, `localhost` as 127.0.0.1.
    pub fn canonical(&self) -> String {
        let host = self.host.to_ascii_lowercase();
        match host.as_str() {
            "localhost" => format!("127.0.0.1:{}", self.port),
            host if host.contains(':') => format!("[{host}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }

    /// The id derived from this address, for a node with this MessageAddr and without Id. The derivation never changes.
    pub fn node_id(&self) -> NodeId {
        // Zero is not a node id.
        NodeId(xxh3_64(self.canonical().as_bytes()).max(1))
    }
}
