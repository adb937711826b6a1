//go:build cgo

package gometa

// The results of requests; see native.go.

/*
#include "native.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

func (r *request) written() Written {
	return *writtenOf(&r.raw.written)
}

func writtenOf(written *C.gometa_written_t) *Written {
	return &Written{Revision: uint64(written.revision), Version: uint64(written.version)}
}

func (r *request) deleted() Deleted {
	return *deletedOf(&r.raw.deleted)
}

func deletedOf(deleted *C.gometa_deleted_t) *Deleted {
	return &Deleted{Existed: bool(deleted.existed), Revision: uint64(deleted.revision)}
}

// entry returns the entry without its key, which the caller has.
func (r *request) entry() Entry {
	return entryOf(&r.raw.fields)
}

func entryOf(fields *C.entry_t) Entry {
	return Entry{
		Value:          C.GoBytes(unsafe.Pointer(fields.value), C.int(fields.value_len)),
		Version:        uint64(fields.version),
		CreateRevision: uint64(fields.create_revision),
		ModRevision:    uint64(fields.mod_revision),
		IsGroup:        bool(fields.is_group),
	}
}

func entryWithKey(fields *C.entry_t) Entry {
	entry := entryOf(fields)
	entry.Key = C.GoStringN((*C.char)(unsafe.Pointer(fields.key)), C.int(fields.key_len))
	return entry
}

// page returns the page, nil after the last page of a scan.
func (r *request) page() *Page {
	if r.raw.page == nil {
		return nil
	}
	return pageOf(r.raw.page)
}

func pageOf(page *C.gometa_page_t) *Page {
	var length C.size_t
	next := C.gometa_page_next(page, &length)
	read := &Page{
		Entries:  make([]Entry, int(C.gometa_page_count(page))),
		Next:     C.GoStringN((*C.char)(unsafe.Pointer(next)), C.int(length)),
		Revision: uint64(C.gometa_page_revision(page)),
	}
	if len(read.Entries) > 0 {
		fields := make([]C.entry_t, len(read.Entries))
		C.read_entries(page, &fields[0])
		for i := range fields {
			read.Entries[i] = entryWithKey(&fields[i])
		}
	}
	return read
}

func (r *request) history() KeyHistory {
	history := r.raw.history
	read := KeyHistory{
		Versions:       make([]KeyVersion, int(C.gometa_history_count(history))),
		NextBefore:     uint64(C.gometa_history_next_before(history)),
		Revision:       uint64(C.gometa_history_revision(history)),
		OldestRevision: uint64(C.gometa_history_oldest_revision(history)),
	}
	if len(read.Versions) > 0 {
		versions := make([]C.key_version_t, len(read.Versions))
		C.read_versions(history, &versions[0])
		for i := range versions {
			read.Versions[i] = KeyVersion{
				Revision:       uint64(versions[i].revision),
				Deleted:        bool(versions[i].deleted),
				Version:        uint64(versions[i].version),
				CreateRevision: uint64(versions[i].create_revision),
				Value:          C.GoBytes(unsafe.Pointer(versions[i].value), C.int(versions[i].value_len)),
				ValueSize:      uint64(versions[i].value_size),
			}
		}
	}
	return read
}

func (r *request) count() uint64 {
	return uint64(r.raw.count)
}

func (r *request) txnResult() TxnResult {
	result := r.raw.result
	read := TxnResult{
		Succeeded: bool(C.gometa_txn_result_succeeded(result)),
		Revision:  uint64(C.gometa_txn_result_revision(result)),
		Results:   make([]OpResult, int(C.gometa_txn_result_count(result))),
	}
	for i := range read.Results {
		read.Results[i] = opResult(result, C.size_t(i))
	}
	return read
}

func opResult(result *C.gometa_txn_result_t, index C.size_t) (read OpResult) {
	switch C.gometa_txn_result_kind(result, index) {
	case C.GOMETA_RESULT_WRITTEN:
		var written C.gometa_written_t
		C.gometa_txn_result_written(result, index, &written)
		read.Written = writtenOf(&written)
	case C.GOMETA_RESULT_DELETED:
		var deleted C.gometa_deleted_t
		C.gometa_txn_result_deleted(result, index, &deleted)
		read.Deleted = deletedOf(&deleted)
	case C.GOMETA_RESULT_ENTRY:
		var fields C.entry_t
		C.read_entry(C.gometa_txn_result_entry(result, index), &fields)
		entry := entryWithKey(&fields)
		read.Entry = &entry
	case C.GOMETA_RESULT_PAGE:
		read.Page = pageOf(C.gometa_txn_result_page(result, index))
	case C.GOMETA_RESULT_DELETED_RANGE:
		var deleted C.gometa_deleted_range_t
		C.gometa_txn_result_deleted_range(result, index, &deleted)
		read.DeletedRange = &DeletedRange{Count: uint64(deleted.count), Revision: uint64(deleted.revision)}
	case C.GOMETA_RESULT_ERROR:
		var failure C.failure_t
		C.read_failure(C.gometa_txn_result_error(result, index), &failure)
		read.Err = errorOf(&failure)
	}
	return read
}

// value returns the value, nil if the key does not exist.
func (r *request) value() []byte {
	var length C.size_t
	value := C.gometa_value_bytes(r.raw.value, &length)
	if value == nil {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(value), C.int(length))
}

func (r *request) committed() bool {
	return bool(r.raw.committed)
}

func (r *request) settings() []Setting {
	settings := r.raw.settings
	read := make([]Setting, int(C.gometa_settings_count(settings)))
	for i := range read {
		setting := C.size_t(i)
		read[i] = Setting{
			Name:    C.GoString(C.gometa_settings_name(settings, setting)),
			Value:   uint64(C.gometa_settings_value(settings, setting)),
			IsSet:   bool(C.gometa_settings_is_set(settings, setting)),
			Default: uint64(C.gometa_settings_default(settings, setting)),
			Min:     uint64(C.gometa_settings_min(settings, setting)),
			Max:     uint64(C.gometa_settings_max(settings, setting)),
		}
	}
	return read
}

func (r *request) revision() uint64 {
	return uint64(r.raw.revision)
}

func (r *request) nodeStatus() NodeStatus {
	status := r.raw.status
	var length C.size_t
	hash := C.gometa_node_status_state_hash(status, &length)
	read := NodeStatus{
		Node:            uint64(C.gometa_node_status_node_id(status)),
		Role:            Role(C.gometa_node_status_role(status)),
		Leader:          uint64(C.gometa_node_status_leader_id(status)),
		Epoch:           uint64(C.gometa_node_status_epoch(status)),
		LastRevision:    uint64(C.gometa_node_status_last_revision(status)),
		CommitRevision:  uint64(C.gometa_node_status_commit_revision(status)),
		AppliedRevision: uint64(C.gometa_node_status_applied_revision(status)),
		Sessions:        uint64(C.gometa_node_status_sessions(status)),
		Keys:            uint64(C.gometa_node_status_keys(status)),
		Votes:           bool(C.gometa_node_status_is_voter(status)),
		Detail:          C.GoString(C.gometa_node_status_detail(status)),
		PendingChange:   C.GoString(C.gometa_node_status_pending_change(status)),
		Version:         C.GoString(C.gometa_node_status_version(status)),
		StateHash:       C.GoBytes(unsafe.Pointer(hash), C.int(length)),
		Peers:           make([]PeerStatus, int(C.gometa_node_status_peer_count(status))),
	}
	storage := func(figure C.uint32_t) uint64 {
		return uint64(C.gometa_node_status_storage(status, figure))
	}
	read.Storage = StorageStatus{
		LogBase:         storage(C.GOMETA_STORAGE_LOG_BASE),
		LogEnd:          read.LastRevision,
		LogBytes:        storage(C.GOMETA_STORAGE_LOG_BYTES),
		StateBytes:      storage(C.GOMETA_STORAGE_STATE_BYTES),
		FreeBytes:       storage(C.GOMETA_STORAGE_FREE_BYTES),
		FlushedRevision: storage(C.GOMETA_STORAGE_FLUSHED_REVISION),
		FlushAge:        time.Duration(storage(C.GOMETA_STORAGE_FLUSH_AGE_MS)) * time.Millisecond,
	}
	if total := storage(C.GOMETA_STORAGE_SNAPSHOT_BYTES); total > 0 {
		read.Storage.Snapshot = &SnapshotStatus{
			TotalBytes:       total,
			TransferredBytes: storage(C.GOMETA_STORAGE_SNAPSHOT_DONE_BYTES),
		}
	}
	for i := range read.Peers {
		peer := C.size_t(i)
		read.Peers[i] = PeerStatus{
			Member: Member{
				Node:           uint64(C.gometa_node_status_peer_id(status, peer)),
				MessageAddress: C.GoString(C.gometa_node_status_peer_message_address(status, peer)),
				RequestAddress: C.GoString(C.gometa_node_status_peer_request_address(status, peer)),
			},
			Votes:         bool(C.gometa_node_status_peer_is_voter(status, peer)),
			Connected:     bool(C.gometa_node_status_peer_connected(status, peer)),
			AckedRevision: uint64(C.gometa_node_status_peer_acked_revision(status, peer)),
			Detail:        C.GoString(C.gometa_node_status_peer_detail(status, peer)),
		}
	}
	return read
}

func (r *request) members() Members {
	members := r.raw.members
	read := Members{
		Role:    Role(C.gometa_members_role(members)),
		Leader:  C.GoString(C.gometa_members_leader_address(members)),
		Members: make([]Member, int(C.gometa_members_count(members))),
	}
	for i := range read.Members {
		member := C.size_t(i)
		read.Members[i] = Member{
			Node:           uint64(C.gometa_members_node_id(members, member)),
			MessageAddress: C.GoString(C.gometa_members_message_address(members, member)),
			RequestAddress: C.GoString(C.gometa_members_request_address(members, member)),
		}
	}
	return read
}

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
