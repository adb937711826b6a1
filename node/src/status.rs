//! The descriptions of a node: for clients, so that they find the leader; for people, so that they see what is wrong.

use std::collections::BTreeMap;

use gometa_proto::{
    Setting,
    v1::{self, Member, NodeStatus, PeerStatus, View},
};
use gometa_store::{Store, Table};
use gometa_zab::{DiskSpace, NodeId, Role, Voter, Zab, Zxid};

use crate::{
    config::Config,
    pending::{self, Pending},
};

/// What the descriptions are made from.
pub(crate) struct Sources<'a> {
    pub(crate) config: &'a Config,
    pub(crate) zab: &'a Zab,
    /// The role that the node has announced. That of the protocol core may be a step ahead.
    pub(crate) role: Role,
    pub(crate) storage: &'a v1::StorageStatus,
    /// The feature level of the ensemble, as the node has applied it.
    pub(crate) level: u32,
}

/// What is said of a learner.
const LEARNER: &str = "a learner: counted in no quorum";

/// The settings of the ensemble, ascending by name.
pub(crate) fn settings(store: &Store<impl Table>) -> Vec<v1::Setting> {
    Setting::ALL.iter().map(|setting| setting.on_wire(store.setting(*setting))).collect()
}

fn member(voter: &Voter) -> Member {
    Member {
        node: voter.node.0,
        message_address: voter.addresses.message.clone(),
        request_address: voter.addresses.request.clone(),
    }
}

impl Sources<'_> {
    /// The members that the ensemble has recorded, at their recorded addresses. A node without an ensemble names itself
    /// only: one that its configuration lists may have founded another ensemble.
    fn members(&self) -> Vec<Member> {
        let own = &self.config.zab;
        let itself = Voter { node: own.node, incarnation: None, addresses: own.addresses.clone() };
        if self.zab.ensemble().is_none() {
            return vec![member(&itself)];
        }
        let latest = |voter: &Voter| match voter.node == own.node {
            true => member(&itself),
            false => member(voter),
        };
        self.zab.configuration().members().iter().map(latest).collect()
    }

    /// The message address of a member; of this node its own, which the ensemble may not have recorded yet.
    pub(crate) fn message_address(&self, voter: &Voter) -> String {
        match voter.node == self.config.zab.node {
            true => self.config.zab.addresses.message.clone(),
            false => voter.addresses.message.clone(),
        }
    }

    /// The message address of a member, for people; its id if it is none.
    pub(crate) fn message_address_of(&self, node: NodeId) -> String {
        let members = self.zab.configuration().members();
        let member = members.iter().find(|member| member.node == node);
        member.map_or_else(|| format!("node {node}"), |member| self.message_address(member))
    }

    fn leads(&self) -> bool {
        matches!(self.role, Role::Leading { established: Some(_) })
    }

    /// The leader that this node follows, once that is established.
    fn leader(&self) -> Option<NodeId> {
        match self.role {
            Role::Following { leader, established: Some(_) } => Some(leader),
            Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => None,
        }
    }

    /// The leader's request address, if it is another node and known; else empty.
    pub(crate) fn leader_address(&self) -> String {
        self.leader()
            .and_then(|leader| {
                self.zab.configuration().members().into_iter().find(|member| member.node == leader)
            })
            .map(|member| member.addresses.request)
            .unwrap_or_default()
    }

    fn role(&self) -> v1::Role {
        match self.role {
            Role::Forming => v1::Role::Forming,
            Role::Following { established: Some(_), .. } if !self.zab.votes() => v1::Role::Learning,
            Role::Following { established: Some(_), .. } => v1::Role::Following,
            Role::Leading { established: Some(_) } => v1::Role::Leading,
            Role::Looking | Role::Following { .. } | Role::Leading { .. } => v1::Role::Looking,
        }
    }

    /// The view that clients receive when they connect, and when it changes.
    pub(crate) fn view(&self) -> View {
        let leader =
            if self.leads() { self.config.zab.addresses.request.clone() } else { self.leader_address() };
        View { role: self.role().into(), leader, members: self.members() }
    }

    /// The status of this node, for people.
    pub(crate) fn status<T: Table>(&self, store: &Store<T>) -> NodeStatus {
        let zab = self.zab;
        let own = self.config.zab.node;
        let leader = if self.leads() { Some(own) } else { self.leader() };
        NodeStatus {
            node: own.0,
            role: self.role().into(),
            leader: leader.map_or(0, |leader| leader.0),
            epoch: zab.current_epoch().0,
            last_revision: zab.durable().counter,
            last_epoch: zab.durable().epoch.0,
            commit_revision: zab.commit(),
            applied_revision: store.applied(),
            state_hash: store.hash().to_be_bytes().to_vec().into(),
            sessions: store.sessions() as u64,
            votes: zab.votes(),
            detail: with_disk(self.detail(store.applied()), "its own", zab, own),
            version: self.config.version.clone(),
            ensemble: zab.ensemble().map(|ensemble| v1::EnsembleRef {
                id: ensemble.id.to_be_bytes().to_vec().into(),
                history: ensemble.history,
            }),
            peers: self.peers(),
            level_min: self.config.zab.levels.min,
            level_max: self.config.zab.levels.max,
            level: zab.ensemble().map_or(0, |_| self.level),
            keys: store.keys(),
            oldest_revision: store.horizon(),
            settings: settings(store),
            pending_change: self.pending_change().map_or_else(String::new, |pending| pending.to_string()),
            storage: Some(v1::StorageStatus {
                log_base: zab.base().counter,
                log_end: zab.durable().counter,
                ..*self.storage
            }),
        }
    }

    /// The change of the members that is not made yet.
    pub(crate) fn pending_change(&self) -> Option<Pending> {
        let pending = self.zab.pending_change()?;
        Some(pending::describe(&pending, |node| self.message_address_of(node)))
    }

    /// What is to be done if so many data directories are lost that the others are no quorum.
    fn lost_quorum(&self) -> Option<String> {
        let lost: Vec<String> =
            self.zab.lost_quorum().iter().map(|node| self.message_address_of(*node)).collect();
        let voters = self.zab.configuration().voters();
        let absent = voters.iter().filter(|voter| voter.incarnation.is_none()).count();
        (!lost.is_empty()).then(|| pending::describe_lost_quorum(&lost, absent, voters.len()))
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let zab = self.zab;
        let followers: BTreeMap<_, _> =
            zab.followers().into_iter().map(|follower| (follower.node, follower)).collect();
        let peer = |voter: &Voter| {
            let follower = followers.get(&voter.node);
            let detail = match follower {
                Some(follower) if !follower.serving => {
                    format!("it is catching up: it holds {} of {}", follower.durable, zab.last().counter)
                }
                _ if zab.configuration().learner(voter.node).is_some() => LEARNER.to_owned(),
                Some(follower) if !follower.votes => {
                    "its data directory was replaced: it is counted in no quorum until it is a voter again"
                        .to_owned()
                }
                None if self.leads() => "it is not connected".to_owned(),
                Some(_) | None => String::new(),
            };
            PeerStatus {
                member: Some(member(voter)),
                votes: follower.map_or(zab.configuration().learner(voter.node).is_none(), |it| it.votes),
                connected: follower.is_some() || self.leader() == Some(voter.node),
                acked_revision: follower.map_or(0, |follower| follower.acked),
                detail: with_disk(detail, "its", zab, voter.node),
                learner: zab.configuration().learner(voter.node).is_some(),
            }
        };
        let own = self.config.zab.node;
        zab.configuration().members().iter().filter(|voter| voter.node != own).map(peer).collect()
    }

    /// Why this node does not serve or vote, and how much is left to apply; empty if it does both.
    fn detail(&self, applied: u64) -> String {
        let zab = self.zab;
        let left = match zab.serves_from() {
            Some(from) if from > applied => format!(": {applied} of {from} revisions are applied"),
            None if zab.commit() > applied => {
                format!(": {applied} of {} revisions known to be committed are applied", zab.commit())
            }
            Some(_) | None => String::new(),
        };
        let member = zab.configuration().contains(self.config.zab.node);
        match self.role {
            Role::Forming if self.config.zab.never_founds => {
                "waits for a member of its ensemble, and founds none".to_owned()
            }
            Role::Forming => "waits for every configured voter to form the ensemble".to_owned(),
            _ if !member && zab.configuration().version() == Zxid::ZERO => {
                "joins: no member of the ensemble yet".to_owned()
            }
            _ if !member => "was removed from the ensemble".to_owned(),
            Role::Looking => match self.lost_quorum() {
                Some(lost) => lost,
                None if !zab.votes() && zab.configuration().learner(self.config.zab.node).is_none() => {
                    "looks for a leader; its data directory was replaced, so it has no vote".to_owned()
                }
                None => "looks for a leader".to_owned(),
            },
            Role::Following { established: None, .. } => format!("is catching up with the leader{left}"),
            Role::Leading { established: None } if zab.serves_from().is_some() => {
                format!("leads, and applies its log before it serves{left}")
            }
            Role::Leading { established: None } => "waits for a quorum of followers".to_owned(),
            _ if !zab.votes() && zab.configuration().learner(self.config.zab.node).is_some() => LEARNER.to_owned(),
            _ if !zab.votes() => {
                "the ensemble knows this node with another data directory: it is counted in no quorum until it is a \
                 voter again"
                    .to_owned()
            }
            Role::Following { .. } | Role::Leading { .. } => String::new(),
        }
    }
}

/// Adds to a detail that the disk of a node is slow, or short of space.
fn with_disk(detail: String, whose: &str, zab: &Zab, node: NodeId) -> String {
    let latency = zab.write_latency_of(node);
    let slow = (latency > 0).then(|| format!("{whose} disk is slow, {} ms for a write", latency / 1_000));
    let space = match zab.disk_space_of(node) {
        DiskSpace::Ample => None,
        DiskSpace::Low => Some(format!("{whose} disk is nearly full")),
        DiskSpace::Critical => Some(format!("{whose} disk is full but for a reserve")),
    };
    let parts: Vec<String> =
        [Some(detail).filter(|detail| !detail.is_empty()), slow, space].into_iter().flatten().collect();
    parts.join("; ")
}
