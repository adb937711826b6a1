//! What a node says of itself: to clients, that they find the leader; to people, that they see what is wrong.

use gometa_proto::v1::{self, Member, NodeStatus, PeerStatus, View};
use gometa_store::Table;
use gometa_zab::{EnsembleId, NodeId, Role, Voter};

use crate::machine::Node;

impl<T: Table> Node<T> {
    /// The ensemble, once this node has joined it.
    pub fn ensemble(&self) -> Option<EnsembleId> {
        self.zab.ensemble()
    }

    /// The ensemble's voters as recorded; before it is formed, the configured ones.
    pub fn voters(&self) -> &[Voter] {
        self.zab.members().voters()
    }
}

fn member(voter: &Voter) -> Member {
    Member {
        node: voter.node.0,
        message_address: voter.addresses.message.clone(),
        request_address: voter.addresses.request.clone(),
    }
}

/// Where clients may go: the members that the ensemble has recorded, at their latest addresses. A node without an
/// ensemble names itself only: one that its configuration lists may have founded another ensemble.
fn members<T: Table>(node: &Node<T>) -> Vec<Member> {
    let own = &node.config.zab;
    let itself = Voter { node: own.node, incarnation: None, addresses: own.addresses.clone() };
    if node.zab.ensemble().is_none() {
        return vec![member(&itself)];
    }
    let latest = |voter: &Voter| match voter.node == own.node {
        true => member(&itself),
        false => member(&node.announced.latest(voter)),
    };
    node.zab.members().voters().iter().map(latest).collect()
}

/// Who leads, as far as this node knows for certain.
fn leader<T: Table>(node: &Node<T>) -> Option<NodeId> {
    match node.role {
        Role::Following { leader, established: Some(_) } => Some(leader),
        Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => None,
    }
}

/// The leader's request address, where it is another node and known.
pub(crate) fn leader_address<T: Table>(node: &Node<T>) -> String {
    leader(node)
        .and_then(|leader| node.zab.members().voters().iter().find(|voter| voter.node == leader))
        .map(|voter| node.announced.latest(voter).addresses.request)
        .unwrap_or_default()
}

/// The role as this node has announced it. That of the protocol core may be a step ahead.
fn role<T: Table>(node: &Node<T>) -> v1::Role {
    match node.role {
        Role::Forming => v1::Role::Forming,
        Role::Following { established: Some(_), .. } if !node.zab.votes() => v1::Role::Learning,
        Role::Following { established: Some(_), .. } => v1::Role::Following,
        Role::Leading { established: Some(_) } => v1::Role::Leading,
        Role::Looking | Role::Following { .. } | Role::Leading { .. } => v1::Role::Looking,
    }
}

/// What clients are told when they connect, and when it changes.
pub(crate) fn view<T: Table>(node: &Node<T>) -> View {
    let leader = match node.role {
        Role::Leading { established: Some(_) } => node.config.zab.addresses.request.clone(),
        _ => leader_address(node),
    };
    View { role: role(node).into(), leader, members: members(node) }
}

/// What this node knows, for people.
pub(crate) fn node<T: Table>(node: &Node<T>) -> NodeStatus {
    let zab = &node.zab;
    let own = node.config.zab.node;
    let leads = matches!(node.role, Role::Leading { established: Some(_) });
    let leader_id = if leads { Some(own) } else { leader(node) };
    let followers = node.peers_acked();
    let peers: Vec<PeerStatus> = zab
        .members()
        .voters()
        .iter()
        .filter(|voter| voter.node != own)
        .map(|voter| {
            let follower = followers.get(&voter.node);
            let detail = match follower {
                Some(follower) if !follower.serving => {
                    format!("it is catching up: it holds {} of {}", follower.held, zab.last().counter)
                }
                Some(follower) if !follower.votes => {
                    "its data directory was replaced: it is kept up to date, and counted in no quorum"
                        .to_owned()
                }
                None if leads => "it is not connected".to_owned(),
                Some(_) | None => String::new(),
            };
            let detail = with_disk(detail, "its", zab.storage_of(voter.node));
            PeerStatus {
                member: Some(member(&node.announced.latest(voter))),
                votes: follower.is_none_or(|follower| follower.votes),
                connected: follower.is_some() || leader(node) == Some(voter.node),
                acked_revision: follower.map_or(0, |follower| follower.acked),
                detail,
            }
        })
        .collect();
    NodeStatus {
        node: own.0,
        role: role(node).into(),
        leader: leader_id.map_or(0, |leader| leader.0),
        epoch: zab.current_epoch().0,
        last_revision: zab.durable().counter,
        commit_revision: zab.commit(),
        applied_revision: node.store.applied(),
        state_hash: node.store.hash().to_be_bytes().to_vec().into(),
        sessions: node.store.sessions() as u64,
        votes: zab.votes(),
        detail: with_disk(detail(node), "its own", zab.storage_of(own)),
        version: node.config.version.clone(),
        ensemble: zab.ensemble().map(|ensemble| v1::EnsembleRef {
            id: ensemble.id.to_be_bytes().to_vec().into(),
            history: ensemble.history,
        }),
        peers,
        keys: node.store.keys(),
    }
}

/// A detail, and how slow a disk is, in microseconds for a write, if it is.
fn with_disk(detail: String, whose: &str, storage: u64) -> String {
    if storage == 0 {
        return detail;
    }
    let disk = format!("{whose} disk is slow, {} ms for a write", storage / 1_000);
    if detail.is_empty() { disk } else { format!("{detail}; {disk}") }
}

/// What keeps this node from serving, in words, with how much is left.
fn detail<T: Table>(node: &Node<T>) -> String {
    let (zab, applied) = (&node.zab, node.store.applied());
    let left = match zab.serves_from() {
        Some(from) if from > applied => format!(": {applied} of {from} revisions are applied"),
        None if zab.commit() > applied => {
            format!(": {applied} of {} revisions known to be committed are applied", zab.commit())
        }
        Some(_) | None => String::new(),
    };
    match node.role {
        Role::Forming => "waits for every configured voter to form the ensemble".to_owned(),
        Role::Looking => "looks for a leader".to_owned(),
        Role::Following { established: None, .. } => format!("is catching up with the leader{left}"),
        Role::Leading { established: None } if zab.serves_from().is_some() => {
            format!("leads, and applies its log before it serves{left}")
        }
        Role::Leading { established: None } => "waits for a quorum of followers".to_owned(),
        _ if !zab.votes() => {
            "the ensemble knows this node with another data directory: it is kept up to date, does not vote, and is \
             counted in no quorum"
                .to_owned()
        }
        Role::Following { .. } | Role::Leading { .. } => String::new(),
    }
}
