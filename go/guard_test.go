//go:build cgo

package gometa_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gometa"
)

// take creates a key anew, and returns the revision of that.
func take(t testing.TB, client *gometa.Client, key string) uint64 {
	t.Helper()
	ctx := within(t)
	if _, err := client.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	written, err := client.Add(ctx, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return written.Revision
}

// refused checks that a guard has failed whose key was created at that revision.
func refused(t testing.TB, err error, actual uint64) {
	t.Helper()
	failed := fails(t, err, gometa.ErrGuardFailed)
	if failed.ActualRevision == nil || *failed.ActualRevision != actual {
		t.Fatalf("%v has the revision %v, expected %d", err, failed.ActualRevision, actual)
	}
	if failed.Outcome != gometa.OutcomeNotApplied || failed.Retryable {
		t.Fatalf("%#v", failed)
	}
}

// write is a write below a prefix that a test makes by its name.
type write struct {
	name string
	make func(ctx context.Context, client *gometa.Client, prefix string) error
}

// writes are all writes. They succeed in this order, if "there" and "there too" exist; each fails if its guard does.
var writes = []write{
	{"Add", func(ctx context.Context, client *gometa.Client, prefix string) error {
		_, err := client.Add(ctx, prefix+"added", nil)
		return err
	}},
	{"Set", func(ctx context.Context, client *gometa.Client, prefix string) error {
		_, err := client.Set(ctx, prefix+"set", []byte("written"))
		return err
	}},
	{"CAS", func(ctx context.Context, client *gometa.Client, prefix string) error {
		_, err := client.CAS(ctx, prefix+"compared", 0, []byte("written"))
		return err
	}},
	{"Commit", func(ctx context.Context, client *gometa.Client, prefix string) error {
		txn := gometa.NewTxn().Then(gometa.OpSet(prefix+"a", []byte("written")), gometa.OpSet(prefix+"b", []byte("written")))
		_, err := client.Commit(ctx, txn)
		return err
	}},
	{"Transaction", func(ctx context.Context, client *gometa.Client, prefix string) error {
		return client.Transaction(ctx, func(tx *gometa.Transaction) error {
			if value, err := tx.Get(prefix + "there"); err != nil || value == nil {
				return fmt.Errorf("read %q: %w", value, err)
			}
			tx.Set(prefix+"transacted", []byte("written"))
			return nil
		})
	}},
	{"DeleteIf", func(ctx context.Context, client *gometa.Client, prefix string) error {
		entry, err := client.Get(ctx, prefix+"there too")
		if err != nil {
			return err
		}
		_, err = client.DeleteIf(ctx, prefix+"there too", entry.ModRevision)
		return err
	}},
	{"SetSetting", func(ctx context.Context, client *gometa.Client, _ string) error {
		_, err := client.SetSetting(ctx, "HistoryAgeMinutes", 61)
		return err
	}},
	{"ResetSetting", func(ctx context.Context, client *gometa.Client, _ string) error {
		_, err := client.ResetSetting(ctx, "HistoryAgeMinutes")
		return err
	}},
	{"Delete", func(ctx context.Context, client *gometa.Client, prefix string) error {
		_, err := client.Delete(ctx, prefix+"there")
		return err
	}},
}

// values returns the keys below a prefix with their values.
func values(t testing.TB, client *gometa.Client, prefix string) string {
	t.Helper()
	var words []string
	scan := client.Scan(within(t), gometa.Range{Prefix: prefix})
	for scan.Next() {
		entry := scan.Entry()
		words = append(words, strings.TrimPrefix(entry.Key, prefix)+"="+string(entry.Value))
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(words, " ")
}

func TestEveryWriteHonoursTheGuardOfItsClient(t *testing.T) {
	client, ctx := open(t), within(t)
	lock, prefix := fresh(t, "lock"), fresh(t, "")
	for _, name := range []string{"there", "there too"} {
		if _, err := client.Set(ctx, prefix+name, []byte("before")); err != nil {
			t.Fatal(err)
		}
	}
	before := "there=before there too=before"
	held := take(t, client, lock)
	owner := client.WithGuard(lock, held)

	// The lock is lost: first to no one, then to another owner.
	for _, other := range []bool{false, true} {
		actual := uint64(0)
		if _, err := client.Delete(ctx, lock); err != nil {
			t.Fatal(err)
		}
		if other {
			actual = take(t, client, lock)
		}
		for _, write := range writes {
			t.Run(write.name, func(t *testing.T) { refused(t, write.make(ctx, owner, prefix), actual) })
			// A context with a deadline of its own, and one without.
			refused(t, write.make(context.Background(), owner, prefix), actual)
		}
		// It does not know whether it has deleted a key.
		_, err := owner.DeletePrefix(ctx, prefix)
		if failed := fails(t, err, gometa.ErrGuardFailed); *failed.ActualRevision != actual {
			t.Fatalf("%#v", failed)
		}
		// Reads have no guard.
		if found := values(t, owner, prefix); found != before {
			t.Fatal(found)
		}
		if txn, err := owner.Commit(ctx, gometa.NewTxn().Then(gometa.OpGet(prefix+"there"))); err != nil || !txn.Succeeded {
			t.Fatal(txn, err)
		}
	}

	held = take(t, client, lock)
	// A write to the lock's key does not end the guard.
	if _, err := client.Set(ctx, lock, []byte("still mine")); err != nil {
		t.Fatal(err)
	}
	owner = client.WithGuard(lock, held)
	for _, write := range writes {
		if err := write.make(ctx, owner, prefix); err != nil {
			t.Fatalf("%s: %v", write.name, err)
		}
	}
	if found := values(t, client, prefix); found != "a=written added= b=written compared=written set=written transacted=written" {
		t.Fatal(found)
	}
	if count, err := owner.DeletePrefix(ctx, prefix); err != nil || count != 6 {
		t.Fatal(count, err)
	}
}

func TestAGuardBelongsToOneClientOnly(t *testing.T) {
	client, ctx := open(t), within(t)
	lock, key := fresh(t, "lock"), fresh(t, "k")
	held := take(t, client, lock)
	wrong := client.WithGuard(lock, held+1)
	right := wrong.WithGuard(lock, held)
	absent := right.WithGuard(key, held)

	var ended sync.WaitGroup
	set := func(client *gometa.Client, check func(error)) {
		ended.Add(1)
		go func() {
			defer ended.Done()
			for i := 0; i < 50; i++ {
				_, err := client.Set(ctx, fresh(t, "k"), nil)
				check(err)
			}
		}()
	}
	is := func(actual uint64) func(error) {
		return func(err error) {
			var failed *gometa.Error
			if !errors.As(err, &failed) || failed.Kind != gometa.ErrGuardFailed || *failed.ActualRevision != actual {
				t.Errorf("%v, expected the revision %d", err, actual)
			}
		}
	}
	succeeds := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	set(client, succeeds)
	set(wrong, is(held))
	set(right, succeeds)
	set(absent, is(0))
	ended.Wait()

	// One connection, one session, the same counters.
	if client.Counters().Requests != wrong.Counters().Requests || wrong.Counters().Requests < 200 {
		t.Fatal(client.Counters(), wrong.Counters())
	}
	if client.Counters().Reconnects != 0 {
		t.Fatal(client.Counters())
	}
}

func TestATransactionKeepsItsGuardInEveryAttempt(t *testing.T) {
	client, ctx := open(t), within(t)
	lock, key := fresh(t, "lock"), fresh(t, "k")
	owner := client.WithGuard(lock, take(t, client, lock))
	attempts, actual := 0, uint64(0)
	err := owner.Transaction(ctx, func(tx *gometa.Transaction) error {
		if _, err := tx.Get(key); err != nil {
			return err
		}
		// Another write makes the first attempt fail; the lock is lost during the second one.
		if attempts++; attempts == 1 {
			if _, err := client.Set(ctx, key, []byte("other")); err != nil {
				return err
			}
		} else {
			actual = take(t, client, lock)
		}
		tx.Set(key, []byte("lost"))
		return nil
	})
	refused(t, err, actual)
	if attempts != 2 {
		t.Fatal(attempts)
	}
	holds(t, client, key, "other")
}

func TestWritesRefuseAGuardWithoutAKeyOrARevision(t *testing.T) {
	client, ctx := open(t), within(t)
	key := fresh(t, "k")
	for _, bad := range []struct {
		client *gometa.Client
		kind   gometa.Kind
	}{
		{client.WithGuard("", 1), gometa.ErrInvalidArgument},
		{client.WithGuard("k", 0), gometa.ErrInvalidArgument},
		{client.WithGuard(strings.Repeat("k", 4097), 1), gometa.ErrTooLarge},
	} {
		_, err := bad.client.Set(ctx, key, nil)
		if failed := fails(t, err, bad.kind); failed.Outcome != gometa.OutcomeNotApplied {
			t.Fatalf("%#v", failed)
		}
		_, err = bad.client.Get(ctx, key)
		fails(t, err, gometa.ErrNotFound)
	}
	// Any byte may be in a key.
	lock := fresh(t, "\x00\xff")
	if _, err := client.WithGuard(lock, take(t, client, lock)).Set(ctx, key, nil); err != nil {
		t.Fatal(err)
	}
}

func TestClosingAGuardedClientClosesTheOtherOne(t *testing.T) {
	ctx := within(t)
	for _, first := range []bool{true, false} {
		client := open(t)
		key := fresh(t, "k")
		guarded := client.WithGuard(key, take(t, client, key))
		if _, err := guarded.Set(ctx, key, nil); err != nil {
			t.Fatal(err)
		}
		closing := guarded
		if first {
			closing = client
		}
		if err := closing.Close(); err != nil {
			t.Fatal(err)
		}
		for _, closed := range []*gometa.Client{client, guarded, guarded.WithGuard(key, 1)} {
			_, err := closed.Set(ctx, key, nil)
			fails(t, err, gometa.ErrClosed)
			if closed.Counters().Requests == 0 {
				t.Fatal("the counters are lost")
			}
			if err := closed.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAGuardedClientOfNoClientIsRefused(t *testing.T) {
	var none *gometa.Client
	for _, client := range []*gometa.Client{none.WithGuard("k", 1), new(gometa.Client).WithGuard("k", 1)} {
		_, err := client.Set(within(t), "k", nil)
		fails(t, err, gometa.ErrInvalidArgument)
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
