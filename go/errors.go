//go:build cgo

package gometa

import "context"

// Kind says what went wrong: a row of gometa's table of errors, the same in every language. A Kind is an error itself,
// so that it can be asked for:
//
//	if errors.Is(err, gometa.ErrNotFound) { … }
//
// Numbers are for ever; a newer library may have kinds that this package has no name for.
type Kind uint32

// The table of errors.
const (
	// ErrInvalidArgument: the request makes no sense: an empty key, an address that is none.
	ErrInvalidArgument Kind = numberInvalidArgument
	// ErrNotFound: there is no such key.
	ErrNotFound Kind = numberNotFound
	// ErrAlreadyExists: the key is there already; Error.ActualRevision says at which revision.
	ErrAlreadyExists Kind = numberAlreadyExists
	// ErrCasMismatch: the key's revision is not the expected one; Error.ActualRevision says which it is.
	ErrCasMismatch Kind = numberCasMismatch
	// ErrDeadlineExceeded: there was a connection to a node, and no answer within the deadline.
	ErrDeadlineExceeded Kind = numberDeadlineExceeded
	// ErrUnavailable: there was no connection to any node until the deadline, or the one that was asked cannot be
	// reached. The call was not applied.
	ErrUnavailable Kind = numberUnavailable
	// ErrNotLeader: another node leads. The client moves on by itself; callers do not see it.
	ErrNotLeader Kind = numberNotLeader
	// ErrConnectionLost: the connection ended before the answer came, where the client does not try again.
	ErrConnectionLost Kind = numberConnectionLost
	// ErrTooLarge: a key or a value exceeds its limit.
	ErrTooLarge Kind = numberTooLarge
	// ErrSessionExpired: the session ended between two attempts of a write; the next write opens another.
	ErrSessionExpired Kind = numberSessionExpired
	// ErrUnauthenticated: the client has not said who it is.
	ErrUnauthenticated Kind = numberUnauthenticated
	// ErrPermissionDenied: the client may not do this.
	ErrPermissionDenied Kind = numberPermissionDenied
	// ErrResourceExhausted: a bound on what is open or in flight is reached.
	ErrResourceExhausted Kind = numberResourceExhausted
	// ErrCompacted: the revision asked for is no longer kept.
	ErrCompacted Kind = numberCompacted
	// ErrCancelled: the context was cancelled.
	ErrCancelled Kind = numberCancelled
	// ErrClosed: the client was closed.
	ErrClosed Kind = numberClosed
	// ErrUnsupported: the node does not know this request.
	ErrUnsupported Kind = numberUnsupported
	// ErrInternal: a fault of gometa's own.
	ErrInternal Kind = numberInternal
	// ErrForked: the process was forked after the client was made. Go programs cannot fork, so none sees it.
	ErrForked Kind = numberForked
	// ErrForgotten: a write below its session's floor. Callers do not see it.
	ErrForgotten Kind = numberForgotten
)

// String is the kind's name in the table: "NotFound".
func (k Kind) String() string {
	return nameOf(uint32(k))
}

// Error makes a Kind what errors.Is can look for.
func (k Kind) Error() string {
	return "gometa: " + k.String()
}

// Outcome says whether a call that failed may have taken effect all the same.
type Outcome uint32

const (
	// OutcomeUnknown: it may have, or may yet: a write whose answer was not awaited to the end.
	OutcomeUnknown Outcome = numberOutcomeUnknown
	// NotApplied: it has not, and never will.
	NotApplied Outcome = numberOutcomeNotApplied
)

// String is "unknown" or "not applied".
func (o Outcome) String() string {
	if o == NotApplied {
		return "not applied"
	}
	return "unknown"
}

// Error is what every failed call returns: what went wrong, with what, whether to try again, and what is known of the
// outcome.
//
//	var failed *gometa.Error
//	if errors.As(err, &failed) && failed.Outcome == gometa.NotApplied { … }
type Error struct {
	// Kind is the row of the table.
	Kind Kind
	// Operation is what was wanted: "set", "get", "build client".
	Operation string
	// Message says in one line what happened, and to what.
	Message string
	// Retryable says whether the same call may succeed when it is made again. That is a new call: look at Outcome first
	// where it matters that a write happens once.
	Retryable bool
	// Outcome says whether the call may have taken effect. It is NotApplied for reads.
	Outcome Outcome
	// Leader is the leader's address for clients, "host:port", where the failing node named it.
	Leader string
	// ActualRevision is the key's ModRevision, 0 where there is no such key. It comes with ErrCasMismatch and
	// ErrAlreadyExists, and is nil with everything else.
	ActualRevision *uint64

	cause error
}

// Error is the message, behind the package's name.
func (e *Error) Error() string {
	return "gometa: " + e.Message
}

// Is says whether target is the error's Kind.
func (e *Error) Is(target error) bool {
	kind, is := target.(Kind)
	return is && kind == e.Kind
}

// Unwrap is the context's error where the context ended the call, so that errors.Is(err, context.Canceled) and
// errors.Is(err, context.DeadlineExceeded) say what they always do.
func (e *Error) Unwrap() error {
	return e.cause
}

// Timeout says whether the call ended by a deadline, as net.Error's does.
func (e *Error) Timeout() bool {
	return e.Kind == ErrDeadlineExceeded || e.cause == context.DeadlineExceeded
}

// invalid is the error for an argument that C has not seen.
func invalid(operation, what string) *Error {
	return &Error{Kind: ErrInvalidArgument, Operation: operation, Outcome: NotApplied, Message: operation + ": " + what}
}

// byContext is the error of a call that its context ended; outcome is what is known of it.
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
