package ingest

import "sync/atomic"

// room is what one request holds of max_in_flight_bytes.
type room struct {
	all   *atomic.Int64 // what all of them hold
	most  int64
	bytes int64
}

func (h *handler) room() *room { return &room{all: &h.bytes, most: int64(h.cfg.MaxInFlightBytes)} }

// take adds bytes. False: with those of others they are too many. A request that has everything to itself may take more:
// it would be told to come back for ever.
func (r *room) take(bytes int64) bool {
	r.bytes += bytes
	all := r.all.Add(bytes)
	return all <= r.most || all == r.bytes
}

// leave gives everything back.
func (r *room) leave() { r.all.Add(-r.bytes) }

// chunks hold a batch's payloads. A chunk is never grown: each array that it was moved from would live on for as long as
// a payload that lies in it.
type chunks struct {
	last []byte
	size int // of all
}

// The first chunk holds a small batch; a later one is as large as all before it, up to largestChunk. More than half of what
// they take is payloads but for the last.
const (
	firstChunk   = 4 << 10
	largestChunk = 256 << 10
)

// keep copies a payload.
func (c *chunks) keep(payload []byte) []byte {
	if len(payload) > cap(c.last)-len(c.last) {
		c.last = make([]byte, 0, max(len(payload), min(max(c.size, firstChunk), largestChunk)))
		c.size += cap(c.last)
	}
	start := len(c.last)
	c.last = append(c.last, payload...)
	return c.last[start:len(c.last):len(c.last)]
}
