//go:build cgo

package gometa_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"gometa"
)

func TestEveryCall(t *testing.T) {
	client, ctx, key := open(t), within(t), fresh(t, "k")

	added, err := client.Add(ctx, key, []byte("1"))
	if err != nil || added.Version != 1 || added.Revision == 0 {
		t.Fatal(added, err)
	}
	_, err = client.Add(ctx, key, []byte("2"))
	if failed := fails(t, err, gometa.ErrAlreadyExists); *failed.ActualRevision != added.Revision {
		t.Fatal(*failed.ActualRevision, added)
	}
	set, err := client.Set(ctx, key, []byte("2"))
	if err != nil || set.Version != 2 || set.Revision <= added.Revision {
		t.Fatal(set, err)
	}
	swapped, err := client.CAS(ctx, key, set.Revision, []byte("3"))
	if err != nil || swapped.Version != 3 {
		t.Fatal(swapped, err)
	}
	_, err = client.CAS(ctx, key, set.Revision, []byte("4"))
	failed := fails(t, err, gometa.ErrCASMismatch)
	if *failed.ActualRevision != swapped.Revision || failed.Outcome != gometa.OutcomeNotApplied || failed.Retryable {
		t.Fatalf("%#v", failed)
	}

	entry, err := client.Get(ctx, key)
	if err != nil || entry.Key != key || string(entry.Value) != "3" || entry.Version != 3 ||
		entry.CreateRevision != added.Revision || entry.ModRevision != swapped.Revision {
		t.Fatal(entry, err)
	}
	local, err := client.Get(ctx, key, gometa.Local(), gometa.MinRevision(swapped.Revision))
	if err != nil || local.ModRevision != swapped.Revision {
		t.Fatal(local, err)
	}
	if local, err = client.Get(ctx, key, gometa.Local()); err != nil || local.ModRevision != swapped.Revision {
		t.Fatal("a local read went back", local, err)
	}

	_, err = client.DeleteIf(ctx, key, set.Revision)
	if failed := fails(t, err, gometa.ErrCASMismatch); *failed.ActualRevision != swapped.Revision {
		t.Fatal(*failed.ActualRevision)
	}
	deleted, err := client.DeleteIf(ctx, key, swapped.Revision)
	if err != nil || !deleted.Existed || deleted.Revision <= swapped.Revision {
		t.Fatal(deleted, err)
	}
	if deleted, err = client.Delete(ctx, key); err != nil || deleted.Existed || deleted.Revision != 0 {
		t.Fatal(deleted, err)
	}
	_, err = client.Get(ctx, key)
	if failed := fails(t, err, gometa.ErrNotFound); failed.ActualRevision != nil || failed.Operation != "get" {
		t.Fatalf("%#v", failed)
	}
	// Revision 0 means that the key must not exist.
	if created, err := client.CAS(ctx, key, 0, nil); err != nil || created.Version != 1 {
		t.Fatal(created, err)
	}
	if deleted, err = client.Delete(ctx, key); err != nil || !deleted.Existed {
		t.Fatal(deleted, err)
	}
}

func TestStatusMembersAndCounters(t *testing.T) {
	client, ctx := open(t, gometa.WithName("status test")), within(t)
	written, err := client.Set(ctx, fresh(t, "k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	members, err := client.Members(ctx)
	if err != nil || len(members.Members) != 3 || members.Leader == "" {
		t.Fatal(members, err)
	}
	leaders := 0
	for _, member := range members.Members {
		if member.Node == 0 || member.MessageAddress == "" || member.RequestAddress == "" {
			t.Fatalf("%+v", member)
		}
		status, err := client.StatusOf(ctx, member.RequestAddress)
		if err != nil || status.Node != member.Node || len(status.Peers) != 2 || !status.Votes {
			t.Fatalf("%+v %v", status, err)
		}
		if status.Role == gometa.RoleLeading {
			leaders++
			if member.RequestAddress != members.Leader {
				t.Fatal(member, members.Leader)
			}
		} else if status.Role != gometa.RoleFollowing {
			t.Fatal(status.Role)
		}
		for _, peer := range status.Peers {
			if peer.Node == member.Node || peer.MessageAddress == "" {
				t.Fatalf("%+v", peer)
			}
		}
	}
	if leaders != 1 {
		t.Fatal(leaders, "leaders")
	}

	status, err := client.Status(ctx)
	if err != nil || status.AppliedRevision < written.Revision || status.CommitRevision < written.Revision ||
		status.LastRevision < written.Revision || status.Keys == 0 || status.Sessions == 0 || status.Epoch == 0 ||
		status.Leader == 0 || status.Detail != "" || status.Version != gometa.Version() || len(status.StateHash) != 16 {
		t.Fatalf("%+v %v", status, err)
	}
	storage := status.Storage
	if storage.LogBase > storage.FlushedRevision || storage.FlushedRevision > storage.LogEnd || storage.LogEnd == 0 ||
		storage.LogBytes == 0 || storage.StateBytes == 0 || storage.FreeBytes == 0 || storage.Snapshot != nil {
		t.Fatalf("%+v", storage)
	}
	// A leader knows what the others have acknowledged.
	if status.Role == gometa.RoleLeading {
		connected := 0
		for _, peer := range status.Peers {
			if peer.Connected && peer.Votes && peer.AckedRevision > 0 {
				connected++
			}
		}
		if connected == 0 {
			t.Fatalf("%+v", status.Peers)
		}
	}

	counters := client.Counters()
	if counters.Requests != 6 || counters.InFlight != 0 || counters.SeenRevision < written.Revision {
		t.Fatalf("%+v", counters)
	}
	client.Close()
	if history := client.HistoryID(); history == 0 {
		t.Fatal("the history is not known after Close")
	}
	if unused := openAt(t, peers()); unused.HistoryID() != 0 {
		t.Fatalf("history %d before the first connection", unused.HistoryID())
	}
	if last := client.Counters(); last.Requests != counters.Requests {
		t.Fatalf("%+v after Close, %+v before", last, counters)
	}
}

// stranger is the id of no member.
const stranger = ^uint64(0)

func TestMembersWithTheirRoles(t *testing.T) {
	client, ctx := open(t), within(t)
	membership, err := client.Membership(ctx)
	if err != nil || !membership.Committed || membership.Version != (gometa.MembersVersion{}) || len(membership.Members) != 3 {
		t.Fatalf("%+v %v", membership, err)
	}
	last := uint64(0)
	for _, member := range membership.Members {
		if member.Node <= last || len(member.Incarnation) != 16 || !member.Votes || member.Promised || member.Replaces != 0 ||
			member.ElectionAddress == "" || member.MessageAddress == "" || member.RequestAddress == "" {
			t.Fatalf("%+v", member)
		}
		last = member.Node
	}

	// What holds already is a success.
	for name, change := range map[string]func() (gometa.MembersChanged, error){
		"removed":  func() (gometa.MembersChanged, error) { return client.RemoveMember(ctx, stranger) },
		"promoted": func() (gometa.MembersChanged, error) { return client.PromoteMember(ctx, last) },
		"stale": func() (gometa.MembersChanged, error) {
			return client.RemoveMember(ctx, stranger, gometa.Follows(gometa.MembersVersion{Epoch: 7, Revision: 8}))
		},
	} {
		changed, err := change()
		if err != nil || changed.Changed || !reflect.DeepEqual(changed.Membership, membership) {
			t.Fatalf("%s: %+v %v", name, changed, err)
		}
	}

	// The slowest voter may lack the latest write of another test.
	until(t, "a node can be stopped", func() bool {
		advice, err := client.SafeToStop(ctx, last)
		if err != nil || advice.Safe != (advice.Reason == "") {
			t.Fatalf("%+v %v", advice, err)
		}
		return advice.Safe
	})
	if advice, err := client.SafeToStop(ctx, last, membership.Members[0].Node); err != nil || advice.Safe || advice.Reason == "" {
		t.Fatalf("%+v %v", advice, err)
	}
}

func TestChangesOfMembersThatAreRefused(t *testing.T) {
	client, ctx := open(t), within(t)
	membership, err := client.Membership(ctx)
	if err != nil {
		t.Fatal(err)
	}
	voter := membership.Members[0].Node
	stale := gometa.Follows(gometa.MembersVersion{Epoch: 1 << 40, Revision: 1})
	for name, test := range map[string]struct {
		call func() error
		kind gometa.Kind
	}{
		"promotion of a stranger": {func() error { _, err := client.PromoteMember(ctx, stranger); return err }, gometa.ErrNotFound},
		"transfer to a stranger":  {func() error { _, err := client.TransferLeadership(ctx, stranger); return err }, gometa.ErrNotFound},
		"a stranger to stop":      {func() error { _, err := client.SafeToStop(ctx, voter, stranger); return err }, gometa.ErrNotFound},
		"stale removal": {
			func() error { _, err := client.RemoveMember(ctx, voter, stale); return err }, gometa.ErrFailedPrecondition,
		},
		"no promotion to cancel": {
			func() error { _, err := client.CancelPromotion(ctx, voter); return err }, gometa.ErrFailedPrecondition,
		},
		"a voter replaced by itself": {
			func() error { _, err := client.ReplaceMember(ctx, voter, voter); return err }, gometa.ErrInvalidArgument,
		},
		"a voter replaced by a stranger": {
			func() error { _, err := client.ReplaceMember(ctx, voter, stranger); return err }, gometa.ErrNotFound,
		},
		"a voter replaced by a voter": {
			func() error { _, err := client.ReplaceMember(ctx, voter, membership.Members[1].Node); return err },
			gometa.ErrFailedPrecondition,
		},
		"node 0":        {func() error { _, err := client.RemoveMember(ctx, 0); return err }, gometa.ErrInvalidArgument},
		"nil option":    {func() error { _, err := client.RemoveMember(ctx, 1, nil); return err }, gometa.ErrInvalidArgument},
		"no node":       {func() error { _, err := client.SafeToStop(ctx); return err }, gometa.ErrInvalidArgument},
		"node 0 to ask": {func() error { _, err := client.SafeToStop(ctx, voter, 0); return err }, gometa.ErrInvalidArgument},
	} {
		err := test.call()
		fails(t, err, test.kind)
		var failed *gometa.Error
		if !errors.As(err, &failed) || failed.Outcome != gometa.OutcomeNotApplied || failed.Retryable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLeadershipIsHandedOver(t *testing.T) {
	client, ctx := open(t), within(t)
	membership, err := client.Membership(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range membership.Members[:2] {
		// Voters have to follow a new leader before it can hand over to them.
		until(t, "the leadership is handed over", func() bool {
			leader, err := client.TransferLeadership(ctx, member.Node)
			if err != nil && !errors.Is(err, gometa.ErrFailedPrecondition) {
				t.Fatal(leader, err)
			}
			return err == nil && leader == member.Node
		})
	}
	for _, member := range membership.Members {
		until(t, "all follow the new leader, for the other tests", func() bool {
			advice, err := client.SafeToStop(ctx, member.Node)
			return err == nil && advice.Safe
		})
	}
	if _, err := client.Set(ctx, fresh(t, "k"), nil); err != nil {
		t.Fatal(err)
	}
}

func TestBytesOfAllKinds(t *testing.T) {
	client, ctx := open(t), within(t)
	// A value inside an object with Go pointers, which cgo must not check.
	type record struct {
		next  *record
		value [64]byte
	}
	lying := &record{next: &record{}}
	copy(lying.value[:], "in a record")
	for name, value := range map[string][]byte{
		"empty": {}, "zeros": {0, 0, 0}, "not UTF-8\xff": {0xff, 0xfe}, "zero \x00 in the key": []byte("v"),
		"1 MiB": bytes.Repeat([]byte{7}, 1<<20), "in a record": lying.value[3:9],
	} {
		key := fresh(t, name)
		if _, err := client.Set(ctx, key, value); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		entry, err := client.Get(ctx, key)
		if err != nil || !bytes.Equal(entry.Value, value) || entry.Value == nil || entry.Key != key {
			t.Fatalf("%q: %v", name, err)
		}
	}
	// A nil value is an empty value. Keys may have up to 4 KiB.
	long := fresh(t, string(bytes.Repeat([]byte("k"), 4096)))[:4096]
	if _, err := client.Set(ctx, long, nil); err != nil {
		t.Fatal(err)
	}
	if entry, err := client.Get(ctx, long); err != nil || entry.Value == nil || len(entry.Value) != 0 {
		t.Fatal(entry.Value, err)
	}
	// What Get returns belongs to the caller.
	key := fresh(t, "own")
	if _, err := client.Set(ctx, key, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	first, _ := client.Get(ctx, key)
	first.Value[0] = 'x'
	if second, err := client.Get(ctx, key); err != nil || string(second.Value) != "abc" {
		t.Fatal(string(second.Value), err)
	}
}

func TestADeadlineLaterThanTheClientsTimeoutApplies(t *testing.T) {
	// If no node can be reached, a call takes its whole timeout.
	client := openAt(t, []string{dead()}, gometa.WithTimeout(50*time.Millisecond))
	begun := time.Now()
	_, err := client.Get(context.Background(), "k")
	fails(t, err, gometa.ErrUnavailable)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the context had no deadline:", err)
	}
	if took := time.Since(begun); took < 50*time.Millisecond || took > time.Second {
		t.Fatal("the client's timeout:", took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begun = time.Now()
	_, err = client.Get(ctx, "k")
	fails(t, err, gometa.ErrUnavailable)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the context's deadline ended it:", err)
	}
	if took := time.Since(begun); took < 150*time.Millisecond || took > time.Second {
		t.Fatal("the context's deadline:", took)
	}
}

func TestTheVersionIsThatOfTheHeader(t *testing.T) {
	if header := gometa.HeaderVersion; gometa.Version() != header {
		t.Fatalf("the library is %s, the header %s", gometa.Version(), header)
	}
}
