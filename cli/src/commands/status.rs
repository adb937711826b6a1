//! `gometa status`: the state of every node, missing nodes, and how many more nodes may fail.
//!
//! Each node is asked for its own state, all at once. The given peers are asked first; their answers name the other
//! members, which are asked next. A second table shows what each node stores.

use std::{collections::BTreeMap, io::Write, time::Duration};

use gometa_client::{Client, EnsembleId, Error, Layout, NodeStatus, PeerStatus, Role, printable};
use serde::Serialize;
use tokio::task::JoinSet;

use super::storage::{self, Storage};
use crate::{
    context::Context,
    output::{Failure, Format, UNHEALTHY, write_json, write_table},
};

/// The time after which a node counts as missing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// By request address.
type Answers = BTreeMap<String, Result<NodeStatus, Error>>;

pub(super) async fn run(context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
    let client = context.client.with_timeout(context.timeout.min(ANSWER_TIMEOUT));
    let named = context.addresses.clone();
    let mut answers = ask(&client, named.clone()).await;
    let members = members(&answers);
    let others = members.values().map(|member| member.address.clone());
    let others = others.filter(|address| !address.is_empty() && !answers.contains_key(address)).collect();
    answers.extend(ask(&client, others).await);
    let Some(report) = Report::new(&answers, if context.named { &named } else { &[] }) else {
        let reasons: Vec<&str> =
            answers.values().filter_map(|answer| answer.as_ref().err()).map(Error::message).collect();
        return Err(Failure::NoAnswer(format!("no node answers: {}", reasons.join("; "))));
    };
    match context.format {
        Format::Json => write_json(out, &report)?,
        Format::Table => report.show(out)?,
    }
    Ok(if report.may_fail.is_some() { 0 } else { UNHEALTHY })
}

/// Asks all nodes at once: no more than an ensemble has members.
async fn ask(client: &Client, addresses: Vec<String>) -> Answers {
    let mut tasks = JoinSet::new();
    for address in addresses {
        let client = client.clone();
        tasks.spawn(async move {
            let answer = client.status_of(&address).await;
            (address, answer)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// A member as the answers of all nodes describe it.
#[derive(Clone, Default, Debug)]
struct Described {
    /// Its request address, empty if unknown.
    address: String,
    message_address: String,
    votes: bool,
    learner: bool,
    /// The detail in the leader's answer.
    detail: String,
}

/// All members in the answers, by node id.
fn members(answers: &Answers) -> BTreeMap<u64, Described> {
    let mut members: BTreeMap<u64, Described> = BTreeMap::new();
    for (address, status) in
        answers.iter().filter_map(|(address, answer)| Some((address, answer.as_ref().ok()?)))
    {
        members.entry(status.node).or_default().address.clone_from(address);
        for PeerStatus { member, votes, detail, learner, .. } in &status.peers {
            let described = members.entry(member.node).or_default();
            described.votes |= votes;
            described.learner |= learner;
            if described.address.is_empty() {
                described.address = member.request_address.clone().unwrap_or_default();
            }
            if described.message_address.is_empty() {
                described.message_address.clone_from(&member.message_address);
            }
            if status.role == Role::Leading {
                described.detail.clone_from(detail);
            }
        }
    }
    members
}

/// Whether `node` counts in the quorums of `leader`: it is the leader, or it follows the leader and is up to date,
/// according to both answers.
fn counts(node: &NodeStatus, leader: &NodeStatus) -> bool {
    let known = |peer: &&PeerStatus| peer.member.node == node.node;
    let follows = || {
        node.role == Role::Following
            && (node.leader, node.epoch) == (Some(leader.node), leader.epoch)
            && leader.peers.iter().find(known).is_some_and(|peer| peer.votes && peer.connected)
    };
    node.votes && (node.node == leader.node || follows())
}

/// The ensemble of most of the nodes that answer, in its latest history: nodes that were left behind in an earlier one may be
/// more, as may those that have not joined yet.
fn ensemble_of_most<'a>(answered: &BTreeMap<&str, &'a NodeStatus>) -> Option<&'a Option<EnsembleId>> {
    let id = |of: &NodeStatus| of.ensemble.as_ref().map(|ensemble| ensemble.id.clone());
    let supporters = |of: &NodeStatus| answered.values().filter(|other| id(other) == id(of)).count();
    let history = |of: &NodeStatus| of.ensemble.as_ref().map(|ensemble| ensemble.history);
    let most = answered
        .values()
        .max_by_key(|status| (status.ensemble.is_some(), supporters(status), history(status)))?;
    Some(&most.ensemble)
}

/// The note of a node that does not belong to the reported ensemble.
fn stranger(address: &str, status: &NodeStatus, ensemble: Option<&EnsembleId>) -> String {
    let node = hex(status.node);
    match (&status.ensemble, ensemble) {
        (Some(theirs), Some(ours)) if theirs.id == ours.id => format!(
            "{address} was left behind with history {}, as node {node}: stop it, move its data directory away, and start \
             it with -join",
            theirs.history
        ),
        (None, _) => format!("{address} belongs to no ensemble yet, as node {node}"),
        _ => format!("{address} belongs to another ensemble, as node {node}"),
    }
}

/// Bytes as hex digits.
fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node's id as text.
fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// The notes of the change of the members that is not made yet: as the leader knows it, or else each of the nodes.
fn pending_changes(rows: &[Row], leader: Option<String>) -> Vec<String> {
    let mut pending: Vec<&Row> = rows.iter().filter(|row| !row.pending_change.is_empty()).collect();
    if let Some(leads) = pending.iter().position(|row| Some(&row.node) == leader.as_ref()) {
        pending = vec![pending[leads]];
    }
    let note =
        |row: &Row| format!("change of the members not made yet ({}): {}", row.id(), row.pending_change);
    pending.into_iter().map(note).collect()
}

/// A node in the report. Numbers are null for a node that does not answer.
#[derive(Serialize, Debug)]
struct Row {
    /// The node's id, 16 hex digits.
    node: String,
    /// The request address, empty if unknown.
    address: String,
    message_address: String,
    /// `missing` for a node that does not answer.
    role: &'static str,
    epoch: Option<u64>,
    last_revision: Option<u64>,
    applied_revision: Option<u64>,
    oldest_revision: Option<u64>,
    /// The number of revisions behind the highest committed one that any node knows.
    lag: Option<u64>,
    /// Hex digits.
    state_hash: Option<String>,
    votes: bool,
    keys: Option<u64>,
    sessions: Option<u64>,
    version: String,
    detail: String,
    /// The change of the members that is not made yet, as this node knows it.
    pending_change: String,
    storage: Option<Storage>,
}

#[derive(Serialize, Debug)]
struct Report {
    /// The id of the ensemble, 32 hex digits. Null if it is not formed.
    ensemble: Option<String>,
    /// The id of its history. Null if it is not formed.
    history: Option<u64>,
    /// The leader's request address.
    leader: Option<String>,
    /// The number of nodes that answer.
    answering: usize,
    /// The number of nodes: the members, and nodes that were members.
    members: usize,
    /// The addresses of the members that do not answer.
    missing: Vec<String>,
    /// The number of voters: as the leader knows, or else of all nodes that are not known to be learners.
    voters: usize,
    /// The number of voters that are up to date: the leader, and those that follow it in its epoch.
    up_to_date: usize,
    /// The number of voters that must be up to date for writes and linearizable reads.
    quorum: usize,
    /// The number of voters that may still fail. Null if no leader answers or no quorum is up to date.
    may_fail: Option<usize>,
    /// The four numbers in a sentence.
    summary: String,
    nodes: Vec<Row>,
    /// Remarks, a sentence each.
    notes: Vec<String>,
}

impl Report {
    /// None if no node answered. Addresses in `named` that belong to no member are noted.
    fn new(answers: &Answers, named: &[String]) -> Option<Self> {
        let answered: BTreeMap<&str, &NodeStatus> = answers
            .iter()
            .filter_map(|(address, answer)| Some((address.as_str(), answer.as_ref().ok()?)))
            .collect();
        let ensemble = ensemble_of_most(&answered)?;
        let ours = |status: &NodeStatus| status.ensemble == *ensemble;
        let own: Answers = answers
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_ok_and(ours))
            .map(|(address, answer)| (address.clone(), answer.clone()))
            .collect();
        let commit =
            answered.values().filter(|status| ours(status)).map(|status| status.commit_revision).max()?;

        // An earlier leader may not know of the later one yet.
        let leading = answered.values().filter(|status| ours(status) && status.role == Role::Leading);
        let leader = leading.max_by_key(|status| status.epoch);
        let mut rows: Vec<Row> = Vec::new();
        let mut up_to_date = 0;
        for (id, described) in members(&own) {
            let status =
                answered.get(described.address.as_str()).filter(|status| status.node == id && ours(status));
            up_to_date += usize::from(status.zip(leader).is_some_and(|(node, leader)| counts(node, leader)));
            rows.push(match status {
                Some(status) => Row::of(status, &described, commit),
                None => Row::missing(id, &described, answers.get(&described.address)),
            });
        }
        let mut notes = Vec::new();
        for (address, status) in answered.iter().filter(|(_, status)| !ours(status)) {
            notes.push(stranger(address, status, ensemble.as_ref()));
        }
        for address in named.iter().filter(|address| rows.iter().all(|row| row.address != **address)) {
            if let Some(Err(error)) = answers.get(address) {
                notes.push(format!("{}; no member has this address", error.message()));
            }
        }
        notes.extend(pending_changes(&rows, leader.map(|leader| hex(leader.node))));
        let leading = leader;
        let leader = leader.and_then(|leader| rows.iter().find(|row| row.node == hex(leader.node)));
        let missing: Vec<String> =
            rows.iter().filter(|row| row.role == "missing").map(|row| row.name().to_owned()).collect();
        let voters = match leading {
            Some(leader) => 1 + leader.peers.iter().filter(|peer| !peer.learner).count(),
            None => members(&own).values().filter(|member| !member.learner).count(),
        };
        let quorum = voters / 2 + 1;
        let may_fail = up_to_date.checked_sub(quorum).filter(|_| leader.is_some());
        let consequence = match may_fail {
            Some(0) => "no further node may fail".to_owned(),
            Some(1) => "1 further node may fail".to_owned(),
            Some(nodes) => format!("{nodes} further nodes may fail"),
            None => "no writes and no linearizable reads".to_owned(),
        };
        Some(Self {
            ensemble: ensemble.as_ref().map(|ensemble| digits(&ensemble.id)),
            history: ensemble.as_ref().map(|ensemble| ensemble.history),
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
        write_table(out, &rows)?;
        let mut rows = vec![storage::HEADING.map(str::to_owned).to_vec()];
        rows.extend(self.nodes.iter().filter_map(|row| Some(row.storage.as_ref()?.cells(row.id()))));
        writeln!(out)?;
        write_table(out, &rows)?;
        writeln!(out)?;
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
    fn of(status: &NodeStatus, described: &Described, commit: u64) -> Self {
        let detail = if status.detail.is_empty() { &described.detail } else { &status.detail };
        Self {
            node: hex(status.node),
            address: described.address.clone(),
            message_address: described.message_address.clone(),
            role: status.role.name(),
            epoch: Some(status.epoch),
            last_revision: Some(status.last_revision),
            applied_revision: Some(status.applied_revision),
            oldest_revision: Some(status.oldest_revision),
            lag: Some(commit.saturating_sub(status.applied_revision)),
            state_hash: Some(digits(&status.state_hash)),
            votes: status.votes,
            keys: Some(status.keys),
            sessions: Some(status.sessions),
            version: status.version.clone(),
            detail: detail.clone(),
            pending_change: status.pending_change.clone(),
            storage: Some(Storage::of(&status.storage)),
        }
    }

    fn missing(id: u64, described: &Described, answer: Option<&Result<NodeStatus, Error>>) -> Self {
        let reason = match answer {
            Some(Err(error)) => error
                .message()
                .strip_prefix(&format!("{}: ", described.address))
                .unwrap_or(error.message())
                .to_owned(),
            Some(Ok(other)) => format!("another node answers at this address: {}", hex(other.node)),
            None => "request address unknown".to_owned(),
        };
        let detail =
            if described.detail.is_empty() { reason } else { format!("{reason}; {}", described.detail) };
        Self {
            node: hex(id),
            address: described.address.clone(),
            message_address: described.message_address.clone(),
            role: "missing",
            epoch: None,
            last_revision: None,
            applied_revision: None,
            oldest_revision: None,
            lag: None,
            state_hash: None,
            votes: described.votes,
            keys: None,
            sessions: None,
            version: String::new(),
            detail,
            pending_change: String::new(),
            storage: None,
        }
    }

    /// The name in the first column.
    fn id(&self) -> String {
        if self.message_address.is_empty() { self.node.clone() } else { self.message_address.clone() }
    }

    /// The name in the list of missing nodes.
    fn name(&self) -> &str {
        [&self.address, &self.message_address].into_iter().find(|name| !name.is_empty()).unwrap_or(&self.node)
    }

    fn cells(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            self.id(),
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
