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
    parse_server("node.json", text).map_err(|error| error.to_string())
}

fn refusal(text: &str) -> String {
    server(text).expect_err(text)
}

/// The README's file with one piece of it replaced.
fn readme_with(old: &str, new: &str) -> String {
    assert!(README.contains(old), "{old}");
    README.replacen(old, new, 1)
}

#[test]
fn the_file_of_the_original_readme_is_understood() {
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
fn the_missing_quote_of_the_original_readme_is_found() {
    let text = readme_with("\"localhost:7002\"}", "\"localhost:7002}");
    assert_eq!(refusal(&text), "node.json:11:43: a string does not end on its line: expected a closing \"");
}

#[test]
fn ids_are_derived_from_message_addresses_and_never_change() {
    let id = |text: &str| Address::parse(text).unwrap().node_id();
    assert_eq!(id("localhost:5002"), id("127.0.0.1:5002"));
    assert_eq!(id("Node-A.example:5002"), id("node-a.example:5002"));
    assert_ne!(id("127.0.0.1:5002"), id("127.0.0.1:6002"));
    // A node that derived another id from the same file would be a stranger to its ensemble.
    assert_eq!(id("127.0.0.1:5002").to_string(), "4dec0c792790b815");
}

#[test]
fn keys_are_matched_without_regard_to_case() {
    assert_eq!(server(&README.to_lowercase()).unwrap(), server(README).unwrap());
}

#[test]
fn unknown_keys_are_warned_about_with_the_nearest_name() {
    let config = server(&readme_with("\"Peer\"", "\"Datadir2\": 1, \"xyz\": {}, \"Peer\"")).unwrap();
    assert_eq!(
        config.warnings,
        [
            "node.json:7: unknown key Datadir2 in the configuration is ignored; did you mean DataDir?",
            "node.json:7: unknown key xyz in the configuration is ignored"
        ]
    );
    let config = server(&readme_with("\"RequestAddr\"", "\"ReqAddr\": \"a:1\", \"RequestAddr\"")).unwrap();
    assert_eq!(
        config.warnings,
        ["node.json:5: unknown key ReqAddr in Host is ignored; did you mean RequestAddr?"]
    );
}

#[test]
fn the_host_may_stand_among_its_peers() {
    let own = "\"Peer\" : [ {\"ElectionAddr\": \"127.0.0.1:5001\", \"MessageAddr\": \"127.0.0.1:5002\"},";
    assert_eq!(server(&readme_with("\"Peer\" : [", own)).unwrap(), server(README).unwrap());
}

#[test]
fn everything_optional_is_taken() {
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
    assert_eq!(
        config.warnings,
        ["node.json: AdminAddr 127.0.0.1:5004 is ignored: nothing is served there yet"]
    );
    assert!(config.to_string().contains("localhost:5003 (listens on 0.0.0.0:5003)"), "{config}");
    assert!(config.to_string().contains("quorum            2 of 3"), "{config}");
}

#[test]
fn configured_ids_win_over_derived_ones() {
    let text = readme_with("\"RequestAddr\"", "\"Id\": \"00000000000000ff\", \"RequestAddr\"");
    let config = server(&text).unwrap();
    assert_eq!(config.node, NodeId(255));
    assert_eq!(config.voters[0].node, NodeId(255));
}

#[test]
fn refusals_name_the_place_and_what_was_expected() {
    let cases: &[(&str, &str, &str)] = &[
        // What JSON itself is not.
        ("\"localhost:5001\",", "\"localhost:5001\"", "node.json:4:9: expected `,` or `}`"),
        (": [\n", ": \n", "node.json:8:8: invalid type: map, expected a list [{…}, …] of Peer objects"),
        (
            "\"localhost:5003\"\n",
            "\"localhost:5003\",\n",
            "node.json:6:5: a comma with nothing behind it: expected another item, or no comma",
        ),
        (
            "    ]\n}\n",
            "    ]\n} x",
            "node.json:13:3: text behind the configuration: expected the end of the file",
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
        (
            "\"Host\"",
            "\"HeartbeatMs\": \"soon\", \"Host\"",
            "node.json:2:25: invalid type: string \"soon\", expected HeartbeatMs as a whole number of milliseconds \
             from 10 to 60000",
        ),
        // Addresses.
        (
            "\"localhost:5002\"",
            "\"localhost\"",
            "node.json:4:36: MessageAddr \"localhost\" has no port: expected host:port, such as \"127.0.0.1:5002\"",
        ),
        (
            "\"localhost:5002\"",
            "\"localhost:70000\"",
            "node.json:4:42: MessageAddr \"localhost:70000\" has port \"70000\", not one from 1 to 65535: expected \
             host:port, such as \"127.0.0.1:5002\"",
        ),
        (
            "\"localhost:5002\"",
            "\"::1:5002\"",
            "node.json:4:35: MessageAddr \"::1:5002\" has more than one colon (an IPv6 address stands in brackets): \
             expected host:port, such as \"127.0.0.1:5002\"",
        ),
        (
            "\"localhost:5003\"",
            "\"0.0.0.0:5003\"",
            "node.json:5:39: RequestAddr \"0.0.0.0:5003\" is a wildcard, which peers and clients cannot reach (put \
             it in Bind, and announce the host's own address here): expected host:port, such as \"127.0.0.1:5002\"",
        ),
        (
            "\"RequestAddr\"",
            "\"MessageAddr\": \"localhost:1\", \"RequestAddr\"",
            "node.json:5:21: MessageAddr stands twice in Host",
        ),
        (
            "\"localhost:5003\"",
            "\"127.0.0.1:5002\"",
            "node.json: RequestAddr of Host is 127.0.0.1:5002, and so is MessageAddr of Host: give each its own port",
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
            "node.json: ElectionAddr of Peer number 2 is LOCALHOST:5001, and so is ElectionAddr of Host: give each \
             its own port",
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
        // Times.
        (
            "\"Host\"",
            "\"HeartbeatMs\": 5, \"Host\"",
            "node.json:2:20: HeartbeatMs is 5: expected milliseconds from 10 to 60000",
        ),
        (
            "\"Host\"",
            "\"HeartbeatMs\": 400, \"Host\"",
            "node.json: ElectionTimeoutMs (1000) is too short for HeartbeatMs (400): expected at least three times \
             as much",
        ),
        // What is not built.
        (
            "\"Host\"",
            "\"Tls\": {}, \"Host\"",
            "node.json:2:13: Tls is refused because encryption is not built yet: remove it, and keep the ports on a \
             network that only trusted machines reach",
        ),
        (
            "\"Host\"",
            "\"Join\": [], \"Host\"",
            "node.json:2:14: Join is refused until membership changes exist: list every node under Host and Peer \
             instead",
        ),
    ];
    let mut wrong = Vec::new();
    for (old, new, expected) in cases {
        let actual = refusal(&readme_with(old, new));
        if actual != *expected {
            wrong.push(format!("expected {expected}\n  actual {actual}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn two_nodes_never_share_an_id() {
    let text = README
        .replacen(
            "\"MessageAddr\"  : \"localhost:6002\"",
            "\"Id\": \"7\", \"MessageAddr\": \"localhost:6002\"",
            1,
        )
        .replacen(
            "\"MessageAddr\"  : \"localhost:7002\"",
            "\"Id\": \"7\", \"MessageAddr\": \"localhost:7002\"",
            1,
        );
    assert_eq!(
        refusal(&text),
        "node.json: Peer number 2 (localhost:7002) has the same id 0000000000000007 as localhost:6002: give each \
         node an Id of its own"
    );
}

#[test]
fn a_client_file_is_not_a_node_file() {
    let client = r#"{"Peer": [{"RequestAddr": "localhost:5003"}, {"RequestAddr": "localhost:6003"}]}"#;
    assert_eq!(
        refusal(client),
        "node.json: Host is missing: expected \"Host\": {\"ElectionAddr\": \"…\", \"MessageAddr\": \"…\", \
         \"RequestAddr\": \"…\"} (this looks like a client's file: use it with -client=true)"
    );
    let parsed = parse_client("client.json", client).unwrap();
    let texts: Vec<&str> = parsed.request_addresses.iter().map(|address| address.text.as_str()).collect();
    assert_eq!(texts, ["localhost:5003", "localhost:6003"]);
    assert_eq!(
        parse_client("client.json", "{}").unwrap_err().to_string(),
        "client.json: Peer is missing or empty: expected \"Peer\": [{\"RequestAddr\": \"host:port\"}, …]"
    );
    assert_eq!(
        parse_client("client.json", r#"{"Peer": [{}]}"#).unwrap_err().to_string(),
        "client.json: RequestAddr is missing in Peer number 1: expected \"Peer\": [{\"RequestAddr\": \
         \"host:port\"}, …]"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.json");
    let error = load_server(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: No such file", path.display())), "{error}");
    assert!(error.ends_with("check the path given with -config"), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(load_server(&path).unwrap_err().to_string().contains("not UTF-8 text"));
    // By its absolute path, wherever it was started.
    let here = std::env::current_dir().unwrap();
    let error = load_client(std::path::Path::new("absent.json")).unwrap_err().to_string();
    assert!(error.starts_with(&here.join("absent.json").display().to_string()), "{error}");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("client.json");
    let text = "\u{feff}{\r\n\"Peer\": [\r\n{\"RequestAddr\": \"127.0.0.1:5003\"}]\r\n}\r\n";
    std::fs::write(&path, text).unwrap();
    assert_eq!(load_client(&path).unwrap().request_addresses[0].text, "127.0.0.1:5003");
}

#[test]
fn nodes_on_this_machine_agree_on_their_ensemble() {
    let nodes: Vec<ServerConfig> =
        (0..3).map(|index| ServerConfig::on_this_machine("-dev=3", index, 3, PathBuf::new())).collect();
    assert!(nodes.iter().all(|node| node.voters == nodes[0].voters));
    assert_eq!(nodes[2].addresses().request, "127.0.0.1:7003");
    assert_eq!(nodes[1].node, nodes[1].announced.message.node_id());
}
