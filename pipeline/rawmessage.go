package pipeline

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"attune/pipeline/event"
	"attune/pipeline/topology"
)

const (
	// maxRawCalls is how many calls one message of RAW holds at most. A message costs the broker about the same for
	// one call as for some.
	maxRawCalls = 64
	maxRawBytes = 128 << 10
)

// headerLengths are the lengths in bytes of the calls that a message of RAW holds one after another; absent: it is one.
const headerLengths = "Attune-Lengths"

// rawMessages packs records for RAW, in order: those of one partition that were accepted together share a message.
func rawMessages(records []event.Raw, partitions int) []*nats.Msg {
	var packs []*rawPack
	open := make(map[int]*rawPack, partitions)
	for i := range records {
		r := &records[i]
		p := topology.Partition(RawKey(r.Key), partitions)
		pack := open[p]
		if pack == nil || !pack.takes(r) {
			pack = &rawPack{first: r, partition: p}
			open[p] = pack
			packs = append(packs, pack)
		}
		pack.calls = append(pack.calls, r.Payload)
		pack.size += len(r.Payload)
	}
	messages := make([]*nats.Msg, len(packs))
	for i, pack := range packs {
		messages[i] = pack.message()
	}
	return messages
}

// rawPack is what a message is to hold.
type rawPack struct {
	first     *event.Raw
	partition int
	calls     [][]byte
	size      int // in bytes
}

// takes tells whether one more call belongs and fits into it.
func (p *rawPack) takes(r *event.Raw) bool {
	return len(p.calls) < maxRawCalls && p.size+len(r.Payload) <= maxRawBytes &&
		r.Accepted.Equal(p.first.Accepted) && r.SentAt.Equal(p.first.SentAt) && r.Historical == p.first.Historical &&
		r.Trace == p.first.Trace && r.KeepUntil.Equal(p.first.KeepUntil)
}

func (p *rawPack) message() *nats.Msg {
	r := p.first
	m := &nats.Msg{Subject: topology.Subject(topology.Raw, p.partition), Data: r.Payload, Header: nats.Header{}}
	if len(p.calls) > 1 {
		m.Data = bytes.Join(p.calls, nil)
		m.Header.Set(headerLengths, lengthsOf(p.calls))
	}
	if !r.Accepted.IsZero() {
		m.Header.Set(event.HeaderAccepted, r.Accepted.UTC().Format(time.RFC3339Nano))
	}
	if !r.SentAt.IsZero() {
		m.Header.Set(event.HeaderSentAt, r.SentAt.UTC().Format(time.RFC3339Nano))
	}
	if r.Historical {
		m.Header.Set(event.HeaderHistorical, strconv.FormatBool(true))
	}
	if !r.KeepUntil.IsZero() {
		m.Header.Set(event.HeaderKeepUntil, r.KeepUntil.UTC().Format(time.RFC3339))
	}
	if r.Trace != "" {
		m.Header.Set(event.HeaderTrace, r.Trace)
	}
	return m
}

func lengthsOf(calls [][]byte) string {
	var b []byte
	for i, call := range calls {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(len(call)), 10)
	}
	return string(b)
}

// RawCalls takes a message of RAW apart: one call, as a producer publishes it, or as many as its lengths say. Lengths
// that don't fit the message are no lengths, and it is one call.
func RawCalls(header nats.Header, data []byte) [][]byte {
	whole := [][]byte{data}
	text := header.Get(headerLengths)
	if text == "" {
		return whole
	}
	calls := make([][]byte, 0, maxRawCalls)
	rest := data
	for word := range strings.SplitSeq(text, " ") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > len(rest) || len(calls) == maxRawCalls {
			return whole
		}
		calls, rest = append(calls, rest[:n:n]), rest[n:]
	}
	if len(rest) > 0 {
		return whole
	}
	return calls
}

// RawOrdinal numbers the calls of a partition of RAW, rising in their order: the sequence of the message and the index
// within it.
func RawOrdinal(sequence uint64, index int) uint64 { return sequence*maxRawCalls + uint64(index) }
