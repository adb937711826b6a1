//go:build cgo

package gometa_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gometa"
)

// commit executes a transaction, which must not fail.
func commit(t testing.TB, client *gometa.Client, txn *gometa.Txn, options ...gometa.ReadOption) gometa.TxnResult {
	t.Helper()
	result, err := client.Commit(within(t), txn, options...)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// holds checks the value of a key; "" if it does not exist.
func holds(t testing.TB, client *gometa.Client, key, expected string) {
	t.Helper()
	entry, err := client.Get(within(t), key)
	if errors.Is(err, gometa.ErrNotFound) {
		err = nil
	}
	if err != nil || string(entry.Value) != expected {
		t.Fatalf("%q: %q, expected %q: %v", key, entry.Value, expected, err)
	}
}

func TestABranchIsExecutedAsOne(t *testing.T) {
	client, ctx := open(t), within(t)
	prefix := fresh(t, "")
	waiting, running := prefix+"waiting", prefix+"running"
	first, err := client.Set(ctx, waiting, []byte("sort"))
	if err != nil {
		t.Fatal(err)
	}
	worker := []byte("worker")
	take := gometa.NewTxn().
		When(gometa.CompareExists(waiting), gometa.CompareAbsent(running)).
		Then(gometa.OpGet(waiting), gometa.OpDelete(waiting), gometa.OpSet(running, worker)).
		Then(gometa.OpGet(waiting), gometa.OpRange(gometa.Range{Prefix: prefix, KeysOnly: true})).
		Otherwise(gometa.OpGet(waiting), gometa.OpGet(running))
	// Values are copied.
	worker[0] = 'x'

	taken := commit(t, client, take)
	if !taken.Succeeded || taken.Revision <= first.Revision || len(taken.Results) != 5 {
		t.Fatalf("%+v", taken)
	}
	before := taken.Results[0].Entry
	if before.Key != waiting || string(before.Value) != "sort" || before.ModRevision != first.Revision || before.Version != 1 {
		t.Fatalf("%+v", before)
	}
	if deleted := *taken.Results[1].Deleted; deleted != (gometa.Deleted{Existed: true, Revision: taken.Revision}) {
		t.Fatalf("%+v", deleted)
	}
	if written := *taken.Results[2].Written; written != (gometa.Written{Revision: taken.Revision, Version: 1}) {
		t.Fatalf("%+v", written)
	}
	if absent := taken.Results[3]; absent != (gometa.OpResult{}) {
		t.Fatalf("%+v", absent)
	}
	page := taken.Results[4].Page
	same(t, "the page", page.Entries, []string{running})
	if page.Next != "" || page.Revision != taken.Revision || len(page.Entries[0].Value) != 0 {
		t.Fatalf("%+v", page)
	}
	for i, result := range taken.Results {
		set := 0
		for _, is := range []bool{result.Written != nil, result.Deleted != nil, result.Entry != nil, result.Page != nil} {
			if is {
				set++
			}
		}
		if set > 1 || result.Err != nil {
			t.Fatalf("%d: %+v", i, result)
		}
	}

	// The same transaction again.
	late := commit(t, client, take)
	if late.Succeeded || len(late.Results) != 2 || late.Results[0].Entry != nil {
		t.Fatalf("%+v", late)
	}
	if found := late.Results[1].Entry; string(found.Value) != "worker" || found.ModRevision != taken.Revision {
		t.Fatalf("%+v", found)
	}
}

func TestEveryComparison(t *testing.T) {
	client, ctx := open(t), within(t)
	key := fresh(t, "k")
	created, err := client.Set(ctx, key, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := client.Set(ctx, key, []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	for i, one := range []struct {
		compare gometa.Compare
		holds   bool
	}{
		{gometa.CompareModRevision(key, gometa.Equal, changed.Revision), true},
		{gometa.CompareModRevision(key, gometa.Equal, created.Revision), false},
		{gometa.CompareModRevision(key, gometa.NotEqual, created.Revision), true},
		{gometa.CompareModRevision(key, gometa.Less, changed.Revision), false},
		{gometa.CompareModRevision(key, gometa.Greater, created.Revision), true},
		{gometa.CompareCreateRevision(key, gometa.Equal, created.Revision), true},
		{gometa.CompareCreateRevision(key, gometa.Less, changed.Revision), true},
		{gometa.CompareCreateRevision(key, gometa.Greater, created.Revision), false},
		{gometa.CompareCreateRevision(key+"/absent", gometa.NotEqual, 0), false},
		{gometa.CompareValue(key, gometa.Equal, []byte("b")), true},
		{gometa.CompareValue(key, gometa.NotEqual, []byte("b")), false},
		{gometa.CompareValue(key, gometa.Less, []byte("ba")), true},
		{gometa.CompareValue(key, gometa.Greater, nil), true},
		{gometa.CompareValue(key+"/absent", gometa.NotEqual, nil), false},
		{gometa.CompareExists(key), true},
		{gometa.CompareExists(key + "/absent"), false},
		{gometa.CompareAbsent(key + "/absent"), true},
		{gometa.CompareAbsent(key), false},
	} {
		result := commit(t, client, gometa.NewTxn().When(one.compare, gometa.CompareExists(key)))
		if result.Succeeded != one.holds || len(result.Results) != 0 || result.Revision < changed.Revision {
			t.Errorf("%d: %+v: %+v", i, one.compare, result)
		}
	}
	if said := fmt.Sprint(gometa.Equal, gometa.NotEqual, gometa.Less, gometa.Greater, gometa.Relation(9)); said != "= != < > unknown" {
		t.Error(said)
	}
}

func TestATransactionThatWritesNothingReadsOneRevision(t *testing.T) {
	writer, reader := open(t), open(t)
	large, small := fresh(t, "large"), fresh(t, "small")
	value := bytes.Repeat([]byte("v"), 1<<20)
	if _, err := writer.Set(within(t), large, value); err != nil {
		t.Fatal(err)
	}
	written, err := writer.Set(within(t), small, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := commit(t, reader, gometa.NewTxn().Then(gometa.OpGet(small), gometa.OpGet(large)),
		gometa.Local(), gometa.MinRevision(written.Revision))
	if read.Revision < written.Revision || len(read.Results) != 2 {
		t.Fatalf("%+v", read)
	}
	if found := read.Results[0].Entry.Value; found == nil || len(found) != 0 {
		t.Fatalf("%q", found)
	}
	// A result that has no room in the response.
	read = commit(t, reader, gometa.NewTxn().Then(gometa.OpGet(large), gometa.OpGet(small)))
	if !bytes.Equal(read.Results[0].Entry.Value, value) || read.Results[1].Entry != nil {
		t.Fatalf("%+v", read.Results[1])
	}
	failed := fails(t, read.Results[1].Err, gometa.ErrTooLarge)
	if failed.ActualRevision == nil || *failed.ActualRevision != read.Revision {
		t.Fatalf("%#v", failed)
	}
	if _, err := reader.GetAt(within(t), small, *failed.ActualRevision); err != nil {
		t.Fatal(err)
	}
}

func TestRangesAreComparedAndDeletedAsOne(t *testing.T) {
	client, ctx := open(t), within(t)
	prefix := fresh(t, "")
	var last gometa.Written
	for _, name := range []string{"1", "2", "3"} {
		written, err := client.Set(ctx, prefix+name, []byte("v"))
		if err != nil {
			t.Fatal(err)
		}
		last = written
	}
	keys := gometa.Range{Prefix: prefix}
	clear := func(count, revision uint64) gometa.TxnResult {
		return commit(t, client, gometa.NewTxn().When(gometa.CompareRange(keys, count, revision)).
			Then(gometa.OpDeleteRange(keys), gometa.OpRange(keys)))
	}
	if clear(2, last.Revision).Succeeded || clear(3, last.Revision-1).Succeeded {
		t.Fatal("the range is another one")
	}
	cleared := clear(3, last.Revision)
	if !cleared.Succeeded || *cleared.Results[0].DeletedRange != (gometa.DeletedRange{Count: 3, Revision: cleared.Revision}) ||
		len(cleared.Results[1].Page.Entries) != 0 {
		t.Fatalf("%+v", cleared)
	}
	if !commit(t, client, gometa.NewTxn().When(gometa.CompareEmpty(keys))).Succeeded {
		t.Fatal("the range is not empty")
	}
	limited := gometa.NewTxn().Then(gometa.OpDeleteRange(gometa.Range{Prefix: prefix, Limit: 1}))
	if _, err := client.Commit(ctx, limited); !errors.Is(err, gometa.ErrInvalidArgument) {
		t.Fatalf("%v", err)
	}
}

func TestAKeyThatAppearsInARangeIsAConflict(t *testing.T) {
	client, ctx := open(t), within(t)
	prefix := fresh(t, "")
	calls := 0
	var own gometa.Page
	err := client.Transaction(ctx, func(tx *gometa.Transaction) error {
		calls++
		page, err := tx.Range(gometa.Range{Prefix: prefix})
		if err != nil {
			return err
		}
		if calls == 1 {
			if _, err := client.Set(ctx, prefix+"1", []byte("x")); err != nil {
				return err
			}
		}
		tx.Set(fmt.Sprintf("%s%d", prefix, len(page.Entries)+1), []byte("y"))
		own, err = tx.Range(gometa.Range{Prefix: prefix, Reverse: true})
		return err
	})
	if err != nil || calls != 2 || len(own.Entries) != 2 {
		t.Fatalf("%d calls, %+v: %v", calls, own, err)
	}
	if first := own.Entries[0]; first.Key != prefix+"2" || first.ModRevision != 0 || string(first.Value) != "y" {
		t.Fatalf("%+v", first)
	}
	err = client.Transaction(ctx, func(tx *gometa.Transaction) error {
		_, err := tx.Range(gometa.Range{Prefix: prefix, Limit: 1})
		return err
	})
	if !errors.Is(err, gometa.ErrInvalidArgument) {
		t.Fatal(err)
	}
}

func TestBadTransactions(t *testing.T) {
	client, key := open(t), fresh(t, "k")
	value := []byte("v")
	exists, gets := make([]gometa.Compare, 129), make([]gometa.Op, 129)
	for i := range exists {
		exists[i], gets[i] = gometa.CompareExists(key), gometa.OpGet(key)
	}
	for i, one := range []struct {
		txn  *gometa.Txn
		kind gometa.Kind
	}{
		{nil, gometa.ErrInvalidArgument},
		{gometa.NewTxn().Then(gometa.Op{}), gometa.ErrInvalidArgument},
		{gometa.NewTxn().When(gometa.Compare{}), gometa.ErrInvalidArgument},
		{gometa.NewTxn().Then(gometa.OpGet("")), gometa.ErrInvalidArgument},
		{gometa.NewTxn().Otherwise(gometa.OpSet("", value)), gometa.ErrInvalidArgument},
		{gometa.NewTxn().When(gometa.CompareValue("", gometa.Equal, value)), gometa.ErrInvalidArgument},
		{gometa.NewTxn().When(gometa.CompareModRevision(key, 9, 1)), gometa.ErrInvalidArgument},
		{gometa.NewTxn().Then(gometa.OpSet(key, value), gometa.OpDelete(key)), gometa.ErrInvalidArgument},
		{gometa.NewTxn().Then(gometa.OpRange(gometa.Range{AtRevision: 1})), gometa.ErrInvalidArgument},
		{gometa.NewTxn().Then(gometa.OpSet(key, value), gometa.OpRange(gometa.Range{Prefix: key}), gometa.OpSet(key+"1", value)),
			gometa.ErrInvalidArgument},
		{gometa.NewTxn().When(exists...).Then(gometa.OpSet(key, value)), gometa.ErrTooLarge},
		{gometa.NewTxn().Then(gets...), gometa.ErrTooLarge},
		{gometa.NewTxn().Then(gometa.OpGet(strings.Repeat("k", 4097))), gometa.ErrTooLarge},
		{gometa.NewTxn().Then(gometa.OpSet(key, make([]byte, 1<<20)), gometa.OpSet(key+"1", make([]byte, 8192))), gometa.ErrTooLarge},
	} {
		result, err := client.Commit(within(t), one.txn)
		if failed := fails(t, err, one.kind); failed.Outcome != gometa.OutcomeNotApplied || failed.Operation != "txn" {
			t.Errorf("%d: %#v", i, failed)
		}
		if result.Results != nil {
			t.Errorf("%d: %+v", i, result)
		}
	}
	holds(t, client, key, "")
	_, err := client.Commit(within(t), gometa.NewTxn(), nil)
	fails(t, err, gometa.ErrInvalidArgument)
	_, err = (&gometa.Client{}).Commit(within(t), gometa.NewTxn())
	fails(t, err, gometa.ErrInvalidArgument)
	fails(t, client.Transaction(within(t), nil), gometa.ErrInvalidArgument)
	nothing := func(*gometa.Transaction) error { return errors.New("it is called") }
	fails(t, client.Transaction(nil, nothing), gometa.ErrInvalidArgument)
	fails(t, (*gometa.Client)(nil).Transaction(within(t), nothing), gometa.ErrInvalidArgument)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	fails(t, client.Transaction(ended, nothing), gometa.ErrCancelled)
	_, err = client.Commit(ended, gometa.NewTxn())
	fails(t, err, gometa.ErrCancelled)

	// What a function writes is checked by the commit.
	fails(t, client.Transaction(within(t), func(tx *gometa.Transaction) error {
		tx.Set("", value)
		return nil
	}), gometa.ErrInvalidArgument)
	fails(t, client.Transaction(within(t), func(tx *gometa.Transaction) error {
		_, err := tx.Get("")
		return err
	}), gometa.ErrInvalidArgument)
}

// increment adds 1 to a number in a transaction, and to the number of calls of its function.
func increment(ctx context.Context, client *gometa.Client, key string, calls *int32) error {
	return client.Transaction(ctx, func(tx *gometa.Transaction) error {
		atomic.AddInt32(calls, 1)
		value, err := tx.Get(key)
		if err != nil {
			return err
		}
		number, _ := strconv.Atoi(string(value))
		tx.Set(key, []byte(strconv.Itoa(number+1)))
		own, err := tx.Get(key)
		if err != nil || string(own) != strconv.Itoa(number+1) {
			return fmt.Errorf("it reads %q after its own write: %w", own, err)
		}
		return nil
	})
}

func TestIncrementsInTransactionsAreExactWhileTheLeaderIsKilled(t *testing.T) {
	const callers, each = 8, 25
	key := fresh(t, "k")
	client := open(t, gometa.WithTimeout(patience))
	var calls, done int32
	var ended sync.WaitGroup
	for caller := 0; caller < callers; caller++ {
		ended.Add(1)
		go func() {
			defer ended.Done()
			for i := 0; i < each; i++ {
				if err := increment(context.Background(), client, key, &calls); err != nil {
					t.Error(err)
					return
				}
				atomic.AddInt32(&done, 1)
			}
		}()
	}
	until(t, "some are done", func() bool { return atomic.LoadInt32(&done) > callers || t.Failed() })
	testbed(t, "kill-leader")
	ended.Wait()
	testbed(t, "ready")
	if t.Failed() {
		t.FailNow()
	}
	holds(t, client, key, strconv.Itoa(callers*each))
	t.Logf("%d transactions, %d calls of the function", callers*each, calls)
	if calls <= callers*each {
		t.Fatal("there was no conflict")
	}
}

func TestAFunctionIsCalledAgainOnConflict(t *testing.T) {
	client, ctx := open(t), within(t)
	key, other, gone := fresh(t, "k"), fresh(t, "other"), fresh(t, "gone")
	for _, set := range []string{key, gone} {
		if _, err := client.Set(ctx, set, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	if err := client.Transaction(ctx, func(tx *gometa.Transaction) error {
		calls++
		value, err := tx.Get(key)
		if err != nil {
			return err
		}
		if calls == 1 {
			// Both come after the revision that is read at.
			for _, set := range []string{key, other} {
				if _, err := client.Set(ctx, set, []byte("5")); err != nil {
					return err
				}
			}
		}
		absent, err := tx.Get(other)
		if err != nil || (calls == 1) != (absent == nil) {
			return fmt.Errorf("call %d reads %q: %w", calls, absent, err)
		}
		tx.Set(key, append(value, 'x'))
		tx.Delete(gone)
		if deleted, err := tx.Get(gone); deleted != nil || err != nil {
			return fmt.Errorf("%q: %w", deleted, err)
		}
		if calls == 1 {
			tx.Set(fresh(t, "only in the first call"), nil)
		}
		tx.Set(other, nil)
		if empty, err := tx.Get(other); empty == nil || len(empty) != 0 || err != nil {
			return fmt.Errorf("%q: %w", empty, err)
		}
		return nil
	}); err != nil || calls != 2 {
		t.Fatal(calls, err)
	}
	holds(t, client, key, "5x")
	holds(t, client, gone, "")
	entry, err := client.Get(ctx, other)
	if err != nil || len(entry.Value) != 0 || entry.Version != 2 {
		t.Fatal(entry, err)
	}
}

func TestAFunctionThatFailsHasNoEffect(t *testing.T) {
	client, key := open(t), fresh(t, "k")
	cause := errors.New("no")
	var kept *gometa.Transaction
	if err := client.Transaction(within(t), func(tx *gometa.Transaction) error {
		kept = tx
		tx.Set(key, []byte("v"))
		return cause
	}); err != cause {
		t.Fatal(err)
	}
	// It has ended.
	kept.Set(key, []byte("v"))
	kept.Delete(key)
	_, err := kept.Get(key)
	fails(t, err, gometa.ErrInvalidArgument)
	func() {
		defer func() {
			if recover() != "no" {
				t.Error("the panic is lost")
			}
		}()
		client.Transaction(within(t), func(tx *gometa.Transaction) error {
			tx.Set(key, []byte("v"))
			panic("no")
		})
	}()
	holds(t, client, key, "")
	var unused gometa.Transaction
	unused.Set(key, nil)
	unused.Delete(key)
	_, err = unused.Get(key)
	fails(t, err, gometa.ErrInvalidArgument)
	// An error that wraps a kind is returned as it is, too.
	if err := client.Transaction(within(t), func(*gometa.Transaction) error {
		return fmt.Errorf("elsewhere: %w", gometa.ErrCompacted)
	}); err == nil || err.Error() != "elsewhere: gometa: Compacted" {
		t.Fatal(err)
	}
}

func TestConflictsUntilTheDeadline(t *testing.T) {
	client := open(t, gometa.WithTimeout(300*time.Millisecond))
	writer, key := open(t), fresh(t, "k")
	overtaken := func(tx *gometa.Transaction) error {
		if _, err := tx.Get(key); err != nil {
			return err
		}
		if _, err := writer.Set(context.Background(), key, []byte("other")); err != nil {
			return err
		}
		tx.Set(key, []byte("own"))
		return nil
	}
	// The client's timeout, and the deadline of the context, which is later.
	fails(t, client.Transaction(context.Background(), overtaken), gometa.ErrDeadlineExceeded)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := client.Transaction(ctx, overtaken)
	fails(t, err, gometa.ErrDeadlineExceeded)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) < 400*time.Millisecond {
		t.Fatal(err, time.Since(begun))
	}
	holds(t, client, key, "other")
}

func TestTheContextEndsATransaction(t *testing.T) {
	silent := openAt(t, []string{os.Getenv("GOMETA_SILENT")}, gometa.WithTimeout(time.Minute))
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error)
	go func() {
		ended <- silent.Transaction(ctx, func(tx *gometa.Transaction) error {
			_, err := tx.Get("k")
			return err
		})
	}()
	until(t, "the key is requested", func() bool { return silent.Counters().InFlight == 1 })
	cancel()
	err := <-ended
	if failed := fails(t, err, gometa.ErrCancelled); failed.Outcome != gometa.OutcomeNotApplied {
		t.Fatalf("%#v", failed)
	}
	until(t, "nothing is in flight", func() bool { return silent.Counters().InFlight == 0 })

	// Cancelled by the function, which succeeds.
	client, key := open(t), fresh(t, "k")
	ctx, cancel = context.WithCancel(within(t))
	err = client.Transaction(ctx, func(tx *gometa.Transaction) error {
		tx.Set(key, []byte("v"))
		cancel()
		return nil
	})
	if failed := fails(t, err, gometa.ErrCancelled); failed.Outcome != gometa.OutcomeNotApplied {
		t.Fatalf("%#v", failed)
	}
	holds(t, client, key, "")
}

func TestTransactionsOfAClosedClient(t *testing.T) {
	client, key := open(t), fresh(t, "k")
	looking := open(t)
	err := client.Transaction(within(t), func(tx *gometa.Transaction) error {
		tx.Set(key, []byte("v"))
		client.Close()
		tx.Delete(key)
		_, err := tx.Get(key)
		return err
	})
	fails(t, err, gometa.ErrClosed)
	fails(t, client.Transaction(within(t), func(*gometa.Transaction) error { return nil }), gometa.ErrClosed)
	_, err = client.Commit(within(t), gometa.NewTxn())
	fails(t, err, gometa.ErrClosed)
	holds(t, looking, key, "")
}

func TestATransactionBeginsAgainWhenItsRevisionHasLeftTheHistory(t *testing.T) {
	// The first read fixes a revision, the second one fails.
	node := answering(t, func(number int) string {
		if number == 2 {
			return compacted
		}
		return emptyPage
	})
	client, calls := openAt(t, []string{node}), 0
	read := func(tx *gometa.Transaction) error {
		calls++
		for _, key := range []string{"a", "b"} {
			if _, err := tx.Get(key); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	}
	if err := client.Transaction(within(t), read); err != nil || calls != 2 {
		t.Fatal(calls, err)
	}
	// A first read that fails so fails the transaction.
	client, calls = openAt(t, []string{answering(t, func(int) string { return compacted })}), 0
	err := client.Transaction(within(t), read)
	if failed := fails(t, err, gometa.ErrCompacted); calls != 1 || *failed.ActualRevision != 300 {
		t.Fatalf("%d calls: %#v", calls, failed)
	}
}

func TestTransactionsLeaveNothing(t *testing.T) {
	// Each would leave 64 KiB.
	const transactions, growthMax = 500, 8 << 20
	client, ctx, key := open(t), within(t), fresh(t, "k")
	value, enough := bytes.Repeat([]byte("v"), 64<<10), errors.New("enough")
	if _, err := client.Set(ctx, key, value); err != nil {
		t.Fatal(err)
	}
	read := gometa.NewTxn().When(gometa.CompareValue(key, gometa.Equal, value)).
		Then(gometa.OpGet(key), gometa.OpRange(gometa.Range{Prefix: key}))
	refused := gometa.NewTxn().Then(gometa.OpSet(key, value), gometa.OpRange(gometa.Range{AtRevision: 1}))
	many := func() {
		for i := 0; i < transactions; i++ {
			if result, err := client.Commit(ctx, read, gometa.Local()); err != nil || len(result.Results) != 2 {
				t.Fatal(err)
			}
			if _, err := client.Commit(ctx, refused); !errors.Is(err, gometa.ErrInvalidArgument) {
				t.Fatal(err)
			}
			if err := client.Transaction(ctx, func(tx *gometa.Transaction) error {
				if _, err := tx.Get(key); err != nil {
					return err
				}
				tx.Set(key+"/copy", value)
				return enough
			}); err != enough {
				t.Fatal(err)
			}
		}
	}
	many()
	before := resident(t)
	many()
	until(t, "nothing is in flight", func() bool { return client.Counters().InFlight == 0 })
	growth := resident(t) - before
	t.Logf("%d transactions: %d KiB, and %d KiB more", 3*transactions, before>>10, growth>>10)
	if watchesMemory && growth > growthMax {
		t.Fatalf("%d transactions took %d KiB", 3*transactions, growth>>10)
	}
}
