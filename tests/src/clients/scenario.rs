//! The format of the scenarios in `tests/conformance/*.json`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

/// A file of scenarios.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// A sentence about the topic.
    pub about: String,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
}

/// A claim about behaviour, and the steps that prove it.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The claim.
    pub name: String,
    /// The features that a client needs for it, beside the calls.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Opens a client beside the default one.
    Open(Open),
    /// Closes a client.
    Close(Close),
    /// Makes a call and waits for its answer.
    Call(Box<Call>),
    /// Makes a call repeatedly, until its answer is the expected one.
    Eventually(Box<Call>),
    /// Starts a call that is awaited later.
    Start(Box<Start>),
    /// Waits for the answer to a started call.
    Await(Box<Await>),
    /// Cancels a started call.
    Cancel(String),
    /// Injects or ends a fault.
    Fault(String),
    /// Waits until the nodes have applied a write, regardless of the client's answer.
    Written(Held),
}

/// `open`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Its number; the default client is 1.
    pub client: u64,
    /// Addresses, or their names: see `Cluster::peers`.
    pub peers: Vec<String>,
    /// The timeout of its calls in milliseconds.
    pub timeout_ms: u64,
    /// The expected failure.
    pub error: Option<Wanted>,
}

/// `close`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// The client's number.
    pub client: u64,
}

/// `call`
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The verb.
    #[serde(rename = "do")]
    pub verb: String,
    /// The client's number, 1 if absent.
    #[serde(default = "usual")]
    pub client: u64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// A number, or `"$name"` for one that was saved.
    pub revision: Option<Value>,
    /// The first key of a range.
    pub start: Option<Bytes>,
    /// The key behind the last one of a range.
    pub end: Option<Bytes>,
    /// What the keys of a range begin with.
    pub prefix: Option<Bytes>,
    /// The revision to read at: a number, or `"$name"` for one that was saved.
    pub at_revision: Option<Value>,
    /// The most entries of a range, or versions of a key.
    pub limit: Option<u64>,
    /// Only versions of a key below this revision: a number, or `"$name"` for one that was saved.
    pub before_revision: Option<Value>,
    /// Whether a range is in descending order.
    pub reverse: Option<bool>,
    /// Whether a range, or the history of a key, has no values.
    pub keys_only: Option<bool>,
    /// What ends a group of a range.
    pub delimiter: Option<Bytes>,
    /// The comparisons of a transaction: `["mod_revision", "=", KEY, NUMBER]`, or `create_revision`, or
    /// `["value", "=", KEY, VALUE]`, or `["range", COUNT, PREFIX, NUMBER]` with the count as text.
    pub when: Option<Vec<(String, String, Bytes, Value)>>,
    /// The operations of a transaction: `["set", KEY, VALUE]`, `["delete", KEY]`, `["get", KEY]`, `["range", PREFIX]`,
    /// `["delete_range", PREFIX]`.
    pub then: Option<Vec<Vec<Value>>>,
    /// The same, if a comparison does not hold.
    pub otherwise: Option<Vec<Vec<Value>>>,
    /// The guard of a write: its key and the revision at which that was created.
    pub guard: Option<(Bytes, Value)>,
    /// The name of a setting.
    pub setting: Option<String>,
    /// The value of a setting; absent for the default.
    pub number: Option<u64>,
    /// A member: its id, or `"$name"` for one that was saved.
    pub node: Option<Value>,
    /// The learner that takes the member's place.
    pub replacement: Option<Value>,
    /// Several members.
    pub nodes: Option<Vec<Value>>,
    /// The member that is to lead.
    pub to: Option<Value>,
    /// The version of the members that a change is to follow.
    pub follows: Option<Follows>,
    /// `linearizable` or `local`.
    pub consistency: Option<String>,
    /// A number, or `"$name"` for one that was saved.
    pub min_revision: Option<Value>,
    /// The timeout in milliseconds, the client's if absent.
    pub timeout_ms: Option<u64>,
    /// The expected results: a number, `"$name"`, a word, any of several words, or `{"above": …}`; null if the answer must not
    /// have it. `value` is [`Bytes`], `keys` and `values` are arrays of [`Listed`], `results` one
    /// of [`Done`]; `versions` is an array of `[REVISION, VERSION, CREATE_REVISION, SIZE]` and `[REVISION, "deleted"]`. Of a
    /// reason, words in it; `""` if there must be none.
    pub ok: Option<BTreeMap<String, Value>>,
    /// The expected failure.
    pub error: Option<Wanted>,
    /// Results to save, with names.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

/// `follows`
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Follows {
    /// A number, or `"$name"` for one that was saved.
    pub epoch: Value,
    /// The same.
    pub revision: Value,
}

/// `start`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The call's name in this scenario.
    pub name: String,
    /// The call with its expected result.
    pub call: Call,
    /// The number of concurrent calls, each with its own `{i}`, from 0.
    #[serde(default = "once")]
    pub times: usize,
}

/// `await`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Await {
    /// The name of the started call.
    pub name: String,
    /// The expected failure, if it is not part of the call.
    pub error: Option<Wanted>,
}

/// `written`
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The key.
    pub key: Bytes,
    /// Its value; absent if the key must not exist.
    pub value: Option<Bytes>,
}

/// An expected failure.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The kind, or several allowed ones.
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
    /// Whether a kind is allowed.
    pub fn have(&self, kind: &str) -> bool {
        match self {
            Kinds::One(one) => one == kind,
            Kinds::Any(any) => any.iter().any(|one| one == kind),
        }
    }
}

/// The bytes of a key or a value.
///
/// A key gets a prefix that is unique to the scenario and the client, unless it is empty or one of the exact forms. In a text,
/// `{i}` is the number of the call or the element, and `{i:04}` the same with four digits.
#[derive(Clone, Deserialize, Debug)]
#[serde(untagged)]
pub enum Bytes {
    /// `"k"`
    Text(String),
    /// `{"hex": "00ff"}`
    Hex {
        /// The digits.
        hex: String,
    },
    /// `{"exact_hex": "ffff"}`: exactly these bytes. Other clients may have written such keys before.
    ExactHex {
        /// The digits.
        exact_hex: String,
    },
    /// `{"repeat": "k", "times": 4097}`: exactly these bytes.
    Repeated {
        /// The repeated text.
        repeat: String,
        /// The number of repetitions.
        times: usize,
    },
    /// `{"saved": "next"}`: exactly the bytes of a result that was saved.
    Saved {
        /// The name under which it was saved.
        saved: String,
    },
}

/// A part of an expected list of keys or values.
#[derive(Clone, Deserialize, Debug)]
#[serde(untagged, deny_unknown_fields)]
pub enum Listed {
    /// `{"each": "k/{i:04}", "times": 1000, "from": 200}`: an element for each `{i}`, from 200 to 1199.
    Each {
        /// The text.
        each: String,
        /// The number of elements.
        times: usize,
        /// The first number, 0 if absent.
        #[serde(default)]
        from: usize,
    },
    /// One element.
    One(Bytes),
}

/// The expected result of an operation of a transaction.
#[derive(Clone, Deserialize, Debug)]
#[serde(untagged, deny_unknown_fields)]
pub enum Done {
    /// `"written:1"` with the version, `"deleted:true"`, `"deleted_range:2"` with the number of keys, `"absent"`, `"error:TooLarge"`.
    Text(String),
    /// `{"entry": "v"}`: the value of a key.
    Entry {
        /// The value.
        entry: Bytes,
    },
    /// `{"page": ["k/1", "k/2"]}`: the keys of a range.
    Page {
        /// The keys.
        page: Vec<Bytes>,
    },
}

fn usual() -> u64 {
    1
}

fn once() -> usize {
    1
}

/// Reads every file of a directory, in the order of their names, and returns topics by file name.
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
