//go:build cgo

package gometa_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"gometa"
)

// variables are the environment variables by which gometa-testbed passes the addresses of its ensemble and its bad peers.
var variables = []string{"GOMETA_PEERS", "GOMETA_TESTBED", "GOMETA_HTTP", "GOMETA_NOISE", "GOMETA_SILENT", "GOMETA_DEAD"}

// patience is the timeout of everything that must happen.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	for _, name := range variables {
		if os.Getenv(name) == "" {
			fmt.Fprintf(os.Stderr, "%s is not set: these tests need an ensemble; run them by\n"+
				"    gometa-testbed -- go test ./...\n", name)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// peers returns the client addresses of the ensemble.
func peers() []string {
	return strings.Split(os.Getenv("GOMETA_PEERS"), ",")
}

// open creates a client of the ensemble that is closed at the end of the test.
func open(t testing.TB, options ...gometa.Option) *gometa.Client {
	t.Helper()
	return openAt(t, peers(), options...)
}

func openAt(t testing.TB, peers []string, options ...gometa.Option) *gometa.Client {
	t.Helper()
	client, err := gometa.New(peers, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// within returns a context that ends with the test, or after patience.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// fresh returns a key that no other test or run uses.
func fresh(t testing.TB, name string) string {
	return fmt.Sprintf("go/%s/%d/%s", t.Name(), time.Now().UnixNano(), name)
}

// fails checks that err is a complete *gometa.Error of that kind.
func fails(t testing.TB, err error, kind gometa.Kind) *gometa.Error {
	t.Helper()
	var failed *gometa.Error
	if !errors.As(err, &failed) {
		t.Fatalf("%v (%T) is no *gometa.Error; expected %v", err, err, kind)
	}
	if failed.Kind != kind || !errors.Is(err, kind) {
		t.Fatalf("%v is %v; expected %v", err, failed.Kind, kind)
	}
	for other := gometa.Kind(0); other < 40; other++ {
		if other != kind && errors.Is(err, other) {
			t.Fatalf("%v is %v too", err, other)
		}
	}
	if failed.Message == "" || failed.Operation == "" || !strings.Contains(err.Error(), failed.Message) {
		t.Fatalf("%#v says too little", failed)
	}
	return failed
}

// testbed sends a command to the testbed: kill-leader, ready.
func testbed(t testing.TB, command string) string {
	t.Helper()
	connection, err := net.Dial("tcp", os.Getenv("GOMETA_TESTBED"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(connection, command)
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "ok") {
		t.Fatalf("the testbed answers %q to %s: %v", answer, command, err)
	}
	return strings.TrimSpace(strings.TrimPrefix(answer, "ok"))
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}
