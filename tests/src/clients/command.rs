//! The driver of the command line: a process of `gometa` for each call.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    process::Stdio,
    sync::{Arc, Mutex},
};

use anyhow::Context as _;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, sync::Semaphore};

use super::line::{Answer, Line, hex, unhex};
use crate::{lock, program::program};

/// The number of concurrent processes; more calls wait.
const PROCESSES_MAX: usize = 16;

/// The exit status of a transaction that has executed `otherwise`.
const OTHERWISE: i32 = 4;

/// The length of an id as the command prints it.
const ID_DIGITS: usize = 16;

/// The verbs about ranges.
const RANGE_VERBS: [&str; 4] = ["range", "scan", "count", "delete_prefix"];

/// The words of the command for a verb about members.
const MEMBER_VERBS: [(&str, &[&str]); 7] = [
    ("membership", &["member", "list"]),
    ("promote_member", &["member", "promote"]),
    ("remove_member", &["member", "remove"]),
    ("replace_member", &["member", "replace"]),
    ("cancel_promotion", &["member", "cancel"]),
    ("transfer_leadership", &["leader", "transfer"]),
    ("safe_to_stop", &["member", "safe-to-stop"]),
];

/// What a call needs.
enum Prepared {
    /// No process: this is its answer.
    Answer(Answer),
    /// A process, with this input.
    Command(Box<Command>, Vec<u8>),
}

/// A driver that runs the command for each call.
pub struct Commands {
    program: std::path::PathBuf,
    /// The peers and the timeout of each open client.
    clients: Mutex<BTreeMap<String, (String, String)>>,
    room: Arc<Semaphore>,
    without: BTreeSet<String>,
}

impl Default for Commands {
    /// Uses the command that was built beside this program.
    fn default() -> Commands {
        Commands {
            program: program("gometa"),
            clients: Mutex::default(),
            room: Arc::new(Semaphore::new(PROCESSES_MAX)),
            without: ["cancel", "close", "bench", "many", "memory", "zero-bytes", "range"]
                .map(str::to_owned)
                .into(),
        }
    }
}

impl Commands {
    /// Returns the verbs that it does not support.
    pub fn without(&self) -> &BTreeSet<String> {
        &self.without
    }

    /// Returns the reason why it does not support one of them.
    pub fn why_without(&self, verb: &str) -> &str {
        match verb {
            "range" => "scan reads all pages",
            _ => "each call is a process of its own",
        }
    }

    /// Starts a call.
    pub fn begin(&self, line: &Line) -> impl Future<Output = anyhow::Result<Answer>> + Send + use<> {
        let prepared = self.prepare(line);
        let line = line.clone();
        let room = self.room.clone();
        async move {
            let (mut command, input) = match prepared? {
                Prepared::Answer(answer) => return Ok(answer),
                Prepared::Command(command, input) => (command, input),
            };
            let _place = room.acquire().await?;
            let mut child = command.spawn().context("gometa does not start")?;
            let mut stdin = child.stdin.take().context("it has an input")?;
            let feeding = tokio::spawn(async move {
                // A process that reads no input closes it.
                drop(stdin.write_all(&input).await);
            });
            let output = child.wait_with_output().await?;
            feeding.await?;
            answer(&line, output.status.code(), &output.stdout, &output.stderr)
        }
    }

    /// Returns what a call needs.
    fn prepare(&self, line: &Line) -> anyhow::Result<Prepared> {
        let client = line.wanted("client")?.to_owned();
        let mut clients = lock(&self.clients);
        let opens = line.verb == "open";
        let guarded = guard(line)?;
        if opens {
            let timeout = line.field("timeout_ms").unwrap_or("5000");
            clients.insert(client.clone(), (line.wanted("peers")?.to_owned(), format!("{timeout}ms")));
        } else if line.verb == "close" {
            clients.remove(&client);
            return Ok(Prepared::Answer(Answer::Ok(BTreeMap::new())));
        }
        let (peers, timeout) =
            clients.get(&client).with_context(|| format!("client {client} is not open"))?;
        let timeout = line.number("timeout_ms")?.map_or(timeout.clone(), |ms| format!("{ms}ms"));
        let mut arguments: Vec<OsString> =
            ["-o", "json", "--peers", peers, "--timeout", &timeout].map(OsString::from).into();
        let mut input = Vec::new();
        if opens {
            // A call that fails before it is sent, because of its peers or because of its key.
            arguments.extend(["get", ""].map(OsString::from));
        } else if let Some((_, words)) = MEMBER_VERBS.iter().find(|(verb, _)| *verb == line.verb) {
            arguments.extend(words.iter().map(OsString::from));
            arguments.extend(about_members(line)?);
        } else if line.verb == "txn" {
            arguments.push("txn".into());
            arguments.extend(read_options(line).into_iter().chain(guarded));
            input = script(line)?.into_bytes();
        } else if line.verb == "history_id" {
            arguments.push("status".into());
        } else if line.verb == "settings" {
            arguments.push("settings".into());
        } else if line.verb == "set_setting" {
            arguments.extend(["settings", "set"].map(OsString::from).into_iter().chain(guarded));
            let number = line.field("number").unwrap_or("default");
            arguments.extend(["--", line.wanted("setting")?, number].map(OsString::from));
        } else if RANGE_VERBS.contains(&line.verb.as_str()) {
            match about_range(line)? {
                Some(words) => arguments.extend(words),
                None => return Ok(Prepared::Answer(Answer::Unsupported)),
            }
        } else {
            arguments.extend(about_key(line, guarded)?);
            if line.field("value").is_some() {
                // Long values and values with zero bytes cannot be arguments.
                input = line.bytes("value")?;
                arguments.push("-".into());
            }
        }
        let mut command = Command::new(&self.program);
        command.args(arguments).env_remove("GOMETA_PEERS").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Prepared::Command(Box::new(command), input))
    }
}

/// The option for the guard of a write.
fn guard(line: &Line) -> anyhow::Result<Option<OsString>> {
    let Some(guard) = line.field("guard") else { return Ok(None) };
    let (key, revision) = guard.split_once(':').context("a guard is KEY:REVISION")?;
    let option = [b"--guard=", &unhex(key)?[..], b"@", revision.as_bytes()].concat();
    Ok(Some(OsString::from_vec(option)))
}

/// The command for a call about one key, without its value.
fn about_key(line: &Line, guard: Option<OsString>) -> anyhow::Result<Vec<OsString>> {
    let mut arguments = vec![OsString::from(&line.verb)];
    arguments.extend(guard);
    for (name, value) in &line.fields {
        match name.as_str() {
            "revision" if line.verb == "delete" => arguments.push(format!("--revision={value}").into()),
            "before_revision" => arguments.push(format!("--before={value}").into()),
            "limit" => arguments.push(format!("--limit={value}").into()),
            "keys_only" if value == "true" => arguments.push("--keys-only".into()),
            "at_revision" => arguments.push(format!("--at={value}").into()),
            "min_revision" => arguments.push(format!("--min-revision={value}").into()),
            "consistency" if value == "local" => arguments.push("--local".into()),
            _ => {}
        }
    }
    if line.field("key").is_some() {
        arguments.push("--".into());
        arguments.push(OsString::from_vec(line.bytes("key")?));
    }
    if line.verb != "delete"
        && let Some(revision) = line.field("revision")
    {
        arguments.push(revision.into());
    }
    Ok(arguments)
}

/// The command for a call about a range; `None` if there is none that has all of the call's fields.
fn about_range(line: &Line) -> anyhow::Result<Option<Vec<OsString>>> {
    // An option and its value, which may be any bytes but zero.
    let option = |name: &str, value: Vec<u8>| OsString::from_vec([name.as_bytes(), b"=", &value].concat());
    let word = match (line.verb.as_str(), line.field("delimiter")) {
        ("delete_prefix", _) => {
            let words = ["delete".into(), option("--prefix", line.bytes("prefix")?)];
            return Ok(Some(words.into_iter().chain(guard(line)?).collect()));
        }
        ("scan", Some(_)) => "ls",
        ("scan", None) => "scan",
        ("count", _) => "count",
        _ => return Ok(None),
    };
    let mut arguments = vec![OsString::from(word)];
    let mut prefix = Vec::new();
    for (name, value) in &line.fields {
        arguments.push(match (name.as_str(), word) {
            ("client" | "timeout_ms", _) => continue,
            ("reverse" | "keys_only", _) if value == "false" => continue,
            ("prefix", _) => {
                prefix = unhex(value)?;
                continue;
            }
            ("start" | "end", _) | ("delimiter", "ls" | "count") => {
                option(&format!("--{name}"), unhex(value)?)
            }
            ("at_revision", _) => option("--at", value.clone().into_bytes()),
            ("limit", "scan") => option("--limit", value.clone().into_bytes()),
            ("reverse", "scan") if value == "true" => "--reverse".into(),
            ("keys_only", "scan") if value == "true" => "--keys-only".into(),
            // It prints no values.
            ("keys_only", "ls") if value == "true" => continue,
            ("consistency" | "min_revision", _) => continue,
            _ => return Ok(None),
        });
    }
    if word == "ls" && line.field("keys_only") != Some("true") {
        return Ok(None);
    }
    arguments.extend(read_options(line));
    arguments.extend(["--".into(), OsString::from_vec(prefix)]);
    Ok(Some(arguments))
}

/// The options for the fields `consistency` and `min_revision`. The command has a minimum revision for local reads only.
fn read_options(line: &Line) -> Vec<OsString> {
    if line.field("consistency") != Some("local") {
        return Vec::new();
    }
    let min_revision = line.field("min_revision").map(|revision| format!("--min-revision={revision}").into());
    ["--local".into()].into_iter().chain(min_revision).collect()
}

/// The transaction of a line as a script.
fn script(line: &Line) -> anyhow::Result<String> {
    let mut script = String::new();
    for section in ["when", "then", "otherwise"] {
        script += &format!("{section}\n");
        for part in line.field(section).into_iter().flat_map(|parts| parts.split(',')) {
            let words: Vec<&str> = part.split(':').collect();
            script += &match words[..] {
                ["value", relation, key, value] => {
                    format!("value {} {relation} {}\n", escaped(key)?, escaped(value)?)
                }
                ["range", count, prefix, revision] => {
                    format!("range {} --count {count} --revision {revision}\n", escaped(prefix)?)
                }
                ["delete_range", prefix] => format!("delete-range {}\n", escaped(prefix)?),
                ["mod_revision", relation, key, revision] => {
                    format!("mod-revision {} {relation} {revision}\n", escaped(key)?)
                }
                ["create_revision", relation, key, revision] => {
                    format!("create-revision {} {relation} {revision}\n", escaped(key)?)
                }
                [verb, key] => format!("{verb} {}\n", escaped(key)?),
                [verb, key, value] => format!("{verb} {} {}\n", escaped(key)?, escaped(value)?),
                _ => anyhow::bail!("{part} is no part of a transaction"),
            };
        }
    }
    Ok(script)
}

/// Bytes in hexadecimal as a word of a script.
fn escaped(text: &str) -> anyhow::Result<String> {
    let bytes = unhex(text)?;
    let mut word = String::with_capacity(bytes.len() * 4 + 2);
    word.push('"');
    for byte in bytes {
        word.push_str("\\x");
        word.push_str(&hex(&[byte]));
    }
    word.push('"');
    Ok(word)
}

/// The arguments of a command about members.
fn about_members(line: &Line) -> anyhow::Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    if let (Some(epoch), Some(revision)) = (line.number("follows_epoch")?, line.number("follows_revision")?) {
        arguments.push(format!("--follows={epoch}:{revision}").into());
    }
    for name in ["node", "replacement", "to", "nodes"] {
        for word in line.field(name).unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
            arguments.push(format!("{:x}", word.parse::<u64>()?).into());
        }
    }
    Ok(arguments)
}

fn answer(line: &Line, status: Option<i32>, out: &[u8], err: &[u8]) -> anyhow::Result<Answer> {
    let history = line.verb == "history";
    if history && status == Some(0) {
        return Ok(Answer::Ok(versions(out, line.field("keys_only") == Some("true"))?));
    }
    // A scan that fails has printed the entries before.
    let scan = line.verb == "scan" || history;
    if scan && status == Some(0) {
        return Ok(Answer::Ok(scanned(out, line.field("keys_only") == Some("true"))?));
    }
    if line.verb == "settings" && status == Some(0) {
        return Ok(Answer::Ok(settings(out)?));
    }
    // If a comparison does not hold, that is a result, with a status of its own, which a failed guard has too.
    if line.verb == "txn" && (status == Some(0) || (status == Some(OTHERWISE) && !out.is_empty())) {
        return Ok(Answer::Ok(transacted(out, status == Some(0))?));
    }
    if line.verb == "history_id" && !out.is_empty() {
        let value: Value = serde_json::from_slice(out).context("gometa printed no JSON")?;
        let known = value["history"].as_u64().map(|history| ("history".to_owned(), history.to_string()));
        return Ok(Answer::Ok(known.into_iter().collect()));
    }
    // Nodes that cannot be stopped are a result, with a status of its own.
    let advice = status == Some(5) && !out.is_empty();
    if !scan && (status == Some(0) || advice) {
        let value: Value = serde_json::from_slice(out).context("gometa printed no JSON")?;
        return Ok(Answer::Ok(results(&value)));
    }
    let text = String::from_utf8_lossy(err);
    let value: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    if line.verb == "open" && value["error"]["operation"].is_string() {
        return Ok(Answer::Ok(BTreeMap::new()));
    }
    let mut fields = BTreeMap::new();
    for name in ["kind", "number", "retryable", "outcome", "actual_revision"] {
        if let Some(value) = value["error"].get(name) {
            fields.insert(name.to_owned(), plain(value));
        }
    }
    let message = value["error"]["message"].as_str().unwrap_or_default();
    fields.insert("message".to_owned(), hex(message.as_bytes()));
    Ok(Answer::Error(fields))
}

/// Translates a result into the drivers' fields. Of several statuses, the leader's is used.
fn results(value: &Value) -> BTreeMap<String, String> {
    let nodes = value["nodes"].as_array();
    let leading = nodes.and_then(|nodes| nodes.iter().find(|node| node["role"] == "leading"));
    let value = leading.unwrap_or(value);
    let mut fields = BTreeMap::new();
    for (name, value) in value.as_object().into_iter().chain(value["storage"].as_object()).flatten() {
        let (name, text) = match (name.as_str(), value.as_str()) {
            ("value", Some(text)) => ("value", hex(text.as_bytes())),
            ("value_base64", Some(text)) => ("value", hex(&unbase64(text))),
            ("reason", Some(text)) => ("reason", hex(text.as_bytes())),
            ("leader", Some(text)) if text.len() == ID_DIGITS => ("leader", decimal(text)),
            ("members", _) => {
                let members = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let voters = members.iter().filter(|member| member["role"] == "voter").count();
                fields.insert("voters".to_owned(), voters.to_string());
                for (index, member) in members.iter().enumerate() {
                    let id = decimal(member["node"].as_str().unwrap_or_default());
                    fields.insert(format!("node{}", index + 1), id);
                }
                ("members", members.len().to_string())
            }
            ("version", Some(text)) if text.contains(':') => {
                let (epoch, revision) = text.split_once(':').unwrap_or_default();
                fields.insert("revision".to_owned(), revision.to_owned());
                ("epoch", epoch.to_owned())
            }
            (name, _) => (name, plain(value)),
        };
        fields.insert(name.to_owned(), text);
    }
    fields
}

/// The bytes of a field, which is text or base64.
fn bytes(fields: &Value, name: &str) -> Option<String> {
    match (&fields[name], &fields[format!("{name}_base64")]) {
        (Value::String(text), _) => Some(hex(text.as_bytes())),
        (_, Value::String(text)) => Some(hex(&unbase64(text))),
        _ => None,
    }
}

/// Translates the answer to a transaction into the drivers' fields.
fn transacted(out: &[u8], succeeded: bool) -> anyhow::Result<BTreeMap<String, String>> {
    let answer: Value = serde_json::from_slice(out).context("gometa printed no JSON")?;
    anyhow::ensure!(answer["succeeded"] == succeeded, "the exit status contradicts the result");
    let results = answer["results"].as_array().context("it has results")?.iter().map(done);
    let results = results.collect::<anyhow::Result<Vec<String>>>()?.join(",");
    let fields = ["succeeded", "revision"].map(|name| (name.to_owned(), plain(&answer[name])));
    Ok(fields.into_iter().chain([("results".to_owned(), results)]).collect())
}

/// The result of an operation of a transaction.
fn done(result: &Value) -> anyhow::Result<String> {
    if let Some(kind) = result["error"]["kind"].as_str() {
        return Ok(format!("error:{kind}"));
    }
    Ok(match result["operation"].as_str().unwrap_or_default() {
        "set" => format!("written:{}", result["version"]),
        "delete" => format!("deleted:{}", result["existed"]),
        "delete_range" => format!("deleted_range:{}", result["count"]),
        "get" if result["exists"] == false => "absent".to_owned(),
        "get" => format!("entry:{}", bytes(result, "value").context("an entry has a value")?),
        "range" => {
            let entries = result["entries"].as_array().context("a page has entries")?;
            let keys = entries.iter().map(|entry| bytes(entry, "key").context("an entry has a key"));
            format!("page:{}", keys.collect::<anyhow::Result<Vec<_>>>()?.join("+"))
        }
        _ => anyhow::bail!("{result} is no result"),
    })
}

/// Translates the entries of a scan, one object a line, into the drivers' fields.
fn scanned(out: &[u8], keys_only: bool) -> anyhow::Result<BTreeMap<String, String>> {
    let (mut keys, mut values, mut groups) = (Vec::new(), Vec::new(), 0);
    let mut fields = BTreeMap::new();
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let entry: Value = serde_json::from_slice(line).context("gometa printed no JSON")?;
        let bytes = |name: &str| bytes(&entry, name);
        keys.push(bytes("key").context("an entry has a key")?);
        fields.insert("revision".to_owned(), plain(&entry["revision"]));
        let is_group = entry["is_group"] == true;
        groups += usize::from(is_group);
        if keys_only || is_group {
            anyhow::ensure!(bytes("value").is_none(), "an entry has a value that was not asked for");
            values.push(String::new());
        } else {
            values.push(bytes("value").context("an entry has a value")?);
        }
    }
    fields.insert("keys".to_owned(), keys.join(","));
    if !keys_only {
        fields.insert("values".to_owned(), values.join(","));
    }
    fields.insert("groups".to_owned(), groups.to_string());
    Ok(fields)
}

/// Translates the settings, one object a line, into the drivers' fields.
fn settings(out: &[u8]) -> anyhow::Result<BTreeMap<String, String>> {
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let setting: Value = serde_json::from_slice(line).context("gometa printed no JSON")?;
            let name = setting["name"].as_str().context("a setting has a name")?;
            Ok((name.to_owned(), plain(&setting["value"])))
        })
        .collect()
}

/// The versions of a key. The command prints all pages, and where the history begins only with a version.
fn versions(out: &[u8], keys_only: bool) -> anyhow::Result<BTreeMap<String, String>> {
    let (mut versions, mut values) = (Vec::new(), Vec::new());
    let mut fields = BTreeMap::new();
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let version: Value = serde_json::from_slice(line).context("gometa printed no JSON")?;
        let number = |name: &str| {
            version[name]
                .as_u64()
                .map(|number| number.to_string())
                .with_context(|| format!("no {name}: {version}"))
        };
        let mut parts = vec![number("revision")?];
        match version["change"].as_str() {
            Some("deleted") => parts.push("deleted".to_owned()),
            _ => parts.extend([number("version")?, number("create_revision")?, number("value_size")?]),
        }
        versions.push(parts.join(":"));
        values.push(match (version["value"].as_str(), version["value_base64"].as_str()) {
            (Some(text), _) => hex(text.as_bytes()),
            (None, Some(base64)) => hex(&unbase64(base64)),
            (None, None) => String::new(),
        });
        fields.insert("oldest_revision".to_owned(), number("oldest_revision")?);
    }
    fields.insert("versions".to_owned(), versions.join(","));
    if !keys_only {
        fields.insert("values".to_owned(), values.join(","));
    }
    Ok(fields)
}

/// An id of 16 hexadecimal digits as a decimal number; other texts as they are.
fn decimal(text: &str) -> String {
    u64::from_str_radix(text, 16).map_or_else(|_| text.to_owned(), |id| id.to_string())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Decodes base64 as the command prints it.
fn unbase64(text: &str) -> Vec<u8> {
    let number = |letter: u8| match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').collect();
    let groups = letters.chunks(4).flat_map(|group| {
        let bits =
            group.iter().fold(0, |bits, letter| bits << 6 | number(*letter)) << (6 * (4 - group.len()));
        bits.to_be_bytes().into_iter().skip(1).take(group.len() * 6 / 8).collect::<Vec<u8>>()
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_about_ranges_become_commands() {
        let words = |line: &str| {
            let (_, line) = Line::parse(line).unwrap();
            let words = about_range(&line).unwrap()?.into_iter().map(|word| word.into_string().unwrap());
            Some(words.collect::<Vec<_>>().join(" "))
        };
        for (line, command) in [
            (
                "7 scan client=1 start=6b end=6c prefix=6b at_revision=3 limit=2 reverse=true keys_only=true",
                "scan --start=k --end=l --at=3 --limit=2 --reverse --keys-only -- k",
            ),
            (
                "7 scan client=1 prefix=6b2f keys_only=true delimiter=2f consistency=local",
                "ls --delimiter=/ --local -- k/",
            ),
            ("7 count client=1 timeout_ms=300", "count -- "),
            (
                "7 count client=1 delimiter=2f consistency=local min_revision=3",
                "count --delimiter=/ --local --min-revision=3 -- ",
            ),
            ("7 scan client=1 min_revision=3", "scan -- "),
            ("7 delete_prefix client=1 prefix=2d", "delete --prefix=-"),
            ("7 delete_prefix client=1 prefix=2d guard=6c40:12", "delete --prefix=- --guard=l@@12"),
        ] {
            assert_eq!(words(line).as_deref(), Some(command), "{line}");
        }
        for line in ["7 range client=1", "7 scan client=1 delimiter=2f", "7 count client=1 limit=2"] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn guards_become_options_and_settings_are_read() {
        let (_, line) = Line::parse("7 set client=1 key=6b value=76 guard=6c40ff:12").unwrap();
        let option = OsString::from_vec(b"--guard=l@\xff@12".to_vec());
        assert_eq!(
            about_key(&line, guard(&line).unwrap()).unwrap(),
            ["set".into(), option, "--".into(), "k".into()]
        );
        let (_, line) = Line::parse("7 set client=1 key=6b value=76 guard=6c").unwrap();
        assert!(guard(&line).is_err());
        let out = b"{\"name\":\"A\",\"value\":5}\n{\"name\":\"B\",\"value\":1073741824}\n";
        let read = settings(out).unwrap();
        assert_eq!((read.len(), &*read["A"], &*read["B"]), (2, "5", "1073741824"));
    }

    #[test]
    fn transactions_become_scripts_and_their_answers_are_read() {
        let (_, line) = Line::parse(
            "7 txn client=1 when=mod_revision:=:6b:12,value:!=:6b:,create_revision:>:6b:0,range:2:6b:9 then=set:6b:ff,delete:6b,range:,delete_range:61",
        )
        .unwrap();
        assert_eq!(
            script(&line).unwrap(),
            "when\nmod-revision \"\\x6b\" = 12\nvalue \"\\x6b\" != \"\"\ncreate-revision \"\\x6b\" > 0\n\
             range \"\\x6b\" --count 2 --revision 9\n\
             then\nset \"\\x6b\" \"\\xff\"\ndelete \"\\x6b\"\nrange \"\"\ndelete-range \"\\x61\"\notherwise\n"
        );
        let out = br#"{"revision":12,"succeeded":true,"results":[{"operation":"set","key":"k","revision":12,"version":1},
            {"operation":"delete","key":"k","existed":false,"revision":0},{"operation":"get","key":"k","exists":false},
            {"operation":"get","key":"k","exists":true,"value_base64":"/w=="},
            {"operation":"range","prefix":"","entries":[{"key":"a"},{"key":"b"}],"next":null},
            {"operation":"get","key":"k","error":{"kind":"TooLarge"}}]}"#;
        let fields = transacted(out, true).unwrap();
        assert_eq!((&*fields["succeeded"], &*fields["revision"]), ("true", "12"));
        assert_eq!(fields["results"], "written:1,deleted:false,absent,entry:ff,page:61+62,error:TooLarge");
        assert!(transacted(out, false).is_err());
    }

    #[test]
    fn the_entries_of_a_scan_are_read() {
        let out = b"{\"key\":\"a\",\"revision\":7,\"value\":\"v\"}\n{\"key\":\"b/\",\"is_group\":true,\"revision\":7}\n\
                    {\"key_base64\":\"/w==\",\"revision\":7,\"value_base64\":\"AP8=\"}\n";
        let fields = scanned(out, false).unwrap();
        let fields: Vec<_> = fields.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(
            fields,
            [("groups", "1"), ("keys", "61,622f,ff"), ("revision", "7"), ("values", "76,,00ff")]
        );
        assert!(scanned(out, true).is_err());
        assert!(scanned(b"{\"key\":\"a\"}\n", false).is_err());
        let fields = scanned(b"", true).unwrap();
        assert_eq!((fields["keys"].as_str(), fields.get("values")), ("", None));
    }

    #[test]
    fn histories_become_commands_and_their_versions_are_read() {
        let (_, line) =
            Line::parse("7 history client=1 key=6b before_revision=9 limit=2 keys_only=true consistency=local min_revision=3")
                .unwrap();
        let words = about_key(&line, None).unwrap();
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let expected =
            ["history", "--before=9", "--limit=2", "--keys-only", "--local", "--min-revision=3", "--", "k"];
        assert_eq!(words.iter().collect::<BTreeSet<_>>(), expected.iter().collect());
        let out =
            b"{\"revision\":7,\"change\":\"changed\",\"version\":2,\"create_revision\":3,\"value_size\":1,\
                    \"value_base64\":\"/w==\",\"oldest_revision\":1}\n\
                    {\"revision\":5,\"change\":\"deleted\",\"oldest_revision\":1}\n";
        let fields = versions(out, false).unwrap();
        let fields: Vec<_> = fields.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(fields, [("oldest_revision", "1"), ("values", "ff,"), ("versions", "7:2:3:1,5:deleted")]);
        assert_eq!(versions(b"", true).unwrap().len(), 1);
        assert!(versions(b"{\"revision\":7}\n", true).is_err());
    }

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("/w==", b"\xff"),
            ("AP8=", b"\0\xff"),
            ("Zm9v", b"foo"),
            ("+/8A", b"\xfb\xff\0"),
        ] {
            assert_eq!(unbase64(text), bytes, "{text}");
        }
    }
}
