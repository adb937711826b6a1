//! Who can be reached where. The configuration comes first; the genesis adds the voters it does not name, and
//! a peer's hello adds a peer that neither names. Election addresses are resolved again and again, beside the
//! driver, because a name may come to mean something else, or something at all.

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
};

/// Nodes known at a time; more come from nobody who means well.
const NODES_MAX: usize = 256;
/// Names waiting for the resolver.
pub(crate) const NAMES_MAX: usize = NODES_MAX;
/// Between two rounds of the resolver.
const ROUND: Duration = Duration::from_secs(5);
/// One name may take this long.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The driver's address book.
pub(crate) struct AddressBook {
    nodes: BTreeMap<NodeId, Entry>,
    /// Names to the resolver.
    names: Sender<(NodeId, String)>,
}

struct Entry {
    addresses: Addresses,
    /// Resolved, if it is yet.
    election: Option<SocketAddr>,
}

impl AddressBook {
    pub(crate) fn new(names: Sender<(NodeId, String)>) -> AddressBook {
        AddressBook { nodes: BTreeMap::new(), names }
    }

    /// Adds those that are not in the book yet.
    pub(crate) fn add_voters(&mut self, voters: &[Voter]) {
        for voter in voters {
            self.add(voter.node, &voter.addresses);
        }
    }

    /// Adds a node, if it is not in the book yet.
    pub(crate) fn add(&mut self, node: NodeId, addresses: &Addresses) {
        if self.nodes.len() >= NODES_MAX || self.nodes.contains_key(&node) || addresses.message.is_empty() {
            return;
        }
        let election = addresses.election.parse::<SocketAddr>().ok();
        if election.is_none() {
            // There is room for every node that the book has room for.
            drop(self.names.try_send((node, addresses.election.clone())));
        }
        self.nodes.insert(node, Entry { addresses: addresses.clone(), election });
    }

    /// The resolver has found a node.
    pub(crate) fn set_election(&mut self, node: NodeId, election: SocketAddr) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.election = Some(election);
        }
    }

    /// Where a node's votes go, if that is known.
    pub(crate) fn election(&self, node: NodeId) -> Option<SocketAddr> {
        self.nodes.get(&node)?.election
    }

    /// Where to dial a node ("host:port").
    pub(crate) fn message(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node).map(|entry| entry.addresses.message.as_str())
    }

    /// What people call a node.
    pub(crate) fn name(&self, node: NodeId) -> String {
        self.message(node).map_or_else(|| format!("node {node}"), str::to_owned)
    }

    /// What people call these nodes.
    pub(crate) fn names(&self, nodes: &[NodeId]) -> String {
        nodes.iter().map(|node| self.name(*node)).collect::<Vec<_>>().join(", ")
    }
}

/// Resolves names for ever. `like` is the socket they must be reachable from.
pub(crate) async fn resolve(
    mut names: Receiver<(NodeId, String)>,
    inbox: Arc<Inbox>,
    like: Option<SocketAddr>,
) {
    /// A name, what it meant last, and whether it was complained about.
    struct Known {
        name: String,
        address: Option<SocketAddr>,
        warned: bool,
    }
    let mut known: BTreeMap<NodeId, Known> = BTreeMap::new();
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        tokio::select! {
            added = names.recv(), if open => match added {
                Some((node, name)) => {
                    known.insert(node, Known { name, address: None, warned: false });
                    // All that were added together, in one round.
                    while let Ok((node, name)) = names.try_recv() {
                        known.insert(node, Known { name, address: None, warned: false });
                    }
                }
                None => open = false,
            },
            _ = rounds.tick() => {}
        }
        for (node, entry) in &mut known {
            let found = match timeout(LOOKUP_TIMEOUT, lookup_host(&entry.name)).await {
                Ok(Ok(found)) => prefer(found, like).ok_or_else(|| "it has no address".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the name server does not answer".to_owned()),
            };
            match found {
                Ok(address) => {
                    if entry.warned {
                        info!("resolved peer address {}", entry.name);
                        entry.warned = false;
                    }
                    if entry.address != Some(address) {
                        entry.address = Some(address);
                        inbox.put_answer(Item::Resolved { peer: *node, election: address });
                    }
                }
                Err(why) => {
                    if !entry.warned {
                        warn!("cannot resolve peer address {}: {why}; trying again", entry.name);
                        entry.warned = true;
                    }
                }
            }
        }
    }
}
