package normalize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
)

// pace is the least time between the beginnings of two batches of a partition: a batch costs several requests,
// however few calls it has.
const pace = 7 * time.Millisecond

// batchMessages bounds a batch: each message holds up to 64 calls.
const batchMessages = 64

// attempts bounds how often a round is decided anew because another partition touched the same identities.
const attempts = 20

// prepared is what becomes of one call: an event, a reason to park it, or neither for a repeat.
type prepared struct {
	raw     event.Raw
	index   int    // of the call in its message
	ordinal uint64 // of the call in its partition of RAW
	call    call
	names   names
	fresh   place // of a profile that it may be the first of
	event   *event.Event
	parked  error

	ties   bool         // it is for the linker first
	joins  []event.Join // what the linker made of it
	winner string       // and the profile that it is about
	bare   *event.Event // what tells the log of the joins where there is no event
}

// session owns one partition of RAW.
type session struct {
	*pipeline.SourceSession
	stage      *Stage
	identities Bucket
	duplicates Bucket
	vault      Vault
	linker     linker
}

func (s *Stage) open(_ context.Context, topic string) (_ bus.Session, err error) {
	number, err := topology.PartitionOf(topic)
	if err != nil {
		return nil, err
	}
	conn := s.config.JetStream.Conn()
	o := &session{stage: s}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	wave, err := bus.NewWave(conn)
	if err != nil {
		return nil, err
	}
	o.SourceSession = pipeline.NewSourceSession("raw."+s.stream+"."+strconv.Itoa(number), wave)
	for _, b := range []struct {
		name string
		into *Bucket
	}{{topology.Identities, &o.identities}, {topology.Duplicates, &o.duplicates}} {
		bucket, err := state.Open(conn, b.name)
		if err != nil {
			return nil, err
		}
		*b.into = bucket
	}
	bucket, err := state.Open(conn, topology.Vault)
	if err != nil {
		return nil, err
	}
	o.vault = vault.New(bucket)
	o.linker.key = "j." + s.stream + "." + strconv.Itoa(number)
	return o, nil
}

// Close lets go of the partition.
func (o *session) Close() {
	if o.SourceSession != nil {
		o.SourceSession.Close()
	}
	for _, b := range []interface{ Close() }{o.identities, o.duplicates, o.vault} {
		if b != nil {
			b.Close()
		}
	}
}

// Begin decides about a whole batch with a few requests: identities first, then the duplicates' records, then
// the vault. A crash in between repeats the batch and comes to the same answers.
func (o *session) Begin(ctx context.Context, batch []bus.Delivery) ([]any, error) {
	if err := o.stage.config.Throttle.Wait(ctx); err != nil {
		return nil, err
	}
	o.linker.identities, o.linker.vault = o.identities, o.vault
	if err := o.linker.recall(ctx); err != nil {
		return nil, fmt.Errorf("normalize: %w", err)
	}
	values := make([]any, len(batch))
	var all, open []*prepared
	for i, d := range batch {
		raws := rawsOf(d)
		calls := make([]prepared, len(raws))
		for n, raw := range raws {
			p := &calls[n]
			p.raw, p.index, p.ordinal = raw, n, pipeline.RawOrdinal(d.Sequence, n)
			if p.call, p.parked = parse(raw); p.parked == nil {
				p.fresh = newPlace(profileID(o.stage.stream, p.ordinal), p.call.Accepted, p.ordinal)
				p.ties = o.linker.pending[p.ordinal] != nil
				p.names = namesOf(&p.call, o.stage.split.hash)
				all = append(all, p)
			}
		}
		values[i] = calls
	}
	failed := 0
	for open = all; len(open) > 0; {
		if p := open[0]; p.ties {
			if err := o.linker.link(ctx, p, o.stage.ordinalOf(p.ordinal), all[0].ordinal); err != nil {
				return nil, fmt.Errorf("normalize: %w", err)
			}
		}
		settled, err := o.resolve(ctx, open)
		if err != nil {
			return nil, fmt.Errorf("normalize: %w", err)
		}
		if open = open[settled:]; settled > 0 {
			failed = 0
		} else if failed++; failed == attempts {
			return nil, fmt.Errorf("normalize: identities of a batch changed under other hands %d times", attempts)
		}
	}
	if err := o.separate(ctx, all); err != nil {
		return nil, fmt.Errorf("normalize: %w", err)
	}
	return values, nil
}

// resolve is one round: it finds the profiles of the first calls, as many as can be stored together, drops
// repeats, and returns how many it settled; 0 means that someone else changed what it read.
func (o *session) resolve(ctx context.Context, open []*prepared) (settled int, err error) {
	var idKeys, duplicateKeys, ownerKeys []string
	for _, p := range open {
		duplicateKeys = append(duplicateKeys, duplicateKey(p.call.ID))
		idKeys = append(idKeys, p.names.keys()...)
	}
	entries, err := o.duplicates.Get(ctx, unique(duplicateKeys))
	if err != nil {
		return 0, err
	}
	seen := newOverlay(entries)
	if entries, err = o.identities.Get(ctx, unique(idKeys)); err != nil {
		return 0, err
	}
	ids := &identities{overlay: newOverlay(entries), answered: map[string]bool{}}
	for _, p := range open {
		ownerKeys = append(ownerKeys, ids.owners(&p.names, p.fresh)...)
	}
	if entries, err = o.identities.Get(ctx, unique(ownerKeys)); err != nil {
		return 0, err
	}
	maps.Copy(ids.entries, entries)
	for settled < len(open) && o.decide(open[settled], ids, &seen) {
		settled++
	}
	// Identities before duplicates: a repeat after a crash then finds the same profile.
	if ok, err := ids.store(ctx, o.identities); err != nil || !ok {
		return 0, err
	}
	if ok, err := seen.store(ctx, o.duplicates, seen.changed); err != nil || !ok {
		return 0, err
	}
	return settled, nil
}

// decide makes one call an event, a repeat of an event that another call owns, or parks it when that call was another
// one; false means that the round ends before it.
func (o *session) decide(p *prepared, ids *identities, seen *overlay) bool {
	if p.ties {
		return false
	}
	p.event, p.parked = nil, nil
	key := duplicateKey(p.call.ID)
	ours := o.stage.ordinalOf(p.ordinal)
	first, known := readFirst(seen.get(key))
	profile := first.profile
	switch {
	case known && first.owner != ours:
		if p.call.Type != event.Delivery && first.fingerprint != "" && first.fingerprint != p.call.Fingerprint {
			p.parked = pipeline.Park(ReasonReusedID, fmt.Errorf("messageId %q was another call's already, %s of RAW, which became an event of profile %s: "+
				"give each call an id of its own, and the same one only to a repeat of the same call", short(p.call.ID), first.owner, first.profile))
		}
		return true
	case known: // ours, from before a crash: to the same profile again
	case p.call.Type == event.Delivery:
		profile = p.call.Profile
	default:
		var ok bool
		ids.ties, ids.apart = false, p.apart()
		if profile, ok = ids.resolve(p.call.Type, &p.names, p.fresh); !ok {
			p.ties = ids.ties
			return false
		}
	}
	if !known {
		seen.set(key, ours+" "+profile+" "+p.call.Fingerprint)
	}
	c := &p.call
	name := c.Name
	if c.Type == event.Group {
		name = o.stage.split.user(name) // a group's id may be a person's address, as a user's may
	}
	p.event = &event.Event{
		ID: c.ID, Type: c.Type, Name: name, Profile: profile, User: o.stage.split.user(c.User),
		Occurred: c.Occurred, Accepted: c.Accepted, Historical: c.Historical, Consent: consent(c),
		Trace: p.raw.Trace,
	}
	return true
}

// first is the call that owns an event id.
type first struct {
	owner       string // the stream's generation and the call's number in its partition
	profile     string
	fingerprint string
}

func readFirst(record string) (f first, known bool) {
	f.owner, record, known = strings.Cut(record, " ")
	f.profile, f.fingerprint, _ = strings.Cut(record, " ")
	return f, known
}

// separate moves the personal fields of the events to the vault.
func (o *session) separate(ctx context.Context, all []*prepared) error {
	updates := map[string]map[string]vault.Field{}
	for _, p := range all {
		if p.event == nil {
			continue
		}
		fields := map[string]vault.Field{}
		o.stage.split.event(p.event, &p.call, fields)
		if len(fields) == 0 {
			continue
		}
		entry := vault.Entry{Fields: updates[p.event.Profile]}
		entry.Merge(fields)
		updates[p.event.Profile] = entry.Fields
	}
	if len(updates) == 0 {
		return nil
	}
	return o.vault.Merge(ctx, updates)
}

// rawsOf reads the calls of a message and what ingest wrote beside them; a direct publisher's call was accepted when it
// was stored, and nothing is accepted later than that.
func rawsOf(d bus.Delivery) []event.Raw {
	raw := event.Raw{Accepted: d.Stored, Historical: d.Header.Get(event.HeaderHistorical) == "true"}
	if t, err := time.Parse(time.RFC3339Nano, d.Header.Get(event.HeaderAccepted)); err == nil && t.Unix() > 0 && t.Before(d.Stored) {
		raw.Accepted = t
	}
	if t, err := time.Parse(time.RFC3339Nano, d.Header.Get(event.HeaderSentAt)); err == nil {
		raw.SentAt = t
	}
	if trace := d.Header.Get(event.HeaderTrace); event.IsTrace(trace) {
		raw.Trace = trace
	}
	calls := pipeline.RawCalls(d.Header, d.Data)
	raws := make([]event.Raw, len(calls))
	for i, call := range calls {
		raws[i] = raw
		raws[i].Payload = call
	}
	return raws
}

// duplicateKey names an event id in the bucket, whatever characters it has.
func duplicateKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

func unique(keys []string) []string {
	known := make(map[string]bool, len(keys))
	kept := keys[:0]
	for _, k := range keys {
		if !known[k] {
			known[k] = true
			kept = append(kept, k)
		}
	}
	return kept
}
