//go:build cgo

package gometa

// guard is the guard of a client's writes.
type guard struct {
	key            string
	createRevision uint64
}

// WithGuard returns a client with a guard: every write, SetSetting and transactions included, is executed only if key exists
// and was created at createRevision; else it fails with ErrGuardFailed, and Error.ActualRevision is the key's CreateRevision.
// Reads, transactions that write in neither branch, and changes of the members have no guard.
//
// With the key of a lock, it excludes writes of an owner that has lost the lock without noticing: createRevision is the
// Entry.CreateRevision of the lock's key, or the revision of the Add that created it.
//
//	lock, err := client.Add(ctx, "lock", []byte("me"))
//	if err != nil {
//		return err
//	}
//	owner := client.WithGuard("lock", lock.Revision)
//	_, err = owner.Set(ctx, "config", []byte("mine"))
//
// The client shares connection, session, counters and options with c, and needs no Close of its own: closing either closes
// both. Its guard replaces that of c. The writes check the guard: they return ErrInvalidArgument if key is empty or
// createRevision is 0, ErrTooLarge if the key exceeds its limit.
func (c *Client) WithGuard(key string, createRevision uint64) *Client {
	guarded := &Client{guard: &guard{key: key, createRevision: createRevision}}
	if c != nil {
		guarded.core = c.core
	}
	return guarded
}
