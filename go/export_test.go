//go:build cgo

package gometa

import (
	"fmt"
	"testing"
	"time"
)

// HeaderVersion is the version of the header that the package was compiled with.
var HeaderVersion = fmt.Sprintf("%d.%d.%d", headerMajor, headerMinor, headerPatch)

// If the runtime cannot poll the descriptor, a thread blocks in C.
func TestWatchWithoutThePoller(t *testing.T) {
	library, err := openLibrary("127.0.0.1:9", &settings{name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	library.watched.Close()
	seen, ended := make(chan uint64, 1), make(chan struct{})
	go func() {
		defer close(ended)
		library.watch(func(tags []uint64) {
			for _, tag := range tags {
				seen <- tag
			}
		})
	}()
	started, err := library.start(&arguments{call: callGet, key: "k"}, 77, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	started.cancel()
	if tag := <-seen; tag != 77 {
		t.Fatal(tag)
	}
	if err := started.take(); err == nil || err.(*Error).Kind != ErrCancelled {
		t.Fatal(err)
	}
	started.release()
	library.close()
	library.closeQueue()
	<-ended
	library.free()
}
