//go:build cgo

package gometa

import "time"

// settings are the options of New. If a field is nil, the library's default applies.
type settings struct {
	timeout           *time.Duration
	connectTimeout    *time.Duration
	keepaliveInterval *time.Duration
	keepaliveTimeout  *time.Duration
	name              string
	pinned            bool
	logLevel          LogLevel
	log               func(LogRecord)
}

// Option is an option of New.
type Option func(*settings)

// WithTimeout sets the timeout of calls whose context has no deadline, retries included. Default 5 s. It is rounded up to
// milliseconds. New returns ErrInvalidArgument if it is not positive or above 365 days.
func WithTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.timeout = &timeout }
}

// WithConnectTimeout sets the timeout of connecting to one node, name resolution and handshake included. Default 2 s. It is
// rounded up to milliseconds. New returns ErrInvalidArgument if it is not positive or above 365 days.
func WithConnectTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.connectTimeout = &timeout }
}

// WithKeepalive sets the keepalive of the connection. While a response is pending and nothing is received for interval
// (default 0.5 s), the client sends a ping; it closes the connection if nothing is received for another timeout (default
// 1 s), and connects to another node. It also does so if a call times out on a connection on which a response has been
// pending for interval. New returns ErrInvalidArgument if either is not positive or above 365 days.
func WithKeepalive(interval, timeout time.Duration) Option {
	return func(settings *settings) { settings.keepaliveInterval, settings.keepaliveTimeout = &interval, &timeout }
}

// WithName sets the application's name, which the nodes log; at most 16 characters are used. Default "gometa-go".
func WithName(name string) Option {
	return func(settings *settings) { settings.name = name }
}

// WithPinned makes the client use only the given addresses, in their order, and follow neither leader hints nor the list of
// members: for tools that examine one node.
func WithPinned() Option {
	return func(settings *settings) { settings.pinned = true }
}

// LogLevel is the level of a LogRecord.
type LogLevel uint32

const (
	// LogWarn: a node cannot be used.
	LogWarn LogLevel = numberLogWarn
	// LogInfo: a lost connection was replaced.
	LogInfo LogLevel = numberLogInfo
	// LogDebug: connection attempts, sessions, moves to the leader.
	LogDebug LogLevel = numberLogDebug
)

// String returns "warn", "info" or "debug".
func (l LogLevel) String() string {
	switch l {
	case LogWarn:
		return "warn"
	case LogInfo:
		return "info"
	case LogDebug:
		return "debug"
	default:
		return "unknown"
	}
}

// LogRecord is a log record about a client's connections.
type LogRecord struct {
	// Time is the time of the event.
	Time time.Time
	// Level is the level of the event.
	Level LogLevel
	// Message is a fixed phrase and fields, in one line: dial failed address=127.0.0.1:5003 reason=connection refused
	Message string
}

// WithLog sets a function that is called with the client's log records up to level, one at a time, on a goroutine of the
// client. Up to 1,000 records are queued for it; further ones are dropped, and a record reports how many. The function may
// use the client, except for Close. It may be called shortly after Close has returned. New returns ErrInvalidArgument if
// level is invalid or log is nil.
func WithLog(level LogLevel, log func(LogRecord)) Option {
	return func(settings *settings) {
		settings.logLevel, settings.log = level, log
		if log == nil {
			settings.log, settings.logLevel = func(LogRecord) {}, 0
		}
	}
}

// reading holds the options of a read.
type reading struct {
	consistency uint32
	minRevision uint64
}

// ReadOption is an option of Get, Range, Scan, Count, History and Commit.
type ReadOption func(*reading)

func readingOf(operation string, options []ReadOption) (reading, error) {
	chosen := reading{consistency: consistencyLinearizable}
	for _, option := range options {
		if option == nil {
			return chosen, invalid(operation, "an option is nil")
		}
		option(&chosen)
	}
	return chosen, nil
}

// Local makes a read show the state of the answering node: faster and possibly stale, but never older than what this client
// has seen.
func Local() ReadOption {
	return func(reading *reading) { reading.consistency = consistencyLocal }
}

// MinRevision makes a local read wait until the node has applied this revision, or the highest one that the client has seen
// if that is higher. A linearizable read sees every write anyway.
func MinRevision(revision uint64) ReadOption {
	return func(reading *reading) { reading.minRevision = revision }
}

// changing holds the options of a change of the members.
type changing struct {
	follows *MembersVersion
}

// ChangeOption is an option of PromoteMember, RemoveMember, ReplaceMember and CancelPromotion.
type ChangeOption func(*changing)

// Follows makes a change conditional: it is made only if this is the version of the members, and fails with
// ErrFailedPrecondition otherwise.
func Follows(version MembersVersion) ChangeOption {
	return func(changing *changing) { changing.follows = &version }
}

// Version returns the version of libgometa: "0.1.0".
func Version() string {
	return libraryVersion()
}
