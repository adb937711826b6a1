//! The configuration file.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the server's, compiled in here; only the two parsers are called"
)]
#[path = "../../server/src/config/mod.rs"]
mod config;

/// Text of a configuration file, of a node's and of a client's, with unknown keys refused and passed over.
///
/// A configuration that is let through names voters that a node can start with: itself among them, each once, in
/// order; and can be shown. One that is not says why in one line.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for unknown_keys in [config::UnknownKeys::Refuse, config::UnknownKeys::Warn] {
        match config::parse_server("fuzz.json", text, unknown_keys, false) {
            Ok(server) => {
                assert!(server.voters.is_sorted_by(|a, b| a.node < b.node), "ascending, each once");
                assert!(server.voters.iter().any(|voter| voter.node == server.node));
                assert!(server.voters.iter().all(|voter| voter.node != gometa_zab::NodeId(0)));
                assert!(server.voters.len() <= gometa_proto::limits::MEMBERS_MAX);
                assert!(server.heartbeat_ms > 0 && server.heartbeat_ms < server.election_timeout_ms);
                assert!(!server.to_string().is_empty());
                server.warnings.iter().for_each(|warning| one_line(warning));
            }
            Err(error) => one_line(&error.to_string()),
        }
        match config::parse_client("fuzz.json", text, unknown_keys) {
            Ok(client) => assert!(!client.request_addresses.is_empty()),
            Err(error) => one_line(&error.to_string()),
        }
    }
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}
