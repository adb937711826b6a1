//go:build cgo

package gometa_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"gometa"
)

// kinds are all kinds of the package by the names of their constants. A test compares them with the package's source.
var kinds = map[string]gometa.Kind{
	"ErrInvalidArgument":    gometa.ErrInvalidArgument,
	"ErrNotFound":           gometa.ErrNotFound,
	"ErrAlreadyExists":      gometa.ErrAlreadyExists,
	"ErrCASMismatch":        gometa.ErrCASMismatch,
	"ErrDeadlineExceeded":   gometa.ErrDeadlineExceeded,
	"ErrUnavailable":        gometa.ErrUnavailable,
	"ErrNotLeader":          gometa.ErrNotLeader,
	"ErrConnectionLost":     gometa.ErrConnectionLost,
	"ErrTooLarge":           gometa.ErrTooLarge,
	"ErrSessionExpired":     gometa.ErrSessionExpired,
	"ErrUnauthenticated":    gometa.ErrUnauthenticated,
	"ErrPermissionDenied":   gometa.ErrPermissionDenied,
	"ErrResourceExhausted":  gometa.ErrResourceExhausted,
	"ErrCompacted":          gometa.ErrCompacted,
	"ErrCancelled":          gometa.ErrCancelled,
	"ErrClosed":             gometa.ErrClosed,
	"ErrUnsupported":        gometa.ErrUnsupported,
	"ErrInternal":           gometa.ErrInternal,
	"ErrForked":             gometa.ErrForked,
	"ErrForgotten":          gometa.ErrForgotten,
	"ErrFailedPrecondition": gometa.ErrFailedPrecondition,
	"ErrGuardFailed":        gometa.ErrGuardFailed,
	"ErrHistoryChanged":     gometa.ErrHistoryChanged,
}

func TestTheTableIsThatOfTheLibrary(t *testing.T) {
	// Every kind of the library has a constant of its name, and there are no other constants.
	named := map[gometa.Kind]bool{}
	for number := gometa.Kind(1); number < 1000; number++ {
		name := number.String()
		if name == "Unknown" {
			continue
		}
		named[number] = true
		// Go writes initialisms in capitals.
		constant := "Err" + strings.Replace(name, "Cas", "CAS", 1)
		if kind, known := kinds[constant]; !known || kind != number {
			t.Errorf("%d is %s in the library, and here %d (known: %t)", number, name, kind, known)
		}
		if !errors.Is(&gometa.Error{Kind: number}, number) {
			t.Errorf("an error of kind %s is not of kind %s", name, name)
		}
		if text := number.Error(); text != "gometa: "+name {
			t.Error(text)
		}
	}
	if len(named) != len(kinds) || len(named) < 23 {
		t.Errorf("the library names %d kinds, the package %d", len(named), len(kinds))
	}
	if gometa.Kind(0).String() != "Ok" || gometa.Kind(4711).String() != "Unknown" {
		t.Error(gometa.Kind(0).String(), gometa.Kind(4711).String())
	}

	// The map above has all exported constants.
	source, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(source, func(node ast.Node) bool {
		if value, is := node.(*ast.ValueSpec); is {
			for _, name := range value.Names {
				if strings.HasPrefix(name.Name, "Err") {
					declared++
					if _, known := kinds[name.Name]; !known {
						t.Errorf("%s is in no test", name.Name)
					}
				}
			}
		}
		return true
	})
	if declared != len(kinds) {
		t.Errorf("%d constants, %d in the test", declared, len(kinds))
	}
}

// The package's own errors must be those that the library would return.
func TestErrorsOfThePackageEqualThoseOfTheLibrary(t *testing.T) {
	client := openAt(t, []string{dead()}, gometa.WithTimeout(30*time.Millisecond))

	// The node accepts the connection and does not answer.
	late := open(t, gometa.WithTimeout(30*time.Millisecond))
	until(t, "there is a connection", func() bool {
		_, err := late.Get(context.Background(), "k")
		return err == nil || errors.Is(err, gometa.ErrNotFound)
	})
	_, err := late.Get(context.Background(), "k", gometa.Local(), gometa.MinRevision(1<<60))
	ofLibrary := fails(t, err, gometa.ErrDeadlineExceeded)
	past, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = client.Set(past, "k", nil)
	ofPackage := fails(t, err, gometa.ErrDeadlineExceeded)
	if ofLibrary.Retryable != ofPackage.Retryable || ofPackage.Outcome != gometa.OutcomeNotApplied || !ofPackage.Timeout() || !ofLibrary.Timeout() {
		t.Fatalf("%#v, %#v", ofLibrary, ofPackage)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}

	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = client.Set(gone, "k", nil)
	cancelled := fails(t, err, gometa.ErrCancelled)
	if !errors.Is(err, context.Canceled) || cancelled.Outcome != gometa.OutcomeNotApplied || cancelled.Retryable || cancelled.Timeout() {
		t.Fatalf("%#v", cancelled)
	}

	// A call in flight during Close, and one after it.
	ended := make(chan error)
	ctx := within(t)
	go func() {
		_, err := client.Get(ctx, "k")
		ended <- err
	}()
	until(t, "the call runs", func() bool { return client.Counters().InFlight == 1 })
	client.Close()
	during := fails(t, <-ended, gometa.ErrClosed)
	_, err = client.Get(context.Background(), "k")
	behind := fails(t, err, gometa.ErrClosed)
	if during.Retryable != behind.Retryable || during.Outcome != behind.Outcome || during.Operation != behind.Operation {
		t.Fatalf("%#v, %#v", during, behind)
	}

	if gometa.OutcomeNotApplied.String() != "not applied" || gometa.OutcomeUnknown.String() != "unknown" {
		t.Fatal(gometa.OutcomeNotApplied, gometa.OutcomeUnknown)
	}
}

func TestRolesHaveNames(t *testing.T) {
	for role, name := range map[gometa.Role]string{
		gometa.RoleUnknown: "unknown", gometa.RoleForming: "forming", gometa.RoleLooking: "looking",
		gometa.RoleFollowing: "following", gometa.RoleLeading: "leading", gometa.RoleLearning: "learning", 99: "unknown",
	} {
		if role.String() != name {
			t.Error(role, name)
		}
	}
}
