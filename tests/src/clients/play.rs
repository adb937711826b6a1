//! One scenario with one driver.
//!
//! Beside the scenario's own expectations, every call must end by its deadline, or shortly after; an error has the number
//! of its kind, a message, and the `retryable` of the table.

use std::{collections::BTreeMap, fmt, pin::Pin, time::Duration};

use anyhow::{Context as _, bail, ensure};
use gometa_client::ErrorKind;
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    Driver,
    cluster::Cluster,
    line::{Answer, Line, hex, unhex},
    scenario::{Bytes, Call, Done, Follows, Listed, Scenario, Step, Wanted},
};
use crate::wait::PATIENCE;

/// The default client's timeout, which includes elections.
const TIMEOUT_MS: u64 = 15_000;
/// The pause before a call is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The tolerance beyond a deadline on a busy machine.
const LATE_MAX: Duration = Duration::from_secs(3);
/// The bytes of a key or a value that a message shows.
const SHOWN_BYTES: usize = 80;

/// The client does not have the operation of this verb.
#[derive(Debug)]
pub(super) struct Unsupported(String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has no {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// A running scenario.
struct Play<'a> {
    driver: &'a Driver,
    cluster: &'a mut Cluster,
    prefix: String,
    /// The timeout in milliseconds of each open client.
    clients: BTreeMap<u64, u64>,
    /// Saved results, as the answers have them.
    saved: BTreeMap<String, String>,
    started: BTreeMap<String, Vec<Started>>,
}

struct Started {
    number: u64,
    call: Call,
    index: usize,
    answer: JoinHandle<anyhow::Result<(Answer, Duration)>>,
}

/// Plays a scenario, then ends all faults. `prefix` makes its keys unique.
pub async fn play(
    driver: &Driver,
    cluster: &mut Cluster,
    scenario: &Scenario,
    prefix: String,
) -> anyhow::Result<()> {
    let mut play = Play {
        driver,
        cluster,
        prefix,
        clients: BTreeMap::new(),
        saved: BTreeMap::new(),
        started: BTreeMap::new(),
    };
    let played = play.steps(&scenario.steps).await;
    let clients: Vec<u64> = play.clients.keys().copied().collect();
    play.cluster.mend().await;
    for client in clients {
        let closed = driver.call(&Line::new("close").with("client", client)).await;
        if played.is_ok() {
            closed?;
        }
    }
    played
}

impl Play<'_> {
    async fn steps(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        self.open(1, &["$nodes".to_owned()], TIMEOUT_MS, None).await.context("open")?;
        for (index, step) in steps.iter().enumerate() {
            Box::pin(self.step(step)).await.with_context(|| format!("step {}", index + 1))?;
        }
        match self.started.keys().next() {
            None => Ok(()),
            Some(name) => bail!("{name} was never awaited"),
        }
    }

    fn step<'a>(&'a mut self, step: &'a Step) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>> {
        Box::pin(async move {
            match step {
                Step::Open(open) => {
                    self.open(open.client, &open.peers, open.timeout_ms, open.error.as_ref()).await
                }
                Step::Close(close) => {
                    let answer = self.driver.call(&Line::new("close").with("client", close.client)).await?;
                    ensure!(matches!(answer, Answer::Ok(_)), "close: {answer}");
                    Ok(())
                }
                Step::Call(call) => {
                    let started = self.begin(call, 0)?;
                    self.judge(started, None).await
                }
                Step::Eventually(call) => self.eventually(call).await,
                Step::Start(start) => {
                    let calls = (0..start.times).map(|index| self.begin(&start.call, index));
                    let calls = calls.collect::<anyhow::Result<_>>()?;
                    ensure!(
                        self.started.insert(start.name.clone(), calls).is_none(),
                        "{} was started before",
                        start.name
                    );
                    Ok(())
                }
                Step::Await(wanted) => {
                    let calls = self.started.remove(&wanted.name);
                    for call in calls.with_context(|| format!("{} was not started", wanted.name))? {
                        self.judge(call, wanted.error.as_ref()).await?;
                    }
                    Ok(())
                }
                Step::Cancel(name) => {
                    let calls = self.started.get(name).with_context(|| format!("{name} was not started"))?;
                    for call in calls {
                        let answer = self.driver.call(&Line::new("cancel").with("call", call.number)).await?;
                        ensure!(matches!(answer, Answer::Ok(_)), "cancel: {answer}");
                    }
                    Ok(())
                }
                Step::Fault(name) => self.cluster.fault(name).await,
                Step::Written(held) => {
                    let value = held.value.as_ref().map(|value| self.bytes(value, 0)).transpose()?;
                    self.cluster.until_written(&self.key(&held.key, 0)?, value.as_deref()).await
                }
            }
        })
    }

    async fn eventually(&mut self, call: &Call) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let started = self.begin(call, 0)?;
            match self.judge(started, None).await {
                Err(error) if error.downcast_ref::<Unsupported>().is_none() && begun.elapsed() < PATIENCE => {
                    sleep(RETRY_PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    async fn open(
        &mut self,
        client: u64,
        peers: &[String],
        timeout_ms: u64,
        error: Option<&Wanted>,
    ) -> anyhow::Result<()> {
        let peers: Vec<String> = peers.iter().map(|peer| self.cluster.peers(peer)).collect();
        let line = Line::new("open")
            .with("client", client)
            .with("peers", peers.join(","))
            .with("timeout_ms", timeout_ms);
        let answer = self.driver.call(&line).await?;
        match (&answer, error) {
            (Answer::Ok(_), None) => {
                self.clients.insert(client, timeout_ms);
                Ok(())
            }
            (Answer::Error(fields), Some(wanted)) => self.refused(fields, wanted),
            _ => bail!("{line}: {answer}"),
        }
    }

    fn begin(&self, call: &Call, index: usize) -> anyhow::Result<Started> {
        let mut line = Line::new(&call.verb).with("client", call.client);
        if let Some(key) = &call.key {
            line = line.with_bytes("key", &self.key(key, index)?);
        }
        if let Some(revision) = &call.revision {
            line = line.with("revision", self.number(revision)?);
        }
        if let Some(value) = &call.value {
            line = line.with_bytes("value", &self.bytes(value, index)?);
        }
        line = self.with_range(line, call, index)?;
        line = self.with_txn(line, call, index)?;
        if let Some((key, revision)) = &call.guard {
            let key = hex(&self.key(key, index)?);
            line = line.with("guard", format!("{key}:{}", self.number(revision)?));
        }
        if let Some(setting) = &call.setting {
            line = line.with("setting", setting);
        }
        if let Some(number) = call.number {
            line = line.with("number", number);
        }
        if let Some(node) = &call.node {
            line = line.with("node", self.number(node)?);
        }
        if let Some(node) = &call.replacement {
            line = line.with("replacement", self.number(node)?);
        }
        if let Some(nodes) = &call.nodes {
            let nodes = nodes.iter().map(|node| Ok(self.number(node)?.to_string()));
            line = line.with("nodes", nodes.collect::<anyhow::Result<Vec<_>>>()?.join(","));
        }
        if let Some(to) = &call.to {
            line = line.with("to", self.number(to)?);
        }
        if let Some(Follows { epoch, revision }) = &call.follows {
            line = line.with("follows_epoch", self.number(epoch)?);
            line = line.with("follows_revision", self.number(revision)?);
        }
        if let Some(consistency) = &call.consistency {
            line = line.with("consistency", consistency);
        }
        if let Some(revision) = &call.min_revision {
            line = line.with("min_revision", self.number(revision)?);
        }
        if let Some(timeout_ms) = call.timeout_ms {
            line = line.with("timeout_ms", timeout_ms);
        }
        let begun = Instant::now();
        let allowed = call.timeout_ms.or(self.clients.get(&call.client).copied()).unwrap_or(TIMEOUT_MS);
        let allowed = Duration::from_millis(allowed) + LATE_MAX;
        let (number, answer) = self.driver.begin(&line);
        let answer = tokio::spawn(async move {
            let answered = timeout(allowed, answer).await;
            let answer = answered.with_context(|| format!("no answer within {allowed:?}"))??;
            Ok((answer, begun.elapsed()))
        });
        Ok(Started { number, call: call.clone(), index, answer })
    }

    /// Adds the fields of a range.
    fn with_range(&self, mut line: Line, call: &Call, index: usize) -> anyhow::Result<Line> {
        for (name, bound) in [("start", &call.start), ("end", &call.end), ("prefix", &call.prefix)] {
            if let Some(bound) = bound {
                line = line.with_bytes(name, &self.key(bound, index)?);
            }
        }
        if let Some(revision) = &call.at_revision {
            line = line.with("at_revision", self.number(revision)?);
        }
        if let Some(revision) = &call.before_revision {
            line = line.with("before_revision", self.number(revision)?);
        }
        if let Some(limit) = call.limit {
            line = line.with("limit", limit);
        }
        for (name, flag) in [("reverse", call.reverse), ("keys_only", call.keys_only)] {
            if let Some(flag) = flag {
                line = line.with(name, flag);
            }
        }
        if let Some(delimiter) = &call.delimiter {
            line = line.with_bytes("delimiter", &self.bytes(delimiter, index)?);
        }
        Ok(line)
    }

    /// Adds the fields of a transaction.
    fn with_txn(&self, mut line: Line, call: &Call, index: usize) -> anyhow::Result<Line> {
        let when = call.when.iter().flatten().map(|(fact, relation, key, operand)| {
            let operand = match fact.as_str() {
                "value" => hex(&self.bytes(&serde_json::from_value(operand.clone())?, index)?),
                _ => self.number(operand)?.to_string(),
            };
            Ok([fact, relation, &hex(&self.key(key, index)?), &operand].map(String::as_str).join(":"))
        });
        let when = when.collect::<anyhow::Result<Vec<String>>>()?;
        let operation = |words: &Vec<Value>| {
            let [Value::String(verb), key, value @ ..] = &words[..] else {
                bail!("{words:?} is no operation")
            };
            let mut parts = vec![verb.clone(), hex(&self.key(&serde_json::from_value(key.clone())?, index)?)];
            for value in value {
                parts.push(hex(&self.bytes(&serde_json::from_value(value.clone())?, index)?));
            }
            Ok(parts.join(":"))
        };
        let branch = |branch: &Option<Vec<Vec<Value>>>| {
            branch.iter().flatten().map(operation).collect::<anyhow::Result<Vec<String>>>()
        };
        for (name, parts) in
            [("when", when), ("then", branch(&call.then)?), ("otherwise", branch(&call.otherwise)?)]
        {
            if !parts.is_empty() {
                line = line.with(name, parts.join(","));
            }
        }
        Ok(line)
    }

    async fn judge(&mut self, started: Started, error: Option<&Wanted>) -> anyhow::Result<()> {
        let Started { call, index, answer, .. } = started;
        let (answer, _) = answer.await?.with_context(|| call.verb.clone())?;
        if answer == Answer::Unsupported {
            return Err(Unsupported(call.verb).into());
        }
        let judged = match (&answer, error.or(call.error.as_ref())) {
            (Answer::Ok(fields), None) => self.accepted(fields, &call, index),
            (Answer::Error(fields), Some(wanted)) => self.refused(fields, wanted),
            (_, Some(_)) => Err(anyhow::anyhow!("a failure was expected")),
            (_, None) => Err(anyhow::anyhow!("a success was expected")),
        };
        judged.with_context(|| format!("{} #{index}: {answer}", call.verb))
    }

    fn accepted(
        &mut self,
        fields: &BTreeMap<String, String>,
        call: &Call,
        index: usize,
    ) -> anyhow::Result<()> {
        for (name, wanted) in call.ok.iter().flatten() {
            if wanted.is_null() {
                ensure!(!fields.contains_key(name), "no {name} wanted");
                continue;
            }
            let found = fields.get(name).with_context(|| format!("the answer has no {name}"))?;
            match (name.as_str(), wanted) {
                ("value", wanted) => {
                    let wanted = self.bytes(&serde_json::from_value(wanted.clone())?, index)?;
                    ensure!(*found == hex(&wanted), "value: {} bytes wanted", wanted.len());
                }
                ("keys" | "values", Value::Array(_)) => {
                    self.same_list(name, found, &serde_json::from_value::<Vec<Listed>>(wanted.clone())?)?;
                }
                ("versions", Value::Array(wanted)) => {
                    let wanted = wanted.iter().map(|version| self.version(version));
                    let wanted = wanted.collect::<anyhow::Result<Vec<_>>>()?.join(",");
                    ensure!(*found == wanted, "versions: {wanted} wanted");
                }
                ("results", wanted) => {
                    let wanted: Vec<Done> = serde_json::from_value(wanted.clone())?;
                    let wanted = wanted.iter().map(|done| self.done(done, index));
                    let wanted = wanted.collect::<anyhow::Result<Vec<_>>>()?.join(",");
                    ensure!(*found == wanted, "results: {} wanted", shown(wanted.as_bytes()));
                }
                ("reason", Value::String(words)) => {
                    let text = String::from_utf8(unhex(found)?)?;
                    ensure!(text.contains(words) && text.is_empty() == words.is_empty(), "reason: {text}");
                }
                (_, Value::Object(bound)) => {
                    let above = bound.get("above").context("bounds are {\"above\": …}")?;
                    ensure!(
                        found.parse::<u64>()? > self.number(above)?,
                        "{name}: {found} is not above {above}"
                    );
                }
                (_, Value::Array(any)) => {
                    ensure!(any.iter().any(|one| one == found.as_str()), "{name}: one of {any:?} wanted");
                }
                (_, Value::String(text)) if !text.starts_with('$') => {
                    ensure!(found == text, "{name}: {text} wanted");
                }
                (_, Value::Bool(wanted)) => ensure!(*found == wanted.to_string(), "{name}: {wanted} wanted"),
                (_, wanted) => {
                    let number = self.number(wanted)?;
                    ensure!(*found == number.to_string(), "{name}: {number} wanted");
                }
            }
        }
        for (name, saved) in &call.save {
            let found = fields.get(name).with_context(|| format!("the answer has no {name}"))?;
            self.saved.insert(saved.clone(), found.clone());
        }
        Ok(())
    }

    /// An expected version of a key, as the answers have it.
    fn version(&self, version: &Value) -> anyhow::Result<String> {
        let parts = version.as_array().with_context(|| format!("{version} is no version"))?;
        let part = |part: &Value| match part.as_str() {
            Some("deleted") => Ok("deleted".to_owned()),
            _ => Ok(self.number(part)?.to_string()),
        };
        Ok(parts.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?.join(":"))
    }

    /// The expected result of an operation of a transaction, as the answers have it.
    fn done(&self, done: &Done, index: usize) -> anyhow::Result<String> {
        Ok(match done {
            Done::Text(text) => text.clone(),
            Done::Entry { entry } => format!("entry:{}", hex(&self.bytes(entry, index)?)),
            Done::Page { page } => {
                let keys = page.iter().map(|key| Ok(hex(&self.key(key, index)?)));
                format!("page:{}", keys.collect::<anyhow::Result<Vec<_>>>()?.join("+"))
            }
        })
    }

    /// Compares a list of keys or values with the expected one.
    fn same_list(&self, name: &str, found: &str, wanted: &[Listed]) -> anyhow::Result<()> {
        let element = |bytes: &Bytes, index| match name {
            "keys" => self.key(bytes, index),
            _ => self.bytes(bytes, index),
        };
        let mut elements = Vec::new();
        for listed in wanted {
            match listed {
                Listed::One(bytes) => elements.push(element(bytes, 0)?),
                Listed::Each { each, times, from } => {
                    let text = Bytes::Text(each.clone());
                    for index in *from..from + times {
                        elements.push(element(&text, index)?);
                    }
                }
            }
        }
        // A list of one empty element is written like an empty list.
        let found: Vec<&str> = match found {
            "" if elements.is_empty() => Vec::new(),
            found => found.split(',').collect(),
        };
        for (index, (found, wanted)) in found.iter().zip(&elements).enumerate() {
            let found = unhex(found)?;
            ensure!(found == *wanted, "{name} {index}: {} wanted, not {}", shown(wanted), shown(&found));
        }
        ensure!(found.len() == elements.len(), "{name}: {} wanted, not {}", elements.len(), found.len());
        Ok(())
    }

    fn refused(&self, fields: &BTreeMap<String, String>, wanted: &Wanted) -> anyhow::Result<()> {
        let field = |name: &str| fields.get(name).with_context(|| format!("the error has no {name}"));
        let kind = field("kind")?;
        ensure!(wanted.kind.have(kind), "{:?} wanted", wanted.kind);
        let row = ErrorKind::ALL.iter().find(|row| row.name() == kind);
        let row = row.with_context(|| format!("the table has no {kind}"))?;
        ensure!(*field("number")? == row.number().to_string(), "{kind} has number {}", row.number());
        ensure!(
            *field("retryable")? == row.retryable().to_string(),
            "{kind}: retryable is {}",
            row.retryable()
        );
        ensure!(!unhex(field("message")?)?.is_empty(), "the error has no message");
        let outcome = field("outcome")?;
        ensure!(outcome == "not_applied" || outcome == "unknown", "outcome {outcome}");
        if let Some(wanted) = &wanted.outcome {
            ensure!(outcome == wanted, "outcome {wanted} wanted");
        }
        match (&wanted.actual_revision, fields.get("actual_revision")) {
            (None, _) => Ok(()),
            (Some(wanted), Some(found)) if *found == self.number(wanted)?.to_string() => Ok(()),
            (Some(wanted), _) => bail!("actual_revision {wanted} wanted"),
        }
    }

    /// Returns the number that a scenario's value stands for.
    fn number(&self, value: &Value) -> anyhow::Result<u64> {
        match value {
            Value::String(name) => {
                let name = name.trim_start_matches('$');
                self.saved(name)?.parse().with_context(|| format!("{name} is not a number"))
            }
            value => value.as_u64().with_context(|| format!("{value} is not a number")),
        }
    }

    fn saved(&self, name: &str) -> anyhow::Result<&str> {
        let saved = self.saved.get(name).with_context(|| format!("nothing was saved as {name}"))?;
        Ok(saved)
    }

    fn key(&self, key: &Bytes, index: usize) -> anyhow::Result<Vec<u8>> {
        let bytes = self.bytes(key, index)?;
        let own = !bytes.is_empty() && matches!(key, Bytes::Text(_) | Bytes::Hex { .. });
        let prefix = if own { self.prefix.as_bytes() } else { b"" };
        Ok([prefix, &bytes].concat())
    }

    fn bytes(&self, bytes: &Bytes, index: usize) -> anyhow::Result<Vec<u8>> {
        Ok(match bytes {
            Bytes::Text(text) => {
                text.replace("{i}", &index.to_string()).replace("{i:04}", &format!("{index:04}")).into_bytes()
            }
            Bytes::Hex { hex } | Bytes::ExactHex { exact_hex: hex } => unhex(hex)?,
            Bytes::Repeated { repeat, times } => repeat.repeat(*times).into_bytes(),
            Bytes::Saved { saved } => unhex(self.saved(saved)?)?,
        })
    }
}

/// Formats bytes for a message, long ones by their beginning.
fn shown(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_BYTES) {
        Some(beginning) => format!("\"{}…\" ({} bytes)", beginning.escape_ascii(), bytes.len()),
        None => format!("\"{}\"", bytes.escape_ascii()),
    }
}
