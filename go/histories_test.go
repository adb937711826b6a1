//go:build cgo

package gometa_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"gometa"
)

// field is a length-delimited field of fewer than 128 bytes.
func field(number byte, content ...byte) []byte {
	return append([]byte{number<<3 | 2, byte(len(content))}, content...)
}

// scriptedNode answers each Hello as a node of its history, and nothing else.
type scriptedNode struct {
	listener net.Listener
	mutex    sync.Mutex
	history  uint64
	streams  []net.Conn
}

func (n *scriptedNode) run() {
	for {
		stream, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.answer(stream)
	}
}

func (n *scriptedNode) answer(stream net.Conn) {
	var length [4]byte
	if _, err := io.ReadFull(stream, length[:]); err != nil {
		return
	}
	hello := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(stream, hello); err != nil {
		return
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	id := bytes.Repeat([]byte("e"), 16)
	ensemble := binary.LittleEndian.AppendUint64(append(field(1, id...), 0x11), n.history)
	body := field(1, append([]byte{0x08, 1}, field(2, ensemble...)...)...)
	refused := bytes.Contains(hello, id) && !bytes.Contains(hello, ensemble)
	if refused {
		// HistoryChanged, NOT_APPLIED.
		body = field(5, 0x08, 23, 0x18, 1)
	}
	stream.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	if refused {
		stream.Close()
	} else {
		n.streams = append(n.streams, stream)
	}
}

func (n *scriptedNode) foundAnew() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.history++
	for _, stream := range n.streams {
		stream.Close()
	}
	n.streams = nil
}

func TestAChangeOfTheHistoryIsReturnedOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	node := &scriptedNode{listener: listener, history: 1}
	go node.run()
	defer node.foundAnew()

	ctx := within(t)
	client := openAt(t, []string{listener.Addr().String()})
	if _, err := client.Members(ctx); err != nil || client.HistoryID() != 1 {
		t.Fatal(client.HistoryID(), err)
	}
	node.foundAnew()
	// Until the client has noticed the end of its connection, it answers from what it knows.
	for err = nil; err == nil; {
		_, err = client.Members(ctx)
	}
	var failed *gometa.Error
	if !errors.As(err, &failed) || failed.Kind != gometa.ErrHistoryChanged || failed.Retryable ||
		failed.Outcome != gometa.OutcomeNotApplied {
		t.Fatalf("%v", err)
	}
	for i := 0; i < 3; i++ {
		if _, err := client.Members(ctx); err != nil || client.HistoryID() != 2 {
			t.Fatal(client.HistoryID(), err)
		}
	}
}
