//! The log events of the protocol: elections, followers, refusals.
//!
//! Every log line of the server is a fixed phrase with fields. `docs/operations.md` lists all of them, which a test here
//! compares with the source. Nodes are named by their message addresses.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gometa_proto::limits;
use gometa_zab::{Addresses, DiskSpace, EnsembleId, Levels, NodeId, Notice, Reason, Role};
use tracing::{debug, info, warn};

use super::{integrity, members};

/// The number of refusals that are logged ...
const REFUSALS_MAX: u32 = 10;
/// ... in this time. Any process may cause them.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(60);
const COPIED_DIRECTORY_REMEDY: &str =
    "stop the process that runs on a copy; start it with an empty data directory and addresses of its own";
const WRONG_ID_REMEDY: &str = "an id is derived from the MessageAddr as it is written: write the same one in every file, \
                               or set Id";

/// Names nodes in log lines.
pub(crate) trait NodeNames {
    /// The node's message address, or its id if that is not known.
    fn name(&self, node: NodeId) -> String;

    /// The names of several nodes.
    fn names(&self, nodes: &[NodeId]) -> String {
        nodes.iter().map(|node| self.name(*node)).collect::<Vec<_>>().join(", ")
    }
}

/// Limits the rate of log lines about refusals.
#[derive(Debug, Default)]
struct RateLimit {
    since: Option<Instant>,
    count: u32,
}

impl RateLimit {
    /// Whether to log another line.
    fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= REFUSALS_INTERVAL) {
            *self = RateLimit { since: Some(now), count: 0 };
        }
        self.count += 1;
        if self.count == REFUSALS_MAX + 1 {
            warn!(seconds = REFUSALS_INTERVAL.as_secs(), "too many refusals, further ones not logged");
        }
        self.count <= REFUSALS_MAX
    }
}

/// Logs what happens to one node.
#[derive(Debug)]
pub(crate) struct EventLog {
    me: NodeId,
    addresses: Addresses,
    refusals: RateLimit,
}

impl EventLog {
    pub(crate) fn new(me: NodeId, addresses: Addresses) -> EventLog {
        EventLog { me, addresses, refusals: RateLimit::default() }
    }

    /// Logs a change of role. Elections are logged by their notices; these are details.
    pub(crate) fn role(&self, role: &Role, names: &impl NodeNames) {
        match role {
            Role::Forming => info!("ensemble not formed yet"),
            Role::Looking => debug!(role = "looking", "role changed"),
            Role::Following { leader, established } => {
                let (leader, serving) = (names.name(*leader), established.is_some());
                debug!(role = "following", leader, serving, "role changed");
            }
            Role::Leading { established } => {
                debug!(role = "leading", serving = established.is_some(), "role changed");
            }
        }
    }

    /// Logs that sessions are running out, and the clients that opened most of them through this node.
    pub(crate) fn sessions_short(&self, live: usize, openers: &[(Arc<str>, usize)]) {
        let openers: Vec<String> = openers.iter().map(|(name, count)| format!("{name}: {count}")).collect();
        let (openers, sessions_max) = (openers.join(", "), limits::SESSIONS_MAX);
        warn!(sessions = live, sessions_max, openers, "sessions are running out");
    }

    /// Logs a notice.
    pub(crate) fn notice(&mut self, notice: &Notice, names: &impl NodeNames) {
        match notice {
            Notice::WaitingFor(_)
            | Notice::FoundsWithQuorum(_)
            | Notice::ConfigurationDiffers { .. }
            | Notice::Formed { .. }
            | Notice::Looking { .. }
            | Notice::Elected { .. }
            | Notice::Discovered { .. } => self.election(notice, names),
            Notice::Established { .. }
            | Notice::Synchronising { .. }
            | Notice::Synchronised { .. }
            | Notice::UpToDate { .. }
            | Notice::SnapshotNeeded { .. }
            | Notice::SnapshotSent { .. }
            | Notice::SnapshotInstalled { .. }
            | Notice::SnapshotDiscarded { .. }
            | Notice::Truncated { .. }
            | Notice::LostFollower { .. }
            | Notice::DiskSpace { .. }
            | Notice::Integrity(_)
            | Notice::SlowStorage { .. } => synchronisation(notice, names),
            Notice::ChangeProposed { .. }
            | Notice::ChangeWaits { .. }
            | Notice::TransferRejected { .. }
            | Notice::TransferBegun { .. }
            | Notice::TransferTakenBack { .. }
            | Notice::HandedOver { .. }
            | Notice::Handoff { .. } => members::log(notice, |node| names.name(node)),
            Notice::Refused { .. }
            | Notice::RefusedBy { .. }
            | Notice::HelloRefused { .. }
            | Notice::LevelsDiffer { .. }
            | Notice::Duplicate { .. }
            | Notice::DuplicateOfSelf { .. }
            | Notice::OtherEnsemble { .. }
            | Notice::UnrecordedIncarnation { .. } => self.refusal(notice, names),
        }
    }

    fn election(&self, notice: &Notice, names: &impl NodeNames) {
        match notice {
            Notice::WaitingFor(nodes) if nodes.is_empty() => info!("all voters connected"),
            Notice::WaitingFor(nodes) => {
                info!(missing = names.names(nodes), "waiting for voters to form the ensemble");
            }
            Notice::FoundsWithQuorum(absent) => {
                warn!(absent = names.names(absent), "forming the ensemble without all voters");
            }
            Notice::ConfigurationDiffers { peer, only_theirs, only_ours } => {
                let peer = names.name(*peer);
                let difference = difference(&peer, only_theirs, only_ours);
                warn!(peer, difference, "configurations list different voters");
            }
            Notice::Formed { ensemble, votes: true } => {
                info!(ensemble = format!("{:032x}", ensemble.id), "member of the ensemble, with a vote");
            }
            Notice::Formed { ensemble, votes: false } => warn!(
                ensemble = format!("{:032x}", ensemble.id),
                "member of the ensemble, without a vote: its data directory was replaced"
            ),
            Notice::Looking { round, why } => info!(round = round.0, reason = why, "looking for a leader"),
            Notice::Elected { round, leader } => {
                info!(round = round.0, leader = names.name(*leader), "leader elected");
            }
            Notice::Discovered { epoch, last } => {
                debug!(epoch = epoch.0, revision = last.counter, "epoch promised by a quorum");
            }
            _ => {}
        }
    }

    fn refusal(&mut self, notice: &Notice, names: &impl NodeNames) {
        match notice {
            Notice::Refused { peer, reason } => {
                let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| names.name(peer));
                let text = reason_text(*reason);
                match reason {
                    // Part of every election.
                    Reason::NotLeading | Reason::TooSoon => debug!(peer, reason = text, "peer refused"),
                    _ if self.refusals.admit(Instant::now()) => warn!(peer, reason = text, "peer refused"),
                    _ => {}
                }
            }
            Notice::RefusedBy { peer, reason } => {
                let (peer, text) = (names.name(*peer), reason_from_peer(*reason));
                match reason {
                    Reason::NotLeading | Reason::TooSoon => debug!(peer, reason = text, "refused by peer"),
                    _ if self.refusals.admit(Instant::now()) => warn!(peer, reason = text, "refused by peer"),
                    _ => {}
                }
            }
            Notice::LevelsDiffer { addresses, levels, level, .. } if self.refusals.admit(Instant::now()) => {
                let reason = level_refusal(*levels, *level);
                warn!(peer = addresses.message, reason, "feature levels differ");
            }
            Notice::HelloRefused { dialled, expected, node, addresses, reason }
                if self.refusals.admit(Instant::now()) =>
            {
                let reason = hello_refusal(self.me, *dialled, *expected, *node, *reason, names);
                warn!(peer = addresses.message, id = %node, reason, "hello of peer refused");
            }
            Notice::Duplicate { peer, served, other } => warn!(
                id = %peer,
                first = all_addresses(served),
                second = all_addresses(other),
                remedy = COPIED_DIRECTORY_REMEDY,
                "two processes use one data directory"
            ),
            Notice::DuplicateOfSelf { peer, addresses } => {
                duplicate_of_this(&names.name(*peer), &self.addresses, addresses);
            }
            Notice::OtherEnsemble { peer, theirs, ours } => other_ensemble(names.name(*peer), theirs, ours),
            Notice::UnrecordedIncarnation { peer } => {
                warn!(peer = names.name(*peer), "peer without a vote: its data directory was replaced");
            }
            _ => {}
        }
    }
}

fn other_ensemble(peer: String, theirs: &EnsembleId, ours: &EnsembleId) {
    if theirs.id != ours.id {
        let ensemble = format!("{:032x}", theirs.id);
        warn!(peer, ensemble, "peer belongs to another ensemble");
    } else if theirs.history > ours.history {
        warn!(
            peer,
            history = theirs.history,
            own_history = ours.history,
            remedy = "this node was left behind: move its data directory away, and start it with -join",
            "the ensemble was founded anew"
        );
    } else {
        warn!(
            peer,
            history = theirs.history,
            own_history = ours.history,
            remedy = "that node was left behind: move its data directory away, and start it with -join",
            "peer has an earlier history of the ensemble"
        );
    }
}

fn synchronisation(notice: &Notice, names: &impl NodeNames) {
    match notice {
        Notice::Established { epoch, last } => info!(epoch = epoch.0, revision = last.counter, "leading"),
        Notice::Synchronising { peer, votes, from, base } => debug!(
            peer = names.name(*peer),
            votes,
            epoch = from.epoch.0,
            revision = from.counter,
            base_epoch = base.epoch.0,
            base_revision = base.counter,
            "synchronising follower"
        ),
        Notice::Synchronised { peer, last } => {
            let (epoch, revision) = (last.epoch.0, last.counter);
            info!(peer = names.name(*peer), epoch, revision, "follower synchronised");
        }
        Notice::UpToDate { epoch, leader } => {
            info!(epoch = epoch.0, leader = names.name(*leader), "following, up to date");
        }
        Notice::SnapshotNeeded { peer, votes, from, base } => info!(
            peer = names.name(*peer),
            votes,
            epoch = from.epoch.0,
            revision = from.counter,
            base_epoch = base.epoch.0,
            base_revision = base.counter,
            "follower needs a snapshot"
        ),
        Notice::SnapshotSent { peer, at } => {
            let (epoch, revision) = (at.epoch.0, at.counter);
            info!(peer = names.name(*peer), epoch, revision, "sending a snapshot");
        }
        Notice::SnapshotInstalled { from, at } => info!(
            from_epoch = from.epoch.0,
            from_revision = from.counter,
            to_epoch = at.epoch.0,
            to_revision = at.counter,
            "snapshot installed"
        ),
        Notice::SnapshotDiscarded { at, last } => info!(
            epoch = at.epoch.0,
            revision = at.counter,
            last_epoch = last.epoch.0,
            last_revision = last.counter,
            "snapshot discarded, the log ends at or above it"
        ),
        Notice::Truncated { from, to } => warn!(
            from_epoch = from.epoch.0,
            from_revision = from.counter,
            to_epoch = to.epoch.0,
            to_revision = to.counter,
            "log truncated, the removed entries were never acknowledged"
        ),
        Notice::LostFollower { peer, why } => info!(peer = names.name(*peer), reason = why, "follower lost"),
        Notice::DiskSpace { space: DiskSpace::Ample, .. } => info!("disks have space again, writes accepted"),
        Notice::DiskSpace { space, node } => {
            let (disk_of, deletes) = (names.name(*node), *space == DiskSpace::Low);
            warn!(disk_of, deletes, "disk space is short, writes refused");
        }
        Notice::Integrity(notice) => integrity::log(*notice, |node| names.name(node)),
        Notice::SlowStorage { node, write_latency } => {
            warn!(disk_of = names.name(*node), write_ms = write_latency / 1_000, "slow disk");
        }
        _ => {}
    }
}

/// Logs that another process uses a copy of this node's data directory; `peer` is connected to both.
pub(crate) fn duplicate_of_this(peer: &str, own: &Addresses, other: &Addresses) {
    warn!(
        peer,
        this = all_addresses(own),
        other = all_addresses(other),
        remedy = COPIED_DIRECTORY_REMEDY,
        "another process uses the same data directory"
    );
}

/// The addresses of one process: election/message/request.
fn all_addresses(addresses: &Addresses) -> String {
    format!("{}/{}/{}", addresses.election, addresses.message, addresses.request)
}

/// The difference of two configurations, in one line.
pub(crate) fn difference(peer: &str, only_theirs: &[String], only_ours: &[String]) -> String {
    let voters = |list: &[String]| match list {
        [one] => format!("voter {one}"),
        many => format!("voters {}", many.join(", ")),
    };
    match (only_theirs, only_ours) {
        ([], []) => format!("the configuration of {peer} names the same voters with other ids"),
        (theirs, []) => format!("the configuration of {peer} lists {}, ours does not", voters(theirs)),
        ([], ours) => format!("our configuration lists {}, that of {peer} does not", voters(ours)),
        (theirs, ours) => {
            format!("the configuration of {peer} lists {} where ours lists {}", voters(theirs), voters(ours))
        }
    }
}

/// Why the hello of a peer is refused, with all ids that may be confused.
fn hello_refusal(
    me: NodeId,
    dialled: Option<NodeId>,
    expected: Option<NodeId>,
    node: NodeId,
    reason: Reason,
    names: &impl NodeNames,
) -> String {
    match (reason, dialled, expected) {
        (Reason::WrongNode, Some(dialled), _) => {
            format!("it answers at the address of {} (id {dialled}): {WRONG_ID_REMEDY}", names.name(dialled))
        }
        (Reason::WrongNode, None, Some(expected)) if node != me => {
            format!("it expects id {expected} here, and this node has id {me}: {WRONG_ID_REMEDY}")
        }
        (Reason::WrongNode, None, _) if node == me => {
            "it has the id of this node: give each node an id of its own".to_owned()
        }
        _ => reason_text(reason).to_owned(),
    }
}

/// Why this node and one with these feature levels, whose ensemble runs at `level`, refuse each other, and what helps.
pub(crate) fn level_refusal(levels: Levels, level: Option<u32>) -> String {
    let own = Levels::SUPPORTED;
    match level {
        Some(level) if !own.contains(level) => format!(
            "the ensemble runs at feature level {level}, this program supports {own}: install a version that supports it"
        ),
        _ => format!(
            "its program supports {levels}, which is not that of the ensemble: install another version there"
        ),
    }
}

/// The reason of a peer that refuses this node.
pub(crate) fn reason_from_peer(reason: Reason) -> &'static str {
    match reason {
        Reason::NotLeading => "it does not lead",
        Reason::SnapshotNeeded => {
            "this node is too far behind for the log that is left there, and snapshots do not exist yet"
        }
        Reason::WrongNode => {
            "it is another node than expected; check MessageAddr and Id in the configurations"
        }
        Reason::OtherEnsemble => "it belongs to another ensemble; check the data directories of both",
        Reason::NotAMember => {
            "this node is no member there: it was removed or never added, or its MessageAddr has changed; then set the Id that \
             it had"
        }
        Reason::NeverFounds => {
            "it founds no ensemble: it joins one, was started with -bootstrap=never, or has lost the record of its ensemble \
             by damage; it needs a member of its ensemble"
        }
        Reason::FoundsWithAll => {
            "it forms an ensemble with all voters only: start it with -bootstrap=quorum, too, or start the missing voters"
        }
        Reason::Level => {
            "this program does not support the feature level of the ensemble: install a version that does; see `gometa upgrade \
             status`"
        }
        Reason::NoCommonPoint | Reason::Configuration | Reason::Version | Reason::TooSoon => {
            reason_text(reason)
        }
    }
}

/// The reason of this node that refuses a peer.
fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::NotLeading => "this node does not lead",
        Reason::SnapshotNeeded => {
            "it is too far behind for the log that is left, and snapshots do not exist yet"
        }
        Reason::NoCommonPoint => "it does not hold the common point that it was sent",
        Reason::WrongNode => "it expects another node here; check MessageAddr and Id in the configurations",
        Reason::OtherEnsemble => "it belongs to another ensemble; check its data directory",
        Reason::NotAMember => {
            "it is not a member of this ensemble: it was removed or never added, or its MessageAddr has changed; then set the \
             Id that it had"
        }
        Reason::Configuration => "its configuration lists other voters",
        Reason::Version => "it uses another version of the protocol",
        Reason::Level => "it does not support the feature level of the ensemble",
        Reason::TooSoon => "the previous epoch is too recent",
        Reason::NeverFounds => {
            "it belongs to no ensemble, and this node, which has lost the record of its own, founds no other one"
        }
        Reason::FoundsWithAll => {
            "it forms an ensemble without all voters, and this node was not started with -bootstrap=quorum"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
    };

    use super::*;

    struct Names;

    impl NodeNames for Names {
        fn name(&self, node: NodeId) -> String {
            format!("10.0.0.{}:5002", node.0)
        }
    }

    #[test]
    fn refusals_do_not_fill_the_log() {
        let mut refusals = RateLimit::default();
        let now = Instant::now();
        let logged = |refusals: &mut RateLimit, at| (0..100).filter(|_| refusals.admit(at)).count();
        assert_eq!(logged(&mut refusals, now), REFUSALS_MAX as usize);
        assert_eq!(logged(&mut refusals, now + REFUSALS_INTERVAL / 2), 0);
        assert_eq!(logged(&mut refusals, now + REFUSALS_INTERVAL), REFUSALS_MAX as usize);
    }

    #[test]
    fn refused_hellos_name_the_ids_that_may_be_confused() {
        let why = |dialled: Option<u64>, expected: Option<u64>, node, reason| {
            hello_refusal(NodeId(1), dialled.map(NodeId), expected.map(NodeId), NodeId(node), reason, &Names)
        };
        assert_eq!(
            why(Some(2), None, 3, Reason::WrongNode),
            format!("it answers at the address of 10.0.0.2:5002 (id 0000000000000002): {WRONG_ID_REMEDY}")
        );
        assert_eq!(
            why(None, Some(9), 3, Reason::WrongNode),
            format!(
                "it expects id 0000000000000009 here, and this node has id 0000000000000001: {WRONG_ID_REMEDY}"
            )
        );
        assert!(why(None, Some(1), 1, Reason::WrongNode).starts_with("it has the id of this node"));
        assert!(why(None, Some(1), 7, Reason::NotAMember).starts_with("it is not a member"));
    }

    #[test]
    fn the_difference_of_configurations_is_one_line() {
        let one = |text: &str| vec![text.to_owned()];
        assert_eq!(
            difference("127.0.0.1:6002", &one("127.0.0.1:7002"), &[]),
            "the configuration of 127.0.0.1:6002 lists voter 127.0.0.1:7002, ours does not"
        );
        assert_eq!(
            difference("127.0.0.1:6002", &[], &one("127.0.0.1:7002")),
            "our configuration lists voter 127.0.0.1:7002, that of 127.0.0.1:6002 does not"
        );
        assert_eq!(
            difference("a:2", &["b:2".to_owned(), "c:2".to_owned()], &one("d:2")),
            "the configuration of a:2 lists voters b:2, c:2 where ours lists voter d:2"
        );
    }

    #[test]
    fn the_manual_lists_every_event() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = BTreeMap::from([(
            "log lines dropped, standard error was not read in time".to_owned(),
            (BTreeSet::from(["warn"]), BTreeSet::from(["count".to_owned()])),
        )]);
        collect(&source, &mut found);
        let found: BTreeSet<String> = found
            .into_iter()
            .map(|(phrase, (levels, fields))| {
                let levels = Vec::from_iter(levels).join(", ");
                let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
                format!("| {phrase} | {levels} | {} |", fields.join(", "))
            })
            .collect();
        let manual = include_str!("../../../docs/operations.md");
        let table = manual.split("<!-- log events -->").nth(1).expect("the table of events");
        let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
        let listed: BTreeSet<String> =
            rows.map(|row| row.split_inclusive('|').take(4).collect::<String>().trim().to_owned()).collect();
        assert_eq!(Vec::from_iter(found.difference(&listed)), [""; 0], "missing in docs/operations.md");
        assert_eq!(Vec::from_iter(listed.difference(&found)), [""; 0], "not in the source");
    }

    /// Levels and fields by phrase.
    type Events = BTreeMap<String, (BTreeSet<&'static str>, BTreeSet<String>)>;

    /// Adds the events of all source files in a directory.
    fn collect(directory: &Path, events: &mut Events) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, events);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                for level in ["error", "warn", "info", "debug"] {
                    for call in text.split(&format!("{level}!(")).skip(1) {
                        let Some((fields, phrase)) = parse(call) else {
                            panic!("{}: {level}!({call:.60}: not a fixed phrase", path.display());
                        };
                        let event = events.entry(phrase).or_default();
                        event.0.insert(level);
                        event.1.extend(fields);
                    }
                }
            }
        }
    }

    /// The names of the fields and the phrase of a call, behind its opening parenthesis. The phrase is the last argument
    /// and a literal without placeholders.
    fn parse(call: &str) -> Option<(Vec<String>, String)> {
        let (mut arguments, mut depth, mut quoted, mut escaped) = (vec![String::new()], 1, false, false);
        for c in call.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' | '[' | '{' if !quoted => depth += 1,
                ')' | ']' | '}' if !quoted => depth -= 1,
                _ => {}
            }
            match c {
                _ if depth == 0 => break,
                ',' if !quoted && depth == 1 => arguments.push(String::new()),
                _ => arguments.last_mut()?.push(c),
            }
        }
        let trimmed = arguments.iter().map(|argument| argument.trim());
        let mut arguments: Vec<&str> = trimmed.filter(|argument| !argument.is_empty()).collect();
        let phrase = arguments.pop()?.strip_prefix('"')?.strip_suffix('"')?;
        let name = |argument: &str| {
            argument.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']).to_owned()
        };
        (!phrase.contains(['{', '"', '\\']))
            .then(|| (arguments.into_iter().map(name).collect(), phrase.to_owned()))
    }
}
