// The driver of the client "go"; ../README.md describes the protocol.
//
//	go build -o go-driver .        with libgometa where pkg-config finds it
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/adler32"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gometa"
)

// lineMax is more than the length of the longest line: a key and a value beyond their limits, in hexadecimal.
const lineMax = 8 << 20

// command is a parsed line.
type command struct {
	number string
	verb   string
	words  map[string]string
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "go-driver: "+format+"\n", arguments...)
	os.Exit(1)
}

func parse(line string) command {
	words := strings.Split(line, " ")
	if len(words) < 2 {
		fail("cannot understand %q", line)
	}
	read := command{number: words[0], verb: words[1], words: map[string]string{}}
	for _, word := range words[2:] {
		name, value, found := strings.Cut(word, "=")
		if !found {
			fail("cannot understand %q in %q", word, line)
		}
		read.words[name] = value
	}
	return read
}

func (c command) has(name string) bool {
	_, has := c.words[name]
	return has
}

func (c command) text(name string) string {
	if !c.has(name) {
		fail("line %s: %s without %s", c.number, c.verb, name)
	}
	return c.words[name]
}

func (c command) bytes(name string) []byte {
	value, err := hex.DecodeString(c.text(name))
	if err != nil {
		fail("line %s: %s: %v", c.number, name, err)
	}
	return value
}

func (c command) unsigned(name string) uint64 {
	value, err := strconv.ParseUint(c.text(name), 10, 64)
	if err != nil {
		fail("line %s: %s: %v", c.number, name, err)
	}
	return value
}

func (c command) nodes() []uint64 {
	var nodes []uint64
	for _, word := range strings.FieldsFunc(c.text("nodes"), func(sign rune) bool { return sign == ',' }) {
		node, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			fail("line %s: nodes: %v", c.number, err)
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func (c command) flag(name string) bool {
	if !c.has(name) {
		return false
	}
	value, err := strconv.ParseBool(c.text(name))
	if err != nil {
		fail("line %s: %s: %v", c.number, name, err)
	}
	return value
}

// keys is the range of a line, whose fields may all be left out.
func (c command) keys() gometa.Range {
	text := func(name string) string {
		if !c.has(name) {
			return ""
		}
		return string(c.bytes(name))
	}
	number := func(name string) uint64 {
		if !c.has(name) {
			return 0
		}
		return c.unsigned(name)
	}
	return gometa.Range{
		Prefix: text("prefix"), Start: text("start"), End: text("end"), Delimiter: text("delimiter"),
		AtRevision: number("at_revision"), Limit: number("limit"), Reverse: c.flag("reverse"), KeysOnly: c.flag("keys_only"),
	}
}

// versions are which versions of a key to read.
func (c command) versions() gometa.HistoryOptions {
	options := gometa.HistoryOptions{KeysOnly: c.flag("keys_only")}
	if c.has("before_revision") {
		options.BeforeRevision = c.unsigned("before_revision")
	}
	if c.has("limit") {
		options.Limit = c.unsigned("limit")
	}
	return options
}

func (c command) key() string {
	return string(c.bytes("key"))
}

// ownVerbs are the verbs that are not named like a method.
var ownVerbs = map[string]bool{"bench": true, "digest": true, "transfer": true, "txn": true}

// driver has the open clients and the calls in flight.
type driver struct {
	clients map[string]*gometa.Client

	mutex sync.Mutex
	// cancels has the calls in flight.
	cancels map[string]context.CancelFunc
	out     *bufio.Writer
	calls   sync.WaitGroup
}

func (r *driver) say(format string, arguments ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Fprintf(r.out, format+"\n", arguments...)
	if err := r.out.Flush(); err != nil {
		fail("%v", err)
	}
}

func (r *driver) answer(number, result string, err error) {
	if err == nil {
		r.say("%s", strings.TrimSuffix(number+" ok "+result, " "))
		return
	}
	var failed *gometa.Error
	if !errors.As(err, &failed) {
		fail("line %s: %T is no *gometa.Error: %v", number, err, err)
	}
	text := fmt.Sprintf("%s error kind=%s number=%d retryable=%t outcome=%s", number, failed.Kind.String(), uint32(failed.Kind),
		failed.Retryable, strings.ReplaceAll(failed.Outcome.String(), " ", "_"))
	if failed.ActualRevision != nil {
		text += fmt.Sprintf(" actual_revision=%d", *failed.ActualRevision)
	}
	r.say("%s message=%s", text, hex.EncodeToString([]byte(err.Error())))
}

func (r *driver) client(line command) *gometa.Client {
	client := r.clients[line.text("client")]
	if client == nil {
		fail("line %s: there is no client %s", line.number, line.text("client"))
	}
	return client
}

// do carries out a line, or starts its call.
func (r *driver) do(line command) {
	switch line.verb {
	case "open":
		var options []gometa.Option
		if line.has("timeout_ms") {
			options = append(options, gometa.WithTimeout(time.Duration(line.unsigned("timeout_ms"))*time.Millisecond))
		}
		client, err := gometa.New(strings.Split(line.text("peers"), ","), options...)
		if err == nil {
			r.clients[line.text("client")] = client
		}
		r.answer(line.number, "", err)
	case "close":
		r.answer(line.number, "", r.client(line).Close())
	case "cancel":
		r.mutex.Lock()
		cancel := r.cancels[line.text("call")]
		r.mutex.Unlock()
		if cancel != nil {
			cancel()
		}
		r.answer(line.number, "", nil)
	default:
		if !ownVerbs[line.verb] && !method(r.client(line), line).IsValid() {
			r.say("%s unsupported", line.number)
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		if line.has("timeout_ms") {
			timeout := time.Duration(line.unsigned("timeout_ms")) * time.Millisecond
			ctx, cancel = context.WithTimeout(context.Background(), timeout)
		}
		r.mutex.Lock()
		r.cancels[line.number] = cancel
		r.mutex.Unlock()
		client := r.client(line)
		r.calls.Add(1)
		go func() {
			defer r.calls.Done()
			result, err := call(ctx, client, line)
			r.mutex.Lock()
			delete(r.cancels, line.number)
			r.mutex.Unlock()
			cancel()
			r.answer(line.number, result, err)
		}()
	}
}

// call makes a call, and returns its result as text.
func call(ctx context.Context, client *gometa.Client, line command) (string, error) {
	if line.has("guard") {
		client = client.WithGuard(line.guard())
	}
	switch line.verb {
	case "get":
		entry, err := get(ctx, client, line)
		return fmt.Sprintf("value=%x version=%d create_revision=%d mod_revision=%d", entry.Value, entry.Version,
			entry.CreateRevision, entry.ModRevision), err
	case "range":
		page, err := client.Range(ctx, line.keys(), reading(line)...)
		next := ""
		if page.Next != "" {
			next = fmt.Sprintf(" next=%x", page.Next)
		}
		return fmt.Sprintf("revision=%d%s %s", page.Revision, next, shown(page.Entries, line.flag("keys_only"))), err
	case "scan":
		return scanned(client.Scan(ctx, line.keys(), reading(line)...), line.flag("keys_only"))
	case "digest":
		return digest(client.Scan(ctx, line.keys(), reading(line)...))
	case "count":
		count, err := client.Count(ctx, line.keys(), reading(line)...)
		return fmt.Sprintf("count=%d", count), err
	case "history":
		history, err := client.History(ctx, line.key(), line.versions(), reading(line)...)
		return versioned(history, line.flag("keys_only")), err
	case "delete_prefix":
		deleted, err := client.DeletePrefix(ctx, string(line.bytes("prefix")))
		return fmt.Sprintf("deleted=%d", deleted), err
	case "txn":
		result, err := client.Commit(ctx, line.txn(), reading(line)...)
		return transacted(result), err
	case "transfer":
		moved, err := transfer(ctx, client, line)
		return fmt.Sprintf("moved=%t", moved), err
	case "settings":
		settings, err := client.Settings(ctx)
		return valued(settings), err
	case "set_setting":
		revision, err := setSetting(ctx, client, line)
		return fmt.Sprintf("revision=%d", revision), err
	case "status":
		status, err := client.Status(ctx)
		return fmt.Sprintf("role=%s applied_revision=%d keys=%d log_bytes=%d", status.Role, status.AppliedRevision,
			status.Keys, status.Storage.LogBytes), err
	case "history_id":
		if history := client.HistoryID(); history != 0 {
			return fmt.Sprintf("history=%d", history), nil
		}
		return "", nil
	case "members":
		members, err := client.Members(ctx)
		return fmt.Sprintf("members=%d leader=%s", len(members.Members), members.Leader), err
	case "membership":
		membership, err := client.Membership(ctx)
		return listed(membership), err
	case "promote_member":
		return changed(client.PromoteMember(ctx, line.unsigned("node"), changing(line)...))
	case "remove_member":
		return changed(client.RemoveMember(ctx, line.unsigned("node"), changing(line)...))
	case "replace_member":
		node, replacement := line.unsigned("node"), line.unsigned("replacement")
		return changed(client.ReplaceMember(ctx, node, replacement, changing(line)...))
	case "cancel_promotion":
		return changed(client.CancelPromotion(ctx, line.unsigned("node"), changing(line)...))
	case "transfer_leadership":
		to := uint64(0)
		if line.has("to") {
			to = line.unsigned("to")
		}
		leader, err := client.TransferLeadership(ctx, to)
		return fmt.Sprintf("leader=%d", leader), err
	case "safe_to_stop":
		advice, err := client.SafeToStop(ctx, line.nodes()...)
		return fmt.Sprintf("safe=%t reason=%x", advice.Safe, advice.Reason), err
	case "bench":
		return bench(ctx, client, line), nil
	default:
		return write(ctx, client, line)
	}
}

func get(ctx context.Context, client *gometa.Client, line command) (gometa.Entry, error) {
	if line.has("at_revision") {
		return client.GetAt(ctx, line.key(), line.unsigned("at_revision"))
	}
	return client.Get(ctx, line.key(), reading(line)...)
}

// shown is entries as text.
func shown(entries []gometa.Entry, keysOnly bool) string {
	var keys, values []string
	groups := 0
	for _, entry := range entries {
		keys = append(keys, hex.EncodeToString([]byte(entry.Key)))
		values = append(values, hex.EncodeToString(entry.Value))
		if entry.IsGroup {
			groups++
		}
	}
	text := "keys=" + strings.Join(keys, ",")
	if !keysOnly {
		text += " values=" + strings.Join(values, ",")
	}
	return fmt.Sprintf("%s groups=%d", text, groups)
}

// versioned is the versions of a key as text.
func versioned(history gometa.KeyHistory, keysOnly bool) string {
	var versions, values []string
	for _, version := range history.Versions {
		if version.Deleted {
			versions = append(versions, fmt.Sprintf("%d:deleted", version.Revision))
		} else {
			versions = append(versions, fmt.Sprintf("%d:%d:%d:%d", version.Revision, version.Version,
				version.CreateRevision, version.ValueSize))
		}
		values = append(values, hex.EncodeToString(version.Value))
	}
	text := fmt.Sprintf("revision=%d oldest_revision=%d", history.Revision, history.OldestRevision)
	if history.NextBefore != 0 {
		text += fmt.Sprintf(" next_before=%d", history.NextBefore)
	}
	text += " versions=" + strings.Join(versions, ",")
	if !keysOnly {
		text += " values=" + strings.Join(values, ",")
	}
	return text
}

// scanned reads a scan to its end.
func scanned(scan *gometa.Scan, keysOnly bool) (string, error) {
	defer scan.Close()
	var entries []gometa.Entry
	for scan.Next() {
		entries = append(entries, scan.Entry())
	}
	return fmt.Sprintf("revision=%d %s", scan.Revision(), shown(entries, keysOnly)), scan.Err()
}

// digest reads like a scan, and keeps no entries.
func digest(scan *gometa.Scan) (string, error) {
	defer scan.Close()
	sum, count := adler32.New(), 0
	for scan.Next() {
		entry := scan.Entry()
		sum.Write([]byte(entry.Key))
		sum.Write(entry.Value)
		count++
	}
	return fmt.Sprintf("count=%d adler32=%d", count, sum.Sum32()), scan.Err()
}

func changing(line command) []gometa.ChangeOption {
	if !line.has("follows_epoch") {
		return nil
	}
	version := gometa.MembersVersion{Epoch: line.unsigned("follows_epoch"), Revision: line.unsigned("follows_revision")}
	return []gometa.ChangeOption{gometa.Follows(version)}
}

// listed is members with their roles as text.
func listed(membership gometa.Membership) string {
	voters, nodes := 0, ""
	for i, member := range membership.Members {
		if member.Votes {
			voters++
		}
		nodes += fmt.Sprintf(" node%d=%d", i+1, member.Node)
	}
	return fmt.Sprintf("epoch=%d revision=%d members=%d voters=%d committed=%t%s", membership.Version.Epoch,
		membership.Version.Revision, len(membership.Members), voters, membership.Committed, nodes)
}

func changed(result gometa.MembersChanged, err error) (string, error) {
	return fmt.Sprintf("changed=%t %s", result.Changed, listed(result.Membership)), err
}

// method is the client's method of a line's verb.
func method(client *gometa.Client, line command) reflect.Value {
	value, name := reflect.ValueOf(client), strings.ReplaceAll(line.verb, "_", "")
	if name == "delete" && line.has("revision") {
		name = "deleteif"
	}
	for i := 0; i < value.NumMethod(); i++ {
		if strings.EqualFold(value.Type().Method(i).Name, name) {
			return value.Method(i)
		}
	}
	return reflect.Value{}
}

// write makes a write, whose arguments are those of key, revision and value that the line has.
func write(ctx context.Context, client *gometa.Client, line command) (string, error) {
	arguments := []reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(line.key())}
	if line.has("revision") {
		arguments = append(arguments, reflect.ValueOf(line.unsigned("revision")))
	}
	if line.has("value") {
		arguments = append(arguments, reflect.ValueOf(line.bytes("value")))
	}
	results := method(client, line).Call(arguments)
	result, words := results[0], []string{}
	for i := 0; i < result.NumField(); i++ {
		words = append(words, fmt.Sprintf("%s=%v", strings.ToLower(result.Type().Field(i).Name), result.Field(i)))
	}
	err, _ := results[1].Interface().(error)
	return strings.Join(words, " "), err
}

func reading(line command) []gometa.ReadOption {
	var options []gometa.ReadOption
	if line.has("consistency") {
		switch line.text("consistency") {
		case "linearizable":
		case "local":
			options = append(options, gometa.Local())
		default:
			fail("line %s: there is no consistency %s", line.number, line.text("consistency"))
		}
	}
	if line.has("min_revision") {
		options = append(options, gometa.MinRevision(line.unsigned("min_revision")))
	}
	return options
}

// bench makes many calls with concurrent callers.
func bench(ctx context.Context, client *gometa.Client, line command) string {
	key, count, callers := line.key(), int64(line.unsigned("count")), int(line.unsigned("callers"))
	one := func() error {
		_, err := client.Get(ctx, key)
		return err
	}
	switch line.text("call") {
	case "get":
	case "set":
		value := line.bytes("value")
		one = func() error {
			_, err := client.Set(ctx, key, value)
			return err
		}
	default:
		fail("line %s: there is no bench of %s", line.number, line.text("call"))
	}
	var begun, failed int64
	var ended sync.WaitGroup
	start := time.Now()
	for caller := 0; caller < callers; caller++ {
		ended.Add(1)
		go func() {
			defer ended.Done()
			for atomic.AddInt64(&begun, 1) <= count {
				if one() != nil {
					atomic.AddInt64(&failed, 1)
				}
			}
		}()
	}
	ended.Wait()
	return fmt.Sprintf("seconds=%.6f failed=%d", time.Since(start).Seconds(), failed)
}

func main() {
	r := &driver{
		clients: map[string]*gometa.Client{},
		cancels: map[string]context.CancelFunc{},
		out:     bufio.NewWriter(os.Stdout),
	}
	r.say("client go")
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 64<<10), lineMax)
	for lines.Scan() {
		r.do(parse(lines.Text()))
	}
	if err := lines.Err(); err != nil {
		fail("%v", err)
	}
	for _, client := range r.clients {
		client.Close()
	}
	r.calls.Wait()
}
