package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"gometa"
)

// guard is the guard of a line: its key, and the revision at which that was created.
func (c command) guard() (string, uint64) {
	key, revision, found := strings.Cut(c.text("guard"), ":")
	number, err := strconv.ParseUint(revision, 10, 64)
	if !found || err != nil {
		fail("line %s: %s is no guard", c.number, c.text("guard"))
	}
	return string(c.unhex(key)), number
}

func setSetting(ctx context.Context, client *gometa.Client, line command) (uint64, error) {
	if !line.has("number") {
		return client.ResetSetting(ctx, line.text("setting"))
	}
	return client.SetSetting(ctx, line.text("setting"), line.unsigned("number"))
}

// valued is settings with their values as text.
func valued(settings []gometa.Setting) string {
	var words []string
	for _, setting := range settings {
		words = append(words, fmt.Sprintf("%s=%d", setting.Name, setting.Value))
	}
	return strings.Join(words, " ")
}
