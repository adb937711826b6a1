//go:build cgo

package gometa_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gometa"
)

// treeKeys is the number of keys of a tree: more than two pages.
const treeKeys = 2300

// tree sets keys of two levels below a fresh prefix. It returns the prefix, the keys in order, and the last revision.
func tree(t testing.TB, client *gometa.Client) (prefix string, keys []string, revision uint64) {
	t.Helper()
	const callers = 32
	prefix = fresh(t, "tree/")
	for group := 0; group < 7; group++ {
		for number := 0; len(keys) < treeKeys*(group+1)/7; number++ {
			keys = append(keys, fmt.Sprintf("%s%d/%04d", prefix, group, number))
		}
	}
	var mutex sync.Mutex
	var ended sync.WaitGroup
	for caller := 0; caller < callers; caller++ {
		ended.Add(1)
		go func(caller int) {
			defer ended.Done()
			for i := caller; i < len(keys); i += callers {
				written, err := client.Set(context.Background(), keys[i], []byte("v"))
				if err != nil {
					t.Error(err)
					return
				}
				mutex.Lock()
				if written.Revision > revision {
					revision = written.Revision
				}
				mutex.Unlock()
			}
		}(caller)
	}
	ended.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return prefix, keys, revision
}

func keysOf(entries []gometa.Entry) []string {
	keys := make([]string, len(entries))
	for i, entry := range entries {
		keys[i] = entry.Key
	}
	return keys
}

// all reads a scan to its end.
func all(t testing.TB, scan *gometa.Scan) []gometa.Entry {
	t.Helper()
	defer scan.Close()
	var entries []gometa.Entry
	for scan.Next() {
		entries = append(entries, scan.Entry())
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return entries
}

func same(t testing.TB, what string, entries []gometa.Entry, keys []string) {
	t.Helper()
	if found := keysOf(entries); len(found) != len(keys) || (len(keys) > 0 && !reflect.DeepEqual(found, keys)) {
		t.Fatalf("%s: %d keys, expected %d: %.10q… and %.10q…", what, len(found), len(keys), found, keys)
	}
}

func TestAPageAndTheNextOne(t *testing.T) {
	client, ctx := open(t), within(t)
	prefix, keys, revision := tree(t, client)
	page, err := client.Range(ctx, gometa.Range{Prefix: prefix})
	if err != nil || page.Revision < revision || page.Next != keys[1000] {
		t.Fatal(page.Revision, page.Next, err)
	}
	same(t, "the first page", page.Entries, keys[:1000])
	first := page.Entries[0]
	if string(first.Value) != "v" || first.Version != 1 || first.CreateRevision == 0 || first.IsGroup ||
		first.ModRevision != first.CreateRevision {
		t.Fatalf("%+v", first)
	}
	behind, err := client.Range(ctx, gometa.Range{
		Prefix: prefix, Start: page.Next, AtRevision: page.Revision, Limit: 3, KeysOnly: true,
	})
	if err != nil || behind.Revision != page.Revision || behind.Next != keys[1003] {
		t.Fatal(behind, err)
	}
	same(t, "the next page", behind.Entries, keys[1000:1003])
	if value := behind.Entries[0].Value; value == nil || len(value) != 0 {
		t.Fatalf("%q without values", value)
	}
	last, err := client.Range(ctx, gometa.Range{Prefix: prefix, Reverse: true, Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the last ones", last.Entries, []string{keys[len(keys)-1], keys[len(keys)-2]})
	// Next is then the End of the next page.
	last, err = client.Range(ctx, gometa.Range{Prefix: prefix, End: last.Next, Reverse: true, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the one before", last.Entries, []string{keys[len(keys)-3]})
	some, err := client.Range(ctx, gometa.Range{Start: keys[5], End: keys[7]}, gometa.Local(), gometa.MinRevision(revision))
	if err != nil || some.Next != "" {
		t.Fatal(some, err)
	}
	same(t, "from one key to another", some.Entries, keys[5:7])
	if none, err := client.Range(ctx, gometa.Range{Prefix: prefix + "x"}); err != nil || len(none.Entries) != 0 || none.Next != "" {
		t.Fatal(none, err)
	}
}

func TestAScanShowsOneRevisionWhileKeysChange(t *testing.T) {
	client, ctx := open(t), within(t)
	prefix, keys, revision := tree(t, client)
	scan := client.Scan(ctx, gometa.Range{Prefix: prefix})
	if scan.Revision() != 0 || !scan.Next() || scan.Revision() < revision {
		t.Fatal(scan.Revision(), revision, scan.Err())
	}
	first, begun := scan.Entry(), scan.Revision()
	changed, deleted := keys[len(keys)-1], keys[len(keys)-2]
	if _, err := client.Set(ctx, changed, []byte("later")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(ctx, deleted); err != nil {
		t.Fatal(err)
	}
	entries := append([]gometa.Entry{first}, all(t, scan)...)
	same(t, "the scan", entries, keys)
	for _, entry := range entries {
		if string(entry.Value) != "v" {
			t.Fatalf("%+v", entry)
		}
	}
	if scan.Revision() != begun || scan.Next() || scan.Err() != nil || scan.Close() != nil || scan.Close() != nil {
		t.Fatal("after its end", scan.Err())
	}

	// The present, in descending order, and no more than the limit, which two pages reach.
	left := []string{changed}
	for i := len(keys) - 3; len(left) < 1500; i-- {
		left = append(left, keys[i])
	}
	same(t, "in descending order", all(t, client.Scan(ctx, gometa.Range{Prefix: prefix, Reverse: true, Limit: 1500})), left)
	same(t, "as it was", all(t, client.Scan(ctx, gometa.Range{Prefix: prefix, AtRevision: revision, KeysOnly: true})), keys)
	groups := all(t, client.Scan(ctx, gometa.Range{Prefix: prefix, Delimiter: "/"}, gometa.Local()))
	if len(groups) != 7 {
		t.Fatal(groups)
	}
	for i, group := range groups {
		if !group.IsGroup || group.Key != fmt.Sprintf("%s%d/", prefix, i) || group.Version != 0 || len(group.Value) != 0 {
			t.Fatalf("%+v", group)
		}
	}
	if none := all(t, client.Scan(ctx, gometa.Range{Prefix: prefix + "x"})); len(none) != 0 {
		t.Fatal(none)
	}

	// A key as it was.
	entry, err := client.GetAt(ctx, deleted, revision)
	if err != nil || entry.Key != deleted || string(entry.Value) != "v" {
		t.Fatal(entry, err)
	}
	_, err = client.GetAt(ctx, deleted, client.Counters().SeenRevision)
	fails(t, err, gometa.ErrNotFound)
}

func TestCountsAndDeletionsByPrefix(t *testing.T) {
	client, ctx := open(t), within(t)
	prefix, _, revision := tree(t, client)
	count := func(keys gometa.Range, expected uint64) {
		t.Helper()
		if counted, err := client.Count(ctx, keys); err != nil || counted != expected {
			t.Fatalf("%+v: %d, expected %d: %v", keys, counted, expected, err)
		}
	}
	count(gometa.Range{Prefix: prefix}, treeKeys)
	count(gometa.Range{Prefix: prefix, Limit: 1100}, 1100)
	count(gometa.Range{Prefix: prefix, Delimiter: "/"}, 7)
	deleted, err := client.DeletePrefix(ctx, prefix+"3/")
	if err != nil || deleted == 0 || deleted >= treeKeys {
		t.Fatal(deleted, err)
	}
	count(gometa.Range{Prefix: prefix + "3/"}, 0)
	count(gometa.Range{Prefix: prefix}, treeKeys-deleted)
	count(gometa.Range{Prefix: prefix, AtRevision: revision}, treeKeys)
	rest, err := client.DeletePrefix(ctx, prefix)
	if err != nil || rest != treeKeys-deleted {
		t.Fatal(rest, err)
	}
	if none, err := client.DeletePrefix(ctx, prefix); err != nil || none != 0 {
		t.Fatal(none, err)
	}
}

func TestRangesOfAllBytes(t *testing.T) {
	client, ctx, prefix := open(t), within(t), fresh(t, "bytes/")
	names := []string{prefix + "\x00", prefix + "a\x00b", prefix + "\xff", prefix + "\xff\xff"}
	for _, name := range names {
		if _, err := client.Set(ctx, name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	entries := all(t, client.Scan(ctx, gometa.Range{Prefix: prefix}))
	same(t, "all", entries, names)
	for _, entry := range entries {
		if string(entry.Value) != entry.Key {
			t.Fatalf("%+v", entry)
		}
	}
	same(t, "behind a prefix of 0xff", all(t, client.Scan(ctx, gometa.Range{Prefix: prefix + "\xff"})), names[2:])
	// What a scan returns belongs to the caller.
	entries[0].Value[0] = 'x'
	if entry, err := client.Get(ctx, names[0]); err != nil || string(entry.Value) != names[0] {
		t.Fatal(entry, err)
	}
	// Pages of one large value.
	large := bytes.Repeat([]byte{7}, 700_000)
	for i := 0; i < 4; i++ {
		if _, err := client.Set(ctx, fmt.Sprint(prefix, "large/", i), large); err != nil {
			t.Fatal(err)
		}
	}
	page, err := client.Range(ctx, gometa.Range{Prefix: prefix + "large/"})
	if err != nil || len(page.Entries) != 1 || page.Next == "" {
		t.Fatal(len(page.Entries), page.Next, err)
	}
	entries = all(t, client.Scan(ctx, gometa.Range{Prefix: prefix + "large/"}))
	if len(entries) != 4 || !bytes.Equal(entries[3].Value, large) {
		t.Fatal(len(entries))
	}
}

func TestBadRanges(t *testing.T) {
	client, ctx := open(t), within(t)
	var nothing context.Context
	for name, test := range map[string]struct {
		keys    gometa.Range
		options []gometa.ReadOption
		ctx     context.Context
		kind    gometa.Kind
	}{
		"start above the end": {gometa.Range{Start: "b", End: "a"}, nil, ctx, gometa.ErrInvalidArgument},
		"in the future":       {gometa.Range{AtRevision: 1 << 62}, nil, ctx, gometa.ErrInvalidArgument},
		"long prefix":         {gometa.Range{Prefix: strings.Repeat("k", 4097)}, nil, ctx, gometa.ErrTooLarge},
		"long delimiter":      {gometa.Range{Delimiter: strings.Repeat("/", 17)}, nil, ctx, gometa.ErrTooLarge},
		"nil option":          {gometa.Range{}, []gometa.ReadOption{nil}, ctx, gometa.ErrInvalidArgument},
		"nil context":         {gometa.Range{}, nil, nothing, gometa.ErrInvalidArgument},
	} {
		for i, client := range []*gometa.Client{client, nil, new(gometa.Client)} {
			_, ofRange := client.Range(test.ctx, test.keys, test.options...)
			_, ofCount := client.Count(test.ctx, test.keys, test.options...)
			scan := client.Scan(test.ctx, test.keys, test.options...)
			if scan.Next() || scan.Next() {
				t.Fatalf("%s: an entry", name)
			}
			scan.Close()
			kind := test.kind
			if i > 0 {
				kind = gometa.ErrInvalidArgument
			}
			for _, err := range []error{ofRange, ofCount, scan.Err()} {
				if failed := fails(t, err, kind); failed.Outcome != gometa.OutcomeNotApplied || failed.Operation != "range" {
					t.Fatalf("%s: %#v", name, failed)
				}
			}
		}
	}
	_, err := client.GetAt(ctx, "", 1)
	fails(t, err, gometa.ErrInvalidArgument)
	_, err = client.GetAt(ctx, "k", 1<<62)
	fails(t, err, gometa.ErrInvalidArgument)
	_, err = client.DeletePrefix(ctx, strings.Repeat("k", 4097))
	fails(t, err, gometa.ErrTooLarge)
	if new(gometa.Scan).Next() {
		t.Fatal("a zero scan has an entry")
	}
}

func TestTheContextEndsAScan(t *testing.T) {
	client := open(t)
	prefix, _, _ := tree(t, client)
	ctx, cancel := context.WithCancel(within(t))
	scan := client.Scan(ctx, gometa.Range{Prefix: prefix})
	for i := 0; i < 10; i++ {
		if !scan.Next() {
			t.Fatal(scan.Err())
		}
	}
	cancel()
	if scan.Next() {
		t.Fatal("an entry after the end of the context")
	}
	failed := fails(t, scan.Err(), gometa.ErrCancelled)
	if !errors.Is(scan.Err(), context.Canceled) || failed.Outcome != gometa.OutcomeNotApplied {
		t.Fatalf("%#v", failed)
	}
	// The page that is read ahead is cancelled, too.
	until(t, "nothing is in flight", func() bool { return client.Counters().InFlight == 0 })

	// While a page is read, by a cancellation and by a deadline.
	silent := openAt(t, []string{os.Getenv("GOMETA_SILENT")}, gometa.WithTimeout(time.Minute))
	ctx, cancel = context.WithCancel(within(t))
	ended := make(chan error)
	go func() {
		scan := silent.Scan(ctx, gometa.Range{})
		scan.Next()
		ended <- scan.Err()
	}()
	until(t, "the page is requested", func() bool { return silent.Counters().InFlight == 1 })
	cancel()
	fails(t, <-ended, gometa.ErrCancelled)
	until(t, "nothing is in flight", func() bool { return silent.Counters().InFlight == 0 })
	ctx, cancel = context.WithTimeout(within(t), 100*time.Millisecond)
	defer cancel()
	scan = silent.Scan(ctx, gometa.Range{})
	if scan.Next() || !errors.Is(scan.Err(), context.DeadlineExceeded) {
		t.Fatal(scan.Err())
	}
	ctx, cancel = context.WithCancel(within(t))
	cancel()
	_, err := silent.DeletePrefix(ctx, "k")
	fails(t, err, gometa.ErrCancelled)
}

func TestAScanOfAClosedClient(t *testing.T) {
	client := open(t)
	prefix, _, _ := tree(t, client)
	before, begun := client.Scan(within(t), gometa.Range{Prefix: prefix}), client.Scan(within(t), gometa.Range{Prefix: prefix})
	if !begun.Next() {
		t.Fatal(begun.Err())
	}
	client.Close()
	for begun.Next() {
	}
	fails(t, begun.Err(), gometa.ErrClosed)
	if before.Next() {
		t.Fatal("an entry of a closed client")
	}
	fails(t, before.Err(), gometa.ErrClosed)
	before.Close()

	// A scan that is closed first, and one that is closed last.
	client = open(t)
	early, late := client.Scan(within(t), gometa.Range{Prefix: prefix}), client.Scan(within(t), gometa.Range{Prefix: prefix})
	if !early.Next() || !late.Next() {
		t.Fatal(early.Err(), late.Err())
	}
	early.Close()
	if early.Next() || early.Err() != nil {
		t.Fatal("after Close", early.Err())
	}
	client.Close()
	late.Close()
}

// A scan goes on at its revision while the leader is killed.
func TestAScanSurvivesItsLeader(t *testing.T) {
	client := open(t)
	prefix, keys, _ := tree(t, client)
	scan := client.Scan(within(t), gometa.Range{Prefix: prefix})
	if !scan.Next() {
		t.Fatal(scan.Err())
	}
	first := scan.Entry()
	testbed(t, "kill-leader")
	same(t, "the scan", append([]gometa.Entry{first}, all(t, scan)...), keys)
	testbed(t, "ready")
}

// The results of a node of answering: the error that the history begins at revision 300, with its kind, message, outcome and
// revision; a page without entries, read at revision 7.
const (
	compacted = "\x52\x0d\x08\x0e\x12\x04gone\x18\x01\x20\xac\x02"
	emptyPage = "\xaa\x01\x02\x20\x07"
)

// answering is a node that answers its n-th request, from 1 on, with a result. It returns its address. Ensembles keep at least
// 10,000 revisions: too many for a test.
func answering(t testing.TB, result func(number int) string) string {
	t.Helper()
	var requests int32
	next := func() string { return result(int(atomic.AddInt32(&requests, 1))) }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(connection, next)
		}
	}()
	return listener.Addr().String()
}

// answer answers the frames that docs/wire.md describes.
func answer(connection net.Conn, next func() string) {
	defer connection.Close()
	for {
		var length [4]byte
		if _, err := io.ReadFull(connection, length[:]); err != nil {
			return
		}
		received := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(connection, received); err != nil {
			return
		}
		var answer []byte
		switch received[0] {
		case 0x0a:
			// Hello: a Welcome with protocol, ensemble, node and view.
			answer = []byte("\x0a\x2c\x08\x01\x12\x1b\x0a\x10sixteen bytes id\x11\x01\x00\x00\x00\x00\x00\x00\x00" +
				"\x19\x11\x00\x00\x00\x00\x00\x00\x00\x32\x02\x08\x04")
		case 0x12:
			// Request: a Response with its id and a result. Its length and its id have one byte each.
			id := received[3]
			body := append([]byte{0x08, id}, next()...)
			answer = append([]byte{0x12, byte(len(body))}, body...)
		default:
			continue
		}
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...)
		if _, err := connection.Write(frame); err != nil {
			return
		}
	}
}

func TestACompactedRevisionComesWithTheOldestOne(t *testing.T) {
	client, ctx := openAt(t, []string{answering(t, func(int) string { return compacted })}), within(t)
	_, ofRange := client.Range(ctx, gometa.Range{AtRevision: 7})
	_, ofCount := client.Count(ctx, gometa.Range{AtRevision: 7})
	_, ofGet := client.GetAt(ctx, "k", 7)
	scan := client.Scan(ctx, gometa.Range{AtRevision: 7})
	if scan.Next() {
		t.Fatal(scan.Entry())
	}
	for _, err := range []error{ofRange, ofCount, ofGet, scan.Err()} {
		failed := fails(t, err, gometa.ErrCompacted)
		if failed.ActualRevision == nil || *failed.ActualRevision != 300 || failed.Retryable ||
			failed.Outcome != gometa.OutcomeNotApplied || !strings.Contains(failed.Message, "gone") {
			t.Fatalf("%#v", failed)
		}
	}
}

func TestScansLeaveNothing(t *testing.T) {
	const scans, growthMax = 200, 16 << 20
	client, ctx := open(t), within(t)
	prefix, keys, _ := tree(t, client)
	many := func(scans int) {
		for i := 0; i < scans; i++ {
			scan := client.Scan(ctx, gometa.Range{Prefix: prefix, KeysOnly: true}, gometa.Local())
			// A part of the first page, of the second one, or all of it.
			for entries := []int{1, 1001, len(keys)}[i%3]; entries > 0 && scan.Next(); entries-- {
			}
			if scan.Err() != nil {
				t.Fatal(scan.Err())
			}
			scan.Close()
		}
	}
	many(scans)
	before := resident(t)
	many(scans)
	until(t, "nothing is in flight", func() bool { return client.Counters().InFlight == 0 })
	growth := resident(t) - before
	t.Logf("%d scans: %d KiB, and %d KiB more", scans, before>>10, growth>>10)
	if watchesMemory && growth > growthMax {
		t.Fatalf("%d scans took %d KiB", scans, growth>>10)
	}
}
