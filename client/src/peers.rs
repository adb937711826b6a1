//! Peers: lists of addresses, `host:port,host:port`, and JSON configuration files.

use gometa_proto::{
    ErrorKind,
    limits::{ADDRESS_MAX, MEMBERS_MAX},
};
use serde_json::Value;

use crate::error::{Error, Operation};

/// The maximum number of addresses.
const PEERS_MAX: usize = MEMBERS_MAX;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, Operation::Build, message)
}

/// The reason why `address` is invalid.
fn fault(address: &str) -> Option<&'static str> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Some("a port is missing: write host:port");
    };
    if address.len() > ADDRESS_MAX {
        return Some("it is too long");
    }
    if address.contains("//") {
        return Some("write host:port, without a scheme");
    }
    if host.is_empty() {
        return Some("a host is missing: write host:port");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Some("write IPv6 addresses in brackets: [::1]:5003");
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control() || "/@?#".contains(c)) {
        return Some("the host contains an invalid character");
    }
    match port.parse::<u16>() {
        Ok(0) => Some("port 0 is invalid"),
        Ok(_) => None,
        Err(_) => Some("the port is not a number from 1 to 65535"),
    }
}

/// Whether `address` has the form of an address.
pub(crate) fn is_plausible(address: &str) -> bool {
    fault(address).is_none()
}

/// Parses a comma-separated list of request addresses, `host:port,host:port`. Duplicates are removed; names are not
/// resolved.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a list with no address, more than 128, or an invalid one.
pub fn parse_peers(list: &str) -> Result<Vec<String>, Error> {
    collect([list])
}

/// [`parse_peers`] for several lists.
pub(crate) fn collect<S: AsRef<str>>(lists: impl IntoIterator<Item = S>) -> Result<Vec<String>, Error> {
    let mut peers: Vec<String> = Vec::new();
    for list in lists {
        for address in list.as_ref().split(',').map(str::trim).filter(|address| !address.is_empty()) {
            if let Some(fault) = fault(address) {
                let shown: String = address.chars().take(80).collect();
                return Err(invalid(format!("peer {shown:?}: {fault}")));
            }
            if !peers.iter().any(|known| known == address) {
                peers.push(address.to_owned());
            }
            if peers.len() > PEERS_MAX {
                return Err(invalid(format!("more than {PEERS_MAX} peers")));
            }
        }
    }
    if peers.is_empty() {
        return Err(invalid("no peers: name at least one request address, host:port"));
    }
    Ok(peers)
}

/// The keys of a configuration file: a client's or a node's.
const FILE_KEYS: &[&str] = &[
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
/// The keys of `Host` and of objects in `Peer`.
const NODE_KEYS: &[&str] = &["ElectionAddr", "MessageAddr", "RequestAddr", "Id"];
/// The number of characters of an unknown key that are shown.
const KEY_SHOWN_MAX: usize = 60;

/// The error for the first key of `object` that is not in `known`.
fn unknown_key(object: &Value, place: &str, known: &[&str]) -> Option<String> {
    let is_known = |key: &str| known.iter().any(|known| known.eq_ignore_ascii_case(key));
    let key = object.as_object()?.keys().find(|key| !is_known(key))?;
    let shown: String = key.chars().take(KEY_SHOWN_MAX).collect();
    let near = known.iter().map(|known| (distance(key, known), *known)).min();
    let remedy = match near {
        Some((distance, near)) if distance <= 2 => format!("did you mean {near}?"),
        _ => format!("expected one of {}", known.join(", ")),
    };
    Some(format!("unknown key {shown:?}{place}; {remedy}"))
}

/// The edit distance of `word` and `other`, ignoring case.
fn distance(word: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in word.chars().take(KEY_SHOWN_MAX).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, theirs) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(!letter.eq_ignore_ascii_case(theirs));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// Looks up `name`, ignoring case.
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Parses the request addresses of a client's configuration, `{"Peer": [{"RequestAddr": "host:port"}, …]}`, or of a
/// node's, whose `Host` comes first and whose peers without a `RequestAddr` are skipped. The case of keys is ignored,
/// as is a byte order mark.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`], with line and column if the text is not JSON, and with the most similar known key for
/// an unknown one.
pub fn peers_from_json(text: &str) -> Result<Vec<String>, Error> {
    match read_json(text)? {
        (_, Some(unknown)) => Err(invalid(unknown)),
        (peers, None) => Ok(peers),
    }
}

/// [`peers_from_json`] for a file of another version: unknown keys are ignored, and the error for the first is returned
/// with the addresses.
///
/// # Errors
/// Those of [`peers_from_json`] except for unknown keys.
pub fn peers_from_json_leniently(text: &str) -> Result<(Vec<String>, Option<String>), Error> {
    read_json(text)
}

fn read_json(text: &str) -> Result<(Vec<String>, Option<String>), Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let config: Value = serde_json::from_str(text).map_err(|error| invalid(format!("not JSON: {error}")))?;
    let unknown = unknown_key(&config, "", FILE_KEYS);
    if let (Some(unknown), None) = (&unknown, field(&config, "Peer").or(field(&config, "Host"))) {
        // Otherwise the error would only be that no peer is listed.
        return Err(invalid(unknown.clone()));
    }
    let peers = match field(&config, "Peer") {
        None => &[],
        Some(Value::Array(peers)) => peers.as_slice(),
        Some(_) => return Err(invalid("\"Peer\" must be a list: [{\"RequestAddr\": \"host:port\"}, …]")),
    };
    let mut addresses = Vec::new();
    let mut unknown = unknown;
    for member in field(&config, "Host").into_iter().chain(peers) {
        unknown = unknown.or_else(|| unknown_key(member, " of a node", NODE_KEYS));
        match field(member, "RequestAddr") {
            None => {}
            Some(Value::String(address)) => addresses.push(address.as_str()),
            Some(other) => {
                return Err(invalid(format!("\"RequestAddr\" must be a string \"host:port\", not {other}")));
            }
        }
    }
    if addresses.is_empty() {
        return Err(invalid(
            "no \"RequestAddr\": expected {\"Peer\": [{\"RequestAddr\": \"host:port\"}, …]}",
        ));
    }
    Ok((collect(addresses)?, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_and_errors_name_the_fault() {
        assert_eq!(parse_peers(" a:1, b:2,,a:1 ").unwrap(), ["a:1", "b:2"]);
        assert_eq!(parse_peers("[::1]:5003").unwrap(), ["[::1]:5003"]);
        for (list, expected) in [
            ("", "no peers"),
            (" , ", "no peers"),
            ("host", "port is missing"),
            (":5003", "host is missing"),
            ("a:0", "port 0"),
            ("a:b", "not a number"),
            ("a:70000", "not a number"),
            ("http://a:1", "without a scheme"),
            ("::1:5003", "brackets"),
            ("a b:1", "an invalid character"),
        ] {
            let error = parse_peers(list).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(expected), "{list:?}: {error}");
        }
    }

    #[test]
    fn files_are_parsed_and_errors_name_the_fault() {
        let client = r#"{"Peer": [{"RequestAddr": "127.0.0.1:5003"}, {"requestaddr": "127.0.0.1:6003"}]}"#;
        assert_eq!(peers_from_json(client).unwrap(), ["127.0.0.1:5003", "127.0.0.1:6003"]);
        let node = r#"{"Host": {"RequestAddr": "h:1"}, "Peer": [{"MessageAddr": "p:2"}]}"#;
        assert_eq!(peers_from_json(node).unwrap(), ["h:1"]);
        for (text, expected) in [
            ("{\n \"Peer\": [}", "line 2 column"),
            ("[]", "no \"RequestAddr\""),
            ("{\"Peer\": 3}", "must be a list"),
            ("{\"Peer\": [{\"RequestAddr\": 3}]}", "must be a string"),
            ("{\"Peer\": [{\"RequestAddr\": \"x\"}]}", "port is missing"),
            ("{\"Peers\": [{\"RequestAddr\": \"a:1\"}]}", "unknown key \"Peers\"; did you mean Peer?"),
            (
                "{\"Peer\": [{\"RequestAddr\": \"a:1\"}], \"Zone\": 1}",
                "unknown key \"Zone\"; expected one of Host, ",
            ),
            (
                "{\"Peer\": [{\"RequestAddr\": \"a:1\", \"MesageAddr\": \"a:2\"}]}",
                "unknown key \"MesageAddr\" of a node; did you mean MessageAddr?",
            ),
        ] {
            let error = peers_from_json(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let later = r#"{"Peer": [{"RequestAddr": "a:1"}], "Zone": 1}"#;
        let (peers, warning) = peers_from_json_leniently(later).unwrap();
        assert_eq!((peers.as_slice(), warning.is_some()), (["a:1".to_owned()].as_slice(), true));
        assert_eq!(peers_from_json_leniently(client).unwrap().1, None);
        let windows = format!("\u{feff}{}", client.replace(' ', "\r\n"));
        assert_eq!(peers_from_json(&windows), peers_from_json(client));
    }
}
