package normalize

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/normalize/claims"
)

// Offline normalizes calls one after another in memory, by the very code that does so over a broker: for the tests of
// workspaces. One goroutine uses it.
type Offline struct {
	session  session
	vault    memoryVault
	sequence uint64
}

// NewOffline knows nobody. Equal calls in equal order give equal events.
func NewOffline(settings Settings) *Offline {
	const stream = "offline"
	o := &Offline{vault: memoryVault{}}
	o.session = session{
		stage: &Stage{
			config: Config{Settings: settings}, stream: stream,
			split: newSeparator(vault.NewHasher([]byte(stream)), settings.Declared(), settings.PhoneRegion),
		},
		identities: memoryBucket{}, claims: memoryClaims{}, vault: o.vault,
	}
	o.session.split = o.session.stage.split
	return o
}

// Call normalizes one call in Segment's shape. The event is nil for a repeat. The error is a *pipeline.Parked for what
// can't be used.
func (o *Offline) Call(payload []byte, accepted event.Instant, historical bool) (*event.Event, error) {
	o.sequence++
	d := bus.Delivery{Subject: topology.Subject(topology.Raw, 0), Data: payload, Sequence: o.sequence, Stored: accepted.Time(), Header: nats.Header{}}
	if historical {
		d.Header.Set(event.HeaderHistorical, "true")
	}
	values, err := o.session.Begin(context.Background(), []bus.Delivery{d})
	if err != nil {
		return nil, err
	}
	calls, ok := values[0].([]prepared)
	if !ok || len(calls) != 1 {
		return nil, fmt.Errorf("normalize: one call became %T of %d", values[0], len(calls))
	}
	p := &calls[0]
	if p.event != nil {
		p.event.Joins = p.joins
	}
	return p.event, p.parked
}

// Personal is what the vault holds of a profile.
func (o *Offline) Personal(profile string) vault.Entry { return o.vault[profile] }

// memoryBucket is a bucket that nobody else writes to.
type memoryBucket map[string]state.Entry

func (b memoryBucket) Get(_ context.Context, keys []string) (map[string]state.Entry, error) {
	found := make(map[string]state.Entry, len(keys))
	for _, key := range keys {
		found[key] = b[key]
	}
	return found, nil
}

func (b memoryBucket) Fresh(ctx context.Context, keys []string) (map[string]state.Entry, error) {
	return b.Get(ctx, keys)
}

func (b memoryBucket) Put(_ context.Context, writes []state.Write) (revisions []uint64, conflicts []int, err error) {
	for _, w := range writes {
		e := state.Entry{Value: w.Value, Revision: w.Revision + 1}
		b[w.Key], revisions = e, append(revisions, e.Revision)
	}
	return revisions, nil, nil
}

func (memoryBucket) Close() {}

// memoryClaims are the claims of the only one who claims.
type memoryClaims map[claims.Key]claims.Claim

func (c memoryClaims) Find(_ context.Context, keys []claims.Key) (map[claims.Key]claims.Claim, error) {
	found := make(map[claims.Key]claims.Claim, len(keys))
	for _, key := range keys {
		if claim, ok := c[key]; ok {
			found[key] = claim
		}
	}
	return found, nil
}

func (c memoryClaims) Claim(_ context.Context, news []claims.Claim) (map[claims.Key]claims.Claim, error) {
	for _, claim := range news {
		c[claim.Key] = claim
	}
	return nil, nil
}

func (memoryClaims) Close() {}

type memoryVault map[string]vault.Entry

func (v memoryVault) Merge(_ context.Context, updates map[string]map[string]vault.Field) error {
	for profile, fields := range updates {
		entry := v[profile]
		entry.Merge(fields)
		v[profile] = entry
	}
	return nil
}

func (v memoryVault) Move(_ context.Context, from, to string) error {
	entry := v[to]
	entry.Merge(v[from].Fields)
	v[to] = entry
	delete(v, from)
	return nil
}

func (memoryVault) Close() {}
