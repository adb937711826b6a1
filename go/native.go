//go:build cgo

package gometa

// This file and native_results.go, which reads results, are the only ones with cgo; native.h has their functions in C. Go
// calls C, a few short calls for each request; C never calls Go.
//
// A request is a future of libgometa. When it is ready, its tag is in the client's queue, whose descriptor the Go runtime
// polls like any other: an idle client holds no thread, and a waiting goroutine is parked.

/*
#cgo !gometa_static pkg-config: gometa
#cgo gometa_static pkg-config: gometa-static
// Go's build cache does not consider the output of pkg-config: this flag tells the two builds apart.
#cgo gometa_static CFLAGS: -DGOMETA_STATIC

#include "native.h"
*/
import "C"

import (
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// The numbers of the header, for the exported constants.
const (
	numberInvalidArgument    = C.GOMETA_INVALID_ARGUMENT
	numberNotFound           = C.GOMETA_NOT_FOUND
	numberAlreadyExists      = C.GOMETA_ALREADY_EXISTS
	numberCASMismatch        = C.GOMETA_CAS_MISMATCH
	numberDeadlineExceeded   = C.GOMETA_DEADLINE_EXCEEDED
	numberUnavailable        = C.GOMETA_UNAVAILABLE
	numberNotLeader          = C.GOMETA_NOT_LEADER
	numberConnectionLost     = C.GOMETA_CONNECTION_LOST
	numberTooLarge           = C.GOMETA_TOO_LARGE
	numberSessionExpired     = C.GOMETA_SESSION_EXPIRED
	numberUnauthenticated    = C.GOMETA_UNAUTHENTICATED
	numberPermissionDenied   = C.GOMETA_PERMISSION_DENIED
	numberResourceExhausted  = C.GOMETA_RESOURCE_EXHAUSTED
	numberCompacted          = C.GOMETA_COMPACTED
	numberCancelled          = C.GOMETA_CANCELLED
	numberClosed             = C.GOMETA_CLOSED
	numberUnsupported        = C.GOMETA_UNSUPPORTED
	numberInternal           = C.GOMETA_INTERNAL
	numberForked             = C.GOMETA_FORKED
	numberForgotten          = C.GOMETA_FORGOTTEN
	numberFailedPrecondition = C.GOMETA_FAILED_PRECONDITION
	numberGuardFailed        = C.GOMETA_GUARD_FAILED
	numberHistoryChanged     = C.GOMETA_HISTORY_CHANGED

	numberOutcomeUnknown    = C.GOMETA_OUTCOME_UNKNOWN
	numberOutcomeNotApplied = C.GOMETA_OUTCOME_NOT_APPLIED

	numberRoleUnknown   = C.GOMETA_ROLE_UNKNOWN
	numberRoleForming   = C.GOMETA_ROLE_FORMING
	numberRoleLooking   = C.GOMETA_ROLE_LOOKING
	numberRoleFollowing = C.GOMETA_ROLE_FOLLOWING
	numberRoleLeading   = C.GOMETA_ROLE_LEADING
	numberRoleLearning  = C.GOMETA_ROLE_LEARNING

	numberLogWarn  = C.GOMETA_LOG_WARN
	numberLogInfo  = C.GOMETA_LOG_INFO
	numberLogDebug = C.GOMETA_LOG_DEBUG

	consistencyLinearizable = C.GOMETA_LINEARIZABLE
	consistencyLocal        = C.GOMETA_LOCAL

	numberEqual    = C.GOMETA_EQUAL
	numberNotEqual = C.GOMETA_NOT_EQUAL
	numberLess     = C.GOMETA_LESS
	numberGreater  = C.GOMETA_GREATER

	headerMajor = C.GOMETA_VERSION_MAJOR
	headerMinor = C.GOMETA_VERSION_MINOR
	headerPatch = C.GOMETA_VERSION_PATCH
)

const (
	callAdd      = C.CALL_ADD
	callSet      = C.CALL_SET
	callCAS      = C.CALL_CAS
	callDelete   = C.CALL_DELETE
	callDeleteIf = C.CALL_DELETE_IF
	callGet      = C.CALL_GET
	callGetAt    = C.CALL_GET_AT

	callRange        = C.CALL_RANGE
	callNextPage     = C.CALL_NEXT_PAGE
	callCount        = C.CALL_COUNT
	callHistory      = C.CALL_HISTORY
	callDeletePrefix = C.CALL_DELETE_PREFIX

	callCommit             = C.CALL_COMMIT
	callReadInAttempt      = C.CALL_READ_IN_ATTEMPT
	callReadRangeInAttempt = C.CALL_READ_RANGE_IN_ATTEMPT
	callCommitAttempt      = C.CALL_COMMIT_ATTEMPT

	callSettings     = C.CALL_SETTINGS
	callSetSetting   = C.CALL_SET_SETTING
	callResetSetting = C.CALL_RESET_SETTING

	callStatus   = C.CALL_STATUS
	callStatusOf = C.CALL_STATUS_OF
	callMembers  = C.CALL_MEMBERS

	callMembership      = C.CALL_MEMBERSHIP
	callPromote         = C.CALL_PROMOTE
	callRemove          = C.CALL_REMOVE
	callReplace         = C.CALL_REPLACE
	callCancelPromotion = C.CALL_CANCEL_PROMOTION
	callTransfer        = C.CALL_TRANSFER
	callSafeToStop      = C.CALL_SAFE_TO_STOP
)

// callNumber is one of the above.
type callNumber = C.int

// operationTxn is the name of the operation in errors of transactions.
const operationTxn = "txn"

const (
	factModRevision    = C.FACT_MOD_REVISION
	factCreateRevision = C.FACT_CREATE_REVISION
	factValue          = C.FACT_VALUE
	factRange          = C.FACT_RANGE

	opSet         = C.OP_SET
	opDelete      = C.OP_DELETE
	opGet         = C.OP_GET
	opRange       = C.OP_RANGE
	opDeleteRange = C.OP_DELETE_RANGE
)

// fact is what a comparison compares; opKind is the kind of an operation of a transaction.
type (
	fact   = C.int
	opKind = C.int
)

// tagsMax is the maximum number of tags that are taken from the queue at a time.
const tagsMax = 64

// library is a client of libgometa and its queue.
type library struct {
	client *C.gometa_client_t
	queue  *C.gometa_queue_t
	// watched is a duplicate of the queue's descriptor, which the Go runtime polls and closes.
	watched *os.File
	// log is nil without WithLog.
	log *logQueue
}

// logQueue is a log of libgometa. The goroutine that runs watch frees it.
type logQueue struct {
	log     *C.gometa_log_t
	watched *os.File
}

// openLibrary creates a client. Peers are addresses separated by commas.
func openLibrary(peers string, settings *settings) (*library, error) {
	var options *C.gometa_options_t
	var failed *C.gometa_error_t
	if C.gometa_options_new(&options, &failed) != C.GOMETA_OK {
		return nil, failureOf(failed)
	}
	defer C.gometa_options_free(options)
	if err := apply(options, settings); err != nil {
		return nil, err
	}
	opened := &library{}
	if settings.log != nil {
		log, err := openLog(options, settings.logLevel)
		if err != nil {
			return nil, err
		}
		opened.log = log
	}
	text, err := cString(peers, "peers")
	if err != nil {
		opened.free()
		return nil, err
	}
	defer C.free(unsafe.Pointer(text))

	if C.gometa_client_new(text, options, &opened.client, &failed) != C.GOMETA_OK {
		opened.free()
		return nil, failureOf(failed)
	}
	if C.gometa_queue_new(&opened.queue, &failed) != C.GOMETA_OK {
		opened.free()
		return nil, failureOf(failed)
	}
	opened.watched, err = duplicate(C.int(C.gometa_queue_fd(opened.queue)), "queue")
	if err != nil {
		opened.free()
		return nil, err
	}
	return opened, nil
}

// duplicate duplicates a descriptor of libgometa, for the Go runtime to poll.
func duplicate(descriptor C.int, of string) (*os.File, error) {
	copied := C.duplicate(descriptor)
	if copied < 0 {
		return nil, &Error{Kind: ErrResourceExhausted, Operation: "build client", Outcome: OutcomeNotApplied, Retryable: true,
			Message: "build client: no file descriptor for the " + of}
	}
	return os.NewFile(uintptr(copied), "gometa-"+of), nil
}

// openLog creates a log and sets it in the options.
func openLog(options *C.gometa_options_t, level LogLevel) (*logQueue, error) {
	var failed *C.gometa_error_t
	opened := &logQueue{}
	if C.gometa_log_new(C.uint32_t(level), &opened.log, &failed) != C.GOMETA_OK {
		return nil, failureOf(failed)
	}
	if C.gometa_options_set_log(options, opened.log, &failed) != C.GOMETA_OK {
		C.gometa_log_free(opened.log)
		return nil, failureOf(failed)
	}
	watched, err := duplicate(C.int(C.gometa_log_fd(opened.log)), "log")
	if err != nil {
		C.gometa_log_free(opened.log)
		return nil, err
	}
	opened.watched = watched
	return opened, nil
}

// close ends watch, after the records that are there.
func (l *logQueue) close() {
	C.gometa_log_close(l.log)
}

// watch calls ready with each record until the log is closed, then frees the log.
func (l *logQueue) watch(ready func(LogRecord)) {
	defer func() {
		l.watched.Close()
		C.gometa_log_free(l.log)
	}()
	pass := func(record *C.gometa_log_record_t) {
		defer C.gometa_log_record_free(record)
		ready(LogRecord{
			Time:    time.UnixMicro(int64(C.gometa_log_record_time_us(record))),
			Level:   LogLevel(C.gometa_log_record_level(record)),
			Message: C.GoString(C.gometa_log_record_message(record)),
		})
	}
	// take handles what is there; it returns false if the queue is closed.
	take := func() bool {
		for {
			var record *C.gometa_log_record_t
			switch C.next_record(l.log, &record) {
			case C.GOMETA_OK:
				pass(record)
			case C.GOMETA_DEADLINE_EXCEEDED:
				return true
			default:
				return false
			}
		}
	}
	if raw, err := l.watched.SyscallConn(); err == nil {
		if raw.Read(func(uintptr) bool { return !take() }) == nil {
			return
		}
	}
	// The runtime cannot poll the descriptor: block a thread.
	for {
		var record *C.gometa_log_record_t
		switch C.gometa_log_next(l.log, math.MaxInt32, &record, nil) {
		case C.GOMETA_OK:
			pass(record)
		case C.GOMETA_DEADLINE_EXCEEDED:
		default:
			return
		}
	}
}

// apply sets the options that were given. The others have the defaults of the library.
func apply(options *C.gometa_options_t, settings *settings) error {
	var failed *C.gometa_error_t
	if settings.timeout != nil {
		if C.gometa_options_set_timeout_ms(options, milliseconds(*settings.timeout), &failed) != C.GOMETA_OK {
			return failureOf(failed)
		}
	}
	if settings.connectTimeout != nil {
		timeout := milliseconds(*settings.connectTimeout)
		if C.gometa_options_set_connect_timeout_ms(options, timeout, &failed) != C.GOMETA_OK {
			return failureOf(failed)
		}
	}
	if settings.keepaliveInterval != nil {
		interval, timeout := milliseconds(*settings.keepaliveInterval), milliseconds(*settings.keepaliveTimeout)
		if C.gometa_options_set_keepalive_ms(options, interval, timeout, &failed) != C.GOMETA_OK {
			return failureOf(failed)
		}
	}
	name, err := cString(settings.name, "name")
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(name))
	if C.gometa_options_set_name(options, name, &failed) != C.GOMETA_OK {
		return failureOf(failed)
	}
	if C.gometa_options_set_pinned(options, C.bool(settings.pinned), &failed) != C.GOMETA_OK {
		return failureOf(failed)
	}
	return nil
}

// timeoutMax is the longest timeout that the library accepts.
const timeoutMax = 365 * 24 * time.Hour

// milliseconds rounds up, so that a positive duration stays positive. A negative one becomes 0.
func milliseconds(duration time.Duration) C.uint64_t {
	if duration <= 0 {
		return 0
	}
	return C.uint64_t((duration-1)/time.Millisecond + 1)
}

// cString copies a string for C. The string must not contain a zero byte.
func cString(text, name string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, invalid("build client", name+" has a zero byte in it")
	}
	return C.CString(text), nil
}

// close fails calls in flight and all later calls.
func (l *library) close() {
	C.gometa_client_close(l.client)
}

// closeQueue ends watch.
func (l *library) closeQueue() {
	C.gometa_queue_close(l.queue)
}

// free releases everything. The library must not be in use.
func (l *library) free() {
	if l.watched != nil {
		l.watched.Close()
	}
	C.gometa_queue_free(l.queue)
	C.gometa_client_free(l.client)
	if l.log != nil {
		// Its watch does not run.
		l.log.watched.Close()
		C.gometa_log_free(l.log.log)
	}
	*l = library{}
}

// watch calls ready with the tags of completed requests until the queue is closed.
func (l *library) watch(ready func(tags []uint64)) {
	var taken [tagsMax]C.uint64_t
	tags := make([]uint64, 0, tagsMax)
	// take handles what is there; it returns false if the queue is closed.
	take := func() bool {
		for {
			count := C.tags(l.queue, &taken[0], tagsMax)
			if count < 0 {
				return false
			}
			tags = tags[:0]
			for _, tag := range taken[:count] {
				tags = append(tags, uint64(tag))
			}
			ready(tags)
			if count < tagsMax {
				return true
			}
		}
	}
	// Read calls the function whenever the descriptor is readable, until it returns true.
	if raw, err := l.watched.SyscallConn(); err == nil {
		if raw.Read(func(uintptr) bool { return !take() }) == nil {
			return
		}
	}
	// The runtime cannot poll the descriptor: block a thread.
	for {
		var tag C.uint64_t
		switch C.gometa_queue_next(l.queue, math.MaxInt32, &tag, nil) {
		case C.GOMETA_OK:
			ready([]uint64{uint64(tag)})
		case C.GOMETA_DEADLINE_EXCEEDED:
		default:
			return
		}
	}
}

func (l *library) counter(counter C.uint32_t) uint64 {
	var value C.uint64_t
	C.gometa_client_counter(l.client, counter, &value, nil)
	return uint64(value)
}

func (l *library) historyID() uint64 {
	var id C.uint64_t
	C.gometa_client_history_id(l.client, &id, nil)
	return uint64(id)
}

func (l *library) counters() Counters {
	return Counters{
		Requests:     l.counter(C.GOMETA_COUNTER_REQUESTS),
		Retries:      l.counter(C.GOMETA_COUNTER_RETRIES),
		Reconnects:   l.counter(C.GOMETA_COUNTER_RECONNECTS),
		InFlight:     l.counter(C.GOMETA_COUNTER_IN_FLIGHT),
		SeenRevision: l.counter(C.GOMETA_COUNTER_SEEN_REVISION),
	}
}

// arguments are those of all operations; each uses some of them.
type arguments struct {
	call  callNumber
	key   string
	value []byte
	// revision is a revision, the id of a node or the value of a setting.
	revision uint64
	// reading is for get, history, commit and the calls with a range.
	reading reading
	// ranged is nil without a range.
	ranged *Range
	// pages is for the next page of a scan.
	pages *pages
	// history is for history.
	history *HistoryOptions
	// txn is for commit.
	txn *Txn
	// attempts is for the calls of a transaction that is repeated.
	attempts *attempts
	// follows is nil for any version.
	follows *MembersVersion
	nodes   []uint64
}

// pages are the pages of a scan of libgometa, which is created with the first request.
type pages struct {
	scan *C.gometa_scan_t
}

// free frees the scan, if there is one.
func (p *pages) free() {
	C.gometa_scan_free(p.scan)
	p.scan = nil
}

// newRange creates a range of libgometa.
func newRange(from *Range, reading reading) (*C.gometa_range_t, error) {
	var made *C.gometa_range_t
	var failed *C.gometa_error_t
	status := C.new_range(from.Prefix, from.Start, from.End, from.Delimiter, C.uint64_t(from.AtRevision),
		C.uint64_t(from.Limit), C.bool(from.Reverse), C.bool(from.KeysOnly), C.uint32_t(reading.consistency),
		C.uint64_t(reading.minRevision), &made, &failed)
	if status != C.GOMETA_OK {
		return nil, failureOf(failed)
	}
	return made, nil
}

// newHistoryOptions creates options of a history of libgometa.
func newHistoryOptions(from *HistoryOptions, reading reading) (*C.gometa_history_options_t, error) {
	var made *C.gometa_history_options_t
	var failed *C.gometa_error_t
	status := C.new_history_options(C.uint64_t(from.BeforeRevision), C.uint64_t(from.Limit), C.bool(from.KeysOnly),
		C.uint32_t(reading.consistency), C.uint64_t(reading.minRevision), &made, &failed)
	if status != C.GOMETA_OK {
		return nil, failureOf(failed)
	}
	return made, nil
}

// newTxn creates a transaction of libgometa.
func newTxn(from *Txn, reading reading) (*C.gometa_txn_t, error) {
	var made *C.gometa_txn_t
	var failed *C.gometa_error_t
	status := C.new_txn(C.uint32_t(reading.consistency), C.uint64_t(reading.minRevision), &made, &failed)
	if status != C.GOMETA_OK {
		return nil, failureOf(failed)
	}
	for i := 0; i < len(from.when) && status == C.GOMETA_OK; i++ {
		status = addCompare(made, &from.when[i], &failed)
	}
	for i := 0; i < len(from.then) && status == C.GOMETA_OK; i++ {
		status = addOperation(made, C.GOMETA_THEN, &from.then[i], &failed)
	}
	for i := 0; i < len(from.otherwise) && status == C.GOMETA_OK; i++ {
		status = addOperation(made, C.GOMETA_OTHERWISE, &from.otherwise[i], &failed)
	}
	if status != C.GOMETA_OK {
		C.gometa_txn_free(made)
		return nil, failureOf(failed)
	}
	return made, nil
}

func addCompare(txn *C.gometa_txn_t, compare *Compare, failed **C.gometa_error_t) C.gometa_status_t {
	if compare.fact == factRange {
		ranged := rangeOfTxn(&compare.keys)
		defer C.gometa_range_free(ranged)
		return C.gometa_txn_when_range(txn, ranged, C.uint64_t(compare.count), C.uint64_t(compare.revision), failed)
	}
	return C.add_compare(txn, compare.fact, compare.key, C.uint32_t(compare.relation), C.uint64_t(compare.revision),
		compare.value, failed)
}

// rangeOfTxn creates a range. Only a lack of memory makes this fail, and then it returns nil, which is refused.
func rangeOfTxn(keys *Range) *C.gometa_range_t {
	ranged, _ := newRange(keys, reading{consistency: consistencyLinearizable})
	return ranged
}

func addOperation(txn *C.gometa_txn_t, branch C.uint32_t, op *Op, failed **C.gometa_error_t) C.gometa_status_t {
	var ranged *C.gometa_range_t
	if op.kind == opRange || op.kind == opDeleteRange {
		ranged = rangeOfTxn(&op.keys)
		defer C.gometa_range_free(ranged)
	}
	return C.add_operation(txn, branch, op.kind, op.key, op.value, ranged, failed)
}

// attempts is a transaction of libgometa that is repeated.
type attempts struct {
	mutex sync.Mutex
	// transaction is nil before the first attempt and after the last one.
	transaction *C.gometa_transaction_t
}

// begin begins the first attempt. Timeout 0 means the client's timeout; guard is nil without one.
func (l *library) begin(timeout time.Duration, guard *guard, attempts *attempts) error {
	var begun *C.gometa_transaction_t
	var failed *C.gometa_error_t
	key, revision := guard.fields()
	status := C.begin(l.client, milliseconds(timeout), guard != nil, key, revision, &begun, &failed)
	if status != C.GOMETA_OK {
		return failureOf(failed)
	}
	attempts.transaction = begun
	return nil
}

func (a *attempts) set(key string, value []byte) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.transaction != nil {
		C.set_in_attempt(a.transaction, key, *(*string)(unsafe.Pointer(&value)))
	}
}

func (a *attempts) delete(key string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.transaction != nil {
		C.delete_in_attempt(a.transaction, key)
	}
}

func (a *attempts) free() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	C.gometa_transaction_free(a.transaction)
	a.transaction = nil
}

// fields returns the key and the revision of a guard, for C.
func (g *guard) fields() (string, C.uint64_t) {
	if g == nil {
		return "", 0
	}
	return g.key, C.uint64_t(g.createRevision)
}

// request is a started request, and its result. Its methods must not run concurrently.
type request struct {
	call C.int
	raw  C.request_t
}

// start starts a request, whose tag is put into the queue when it completes, perhaps before start returns. The library
// copies the arguments. Timeout 0 means the client's timeout; guard is nil without one.
func (l *library) start(call *arguments, tag uint64, timeout time.Duration, guard *guard) (*request, error) {
	started := &request{call: call.call}
	// As a string, since cgo would check the object around a pointer to the bytes for Go pointers.
	value := *(*string)(unsafe.Pointer(&call.value))
	if len(call.nodes) > 0 {
		nodes := unsafe.Slice((*byte)(unsafe.Pointer(&call.nodes[0])), 8*len(call.nodes))
		value = *(*string)(unsafe.Pointer(&nodes))
	}
	var follows *C.gometa_members_version_t
	if call.follows != nil {
		follows = &C.gometa_members_version_t{
			epoch: C.uint64_t(call.follows.Epoch), revision: C.uint64_t(call.follows.Revision),
		}
	}
	revision := call.revision
	if call.call == callGet {
		revision = call.reading.minRevision
	}
	var ranged *C.gometa_range_t
	if call.ranged != nil && (call.pages == nil || call.pages.scan == nil) {
		made, err := newRange(call.ranged, call.reading)
		if err != nil {
			return nil, err
		}
		defer C.gometa_range_free(made)
		ranged = made
	}
	var history *C.gometa_history_options_t
	if call.history != nil {
		made, err := newHistoryOptions(call.history, call.reading)
		if err != nil {
			return nil, err
		}
		defer C.gometa_history_options_free(made)
		history = made
	}
	var txn *C.gometa_txn_t
	if call.txn != nil {
		made, err := newTxn(call.txn, call.reading)
		if err != nil {
			return nil, err
		}
		defer C.gometa_txn_free(made)
		txn = made
	}
	var transaction *C.gometa_transaction_t
	if call.attempts != nil {
		call.attempts.mutex.Lock()
		defer call.attempts.mutex.Unlock()
		if transaction = call.attempts.transaction; transaction == nil {
			return nil, invalid(operationTxn, "the transaction has ended")
		}
	}
	var scan *C.gometa_scan_t
	if call.pages != nil {
		scan = call.pages.scan
	}
	guardKey, guardRevision := guard.fields()
	status := C.start(l.client, l.queue, call.call, C.uint64_t(tag), milliseconds(timeout), guard != nil, guardKey,
		guardRevision, call.key, value, C.uint64_t(revision), C.uint32_t(call.reading.consistency), follows, ranged, &scan, txn, transaction,
		history, &started.raw)
	if call.pages != nil {
		call.pages.scan = scan
	}
	if status != C.GOMETA_OK {
		defer started.release()
		return nil, started.failure()
	}
	return started, nil
}

// cancel cancels the request, unless it has completed.
func (r *request) cancel() {
	C.gometa_future_cancel(r.raw.future)
}

// take fetches the result of a completed request, for the methods below.
func (r *request) take() error {
	if C.take(r.call, &r.raw) != C.GOMETA_OK {
		return r.failure()
	}
	return nil
}

// release frees the request and its result.
func (r *request) release() {
	C.release(&r.raw)
	r.raw = C.request_t{}
}

func (r *request) failure() *Error {
	return errorOf(&r.raw.failure)
}

// failureOf reads an error and frees it.
func failureOf(failed *C.gometa_error_t) *Error {
	defer C.gometa_error_free(failed)
	var failure C.failure_t
	C.read_failure(failed, &failure)
	return errorOf(&failure)
}

func errorOf(failure *C.failure_t) *Error {
	read := &Error{
		Kind:      Kind(failure.status),
		Operation: C.GoString(failure.operation),
		Message:   C.GoString(failure.message),
		Retryable: bool(failure.retryable),
		Outcome:   Outcome(failure.outcome),
		Leader:    C.GoString(failure.leader),
	}
	if failure.has_actual_revision {
		revision := uint64(failure.actual_revision)
		read.ActualRevision = &revision
	}
	return read
}

// nameOf returns the name of a kind, "Unknown" if there is no such kind.
func nameOf(number uint32) string {
	return C.GoString(C.gometa_status_name(C.uint32_t(number)))
}

// libraryVersion returns the version of the library at run time.
func libraryVersion() string {
	return C.GoString(C.gometa_version())
}
