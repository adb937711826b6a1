//! The addresses of peers: those of the configuration, those that the ensemble has recorded, and those that votes tell.
//!
//! A member may have moved. What the ensemble records anew is tried first, but what was known before stays: votes go to all
//! addresses of a node, and it is dialled at one after the other, so that a wrong one does no harm.
//!
//! Host names of election addresses are resolved periodically, outside the driver's thread, because their addresses may
//! change or appear later.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use gometa_zab::{Addresses, NodeId, Voter};
use tokio::{
    net::lookup_host,
    sync::mpsc::{Receiver, Sender},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    inbox::{Inbox, Item},
    net::listen::prefer,
    observe::events::NodeNames,
};

/// The number of known nodes. No valid ensemble has more.
const NODES_MAX: usize = 256;
/// The number of known nodes that are no members.
const STRANGERS_MAX: usize = 16;
/// The number of places of one node.
const PLACES_MAX: usize = 3;
/// The number of host names queued for the resolver.
pub(crate) const NAMES_MAX: usize = NODES_MAX;
/// The time between two lookups of each name.
const INTERVAL: Duration = Duration::from_secs(5);
/// The time for one lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of peers, owned by the driver.
pub(crate) struct AddressBook {
    nodes: BTreeMap<NodeId, Entry>,
    /// Nodes that are no members, as far as this node knows.
    strangers: BTreeMap<NodeId, Entry>,
    /// Sends host names to the resolver.
    names: Sender<(NodeId, String)>,
}

/// What is known of a node.
#[derive(Default)]
struct Entry {
    /// Where it may be, the most trusted place first.
    places: Vec<Place>,
    /// What the ensemble has recorded of it.
    recorded: Option<Addresses>,
    /// The message address that it, or a node that votes for it, has told in a vote, if it was not known.
    told: Option<String>,
    /// The source of its last datagram, if it was told to be elsewhere than known.
    source: Option<SocketAddr>,
    /// The number of attempts to connect to it.
    attempts: usize,
}

/// The addresses of a node at one place.
struct Place {
    election: String,
    /// The resolved election address, if it is known.
    resolved: Option<SocketAddr>,
    message: String,
}

impl Entry {
    /// The message addresses to dial.
    fn messages(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.message.as_str()).chain(self.told.as_deref())
    }
}

impl AddressBook {
    pub(crate) fn new(names: Sender<(NodeId, String)>) -> AddressBook {
        AddressBook { nodes: BTreeMap::new(), strangers: BTreeMap::new(), names }
    }

    /// Adds nodes that are not known yet: those that the configuration lists, and those that another node has told of.
    pub(crate) fn add_voters(&mut self, voters: &[Voter]) {
        for voter in voters {
            self.add(voter.node, &voter.addresses);
        }
    }

    /// Adds a node that is not known yet.
    pub(crate) fn add(&mut self, node: NodeId, addresses: &Addresses) {
        if self.nodes.len() < NODES_MAX && !self.nodes.contains_key(&node) && !addresses.message.is_empty() {
            self.nodes.entry(node).or_default();
            self.add_place(node, addresses);
        }
    }

    /// Takes over what the ensemble has recorded of its members. An address that it records anew is that of a node that has
    /// moved. The first one that it has recorded is not used if the configuration has another one, which may be the only one
    /// that can be reached from here.
    pub(crate) fn record(&mut self, members: &[Voter]) {
        for member in members {
            self.add(member.node, &member.addresses);
            let Some(entry) = self.nodes.get_mut(&member.node) else { continue };
            let before = entry.recorded.replace(member.addresses.clone());
            if before.is_some_and(|before| before != member.addresses) {
                self.add_place(member.node, &member.addresses);
            }
        }
        let nodes = &self.nodes;
        self.strangers.retain(|node, _| !nodes.contains_key(node));
    }

    /// Puts a place before the others.
    fn add_place(&mut self, node: NodeId, Addresses { election, message, .. }: &Addresses) {
        let Some(entry) = self.nodes.get_mut(&node) else { return };
        let resolved = election.parse::<SocketAddr>().ok();
        if resolved.is_none() {
            // The queue has room for NODES_MAX names. If it is full, votes wait until the node is recorded again.
            drop(self.names.try_send((node, election.clone())));
        }
        entry.places.retain(|place| (&place.election, &place.message) != (election, message));
        entry.places.insert(0, Place { election: election.clone(), resolved, message: message.clone() });
        entry.places.truncate(PLACES_MAX);
    }

    /// A vote tells where its sender or its candidate is; `source` is where the vote came from, if that is the node itself. A
    /// wrong address does no harm: the others are tried too, and a connection to another node is closed.
    pub(crate) fn told(&mut self, node: NodeId, message: &str, source: Option<SocketAddr>) {
        if message.is_empty() || node == NodeId(0) {
            return;
        }
        if !self.nodes.contains_key(&node)
            && !self.strangers.contains_key(&node)
            && self.strangers.len() >= STRANGERS_MAX
        {
            self.strangers.pop_first();
        }
        let entry = match self.nodes.get_mut(&node) {
            Some(entry) => entry,
            None => self.strangers.entry(node).or_default(),
        };
        let known = entry.places.iter().any(|place| place.message == message)
            || entry.recorded.as_ref().is_some_and(|recorded| recorded.message == message);
        if known {
            (entry.told, entry.source) = (None, None);
        } else {
            entry.told = Some(message.to_owned());
            entry.source = source.or(entry.source);
        }
    }

    /// Sets a resolved election address of a node.
    pub(crate) fn set_election(&mut self, node: NodeId, name: &str, election: SocketAddr) {
        let places = self.nodes.get_mut(&node).into_iter().flat_map(|entry| &mut entry.places);
        places.filter(|place| place.election == name).for_each(|place| place.resolved = Some(election));
    }

    /// The addresses to which votes for a node are sent.
    pub(crate) fn elections(&self, node: NodeId) -> Vec<SocketAddr> {
        let Some(entry) = self.nodes.get(&node).or_else(|| self.strangers.get(&node)) else {
            return Vec::new();
        };
        let mut elections: Vec<SocketAddr> =
            entry.places.iter().filter_map(|place| place.resolved).chain(entry.source).collect();
        elections.dedup();
        elections
    }

    /// The message address ("host:port") by which people know a node.
    pub(crate) fn message(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node).and_then(|entry| entry.messages().next())
    }

    /// Where a node is, to be told to others: where it was told to be last, or what the ensemble has recorded.
    pub(crate) fn whereabouts(&self, node: NodeId) -> Option<&str> {
        let entry = self.nodes.get(&node).or_else(|| self.strangers.get(&node))?;
        let recorded = entry.recorded.as_ref().map(|recorded| recorded.message.as_str());
        entry.told.as_deref().or(recorded).or_else(|| entry.messages().next())
    }

    /// The message address to dial next: all of a node's in turn.
    pub(crate) fn dial(&mut self, node: NodeId) -> Option<&str> {
        let entry = match self.nodes.get_mut(&node) {
            Some(entry) => entry,
            None => self.strangers.get_mut(&node)?,
        };
        let count = entry.messages().count().max(1);
        entry.attempts = entry.attempts.wrapping_add(1);
        entry.messages().nth((entry.attempts - 1) % count)
    }
}

impl NodeNames for AddressBook {
    fn name(&self, node: NodeId) -> String {
        self.message(node).map_or_else(|| format!("node {node}"), str::to_owned)
    }
}

/// Resolves host names for the node's lifetime. `like` is the socket from which they must be reachable.
pub(crate) async fn resolve(
    mut names: Receiver<(NodeId, String)>,
    inbox: Arc<Inbox>,
    like: Option<SocketAddr>,
) {
    /// The latest address of a host name, and whether a warning about it is open.
    #[derive(Default)]
    struct Known {
        address: Option<SocketAddr>,
        warned: bool,
    }
    let mut known: BTreeMap<(NodeId, String), Known> = BTreeMap::new();
    let mut rounds = tokio::time::interval(INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        tokio::select! {
            added = names.recv(), if open => match added {
                Some(name) => {
                    // Names that were added at once are resolved at once.
                    let more = std::iter::from_fn(|| names.try_recv().ok());
                    for name in std::iter::once(name).chain(more) {
                        if known.len() < NAMES_MAX {
                            known.insert(name, Known::default());
                        }
                    }
                }
                None => open = false,
            },
            _ = rounds.tick() => {}
        }
        for ((node, name), entry) in &mut known {
            let found = match timeout(LOOKUP_TIMEOUT, lookup_host(name)).await {
                Ok(Ok(found)) => prefer(found, like).ok_or_else(|| "it has no address".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the name server does not answer".to_owned()),
            };
            match found {
                Ok(address) => {
                    if entry.warned {
                        info!(address = name, "peer address resolved");
                        entry.warned = false;
                    }
                    if entry.address != Some(address) {
                        entry.address = Some(address);
                        inbox.put_answer(Item::Resolved {
                            peer: *node,
                            name: name.clone(),
                            election: address,
                        });
                    }
                }
                Err(error) => {
                    if !entry.warned {
                        warn!(address = name, error, "cannot resolve peer address, will be retried");
                        entry.warned = true;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const NODE: NodeId = NodeId(2);

    fn at(port: u16) -> Addresses {
        let address = |port: u16| format!("127.0.0.1:{port}");
        Addresses { election: address(port), message: address(port + 1), request: address(port + 2) }
    }

    fn voter(port: u16) -> Voter {
        Voter { node: NODE, incarnation: None, addresses: at(port) }
    }

    fn socket(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn dialled(book: &mut AddressBook, times: usize) -> Vec<String> {
        (0..times).map(|_| book.dial(NODE).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_node_is_looked_for_at_the_configured_address_until_the_ensemble_records_another_one() {
        let (names, _receiver) = mpsc::channel(NAMES_MAX);
        let mut book = AddressBook::new(names);
        book.add_voters(&[voter(5_001)]);
        // What it was formed with is not where it can be reached from here.
        book.record(&[voter(6_001)]);
        assert_eq!(book.elections(NODE), [socket(5_001)]);
        assert_eq!(dialled(&mut book, 2), ["127.0.0.1:5002", "127.0.0.1:5002"]);
        book.record(&[voter(7_001)]);
        assert_eq!(book.elections(NODE), [socket(7_001), socket(5_001)]);
        assert_eq!(dialled(&mut book, 2), ["127.0.0.1:7002", "127.0.0.1:5002"]);
        assert_eq!(book.name(NODE), "127.0.0.1:7002");
    }

    #[test]
    fn a_node_that_votes_from_elsewhere_is_tried_there_too() {
        let (names, _receiver) = mpsc::channel(NAMES_MAX);
        let mut book = AddressBook::new(names);
        book.record(&[voter(5_001)]);
        book.told(NODE, "127.0.0.1:5002", Some(socket(9)));
        assert_eq!(book.elections(NODE), [socket(5_001)], "it is where it is known to be");
        book.told(NODE, "127.0.0.1:8002", Some(socket(8_001)));
        assert_eq!(book.elections(NODE), [socket(5_001), socket(8_001)]);
        assert_eq!(dialled(&mut book, 3), ["127.0.0.1:5002", "127.0.0.1:8002", "127.0.0.1:5002"]);
        assert_eq!(book.whereabouts(NODE), Some("127.0.0.1:8002"));
        book.told(NODE, "127.0.0.1:5002", None);
        assert_eq!(book.elections(NODE), [socket(5_001)], "it is back");
    }

    #[test]
    fn few_nodes_that_are_no_members_are_remembered() {
        let (names, _receiver) = mpsc::channel(NAMES_MAX);
        let mut book = AddressBook::new(names);
        for node in 1..100 {
            book.told(NodeId(node), "127.0.0.1:5002", Some(socket(5_001)));
        }
        let known = (1..100).filter(|node| !book.elections(NodeId(*node)).is_empty()).count();
        assert_eq!(known, STRANGERS_MAX);
        assert_eq!(book.message(NodeId(99)), None, "people know them by their ids");
    }
}
