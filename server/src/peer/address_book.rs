//! The addresses of peers. Those of the configuration take precedence; the genesis adds voters that it does not list, and
//! a hello adds a peer that neither lists. Host names of election addresses are resolved periodically, outside the
//! driver's thread, because their addresses may change or appear later.

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
/// The number of host names queued for the resolver.
pub(crate) const NAMES_MAX: usize = NODES_MAX;
/// The time between two lookups of each name.
const INTERVAL: Duration = Duration::from_secs(5);
/// The time for one lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of peers, owned by the driver.
pub(crate) struct AddressBook {
    nodes: BTreeMap<NodeId, Entry>,
    /// Sends host names to the resolver.
    names: Sender<(NodeId, String)>,
}

struct Entry {
    addresses: Addresses,
    /// The resolved election address, if it is known.
    election: Option<SocketAddr>,
}

impl AddressBook {
    pub(crate) fn new(names: Sender<(NodeId, String)>) -> AddressBook {
        AddressBook { nodes: BTreeMap::new(), names }
    }

    /// Adds voters that are not known yet.
    pub(crate) fn add_voters(&mut self, voters: &[Voter]) {
        for voter in voters {
            self.add(voter.node, &voter.addresses);
        }
    }

    /// Adds a node that is not known yet.
    pub(crate) fn add(&mut self, node: NodeId, addresses: &Addresses) {
        if self.nodes.len() >= NODES_MAX || self.nodes.contains_key(&node) || addresses.message.is_empty() {
            return;
        }
        let election = addresses.election.parse::<SocketAddr>().ok();
        if election.is_none() {
            // The queue has room for NODES_MAX names.
            drop(self.names.try_send((node, addresses.election.clone())));
        }
        self.nodes.insert(node, Entry { addresses: addresses.clone(), election });
    }

    /// Sets a node's resolved election address.
    pub(crate) fn set_election(&mut self, node: NodeId, election: SocketAddr) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.election = Some(election);
        }
    }

    /// A node's election address, if it is known.
    pub(crate) fn election(&self, node: NodeId) -> Option<SocketAddr> {
        self.nodes.get(&node)?.election
    }

    /// A node's message address ("host:port").
    pub(crate) fn message(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node).map(|entry| entry.addresses.message.as_str())
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
    /// A host name, its latest address, and whether a warning about it is open.
    struct Known {
        name: String,
        address: Option<SocketAddr>,
        warned: bool,
    }
    let mut known: BTreeMap<NodeId, Known> = BTreeMap::new();
    let mut rounds = tokio::time::interval(INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        tokio::select! {
            added = names.recv(), if open => match added {
                Some((node, name)) => {
                    known.insert(node, Known { name, address: None, warned: false });
                    // Names that were added at once are resolved at once.
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
                        info!(address = entry.name, "peer address resolved");
                        entry.warned = false;
                    }
                    if entry.address != Some(address) {
                        entry.address = Some(address);
                        inbox.put_answer(Item::Resolved { peer: *node, election: address });
                    }
                }
                Err(error) => {
                    if !entry.warned {
                        warn!(address = entry.name, error, "cannot resolve peer address, will be retried");
                        entry.warned = true;
                    }
                }
            }
        }
    }
}
