//go:build cgo

package gometa_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"gometa"
)

// The client addresses of the ensemble: "127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003".
var ensemble = os.Getenv("GOMETA_PEERS")

func Example() {
	client, err := gometa.New([]string{ensemble}, gometa.WithTimeout(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx := context.Background()
	written, err := client.Set(ctx, "example/colour", []byte("red"))
	if err != nil {
		log.Fatal(err)
	}
	entry, err := client.Get(ctx, "example/colour")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is %s, as it was written: %t\n", entry.Key, entry.Value, entry.ModRevision == written.Revision)

	_, err = client.Get(ctx, "example/shape")
	fmt.Println(err, errors.Is(err, gometa.ErrNotFound))
	// Output:
	// example/colour is red, as it was written: true
	// gometa: get "example/shape": there is no such key true
}

// Changes a key without overwriting concurrent changes.
func ExampleClient_CAS() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if _, err := client.Set(ctx, "example/list", []byte("a")); err != nil {
		log.Fatal(err)
	}

	for {
		entry, err := client.Get(ctx, "example/list")
		if err != nil {
			log.Fatal(err)
		}
		_, err = client.CAS(ctx, entry.Key, entry.ModRevision, append(entry.Value, ",b"...))
		if errors.Is(err, gometa.ErrCASMismatch) {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		break
	}
	entry, err := client.Get(ctx, "example/list")
	fmt.Printf("%s %v\n", entry.Value, err)
	// Output: a,b <nil>
}

// A local read is answered by the connected node, and can wait until that node has applied another client's write.
func ExampleClient_Get_local() {
	writer, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Close()
	reader, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	ctx := context.Background()
	written, err := writer.Set(ctx, "example/number", []byte("42"))
	if err != nil {
		log.Fatal(err)
	}
	entry, err := reader.Get(ctx, "example/number", gometa.Local(), gometa.MinRevision(written.Revision))
	fmt.Printf("%s %v\n", entry.Value, err)
	// Output: 42 <nil>
}

// Reads a level of a hierarchy, and everything below it, in order.
func ExampleClient_Scan() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	for _, key := range []string{"example/tree/a", "example/tree/b/1", "example/tree/b/2"} {
		if _, err := client.Set(ctx, key, []byte("v")); err != nil {
			log.Fatal(err)
		}
	}

	for _, keys := range []gometa.Range{
		{Prefix: "example/tree/", Delimiter: "/", KeysOnly: true},
		{Prefix: "example/tree/", Reverse: true, Limit: 2},
	} {
		scan := client.Scan(ctx, keys)
		defer scan.Close()
		for scan.Next() {
			fmt.Println(scan.Entry().Key, scan.Entry().IsGroup)
		}
		if err := scan.Err(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// example/tree/a false
	// example/tree/b/ true
	// example/tree/b/2 false
	// example/tree/b/1 false
}

// Takes a job, unless another worker has it.
func ExampleClient_Commit() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if _, err := client.DeletePrefix(ctx, "example/jobs/"); err != nil {
		log.Fatal(err)
	}
	if _, err := client.Set(ctx, "example/jobs/waiting/7", []byte("sort")); err != nil {
		log.Fatal(err)
	}

	for _, worker := range []string{"worker-1", "worker-2"} {
		result, err := client.Commit(ctx, gometa.NewTxn().
			When(gometa.CompareExists("example/jobs/waiting/7"), gometa.CompareAbsent("example/jobs/running/7")).
			Then(gometa.OpDelete("example/jobs/waiting/7"), gometa.OpSet("example/jobs/running/7", []byte(worker))).
			Otherwise(gometa.OpGet("example/jobs/running/7")))
		if err != nil {
			log.Fatal(err)
		}
		if result.Succeeded {
			fmt.Println(worker, "has it, as version", result.Results[1].Written.Version)
		} else {
			fmt.Printf("%s is late: %s has it\n", worker, result.Results[0].Entry.Value)
		}
	}
	// Output:
	// worker-1 has it, as version 1
	// worker-2 is late: worker-1 has it
}

// Moves an amount from one account to another. The function is called again if another client changes one of them meanwhile.
func ExampleClient_Transaction() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	for key, balance := range map[string]string{"example/account/1": "100", "example/account/2": "0"} {
		if _, err := client.Set(ctx, key, []byte(balance)); err != nil {
			log.Fatal(err)
		}
	}

	err = client.Transaction(ctx, func(tx *gometa.Transaction) error {
		for key, amount := range map[string]int{"example/account/1": -30, "example/account/2": 30} {
			value, err := tx.Get(key)
			if err != nil {
				return err
			}
			balance, err := strconv.Atoi(string(value))
			if err != nil {
				return err
			}
			tx.Set(key, []byte(strconv.Itoa(balance+amount)))
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"example/account/1", "example/account/2"} {
		entry, err := client.Get(ctx, key)
		fmt.Printf("%s %v\n", entry.Value, err)
	}
	// Output:
	// 70 <nil>
	// 30 <nil>
}

// A lock whose owner cannot write any more once it has lost it, even if it has not noticed.
func ExampleClient_WithGuard() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()

	lock, err := client.Add(ctx, "example/lock", []byte("worker 1"))
	if err != nil {
		log.Fatal(err)
	}
	owner := client.WithGuard("example/lock", lock.Revision)
	_, err = owner.Set(ctx, "example/config", []byte("by worker 1"))
	fmt.Println(err)

	// Another program takes worker 1 for dead, and deletes its lock.
	if _, err := client.Delete(ctx, "example/lock"); err != nil {
		log.Fatal(err)
	}
	_, err = owner.Set(ctx, "example/config", []byte("by worker 1, late"))
	fmt.Println(errors.Is(err, gometa.ErrGuardFailed))
	// Output:
	// <nil>
	// true
}

func ExampleClient_SetSetting() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()

	if _, err := client.SetSetting(ctx, "HistoryBytesMax", 256<<20); err != nil {
		log.Fatal(err)
	}
	settings, err := client.Settings(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, setting := range settings {
		if setting.IsSet && setting.Name == "HistoryBytesMax" {
			fmt.Println(setting.Name, setting.Value, setting.Default)
		}
	}
	if _, err := client.ResetSetting(ctx, "HistoryBytesMax"); err != nil {
		log.Fatal(err)
	}
	// Output: HistoryBytesMax 268435456 1073741824
}

// The fields of an error. If no node could be reached before the context's deadline, its kind is ErrUnavailable.
func ExampleError() {
	// No node listens there.
	client, err := gometa.New([]string{os.Getenv("GOMETA_DEAD")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()

	_, err = client.Set(ctx, "k", []byte("v"))
	var failed *gometa.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Kind == gometa.ErrUnavailable, failed.Operation, failed.Retryable, failed.Outcome)
	}
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// true set true not applied
	// true
}

func ExampleClient_Members() {
	client, err := gometa.New([]string{ensemble})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	members, err := client.Members(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	leader, err := client.StatusOf(context.Background(), members.Leader)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(members.Members), "members;", "the leader is", leader.Role)
	// Output: 3 members; the leader is leading
}
