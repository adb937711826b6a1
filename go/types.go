//go:build cgo

package gometa

import "time"

// Written is the result of a write.
type Written struct {
	// Revision is the revision of the write: the key's new ModRevision.
	Revision uint64
	// Version is the number of writes to the key since it was created, this one included.
	Version uint64
}

// Deleted is the result of a deletion.
type Deleted struct {
	// Existed says whether the key existed.
	Existed bool
	// Revision is the revision of the deletion, 0 if the key did not exist.
	Revision uint64
}

// DeletedRange is the result of the deletion of a range, which is an operation of a transaction.
type DeletedRange struct {
	// Count is the number of deleted keys.
	Count uint64
	// Revision is the revision of the deletion, 0 if there was no key.
	Revision uint64
}

// Entry is a key, its value and its revisions.
type Entry struct {
	// Key is the key.
	Key string
	// Value is a copy that the caller owns. It is never nil.
	Value []byte
	// Version is the number of writes to the key since it was created.
	Version uint64
	// CreateRevision is the revision at which the key was created.
	CreateRevision uint64
	// ModRevision is the revision of the last write to the key, which CAS compares.
	ModRevision uint64
	// IsGroup says whether this is a group: it stands for all keys that begin with Key, which ends with Range.Delimiter. It
	// has no value, version and revisions.
	IsGroup bool
}

// Role is the role of a node.
type Role uint32

const (
	// RoleUnknown is a role that this version of the library does not know.
	RoleUnknown Role = numberRoleUnknown
	// RoleForming: waiting for all configured voters to form the ensemble.
	RoleForming Role = numberRoleForming
	// RoleLooking: looking for a leader.
	RoleLooking Role = numberRoleLooking
	// RoleFollowing: following the leader.
	RoleFollowing Role = numberRoleFollowing
	// RoleLeading: leading.
	RoleLeading Role = numberRoleLeading
	// RoleLearning: following the leader without counting in quorums.
	RoleLearning Role = numberRoleLearning
)

// String returns the name of the role: "leading", "following".
func (r Role) String() string {
	switch r {
	case RoleForming:
		return "forming"
	case RoleLooking:
		return "looking"
	case RoleFollowing:
		return "following"
	case RoleLeading:
		return "leading"
	case RoleLearning:
		return "learning"
	default:
		return "unknown"
	}
}

// Member is a member of the ensemble.
type Member struct {
	// Node is the member's id.
	Node uint64
	// MessageAddress is the peer address, which identifies the member to people.
	MessageAddress string
	// RequestAddress is the client address, empty if it is unknown.
	RequestAddress string
}

// Members are the members of the ensemble and its leader, as known to one node.
type Members struct {
	// Role is the role of the node that answered.
	Role Role
	// Leader is the leader's client address, empty if it is unknown.
	Leader string
	// Members are all members, including the node that answered.
	Members []Member
}

// MembersVersion is the version of the members. Versions ascend: compare the epochs, then the revisions. The zero value is
// the version of the founding members, a version like any other.
type MembersVersion struct {
	// Epoch is the epoch of the leader that made the change.
	Epoch uint64
	// Revision is the revision of the change.
	Revision uint64
}

// MemberRecord is a member, as the ensemble has recorded it.
type MemberRecord struct {
	// Node is the member's id.
	Node uint64
	// Incarnation is the identity of its data directory, 16 bytes; empty for a voter that was absent when the ensemble was
	// formed.
	Incarnation []byte
	// ElectionAddress is the address for votes.
	ElectionAddress string
	// MessageAddress is the peer address, which identifies the member to people.
	MessageAddress string
	// RequestAddress is the client address.
	RequestAddress string
	// Votes says whether it is a voter, which counts in quorums, and not a learner.
	Votes bool
	// Promised says whether it is a learner that the leader makes a voter as soon as it is up to date.
	Promised bool
	// Replaces is the member that is removed when this one is a voter, since it takes that one's place; 0 for none.
	Replaces uint64
}

// Membership are the members of the ensemble with their roles.
type Membership struct {
	// Version is their version, for Follows.
	Version MembersVersion
	// Members are the members, in ascending order of their ids.
	Members []MemberRecord
	// Committed says whether the latest change is known to be committed.
	Committed bool
}

// MembersChanged is the result of a change of the members.
type MembersChanged struct {
	// Membership are the members after it.
	Membership Membership
	// Changed is false if there was nothing to change.
	Changed bool
}

// StopAdvice says whether nodes can be stopped.
type StopAdvice struct {
	// Safe says whether the other voters are a quorum that is connected and has every committed write.
	Safe bool
	// Reason is one line: why not. Empty if it is safe.
	Reason string
}

// NodeStatus is the status of a node.
type NodeStatus struct {
	// Node is the node's id.
	Node uint64
	// Role is the node's role.
	Role Role
	// Leader is the id of the leader known to the node, 0 if none.
	Leader uint64
	// Epoch is the epoch of that leader.
	Epoch uint64
	// LastRevision is the last revision in the node's log.
	LastRevision uint64
	// CommitRevision is the last revision that the node knows to be committed.
	CommitRevision uint64
	// AppliedRevision is the last revision that the node has applied.
	AppliedRevision uint64
	// Sessions is the number of client sessions.
	Sessions uint64
	// Keys is the number of keys.
	Keys uint64
	// Votes says whether the node counts in quorums.
	Votes bool
	// Detail is one line: what the node waits for, or why it does not count in quorums. Empty if it is healthy.
	Detail string
	// PendingChange is one line: the change of the members that is not made yet, and what it waits for. Empty if there is
	// none.
	PendingChange string
	// Version is the version of the server.
	Version string
	// StateHash is the hash of all data at AppliedRevision, 16 bytes: equal on all nodes at the same revision.
	StateHash []byte
	// Peers are the other members, as known to the node.
	Peers []PeerStatus
	// Storage is what the node stores.
	Storage StorageStatus
}

// StorageStatus is what a node stores, refreshed about once a second. Bytes are those on disk.
type StorageStatus struct {
	// LogBase is the revision above which the log has entries.
	LogBase uint64
	// LogEnd is the last revision in the log that is durable.
	LogEnd uint64
	// LogBytes is the size of the log.
	LogBytes uint64
	// StateBytes is the size of the state: keys and sessions.
	StateBytes uint64
	// FreeBytes is the free space on the file system of the data directory.
	FreeBytes uint64
	// FlushedRevision is the revision through which the state is durable: after a restart the node applies the log from here.
	FlushedRevision uint64
	// FlushAge is the time since the state was last flushed, or since the node was started.
	FlushAge time.Duration
	// Snapshot is the snapshot that is being sent or received, nil if there is none.
	Snapshot *SnapshotStatus
}

// SnapshotStatus is a snapshot that is being sent or received. If a node sends to several, the numbers are sums.
type SnapshotStatus struct {
	// TotalBytes is its size.
	TotalBytes uint64
	// TransferredBytes is the number of bytes transferred so far.
	TransferredBytes uint64
}

// PeerStatus is the status of another member, as known to a node.
type PeerStatus struct {
	// Member is the member.
	Member
	// Votes says whether the member counts in quorums.
	Votes bool
	// Connected says, if the node leads, whether the member follows it; otherwise, whether the member is its leader.
	Connected bool
	// AckedRevision is, if the node leads, the last revision that the member has acknowledged as durable; otherwise 0.
	AckedRevision uint64
	// Detail is one line, empty if the member is healthy.
	Detail string
}

// Counters are the counters of a client.
type Counters struct {
	// Requests is the number of calls made.
	Requests uint64
	// Retries is the number of attempts beyond a call's first.
	Retries uint64
	// Reconnects is the number of connections that replaced a lost one. Neither the first connection nor a move to the leader
	// counts.
	Reconnects uint64
	// InFlight is the number of calls in flight.
	InFlight uint64
	// SeenRevision is the highest revision in any answer so far; local reads are never older. It is 0 again once the history
	// of the ensemble has changed.
	SeenRevision uint64
}
