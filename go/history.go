//go:build cgo

package gometa

import "context"

// HistoryOptions are which versions of a key to read. The zero HistoryOptions has the newest ones, with their values.
type HistoryOptions struct {
	// BeforeRevision leaves out this revision and those above it: KeyHistory.NextBefore of the page before. 0 leaves out none.
	BeforeRevision uint64
	// Limit is the maximum number of versions; 0, and whatever is above 1,000, is 1,000.
	Limit uint64
	// KeysOnly leaves out the values; their sizes are there.
	KeysOnly bool
}

// KeyHistory is a part of the history of a key.
type KeyHistory struct {
	// Versions are the versions, newest first. There is none if the key never existed, or was deleted before the history
	// begins.
	Versions []KeyVersion
	// NextBefore is the BeforeRevision of the next page; 0 after the last page.
	NextBefore uint64
	// Revision is the revision that was read at.
	Revision uint64
	// OldestRevision is where the ensemble's history begins. The version that the key had at that revision is the oldest one
	// that is kept, whatever its own revision.
	OldestRevision uint64
}

// KeyVersion is what a key became at a revision: a value, or nothing.
type KeyVersion struct {
	// Revision is the revision that wrote the key, its ModRevision then, or deleted it.
	Revision uint64
	// Deleted says whether the key was deleted. All other fields are then 0 or empty.
	Deleted bool
	// Version is the number of writes since the key was created, from 1.
	Version uint64
	// CreateRevision is the revision at which the key was created.
	CreateRevision uint64
	// Value is a copy that the caller owns, empty with KeysOnly. It is never nil.
	Value []byte
	// ValueSize is the size of the value in bytes, also with KeysOnly.
	ValueSize uint64
}

// History reads the versions of a key that the ensemble keeps, newest first: one page, of at most 1,000 versions with at most
// 1 MiB of values. A deletion is a version too. It is no error if the key does not exist.
//
//	for which := (gometa.HistoryOptions{}); ; {
//		page, err := client.History(ctx, "config", which)
//		…
//		if which.BeforeRevision = page.NextBefore; page.NextBefore == 0 {
//			break
//		}
//	}
//
// Versions never change, so pages have no gap and no duplicate, whenever each is read. If the ensemble drops history
// meanwhile, the list ends earlier.
//
// It returns the errors of Get, except for ErrNotFound.
func (c *Client) History(
	ctx context.Context, key string, which HistoryOptions, options ...ReadOption,
) (KeyHistory, error) {
	reading, err := readingOf("get history", options)
	if err != nil {
		return KeyHistory{}, err
	}
	call := &arguments{call: callHistory, key: key, history: &which, reading: reading}
	return do(c, ctx, "get history", call, (*request).history)
}
