package pipeline

import (
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
	var packed []*nats.Msg
	open := make(map[int]*rawPack, partitions)
	for i := range records {
		r := &records[i]
		p := topology.Partition(RawKey(r.Key), partitions)
		pack := open[p]
		if pack == nil || !pack.takes(r) {
			pack = &rawPack{first: r, message: rawMessage(r, p)}
			open[p] = pack
			packed = append(packed, pack.message)
		} else {
			pack.message.Data = append(pack.message.Data, r.Payload...)
		}
		pack.lengths = append(pack.lengths, len(r.Payload))
		if len(pack.lengths) > 1 {
			pack.message.Header.Set(headerLengths, joinLengths(pack.lengths))
		}
	}
	return packed
}

// rawPack is a message that is being filled.
type rawPack struct {
	first   *event.Raw
	message *nats.Msg
	lengths []int
}

// takes tells whether one more call belongs and fits into it.
func (p *rawPack) takes(r *event.Raw) bool {
	return len(p.lengths) < maxRawCalls && len(p.message.Data)+len(r.Payload) <= maxRawBytes &&
		r.Accepted.Equal(p.first.Accepted) && r.SentAt.Equal(p.first.SentAt) && r.Historical == p.first.Historical &&
		r.Trace == p.first.Trace && r.KeepUntil.Equal(p.first.KeepUntil)
}

func rawMessage(r *event.Raw, partition int) *nats.Msg {
	m := &nats.Msg{Subject: topology.Subject(topology.Raw, partition), Data: r.Payload[:len(r.Payload):len(r.Payload)], Header: nats.Header{}}
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

func joinLengths(lengths []int) string {
	var b []byte
	for i, n := range lengths {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(n), 10)
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
