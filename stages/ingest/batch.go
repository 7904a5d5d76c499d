package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
)

// maxExpansion bounds what a batch becomes when its context is written into each of its events: this many times
// MaxBatchBytes. An honest batch with a 2 KiB context and 2,500 small events needs 10.
const maxExpansion = 16

// parked is an event that ingest took but can't use.
type parked struct {
	kind   string // empty: unknown
	letter pipeline.DeadLetter
}

// letterID is the same when the client sends the same event again, whatever is written into it here.
func letterID(reason string, sent []byte) string {
	hash := sha256.New()
	_, _ = io.WriteString(hash, reason+"\n") // a hash takes everything
	_, _ = hash.Write(sent)
	return "refused-" + hex.EncodeToString(hash.Sum(nil)[:16])
}

// intake is what one request holds, sorted out.
type intake struct {
	records []event.Raw
	kinds   []string // of records
	parked  []parked
}

// size is what the records' payloads take in memory.
func (in *intake) size() (bytes int64) {
	for i := range in.records {
		bytes += int64(cap(in.records[i].Payload))
	}
	return bytes
}

// takeOne sorts out a request of one call.
func (h *handler) takeOne(c *call, kind string, accepted time.Time) (*intake, *problem) {
	if p := c.check(kind); p != nil {
		return nil, p
	}
	payload, _ := c.payload(make([]byte, 0, len(c.raw)+96), kind, &shared{}, h.newID)
	return &intake{
		records: []event.Raw{{Key: c.key(), Payload: payload, Accepted: accepted, SentAt: c.sentAt()}},
		kinds:   []string{kind},
	}, nil
}

// takeBatch sorts out a request of many calls. Strict gives the wrong ones back instead of parking them.
func (h *handler) takeBatch(top *call, held *room, accepted time.Time, strict bool) (*intake, *problem, []eventProblem) {
	list := top.value(fieldBatch)
	if list == nil {
		return nil, wrong(codeEmptyBatch, "batch", "batch is missing; it is the array of events"), nil
	}
	if list[0] != '[' {
		return nil, wrong(codeBatchNotArray, "batch", "batch is not an array; it is the array of events"), nil
	}
	all, p := h.sharedOf(top)
	if p != nil {
		return nil, p, nil
	}
	sentAt := top.sentAt()
	in := &intake{}
	var (
		item      call
		buffer    []byte // of the payload that is being written
		kept      chunks
		problems  []eventProblem
		n         int
		expanded  int
		overgrown bool
		crowded   bool
	)
	elements(list, func(elem []byte) bool {
		if n++; n > h.cfg.MaxBatchEvents {
			return false
		}
		kind, p := h.inspect(&item, elem)
		if p != nil && strict {
			p.Field = joinField(n-1, p.Field)
			problems = append(problems, eventProblem{Index: n - 1, problem: p})
			return true
		}
		payload := elem
		if elem[0] == '{' {
			var written bool
			before := kept.size
			if payload, written = item.payload(buffer, kind, &all, h.newID); written {
				buffer, payload = payload, kept.keep(payload)
				crowded = kept.size > before && !held.take(int64(kept.size-before))
			}
		}
		expanded += len(payload)
		if overgrown = expanded > maxExpansion*h.cfg.MaxBatchBytes; overgrown || crowded {
			return false
		}
		sent := sentAt
		if sent.IsZero() && elem[0] == '{' {
			sent = item.sentAt()
		}
		if p != nil {
			p.Field = joinField(n-1, p.Field)
			in.parked = append(in.parked, parked{kind, pipeline.DeadLetter{
				ID: letterID(p.Code, elem), Reason: p.Code, Error: p.Field + ": " + p.Message, Payload: payload,
				SentAt: event.At(sent), Accepted: event.At(accepted),
			}})
			return true
		}
		in.records = append(in.records, event.Raw{Key: item.key(), Payload: payload, Accepted: accepted, SentAt: sent})
		in.kinds = append(in.kinds, kind)
		return true
	})
	switch {
	case n == 0:
		return nil, wrong(codeEmptyBatch, "batch", "batch has no event; don't send empty batches"), nil
	case n > h.cfg.MaxBatchEvents:
		return nil, wrong(codeTooManyEvents, "batch", "batch has more than %d events; send several batches", h.cfg.MaxBatchEvents), nil
	case overgrown:
		return nil, wrong(codePayloadTooLarge, "context",
			"the batch's context and integrations, written into each event, make it too large; send fewer events at once"), nil
	case crowded:
		return nil, h.crowded(), nil
	case len(problems) > 0:
		return nil, wrong(codeInvalidEvents, "batch",
			"%d of %d events are wrong (see errors) and nothing was taken, since strict is set", len(problems), n), problems
	}
	return in, nil, nil
}

// inspect takes one element of a batch apart and reports what is wrong with it. kind is empty when it is unknown.
func (h *handler) inspect(item *call, elem []byte) (kind string, p *problem) {
	if elem[0] != '{' {
		return "", wrong(codeNotObject, "", "the event is not a JSON object")
	}
	item.parse(elem)
	kind = item.kind()
	if len(elem) > h.cfg.MaxEventBytes {
		return kind, wrong(codeEventTooLarge, "", "the event is larger than %d bytes", h.cfg.MaxEventBytes)
	}
	return kind, item.check(kind)
}

// sharedOf takes the batch's context and integrations.
func (h *handler) sharedOf(top *call) (shared, *problem) {
	take := func(f field, name, code string) (defaults, *problem) {
		v := top.value(f)
		if v != nil && v[0] != '{' {
			return defaults{}, wrong(code, name, "%s is not a JSON object", name)
		}
		if len(v) > h.cfg.MaxEventBytes {
			return defaults{}, wrong(codePayloadTooLarge, name, "the batch's %s is larger than %d bytes", name, h.cfg.MaxEventBytes)
		}
		return newDefaults(v), nil
	}
	context, p := take(fieldContext, "context", codeContextNoObject)
	if p != nil {
		return shared{}, p
	}
	integrations, p := take(fieldIntegrations, "integrations", codeIntegrationsNoObject)
	return shared{context: context, integrations: integrations}, p
}

// joinField is the path of an event's field, such as batch[3].event.
func joinField(index int, name string) string {
	if name == "" {
		return fmt.Sprintf("batch[%d]", index)
	}
	return fmt.Sprintf("batch[%d].%s", index, name)
}

// strictOf reads ?strict=1.
func strictOf(r *http.Request) (bool, *problem) {
	v := r.URL.Query().Get("strict")
	if v == "" {
		return false, nil
	}
	strict, err := strconv.ParseBool(v)
	if err != nil {
		return false, wrong(codeInvalidParameter, "strict", "strict is neither 1 nor 0 (nor true or false)")
	}
	return strict, nil
}
