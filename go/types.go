//go:build cgo

package gometa

// Written is what a write came to.
type Written struct {
	// Revision is the one that the write made: the key's new ModRevision.
	Revision uint64
	// Version is 1, 2, … since the key was created.
	Version uint64
}

// Deleted is what a deletion came to.
type Deleted struct {
	// Existed says whether the key was there.
	Existed bool
	// Revision is that of the deletion, 0 where there was nothing to delete.
	Revision uint64
}

// Entry is a key as it was read.
type Entry struct {
	// Key is its name.
	Key string
	// Value is the caller's own copy; it is never nil.
	Value []byte
	// Version is 1, 2, … since the key was created.
	Version uint64
	// CreateRevision is the revision that created the key.
	CreateRevision uint64
	// ModRevision is the revision that changed the key last: what CAS compares.
	ModRevision uint64
}

// Role is what a node does in its ensemble.
type Role uint32

const (
	// RoleUnknown is a role that this library does not know.
	RoleUnknown Role = numberRoleUnknown
	// RoleForming waits for every configured voter to form the ensemble.
	RoleForming Role = numberRoleForming
	// RoleLooking looks for a leader.
	RoleLooking Role = numberRoleLooking
	// RoleFollowing follows the leader.
	RoleFollowing Role = numberRoleFollowing
	// RoleLeading leads.
	RoleLeading Role = numberRoleLeading
	// RoleLearning follows the leader, but is counted in no quorum.
	RoleLearning Role = numberRoleLearning
)

// String is "leading", "following" and so on.
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

// Member is a node of the ensemble.
type Member struct {
	// Node is its id; people are shown MessageAddress instead.
	Node uint64
	// MessageAddress is its address for nodes.
	MessageAddress string
	// RequestAddress is its address for clients, empty where it is not known.
	RequestAddress string
}

// Members is the ensemble as the node in use knows it.
type Members struct {
	// Role is what the node in use does.
	Role Role
	// Leader is the leader's address for clients, empty where it is not known.
	Leader string
	// Members are all nodes, the answering one included.
	Members []Member
}

// NodeStatus says how a node is.
type NodeStatus struct {
	// Node is its id; people are shown its address for nodes instead.
	Node uint64
	// Role is what it does.
	Role Role
	// Leader is the id of the leader that it knows, 0 if it knows none.
	Leader uint64
	// Epoch is that of its leader.
	Epoch uint64
	// LastRevision is the last one in its log.
	LastRevision uint64
	// CommitRevision is the last one that it knows to be committed.
	CommitRevision uint64
	// AppliedRevision is the last one that it has applied.
	AppliedRevision uint64
	// Sessions counts clients' sessions.
	Sessions uint64
	// Keys counts keys.
	Keys uint64
	// Votes says whether it is counted in quorums.
	Votes bool
	// Detail says in one line what it waits for, or why it is counted in no quorum; it is empty if all is well.
	Detail string
	// Version is that of its program.
	Version string
	// StateHash is the hash of everything that it holds at AppliedRevision, 16 bytes: equal on all nodes at one revision.
	StateHash []byte
	// Peers are the other members, as this node sees them.
	Peers []PeerStatus
}

// PeerStatus says how another member is, as a node sees it.
type PeerStatus struct {
	// Member is the node that is seen.
	Member
	// Votes says whether it is counted in quorums.
	Votes bool
	// Connected says, in a leader's status, whether the member follows it now; in another's, whether the member is the
	// leader that it follows.
	Connected bool
	// AckedRevision is, in a leader's status, the last revision that the member has acknowledged as durable.
	AckedRevision uint64
	// Detail is one line, empty if all is well.
	Detail string
}

// Counters say what a client has done so far.
type Counters struct {
	// Requests counts calls made.
	Requests uint64
	// Retries counts attempts beyond a call's first.
	Retries uint64
	// Reconnects counts connections made after one was lost or left; neither the first one nor a move to the leader.
	Reconnects uint64
	// InFlight counts calls that have not ended yet.
	InFlight uint64
	// SeenRevision is the highest revision that an answer has shown; local reads are never older.
	SeenRevision uint64
}
