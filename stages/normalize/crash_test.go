package normalize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/normalize/claims"
)

// kill cuts a worker's connection at one of its steps: before it, after it, or in the middle of its writes.
type kill struct {
	conn *nats.Conn
	when string
	dead chan struct{} // closed once it has happened
	gate func()        // at the first batch: publishes the others, which are then one batch

	mu    sync.Mutex
	left  int // steps until then
	batch int // the most keys ever read at once
}

func (k *kill) read(keys int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.batch = max(k.batch, keys)
}

var errKilled = errors.New("killed")

func (k *kill) step(whole, half func() error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left--; k.left != 0 {
		return whole()
	}
	switch k.when {
	case "after":
		_ = whole() // nobody hears of it
	case "amid":
		_ = half()
	}
	_ = k.conn.Flush() // what was sent is with the broker
	k.conn.Close()
	close(k.dead)
	return errKilled
}

func nothing() error { return nil }

type killedBucket struct {
	Bucket
	kill *kill
}

func (b killedBucket) Get(ctx context.Context, keys []string) (found map[string]state.Entry, err error) {
	b.kill.gate()
	b.kill.read(len(keys))
	err = b.kill.step(func() error { found, err = b.Bucket.Get(ctx, keys); return err }, nothing)
	return found, err
}

func (b killedBucket) Fresh(ctx context.Context, keys []string) (found map[string]state.Entry, err error) {
	b.kill.gate()
	b.kill.read(len(keys))
	err = b.kill.step(func() error { found, err = b.Bucket.Fresh(ctx, keys); return err }, nothing)
	return found, err
}

func (b killedBucket) Put(ctx context.Context, writes []state.Write) (revisions []uint64, conflicts []int, err error) {
	err = b.kill.step(func() error { revisions, conflicts, err = b.Bucket.Put(ctx, writes); return err },
		func() error { _, _, err := b.Bucket.Put(ctx, writes[:(len(writes)+1)/2]); return err })
	return revisions, conflicts, err
}

type killedClaims struct {
	Claims
	kill *kill
}

func (c killedClaims) Find(ctx context.Context, keys []claims.Key) (found map[claims.Key]claims.Claim, err error) {
	c.kill.gate()
	c.kill.read(len(keys))
	err = c.kill.step(func() error { found, err = c.Claims.Find(ctx, keys); return err }, nothing)
	return found, err
}

func (c killedClaims) Claim(ctx context.Context, news []claims.Claim) (owners map[claims.Key]claims.Claim, err error) {
	err = c.kill.step(func() error { owners, err = c.Claims.Claim(ctx, news); return err },
		func() error { _, err := c.Claims.Claim(ctx, news[:(len(news)+1)/2]); return err })
	return owners, err
}

type killedVault struct {
	Vault
	kill *kill
}

func (v killedVault) Move(ctx context.Context, from, to string) error {
	return v.kill.step(func() error { return v.Vault.Move(ctx, from, to) }, nothing)
}

func (v killedVault) Merge(ctx context.Context, updates map[string]map[string]vault.Field) error {
	return v.kill.step(func() error { return v.Vault.Merge(ctx, updates) }, nothing)
}

type killedPublisher struct {
	message.Publisher
	kill *kill
}

func (p killedPublisher) Publish(topic string, messages ...*message.Message) error {
	return p.kill.step(func() error { return p.Publisher.Publish(topic, messages...) }, nothing)
}

// A worker that dies at any step leaves behind what its successor completes: every call is in the log exactly
// once, on the profile where it would be without the crash, and never on two.
func TestCrashAtEveryStep(t *testing.T) {
	b := newBench(t)
	const calls = `
		1 track a=x
		2 identify u=anna a=x
		3 identify a=y email=anna@shop.example
		4 track u=anna a=y
		5 track a=y
		1 track a=x
		6 identify u=ben a=x email=ben@shop.example
		7 track a=x
		8 alias u=cleo was=z
		9 nonsense u=anna
		10 track u=cleo
		11 track u=dora a=q
		12 track u=eve a=q
		13 track u=dora`
	const first, want = "0 track a=q", "a b b c b b d d e - e a f a"
	fullBatches, runs := 0, 0
	for _, when := range []string{"before", "after", "amid"} {
		for step := 1; ; step++ {
			prefix := fmt.Sprintf("%s-%d-", when, step)
			b.publish(0, script(prefix, first)...)
			died, batch := b.runUntilKilled(t, when, step, script(prefix, calls))
			b.drain(0)
			runs++
			if batch >= 13 {
				fullBatches++
			}
			profiles := b.profiles()
			if got := shape(profiles, prefix, ids(first+"\n"+calls)...); got != want {
				t.Fatalf("killed %s step %d: profiles %s, want %s", when, step, got, want)
			}
			var joins []string
			for _, e := range b.log() {
				for _, j := range e.Joins {
					if strings.HasPrefix(e.ID, prefix) {
						joins = append(joins, fmt.Sprint(e.ID, " ", j.Loser == profiles[prefix+"3"] && e.Profile == profiles[prefix+"4"]))
					}
				}
			}
			if diff := cmp.Diff([]string{prefix + "4 true"}, joins); diff != "" {
				t.Fatalf("killed %s step %d: joins (-want +got):\n%s", when, step, diff)
			}
			got := map[string]string{"anna": b.vault(profiles[prefix+"2"])["email"], "ben": b.vault(profiles[prefix+"6"])["email"]}
			if diff := cmp.Diff(map[string]string{"anna": `"anna@shop.example"`, "ben": `"ben@shop.example"`}, got); diff != "" {
				t.Fatalf("killed %s step %d: vault (-want +got):\n%s", when, step, diff)
			}
			if got := len(b.letters()); got != runs {
				t.Fatalf("killed %s step %d: %d dead letters, want %d", when, step, got, runs)
			}
			if !died {
				break // it came to the end before that step
			}
		}
	}
	if runs < 60 || fullBatches < runs/2 {
		t.Errorf("%d runs, %d of them with all calls in one batch: too few to show much", runs, fullBatches)
	}
	t.Logf("%d runs, %d of them with all calls in one batch", runs, fullBatches)
}

// While a worker is dead, another partition makes a profile of an id that a call named before there was one. When the
// call comes again its event may be in the log already, with the joins that it had: whatever it is said to have tied, the
// log has heard of.
func TestARepeatedCallTiesNoMoreThanItsEventSays(t *testing.T) {
	b := newBench(t)
	const calls = `
		1 track u=ada
		2 track a=x
		3 alias u=ada a=x was=old`
	for _, when := range []string{"before", "after"} {
		for step, survived := 1, 0; survived < 2; step++ { // calls come one by one, or in one message, which has fewer steps
			prefix := fmt.Sprintf("%s-%d-", when, step)
			b.publish(0, script(prefix, "0 track a=q")...)
			died, _ := b.runUntilKilled(t, when, step, script(prefix, calls))
			b.publish(1, script(prefix, "4 track u=old")...)
			b.drain(1)
			b.drain(0)
			heard := map[string]bool{}
			for _, e := range b.log() {
				for _, j := range e.Joins {
					heard[j.Loser] = heard[j.Loser] || j.Refused == ""
				}
			}
			for profile, h := range b.holders() {
				if h.Into != "" && !heard[profile] {
					t.Fatalf("killed %s step %d: %s is said to go on in %s, by %s, and the log doesn't know", when, step, profile, profileAt(h.Into), h.By)
				}
			}
			if !died {
				survived++
			}
		}
	}
}

// holders are what is kept of each profile.
func (b *bench) holders() map[string]holder {
	b.t.Helper()
	kv, err := b.js.KeyValue(b.t.Context(), topology.Identities)
	if err != nil {
		b.t.Fatal(err)
	}
	keys, err := kv.ListKeysFiltered(b.t.Context(), ownerKey("*"))
	if err != nil {
		b.t.Fatal(err)
	}
	found := map[string]holder{}
	for key := range keys.Keys() {
		entry, err := kv.Get(b.t.Context(), key)
		if err != nil {
			b.t.Fatal(err)
		}
		found[strings.TrimPrefix(key, ownerKey(""))] = readHolder(string(entry.Value()))
	}
	return found
}

func (b *bench) runUntilKilled(t *testing.T, when string, step int, calls []string) (died bool, batch int) {
	t.Helper()
	conn, err := b.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	worker := &bench{t: t, js: js}
	log := slog.New(slog.DiscardHandler)
	if worker.stage, err = New(t.Context(), Config{JetStream: js, Partitions: partitions, Hash: b.hash, Log: log}); err != nil {
		t.Fatal(err)
	}
	reached, opened := make(chan struct{}), make(chan struct{})
	k := &kill{conn: conn, when: when, left: step, dead: make(chan struct{}), gate: sync.OnceFunc(func() {
		close(reached)
		<-opened
	})}
	defer worker.stage.Close()
	subscriber := bus.NewSubscriber(js, bus.SubscriberConfig{
		Stream: topology.Raw, Reader: pipeline.ReaderNormalize, BatchBytes: 1 << 30, Delete: true, Log: log, // all that is there, also at first
		Open: func(ctx context.Context, topic string) (bus.Session, error) {
			opened, err := worker.stage.open(ctx, topic)
			if err != nil {
				return nil, err
			}
			o := opened.(*session)
			o.identities, o.claims, o.vault = killedBucket{o.identities, k}, killedClaims{o.claims, k}, killedVault{o.vault, k}
			return o, nil
		},
	})
	stop := worker.run(subscriber, killedPublisher{bus.NewPublisher(js), k}, 0)
	<-reached
	if step%2 == 0 {
		b.publish(0, calls...)
	} else {
		b.pack(0, 5, calls...)
	}
	eventually(t, "all calls are delivered", func() bool {
		c, err := b.js.Consumer(t.Context(), topology.Raw, topology.Durable(pipeline.ReaderNormalize, 0))
		return err == nil && c.CachedInfo().Delivered.Stream >= b.last[0]
	})
	if err := conn.Flush(); err != nil { // then they are here
		t.Fatal(err)
	}
	close(opened)
	eventually(t, "the worker is killed or done", func() bool {
		select {
		case <-k.dead:
			died = true
			return true
		default:
		}
		c, err := b.js.Consumer(t.Context(), topology.Raw, topology.Durable(pipeline.ReaderNormalize, 0))
		return err == nil && c.CachedInfo().AckFloor.Stream >= b.last[0]
	})
	stop()
	return died, k.batch
}
