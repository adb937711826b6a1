//! Logs periodically why there is no leader: the missing voters and the cause of each.
//!
//! While an ensemble is formed, the protocol connects to every voter, and the errors are in [`DialErrors`]. A node that
//! looks for a leader only sends datagrams, and missing votes have many causes. So before such a node logs, it connects to
//! each voter's message port, sends a hello, and reads the answers until the connection is closed: no answer, another node,
//! a refusal, or a process with a copy of its data directory.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use gometa_codec::message;
use gometa_node::describe_lost_quorum;
use gometa_proto::{frame, limits};
use gometa_zab::{Addresses, Configuration, Hello, Message, NodeId, Notice, Role, Voter, Zxid};
use tokio::{
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tracing::warn;

use crate::{
    net::transport::Stream,
    observe::events::{self, NodeNames},
    peer::{
        address_book::AddressBook,
        dial_errors::{self, DialErrors},
    },
};

/// The time without a leader before the first log line.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// The time between two log lines.
const INTERVAL: Duration = Duration::from_secs(60);
/// The time for connecting to a voter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time to wait for a voter's answers beyond the election timeout, after which it closes an idle connection.
const ANSWER_TIMEOUT_EXTRA: Duration = Duration::from_secs(1);
/// The longest time to wait for a voter's answers.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// The size of a read, in bytes.
const READ_SIZE: usize = 4 << 10;

/// What a node without a leader knows about the other voters.
#[derive(Debug)]
pub(crate) struct LeaderSearch {
    election_timeout: Duration,
    /// The beginning of the search, and the time of the next log line.
    search: Option<(Instant, Instant)>,
    /// The time of the latest vote of each voter.
    last_votes: BTreeMap<NodeId, Instant>,
    /// Why each voter and this node refuse each other.
    refusals: BTreeMap<NodeId, String>,
    /// The voters that formation waits for.
    waiting: Vec<NodeId>,
}

/// Whether a leader is known that serves.
fn has_leader(role: &Role) -> bool {
    matches!(role, Role::Leading { established: Some(_) } | Role::Following { established: Some(_), .. })
}

/// Logs that this node, which finds no leader, is no member of the ensemble: it joins, or was removed.
pub(crate) fn log_no_member(members: &Configuration) {
    if members.version() == Zxid::ZERO {
        warn!(
            "no leader yet: this node is no member of the ensemble, and asks its members to be one (-join)"
        );
    } else {
        warn!(
            revision = members.version().counter,
            "this node was removed from the ensemble: stop it; to add it again, start it with -join"
        );
    }
}

/// A voter to connect to.
struct Probe {
    voter: Voter,
    address: String,
    name: String,
    votes_received: bool,
    refusal: Option<String>,
}

impl LeaderSearch {
    pub(crate) fn new(election_timeout: Duration) -> LeaderSearch {
        LeaderSearch {
            election_timeout,
            search: None,
            last_votes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Records a received vote.
    pub(crate) fn vote_received(&mut self, sender: NodeId, now: Instant) {
        if self.search.is_some() {
            self.last_votes.insert(sender, now);
        }
    }

    /// Records why voters and this node refuse each other.
    pub(crate) fn notice(&mut self, notice: &Notice, book: &AddressBook) {
        match notice {
            Notice::WaitingFor(nodes) => self.waiting.clone_from(nodes),
            Notice::ConfigurationDiffers { peer, only_theirs, only_ours } => {
                let difference = events::difference(&book.name(*peer), only_theirs, only_ours);
                self.refusals.insert(*peer, difference);
            }
            Notice::RefusedBy { peer, reason } => {
                self.refusals.entry(*peer).or_insert_with(|| {
                    format!("it refuses this node: {}", events::reason_from_peer(*reason))
                });
            }
            Notice::LevelsDiffer { peer, levels, level, .. } => {
                self.refusals.insert(*peer, events::level_refusal(*levels, *level));
            }
            Notice::HelloRefused { dialled: Some(peer), node, addresses, .. } => {
                let other = format!("node {node} ({}) answers there", addresses.message);
                self.refusals.insert(*peer, other);
            }
            _ => {}
        }
    }

    /// Records a change of role. The search ends when the ensemble is formed or a leader is found, even for less than a tick.
    pub(crate) fn role_changed(&mut self, before: &Role, after: &Role) {
        let formed = matches!(before, Role::Forming) && !matches!(after, Role::Forming);
        if formed || has_leader(after) {
            self.search = None;
            self.last_votes.clear();
            self.refusals.clear();
        }
    }

    /// Whether a log line is due. To be called at every tick.
    pub(crate) fn is_due(&mut self, role: &Role, now: Instant) -> bool {
        match role {
            // A follower that is not established has found a leader, and catches up.
            Role::Leading { established: Some(_) } | Role::Following { .. } => false,
            Role::Forming | Role::Looking | Role::Leading { established: None } => {
                let (_, report_at) = self.search.get_or_insert((now, now + FIRST_DELAY));
                let due = now >= *report_at;
                if due {
                    *report_at = now + INTERVAL;
                }
                due
            }
        }
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.search.map_or(0, |(since, _)| now.duration_since(since).as_secs())
    }

    /// Logs the voters that formation waits for, and why.
    pub(crate) fn log_forming(&self, book: &AddressBook, errors: &DialErrors, now: Instant) {
        let mut missing = Vec::new();
        for node in &self.waiting {
            let why = errors.get(*node).or_else(|| self.refusals.get(node).cloned());
            missing.push((book.name(*node), why.unwrap_or_else(|| "it has not answered yet".to_owned())));
        }
        let seconds = self.seconds(now);
        if missing.is_empty() {
            warn!(seconds, "ensemble not formed: a connected voter has not stored it yet");
        } else {
            warn!(seconds, missing = list(&missing), "ensemble not formed: voters are missing");
        }
    }

    /// Connects to all other voters, then logs which are missing, and why. To be spawned.
    pub(crate) fn log_looking(
        &self,
        hello: &Hello,
        voters: &[Voter],
        book: &AddressBook,
        now: Instant,
    ) -> impl Future<Output = ()> + Send + use<> {
        let recent = self.election_timeout * 2;
        let probes: Vec<Probe> = voters
            .iter()
            .filter(|voter| voter.node != hello.node)
            .map(|voter| Probe {
                voter: voter.clone(),
                address: book.message(voter.node).unwrap_or(&voter.addresses.message).to_owned(),
                name: book.name(voter.node),
                votes_received: self
                    .last_votes
                    .get(&voter.node)
                    .is_some_and(|at| now.duration_since(*at) < recent),
                refusal: self.refusals.get(&voter.node).cloned(),
            })
            .collect();
        let own = voters.iter().find(|voter| voter.node == hello.node).cloned();
        let absent = voters.iter().filter(|voter| voter.incarnation.is_none()).count();
        let votes = Votes { own, voters: voters.len(), absent };
        let seconds = self.seconds(now);
        let answer_timeout = (self.election_timeout + ANSWER_TIMEOUT_EXTRA).min(ANSWER_TIMEOUT_MAX);
        log_missing_voters(probes, hello.clone(), votes, seconds, answer_timeout)
    }
}

/// The votes of an ensemble, as this node has recorded them.
struct Votes {
    /// This node, if it is recorded as a voter, with any incarnation.
    own: Option<Voter>,
    /// The number of voters.
    voters: usize,
    /// The number of those that were absent when the ensemble was formed.
    absent: usize,
}

impl Votes {
    /// Whether the others are no quorum, if these voters have lost their data directories.
    fn is_quorum_lost(&self, lost: usize) -> bool {
        lost > 0 && self.voters - self.absent - lost < self.voters / 2 + 1
    }
}

async fn log_missing_voters(
    probes: Vec<Probe>,
    hello: Hello,
    recorded: Votes,
    seconds: u64,
    answer_timeout: Duration,
) {
    let own_vote = recorded.own.as_ref().is_some_and(|own| own.is(hello.node, hello.incarnation));
    let own_lost = recorded.own.as_ref().is_some_and(|own| own.incarnation.is_some()) && !own_vote;
    let mut lost = if own_lost { vec![hello.addresses.message.clone()] } else { Vec::new() };
    // Whether an answer has a later configuration, and whether one is of a voter with the recorded data directory.
    let (mut outdated, mut confirmed) = (false, own_vote);
    let mut votes = usize::from(own_vote);
    let mut tasks = JoinSet::new();
    for probe in probes {
        let hello = Hello { expected: Some(probe.voter.node), ..hello.clone() };
        tasks.spawn(async move {
            let result = connect(&probe.address, &hello, answer_timeout).await;
            (probe, result)
        });
    }
    let mut missing = Vec::new();
    for (probe, result) in tasks.join_all().await {
        let is_replaced = result.as_ref().is_ok_and(|answers| is_replaced(&probe.voter, answers));
        if is_replaced {
            lost.push(probe.name.clone());
        }
        if let Ok(Answers { hello: Some(theirs), .. }) = &result {
            outdated |= theirs.configuration > hello.configuration;
            confirmed |= probe.voter.is(theirs.node, theirs.incarnation);
        }
        votes += usize::from(probe.votes_received && !is_replaced);
        if let Ok(Answers { duplicate: Some(other), .. }) = &result {
            events::duplicate_of_this(&probe.name, &hello.addresses, other);
        }
        match explain(&probe, &hello, result) {
            Some(why) => missing.push((probe.name, why)),
            None if !probe.votes_received => missing.push((probe.name, "no votes received".to_owned())),
            None => {}
        }
    }
    missing.sort();
    lost.sort();
    let (voters, missing) = (recorded.voters, list(&missing));
    let votes_needed = voters / 2 + 1;
    let is_lost = confirmed && !outdated && recorded.is_quorum_lost(lost.len());
    let hint = if is_lost { describe_lost_quorum(&lost, recorded.absent, voters) } else { String::new() };
    warn!(seconds, votes, votes_needed, voters, missing, hint, "no leader found");
}

fn list(missing: &[(String, String)]) -> String {
    missing.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ")
}

/// The messages of a voter on a connection.
#[derive(Default)]
struct Answers {
    hello: Option<Hello>,
    refusal: Option<gometa_zab::Reason>,
    duplicate: Option<Addresses>,
}

/// Whether a member of the ensemble answers with another data directory than the recorded one.
fn is_replaced(voter: &Voter, answers: &Answers) -> bool {
    let theirs = answers.hello.as_ref().filter(|hello| hello.node == voter.node && hello.ensemble.is_some());
    theirs.is_some_and(|hello| voter.incarnation.is_some_and(|recorded| recorded != hello.incarnation))
}

/// Why a voter is missing, if it is.
fn explain(probe: &Probe, own: &Hello, result: Result<Answers, String>) -> Option<String> {
    let answers = match result {
        Ok(answers) => answers,
        Err(error) => return Some(error),
    };
    if let Some(reason) = answers.refusal {
        return Some(format!("it refuses this node: {}", events::reason_from_peer(reason)));
    }
    if is_replaced(&probe.voter, &answers) {
        return Some(
            "its data directory was replaced, so it does not vote until a leader gives its vote back"
                .to_owned(),
        );
    }
    let Some(theirs) = answers.hello else {
        return Some(format!("{} accepts connections and does not answer", probe.address));
    };
    if theirs.node != probe.voter.node {
        return Some(format!("node {} ({}) answers there", theirs.node, theirs.addresses.message));
    }
    if theirs.ensemble.is_none() {
        return Some("its data directory belongs to no ensemble".to_owned());
    }
    if probe.votes_received {
        return probe.refusal.clone();
    }
    Some(format!(
        "its message port answers, but none of its votes arrive: check what blocks UDP between {} and {}",
        theirs.addresses.election, own.addresses.election
    ))
}

/// Connects, sends a hello, and reads until the other end closes the connection or the time is over.
async fn connect(address: &str, hello: &Hello, answer_timeout: Duration) -> Result<Answers, String> {
    let connected = timeout(CONNECT_TIMEOUT, Stream::connect(address)).await;
    let why = match connected {
        Ok(Ok(stream)) => return Ok(exchange(stream, hello, answer_timeout).await),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    Err(format!("cannot connect to {}: {why}", dial_errors::with_resolved(address).await))
}

async fn exchange(stream: Stream, hello: &Hello, answer_timeout: Duration) -> Answers {
    let mut answers = Answers::default();
    let mut buffer = BytesMut::new();
    if message::encode(&Message::Hello(hello.clone()), &mut buffer).is_err() {
        return answers;
    }
    let until = tokio::time::Instant::now() + answer_timeout;
    let reading = async {
        stream.write_all(&buffer).await?;
        let mut buffer = BytesMut::new();
        loop {
            let frame = frame::decode_frame(&mut buffer, limits::PEER_FRAME_MAX).map_err(io::Error::other)?;
            match frame.map(message::decode) {
                Some(Ok(Message::Hello(hello))) => answers.hello = Some(hello),
                Some(Ok(Message::Refuse(reason))) => answers.refusal = Some(reason),
                Some(Ok(Message::Duplicate(addresses))) => answers.duplicate = Some(addresses),
                Some(_) => {}
                None if stream.read(&mut buffer, READ_SIZE).await? == 0 => return io::Result::Ok(()),
                None => {}
            }
        }
    };
    // The messages received until an error or the timeout count.
    drop(timeout_at(until, reading).await);
    answers
}

#[cfg(test)]
mod tests {
    use gometa_zab::{EnsembleId, Epoch, Incarnation, Levels, Reason, Zxid};

    use super::*;

    fn addresses(port: u16) -> Addresses {
        let text = |port: u16| format!("127.0.0.1:{port}");
        Addresses { election: text(port), message: text(port + 1), request: text(port + 2) }
    }

    fn hello(node: u64, ensemble: Option<EnsembleId>) -> Hello {
        Hello {
            node: NodeId(node),
            incarnation: Incarnation(node.into()),
            boot: 1,
            expected: None,
            ensemble,
            addresses: addresses(1000 * node as u16),
            voters: Vec::new(),
            configuration: Zxid::ZERO,
            levels: Levels::SUPPORTED,
            level: ensemble.map(|_| 1),
        }
    }

    const ENSEMBLE: Option<EnsembleId> = Some(EnsembleId { id: 7, history: 1 });

    #[test]
    fn a_line_is_due_after_ten_seconds_and_then_every_minute_until_there_is_a_leader() {
        let mut search = LeaderSearch::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let none: [u64; 0] = [];
        let due = |search: &mut LeaderSearch, role: Role| -> Vec<u64> {
            (0..140).filter(|second| search.is_due(&role, at(*second))).collect()
        };
        assert_eq!(due(&mut search, Role::Forming), [10, 70, 130]);
        search.role_changed(&Role::Forming, &Role::Looking);
        assert_eq!(due(&mut search, Role::Looking), [10, 70, 130]);
        let leader = NodeId(2);
        let catching_up = Role::Following { leader, established: None };
        search.role_changed(&Role::Looking, &catching_up);
        assert_eq!(due(&mut search, catching_up), none);
        assert!(search.search.is_some(), "a node that catches up has no leader yet");
        // A leader counts even for less than a tick.
        let follows = Role::Following { leader, established: Some(Epoch(1)) };
        search.role_changed(&catching_up, &follows);
        search.role_changed(&follows, &Role::Looking);
        assert_eq!(due(&mut search, Role::Looking), [10, 70, 130]);
        search.role_changed(&Role::Looking, &follows);
        assert_eq!(due(&mut search, follows), none);
        assert_eq!(search.search, None);
    }

    #[test]
    fn each_cause_of_a_missing_voter_is_explained() {
        let own = hello(1, ENSEMBLE);
        let probe = |votes_received: bool, refusal: Option<&str>| Probe {
            voter: Voter { node: NodeId(2), incarnation: Some(Incarnation(2)), addresses: addresses(2000) },
            address: "127.0.0.1:2001".to_owned(),
            name: "127.0.0.1:2001".to_owned(),
            votes_received,
            refusal: refusal.map(str::to_owned),
        };
        let answers = |hello: Hello| Ok(Answers { hello: Some(hello), ..Answers::default() });
        let why = |result, votes_received, refusal| explain(&probe(votes_received, refusal), &own, result);
        assert_eq!(why(Err("cannot".to_owned()), false, None).unwrap(), "cannot");
        let silent = why(Ok(Answers::default()), false, None).unwrap();
        assert_eq!(silent, "127.0.0.1:2001 accepts connections and does not answer");
        assert_eq!(
            why(answers(hello(2, ENSEMBLE)), false, None).unwrap(),
            "its message port answers, but none of its votes arrive: check what blocks UDP between 127.0.0.1:2000 and \
             127.0.0.1:1000"
        );
        assert_eq!(
            why(answers(hello(3, ENSEMBLE)), true, None).unwrap(),
            "node 0000000000000003 (127.0.0.1:3001) answers there"
        );
        assert_eq!(
            why(answers(hello(2, None)), true, None).unwrap(),
            "its data directory belongs to no ensemble"
        );
        let replaced = Hello { incarnation: Incarnation(9), ..hello(2, ENSEMBLE) };
        assert_eq!(
            why(answers(replaced), true, None).unwrap(),
            "its data directory was replaced, so it does not vote until a leader gives its vote back"
        );
        assert_eq!(why(answers(hello(2, ENSEMBLE)), true, None), None);
        assert_eq!(why(answers(hello(2, ENSEMBLE)), true, Some("it differs")).unwrap(), "it differs");
        let refused = Ok(Answers { refusal: Some(Reason::NotAMember), ..Answers::default() });
        assert!(why(refused, false, None).unwrap().contains("Id"));
    }

    #[test]
    fn a_quorum_is_lost_only_if_the_other_voters_are_no_majority() {
        let lost = |voters, absent, lost| Votes { own: None, voters, absent }.is_quorum_lost(lost);
        assert!(lost(1, 0, 1) && lost(2, 0, 1) && lost(3, 0, 2) && lost(4, 0, 2));
        assert!(!lost(3, 0, 1) && !lost(4, 0, 1) && !lost(5, 0, 2));
        assert!(lost(3, 1, 1), "an absent voter has no data either");
        assert!(!lost(3, 1, 0) && !lost(2, 0, 0));
    }
}
