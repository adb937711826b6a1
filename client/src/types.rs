//! Arguments and results of calls, as types of this crate's own: the messages of the wire stay inside it.
//!
//! All structs are `#[non_exhaustive]`, because operations and fields are added.

use bytes::Bytes;
use gometa_proto::v1;

/// The totals of a client and its clones since it was built.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// The number of calls begun.
    pub requests: u64,
    /// The number of attempts beyond a call's first.
    pub retries: u64,
    /// The number of connections that replaced a lost one. Neither the first connection nor a move to the leader counts.
    pub reconnects: u64,
    /// The number of calls that have not ended yet.
    pub in_flight: usize,
}

/// The result of a write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Written {
    /// The revision that the write made: the key's new `mod_revision`.
    pub revision: u64,
    /// The number of writes since the key was created, from 1.
    pub version: u64,
}

/// The result of a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Deleted {
    /// Whether the key existed.
    pub existed: bool,
    /// The revision of the deletion, 0 if the key did not exist.
    pub revision: u64,
}

/// The result of the deletion of a range, which is an operation of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct DeletedRange {
    /// The number of deleted keys.
    pub count: u64,
    /// The revision of the deletion, 0 if there was no key.
    pub revision: u64,
}

/// A key, its value and its revisions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The number of writes since the key was created, from 1.
    pub version: u64,
    /// The revision that created the key.
    pub create_revision: u64,
    /// The revision of the last write to the key, which [`Client::cas`](crate::Client::cas) compares.
    pub mod_revision: u64,
    /// Whether this stands for all keys that begin with `key`, which ends with the range's delimiter; see
    /// [`Range::delimiter`](crate::Range::delimiter). It has no value, version and revisions.
    pub is_group: bool,
}

/// The consistency of a read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Consistency {
    /// The read sees every write, of any client, that was acknowledged before the read began.
    #[default]
    Linearizable,
    /// The read sees what the answering node has applied, and never less than an earlier call of the same client.
    Local,
}

/// Options of a read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The consistency of the read.
    pub consistency: Consistency,
    /// Local reads only: the node answers once it has applied this revision, or the highest revision that this client
    /// has seen if that is higher.
    pub min_revision: u64,
}

impl ReadOptions {
    /// The options of a local read.
    #[must_use]
    pub fn local() -> Self {
        Self { consistency: Consistency::Local, min_revision: 0 }
    }

    /// What a request has, of a client that has seen a revision.
    pub(crate) fn on_wire(self, seen: u64) -> (v1::Consistency, u64) {
        match self.consistency {
            Consistency::Linearizable => (v1::Consistency::Linearizable, 0),
            Consistency::Local => (v1::Consistency::Local, self.min_revision.max(seen)),
        }
    }

    /// Sets [`min_revision`](Self::min_revision).
    #[must_use]
    pub fn with_min_revision(self, revision: u64) -> Self {
        Self { min_revision: revision, ..self }
    }
}

/// The role of a node in its ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Role {
    /// A role that this version of the client does not know.
    #[default]
    Unknown,
    /// Waiting for all configured voters, to form the ensemble.
    Forming,
    /// Without a leader, or not caught up with one yet: does not serve requests.
    Looking,
    /// Following the leader.
    Following,
    /// Leading.
    Leading,
    /// Following the leader without a vote.
    Learning,
}

impl Role {
    /// The name in lower case, such as `following`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Forming => "forming",
            Self::Looking => "looking",
            Self::Following => "following",
            Self::Leading => "leading",
            Self::Learning => "learning",
        }
    }
}

/// The identity of an ensemble.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct EnsembleId {
    /// 16 random bytes, drawn when the ensemble was formed.
    pub id: Bytes,
    /// The history, which changes when an ensemble is founded anew from old data.
    pub history: u64,
}

/// A member of the ensemble.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct Member {
    /// The node's id.
    pub node: u64,
    /// The address for other nodes, by which people know the node.
    pub message_address: String,
    /// The address for clients, if it is known.
    pub request_address: Option<String>,
}

/// The ensemble as one node knows it.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct View {
    /// The role of the node.
    pub role: Role,
    /// The leader's address for clients, if it is known.
    pub leader: Option<String>,
    /// The members; the node alone until the ensemble is formed.
    pub members: Vec<Member>,
}

/// The state of a node.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The node's id.
    pub node: u64,
    /// The node's role.
    pub role: Role,
    /// The id of the node's leader, if it has one.
    pub leader: Option<u64>,
    /// The epoch of the leader that the node follows, or followed last.
    pub epoch: u64,
    /// The revision of the last durable entry in the node's log.
    pub last_revision: u64,
    /// The epoch of that entry. It may be above `epoch` while the node is being synchronised.
    pub last_epoch: u64,
    /// The last revision that the node knows to be committed.
    pub commit_revision: u64,
    /// The last revision that the node has applied.
    pub applied_revision: u64,
    /// The hash of keys and sessions at `applied_revision`, 16 bytes. It is the same on all nodes at one revision.
    pub state_hash: Bytes,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of keys.
    pub keys: u64,
    /// Whether the node counts in quorums. False for a learner, and for a voter whose data directory was replaced.
    pub votes: bool,
    /// What the node waits for, or why it does not count in quorums, in one line; empty if all is well.
    pub detail: String,
    /// The change of the members that is not made yet, and what it waits for, in one line; empty if there is none.
    pub pending_change: String,
    /// The version of the server program.
    pub version: String,
    /// The node's ensemble, if it is formed.
    pub ensemble: Option<EnsembleId>,
    /// The other members, as the node sees them.
    pub peers: Vec<PeerStatus>,
    /// The lowest revision at which the node can read.
    pub oldest_revision: u64,
    /// The settings of the ensemble, ascending by name.
    pub settings: Vec<Setting>,
    /// The lowest feature level that the node's program supports.
    pub level_min: u32,
    /// The highest feature level that the node's program supports.
    pub level_max: u32,
    /// The feature level of the ensemble, as the node has applied it; 0 before it is formed.
    pub level: u32,
    /// What the node stores. All zero if it does not report it.
    pub storage: StorageStatus,
}

/// A setting of the ensemble: a number that every node has.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Setting {
    /// Its name, which has its unit.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// Whether it was set; if not, the value is the default.
    pub is_set: bool,
    /// The default.
    pub default: u64,
    /// The lowest value.
    pub min: u64,
    /// The highest value.
    pub max: u64,
}

impl Setting {
    pub(crate) fn from_wire(setting: v1::Setting) -> Setting {
        let v1::Setting { name, value, default_value: default, min, max } = setting;
        Setting { name, value: value.unwrap_or(default), is_set: value.is_some(), default, min, max }
    }
}

/// What a node stores; refreshed about once a second. Bytes are those on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct StorageStatus {
    /// The log has the entries above this revision.
    pub log_base: u64,
    /// The last revision in the log that is durable.
    pub log_end: u64,
    /// The size of the log.
    pub log_bytes: u64,
    /// The size of the state: keys, their history and sessions.
    pub state_bytes: u64,
    /// About how much of the state is history.
    pub history_bytes: u64,
    /// The free space on the file system of the data directory, as far as the server's user may use it.
    pub free_bytes: u64,
    /// The space that the node keeps free: with less, writes are refused.
    pub reserve_bytes: u64,
    /// The state is durable through this revision: after a restart the node applies the log from here.
    pub flushed_revision: u64,
    /// The time since the state was last flushed, or since the node was started; in milliseconds.
    pub flush_age_ms: u64,
    /// The snapshot that is being sent or received.
    pub snapshot: Option<SnapshotStatus>,
}

/// A snapshot that is being sent or received. If a node sends to several, the sums.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct SnapshotStatus {
    /// Whether the node sends it. Otherwise it receives it.
    pub sending: bool,
    /// The last revision in it.
    pub revision: u64,
    /// Its size.
    pub total_bytes: u64,
    /// The bytes transferred so far.
    pub transferred_bytes: u64,
    /// The mean of the last five seconds.
    pub bytes_per_second: u64,
    /// The number of nodes that it is sent to; 0 on the node that receives.
    pub receivers: u32,
}

/// Another member, as the answering node sees it.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The member.
    pub member: Member,
    /// Whether it counts in quorums.
    pub votes: bool,
    /// On a leader: whether the member follows it over an open connection. On other nodes: whether it is their leader.
    pub connected: bool,
    /// On a leader: the last revision that the member has acknowledged as durable.
    pub acked_revision: u64,
    /// What is wrong with the member, in one line; empty if all is well.
    pub detail: String,
    /// Whether it is a learner. A voter whose data directory was replaced is none until the ensemble has recorded that.
    pub learner: bool,
}

fn known(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Role {
    pub(crate) fn from_wire(role: v1::Role) -> Self {
        match role {
            v1::Role::Unspecified => Self::Unknown,
            v1::Role::Forming => Self::Forming,
            v1::Role::Looking => Self::Looking,
            v1::Role::Following => Self::Following,
            v1::Role::Leading => Self::Leading,
            v1::Role::Learning => Self::Learning,
        }
    }
}

impl Entry {
    pub(crate) fn from_wire(entry: v1::Entry) -> Self {
        let v1::Entry { key, value, version, create_revision, mod_revision, is_group } = entry;
        Self { key, value, version, create_revision, mod_revision, is_group }
    }

    /// A key that a transaction has set and not committed.
    pub(crate) fn of_transaction(key: Bytes, value: Bytes) -> Self {
        Self { key, value, version: 0, create_revision: 0, mod_revision: 0, is_group: false }
    }
}

impl Member {
    fn from_wire(member: v1::Member) -> Self {
        let v1::Member { node, message_address, request_address } = member;
        Self { node, message_address, request_address: known(request_address) }
    }
}

impl View {
    pub(crate) fn from_wire(view: v1::View) -> Self {
        Self {
            role: Role::from_wire(view.role()),
            leader: known(view.leader),
            members: view.members.into_iter().map(Member::from_wire).collect(),
        }
    }
}

impl NodeStatus {
    pub(crate) fn from_wire(status: v1::NodeStatus) -> Self {
        Self {
            node: status.node,
            role: Role::from_wire(status.role()),
            leader: (status.leader != 0).then_some(status.leader),
            epoch: status.epoch,
            last_revision: status.last_revision,
            last_epoch: status.last_epoch,
            commit_revision: status.commit_revision,
            applied_revision: status.applied_revision,
            state_hash: status.state_hash,
            sessions: status.sessions,
            keys: status.keys,
            votes: status.votes,
            detail: status.detail,
            pending_change: status.pending_change,
            version: status.version,
            ensemble: status
                .ensemble
                .map(|ensemble| EnsembleId { id: ensemble.id, history: ensemble.history }),
            peers: status.peers.into_iter().map(PeerStatus::from_wire).collect(),
            oldest_revision: status.oldest_revision,
            settings: status.settings.into_iter().map(Setting::from_wire).collect(),
            level_min: status.level_min.max(1),
            level_max: status.level_max.max(1),
            level: status.level,
            storage: StorageStatus::from_wire(status.storage.unwrap_or_default()),
        }
    }
}

impl StorageStatus {
    fn from_wire(storage: v1::StorageStatus) -> Self {
        let v1::StorageStatus {
            log_base,
            log_end,
            log_bytes,
            state_bytes,
            free_bytes,
            flushed_revision,
            flush_age_ms,
            snapshot,
            reserve_bytes,
            history_bytes,
        } = storage;
        Self {
            log_base,
            log_end,
            log_bytes,
            state_bytes,
            history_bytes,
            free_bytes,
            reserve_bytes,
            flushed_revision,
            flush_age_ms,
            snapshot: snapshot.map(SnapshotStatus::from_wire),
        }
    }
}

impl SnapshotStatus {
    fn from_wire(snapshot: v1::SnapshotStatus) -> Self {
        let v1::SnapshotStatus {
            sending,
            revision,
            total_bytes,
            transferred_bytes,
            bytes_per_second,
            receivers,
        } = snapshot;
        Self { sending, revision, total_bytes, transferred_bytes, bytes_per_second, receivers }
    }
}

impl PeerStatus {
    fn from_wire(peer: v1::PeerStatus) -> Self {
        Self {
            member: Member::from_wire(peer.member.unwrap_or_default()),
            votes: peer.votes,
            connected: peer.connected,
            acked_revision: peer.acked_revision,
            detail: peer.detail,
            learner: peer.learner,
        }
    }
}
