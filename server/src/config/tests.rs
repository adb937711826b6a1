use std::path::PathBuf;

use gometa_zab::NodeId;

use super::*;

const README: &str = r#"{
    "Host" : {
        "ElectionAddr" : "localhost:5001",
        "MessageAddr"  : "localhost:5002",
        "RequestAddr"  : "localhost:5003"
    },
    "Peer" : [
        {"ElectionAddr" : "localhost:6001",
         "MessageAddr"  : "localhost:6002"},
        {"ElectionAddr" : "localhost:7001",
         "MessageAddr"  : "localhost:7002"}
    ]
}
"#;

fn server(text: &str) -> Result<ServerConfig, String> {
    parse_server("node.json", text, UnknownKeys::Refuse, false).map_err(|error| error.to_string())
}

fn client(text: &str) -> Result<ClientConfig, String> {
    parse_client("client.json", text, UnknownKeys::Refuse).map_err(|error| error.to_string())
}

fn error_of(text: &str) -> String {
    server(text).expect_err(text)
}

/// The README's file with one part replaced.
fn readme_with(old: &str, new: &str) -> String {
    assert!(README.contains(old), "{old}");
    README.replacen(old, new, 1)
}

#[test]
fn the_file_of_the_original_readme_is_valid() {
    let config = server(README).unwrap();
    assert_eq!(config.addresses().message, "localhost:5002");
    assert_eq!(config.bind, config.announced);
    assert_eq!(config.voters.len(), 3);
    assert!(config.voters.is_sorted_by_key(|voter| voter.node));
    assert_eq!(
        (config.heartbeat_ms, config.election_timeout_ms, config.session_timeout_ms),
        (100, 1_000, 60_000)
    );
    assert_eq!(config.data_dir, Path::new("gometa-data"));
    assert!(config.warnings.is_empty());
}

#[test]
fn the_missing_quote_of_the_original_readme_is_an_error_with_its_position() {
    let text = readme_with("\"localhost:7002\"}", "\"localhost:7002}");
    assert_eq!(error_of(&text), "node.json:11:43: a string does not end on its line: expected a closing \"");
}

#[test]
fn ids_are_derived_from_message_addresses_and_never_change() {
    let id = |text: &str| Address::parse(text).unwrap().node_id();
    assert_eq!(id("localhost:5002"), id("127.0.0.1:5002"));
    assert_eq!(id("Node-A.example:5002"), id("node-a.example:5002"));
    assert_ne!(id("127.0.0.1:5002"), id("127.0.0.1:6002"));
    // Another derivation would give existing nodes ids that their ensemble does not know.
    assert_eq!(id("127.0.0.1:5002").to_string(), "4dec0c792790b815");
}

#[test]
fn keys_are_case_insensitive() {
    assert_eq!(server(&README.to_lowercase()).unwrap(), server(README).unwrap());
}

#[test]
fn unknown_keys_are_errors_with_the_most_similar_name() {
    let cases = [
        (
            "\"Peer\"",
            "\"Peers\"",
            "node.json:7:12: unknown key Peers in the configuration; did you mean Peer? (-lenient-flags makes this a \
             warning)",
        ),
        (
            "\"RequestAddr\"",
            "\"ReqAddr\": \"a:1\", \"RequestAddr\"",
            "node.json:5:17: unknown key ReqAddr in Host; did you mean RequestAddr? (-lenient-flags makes this a \
             warning)",
        ),
        (
            "\"MessageAddr\"  : \"localhost:6002\"",
            "\"MessageAddr\": \"localhost:6002\", \"xyz\": {}",
            "node.json:9:47: unknown key xyz in Peer; expected one of ElectionAddr, MessageAddr, RequestAddr, Id \
             (-lenient-flags makes this a warning)",
        ),
        // Control characters in a key are escaped.
        (
            "\"Host\"",
            "\"Ho\\nst\": 1, \"Host\"",
            "node.json:2:12: unknown key Ho\\nst in the configuration; did you mean Host? (-lenient-flags makes this \
             a warning)",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(error_of(&readme_with(old, new)), expected);
    }
    let error = client(r#"{"Peers": [{"RequestAddr": "a:1"}]}"#).unwrap_err();
    assert!(
        error.starts_with("client.json:1:8: unknown key Peers in the configuration; did you mean Peer?"),
        "{error}"
    );
}

#[test]
fn unknown_keys_are_warnings_on_request() {
    let text = readme_with("\"Peer\"", "\"Datadir2\": 1, \"xyz\": {}, \"Peer\"").replacen(
        "\"RequestAddr\"",
        "\"ReqAddr\": \"a:1\", \"RequestAddr\"",
        1,
    );
    let config = parse_server("node.json", &text, UnknownKeys::Warn, false).unwrap();
    assert_eq!(config.voters.len(), 3);
    let [host, near, far] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert_eq!(host, "node.json:5: ignored: unknown key ReqAddr in Host; did you mean RequestAddr?");
    assert_eq!(
        near,
        "node.json:7: ignored: unknown key Datadir2 in the configuration; did you mean DataDir?"
    );
    assert!(
        far.starts_with("node.json:7: ignored: unknown key xyz in the configuration; expected one of Host"),
        "{far}"
    );
}

#[test]
fn an_ensemble_of_one_needs_an_empty_list_of_peers() {
    let host = r#""Host": {"ElectionAddr": "a:1", "MessageAddr": "a:2", "RequestAddr": "a:3"}"#;
    let with = |peer: &str| format!("{{{host}{peer}}}");
    assert_eq!(server(&with(r#", "Peer": []"#)).unwrap().voters.len(), 1);
    let expected = "expected \"Peer\": [{\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\"}, …] with the other nodes, or \
                    \"Peer\": [] for an ensemble of this node alone";
    assert_eq!(error_of(&with("")), format!("node.json: Peer is missing: {expected}"));
    assert!(
        error_of(&with(r#", "Peer": null"#)).contains("invalid type: null, expected a list [{…}, …] of Peer")
    );
    let itself = r#", "Peer": [{"ElectionAddr": "a:1", "MessageAddr": "a:2"}]"#;
    assert_eq!(error_of(&with(itself)), format!("node.json: Peer lists this node only: {expected}"));
    // Missing keys stay errors.
    for peer in ["", r#", "Peer": null"#, r#", "Peers": []"#] {
        let error = parse_server("node.json", &with(peer), UnknownKeys::Warn, false).unwrap_err().to_string();
        assert!(error.contains("Peer"), "{error}");
    }
}

#[test]
fn byte_order_marks_and_carriage_returns_are_accepted() {
    let windows = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(server(&windows(README)), server(README));
    // The position of an error is the same.
    let broken = readme_with("\"localhost:7002\"}", "\"localhost:7002}");
    assert_eq!(server(&windows(&broken)), server(&broken));
    let clients = "{\"Peer\": [\n{\"RequestAddr\": \"localhost:5003\"}]}";
    assert_eq!(client(&windows(clients)), client(clients));
}

#[test]
fn times_that_are_zero_or_overflow_are_refused() {
    for key in ["HeartbeatMs", "ElectionTimeoutMs", "SessionTimeoutMs"] {
        for value in
            ["0", "-1", "86400001", "4294967296", "18446744073709551615", "18446744073709551616", "1e400"]
        {
            let error = error_of(&readme_with("\"Host\"", &format!("\"{key}\": {value}, \"Host\"")));
            assert!(error.starts_with("node.json:2:"), "{key} {value}: {error}");
        }
    }
}

#[test]
fn the_host_may_be_listed_among_its_peers() {
    let own = "\"Peer\" : [ {\"ElectionAddr\": \"127.0.0.1:5001\", \"MessageAddr\": \"127.0.0.1:5002\"},";
    assert_eq!(server(&readme_with("\"Peer\" : [", own)).unwrap(), server(README).unwrap());
}

#[test]
fn all_optional_keys_are_read() {
    let more = r#""Ensemble": "shards", "DataDir": "/var/lib/gometa", "HeartbeatMs": 50, "ElectionTimeoutMs": 500,
        "SessionTimeoutMs": 5000, "AdminAddr": "127.0.0.1:5004", "Bind": {"RequestAddr": "0.0.0.0:5003"}, "Host""#;
    let config = server(&readme_with("\"Host\"", more)).unwrap();
    assert_eq!(config.ensemble.as_deref(), Some("shards"));
    assert_eq!(config.data_dir, Path::new("/var/lib/gometa"));
    assert_eq!(
        (config.heartbeat_ms, config.election_timeout_ms, config.session_timeout_ms),
        (50, 500, 5_000)
    );
    assert_eq!(config.bind.request.text, "0.0.0.0:5003");
    assert_eq!(config.bind.message, config.announced.message);
    assert_eq!(config.warnings, ["node.json: AdminAddr 127.0.0.1:5004 is ignored: it is not supported yet"]);
    assert!(config.to_string().contains("localhost:5003 (listens on 0.0.0.0:5003)"), "{config}");
    assert!(config.to_string().contains("quorum            2 of 3"), "{config}");
}

#[test]
fn configured_ids_take_precedence_over_derived_ones() {
    let text = readme_with("\"RequestAddr\"", "\"Id\": \"00000000000000ff\", \"RequestAddr\"");
    let config = server(&text).unwrap();
    assert_eq!(config.node, NodeId(255));
    assert_eq!(config.voters[0].node, NodeId(255));
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of errors")]
fn errors_name_the_position_and_what_was_expected() {
    let cases: &[(&str, &str, &str)] = &[
        // Invalid JSON.
        ("\"localhost:5001\",", "\"localhost:5001\"", "node.json:4:9: expected `,` or `}`"),
        (
            ": [\n",
            ": \n",
            "node.json:8:8: invalid type: map, expected a list [{…}, …] of Peer objects, [] if there are none",
        ),
        (
            "\"localhost:5003\"\n",
            "\"localhost:5003\",\n",
            "node.json:6:5: a comma with nothing after it: expected another item, or no comma",
        ),
        (
            "    ]\n}\n",
            "    ]\n} x",
            "node.json:13:3: text after the configuration: expected the end of the file",
        ),
        (
            "    ]\n}\n",
            "",
            "node.json:11:44: the file ends too early (EOF while parsing a list): expected the rest of it",
        ),
        // Values of the wrong kind.
        (
            "\"localhost:5002\"",
            "5002",
            "node.json:4:29: invalid type: integer `5002`, expected MessageAddr as host:port, such as \
             \"127.0.0.1:5002\"",
        ),
        // Addresses.
        (
            "\"localhost:5003\"",
            "\"0.0.0.0:5003\"",
            "node.json:5:39: RequestAddr \"0.0.0.0:5003\" is a wildcard, which peers and clients cannot reach (put \
             it in Bind, and announce the host's own address here): expected host:port, such as \"127.0.0.1:5002\"",
        ),
        (
            "\"RequestAddr\"",
            "\"MessageAddr\": \"localhost:1\", \"RequestAddr\"",
            "node.json:5:21: MessageAddr appears twice in Host",
        ),
        (
            "\"localhost:5003\"",
            "\"127.0.0.1:5002\"",
            "node.json: RequestAddr of Host is 127.0.0.1:5002, and MessageAddr of Host is localhost:5002, which is the \
             same address: give each its own port",
        ),
        (
            "localhost:7002",
            "localhost:6002",
            "node.json: MessageAddr of Peer number 2 is localhost:6002, and so is MessageAddr of Peer number 1: give \
             each its own port",
        ),
        (
            "localhost:7001",
            "LOCALHOST:5001",
            "node.json: ElectionAddr of Peer number 2 is LOCALHOST:5001, and ElectionAddr of Host is localhost:5001, \
             which is the same address: give each its own port",
        ),
        (
            ",\n         \"MessageAddr\"  : \"localhost:7002\"",
            "",
            "node.json: MessageAddr is missing in Peer number 2: expected host:port",
        ),
        // Ids.
        (
            "\"RequestAddr\"",
            "\"Id\": \"0\", \"RequestAddr\"",
            "node.json:5:17: Id \"0\" is not a node id: expected 1 to 16 hexadecimal digits, not all 0",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(error_of(&readme_with(old, new)), *expected);
    }
    for (address, column, why) in [
        ("localhost", 36, "has no port"),
        ("localhost:70000", 42, "has port \"70000\", not one from 1 to 65535"),
        ("::1:5002", 35, "has more than one colon (an IPv6 address is written in brackets)"),
    ] {
        let error = error_of(&readme_with("localhost:5002", address));
        let place = format!("node.json:4:{column}: MessageAddr {address:?}");
        assert_eq!(error, format!("{place} {why}: expected host:port, such as \"127.0.0.1:5002\""));
    }
}

#[test]
fn keys_with_wrong_values_are_refused() {
    let soon = "2:25: invalid type: string \"soon\", expected HeartbeatMs as a whole number of milliseconds from 10 to \
                60000";
    let short =
        " ElectionTimeoutMs (1000) is too short for HeartbeatMs (400): expected at least three times as much";
    let tls =
        "2:13: Tls is not supported yet: remove it, and keep the ports on a network of trusted machines";
    for (key, value, expected) in [
        ("HeartbeatMs", "\"soon\"", soon),
        ("HeartbeatMs", "5", "2:20: HeartbeatMs is 5: expected milliseconds from 10 to 60000"),
        ("HeartbeatMs", "400", short),
        ("Tls", "{}", tls),
        ("Join", "[]", "2:14: Join: expected 1 to 16 addresses of members"),
        ("Join", "[\"a\"]", "2:16: Join \"a\" has no port: expected host:port, such as \"127.0.0.1:5002\""),
    ] {
        let error = error_of(&readme_with("\"Host\"", &format!("\"{key}\": {value}, \"Host\"")));
        assert_eq!(error, format!("node.json:{expected}"));
    }
}

#[test]
fn two_nodes_never_share_an_id() {
    let text = README.replace("{\"ElectionAddr\"", "{\"Id\": \"7\", \"ElectionAddr\"");
    assert_eq!(
        error_of(&text),
        "node.json: Peer number 2 (localhost:7002) has the same id 0000000000000007 as localhost:6002: give each \
         node an Id of its own"
    );
}

#[test]
fn a_client_file_is_not_a_node_file() {
    let client = r#"{"Peer": [{"RequestAddr": "localhost:5003"}, {"RequestAddr": "localhost:6003"}]}"#;
    assert_eq!(
        error_of(client),
        "node.json: Host is missing: expected \"Host\": {\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\", \
         \"RequestAddr\": \"…\"} (this looks like a client's file: use it with -client=true)"
    );
    let parsed = self::client(client).unwrap();
    let texts: Vec<&str> = parsed.request_addresses.iter().map(|address| address.text.as_str()).collect();
    assert_eq!(texts, ["localhost:5003", "localhost:6003"]);
    assert_eq!(
        self::client("{}").unwrap_err(),
        "client.json: Peer is missing or empty: expected \"Peer\": [{\"RequestAddr\": \"host:port\"}, …]"
    );
    assert_eq!(
        self::client(r#"{"Peer": [{}]}"#).unwrap_err(),
        "client.json: RequestAddr is missing in Peer number 1: expected \"Peer\": [{\"RequestAddr\": \
         \"host:port\"}, …]"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.json");
    let error = load_server(&path, "-config", UnknownKeys::Refuse, false).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: No such file", path.display())), "{error}");
    assert!(error.ends_with("check the path given with -config"), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = load_server(&path, "-config", UnknownKeys::Refuse, false).unwrap_err().to_string();
    assert!(error.contains("not UTF-8 text"), "{error}");
    // A relative path is shown as an absolute one.
    let error =
        load_client(Path::new("absent.json"), "-config", UnknownKeys::Refuse).unwrap_err().to_string();
    let expected = std::env::current_dir().unwrap().join("absent.json");
    assert!(error.starts_with(&format!("{}: cannot be read", expected.display())), "{error}");
}

#[test]
fn nodes_on_this_machine_agree_on_their_ensemble() {
    let nodes: Vec<ServerConfig> =
        (0..3).map(|index| ServerConfig::on_this_machine("-dev=3", index, 3, PathBuf::new())).collect();
    assert!(nodes.iter().all(|node| node.voters == nodes[0].voters));
    assert_eq!(nodes[2].addresses().request, "127.0.0.1:7003");
    assert_eq!(nodes[1].node, nodes[1].announced.message.node_id());
}

#[test]
fn a_file_that_names_members_to_join_needs_no_peers() {
    let host = "\"Host\": {\"ElectionAddr\": \"a:1\", \"MessageAddr\": \"a:2\", \"RequestAddr\": \"a:3\"}";
    let joins = format!("{{{host}, \"Join\": [\"b:3\", \"c:3\"]}}");
    let config = parse_server("node.json", &joins, UnknownKeys::Refuse, false).unwrap();
    assert_eq!((config.join, config.voters.len()), (vec!["b:3".to_owned(), "c:3".to_owned()], 1));
    // Or a flag names them.
    let alone = format!("{{{host}}}");
    let error = parse_server("node.json", &alone, UnknownKeys::Refuse, false).unwrap_err().to_string();
    assert!(error.contains("Peer is missing"), "{error}");
    assert!(parse_server("node.json", &alone, UnknownKeys::Refuse, true).is_ok());
}
