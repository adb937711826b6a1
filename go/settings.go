//go:build cgo

package gometa

import (
	"context"
	"strings"
)

// Setting is a setting of the ensemble: a number that every node has.
type Setting struct {
	// Name is the name, which has the unit.
	Name string
	// Value is the value: the default unless it is set.
	Value uint64
	// IsSet says whether it is set, maybe to its default.
	IsSet bool
	// Default is the default.
	Default uint64
	// Min is the lowest value.
	Min uint64
	// Max is the highest value.
	Max uint64
}

const operationSetSetting = "set setting"

// Settings returns the settings of the ensemble, ascending by name, as the node that the client is connected to has applied
// them.
//
// It returns ErrUnavailable, ErrDeadlineExceeded, ErrCancelled, ErrClosed.
func (c *Client) Settings(ctx context.Context) ([]Setting, error) {
	return do(c, ctx, "list settings", &arguments{call: callSettings}, (*request).settings)
}

// SetSetting changes a setting of the ensemble; it is a write. It returns the revision of the change.
//
// It returns ErrInvalidArgument if there is no such setting, or the value is out of its bounds, and the errors of Set.
func (c *Client) SetSetting(ctx context.Context, name string, value uint64) (uint64, error) {
	return c.changeSetting(ctx, &arguments{call: callSetSetting, key: name, revision: value})
}

// ResetSetting gives a setting of the ensemble its default again; it is a write. It returns the revision of the change.
//
// It returns the errors of SetSetting.
func (c *Client) ResetSetting(ctx context.Context, name string) (uint64, error) {
	return c.changeSetting(ctx, &arguments{call: callResetSetting, key: name})
}

func (c *Client) changeSetting(ctx context.Context, call *arguments) (uint64, error) {
	if strings.IndexByte(call.key, 0) >= 0 {
		return 0, invalid(operationSetSetting, "name has a zero byte in it")
	}
	call.key += "\x00"
	return do(c, ctx, operationSetSetting, call, (*request).revision)
}
