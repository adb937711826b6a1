//go:build cgo

package gometa

import "context"

// Range is which keys to read, and how: those that begin with Prefix, are not below Start, and are below End. What is empty
// is no bound: the zero Range has all keys. Keys are ordered by their bytes.
type Range struct {
	// Prefix leaves out the keys that do not begin with it.
	Prefix string
	// Start leaves out the keys below it.
	Start string
	// End leaves out this key and those above it.
	End string
	// AtRevision is the revision to read at; 0 is the present.
	AtRevision uint64
	// Limit is the maximum number of entries; 0 for no maximum. A page has at most 1,000 in any case.
	Limit uint64
	// Reverse reads in descending order, from the last key on.
	Reverse bool
	// KeysOnly leaves out the values: those of the entries are empty.
	KeysOnly bool
	// Delimiter, at most 16 bytes, makes keys that share what comes before its first occurrence behind Prefix one entry, with
	// IsGroup: "/" reads one level of a hierarchy.
	Delimiter string
}

// Page is a part of a range, read at one revision.
type Page struct {
	// Entries are the entries in the order of the range. A page may be short, even empty, and not be the last one.
	Entries []Entry
	// Next is where the next page begins: its Start, or with Reverse its End. Empty after the last page.
	Next string
	// Revision is the revision that was read at, for AtRevision of the next page.
	Revision uint64
}

// Range reads the first page of a range: at most 1,000 entries and 1 MiB. Scan reads all of it.
//
// It returns ErrCompacted, with Error.ActualRevision, if AtRevision is older than the ensemble's history,
// ErrInvalidArgument if it is in the future (a local read waits for it until the deadline) or Start is above End,
// ErrTooLarge, ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Range(ctx context.Context, keys Range, options ...ReadOption) (Page, error) {
	reading, err := readingOf("range", options)
	if err != nil {
		return Page{}, err
	}
	page, err := do(c, ctx, "range", &arguments{call: callRange, ranged: &keys, reading: reading}, (*request).page)
	if err != nil {
		return Page{}, err
	}
	return *page, nil
}

// Count counts the keys of a range at one revision, at most Limit; with a Delimiter, each group once.
//
// It returns the errors of Range.
func (c *Client) Count(ctx context.Context, keys Range, options ...ReadOption) (uint64, error) {
	reading, err := readingOf("range", options)
	if err != nil {
		return 0, err
	}
	return do(c, ctx, "range", &arguments{call: callCount, ranged: &keys, reading: reading}, (*request).count)
}

// DeletePrefix deletes the keys that begin with prefix, all keys if it is empty, and returns their number. It is not atomic:
// it deletes one key after the other, and keys that are created meanwhile may be left.
//
// It returns the errors of Range and Delete. After an error, keys that were deleted before stay deleted; Error.Outcome is
// OutcomeUnknown once a deletion has begun. The same call again is safe.
func (c *Client) DeletePrefix(ctx context.Context, prefix string) (uint64, error) {
	return do(c, ctx, "delete", &arguments{call: callDeletePrefix, key: prefix}, (*request).count)
}

// Scan reads the entries of a range, all at one revision. It reads them in pages; each page is requested while the one before
// is used. The end of the context ends the scan. Without a deadline of the context, each page has the client's timeout.
//
//	scan := client.Scan(ctx, gometa.Range{Prefix: "services/"})
//	defer scan.Close()
//	for scan.Next() {
//		fmt.Println(scan.Entry().Key)
//	}
//	if err := scan.Err(); err != nil { … }
//
// Errors are those of Range, ErrCompacted also if the scan takes longer than the ensemble keeps history. Options apply to the
// first page, which fixes the revision.
func (c *Client) Scan(ctx context.Context, keys Range, options ...ReadOption) *Scan {
	scan := &Scan{client: c, ctx: ctx}
	reading, err := readingOf("range", options)
	if err != nil {
		scan.err, scan.ended = err, true
	}
	scan.call = &arguments{call: callNextPage, ranged: &keys, reading: reading, pages: &scan.pages}
	return scan
}

// Scan is a scan of a range, see Client.Scan. It must not be used concurrently.
type Scan struct {
	client *Client
	ctx    context.Context
	call   *arguments
	pages  pages
	// left are the entries of the page that were not returned yet.
	left     []Entry
	entry    Entry
	revision uint64
	ended    bool
	err      error
}

// Next reads the next entry, for Entry. It returns false after the last one, after an error, and after Close; then the scan
// is closed, and Err returns the error.
func (s *Scan) Next() bool {
	if !s.ended && s.ctx != nil && s.ctx.Err() != nil {
		s.end(byContext("range", s.ctx.Err(), OutcomeNotApplied))
	}
	for !s.ended && len(s.left) == 0 {
		page, err := do(s.client, s.ctx, "range", s.call, (*request).page)
		if err != nil || page == nil {
			s.end(err)
		} else {
			s.revision, s.left = page.Revision, page.Entries
		}
	}
	if s.ended {
		return false
	}
	s.entry, s.left = s.left[0], s.left[1:]
	return true
}

// Entry returns the entry that Next has read.
func (s *Scan) Entry() Entry {
	return s.entry
}

// Revision returns the revision that is read at, 0 before the first page has been read.
func (s *Scan) Revision() uint64 {
	return s.revision
}

// Err returns the error that ended the scan, nil if there was none.
func (s *Scan) Err() error {
	return s.err
}

// Close ends the scan and releases its resources: the page that is read ahead. It is needed if Next has not returned false. A
// second Close is a no-op. The error is always nil.
func (s *Scan) Close() error {
	s.end(nil)
	return nil
}

func (s *Scan) end(err error) {
	if !s.ended {
		s.ended, s.err = true, err
		s.left, s.entry = nil, Entry{}
		s.pages.free()
	}
}
