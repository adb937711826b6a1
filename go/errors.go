//go:build cgo

package gometa

import "context"

// Kind is the kind of an error, the same in every language. A Kind is an error itself, for errors.Is:
//
//	if errors.Is(err, gometa.ErrNotFound) { … }
//
// Numbers are never reused. A newer library may return kinds that this package has no constant for.
type Kind uint32

// The kinds of errors.
const (
	// ErrInvalidArgument: an argument is invalid: an empty key, a malformed address.
	ErrInvalidArgument Kind = numberInvalidArgument
	// ErrNotFound: the key does not exist, or the node is no member.
	ErrNotFound Kind = numberNotFound
	// ErrAlreadyExists: the key exists. See Error.ActualRevision.
	ErrAlreadyExists Kind = numberAlreadyExists
	// ErrCASMismatch: the key's revision is not the expected one. See Error.ActualRevision.
	ErrCASMismatch Kind = numberCASMismatch
	// ErrDeadlineExceeded: a node was reached and did not answer before the deadline.
	ErrDeadlineExceeded Kind = numberDeadlineExceeded
	// ErrUnavailable: no node could be reached before the deadline, or the node asked for its status cannot be reached.
	// The call was not applied.
	ErrUnavailable Kind = numberUnavailable
	// ErrNotLeader: the node is not the leader. Handled by the client, which tries another node.
	ErrNotLeader Kind = numberNotLeader
	// ErrConnectionLost: the connection was lost before the answer, and the client does not retry this operation.
	ErrConnectionLost Kind = numberConnectionLost
	// ErrTooLarge: a key or a value exceeds its limit, or a transaction.
	ErrTooLarge Kind = numberTooLarge
	// ErrSessionExpired: the session ended between two attempts of a write. The next write opens another.
	ErrSessionExpired Kind = numberSessionExpired
	// ErrUnauthenticated: the client is not authenticated.
	ErrUnauthenticated Kind = numberUnauthenticated
	// ErrPermissionDenied: the client is not authorised for this operation.
	ErrPermissionDenied Kind = numberPermissionDenied
	// ErrResourceExhausted: a limit is reached: connections, requests in flight, sessions.
	ErrResourceExhausted Kind = numberResourceExhausted
	// ErrCompacted: the requested revision is older than the history. See Error.ActualRevision.
	ErrCompacted Kind = numberCompacted
	// ErrCancelled: the context was cancelled.
	ErrCancelled Kind = numberCancelled
	// ErrClosed: the client was closed.
	ErrClosed Kind = numberClosed
	// ErrUnsupported: the node does not support this request.
	ErrUnsupported Kind = numberUnsupported
	// ErrInternal: an internal error of gometa.
	ErrInternal Kind = numberInternal
	// ErrForked: the process was forked after the client was created. Go programs cannot fork.
	ErrForked Kind = numberForked
	// ErrForgotten: the write is older than the oldest that its session remembers. Handled by the client.
	ErrForgotten Kind = numberForgotten
	// ErrFailedPrecondition: the state of the ensemble does not permit the change; the message says what is missing.
	ErrFailedPrecondition Kind = numberFailedPrecondition
	// ErrGuardFailed: the key of the write's guard does not exist, or was created at another revision. See
	// Error.ActualRevision.
	ErrGuardFailed Kind = numberGuardFailed
	// ErrHistoryChanged: the ensemble was founded anew from old data, and revisions that were read before are void. Returned
	// at least once; later calls work with the new history. See Client.HistoryID.
	ErrHistoryChanged Kind = numberHistoryChanged
)

// String returns the name of the kind: "NotFound".
func (k Kind) String() string {
	return nameOf(uint32(k))
}

// Error implements error, for errors.Is.
func (k Kind) Error() string {
	return "gometa: " + k.String()
}

// Outcome says whether a failed call may have been applied.
type Outcome uint32

const (
	// OutcomeUnknown: the write may have been applied, or may be applied later.
	OutcomeUnknown Outcome = numberOutcomeUnknown
	// OutcomeNotApplied: the call has not been applied and will not be.
	OutcomeNotApplied Outcome = numberOutcomeNotApplied
)

// String returns "unknown" or "not applied".
func (o Outcome) String() string {
	if o == OutcomeNotApplied {
		return "not applied"
	}
	return "unknown"
}

// Error is the error of every failed call.
//
//	var failed *gometa.Error
//	if errors.As(err, &failed) && failed.Outcome == gometa.OutcomeNotApplied { … }
type Error struct {
	// Kind is the kind of the error.
	Kind Kind
	// Operation is the name of the operation: "set", "get", "build client".
	Operation string
	// Message is one line: operation, key and cause.
	Message string
	// Retryable says whether the same call may succeed if it is made again. That is a new call: a write may then be applied
	// twice, unless Outcome is OutcomeNotApplied.
	Retryable bool
	// Outcome says whether the call may have been applied. It is OutcomeNotApplied for reads.
	Outcome Outcome
	// Leader is the leader's client address, "host:port", if the node that refused the call sent it.
	Leader string
	// ActualRevision is, for ErrCASMismatch and ErrAlreadyExists, the key's ModRevision, 0 if the key does not exist; for
	// ErrGuardFailed, the CreateRevision of the guard's key, 0 if it does not exist; for ErrCompacted, the oldest revision
	// that can be read; for ErrTooLarge of an OpResult, the revision at which its result can be read. It is nil otherwise.
	ActualRevision *uint64

	cause error
}

// Error returns the message, prefixed with the name of the package.
func (e *Error) Error() string {
	return "gometa: " + e.Message
}

// Is reports whether target is the error's Kind.
func (e *Error) Is(target error) bool {
	kind, is := target.(Kind)
	return is && kind == e.Kind
}

// Unwrap returns the context's error if the context ended the call, for errors.Is(err, context.Canceled) and
// errors.Is(err, context.DeadlineExceeded).
func (e *Error) Unwrap() error {
	return e.cause
}

// Timeout reports whether a deadline ended the call, like net.Error.
func (e *Error) Timeout() bool {
	return e.Kind == ErrDeadlineExceeded || e.cause == context.DeadlineExceeded
}

// invalid returns the error for an argument that is not passed to C.
func invalid(operation, what string) *Error {
	return &Error{Kind: ErrInvalidArgument, Operation: operation, Outcome: OutcomeNotApplied, Message: operation + ": " + what}
}

// byContext returns the error of a call that its context ended.
func byContext(operation string, cause error, outcome Outcome) *Error {
	failed := &Error{Kind: ErrCancelled, Operation: operation, Outcome: outcome, cause: cause}
	if cause == context.DeadlineExceeded {
		failed.Kind = ErrDeadlineExceeded
		failed.Retryable = true
	}
	failed.Message = operation + ": " + cause.Error()
	if outcome == OutcomeUnknown {
		failed.Message += " (the write may have taken effect)"
	}
	return failed
}
