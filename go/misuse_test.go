//go:build cgo

package gometa_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"gometa"
)

// dead returns an address on which no node listens.
func dead() string {
	return os.Getenv("GOMETA_DEAD")
}

func TestBadPeersAndOptions(t *testing.T) {
	for _, peers := range [][]string{
		nil, {}, {""}, {","}, {"no port"}, {"a:b"}, {"a:99999"}, {"127.0.0.1:0"}, {"\xff:1"}, {"a:1", "nonsense"}, {"a\x00:1"},
	} {
		if client, err := gometa.New(peers); client != nil || err == nil {
			t.Errorf("%q made a client", peers)
		} else {
			fails(t, err, gometa.ErrInvalidArgument)
		}
	}
	for name, option := range map[string]gometa.Option{
		"no timeout":         gometa.WithTimeout(0),
		"less than no time":  gometa.WithTimeout(-time.Second),
		"no connect timeout": gometa.WithConnectTimeout(0),
		"no interval":        gometa.WithKeepalive(0, time.Second),
		"no keepalive":       gometa.WithKeepalive(time.Second, 0),
		"zero byte":          gometa.WithName("a\x00b"),
		"not UTF-8":          gometa.WithName("\xff"),
		"nil":                nil,
	} {
		if client, err := gometa.New(peers(), option); client != nil || err == nil {
			t.Errorf("%s made a client", name)
		} else {
			fails(t, err, gometa.ErrInvalidArgument)
		}
	}
	// Addresses in one string, in several, and empty ones; and all options.
	client := openAt(t, []string{dead() + ",", peers()[0] + "," + peers()[1], peers()[2]},
		gometa.WithTimeout(time.Nanosecond), gometa.WithConnectTimeout(time.Second),
		gometa.WithKeepalive(time.Second, time.Second), gometa.WithName("a name that is longer than sixteen characters"))
	if _, err := client.Set(within(t), fresh(t, "k"), nil); err != nil {
		t.Fatal(err)
	}
	// Pinned to a follower, which forwards.
	status, err := client.Members(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range status.Members {
		pinned := openAt(t, []string{member.RequestAddress}, gometa.WithPinned())
		if _, err := pinned.Set(within(t), fresh(t, "k"), nil); err != nil {
			t.Fatal(err)
		}
		if status, err := pinned.Status(within(t)); err != nil || status.Node != member.Node {
			t.Fatal(status.Node, err)
		}
	}
}

func TestBadArguments(t *testing.T) {
	client, ctx := open(t), within(t)
	var nothing context.Context
	large, long := make([]byte, 1<<20+1), string(bytes.Repeat([]byte("k"), 4097))
	for name, test := range map[string]struct {
		call func() error
		kind gometa.Kind
	}{
		"empty key to set":    {func() error { _, err := client.Set(ctx, "", nil); return err }, gometa.ErrInvalidArgument},
		"empty key to add":    {func() error { _, err := client.Add(ctx, "", nil); return err }, gometa.ErrInvalidArgument},
		"empty key to cas":    {func() error { _, err := client.CAS(ctx, "", 1, nil); return err }, gometa.ErrInvalidArgument},
		"empty key to get":    {func() error { _, err := client.Get(ctx, ""); return err }, gometa.ErrInvalidArgument},
		"empty key to delete": {func() error { _, err := client.Delete(ctx, ""); return err }, gometa.ErrInvalidArgument},
		"empty key, if":       {func() error { _, err := client.DeleteIf(ctx, "", 1); return err }, gometa.ErrInvalidArgument},
		"large value":         {func() error { _, err := client.Set(ctx, "k", large); return err }, gometa.ErrTooLarge},
		"long key":            {func() error { _, err := client.Get(ctx, long); return err }, gometa.ErrTooLarge},
		"nil context":         {func() error { _, err := client.Get(nothing, "k"); return err }, gometa.ErrInvalidArgument},
		"nil option":          {func() error { _, err := client.Get(ctx, "k", nil); return err }, gometa.ErrInvalidArgument},
		"status of nonsense":  {func() error { _, err := client.StatusOf(ctx, "nonsense"); return err }, gometa.ErrInvalidArgument},
		"status of a dead":    {func() error { _, err := client.StatusOf(ctx, dead()); return err }, gometa.ErrUnavailable},
		"status of a zero":    {func() error { _, err := client.StatusOf(ctx, "a\x00:1"); return err }, gometa.ErrInvalidArgument},
		"nil client":          {func() error { _, err := (*gometa.Client)(nil).Get(ctx, "k"); return err }, gometa.ErrInvalidArgument},
		"zero client":         {func() error { _, err := new(gometa.Client).Get(ctx, "k"); return err }, gometa.ErrInvalidArgument},
	} {
		err := test.call()
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		if failed := fails(t, err, test.kind); failed.Outcome != gometa.OutcomeNotApplied {
			t.Errorf("%s: %v: the outcome is %v", name, err, failed.Outcome)
		}
	}
	for _, client := range []*gometa.Client{nil, new(gometa.Client)} {
		if client.Close() != nil || client.Counters() != (gometa.Counters{}) {
			t.Fatal("a nil or zero client")
		}
	}
}

func TestBadPeersGetErrorsWithinTheDeadline(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for name, address := range map[string]string{
		"HTTP": os.Getenv("GOMETA_HTTP"), "noise": os.Getenv("GOMETA_NOISE"), "silent": os.Getenv("GOMETA_SILENT"),
		"dead": dead(), "unresolvable": "nobody.invalid:5003",
	} {
		name, address := name, address
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := openAt(t, []string{address}, gometa.WithTimeout(timeout))
			check := func(what string, err error, begun time.Time, kinds ...gometa.Kind) {
				t.Helper()
				if took := time.Since(begun); took > timeout+2*time.Second {
					t.Errorf("%s took %v", what, took)
				}
				var failed *gometa.Error
				if !errors.As(err, &failed) {
					t.Fatalf("%s: %v", what, err)
				}
				for _, kind := range kinds {
					if failed.Kind == kind && failed.Retryable && failed.Outcome == gometa.OutcomeNotApplied {
						return
					}
				}
				t.Errorf("%s: %#v", what, failed)
			}
			begun := time.Now()
			_, err := client.Set(context.Background(), "k", []byte("v"))
			check("set", err, begun, gometa.ErrUnavailable)
			begun = time.Now()
			_, err = client.Get(context.Background(), "k")
			check("get", err, begun, gometa.ErrUnavailable)
			begun = time.Now()
			_, err = client.StatusOf(context.Background(), address)
			check("status", err, begun, gometa.ErrDeadlineExceeded, gometa.ErrUnavailable, gometa.ErrConnectionLost)
		})
	}
	t.Run("among good ones", func(t *testing.T) {
		list := append([]string{os.Getenv("GOMETA_HTTP"), os.Getenv("GOMETA_NOISE"), dead()}, peers()...)
		client := openAt(t, list, gometa.WithConnectTimeout(timeout))
		if _, err := client.Set(within(t), fresh(t, "k"), nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestClosing(t *testing.T) {
	client := openAt(t, []string{os.Getenv("GOMETA_SILENT")}, gometa.WithTimeout(time.Minute))
	const callers = 50
	ended := make(chan error, callers)
	for i := 0; i < callers; i++ {
		go func() {
			_, err := client.Set(context.Background(), "k", nil)
			ended <- err
		}()
	}
	until(t, "all calls run", func() bool { return client.Counters().InFlight == callers })
	var closers sync.WaitGroup
	begun := time.Now()
	for i := 0; i < 3; i++ {
		closers.Add(1)
		go func() {
			defer closers.Done()
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	for i := 0; i < callers; i++ {
		fails(t, <-ended, gometa.ErrClosed)
	}
	closers.Wait()
	if took := time.Since(begun); took > 10*time.Second {
		t.Fatal("closing took", took)
	}
	client.Close()
	_, err := client.Status(context.Background())
	fails(t, err, gometa.ErrClosed)
	_, err = client.Members(context.Background())
	fails(t, err, gometa.ErrClosed)

	// At any moment, during other calls.
	for round := 0; round < 20; round++ {
		client := openAt(t, peers())
		const callers = 8
		ended := make(chan error, callers)
		for i := 0; i < callers; i++ {
			go func() {
				for {
					if _, err := client.Get(context.Background(), "k"); err != nil && !errors.Is(err, gometa.ErrNotFound) {
						ended <- err
						return
					}
				}
			}()
		}
		until(t, "some calls are made", func() bool { return client.Counters().Requests > uint64(10*round) })
		client.Close()
		for i := 0; i < callers; i++ {
			fails(t, <-ended, gometa.ErrClosed)
		}
	}
}
