//go:build cgo

package gometa

import (
	"context"
	"errors"
	"sync/atomic"
)

// Relation is how a fact of a key, on the left, relates to an operand. Values are ordered by their bytes.
type Relation uint32

const (
	// Equal: the same.
	Equal Relation = numberEqual
	// NotEqual: another.
	NotEqual Relation = numberNotEqual
	// Less: lower.
	Less Relation = numberLess
	// Greater: higher.
	Greater Relation = numberGreater
)

// String returns "=", "!=", "<" or ">".
func (r Relation) String() string {
	switch r {
	case Equal:
		return "="
	case NotEqual:
		return "!="
	case Less:
		return "<"
	case Greater:
		return ">"
	default:
		return "unknown"
	}
}

// Compare is a comparison of a transaction.
type Compare struct {
	fact       fact
	key, value string
	relation   Relation
	revision   uint64
	// keys and count are those of a range.
	keys  Range
	count uint64
}

// CompareModRevision compares the revision of the last write to a key; 0 if the key does not exist.
func CompareModRevision(key string, relation Relation, revision uint64) Compare {
	return Compare{fact: factModRevision, key: key, relation: relation, revision: revision}
}

// CompareCreateRevision compares the revision at which a key was created; 0 if the key does not exist.
func CompareCreateRevision(key string, relation Relation, revision uint64) Compare {
	return Compare{fact: factCreateRevision, key: key, relation: relation, revision: revision}
}

// CompareValue compares a key's value. It never holds if the key does not exist.
func CompareValue(key string, relation Relation, value []byte) Compare {
	return Compare{fact: factValue, key: key, relation: relation, value: string(value)}
}

// CompareExists holds if the key exists.
func CompareExists(key string) Compare {
	return CompareModRevision(key, Greater, 0)
}

// CompareAbsent holds if the key does not exist.
func CompareAbsent(key string) Compare {
	return CompareModRevision(key, Equal, 0)
}

// CompareRange holds if the range has exactly count keys, and none of them was written after revision: it is as a scan at that
// revision found it. All such comparisons of a transaction have at most 1,000 keys together. The range has a Prefix, a Start and
// an End only.
func CompareRange(keys Range, count, revision uint64) Compare {
	return Compare{fact: factRange, keys: keys, count: count, revision: revision}
}

// CompareEmpty holds if the range has no key. The range has a Prefix, a Start and an End only.
func CompareEmpty(keys Range) Compare {
	return CompareRange(keys, 0, 0)
}

// Op is an operation of a transaction.
type Op struct {
	kind       opKind
	key, value string
	keys       Range
}

// OpSet creates or replaces a key.
func OpSet(key string, value []byte) Op {
	return Op{kind: opSet, key: key, value: string(value)}
}

// OpDelete deletes a key, if it exists.
func OpDelete(key string) Op {
	return Op{kind: opDelete, key: key}
}

// OpGet reads a key.
func OpGet(key string) Op {
	return Op{kind: opGet, key: key}
}

// OpRange reads the first page of a range, which has no AtRevision. It must not stand between two writes to its keys.
func OpRange(keys Range) Op {
	return Op{kind: opRange, keys: keys}
}

// OpDeleteRange deletes all keys of a range, which has a Prefix, a Start or an End, and nothing else: at most 1,000 keys, less the
// number of the other writes of the branch, with at most 1 MiB of key bytes. The branch writes none of these keys otherwise.
func OpDeleteRange(keys Range) Op {
	return Op{kind: opDeleteRange, keys: keys}
}

// Txn is a transaction: several operations on any keys, executed as one, or those of another branch if a comparison does not
// hold. It has at most 128 comparisons, and 128 operations in each branch, which writes no key twice. It can be committed
// repeatedly, and concurrently while it is not changed.
//
//	take := gometa.NewTxn().
//		When(gometa.CompareExists("jobs/waiting/7"), gometa.CompareAbsent("jobs/running/7")).
//		Then(gometa.OpDelete("jobs/waiting/7"), gometa.OpSet("jobs/running/7", []byte("worker-3"))).
//		Otherwise(gometa.OpGet("jobs/running/7"))
//	result, err := client.Commit(ctx, take)
type Txn struct {
	when            []Compare
	then, otherwise []Op
}

// NewTxn returns a transaction without comparisons and operations.
func NewTxn() *Txn {
	return &Txn{}
}

// When adds comparisons, and returns the transaction. Without any, the operations of Then are executed.
func (t *Txn) When(comparisons ...Compare) *Txn {
	t.when = append(t.when, comparisons...)
	return t
}

// Then adds operations that are executed if all comparisons hold, and returns the transaction. Each sees what earlier ones
// have written.
func (t *Txn) Then(operations ...Op) *Txn {
	t.then = append(t.then, operations...)
	return t
}

// Otherwise adds operations that are executed if a comparison does not hold, and returns the transaction.
func (t *Txn) Otherwise(operations ...Op) *Txn {
	t.otherwise = append(t.otherwise, operations...)
	return t
}

// TxnResult is the result of a committed transaction.
type TxnResult struct {
	// Succeeded says whether every comparison held, so that the operations of Then were executed; else those of Otherwise
	// were.
	Succeeded bool
	// Revision is the revision at which it was executed; if it writes in neither branch, the one that was read at.
	Revision uint64
	// Results are the results of the executed operations, in their order.
	Results []OpResult
}

// OpResult is the result of an operation of a transaction. One field is set, that of the operation. After OpGet of a key that
// did not exist, none is.
type OpResult struct {
	// Written is the result of OpSet.
	Written *Written
	// Deleted is the result of OpDelete.
	Deleted *Deleted
	// Entry is the result of OpGet; nil if the key did not exist.
	Entry *Entry
	// Page is the result of OpRange.
	Page *Page
	// DeletedRange is the result of OpDeleteRange.
	DeletedRange *DeletedRange
	// Err is set, an *Error, if the operation was executed but its result was left out of the response. ErrTooLarge: the
	// response is full; read the rest at the revision Error.ActualRevision. ErrCompacted: the ensemble's history begins
	// after the transaction by now.
	Err error
}

// Commit executes a transaction, once. If it writes in neither branch, it is a read of one revision, and the options apply to
// it; on other transactions they have no effect. That a comparison does not hold is not an error.
//
// It returns ErrInvalidArgument for an empty key, a key that a branch writes twice, a range that has a revision or stands
// between two writes to its keys, and a range to compare or to delete that has more than bounds; ErrTooLarge for more than 128
// comparisons, more than 128 operations in a branch, more than 1,052,800 bytes encoded, or if it has to do with too much: more
// than 8 MiB of values of the keys that it compares or may write, or of records of the ranges that it compares, or of those that
// it may delete, more than 1,000 keys that a branch changes, more than 1 MiB of keys in the ranges that a branch deletes; and
// the errors of Set.
func (c *Client) Commit(ctx context.Context, txn *Txn, options ...ReadOption) (TxnResult, error) {
	if txn == nil {
		return TxnResult{}, invalid(operationTxn, "the transaction is nil")
	}
	reading, err := readingOf(operationTxn, options)
	if err != nil {
		return TxnResult{}, err
	}
	return do(c, ctx, operationTxn, &arguments{call: callCommit, txn: txn, reading: reading}, (*request).txnResult)
}

// Transaction calls a function that reads and writes keys, and makes its writes take effect as one, if nothing that it has
// read has changed meanwhile. Otherwise it calls the function again, until the deadline of the context, or the client's
// timeout if it has none. So the function must have no other effects. What it reads is from one revision, with its own
// writes.
//
//	err := client.Transaction(ctx, func(tx *gometa.Transaction) error {
//		line, err := tx.Get("line")
//		if err != nil {
//			return err
//		}
//		tx.Set("line", append(line, 'x'))
//		return nil
//	})
//
// A function that writes may read 128 keys and ranges, and write 128 keys, within the limits of Commit.
//
// It returns the function's error as it is; the writes then have no effect. It returns ErrDeadlineExceeded with
// OutcomeNotApplied if other writes have changed what the function reads each time, with OutcomeUnknown if the time ends
// while a commit awaits its answer, and the errors of Commit.
func (c *Client) Transaction(ctx context.Context, function func(tx *Transaction) error) error {
	if function == nil {
		return invalid(operationTxn, "the function is nil")
	}
	tx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.attempts.free()
	for {
		tx.compacted.Store(false)
		// What it reads may have left the history. Then the commit writes nothing, and another attempt begins.
		if err := function(tx); err != nil && !(tx.compacted.Load() && errors.Is(err, ErrCompacted)) {
			return err
		}
		commit := &arguments{call: callCommitAttempt, attempts: &tx.attempts}
		if committed, err := do(c, ctx, operationTxn, commit, (*request).committed); err != nil || committed {
			return err
		}
	}
}

func (c *Client) begin(ctx context.Context) (*Transaction, error) {
	timeout, err := c.timeLeft(ctx, operationTxn)
	if err != nil {
		return nil, err
	}
	tag, _, err := c.core.enter(operationTxn)
	if err != nil {
		return nil, err
	}
	defer c.core.leave()
	c.core.forget(tag)
	tx := &Transaction{client: c, ctx: ctx}
	return tx, c.core.library.begin(timeout, c.guard, &tx.attempts)
}

// Transaction is what the function of Client.Transaction reads and writes. It is safe for concurrent use while the function
// runs. It must not be used after a call of the function has returned: while the function is called again, a late Set is a
// write of that call. After Client.Transaction has returned, Get and Range return ErrInvalidArgument, Set and Delete have no
// effect.
type Transaction struct {
	client   *Client
	ctx      context.Context
	attempts attempts
	// compacted says whether what this attempt reads has left the history.
	compacted atomic.Bool
}

// Get reads a key: the value that this transaction has set, or that of the revision that it reads at. It returns nil if the
// key does not exist; the value of a key that exists is never nil. The context of the transaction ends it.
//
// It returns ErrDeadlineExceeded when the time of the whole transaction is over, ErrCompacted if the revision has left the
// ensemble's history (the function is called again if it returns that), and the errors of Client.Get, except for ErrNotFound.
func (t *Transaction) Get(key string) ([]byte, error) {
	read := &arguments{call: callReadInAttempt, key: key, attempts: &t.attempts}
	value, err := do(t.client, t.ctx, operationTxn, read, (*request).value)
	if errors.Is(err, ErrCompacted) {
		t.compacted.Store(true)
	}
	return value, err
}

// Range reads all keys of a range: those that this transaction has set, whose Version and revisions are 0, and others as of the
// revision that it reads at. The range has a Prefix, a Start, an End, Reverse and KeysOnly only. The page is the only one.
//
// It returns ErrTooLarge if the ranges that the transaction reads have more than 1,000 keys together, ErrInvalidArgument if the
// range has anything else, and the errors of Get.
func (t *Transaction) Range(keys Range) (Page, error) {
	read := &arguments{
		call: callReadRangeInAttempt, ranged: &keys, reading: reading{consistency: consistencyLinearizable},
		attempts: &t.attempts,
	}
	page, err := do(t.client, t.ctx, operationTxn, read, (*request).page)
	if err != nil {
		if errors.Is(err, ErrCompacted) {
			t.compacted.Store(true)
		}
		return Page{}, err
	}
	return *page, nil
}

// Set creates or replaces a key, if the transaction takes effect. Key and value are checked by the commit.
func (t *Transaction) Set(key string, value []byte) {
	t.attempts.set(key, value)
}

// Delete deletes a key, if it exists and the transaction takes effect.
func (t *Transaction) Delete(key string) {
	t.attempts.delete(key)
}
