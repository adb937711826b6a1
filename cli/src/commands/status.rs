//! `gometa status`: every node, how far it is, who is missing, and how many more nodes may fail.
//!
//! Each node is asked itself, all at once, for what others say of it is old by nature. The peers that were named
//! are asked first; what they answer names the other members, which are asked then.

use std::{collections::BTreeMap, io::Write, time::Duration};

use gometa_client::{Client, Error, Layout, NodeStatus, PeerStatus, Role, printable};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{Setting, UNHEALTHY};
use crate::output::{Failure, Format, table, write_json};

/// A node that takes longer than this counts as missing.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// By request address.
type Answers = BTreeMap<String, Result<NodeStatus, Error>>;

/// Shows the report. The exit status is 0 if a leader answers and a quorum is up to date.
pub(super) async fn run(setting: &Setting, out: &mut dyn Write) -> Result<u8, Failure> {
    let client = setting.client.with_timeout(setting.timeout.min(ANSWER_MAX));
    let named = setting.addresses.clone();
    let mut answers = ask(&client, named.clone()).await;
    let members = members(&answers);
    let further = members.values().map(|member| member.address.clone());
    let further = further.filter(|address| !address.is_empty() && !answers.contains_key(address)).collect();
    answers.extend(ask(&client, further).await);
    let Some(report) = Report::new(&answers, if setting.named { &named } else { &[] }) else {
        let reasons: Vec<&str> =
            answers.values().filter_map(|answer| answer.as_ref().err()).map(Error::message).collect();
        return Err(Failure::NoAnswer(format!("no node answers: {}", reasons.join("; "))));
    };
    match setting.format {
        Format::Json => write_json(out, &report)?,
        Format::Table => report.show(out)?,
    }
    Ok(if report.may_fail.is_some() { 0 } else { UNHEALTHY })
}

/// Asks all of them at once; there are at most as many as an ensemble has members.
async fn ask(client: &Client, addresses: Vec<String>) -> Answers {
    let mut asked = JoinSet::new();
    for address in addresses {
        let client = client.clone();
        asked.spawn(async move {
            let answer = client.status_of(&address).await;
            (address, answer)
        });
    }
    asked.join_all().await.into_iter().collect()
}

/// What others say of a member.
#[derive(Clone, Default, Debug)]
struct Hearsay {
    /// For requests; empty if unknown.
    address: String,
    message_address: String,
    votes: bool,
    /// From the leader, if it has one.
    detail: String,
}

/// All members that are heard of, by node id.
fn members(answers: &Answers) -> BTreeMap<u64, Hearsay> {
    let mut members: BTreeMap<u64, Hearsay> = BTreeMap::new();
    for (address, status) in
        answers.iter().filter_map(|(address, answer)| Some((address, answer.as_ref().ok()?)))
    {
        members.entry(status.node).or_default().address.clone_from(address);
        for PeerStatus { member, votes, detail, .. } in &status.peers {
            let heard = members.entry(member.node).or_default();
            heard.votes |= votes;
            if heard.address.is_empty() {
                heard.address = member.request_address.clone().unwrap_or_default();
            }
            if heard.message_address.is_empty() {
                heard.message_address.clone_from(&member.message_address);
            }
            if status.role == Role::Leading {
                heard.detail.clone_from(detail);
            }
        }
    }
    members
}

/// Whether `leader` can count `node` in its quorums: it is the leader, or it follows it with all that it needs to serve,
/// as both of them say.
fn counts(node: &NodeStatus, leader: &NodeStatus) -> bool {
    let known = |peer: &&PeerStatus| peer.member.node == node.node;
    let follows = || {
        node.role == Role::Following
            && (node.leader, node.epoch) == (Some(leader.node), leader.epoch)
            && leader.peers.iter().find(known).is_some_and(|peer| peer.votes && peer.connected)
    };
    node.votes && (node.node == leader.node || follows())
}

/// A node's id, for people.
fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// One node in the report. Numbers are null for a node that does not answer.
#[derive(Serialize, Debug)]
struct Row {
    /// 16 hex digits, empty if unknown.
    node: String,
    /// For requests, empty if unknown.
    address: String,
    message_address: String,
    /// `missing` for a node that does not answer.
    role: &'static str,
    epoch: Option<u64>,
    last_revision: Option<u64>,
    applied_revision: Option<u64>,
    /// Behind the highest commit that any node knows of, in revisions.
    lag: Option<u64>,
    /// Hex.
    state_hash: Option<String>,
    votes: bool,
    keys: Option<u64>,
    sessions: Option<u64>,
    version: String,
    detail: String,
}

#[derive(Serialize, Debug)]
struct Report {
    /// The leader's request address.
    leader: Option<String>,
    /// Members that answer, of how many.
    answering: usize,
    members: usize,
    /// How to name those that do not.
    missing: Vec<String>,
    /// Members whose votes make quorums; all of them, until learners can be added.
    voters: usize,
    /// Voters that are up to date: the leader, and those that follow it in its epoch.
    up_to_date: usize,
    /// So many voters must be up to date for writes and linearizable reads.
    quorum: usize,
    /// How many of those may still fail. Null without a leader that answers, or without a quorum.
    may_fail: Option<usize>,
    /// The four in a sentence.
    summary: String,
    nodes: Vec<Row>,
    /// What else is worth knowing, a sentence each.
    notes: Vec<String>,
}

impl Report {
    /// None if no node answered. `named` are the addresses to account for one by one.
    fn new(answers: &Answers, named: &[String]) -> Option<Self> {
        let answered: BTreeMap<&str, &NodeStatus> = answers
            .iter()
            .filter_map(|(address, answer)| Some((address.as_str(), answer.as_ref().ok()?)))
            .collect();
        // The ensemble in question is the one that most of those who answer are of.
        let supporters =
            |of: &NodeStatus| answered.values().filter(|other| other.ensemble == of.ensemble).count();
        let ensemble = &answered.values().max_by_key(|status| supporters(status))?.ensemble;
        let ours = |status: &NodeStatus| status.ensemble == *ensemble;
        let own: Answers = answers
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_ok_and(ours))
            .map(|(address, answer)| (address.clone(), answer.clone()))
            .collect();
        let commit =
            answered.values().filter(|status| ours(status)).map(|status| status.commit_revision).max()?;

        // One that was deposed may not know it yet.
        let leading = answered.values().filter(|status| ours(status) && status.role == Role::Leading);
        let leader = leading.max_by_key(|status| status.epoch);
        let mut rows: Vec<Row> = Vec::new();
        let mut up_to_date = 0;
        for (id, heard) in members(&own) {
            let status =
                answered.get(heard.address.as_str()).filter(|status| status.node == id && ours(status));
            up_to_date += usize::from(status.zip(leader).is_some_and(|(node, leader)| counts(node, leader)));
            rows.push(match status {
                Some(status) => Row::of(status, &heard, commit),
                None => Row::missing(id, &heard, answers.get(&heard.address)),
            });
        }
        let mut notes = Vec::new();
        for (address, status) in answered.iter().filter(|(_, status)| !ours(status)) {
            notes.push(format!(
                "{address} belongs to another ensemble: it is node {} there",
                hex(status.node)
            ));
        }
        for address in named.iter().filter(|address| rows.iter().all(|row| row.address != **address)) {
            if let Some(Err(error)) = answers.get(address) {
                notes.push(format!("{}, and no member is known by this address", error.message()));
            }
        }
        let leader = leader.and_then(|leader| rows.iter().find(|row| row.node == hex(leader.node)));
        let missing: Vec<String> =
            rows.iter().filter(|row| row.role == "missing").map(|row| row.name().to_owned()).collect();
        let voters = rows.len();
        let quorum = voters / 2 + 1;
        let may_fail = up_to_date.checked_sub(quorum).filter(|_| leader.is_some());
        let consequence = match may_fail {
            Some(0) => "no further node may fail".to_owned(),
            Some(1) => "1 further node may fail".to_owned(),
            Some(nodes) => format!("{nodes} further nodes may fail"),
            None => "no writes and no linearizable reads".to_owned(),
        };
        Some(Self {
            leader: leader.map(|row| row.address.clone()),
            answering: rows.len() - missing.len(),
            members: rows.len(),
            missing,
            voters,
            up_to_date,
            quorum,
            may_fail,
            summary: match ensemble {
                Some(_) => {
                    format!("{up_to_date} of {voters} voters up to date, quorum {quorum}: {consequence}")
                }
                None => format!(
                    "the ensemble is not formed yet, which needs every configured voter: {consequence}"
                ),
            },
            nodes: rows,
            notes,
        })
    }

    fn show(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let heading =
            ["NODE", "ADDRESS", "ROLE", "EPOCH", "LAST", "APPLIED", "LAG", "STATE", "VOTES", "DETAIL"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(self.nodes.iter().map(Row::cells));
        table(out, &rows)?;
        let leader = self.leader.as_ref().map_or("no leader".to_owned(), |leader| format!("leader {leader}"));
        write!(out, "{} of {} nodes answer, {leader}", self.answering, self.members)?;
        if !self.missing.is_empty() {
            write!(out, ", missing: {}", self.missing.join(", "))?;
        }
        writeln!(out)?;
        writeln!(out, "{}", self.summary)?;
        let printed = |note: &String| printable(note.as_bytes(), Layout::OneLine);
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {}", printed(note)))
    }
}

impl Row {
    fn of(status: &NodeStatus, heard: &Hearsay, commit: u64) -> Self {
        let detail = if status.detail.is_empty() { &heard.detail } else { &status.detail };
        Self {
            node: hex(status.node),
            address: heard.address.clone(),
            message_address: heard.message_address.clone(),
            role: status.role.name(),
            epoch: Some(status.epoch),
            last_revision: Some(status.last_revision),
            applied_revision: Some(status.applied_revision),
            lag: Some(commit.saturating_sub(status.applied_revision)),
            state_hash: Some(status.state_hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            votes: status.votes,
            keys: Some(status.keys),
            sessions: Some(status.sessions),
            version: status.version.clone(),
            detail: detail.clone(),
        }
    }

    fn missing(id: u64, heard: &Hearsay, answer: Option<&Result<NodeStatus, Error>>) -> Self {
        let reason = match answer {
            Some(Err(error)) => error
                .message()
                .strip_prefix(&format!("{}: ", heard.address))
                .unwrap_or(error.message())
                .to_owned(),
            Some(Ok(other)) => format!("another node answers there: {}", hex(other.node)),
            None => "its request address is not known".to_owned(),
        };
        let detail = if heard.detail.is_empty() { reason } else { format!("{reason}; {}", heard.detail) };
        Self {
            node: hex(id),
            address: heard.address.clone(),
            message_address: heard.message_address.clone(),
            role: "missing",
            epoch: None,
            last_revision: None,
            applied_revision: None,
            lag: None,
            state_hash: None,
            votes: heard.votes,
            keys: None,
            sessions: None,
            version: String::new(),
            detail,
        }
    }

    /// How people know it.
    fn name(&self) -> &str {
        [&self.address, &self.message_address].into_iter().find(|name| !name.is_empty()).unwrap_or(&self.node)
    }

    fn cells(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            if self.message_address.is_empty() { self.node.clone() } else { self.message_address.clone() },
            text(&self.address),
            self.role.to_owned(),
            number(self.epoch),
            number(self.last_revision),
            number(self.applied_revision),
            number(self.lag),
            text(self.state_hash.as_deref().map_or("", |hash| &hash[..hash.len().min(8)])),
            if self.votes { "yes" } else { "no" }.to_owned(),
            self.detail.clone(),
        ]
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
