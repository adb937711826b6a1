//go:build cgo

package gometa_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"gometa"
)

func TestTheHistoryOfAKey(t *testing.T) {
	client, ctx := open(t), within(t)
	key := fresh(t, "history/")
	var revisions []uint64
	for _, value := range []string{"one", "three"} {
		written, err := client.Set(ctx, key, []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, written.Revision)
	}
	deleted, err := client.Delete(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := client.Add(ctx, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	created := revisions[0]
	expected := []gometa.KeyVersion{
		{Revision: again.Revision, Version: 1, CreateRevision: again.Revision, Value: []byte{}},
		{Revision: deleted.Revision, Deleted: true, Value: []byte{}},
		{Revision: revisions[1], Version: 2, CreateRevision: created, Value: []byte("three"), ValueSize: 5},
		{Revision: created, Version: 1, CreateRevision: created, Value: []byte("one"), ValueSize: 3},
	}
	page, err := client.History(ctx, key, gometa.HistoryOptions{})
	if err != nil || !reflect.DeepEqual(page.Versions, expected) {
		t.Fatalf("%+v, expected %+v: %v", page.Versions, expected, err)
	}
	if page.NextBefore != 0 || page.Revision < again.Revision || page.OldestRevision > page.Revision {
		t.Fatalf("%+v", page)
	}

	// In pages of one, without values, each read at another moment.
	which := gometa.HistoryOptions{Limit: 1, KeysOnly: true}
	for i := range expected {
		page, err := client.History(ctx, key, which, gometa.Local())
		if err != nil || len(page.Versions) != 1 {
			t.Fatalf("%+v: %v", page, err)
		}
		without := expected[i]
		without.Value = []byte{}
		if !reflect.DeepEqual(page.Versions[0], without) {
			t.Fatalf("%+v, expected %+v", page.Versions[0], without)
		}
		which.BeforeRevision = page.NextBefore
		if _, err := client.Set(ctx, key, []byte("later")); err != nil {
			t.Fatal(err)
		}
	}
	if which.BeforeRevision != 0 {
		t.Fatal(which.BeforeRevision)
	}
	page, err = client.History(ctx, fresh(t, "history/"), gometa.HistoryOptions{})
	if err != nil || len(page.Versions) != 0 || page.NextBefore != 0 {
		t.Fatalf("%+v: %v", page, err)
	}
}

func TestHistoriesThatMakeNoSense(t *testing.T) {
	client, ctx := open(t), within(t)
	_, err := client.History(ctx, "", gometa.HistoryOptions{})
	if !errors.Is(err, gometa.ErrInvalidArgument) || !strings.Contains(err.Error(), "empty") {
		t.Fatal(err)
	}
	_, err = client.History(ctx, strings.Repeat("k", 4097), gometa.HistoryOptions{})
	if !errors.Is(err, gometa.ErrTooLarge) || !strings.Contains(err.Error(), "4096") {
		t.Fatal(err)
	}
	if _, err = client.History(ctx, "k", gometa.HistoryOptions{}, nil); !errors.Is(err, gometa.ErrInvalidArgument) {
		t.Fatal(err)
	}
}
