// Every call of the package gometa, with its errors.
//
//	go run . 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"gometa"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatalf("usage: %s PEERS (host:port,...)", os.Args[0])
	}
	if err := tour(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func tour(peers string) error {
	// New does no IO. A program needs only one client, which is safe for concurrent use.
	client, err := gometa.New([]string{peers}, gometa.WithTimeout(5*time.Second), gometa.WithName("tour"))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := context.Background()
	const key = "tour/go/colour"
	if _, err := client.Delete(ctx, key); err != nil {
		return err
	}

	// Creates a key; fails if it exists.
	added, err := client.Add(ctx, key, []byte("red"))
	if err != nil {
		return err
	}
	var failed *gometa.Error
	if _, err = client.Add(ctx, key, []byte("blue")); errors.As(err, &failed) && failed.Kind == gometa.ErrAlreadyExists {
		fmt.Println("the key exists, at our revision:", *failed.ActualRevision == added.Revision)
	}

	// A write, and a linearizable read: it sees every write that was acknowledged before it began.
	written, err := client.Set(ctx, key, []byte("green"))
	if err != nil {
		return err
	}
	entry, err := client.Get(ctx, key)
	if err != nil {
		return err
	}
	fmt.Printf("value %s, version %d\n", entry.Value, entry.Version)

	// Compare and set: writes only if the key still has this revision.
	if _, err := client.CAS(ctx, key, written.Revision, []byte("yellow")); err != nil {
		return err
	}
	_, err = client.CAS(ctx, key, written.Revision, []byte("black"))
	fmt.Println("the key was changed:", errors.Is(err, gometa.ErrCASMismatch))

	// A local read is answered from the state of one node: faster and possibly stale, but never older than what this
	// client has seen.
	if entry, err = client.Get(ctx, key, gometa.Local()); err != nil {
		return err
	}
	fmt.Printf("value %s, version %d\n", entry.Value, entry.Version)

	// All calls in flight share one connection.
	var calls sync.WaitGroup
	for i := 0; i < 100; i++ {
		i := i
		calls.Add(1)
		go func() {
			defer calls.Done()
			if _, err := client.Set(ctx, fmt.Sprintf("tour/go/%d", i), []byte("v")); err != nil {
				log.Print(err)
			}
		}()
	}
	calls.Wait()

	// The keys with a prefix, in order, all at one revision; each page is requested while the one before is used.
	scan := client.Scan(ctx, gometa.Range{Prefix: "tour/go/", Reverse: true, Limit: 2})
	defer scan.Close()
	for scan.Next() {
		fmt.Println("key:", scan.Entry().Key)
	}
	if err := scan.Err(); err != nil {
		return err
	}
	earlier, err := client.GetAt(ctx, key, written.Revision)
	if err != nil {
		return err
	}
	count, err := client.Count(ctx, gometa.Range{Prefix: "tour/go/"})
	if err != nil {
		return err
	}
	fmt.Printf("%d keys, the value was %s\n", count, earlier.Value)

	// A transaction: several operations as one, if the comparisons hold. A function that reads and writes keys is called
	// again if another client has changed what it has read.
	copied, err := client.Commit(ctx, gometa.NewTxn().
		When(gometa.CompareValue(key, gometa.Equal, []byte("yellow")), gometa.CompareAbsent("tour/go/copy")).
		Then(gometa.OpSet("tour/go/copy", []byte("yellow")), gometa.OpGet(key)))
	if err != nil {
		return err
	}
	fmt.Printf("copied: %t, the value is %s\n", copied.Succeeded, copied.Results[1].Entry.Value)
	err = client.Transaction(ctx, func(tx *gometa.Transaction) error {
		copied, err := tx.Get("tour/go/copy")
		if err != nil {
			return err
		}
		tx.Set("tour/go/0", copied)
		tx.Delete("tour/go/copy")
		return nil
	})
	if err != nil {
		return err
	}

	// A guard: writes of this client are executed only while a key exists that was created at that revision.
	lock, err := client.Add(ctx, "tour/go/lock", []byte("me"))
	if err != nil {
		return err
	}
	owner := client.WithGuard("tour/go/lock", lock.Revision)
	if _, err := owner.Set(ctx, "tour/go/0", []byte("guarded")); err != nil {
		return err
	}
	if _, err := client.Delete(ctx, "tour/go/lock"); err != nil {
		return err
	}
	_, err = owner.Set(ctx, "tour/go/0", []byte("late"))
	fmt.Println("a write without its lock is refused:", errors.Is(err, gometa.ErrGuardFailed))

	// Cancelling a context cancels its call.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = client.Get(ended, key)
	fmt.Println("cancelled:", errors.Is(err, gometa.ErrCancelled), errors.Is(err, context.Canceled))

	// The members of the ensemble, and the status of one node.
	members, err := client.Members(ctx)
	if err != nil {
		return err
	}
	status, err := client.StatusOf(ctx, members.Leader)
	if err != nil {
		return err
	}
	fmt.Printf("%d members, the leader is %s\n", len(members.Members), status.Role)
	if status, err = client.Status(ctx); err != nil {
		return err
	}
	fmt.Println("the connected node has applied our write:", status.AppliedRevision >= written.Revision)

	// Deletes a key, first conditionally.
	if _, err = client.DeleteIf(ctx, key, written.Revision); !errors.Is(err, gometa.ErrCASMismatch) {
		return fmt.Errorf("deleted with an old revision: %v", err)
	}
	deleted, err := client.Delete(ctx, key)
	if err != nil {
		return err
	}
	fmt.Println("deleted:", deleted.Existed)

	// A key that does not exist is an error of its own kind.
	_, err = client.Get(ctx, key)
	fmt.Println(err)
	fmt.Println("calls:", client.Counters().Requests)
	return nil
}
