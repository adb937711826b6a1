//go:build cgo

package gometa

// #include <gometa.h>
import "C"

import "unsafe"

func (r *request) membersChanged() MembersChanged {
	membership := r.raw.membership
	version := C.gometa_membership_version(membership)
	read := Membership{
		Version:   MembersVersion{Epoch: uint64(version.epoch), Revision: uint64(version.revision)},
		Members:   make([]MemberRecord, int(C.gometa_membership_count(membership))),
		Committed: bool(C.gometa_membership_is_committed(membership)),
	}
	for i := range read.Members {
		member := C.size_t(i)
		var length C.size_t
		incarnation := C.gometa_membership_incarnation(membership, member, &length)
		read.Members[i] = MemberRecord{
			Node:            uint64(C.gometa_membership_node_id(membership, member)),
			Incarnation:     C.GoBytes(unsafe.Pointer(incarnation), C.int(length)),
			ElectionAddress: C.GoString(C.gometa_membership_election_address(membership, member)),
			MessageAddress:  C.GoString(C.gometa_membership_message_address(membership, member)),
			RequestAddress:  C.GoString(C.gometa_membership_request_address(membership, member)),
			Votes:           bool(C.gometa_membership_is_voter(membership, member)),
			Promised:        bool(C.gometa_membership_is_promised(membership, member)),
			Replaces:        uint64(C.gometa_membership_replaces(membership, member)),
		}
	}
	return MembersChanged{Membership: read, Changed: bool(C.gometa_membership_has_changed(membership))}
}

func (r *request) leader() uint64 {
	return uint64(r.raw.leader)
}

func (r *request) stopAdvice() StopAdvice {
	advice := r.raw.advice
	return StopAdvice{
		Safe:   bool(C.gometa_stop_advice_is_safe(advice)),
		Reason: C.GoString(C.gometa_stop_advice_reason(advice)),
	}
}
