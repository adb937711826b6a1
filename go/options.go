//go:build cgo

package gometa

import "time"

// settings are what New was asked for. What is nil is left as the library has it.
type settings struct {
	timeout        *time.Duration
	connectTimeout *time.Duration
	quiet, silence *time.Duration
	name           string
	pinned         bool
	logLevel       LogLevel
	log            func(LogRecord)
}

// Option is a setting of a client.
type Option func(*settings)

// WithTimeout sets what a call may take, everything included, if its context has no deadline; 5 s if not set. It is
// rounded up to milliseconds. New returns ErrInvalidArgument for 0 and less, and for more than 365 days.
func WithTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.timeout = &timeout }
}

// WithConnectTimeout sets what resolving a name, connecting and the handshake with one node may take together; 2 s if
// not set. It is rounded up to milliseconds. New returns ErrInvalidArgument for 0 and less, and for more than 365 days.
func WithConnectTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.connectTimeout = &timeout }
}

// WithSilence sets how silent a node may be that owes an answer: it is asked for a sign of life after quiet (0.5 s if
// not set), and left silence later (1 s if not set). A node that has owed an answer for quiet when a call's deadline
// passes is left too. New returns ErrInvalidArgument if either is 0 or less, or more than 365 days.
func WithSilence(quiet, silence time.Duration) Option {
	return func(settings *settings) { settings.quiet, settings.silence = &quiet, &silence }
}

// WithName sets the application's name in the nodes' logs, "gometa-go" if not set; its first 16 characters count.
func WithName(name string) Option {
	return func(settings *settings) { settings.name = name }
}

// WithPinned has the client use only the given addresses, in their order, and follow neither the leader's hint nor the
// members' addresses: for tools that examine one node.
func WithPinned() Option {
	return func(settings *settings) { settings.pinned = true }
}

// LogLevel says how much a LogRecord matters.
type LogLevel uint32

const (
	// LogWarn: a node cannot be used.
	LogWarn LogLevel = numberLogWarn
	// LogInfo: a connection stands again after one was lost.
	LogInfo LogLevel = numberLogInfo
	// LogDebug: everything else: attempts, sessions, moves to the leader.
	LogDebug LogLevel = numberLogDebug
)

// String is "warn", "info" or "debug".
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

// LogRecord is one thing that a client reports of its connections.
type LogRecord struct {
	// Time is when it happened.
	Time time.Time
	// Level says how much it matters.
	Level LogLevel
	// Message is a fixed phrase and its fields, in one line: dial failed address=127.0.0.1:5003 reason=connection refused
	Message string
}

// WithLog has log called with what the client reports, up to level: on a goroutine of the client's own, one record after
// another. A thousand records wait for it; later ones are lost, and a record says how many. log may use the client, but
// for Close. The last records may come shortly after Close has returned. New returns ErrInvalidArgument for a level that
// is none, and if log is nil.
func WithLog(level LogLevel, log func(LogRecord)) Option {
	return func(settings *settings) {
		settings.logLevel, settings.log = level, log
		if log == nil {
			settings.log, settings.logLevel = func(LogRecord) {}, 0
		}
	}
}

// reading is how Get reads.
type reading struct {
	consistency uint32
	minRevision uint64
}

// GetOption changes how Get reads.
type GetOption func(*reading)

// Local has Get read what the answering node has applied: quicker, and possibly behind, but never behind what this
// client has seen before.
func Local() GetOption {
	return func(reading *reading) { reading.consistency = consistencyLocal }
}

// MinRevision has a local Get wait until the node has applied this revision, or the highest one that the client has
// seen if that is higher. A Get that is not local sees every write anyway.
func MinRevision(revision uint64) GetOption {
	return func(reading *reading) { reading.minRevision = revision }
}

// Version is that of the libgometa that runs: "0.1.0".
func Version() string {
	return libraryVersion()
}
