//go:build cgo

package gometa_test

import (
	"context"
	"math"
	"sort"
	"strings"
	"testing"

	"gometa"
)

// The test changes this setting; no other one does.
const changed = "HistoryRevisionsMin"

// setting reads a setting, which must exist.
func setting(t testing.TB, client *gometa.Client, name string) gometa.Setting {
	t.Helper()
	settings, err := client.Settings(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if !sort.SliceIsSorted(settings, func(i, j int) bool { return settings[i].Name < settings[j].Name }) {
		t.Fatal(settings)
	}
	for _, setting := range settings {
		if setting.Name == name {
			return setting
		}
	}
	t.Fatalf("there is no %s in %v", name, settings)
	return gometa.Setting{}
}

func TestASettingHasItsDefaultUntilItIsSet(t *testing.T) {
	client, ctx := open(t), within(t)
	first, err := client.ResetSetting(ctx, changed)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	unset := gometa.Setting{Name: changed, Value: 10_000, Default: 10_000, Min: 1_000, Max: 1_000_000_000}
	if found := setting(t, client, changed); found != unset {
		t.Fatal(found)
	}
	for _, value := range []uint64{2_000, 1_000, 1_000_000_000, 10_000} {
		revision, err := client.SetSetting(ctx, changed, value)
		if err != nil || revision <= first {
			t.Fatal(revision, err)
		}
		first = revision
		set := unset
		set.Value, set.IsSet = value, true
		if found := setting(t, client, changed); found != set {
			t.Fatal(found)
		}
	}
	if client.Counters().SeenRevision < first {
		t.Fatal(client.Counters(), first)
	}
	if revision, err := client.ResetSetting(ctx, changed); err != nil || revision <= first {
		t.Fatal(revision, err)
	}
	if found := setting(t, client, changed); found != unset {
		t.Fatal(found)
	}
}

func TestAnUnknownSettingAndAValueOutOfBoundsAreRefused(t *testing.T) {
	client, ctx := open(t), within(t)
	before := setting(t, client, changed)
	for _, bad := range []struct {
		name  string
		value uint64
		says  string
	}{
		{changed, 999, "at least 1000"},
		{changed, 1_000_000_001, "at most 1000000000"},
		{changed, math.MaxUint64, "at most 1000000000"},
		{"historyrevisionsmin", 10_000, changed},
		{"", 1, changed},
		{changed + "\x00", 10_000, "zero byte"},
	} {
		_, err := client.SetSetting(ctx, bad.name, bad.value)
		failed := fails(t, err, gometa.ErrInvalidArgument)
		if failed.Outcome != gometa.OutcomeNotApplied || failed.Operation != "set setting" || !strings.Contains(failed.Message, bad.says) {
			t.Fatalf("%#v", failed)
		}
	}
	for _, name := range []string{"nonsense", "", "a\x00"} {
		_, err := client.ResetSetting(ctx, name)
		fails(t, err, gometa.ErrInvalidArgument)
	}
	if found := setting(t, client, changed); found != before {
		t.Fatal(found)
	}
}

func TestCallsAboutSettingsEndWithTheirContextAndTheirClient(t *testing.T) {
	client := openAt(t, []string{dead()})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := client.Settings(gone)
	fails(t, err, gometa.ErrCancelled)
	_, err = client.SetSetting(gone, changed, 10_000)
	fails(t, err, gometa.ErrCancelled)

	ended := make(chan error)
	ctx := within(t)
	go func() {
		_, err := client.Settings(ctx)
		ended <- err
	}()
	until(t, "the call runs", func() bool { return client.Counters().InFlight == 1 })
	client.Close()
	if failed := fails(t, <-ended, gometa.ErrClosed); failed.Operation != "list settings" {
		t.Fatalf("%#v", failed)
	}
	_, err = client.Settings(ctx)
	if failed := fails(t, err, gometa.ErrClosed); failed.Operation != "list settings" {
		t.Fatalf("%#v", failed)
	}
	_, err = client.ResetSetting(ctx, changed)
	fails(t, err, gometa.ErrClosed)

	_, err = new(gometa.Client).Settings(ctx)
	fails(t, err, gometa.ErrInvalidArgument)
}
