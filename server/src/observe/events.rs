//! What happens to a node, in one line each that people understand: nodes by their message addresses, zxids
//! by epoch and revision.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gometa_proto::limits;
use gometa_zab::{Addresses, NodeId, Notice, Reason, Role, Zxid};
use tracing::{debug, info, warn};

use crate::peer::address_book::AddressBook;

/// Logs a change of role. Elections are told by their notices; this is for those who look closer.
pub(crate) fn role(role: &Role, book: &AddressBook) {
    match role {
        Role::Forming => info!("waits for the other nodes, to form the ensemble"),
        Role::Looking => debug!("role: looking"),
        Role::Following { leader, established: None } => {
            debug!("role: about to follow {}", book.name(*leader));
        }
        Role::Following { leader, established: Some(epoch) } => {
            debug!("role: follows {} in epoch {epoch}", book.name(*leader));
        }
        Role::Leading { established: None } => debug!("role: about to lead"),
        Role::Leading { established: Some(epoch) } => debug!("role: leads epoch {epoch}"),
    }
}

/// Refusals told in a row ...
const REFUSALS_MAX: u32 = 10;
/// ... of this length. Anybody can be refused as often as they like.
const REFUSALS_SPAN: Duration = Duration::from_secs(60);

/// How many refusals were told of late.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    since: Option<Instant>,
    count: u32,
}

impl Refusals {
    /// Whether to tell another one.
    fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= REFUSALS_SPAN) {
            *self = Refusals { since: Some(now), count: 0 };
        }
        self.count += 1;
        if self.count == REFUSALS_MAX + 1 {
            warn!("many nodes are refused: for a minute, no more of them are told");
        }
        self.count <= REFUSALS_MAX
    }
}

/// Logs that sessions run short, and which clients opened most of them through this node.
pub(crate) fn sessions_short(live: usize, openers: &[(Arc<str>, usize)]) {
    warn!("{}", shortage(live, openers));
}

fn shortage(live: usize, openers: &[(Arc<str>, usize)]) -> String {
    let max = limits::SESSIONS_MAX;
    let most: Vec<String> = openers.iter().map(|(name, count)| format!("{count} by {name}")).collect();
    let most = if most.is_empty() { "none".to_owned() } else { most.join(", ") };
    format!(
        "{live} of {max} sessions are in use; opened through this node and not ended: {most}; share one client per \
         process, and close clients, which ends their sessions"
    )
}

/// Logs a notice.
pub(crate) fn notice(
    notice: &Notice,
    me: NodeId,
    own: &Addresses,
    book: &AddressBook,
    refusals: &mut Refusals,
) {
    match notice {
        Notice::WaitingFor(nodes) if nodes.is_empty() => info!("all nodes are there"),
        Notice::WaitingFor(nodes) => info!("waits for {} to form the ensemble", book.names(nodes)),
        Notice::ConfigurationDiffers { peer, only_theirs, only_ours } => {
            warn!("{}", difference(&book.name(*peer), only_theirs, only_ours));
        }
        Notice::Formed { ensemble, votes: true } => {
            info!("belongs to ensemble {:032x}, and votes in it", ensemble.id);
        }
        Notice::Formed { ensemble, votes: false } => warn!(
            "belongs to ensemble {:032x}, but its data directory is not the one that the ensemble was formed with: it \
             is kept up to date and counted in no quorum, until it is removed and added again",
            ensemble.id
        ),
        Notice::Looking { round, why } => info!("looks for a leader in round {round}: {why}"),
        Notice::Elected { round, leader } if *leader == me => info!("was elected leader in round {round}"),
        Notice::Elected { round, leader } => {
            info!("{} was elected leader in round {round}", book.name(*leader))
        }
        Notice::Discovered { epoch, last } => {
            debug!("a quorum has promised epoch {epoch}; the initial history ends at {}", place(*last));
        }
        Notice::Established { epoch, last } => {
            info!("leads epoch {epoch}, from {} on", place(*last));
        }
        Notice::Synchronising { peer, votes, from, base } => {
            let cut = if from == base { String::new() } else { format!(", cut back to {}", place(*base)) };
            let learner = if *votes { "" } else { " (counted in no quorum)" };
            debug!("brings {}{learner} up to date from {}{cut}", book.name(*peer), place(*from));
        }
        Notice::Synchronised { peer, last } => {
            info!("{} is up to date at {}", book.name(*peer), place(*last));
        }
        Notice::UpToDate { epoch, leader } => {
            info!("follows {} in epoch {epoch} and is up to date", book.name(*leader));
        }
        Notice::Truncated { from, to } => warn!(
            "cut its log from {} back to {}: what was cut was never acknowledged",
            place(*from),
            place(*to)
        ),
        Notice::LostFollower { peer, why } => info!("lost its follower {}: {why}", book.name(*peer)),
        Notice::Refused { peer, reason } => {
            let peer = peer.map_or_else(|| "an unknown node".to_owned(), |peer| book.name(peer));
            let why = reason_text(*reason);
            match reason {
                // Part of every election.
                Reason::NotLeading | Reason::TooSoon => debug!("refused {peer}: {why}"),
                _ if refusals.admit(Instant::now()) => warn!("refused {peer}: {why}"),
                _ => {}
            }
        }
        Notice::RefusedBy { peer, reason } => {
            let (peer, why) = (book.name(*peer), reason_from_peer(*reason));
            match reason {
                Reason::NotLeading | Reason::TooSoon => debug!("{peer} refuses this node: {why}"),
                _ if refusals.admit(Instant::now()) => warn!("{peer} refuses this node: {why}"),
                _ => {}
            }
        }
        Notice::GreetingRefused { dialled, meant, node, addresses, reason } => {
            if refusals.admit(Instant::now()) {
                let peer = Greeting { dialled: *dialled, meant: *meant, node: *node, addresses };
                warn!("{}", greeting_refused(&peer, *reason, me, book));
            }
        }
        Notice::Duplicate { peer, served, other } => warn!(
            "two processes have the id {peer} and the same data directory: one is {}, the other {}; one of them runs on \
             a copy: stop it, and start it again with an empty directory and addresses of its own",
            all_three(served),
            all_three(other)
        ),
        Notice::DuplicateOfThis { peer, addresses } => {
            warn!("{}", duplicate_of_this(&book.name(*peer), own, addresses));
        }
        Notice::OtherEnsemble { peer, ensemble } => warn!(
            "{} belongs to another ensemble ({ensemble:?}): one of the two has the wrong data directory, and they do \
             not speak with each other",
            book.name(*peer)
        ),
        Notice::SlowStorage { node, storage } => warn!(
            "the disk of {} is slow: {} ms for a write. Every write that waits for it takes as long, and elections too",
            book.name(*node),
            storage / 1_000
        ),
        Notice::Amnesiac { peer } => warn!(
            "{} came with another data directory than the ensemble was formed with: it is kept up to date and counted \
             in no quorum",
            book.name(*peer)
        ),
    }
}

/// How two configurations differ, in one line.
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

fn place(zxid: Zxid) -> String {
    if zxid == Zxid::ZERO {
        return "the beginning".to_owned();
    }
    format!("revision {} of epoch {}", zxid.counter, zxid.epoch)
}

/// What the other end of a refused connection says of itself.
struct Greeting<'a> {
    dialled: Option<NodeId>,
    meant: Option<NodeId>,
    node: NodeId,
    addresses: &'a Addresses,
}

/// Whom this node does not speak with, with all addresses that may be mixed up.
fn greeting_refused(greeting: &Greeting<'_>, reason: Reason, me: NodeId, book: &AddressBook) -> String {
    const REMEDY: &str = "an id follows from the MessageAddr as it is written: write the same one in every file, or \
                          give the node an Id";
    let Greeting { dialled, meant, node, addresses } = greeting;
    let peer = format!("{} (id {node})", addresses.message);
    match (reason, dialled, meant) {
        (Reason::WrongNode, Some(dialled), _) => {
            format!("dialled {} (id {dialled}), and {peer} answers there: {REMEDY}", book.name(*dialled))
        }
        (Reason::WrongNode, None, Some(meant)) if *node != me => {
            format!("{peer} takes this node for id {meant}, and it is {} (id {me}): {REMEDY}", book.name(me))
        }
        (Reason::WrongNode, None, _) if *node == me => {
            format!("refused {}: it has the id of this node, {me}; give each node its own", addresses.message)
        }
        _ => format!("refused {peer}: {}", reason_text(reason)),
    }
}

/// That this node is one of two.
pub(crate) fn duplicate_of_this(peer: &str, own: &Addresses, other: &Addresses) -> String {
    format!(
        "{peer} is connected to another process with the id and the data directory of this one: this one is {}, the \
         other {}; one of them runs on a copy: stop it, and start it again with an empty directory and addresses of its \
         own",
        all_three(own),
        all_three(other)
    )
}

/// All addresses of one process: which of them differ from another's is for people to see.
fn all_three(addresses: &Addresses) -> String {
    format!("{}/{}/{}", addresses.election, addresses.message, addresses.request)
}

/// Why a peer refuses this node.
pub(crate) fn reason_from_peer(reason: Reason) -> &'static str {
    match reason {
        Reason::NotLeading => "it does not lead",
        Reason::SnapshotNeeded => {
            "this node is too far behind for the log that is left there, and snapshots do not exist yet"
        }
        Reason::NoCommonPoint => "it does not hold the point that it was told to go back to",
        Reason::WrongNode => {
            "it is not the node that was meant; check MessageAddr and Id in the configurations"
        }
        Reason::OtherEnsemble => "it belongs to another ensemble; check the data directories of both",
        Reason::NotAMember => {
            "this node's id is not that of a member there; check the Peer lists, and if this node's MessageAddr has \
             changed, give it the Id that it had"
        }
        Reason::Configuration => "its configuration lists other voters",
        Reason::Version => "it speaks another version of the protocol",
        Reason::TooSoon => "a new epoch is due for this node, but not yet",
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::NotLeading => "this node does not lead",
        Reason::SnapshotNeeded => {
            "it is too far behind for the log that is left, and snapshots do not exist yet"
        }
        Reason::NoCommonPoint => "it does not hold the point that it was told to go back to",
        Reason::WrongNode => "another node was meant; check MessageAddr and Id in the configurations",
        Reason::OtherEnsemble => "it belongs to another ensemble; check its data directory",
        Reason::NotAMember => {
            "it is no member of this ensemble; check the Peer lists, and if its MessageAddr has changed, give it the Id \
             that it had"
        }
        Reason::Configuration => "its configuration lists other voters",
        Reason::Version => "it speaks another version of the protocol",
        Reason::TooSoon => "a new epoch is due for it, but not yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_do_not_fill_the_log() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let told = |refusals: &mut Refusals, at| (0..100).filter(|_| refusals.admit(at)).count();
        assert_eq!(told(&mut refusals, now), REFUSALS_MAX as usize);
        assert_eq!(told(&mut refusals, now + REFUSALS_SPAN / 2), 0);
        assert_eq!(told(&mut refusals, now + REFUSALS_SPAN), REFUSALS_MAX as usize);
    }

    #[test]
    fn a_shortage_of_sessions_names_the_clients_that_opened_most() {
        let openers = [("10.0.0.7 \"gometa-python\" \"0.1.0\"".into(), 7_490), ("10.0.0.8".into(), 2)];
        assert_eq!(
            shortage(7_500, &openers),
            "7500 of 10000 sessions are in use; opened through this node and not ended: 7490 by 10.0.0.7 \
             \"gometa-python\" \"0.1.0\", 2 by 10.0.0.8; share one client per process, and close clients, which ends \
             their sessions"
        );
        assert!(shortage(7_500, &[]).contains("not ended: none;"));
    }

    #[test]
    fn greetings_that_are_refused_name_both_addresses() {
        let (names, _receiver) = tokio::sync::mpsc::channel(1);
        let mut book = AddressBook::new(names);
        let at = |text: &str| Addresses { message: text.to_owned(), ..Addresses::default() };
        book.add(NodeId(1), &at("10.0.0.1:5002"));
        book.add(NodeId(2), &at("10.0.0.2:5002"));
        let said = |dialled: Option<u64>, meant: Option<u64>, node: u64, reason| {
            let addresses = at("b.example:5002");
            let (dialled, meant, node) = (dialled.map(NodeId), meant.map(NodeId), NodeId(node));
            let greeting = Greeting { dialled, meant, node, addresses: &addresses };
            greeting_refused(&greeting, reason, NodeId(1), &book)
        };
        let remedy = "an id follows from the MessageAddr as it is written: write the same one in every file, or give \
                      the node an Id";
        assert_eq!(
            said(Some(2), None, 3, Reason::WrongNode),
            format!(
                "dialled 10.0.0.2:5002 (id 0000000000000002), and b.example:5002 (id 0000000000000003) answers there: \
                 {remedy}"
            )
        );
        assert_eq!(
            said(None, Some(9), 3, Reason::WrongNode),
            format!(
                "b.example:5002 (id 0000000000000003) takes this node for id 0000000000000009, and it is 10.0.0.1:5002 \
                 (id 0000000000000001): {remedy}"
            )
        );
        assert_eq!(
            said(None, Some(1), 1, Reason::WrongNode),
            "refused b.example:5002: it has the id of this node, 0000000000000001; give each node its own"
        );
        assert!(
            said(None, Some(1), 7, Reason::NotAMember)
                .starts_with("refused b.example:5002 (id 0000000000000007)")
        );
    }

    #[test]
    fn configurations_that_disagree_say_how() {
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
}
