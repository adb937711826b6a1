//go:build cgo

package gometa

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// grace is how long a call whose context's deadline has passed waits for the library, which has the same deadline and
// knows more: whether a write was sent, and why there was no answer.
const grace = 200 * time.Millisecond

// Client is a handle on an ensemble, safe for use by any number of goroutines at a time. One is enough for a program:
// all its calls share one connection. It does no IO before its first call.
//
// Close gives back what it holds; there is no finalizer that would do it.
type Client struct {
	// library is nil in a Client that New has not made.
	library *library
	// watched is closed when nobody uses the queue any more.
	watched chan struct{}
	closing sync.Once

	mutex sync.Mutex
	// waiting has the calls that wait for their tag. Whoever takes one out of it has it to itself.
	waiting map[uint64]chan struct{}
	lastTag uint64
	// users counts calls that use the library.
	users  int
	closed bool
	// unused is told when users falls to 0 in a closed client.
	unused *sync.Cond
	// last are the counters at the end.
	last Counters
}

// New makes a client of these peers: addresses of nodes' ports for clients, "host:port", each also a list of them with
// commas between. It does no IO, so it succeeds with every peer down.
//
// It returns ErrInvalidArgument if there is no address, or one that cannot be an address, or an option makes no sense.
func New(peers []string, options ...Option) (*Client, error) {
	wanted := settings{name: "gometa-go"}
	for _, option := range options {
		if option == nil {
			return nil, invalid("build client", "an option is nil")
		}
		option(&wanted)
	}
	library, err := openLibrary(strings.Join(peers, ","), &wanted)
	if err != nil {
		return nil, err
	}
	client := &Client{
		library: library,
		watched: make(chan struct{}),
		waiting: make(map[uint64]chan struct{}),
	}
	client.unused = sync.NewCond(&client.mutex)
	go client.watch()
	if library.log != nil {
		go library.log.watch(wanted.log)
	}
	return client, nil
}

// Close ends the client: calls that run return ErrClosed, and so does every later one. It has the client's session ended,
// which takes 200 ms at most, and returns when all that the client held is given back. A client that is not closed leaves
// its session to the ensemble until that times out. Closing again does nothing. The error is always nil.
func (c *Client) Close() error {
	if c == nil || c.library == nil {
		return nil
	}
	c.closing.Do(func() {
		c.mutex.Lock()
		c.closed = true
		c.mutex.Unlock()
		c.library.close()
		c.mutex.Lock()
		for c.users > 0 {
			c.unused.Wait()
		}
		c.last = c.library.counters()
		c.mutex.Unlock()
		c.library.closeQueue()
		<-c.watched
		if c.library.log != nil {
			// Its goroutine passes on what is there and frees it.
			c.library.log.close()
			c.library.log = nil
		}
		c.library.free()
	})
	return nil
}

// Counters say what the client has done so far; what it had done, after Close.
func (c *Client) Counters() Counters {
	if c == nil || c.library == nil {
		return Counters{}
	}
	c.mutex.Lock()
	if c.closed {
		defer c.mutex.Unlock()
		return c.last
	}
	c.users++
	c.mutex.Unlock()
	defer c.leave()
	return c.library.counters()
}

// Add creates a key.
//
// It returns ErrAlreadyExists, with the revision at which it is, and what every write can meet: see Set.
func (c *Client) Add(ctx context.Context, key string, value []byte) (Written, error) {
	return do(c, ctx, "add", &arguments{call: callAdd, key: key, value: value}, (*request).written)
}

// Set creates or replaces a key.
//
// It returns ErrInvalidArgument for an empty key, ErrTooLarge, ErrUnavailable if there was no connection to any node
// until the deadline, ErrDeadlineExceeded if there was one and no answer in time, ErrCancelled if the context was,
// ErrSessionExpired, ErrClosed. Error.Outcome says whether the write may have taken effect; with ErrUnavailable it has
// not.
func (c *Client) Set(ctx context.Context, key string, value []byte) (Written, error) {
	return do(c, ctx, "set", &arguments{call: callSet, key: key, value: value}, (*request).written)
}

// CAS replaces a key if its ModRevision is revision; 0 stands for "it does not exist".
//
// It returns ErrCasMismatch, with the actual revision, and what every write can meet: see Set.
func (c *Client) CAS(ctx context.Context, key string, revision uint64, value []byte) (Written, error) {
	asked := &arguments{call: callCas, key: key, value: value, revision: revision}
	return do(c, ctx, "cas", asked, (*request).written)
}

// Delete removes a key, whether it is there or not.
//
// It returns what every write can meet: see Set.
func (c *Client) Delete(ctx context.Context, key string) (Deleted, error) {
	return do(c, ctx, "delete", &arguments{call: callDelete, key: key}, (*request).deleted)
}

// DeleteIf removes a key if its ModRevision is revision.
//
// It returns ErrCasMismatch, with the actual revision, and what every write can meet: see Set.
func (c *Client) DeleteIf(ctx context.Context, key string, revision uint64) (Deleted, error) {
	asked := &arguments{call: callDeleteIf, key: key, revision: revision}
	return do(c, ctx, "delete", asked, (*request).deleted)
}

// Get reads a key, seeing every write that was acknowledged before; options say otherwise.
//
// It returns ErrNotFound, ErrInvalidArgument for an empty key, ErrTooLarge, ErrUnavailable, ErrDeadlineExceeded,
// ErrCancelled, ErrClosed.
func (c *Client) Get(ctx context.Context, key string, options ...GetOption) (Entry, error) {
	reading := reading{consistency: consistencyLinearizable}
	for _, option := range options {
		if option == nil {
			return Entry{}, invalid("get", "an option is nil")
		}
		option(&reading)
	}
	asked := &arguments{call: callGet, key: key, consistency: reading.consistency, revision: reading.minRevision}
	entry, err := do(c, ctx, "get", asked, (*request).entry)
	if err == nil {
		entry.Key = key
	}
	return entry, err
}

// Status says how the node in use is.
//
// It returns ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Status(ctx context.Context) (NodeStatus, error) {
	return do(c, ctx, "status", &arguments{call: callStatus}, (*request).nodeStatus)
}

// StatusOf says how the node at an address for clients, "host:port", is. It is asked once, over a connection of its
// own.
//
// It returns ErrInvalidArgument for what cannot be an address, ErrUnavailable if the node cannot be reached,
// ErrConnectionLost, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) StatusOf(ctx context.Context, address string) (NodeStatus, error) {
	if strings.IndexByte(address, 0) >= 0 {
		return NodeStatus{}, invalid("status", "address has a zero byte in it")
	}
	return do(c, ctx, "status", &arguments{call: callStatusOf, key: address + "\x00"}, (*request).nodeStatus)
}

// Members says who the members are, and what the node in use says of its role and of the leader.
//
// It returns ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Members(ctx context.Context) (Members, error) {
	return do(c, ctx, "members", &arguments{call: callMembers}, (*request).members)
}

// do makes a call: it starts a request, waits for its end or that of the context, and reads the result.
func do[T any](
	c *Client, ctx context.Context, operation string, asked *arguments, read func(*request) T,
) (result T, err error) {
	if c == nil || c.library == nil {
		return result, invalid(operation, "this client was not made by New")
	}
	if ctx == nil {
		return result, invalid(operation, "the context is nil")
	}
	if ended := ctx.Err(); ended != nil {
		return result, byContext(operation, ended, NotApplied)
	}
	var timeout time.Duration
	deadline, bounded := ctx.Deadline()
	if bounded {
		if timeout = time.Until(deadline); timeout <= 0 {
			return result, byContext(operation, context.DeadlineExceeded, NotApplied)
		}
		if timeout > timeoutMax {
			timeout = timeoutMax
		}
	}

	tag, done, err := c.enter(operation)
	if err != nil {
		return result, err
	}
	defer c.leave()
	started, err := c.library.start(asked, tag, timeout)
	if err != nil {
		c.forget(tag)
		return result, err
	}
	defer started.release()
	select {
	case <-done:
	case <-ctx.Done():
		c.await(ctx, tag, done, started)
	}

	err = started.take()
	if err == nil {
		return read(started), nil
	}
	var failed *Error
	if errors.As(err, &failed) {
		switch {
		case failed.Kind == ErrCancelled && ctx.Err() != nil:
			err = byContext(operation, ctx.Err(), failed.Outcome)
		case failed.Kind == ErrDeadlineExceeded && bounded:
			failed.cause = context.DeadlineExceeded
		case failed.Kind == ErrUnavailable && bounded && time.Until(deadline) <= 0:
			// There was no connection until the context's deadline.
			failed.cause = context.DeadlineExceeded
		}
	}
	return result, err
}

// await ends a request whose context has ended. It may have come to its end meanwhile, and then has its result.
func (c *Client) await(ctx context.Context, tag uint64, done chan struct{}, started *request) {
	if ctx.Err() == context.DeadlineExceeded {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-done:
			return
		case <-timer.C:
		}
	}
	if c.forget(tag) {
		started.cancel()
	} else {
		// It is on its way.
		<-done
	}
}

// enter begins a call, if the client is open; leave must follow.
func (c *Client) enter(operation string) (uint64, chan struct{}, error) {
	done := make(chan struct{}, 1)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return 0, nil, &Error{Kind: ErrClosed, Operation: operation, Outcome: NotApplied,
			Message: operation + ": the client is closed"}
	}
	c.users++
	c.lastTag++
	c.waiting[c.lastTag] = done
	return c.lastTag, done, nil
}

// leave ends a call.
func (c *Client) leave() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.users--
	if c.closed && c.users == 0 {
		c.unused.Broadcast()
	}
}

// forget has nobody wait for a tag, and says whether somebody did.
func (c *Client) forget(tag uint64) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	_, waited := c.waiting[tag]
	delete(c.waiting, tag)
	return waited
}

// watch tells the calls whose requests have ended, until the queue is closed.
func (c *Client) watch() {
	defer close(c.watched)
	c.library.watch(func(tags []uint64) {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		for _, tag := range tags {
			// A call that was given up has gone.
			if done, waits := c.waiting[tag]; waits {
				delete(c.waiting, tag)
				done <- struct{}{}
			}
		}
	})
}
