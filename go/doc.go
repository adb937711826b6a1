//go:build cgo

// Package gometa is the Go client of gometa, a replicated metadata store.
//
//	client, err := gometa.New([]string{"127.0.0.1:5003", "127.0.0.1:6003"})
//	if err != nil { … }
//	defer client.Close()
//	written, err := client.Set(ctx, "k", []byte("v"))
//	entry, err := client.Get(ctx, "k") // errors.Is(err, gometa.ErrNotFound)
package gometa
