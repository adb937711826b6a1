package gometa

import "time"

// settings are what New was asked for. What is nil is left as the library has it.
type settings struct {
	timeout        *time.Duration
	connectTimeout *time.Duration
	quiet, silence *time.Duration
	name           string
	pinned         bool
}

// Option is a setting of a client.
type Option func(*settings)

// WithTimeout sets what a call may take, everything included, if its context has no deadline; 5 s if not set. It is
// rounded up to milliseconds. New returns ErrInvalidArgument for 0 and less.
func WithTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.timeout = &timeout }
}

// WithConnectTimeout sets what resolving a name, connecting and the handshake with one node may take together; 2 s if
// not set. It is rounded up to milliseconds. New returns ErrInvalidArgument for 0 and less.
func WithConnectTimeout(timeout time.Duration) Option {
	return func(settings *settings) { settings.connectTimeout = &timeout }
}

// WithSilence sets how silent a node may be that owes an answer: it is asked for a sign of life after quiet (0.5 s if
// not set), and left silence later (1 s if not set). New returns ErrInvalidArgument if either is 0 or less.
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
