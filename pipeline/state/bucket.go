// Package state reads and writes many keys of a JetStream key-value bucket at once: one request for a
// thousand values, one wave of compare-and-set writes. The buckets are ordinary ones: the nats command and
// any client library can look into them.
package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"encoding/json"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
)

// maxGet is how many keys one request asks for; the broker answers at most 1,024 subjects.
const maxGet = 1000

// answerBytes is how much one answer brings, and one value more at most; the rest is asked for again. Without a bound it
// would bring what the broker lets wait for a connection, 64 MB by default: with anything beside it, and with many buckets
// read on one connection, the broker takes the client for too slow and cuts it.
const answerBytes = 2 << 20

// getTimeout is how long nothing may be answered.
const getTimeout = 10 * time.Second

// witness is the key of a deletion marker. An answer without any hit does not say how new it is; so whoever knows
// what must be there already asks for the witness too.
const witness = "_newest"

// Entry is a key's value and its revision, which a later write must name.
type Entry struct {
	Value    []byte // nil when the key does not exist or was deleted
	Revision uint64 // 0 when the key never existed
}

// Write is one compare-and-set: it is stored only if the key still has the revision.
type Write struct {
	Key      string
	Value    []byte
	Revision uint64 // 0: create, the key must not exist
}

// Bucket accesses one bucket. It is for one goroutine; make one for each. Close it when done.
type Bucket struct {
	name  string
	conn  *nats.Conn
	wave  *bus.Wave
	inbox string
	sub   *nats.Subscription
	asked int
	// newest is the latest revision known to be stored: a replica that answers from before it is refused.
	newest uint64
}

// Open prepares access to an existing bucket on the connection, which stays the caller's.
func Open(conn *nats.Conn, name string) (*Bucket, error) {
	wave, err := bus.NewWave(conn)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	b := &Bucket{name: name, conn: conn, wave: wave, inbox: conn.NewInbox()}
	b.sub, err = conn.SubscribeSync(b.inbox + ".*")
	if err == nil {
		err = b.sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		wave.Close()
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	return b, nil
}

// Close ends the access.
func (b *Bucket) Close() {
	b.wave.Close()
	_ = b.sub.Unsubscribe() // fails only when the connection is gone, and then it is ended too
}

// Get reads many keys; every key asked for is in the answer.
func (b *Bucket) Get(ctx context.Context, keys []string) (map[string]Entry, error) {
	got := make(map[string]Entry, len(keys))
	for _, k := range keys {
		got[k] = Entry{}
	}
	for start := 0; start < len(keys); start += maxGet {
		part := keys[start:min(start+maxGet, len(keys))]
		for len(part) > 0 {
			rest, err := b.some(ctx, part, got)
			if err != nil {
				return nil, fmt.Errorf("read %d keys of bucket %s: %w", len(part), b.name, err)
			}
			part = rest
		}
	}
	return got, nil
}

// Put stores many keys, each only if it still has its revision, and returns the new revision of each. A write
// that lost to another one has revision 0 in the answer and its key in conflicts; err is for everything else,
// after which it is unknown what was stored.
func (b *Bucket) Put(ctx context.Context, writes []Write) (revisions []uint64, conflicts []int, err error) {
	for i := range writes {
		if _, err := b.wave.Publish(b.message(&writes[i])); err != nil {
			_, _ = b.wave.Wait(ctx) // end the round; the first error says what matters
			return nil, nil, fmt.Errorf("write bucket %s: %w", b.name, err)
		}
	}
	acks, _ := b.wave.Wait(ctx) // each answer is looked at below
	revisions = make([]uint64, len(writes))
	for i, a := range acks {
		switch {
		case a.Err == nil:
			revisions[i] = a.Sequence
			b.newest = max(b.newest, a.Sequence)
		case bus.IsConflict(a.Err):
			conflicts = append(conflicts, i)
		default:
			return nil, nil, fmt.Errorf("write key %s of bucket %s: %w", writes[i].Key, b.name, a.Err)
		}
	}
	return revisions, conflicts, nil
}

// Store is Put for writes of which hardly any will lose: the broker's answers are not told apart, which saves it a search
// for each. Where one lost, the error is a conflict (bus.IsConflict) and it is unknown what was stored, as after any other:
// Put the same again to know, and what was stored conflicts.
func (b *Bucket) Store(ctx context.Context, writes []Write) (revisions []uint64, err error) {
	for i := range writes {
		if err := b.wave.Send(b.message(&writes[i])); err != nil {
			_, _ = b.wave.Wait(ctx) // end the round; the first error says what matters
			return nil, fmt.Errorf("write bucket %s: %w", b.name, err)
		}
	}
	if revisions, err = b.wave.WaitStored(ctx); err != nil {
		return nil, fmt.Errorf("write %d keys of bucket %s: %w", len(writes), b.name, err)
	}
	if n := len(revisions); n > 0 {
		b.newest = max(b.newest, revisions[n-1])
	}
	return revisions, nil
}

func (b *Bucket) message(w *Write) *nats.Msg {
	return &nats.Msg{Subject: b.subject(w.Key), Data: w.Value, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(w.Revision, 10)},
	}}
}

// Newest is the revision of the latest write that was confirmed.
func (b *Bucket) Newest() uint64 { return b.newest }

// NotBefore refuses answers of replicas that have not yet stored the given revision.
func (b *Bucket) NotBefore(revision uint64) { b.newest = max(b.newest, revision) }

// Refresh refuses, from now on, answers that are older than this moment. It costs a request to the bucket's leader.
func (b *Bucket) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bus.Patience)
	defer cancel()
	m, err := b.conn.RequestWithContext(ctx, "$JS.API.STREAM.INFO.KV_"+b.name, nil)
	if err != nil {
		return fmt.Errorf("look up bucket %s: %w", b.name, err)
	}
	var answer struct {
		State jetstream.StreamState `json:"state"`
		Error *jetstream.APIError   `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("look up bucket %s: %w", b.name, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("look up bucket %s: %w", b.name, answer.Error)
	}
	b.NotBefore(answer.State.LastSeq)
	return nil
}

func (b *Bucket) subject(key string) string { return subjectOf(b.name, key) }

// some asks until some of the keys are answered, and returns the others.
func (b *Bucket) some(ctx context.Context, keys []string, into map[string]Entry) (rest []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	for {
		if rest, err = b.get(ctx, keys, into); err != nil || len(rest) < len(keys) {
			return rest, err
		}
	}
}

// get asks once and returns the keys to be asked for again: none, those that the broker's answer had no room
// for, or all: of an answer that lost a part on its way, as while the client connects to another node, and of a replica
// that lags behind what is known to be stored.
func (b *Bucket) get(ctx context.Context, keys []string, into map[string]Entry) (rest []string, err error) {
	subjects := make([]string, len(keys), len(keys)+1)
	for i, k := range keys {
		subjects[i] = b.subject(k)
	}
	if b.newest > 0 {
		subjects = append(subjects, b.subject(witness))
	}
	request, err := json.Marshal(map[string]any{"batch": len(subjects), "max_bytes": answerBytes, "multi_last": subjects})
	if err != nil {
		return nil, err
	}
	b.asked++
	reply := b.inbox + "." + strconv.Itoa(b.asked)
	if err := b.conn.PublishRequest("$JS.API.DIRECT.GET.KV_"+b.name, reply, request); err != nil {
		return nil, err
	}
	last, lost := "0", false // the value before, as the next one names it
	for {
		m, err := b.sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		if m.Subject != reply {
			continue // late answer to an abandoned request
		}
		status, description := m.Header.Get("Status"), m.Header.Get("Description")
		lost = lost || (status == "" || status == "204") && m.Header.Get("Nats-Last-Sequence") != last
		switch {
		case status == "":
			last = m.Header.Get("Nats-Sequence")
			b.store(m, into)
		case status == "204" && lost:
			return anew(keys, into), nil
		case status == "404" && description == "No Results" && b.newest > 0:
			return keys, b.attest(ctx)
		case status == "404" && description == "No Results":
			return nil, nil
		case status == "204":
			return b.unanswered(ctx, m.Header, keys, into)
		default:
			return nil, errors.New(status + " " + description)
		}
	}
}

// attest makes the witness where there is none; where there is one, the answer came from a replica that lags.
func (b *Bucket) attest(ctx context.Context) error {
	_, err := b.wave.Publish(&nats.Msg{Subject: b.subject(witness), Header: nats.Header{
		"KV-Operation": {"DEL"}, jetstream.ExpectedLastSubjSeqHeader: {"0"},
	}})
	if err != nil {
		return err
	}
	if _, err := b.wave.Wait(ctx); err != nil && !bus.IsConflict(err) {
		return err
	}
	return b.lagPause(ctx)
}

// lagPause gives a replica that lags a moment, before it or another one is asked again.
func (b *Bucket) lagPause(ctx context.Context) error {
	select {
	case <-time.After(5 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no answer is as new as revision %d: %w", b.newest, ctx.Err())
	}
}

// anew has all keys asked for again.
func anew(keys []string, into map[string]Entry) []string {
	for _, k := range keys {
		into[k] = Entry{}
	}
	return keys
}

// unanswered are the keys to be asked for again, as the end of an answer says.
func (b *Bucket) unanswered(ctx context.Context, end nats.Header, keys []string, into map[string]Entry) (rest []string, err error) {
	if upTo, _ := strconv.ParseUint(end.Get("Nats-UpTo-Sequence"), 10, 64); upTo < b.newest {
		return anew(keys, into), b.lagPause(ctx)
	}
	if pending := end.Get("Nats-Num-Pending"); pending == "" || pending == "0" {
		return nil, nil
	}
	for _, k := range keys {
		if into[k].Revision == 0 {
			rest = append(rest, k)
		}
	}
	return rest, nil
}

func (b *Bucket) store(m *nats.Msg, into map[string]Entry) {
	key := strings.TrimPrefix(m.Header.Get("Nats-Subject"), b.subject(""))
	revision, _ := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if key == witness {
		return
	}
	into[key] = entryOf(m.Data, m.Header, revision)
}
