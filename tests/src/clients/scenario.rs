//! Scenarios as they stand in `tests/conformance/*.json`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

/// A file of them.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// What they have in common, in a sentence.
    pub about: String,
    /// Themselves.
    pub scenarios: Vec<Scenario>,
}

/// One claim, and the steps that show it.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The claim.
    pub name: String,
    /// What a client must be able to do for it, beside the calls.
    #[serde(default)]
    pub needs: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// What happens next.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// A client beside the usual one.
    Open(Open),
    /// The end of a client.
    Close(Close),
    /// A call, to its answer.
    Call(Box<Call>),
    /// The begin of a call that is awaited later.
    Start(Box<Start>),
    /// The answer to a call that was started.
    Await(Box<Await>),
    /// A call that was started is given up.
    Cancel(String),
    /// Something breaks, or is mended.
    Fault(String),
    /// Waits until the nodes hold this, whatever the client has heard.
    Written(Held),
}

/// `open`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Its number among the scenario's clients; the usual one is 1.
    pub client: u64,
    /// Addresses, or names of them: see `Cluster::peers`.
    pub peers: Vec<String>,
    /// Milliseconds for each call.
    pub timeout_ms: u64,
    /// How it fails, if it should.
    pub error: Option<Wanted>,
}

/// `close`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// Which.
    pub client: u64,
}

/// `call`
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The verb.
    #[serde(rename = "do")]
    pub verb: String,
    /// The client, 1 if not said.
    #[serde(default = "usual")]
    pub client: u64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// A number, or `"$name"` for one that was saved.
    pub revision: Option<Value>,
    /// `linearizable` or `local`.
    pub consistency: Option<String>,
    /// A number, or `"$name"` for one that was saved.
    pub min_revision: Option<Value>,
    /// Milliseconds, if not the client's.
    pub timeout_ms: Option<u64>,
    /// What it gives, if it is to succeed: a number, `"$name"`, a word, any of several words, or `{"above": …}`.
    pub ok: Option<BTreeMap<String, Value>>,
    /// How it fails, if it is to.
    pub error: Option<Wanted>,
    /// Names for results.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

/// `start`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its name in this scenario.
    pub name: String,
    /// The call, with what is wanted of it.
    pub call: Call,
    /// So many of them at once; `{i}` in key and value is the number of each, from 0.
    #[serde(default = "once")]
    pub times: usize,
}

/// `await`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Await {
    /// Of what was started.
    pub name: String,
    /// How it fails, if that was not said when it was started.
    pub error: Option<Wanted>,
}

/// `written`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The key.
    pub key: Bytes,
    /// Its value; nothing if the key is to be gone.
    pub value: Option<Bytes>,
}

/// A failure, as far as it matters.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// One of these kinds.
    pub kind: Kinds,
    /// A number, or `"$name"`.
    pub actual_revision: Option<Value>,
    /// `not_applied` or `unknown`.
    pub outcome: Option<String>,
}

/// One kind, or any of several.
#[derive(Clone, Deserialize, Debug)]
#[serde(untagged)]
pub enum Kinds {
    /// `"NotFound"`
    One(String),
    /// `["DeadlineExceeded", "Unavailable"]`
    Any(Vec<String>),
}

impl Kinds {
    /// Whether a kind is among them.
    pub fn have(&self, kind: &str) -> bool {
        match self {
            Kinds::One(one) => one == kind,
            Kinds::Any(any) => any.iter().any(|one| one == kind),
        }
    }
}

/// Bytes of a key or a value.
///
/// A key that is a text gets a prefix of the run's own, unless it is empty.
#[derive(Clone, Deserialize, Debug)]
#[serde(untagged)]
pub enum Bytes {
    /// `"k"`
    Text(String),
    /// `{"hex": "00ff"}`
    Hex {
        /// Its digits.
        hex: String,
    },
    /// `{"repeat": "k", "times": 4097}`: so long exactly.
    Repeated {
        /// What.
        repeat: String,
        /// How often.
        times: usize,
    },
}

fn usual() -> u64 {
    1
}

fn once() -> usize {
    1
}

/// Reads every file of a directory, in the order of their names: topic by file name.
///
/// # Errors
/// If one cannot be understood.
pub fn read(directory: &Path) -> anyhow::Result<Vec<(String, Topic)>> {
    let mut topics = Vec::new();
    for found in fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))? {
        let path = found?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let topic = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        topics.push((name, topic));
    }
    topics.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(topics)
}
