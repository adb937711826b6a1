//go:build cgo

package gometa_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gometa"
)

// A call that is cancelled at any moment returns its result or ErrCancelled, and no other call gets its answer.
func TestCancellingAtRandom(t *testing.T) {
	const calls = 1000
	client := open(t)
	seed := time.Now().UnixNano()
	t.Log("seed", seed)
	random := rand.New(rand.NewSource(seed))
	ctx := within(t)
	keys := make([]string, 10)
	for i := range keys {
		keys[i] = fresh(t, fmt.Sprint(i))
		if _, err := client.Set(ctx, keys[i], []byte(keys[i])); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, calls)
	for i := 0; i < calls; i++ {
		i, after, read := i, time.Duration(random.Int63n(int64(20*time.Millisecond))), random.Intn(2) == 0
		go func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			timer := time.AfterFunc(after, cancel)
			defer timer.Stop()
			key := keys[i%len(keys)]
			if read {
				entry, err := client.Get(ctx, key)
				if err == nil && (entry.Key != key || !strings.HasPrefix(string(entry.Value), key)) {
					err = fmt.Errorf("%s: another's answer: %s", key, entry.Value)
				}
				ended <- err
			} else {
				_, err := client.Set(ctx, key, []byte(fmt.Sprint(key, " ", i)))
				ended <- err
			}
		}()
	}
	cancelled := 0
	for i := 0; i < calls; i++ {
		if err := <-ended; err != nil {
			fails(t, err, gometa.ErrCancelled)
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			cancelled++
		}
	}
	t.Log(cancelled, "of", calls, "were cancelled")
	if cancelled == 0 || cancelled == calls {
		t.Fatal("no mixture:", cancelled)
	}
	until(t, "nothing is in flight", func() bool { return client.Counters().InFlight == 0 })
	for _, key := range keys {
		if entry, err := client.Get(ctx, key); err != nil || !strings.HasPrefix(string(entry.Value), key) {
			t.Fatal(entry, err)
		}
	}
}

// The end of a context ends its call at once.
func TestCancellingEndsTheWait(t *testing.T) {
	client := openAt(t, []string{os.Getenv("GOMETA_SILENT")}, gometa.WithTimeout(time.Minute))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := client.Set(ctx, "k", nil)
		ended <- err
	}()
	until(t, "the call runs", func() bool { return client.Counters().InFlight == 1 })
	begun := time.Now()
	cancel()
	failed := fails(t, <-ended, gometa.ErrCancelled)
	if took := time.Since(begun); took > time.Second {
		t.Fatal(took)
	}
	if failed.Outcome != gometa.OutcomeUnknown || !strings.Contains(failed.Message, "may have taken effect") {
		t.Fatalf("%#v", failed)
	}
	// The request is cancelled too.
	until(t, "nothing is in flight", func() bool { return client.Counters().InFlight == 0 })
}

func TestManyGoroutinesShareAClient(t *testing.T) {
	const callers, each = 64, 50
	client, ctx := open(t), within(t)
	var ended sync.WaitGroup
	for caller := 0; caller < callers; caller++ {
		key := fresh(t, fmt.Sprint(caller))
		ended.Add(1)
		go func() {
			defer ended.Done()
			for i := 1; i <= each; i++ {
				value := fmt.Sprint(key, i)
				written, err := client.Set(ctx, key, []byte(value))
				if err != nil || written.Version != uint64(i) {
					t.Error(written, err)
					return
				}
				entry, err := client.Get(ctx, key)
				if err != nil || string(entry.Value) != value || entry.ModRevision != written.Revision {
					t.Error(entry, err)
					return
				}
			}
		}()
	}
	ended.Wait()
	if counters := client.Counters(); counters.Requests != 2*callers*each || counters.InFlight != 0 {
		t.Fatalf("%+v", counters)
	}
}

// Increments by several clients are exact while the leader is killed.
func TestIncrementsAreExactWhileTheLeaderIsKilled(t *testing.T) {
	const callers, each = 4, 250
	key, ctx := fresh(t, "sum"), context.Background()
	increment := func(client *gometa.Client) error {
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		for {
			number, revision := 0, uint64(0)
			entry, err := client.Get(ctx, key)
			if err == nil {
				revision = entry.ModRevision
				if number, err = strconv.Atoi(string(entry.Value)); err != nil {
					return err
				}
			} else if !errors.Is(err, gometa.ErrNotFound) {
				return err
			}
			_, err = client.CAS(ctx, key, revision, []byte(strconv.Itoa(number+1)))
			if !errors.Is(err, gometa.ErrCASMismatch) {
				return err
			}
		}
	}
	ended := make(chan error, callers)
	for caller := 0; caller < callers; caller++ {
		client := open(t)
		go func() {
			for i := 0; i < each; i++ {
				if err := increment(client); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
	}
	client := open(t)
	for _, share := range []int{callers * each / 10, callers * each / 2} {
		until(t, "a share is done", func() bool {
			entry, err := client.Get(ctx, key)
			number, _ := strconv.Atoi(string(entry.Value))
			return err == nil && number >= share
		})
		testbed(t, "kill-leader")
	}
	for caller := 0; caller < callers; caller++ {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	entry, err := client.Get(within(t), key)
	if err != nil || string(entry.Value) != fmt.Sprint(callers*each) || entry.Version != callers*each {
		t.Fatal(entry, err)
	}
	testbed(t, "ready")
}

// watchesMemory is false if the size of the process does not depend on the package alone.
var watchesMemory = true

// resident returns the resident size of the process in bytes, after garbage collection.
func resident(t testing.TB) int {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestManyCallsLeaveMemoryFlat(t *testing.T) {
	const callers, calls, growthMax = 32, 100_000, 8 << 20
	client, unreachable := open(t), openAt(t, []string{dead()}, gometa.WithTimeout(time.Millisecond))
	key := fresh(t, "k")
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	// Calls that succeed, fail on the node, fail in the client, and are cancelled.
	one := func(number int) {
		ctx := context.Background()
		switch number % 8 {
		case 0:
			client.Set(ctx, key, []byte("some value"))
		case 1:
			client.Add(ctx, key, nil)
		case 2:
			client.Get(ctx, key+" is not there")
		case 3:
			client.Get(ctx, "")
		case 4:
			client.Get(gone, key)
		case 5:
			ctx, cancel := context.WithCancel(ctx)
			go cancel()
			client.Set(ctx, key, nil)
		case 6:
			if number%64 == 6 {
				unreachable.Get(ctx, key)
				client.Status(ctx)
				client.Members(ctx)
			}
		default:
			client.Get(ctx, key)
		}
	}
	many := func(calls int) {
		var ended sync.WaitGroup
		for caller := 0; caller < callers; caller++ {
			ended.Add(1)
			go func(caller int) {
				defer ended.Done()
				for number := caller; number < calls; number += callers {
					one(number / callers)
				}
			}(caller)
		}
		ended.Wait()
	}
	many(calls / 5)
	before, goroutines := resident(t), runtime.NumGoroutine()
	many(calls)
	until(t, "nothing is in flight", func() bool { return client.Counters().InFlight == 0 })
	growth := resident(t) - before
	t.Logf("%d calls: %d KiB, and %d KiB more", calls, before>>10, growth>>10)
	if watchesMemory && growth > growthMax {
		t.Fatalf("%d calls took %d KiB", calls, growth>>10)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Fatalf("%d goroutines, %d before", now, goroutines)
	}
}

// A closed client leaves no goroutine, descriptor, thread or memory.
func TestClosedClientsLeaveNothing(t *testing.T) {
	const clients, growthMax = 200, 8 << 20
	count := func(directory string) int {
		entries, err := os.ReadDir(directory)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	many := func(clients int) {
		for i := 0; i < clients; i++ {
			client, err := gometa.New(peers())
			if err != nil {
				t.Fatal(err)
			}
			if i%4 == 0 {
				if _, err := client.Get(context.Background(), "k"); err != nil && !errors.Is(err, gometa.ErrNotFound) {
					t.Fatal(err)
				}
			}
			client.Close()
		}
	}
	many(clients / 4)
	goroutines, before := runtime.NumGoroutine(), resident(t)
	descriptors, threads := count("/proc/self/fd"), count("/proc/self/task")
	many(clients)
	until(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	until(t, "descriptors are closed", func() bool { return count("/proc/self/fd") <= descriptors })
	// The Go runtime keeps idle threads.
	if now := count("/proc/self/task"); now > threads+8 {
		t.Fatalf("%d threads, %d before", now, threads)
	}
	growth := resident(t) - before
	t.Logf("%d clients: %d KiB, and %d KiB more", clients, before>>10, growth>>10)
	if watchesMemory && growth > growthMax {
		t.Fatalf("%d clients took %d KiB", clients, growth>>10)
	}
}

func BenchmarkGet(b *testing.B) {
	client, ctx, key := open(b), context.Background(), fresh(b, "k")
	if _, err := client.Set(ctx, key, make([]byte, 128)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := client.Get(ctx, key); err != nil {
			b.Fatal(err)
		}
	}
}

// sessionsNow returns the number of sessions of the ensemble, without opening one.
func sessionsNow(t testing.TB, client *gometa.Client) uint64 {
	t.Helper()
	ctx := within(t)
	members, err := client.Members(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leader, err := client.StatusOf(ctx, members.Leader)
	if err != nil {
		t.Fatal(err)
	}
	return leader.Sessions
}

// Closed clients leave no sessions. Sessions of other tests may end meanwhile.
func TestClosingEndsTheSession(t *testing.T) {
	const clients, few = 50, 3
	looking, key := open(t), fresh(t, "k")
	before := sessionsNow(t, looking)
	for i := 0; i < clients; i++ {
		client, err := gometa.New(peers())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Set(within(t), key, nil); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	until(t, "sessions have ended", func() bool { return sessionsNow(t, looking) <= before+few })
}

// A client passes its records to its own function, with the times of the events.
func TestLogging(t *testing.T) {
	records := make(chan gometa.LogRecord, 1000)
	begun := time.Now()
	client := openAt(t, []string{dead()}, gometa.WithTimeout(100*time.Millisecond),
		gometa.WithLog(gometa.LogDebug, func(record gometa.LogRecord) { records <- record }))
	quiet := make(chan gometa.LogRecord, 1000)
	other := open(t, gometa.WithLog(gometa.LogWarn, func(record gometa.LogRecord) { quiet <- record }))
	if _, err := other.Members(within(t)); err != nil {
		t.Fatal(err)
	}
	_, err := client.Get(context.Background(), "k")
	fails(t, err, gometa.ErrUnavailable)
	first := <-records
	if first.Level != gometa.LogWarn || !strings.Contains(first.Message, "dial failed address="+dead()) {
		t.Fatalf("%+v", first)
	}
	if first.Time.Before(begun.Add(-time.Second)) || first.Time.After(time.Now().Add(time.Second)) {
		t.Fatal(first.Time)
	}
	until(t, "there is more at level debug", func() bool {
		record := <-records
		return record.Level == gometa.LogDebug
	})
	client.Close()
	other.Close()
	if len(quiet) != 0 {
		t.Fatalf("%+v", <-quiet)
	}
	for _, option := range []gometa.Option{gometa.WithLog(0, func(gometa.LogRecord) {}), gometa.WithLog(gometa.LogInfo, nil)} {
		if _, err := gometa.New(peers(), option); !errors.Is(err, gometa.ErrInvalidArgument) {
			t.Fatal(err)
		}
	}
	if gometa.LogWarn.String() != "warn" || gometa.LogInfo.String() != "info" || gometa.LogDebug.String() != "debug" ||
		gometa.LogLevel(9).String() != "unknown" {
		t.Fatal("names of levels")
	}
}

func TestTimeoutsOutOfRangeAreInvalid(t *testing.T) {
	for _, fault := range []time.Duration{0, -1, 365*24*time.Hour + 1, 1<<63 - 1} {
		for _, option := range []gometa.Option{
			gometa.WithTimeout(fault), gometa.WithConnectTimeout(fault),
			gometa.WithKeepalive(fault, time.Second), gometa.WithKeepalive(time.Second, fault),
		} {
			if _, err := gometa.New(peers(), option); !errors.Is(err, gometa.ErrInvalidArgument) {
				t.Fatal(fault, err)
			}
		}
	}
	// A context may have any deadline.
	ctx, cancel := context.WithTimeout(context.Background(), 1<<63-1)
	defer cancel()
	if _, err := open(t).Set(ctx, fresh(t, "k"), nil); err != nil {
		t.Fatal(err)
	}
}
