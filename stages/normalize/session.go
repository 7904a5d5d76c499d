package normalize

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/normalize/claims"
)

// A batch is so many messages at most, each of which holds up to 64 calls, and about so many bytes.
const (
	batchMessages = 500
	batchBytes    = 1 << 20
)

// identitiesKept is how many keys of identities a process remembers, about 200 bytes each: a customer has two or three.
const identitiesKept = 1 << 17

// maxRoom is how many calls of a batch a partition keeps room for at most.
const maxRoom = 4096

// attempts bounds how often a round is decided anew because another partition touched the same identities.
const attempts = 20

// prepared is what becomes of one call: an event, a reason to park it, or neither for a repeat.
type prepared struct {
	raw     event.Raw
	index   int    // of the call in its message
	ordinal uint64 // of the call in its partition of RAW
	call    call
	key     claims.Key // of its event id
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
	claims     Claims
	vault      Vault
	linker     linker
	split      *separator
	largest    int        // event, in bytes; 0: any is
	calls      []prepared // of the batch
}

func (s *Stage) open(ctx context.Context, topic string) (_ bus.Session, err error) {
	number, err := topology.PartitionOf(topic)
	if err != nil {
		return nil, err
	}
	conn := s.config.JetStream.Conn()
	o := &session{stage: s, split: s.split.copy(), largest: s.largest()}
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
	ids, err := s.identities.Open()
	if err != nil {
		return nil, err
	}
	o.identities = ids
	o.linker.key = "j." + s.stream + "." + strconv.Itoa(number)
	fields, err := state.Open(conn, topology.Vault)
	if err != nil {
		return nil, err
	}
	o.vault = vault.New(fields)
	writer, err := s.claims.Writer()
	if err != nil {
		return nil, err
	}
	o.claims = writer
	// What a former owner wrote too: its calls may come again.
	if err := s.identities.CatchUp(ctx); err != nil {
		return nil, err
	}
	return o, s.claims.CatchUp(ctx)
}

// Close lets go of the partition.
func (o *session) Close() {
	if o.SourceSession != nil {
		o.SourceSession.Close()
	}
	for _, b := range []interface{ Close() }{o.identities, o.claims, o.vault} {
		if b != nil {
			b.Close()
		}
	}
}

// Begin decides about a whole batch with a few requests: identities first, then the claims of its event ids, then
// the vault. A crash in between repeats the batch and comes to the same answers.
func (o *session) Begin(ctx context.Context, batch []bus.Delivery) ([]any, error) {
	if err := o.stage.config.Throttle.Wait(ctx); err != nil {
		return nil, err
	}
	o.linker.identities, o.linker.vault = o.identities, o.vault
	if err := o.linker.recall(ctx); err != nil {
		return nil, fmt.Errorf("normalize: %w", err)
	}
	values, raws, total := make([]any, len(batch)), make([][]event.Raw, len(batch)), 0
	for i, d := range batch {
		raws[i] = rawsOf(d)
		total += len(raws[i])
	}
	all, free := make([]*prepared, 0, total), o.room(total)
	for i, d := range batch {
		var calls []prepared
		calls, free = free[:len(raws[i])], free[len(raws[i]):]
		for n, raw := range raws[i] {
			p := &calls[n]
			p.raw, p.index, p.ordinal = raw, n, pipeline.RawOrdinal(d.Sequence, n)
			if p.call, p.parked = parse(raw); p.parked == nil {
				p.parked = p.call.bound(o.stage.config.Settings)
			}
			if p.parked == nil {
				p.parked = o.fits(p)
			}
			if p.parked == nil {
				p.fresh = newPlace(profileID(o.stage.stream, p.ordinal), p.call.Accepted, p.ordinal)
				p.ties = o.linker.pending[p.ordinal] != nil
				p.names = namesOf(&p.call, o.stage.split.hash)
				p.key = claims.KeyOf(p.call.ID)
				all = append(all, p)
			}
		}
		values[i] = calls
	}
	failed := 0
	for open := all; len(open) > 0; {
		if p := open[0]; p.ties {
			known, err := o.claims.Find(ctx, []claims.Key{p.key})
			if err == nil {
				_, claimed := known[p.key]
				err = o.linker.link(ctx, p, o.stage.ordinalOf(p.ordinal), all[0].ordinal, claimed)
			}
			if err != nil {
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

// room is for so many calls. It is the former batch's, of which nothing is needed any more.
func (o *session) room(n int) []prepared {
	if n > maxRoom {
		return make([]prepared, n)
	}
	clear(o.calls)
	o.calls = slices.Grow(o.calls[:0], n)[:n]
	return o.calls
}

// resolve is one round: it finds the profiles of the first calls, as many as can be stored together, drops
// repeats, and returns how many it settled; 0 means that someone else changed what it read.
func (o *session) resolve(ctx context.Context, open []*prepared) (settled int, err error) {
	var ids, ownerKeys []string
	keys := make([]claims.Key, len(open))
	for i, p := range open {
		keys[i] = p.key
		ids = append(ids, p.names.keys()...)
	}
	claimed, err := o.claims.Find(ctx, keys)
	if err != nil {
		return 0, err
	}
	entries, err := o.identities.Get(ctx, unique(ids))
	if err != nil {
		return 0, err
	}
	found := &identities{overlay: newOverlay(entries), answered: map[string]bool{}}
	for _, p := range open {
		ownerKeys = append(ownerKeys, found.owners(&p.names, p.fresh)...)
	}
	if entries, err = o.identities.Get(ctx, unique(ownerKeys)); err != nil {
		return 0, err
	}
	maps.Copy(found.entries, entries)
	news := make([]claims.Claim, 0, len(open))
	for ; settled < len(open); settled++ {
		p := open[settled]
		if p.ties {
			break
		}
		if _, known := claimed[p.key]; known {
			continue
		}
		profile, ok := p.call.Profile, true
		if p.call.Type != event.Delivery {
			found.ties, found.apart = false, p.apart()
			profile, ok = found.resolve(p.call.Type, &p.names, p.fresh)
		}
		if !ok {
			p.ties = found.ties
			break
		}
		claim := claims.Claim{Key: p.key, Owner: o.stage.ordinalOf(p.ordinal), Profile: profile, Fingerprint: p.call.Fingerprint}
		claimed[p.key] = claim
		news = append(news, claim)
	}
	// Identities before claims: a repeat after a crash then finds the same profile.
	if ok, err := found.store(ctx, o.identities); err != nil || !ok {
		return 0, err
	}
	owners, err := o.claims.Claim(ctx, news)
	if err != nil {
		return 0, err
	}
	maps.Copy(claimed, owners) // another partition may have come first
	for _, p := range open[:settled] {
		o.conclude(p, claimed[p.key])
	}
	return settled, nil
}

// conclude makes a call an event, a repeat of the event that another call owns, or parks it when that call was another
// one.
func (o *session) conclude(p *prepared, first claims.Claim) {
	c := &p.call
	if first.Owner != o.stage.ordinalOf(p.ordinal) {
		if c.Type != event.Delivery && first.Fingerprint != c.Fingerprint {
			p.parked = pipeline.Park(ReasonReusedID, fmt.Errorf("messageId %q was another call's already, %s of RAW, which became an event of profile %s: "+
				"give each call an id of its own, and the same one only to a repeat of the same call", short(c.ID), first.Owner, first.Profile))
		}
		return
	}
	p.event = o.eventOf(p, first.Profile)
}

// eventOf is a call's event, without what may hold personal fields.
func (o *session) eventOf(p *prepared, profile string) *event.Event {
	c := &p.call
	name := o.stage.split.title(c.Name)
	if c.Type == event.Group {
		name = o.stage.split.user(name) // a group's id may be a person's address, as a user's may
	}
	return &event.Event{
		ID: o.stage.split.within(c.ID), Type: c.Type, Name: name, Profile: profile, User: o.stage.split.user(c.User),
		Occurred: c.Occurred, Accepted: c.Accepted, Historical: c.Historical, Consent: consent(c),
		Trace: p.raw.Trace,
	}
}

// separate moves the personal fields of the events to the vault.
func (o *session) separate(ctx context.Context, all []*prepared) error {
	updates := map[string]map[string]vault.Field{}
	for _, p := range all {
		if p.event == nil {
			continue
		}
		fields := map[string]vault.Field{}
		o.split.event(p.event, &p.call, fields)
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
	if t, err := time.Parse(time.RFC3339, d.Header.Get(event.HeaderKeepUntil)); err == nil {
		raw.KeepUntil = t
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
