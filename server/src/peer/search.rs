//! Why there is no leader: which voters are missing, and what is known of each; logged again and again while it lasts.
//!
//! While an ensemble is formed, the protocol dials every other voter by itself; what came of it is kept here. A node
//! that looks for a leader sends datagrams only, and silence says nothing about its cause. So before such a node
//! reports, it connects to each voter's message port, says hello, and reads what comes back until the other end closes
//! the connection: no answer, another node, a refusal, or that another process runs on a copy of its data directory.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use gometa_codec::message;
use gometa_proto::{frame, limits};
use gometa_zab::{Addresses, EnsembleId, Hello, Message, NodeId, Notice, Role, Voter};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tracing::warn;

use crate::{observe::events, peer::address_book::AddressBook};

/// The first report comes after this time without a leader ...
const REPORT_FIRST: Duration = Duration::from_secs(10);
/// ... and further ones as far apart.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Connecting to a voter for a report takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A voter keeps a connection on which nothing follows the hello for an election time-out. It is waited for so much
/// longer ...
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// ... but not longer than this altogether.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// What came of dialling the peers; shared with the nodes' port.
#[derive(Debug, Default)]
pub(crate) struct DialErrors(Mutex<BTreeMap<NodeId, String>>);

impl DialErrors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what came of dialling a peer that the node has asked for.
    pub(crate) fn set(&self, peer: NodeId, error: Option<String>) {
        match error {
            Some(error) => drop(self.lock().insert(peer, error)),
            None => drop(self.lock().remove(&peer)),
        }
    }

    fn get(&self, peer: NodeId) -> Option<String> {
        self.lock().get(&peer).cloned()
    }
}

/// An address and, where that has a name in it, what the name means now.
pub(crate) async fn with_meaning(address: &str) -> String {
    if address.parse::<std::net::SocketAddr>().is_ok() {
        return address.to_owned();
    }
    match timeout(CONNECT_TIMEOUT, lookup_host(address)).await {
        Ok(Ok(found)) => {
            let found: Vec<String> = found.map(|found| found.to_string()).collect();
            format!("{address} ({})", found.join(", "))
        }
        Ok(Err(_)) | Err(_) => address.to_owned(),
    }
}

/// What a node knows about its search.
#[derive(Debug)]
pub(crate) struct Search {
    election_timeout: Duration,
    /// Added to each report, where the cause may be this node's own configuration.
    hint: Option<String>,
    /// Since when there has been no leader, and when to report next.
    lasts: Option<(Instant, Instant)>,
    /// When a vote of each voter was received last.
    heard: BTreeMap<NodeId, Instant>,
    /// Why each voter and this node do not speak with each other.
    refusals: BTreeMap<NodeId, String>,
    /// Whom formation waits for.
    waiting: Vec<NodeId>,
}

fn serves(role: &Role) -> bool {
    matches!(role, Role::Leading { established: Some(_) } | Role::Following { established: Some(_), .. })
}

/// What a report needs to connect to a voter.
struct Asked {
    voter: Voter,
    address: String,
    name: String,
    heard: bool,
    refusal: Option<String>,
}

impl Search {
    pub(crate) fn new(election_timeout: Duration, hint: Option<String>) -> Search {
        Search {
            election_timeout,
            hint,
            lasts: None,
            heard: BTreeMap::new(),
            refusals: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// A vote has been received.
    pub(crate) fn hear(&mut self, sender: NodeId, now: Instant) {
        if self.lasts.is_some() {
            self.heard.insert(sender, now);
        }
    }

    /// Notes why others are not spoken with.
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
            Notice::GreetingRefused { dialled: Some(peer), node, addresses, .. } => {
                let other = format!("node {node} ({}) answers there", addresses.message);
                self.refusals.insert(*peer, other);
            }
            _ => {}
        }
    }

    /// The node has taken another role. When it has formed or found a leader, the search ends, even if that lasts for
    /// less than a tick.
    pub(crate) fn role_changed(&mut self, before: &Role, after: &Role) {
        let formed = matches!(before, Role::Forming) && !matches!(after, Role::Forming);
        if formed || serves(after) {
            self.lasts = None;
            self.heard.clear();
            self.refusals.clear();
        }
    }

    /// Whether it is time to report; called at every tick.
    pub(crate) fn is_due(&mut self, role: &Role, now: Instant) -> bool {
        match role {
            Role::Leading { established: Some(_) } | Role::Following { established: Some(_), .. } => false,
            // It has found one, and catches up.
            Role::Following { established: None, .. } => false,
            Role::Forming | Role::Looking | Role::Leading { established: None } => {
                let (_, report_at) = self.lasts.get_or_insert((now, now + REPORT_FIRST));
                let due = now >= *report_at;
                if due {
                    *report_at = now + REPORT_EVERY;
                }
                due
            }
        }
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.lasts.map_or(0, |(since, _)| now.duration_since(since).as_secs())
    }

    /// Logs whom formation waits for, and why.
    pub(crate) fn report_forming(&self, book: &AddressBook, errors: &DialErrors, now: Instant) {
        let mut missing = Vec::new();
        for node in &self.waiting {
            let why = errors.get(*node).or_else(|| self.refusals.get(node).cloned());
            missing.push((book.name(*node), why.unwrap_or_else(|| "it has not answered yet".to_owned())));
        }
        let text = if missing.is_empty() {
            "all voters are connected, and one of them has not made the ensemble durable".to_owned()
        } else {
            list(&missing)
        };
        warn!("has waited for {} s to form the ensemble: {text}", self.seconds(now));
    }

    /// Connects to all other voters, and then logs which are missing, and why. To be spawned.
    pub(crate) fn report_looking(
        &self,
        hello: &Hello,
        ensemble: Option<EnsembleId>,
        voters: &[Voter],
        book: &AddressBook,
        now: Instant,
    ) -> impl Future<Output = ()> + Send + use<> {
        let recent = self.election_timeout * 2;
        let asked: Vec<Asked> = voters
            .iter()
            .filter(|voter| voter.node != hello.node)
            .map(|voter| Asked {
                voter: voter.clone(),
                address: book.message(voter.node).unwrap_or(&voter.addresses.message).to_owned(),
                name: book.name(voter.node),
                heard: self.heard.get(&voter.node).is_some_and(|at| now.duration_since(*at) < recent),
                refusal: self.refusals.get(&voter.node).cloned(),
            })
            .collect();
        let hello = Hello { ensemble, ..hello.clone() };
        let (seconds, hint) = (self.seconds(now), self.hint.clone());
        let answer_timeout = (self.election_timeout + CLOSE_TIMEOUT).min(ANSWER_TIMEOUT_MAX);
        report(asked, hello, seconds, hint, answer_timeout)
    }
}

async fn report(
    asked: Vec<Asked>,
    hello: Hello,
    seconds: u64,
    hint: Option<String>,
    answer_timeout: Duration,
) {
    let (voters, others_heard) = (asked.len() + 1, asked.iter().filter(|asked| asked.heard).count());
    let mut asking = JoinSet::new();
    for asked in asked {
        let hello = Hello { meant: Some(asked.voter.node), ..hello.clone() };
        asking.spawn(async move {
            let found = ask(&asked.address, &hello, answer_timeout).await;
            (asked, found)
        });
    }
    let mut missing = Vec::new();
    for (asked, found) in asking.join_all().await {
        if let Ok(Answer { duplicate: Some(other), .. }) = &found {
            warn!("{}", events::duplicate_of_this(&asked.name, &hello.addresses, other));
        }
        match explain(&asked, &hello, found) {
            Some(why) => missing.push((asked.name, why)),
            None if !asked.heard => missing.push((asked.name, "it is not heard".to_owned())),
            None => {}
        }
    }
    missing.sort();
    let mut text = format!(
        "has found no leader for {seconds} s: votes of {} of {voters} voters are heard, {} are needed",
        others_heard + 1,
        voters / 2 + 1
    );
    if !missing.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "; {}", list(&missing));
    }
    if let Some(hint) = hint {
        let _ = write!(text, "; {hint}");
    }
    warn!("{text}");
}

fn list(missing: &[(String, String)]) -> String {
    let missing: Vec<String> = missing.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    format!("missing are {}", missing.join("; "))
}

/// What a voter has said on a connection.
#[derive(Default)]
struct Answer {
    hello: Option<Hello>,
    refusal: Option<gometa_zab::Reason>,
    duplicate: Option<Addresses>,
}

/// What is wrong with a voter, if anything is.
fn explain(asked: &Asked, own: &Hello, found: Result<Answer, String>) -> Option<String> {
    let answer = match found {
        Ok(answer) => answer,
        Err(error) => return Some(error),
    };
    if let Some(reason) = answer.refusal {
        return Some(format!("it refuses this node: {}", events::reason_from_peer(reason)));
    }
    let Some(theirs) = answer.hello else {
        return Some(format!("{} accepts connections and does not answer", asked.address));
    };
    if theirs.node != asked.voter.node {
        return Some(format!("node {} ({}) answers there", theirs.node, theirs.addresses.message));
    }
    if theirs.ensemble.is_none() {
        return Some("its data directory belongs to no ensemble".to_owned());
    }
    if asked.heard {
        return asked.refusal.clone();
    }
    Some(format!(
        "its message port answers, and its votes do not arrive: look for what keeps UDP between {} and {}",
        theirs.addresses.election, own.addresses.election
    ))
}

/// Connects, says hello, and reads until the other end closes the connection or the time is over.
async fn ask(address: &str, hello: &Hello, answer_timeout: Duration) -> Result<Answer, String> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let why = match connected {
        Ok(Ok(stream)) => return Ok(converse(stream, hello, answer_timeout).await),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    Err(format!("cannot connect to {}: {why}", with_meaning(address).await))
}

async fn converse(mut stream: TcpStream, hello: &Hello, answer_timeout: Duration) -> Answer {
    let mut answer = Answer::default();
    let mut buffer = BytesMut::new();
    if message::encode(&Message::Hello(hello.clone()), &mut buffer).is_err() {
        return answer;
    }
    let until = tokio::time::Instant::now() + answer_timeout;
    let conversation = async {
        stream.write_all(&buffer).await?;
        let mut buffer = BytesMut::new();
        loop {
            let frame = frame::decode_frame(&mut buffer, limits::PEER_FRAME_MAX).map_err(io::Error::other)?;
            match frame.map(message::decode) {
                Some(Ok(Message::Hello(hello))) => answer.hello = Some(hello),
                Some(Ok(Message::Refuse(reason))) => answer.refusal = Some(reason),
                Some(Ok(Message::Duplicate(addresses))) => answer.duplicate = Some(addresses),
                Some(_) => {}
                None if stream.read_buf(&mut buffer).await? == 0 => return io::Result::Ok(()),
                None => {}
            }
        }
    };
    // However it ends, what was said until then counts.
    drop(timeout_at(until, conversation).await);
    answer
}

#[cfg(test)]
mod tests {
    use gometa_zab::{Epoch, Incarnation, Reason};

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
            meant: None,
            ensemble,
            addresses: addresses(1000 * node as u16),
            voters: Vec::new(),
        }
    }

    const HOME: Option<EnsembleId> = Some(EnsembleId { id: 7, history: 1 });

    #[test]
    fn reports_come_after_ten_seconds_and_then_every_minute_until_there_is_a_leader() {
        let mut search = Search::new(Duration::from_secs(1), None);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let none: [u64; 0] = [];
        let due = |search: &mut Search, role: Role| -> Vec<u64> {
            (0..140).filter(|second| search.is_due(&role, at(*second))).collect()
        };
        assert_eq!(due(&mut search, Role::Forming), [10, 70, 130]);
        search.role_changed(&Role::Forming, &Role::Looking);
        assert_eq!(due(&mut search, Role::Looking), [10, 70, 130]);
        let leader = NodeId(2);
        let catching_up = Role::Following { leader, established: None };
        search.role_changed(&Role::Looking, &catching_up);
        assert_eq!(due(&mut search, catching_up), none);
        assert!(search.lasts.is_some(), "catching up is no leader yet");
        // A leader for less than a tick is one.
        let follows = Role::Following { leader, established: Some(Epoch(1)) };
        search.role_changed(&catching_up, &follows);
        search.role_changed(&follows, &Role::Looking);
        assert_eq!(due(&mut search, Role::Looking), [10, 70, 130]);
        search.role_changed(&Role::Looking, &follows);
        assert_eq!(due(&mut search, follows), none);
        assert_eq!(search.lasts, None);
    }

    #[test]
    fn what_is_wrong_with_a_voter_is_said() {
        let own = hello(1, HOME);
        let asked = |heard: bool, refusal: Option<&str>| Asked {
            voter: Voter { node: NodeId(2), incarnation: None, addresses: addresses(2000) },
            address: "127.0.0.1:2001".to_owned(),
            name: "127.0.0.1:2001".to_owned(),
            heard,
            refusal: refusal.map(str::to_owned),
        };
        let answers = |hello: Hello| Ok(Answer { hello: Some(hello), ..Answer::default() });
        let why = |found, heard, refusal| explain(&asked(heard, refusal), &own, found);
        assert_eq!(why(Err("cannot".to_owned()), false, None).unwrap(), "cannot");
        let silent = why(Ok(Answer::default()), false, None).unwrap();
        assert_eq!(silent, "127.0.0.1:2001 accepts connections and does not answer");
        assert_eq!(
            why(answers(hello(2, HOME)), false, None).unwrap(),
            "its message port answers, and its votes do not arrive: look for what keeps UDP between 127.0.0.1:2000 \
             and 127.0.0.1:1000"
        );
        assert_eq!(
            why(answers(hello(3, HOME)), true, None).unwrap(),
            "node 0000000000000003 (127.0.0.1:3001) answers there"
        );
        assert_eq!(
            why(answers(hello(2, None)), true, None).unwrap(),
            "its data directory belongs to no ensemble"
        );
        assert_eq!(why(answers(hello(2, HOME)), true, None), None);
        assert_eq!(why(answers(hello(2, HOME)), true, Some("it differs")).unwrap(), "it differs");
        let refused = Ok(Answer { refusal: Some(Reason::NotAMember), ..Answer::default() });
        assert!(why(refused, false, None).unwrap().contains("Id"));
    }
}
