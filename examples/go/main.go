// Every call of the package gometa once, and what can go wrong with it.
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
	// Making a client does no IO. One is enough for a program; any number of goroutines may share it.
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

	// A key is created once.
	added, err := client.Add(ctx, key, []byte("red"))
	if err != nil {
		return err
	}
	var failed *gometa.Error
	if _, err = client.Add(ctx, key, []byte("blue")); errors.As(err, &failed) && failed.Kind == gometa.ErrAlreadyExists {
		fmt.Println("it is there already, as we wrote it:", *failed.ActualRevision == added.Revision)
	}

	// A write, and what it made of the key; a read sees every write that was acknowledged before.
	written, err := client.Set(ctx, key, []byte("green"))
	if err != nil {
		return err
	}
	entry, err := client.Get(ctx, key)
	if err != nil {
		return err
	}
	fmt.Printf("value %s, version %d\n", entry.Value, entry.Version)

	// A change that happens only if nobody else was quicker.
	if _, err := client.CAS(ctx, key, written.Revision, []byte("yellow")); err != nil {
		return err
	}
	_, err = client.CAS(ctx, key, written.Revision, []byte("black"))
	fmt.Println("somebody was quicker:", errors.Is(err, gometa.ErrCasMismatch))

	// A read from whatever node is in use: quicker, and never behind what this client has seen.
	if entry, err = client.Get(ctx, key, gometa.Local()); err != nil {
		return err
	}
	fmt.Printf("value %s, version %d\n", entry.Value, entry.Version)

	// Many calls at a time go over one connection.
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

	// A context ends its call, and the request with it.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = client.Get(ended, key)
	fmt.Println("cancelled:", errors.Is(err, gometa.ErrCancelled), errors.Is(err, context.Canceled))

	// Who they are, and how one of them is.
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
	fmt.Println("the node in use has what we wrote:", status.AppliedRevision >= written.Revision)

	// Removing a key, if it is as we know it; then whether it is there or not.
	if _, err = client.DeleteIf(ctx, key, written.Revision); !errors.Is(err, gometa.ErrCasMismatch) {
		return fmt.Errorf("an old revision was good enough: %v", err)
	}
	deleted, err := client.Delete(ctx, key)
	if err != nil {
		return err
	}
	fmt.Println("deleted:", deleted.Existed)

	// What there is not is a kind of its own, and no failure of the call.
	_, err = client.Get(ctx, key)
	fmt.Println(err)
	fmt.Println("calls:", client.Counters().Requests)
	return nil
}
