package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gometa"
)

// relations are the relations by their signs.
var relations = map[string]gometa.Relation{
	"=": gometa.Equal, "!=": gometa.NotEqual, "<": gometa.Less, ">": gometa.Greater,
}

// txn is the transaction of a line.
func (c command) txn() *gometa.Txn {
	txn := gometa.NewTxn()
	for _, words := range c.list("when") {
		txn.When(c.compare(words))
	}
	for _, words := range c.list("then") {
		txn.Then(c.operation(words))
	}
	for _, words := range c.list("otherwise") {
		txn.Otherwise(c.operation(words))
	}
	return txn
}

// list is a list of a line, each part as its words. It may be left out.
func (c command) list(name string) [][]string {
	var parts [][]string
	if c.has(name) {
		for _, part := range strings.Split(c.text(name), ",") {
			parts = append(parts, strings.Split(part, ":"))
		}
	}
	return parts
}

func (c command) unhex(text string) []byte {
	value, err := hex.DecodeString(text)
	if err != nil {
		fail("line %s: %v", c.number, err)
	}
	return value
}

func (c command) compare(words []string) gometa.Compare {
	if len(words) != 4 {
		fail("line %s: %v is no comparison", c.number, words)
	}
	if words[0] == "range" {
		keys := gometa.Range{Prefix: string(c.unhex(words[2]))}
		return gometa.CompareRange(keys, c.parsed(words[1]), c.parsed(words[3]))
	}
	relation, known := relations[words[1]]
	if !known {
		fail("line %s: there is no relation %s", c.number, words[1])
	}
	key := string(c.unhex(words[2]))
	if words[0] == "value" {
		return gometa.CompareValue(key, relation, c.unhex(words[3]))
	}
	revision := c.parsed(words[3])
	switch words[0] {
	case "mod_revision":
		return gometa.CompareModRevision(key, relation, revision)
	case "create_revision":
		return gometa.CompareCreateRevision(key, relation, revision)
	}
	fail("line %s: there is no fact %s", c.number, words[0])
	return gometa.Compare{}
}

func (c command) parsed(text string) uint64 {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		fail("line %s: %v", c.number, err)
	}
	return number
}

func (c command) operation(words []string) gometa.Op {
	switch {
	case len(words) == 3 && words[0] == "set":
		return gometa.OpSet(string(c.unhex(words[1])), c.unhex(words[2]))
	case len(words) == 2 && words[0] == "delete":
		return gometa.OpDelete(string(c.unhex(words[1])))
	case len(words) == 2 && words[0] == "get":
		return gometa.OpGet(string(c.unhex(words[1])))
	case len(words) == 2 && words[0] == "range":
		return gometa.OpRange(gometa.Range{Prefix: string(c.unhex(words[1]))})
	case len(words) == 2 && words[0] == "delete_range":
		return gometa.OpDeleteRange(gometa.Range{Prefix: string(c.unhex(words[1]))})
	}
	fail("line %s: %v is no operation", c.number, words)
	return gometa.Op{}
}

// transacted is the result of a transaction as text.
func transacted(result gometa.TxnResult) string {
	var results []string
	for _, one := range result.Results {
		text := "absent"
		var failed *gometa.Error
		switch {
		case one.Written != nil:
			text = fmt.Sprintf("written:%d", one.Written.Version)
		case one.Deleted != nil:
			text = fmt.Sprintf("deleted:%t", one.Deleted.Existed)
		case one.DeletedRange != nil:
			text = fmt.Sprintf("deleted_range:%d", one.DeletedRange.Count)
		case one.Entry != nil:
			text = fmt.Sprintf("entry:%x", one.Entry.Value)
		case one.Page != nil:
			var keys []string
			for _, entry := range one.Page.Entries {
				keys = append(keys, fmt.Sprintf("%x", entry.Key))
			}
			text = "page:" + strings.Join(keys, "+")
		case errors.As(one.Err, &failed):
			text = "error:" + failed.Kind.String()
		}
		results = append(results, text)
	}
	return fmt.Sprintf("succeeded=%t revision=%d results=%s", result.Succeeded, result.Revision, strings.Join(results, ","))
}

// transfer moves an amount from one account to another, and notes that; false if there is too little.
func transfer(ctx context.Context, client *gometa.Client, line command) (bool, error) {
	from, to, note := string(line.bytes("from")), string(line.bytes("to")), string(line.bytes("note"))
	amount := line.unsigned("amount")
	moved := false
	err := client.Transaction(ctx, func(tx *gometa.Transaction) error {
		payer, err := balance(tx, from)
		if err != nil {
			return err
		}
		payee, err := balance(tx, to)
		if err != nil {
			return err
		}
		if moved = payer >= amount; moved {
			tx.Set(from, []byte(strconv.FormatUint(payer-amount, 10)))
			tx.Set(to, []byte(strconv.FormatUint(payee+amount, 10)))
			tx.Set(note, []byte(fmt.Sprintf("%s %s %d", from, to, amount)))
		}
		return nil
	})
	return moved, err
}

func balance(tx *gometa.Transaction, account string) (uint64, error) {
	value, err := tx.Get(account)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(value), 10, 64)
}
