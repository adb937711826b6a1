//go:build cgo

package gometa

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// grace is how long a call waits for the library after its context's deadline. The library has the same deadline, and its
// error says more: whether a write was sent, and why there was no answer.
const grace = 200 * time.Millisecond

// Client is a client of an ensemble. It is safe for concurrent use. A program needs only one: all its calls share one
// connection, which is opened by the first call.
//
// Close releases its resources; there is no finalizer.
type Client struct {
	// core is nil if the Client was not created by New.
	core *core
	// guard is nil unless the Client was created by WithGuard.
	guard *guard
}

// core is what a client shares with those that WithGuard has made from it.
type core struct {
	library *library
	// watched is closed when watch has returned.
	watched chan struct{}
	closing sync.Once

	mutex sync.Mutex
	// waiting holds the calls in flight by their tag. A call is completed or forgotten by the goroutine that removes it.
	waiting map[uint64]chan struct{}
	lastTag uint64
	// users is the number of calls that use the library.
	users  int
	closed bool
	// unused is signalled when users becomes 0 in a closed client.
	unused *sync.Cond
	// last and lastHistory are the counters and the history at the time of Close.
	last        Counters
	lastHistory uint64
}

// New creates a client. Peers are the client addresses of one or more nodes, "host:port"; an element may hold several,
// separated by commas. New does no IO, so it succeeds even if no node can be reached.
//
// It returns ErrInvalidArgument if there is no address, or an invalid one, or an option is invalid.
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
	core := &core{
		library: library,
		watched: make(chan struct{}),
		waiting: make(map[uint64]chan struct{}),
	}
	core.unused = sync.NewCond(&core.mutex)
	go core.watch()
	if library.log != nil {
		go library.log.watch(wanted.log)
	}
	return &Client{core: core}, nil
}

// Close closes the client: calls in flight and all later calls return ErrClosed. It ends the client's session, which takes
// at most 200 ms, and releases all resources. The session of a client that is not closed lasts until the session timeout.
// It also closes the clients that WithGuard has made from it, and the one that this was made from. A second Close is a no-op.
// The error is always nil.
func (c *Client) Close() error {
	if c == nil || c.core == nil {
		return nil
	}
	c.core.close()
	return nil
}

func (c *core) close() {
	c.closing.Do(func() {
		c.mutex.Lock()
		c.closed = true
		c.mutex.Unlock()
		c.library.close()
		c.mutex.Lock()
		for c.users > 0 {
			c.unused.Wait()
		}
		c.last, c.lastHistory = c.library.counters(), c.library.historyID()
		c.mutex.Unlock()
		c.library.closeQueue()
		<-c.watched
		if c.library.log != nil {
			// Its goroutine handles the remaining records and frees it.
			c.library.log.close()
			c.library.log = nil
		}
		c.library.free()
	})
}

// Counters returns the counters of the client; after Close, their last values.
func (c *Client) Counters() Counters {
	if c == nil || c.core == nil {
		return Counters{}
	}
	return c.core.counters()
}

func (c *core) counters() Counters {
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

// HistoryID returns the id of the ensemble's history that the client knows; 0 before the first connection to a formed
// ensemble. It rises when the ensemble is founded anew from old data: then calls in progress return ErrHistoryChanged,
// and so do those that begin before one of them has returned it; later calls work with the new history. It does not wait;
// after Close, it is the last one.
func (c *Client) HistoryID() uint64 {
	if c == nil || c.core == nil {
		return 0
	}
	return c.core.historyID()
}

func (c *core) historyID() uint64 {
	c.mutex.Lock()
	if c.closed {
		defer c.mutex.Unlock()
		return c.lastHistory
	}
	c.users++
	c.mutex.Unlock()
	defer c.leave()
	return c.library.historyID()
}

// Add creates a key.
//
// It returns ErrAlreadyExists, with Error.ActualRevision, if the key exists, and the errors of Set.
func (c *Client) Add(ctx context.Context, key string, value []byte) (Written, error) {
	return do(c, ctx, "add", &arguments{call: callAdd, key: key, value: value}, (*request).written)
}

// Set creates or replaces a key.
//
// It returns ErrInvalidArgument if the key is empty, ErrTooLarge if key or value exceeds its limit, ErrUnavailable if no
// node could be reached before the deadline, ErrDeadlineExceeded if a node was reached and did not answer, ErrCancelled
// if the context was cancelled, ErrSessionExpired, ErrClosed. Error.Outcome says whether the write may have been applied;
// after ErrUnavailable it has not been.
func (c *Client) Set(ctx context.Context, key string, value []byte) (Written, error) {
	return do(c, ctx, "set", &arguments{call: callSet, key: key, value: value}, (*request).written)
}

// CAS replaces a key if its ModRevision equals revision; 0 means that the key must not exist.
//
// It returns ErrCASMismatch, with Error.ActualRevision, if the revision differs, and the errors of Set.
func (c *Client) CAS(ctx context.Context, key string, revision uint64, value []byte) (Written, error) {
	call := &arguments{call: callCAS, key: key, value: value, revision: revision}
	return do(c, ctx, "cas", call, (*request).written)
}

// Delete deletes a key. It succeeds if the key does not exist.
//
// It returns the errors of Set.
func (c *Client) Delete(ctx context.Context, key string) (Deleted, error) {
	return do(c, ctx, "delete", &arguments{call: callDelete, key: key}, (*request).deleted)
}

// DeleteIf deletes a key if its ModRevision equals revision.
//
// It returns ErrCASMismatch, with Error.ActualRevision, if the revision differs, and the errors of Set.
func (c *Client) DeleteIf(ctx context.Context, key string, revision uint64) (Deleted, error) {
	call := &arguments{call: callDeleteIf, key: key, revision: revision}
	return do(c, ctx, "delete", call, (*request).deleted)
}

// Get reads a key. Without options the read is linearizable: it sees every write that was acknowledged before it began.
//
// It returns ErrNotFound if the key does not exist, ErrInvalidArgument if it is empty, ErrTooLarge, ErrUnavailable,
// ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Get(ctx context.Context, key string, options ...ReadOption) (Entry, error) {
	reading, err := readingOf("get", options)
	if err != nil {
		return Entry{}, err
	}
	entry, err := do(c, ctx, "get", &arguments{call: callGet, key: key, reading: reading}, (*request).entry)
	if err == nil {
		entry.Key = key
	}
	return entry, err
}

// GetAt reads a key as it was at a revision; 0 is the present.
//
// It returns ErrNotFound if the key did not exist at that revision, ErrCompacted, with Error.ActualRevision, if the revision
// is older than the ensemble's history, ErrInvalidArgument if it is in the future, and the errors of Get.
func (c *Client) GetAt(ctx context.Context, key string, revision uint64) (Entry, error) {
	entry, err := do(c, ctx, "get", &arguments{call: callGetAt, key: key, revision: revision}, (*request).entry)
	if err == nil {
		entry.Key = key
	}
	return entry, err
}

// Status returns the status of the node that the client is connected to.
//
// It returns ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Status(ctx context.Context) (NodeStatus, error) {
	return do(c, ctx, "status", &arguments{call: callStatus}, (*request).nodeStatus)
}

// StatusOf returns the status of the node at a client address, "host:port", over a connection of its own.
//
// It returns ErrInvalidArgument if the address is invalid, ErrUnavailable if the node cannot be reached,
// ErrConnectionLost if it closes the connection, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) StatusOf(ctx context.Context, address string) (NodeStatus, error) {
	if strings.IndexByte(address, 0) >= 0 {
		return NodeStatus{}, invalid("status", "address has a zero byte in it")
	}
	return do(c, ctx, "status", &arguments{call: callStatusOf, key: address + "\x00"}, (*request).nodeStatus)
}

// Members returns the members of the ensemble and its leader, as known to the node that the client is connected to.
//
// It returns ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Members(ctx context.Context) (Members, error) {
	return do(c, ctx, "members", &arguments{call: callMembers}, (*request).members)
}

// Membership returns the members of the ensemble with their roles, as known to the node that the client is connected to.
//
// It returns ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Membership(ctx context.Context) (Membership, error) {
	changed, err := do(c, ctx, "list members", &arguments{call: callMembership}, (*request).membersChanged)
	return changed.Membership, err
}

// PromoteMember makes a learner a voter. It succeeds if the member is a voter.
//
// It returns ErrFailedPrecondition if the learner is not up to date, or too few of the voters after the change are, or the
// version of the members is not that of Follows; ErrNotFound if the node is no member; ErrUnavailable, ErrDeadlineExceeded,
// ErrCancelled, ErrClosed. Error.Outcome says whether the change may have been made; the same call again is safe.
func (c *Client) PromoteMember(ctx context.Context, node uint64, options ...ChangeOption) (MembersChanged, error) {
	return c.change(ctx, "promote member", callPromote, []uint64{node}, options)
}

// RemoveMember removes a voter or a learner. It succeeds if the node is no member. A leader hands over before it is removed.
//
// It returns ErrFailedPrecondition if it is the last voter, or too few of the voters after the change are up to date, or the
// version of the members is not that of Follows; and the other errors of PromoteMember, except for ErrNotFound.
func (c *Client) RemoveMember(ctx context.Context, node uint64, options ...ChangeOption) (MembersChanged, error) {
	return c.change(ctx, "remove member", callRemove, []uint64{node}, options)
}

// ReplaceMember replaces a voter: it makes the learner replacement a voter, and removes node. It returns when this is recorded;
// the leader then does it in steps, as soon as the learner is up to date, also after a change of the leader. It is done when
// Membership lists replacement as a voter and node not at all.
//
// It returns ErrFailedPrecondition if replacement is a voter already, node is a learner, one of the two takes part in another
// replacement, or the version of the members is not that of Follows; ErrInvalidArgument if the two are the same; and the
// other errors of PromoteMember.
func (c *Client) ReplaceMember(
	ctx context.Context, node, replacement uint64, options ...ChangeOption,
) (MembersChanged, error) {
	return c.change(ctx, "replace member", callReplace, []uint64{node, replacement}, options)
}

// CancelPromotion leaves a learner that is to become a voter a learner; a replacement of another member by this one ends.
//
// It returns ErrFailedPrecondition if the node is a voter already, and the errors of PromoteMember.
func (c *Client) CancelPromotion(ctx context.Context, node uint64, options ...ChangeOption) (MembersChanged, error) {
	return c.change(ctx, "cancel promotion", callCancelPromotion, []uint64{node}, options)
}

// TransferLeadership hands the leadership over to a voter, with 0 to any other one. It returns the id of the node that leads
// now.
//
// It returns ErrFailedPrecondition if no such voter is up to date, with disk space and without a fault, and the errors of
// PromoteMember. The same call again is safe with a node; with 0 it hands over again.
func (c *Client) TransferLeadership(ctx context.Context, to uint64) (uint64, error) {
	return do(c, ctx, "transfer leadership", &arguments{call: callTransfer, revision: to}, (*request).leader)
}

// SafeToStop returns whether these members can be stopped together without stopping the ensemble.
//
// It returns ErrNotFound if one is no member, ErrInvalidArgument if none is named, ErrUnavailable, ErrDeadlineExceeded,
// ErrCancelled, ErrClosed.
func (c *Client) SafeToStop(ctx context.Context, nodes ...uint64) (StopAdvice, error) {
	return do(c, ctx, "safe to stop", &arguments{call: callSafeToStop, nodes: nodes}, (*request).stopAdvice)
}

func (c *Client) change(
	ctx context.Context, operation string, call callNumber, nodes []uint64, options []ChangeOption,
) (MembersChanged, error) {
	var changing changing
	for _, option := range options {
		if option == nil {
			return MembersChanged{}, invalid(operation, "an option is nil")
		}
		option(&changing)
	}
	changed := &arguments{call: call, revision: nodes[0], nodes: nodes[1:], follows: changing.follows}
	return do(c, ctx, operation, changed, (*request).membersChanged)
}

// do makes a call: it starts a request, waits until it or its context ends, and reads the result.
func do[T any](
	c *Client, ctx context.Context, operation string, call *arguments, read func(*request) T,
) (result T, err error) {
	timeout, err := c.timeLeft(ctx, operation)
	if err != nil {
		return result, err
	}
	deadline, bounded := ctx.Deadline()
	tag, done, err := c.core.enter(operation)
	if err != nil {
		return result, err
	}
	defer c.core.leave()
	started, err := c.core.library.start(call, tag, timeout, c.guard)
	if err != nil {
		c.core.forget(tag)
		return result, err
	}
	defer started.release()
	select {
	case <-done:
	case <-ctx.Done():
		c.core.await(ctx, tag, done, started)
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
			// No node could be reached before the context's deadline.
			failed.cause = context.DeadlineExceeded
		}
	}
	return result, err
}

// timeLeft returns the timeout of a call, 0 for the client's timeout; an error if the call cannot be made.
func (c *Client) timeLeft(ctx context.Context, operation string) (time.Duration, error) {
	if c == nil || c.core == nil {
		return 0, invalid(operation, "the client was not created by New")
	}
	if ctx == nil {
		return 0, invalid(operation, "the context is nil")
	}
	if ended := ctx.Err(); ended != nil {
		return 0, byContext(operation, ended, OutcomeNotApplied)
	}
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return 0, nil
	}
	timeout := time.Until(deadline)
	if timeout <= 0 {
		return 0, byContext(operation, context.DeadlineExceeded, OutcomeNotApplied)
	}
	if timeout > timeoutMax {
		timeout = timeoutMax
	}
	return timeout, nil
}

// await ends a request whose context has ended, unless it has completed meanwhile.
func (c *core) await(ctx context.Context, tag uint64, done chan struct{}, started *request) {
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
		// It has completed; watch is about to send.
		<-done
	}
}

// enter registers a call, unless the client is closed. A call of leave must follow.
func (c *core) enter(operation string) (uint64, chan struct{}, error) {
	done := make(chan struct{}, 1)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return 0, nil, &Error{Kind: ErrClosed, Operation: operation, Outcome: OutcomeNotApplied,
			Message: operation + ": the client is closed"}
	}
	c.users++
	c.lastTag++
	c.waiting[c.lastTag] = done
	return c.lastTag, done, nil
}

// leave unregisters a call.
func (c *core) leave() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.users--
	if c.closed && c.users == 0 {
		c.unused.Broadcast()
	}
}

// forget removes a tag from the calls in flight; it returns whether it was there.
func (c *core) forget(tag uint64) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	_, waited := c.waiting[tag]
	delete(c.waiting, tag)
	return waited
}

// watch wakes the calls whose requests have completed, until the queue is closed.
func (c *core) watch() {
	defer close(c.watched)
	c.library.watch(func(tags []uint64) {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		for _, tag := range tags {
			// A cancelled call is not there any more.
			if done, waits := c.waiting[tag]; waits {
				delete(c.waiting, tag)
				done <- struct{}{}
			}
		}
	})
}
