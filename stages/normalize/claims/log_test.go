package claims

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is one of those that normalize: a connection and a log of its own.
type process struct {
	js  jetstream.JetStream
	log *Log
}

func start(t *testing.T, server *embedded.NATS) *process {
	t.Helper()
	js := enginetest.Connected(t, server)
	if err := topology.Ensure(t.Context(), js, topology.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	log, err := Open(t.Context(), js, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	return &process{js, log}
}

func (p *process) writer(t *testing.T) *Writer {
	t.Helper()
	w, err := p.log.Writer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func claim(id, owner string) Claim {
	return Claim{Key: KeyOf(id), Owner: owner, Profile: "p-" + owner, Fingerprint: 7}
}

func TestTheFirstClaimOwns(t *testing.T) {
	server := enginetest.NATS(t)
	here, there := start(t, server), start(t, server)
	first, second := here.writer(t), there.writer(t)
	if got, err := first.Claim(t.Context(), nil); err != nil || len(got) > 0 {
		t.Errorf("no claims: %v, %v", got, err)
	}
	a, b := claim("a", "x/1"), claim("b", "x/2")
	got, err := first.Claim(t.Context(), []Claim{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[Key]Claim{a.Key: a, b.Key: b}, got, cmp.AllowUnexported(Key{})); diff != "" {
		t.Errorf("its own (-want +got):\n%s", diff)
	}
	c := claim("c", "x/3")
	if got, err = second.Claim(t.Context(), []Claim{claim("b", "x/3"), c, claim("a", "x/3")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[Key]Claim{a.Key: a, b.Key: b, c.Key: c}, got, cmp.AllowUnexported(Key{})); diff != "" {
		t.Errorf("after another one (-want +got):\n%s", diff)
	}
	if err := here.log.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err = first.Find(t.Context(), []Key{c.Key, KeyOf("d")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[Key]Claim{c.Key: c}, got, cmp.AllowUnexported(Key{})); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if n := here.log.Len(); n != 3 {
		t.Errorf("%d ids are remembered, want 3", n)
	}
}

// Many writers in several processes claim the same ids at the same time: each id has one owner, and everyone is told the
// same one.
func TestManyWriters(t *testing.T) {
	server := enginetest.NATS(t)
	const writers, rounds, ids = 4, 40, 100
	told := make([]map[Key]Claim, writers)
	var all sync.WaitGroup
	var everyone [writers]*Writer
	for n := range writers {
		everyone[n] = start(t, server).writer(t)
	}
	for n, w := range everyone {
		told[n] = map[Key]Claim{}
		all.Go(func() {
			for round := range rounds {
				var news []Claim
				for id := range ids {
					news = append(news, claim(fmt.Sprint((round+n*rounds/writers)%rounds, "/", id), fmt.Sprint(n)))
				}
				owners, err := w.Claim(t.Context(), news)
				if err != nil {
					t.Error(err)
					return
				}
				maps.Copy(told[n], owners)
			}
		})
	}
	all.Wait()
	for n := range writers {
		if len(told[n]) != rounds*ids {
			t.Fatalf("writer %d knows %d owners, want %d", n, len(told[n]), rounds*ids)
		}
		if !maps.Equal(told[n], told[0]) {
			t.Errorf("writer %d was told other owners than writer 0", n)
		}
	}
	lost := 0
	for _, c := range told[1] {
		if c.Owner != "1" {
			lost++
		}
	}
	if lost == 0 || lost == rounds*ids {
		t.Errorf("writer 1 lost %d of %d ids: they did not meet", lost, rounds*ids)
	}
	late := start(t, server)
	if err := late.log.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := late.log.Find(t.Context(), []Key{KeyOf("3/17")})
	if err != nil || found[KeyOf("3/17")] != told[0][KeyOf("3/17")] {
		t.Errorf("a process that starts later finds %v, %v; want %v", found, err, told[0][KeyOf("3/17")])
	}
}

// More ids than one message holds are claimed together.
func TestManyClaims(t *testing.T) {
	server := enginetest.NATS(t)
	first, second := start(t, server).writer(t), start(t, server).writer(t)
	var ours, theirs []Claim
	for id := range maxClaims + 100 {
		ours, theirs = append(ours, claim(fmt.Sprint(id), "x/1")), append(theirs, claim(fmt.Sprint(id+50), "x/2"))
	}
	if _, err := first.Claim(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	owners, err := second.Claim(t.Context(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	for id := range theirs {
		want := theirs[id]
		if id+50 < len(ours) {
			want = ours[id+50]
		}
		if owners[want.Key] != want {
			t.Fatalf("id %d is owned by %v, want %v", id+50, owners[want.Key], want)
		}
	}
}

// What reads the log goes on after its consumer is gone, as when the broker restarts.
func TestReadingGoesOn(t *testing.T) {
	p := start(t, enginetest.NATS(t))
	w := p.writer(t)
	for n := range 3 {
		if _, err := w.Claim(t.Context(), []Claim{claim(fmt.Sprint(n), "x")}); err != nil {
			t.Fatal(err)
		}
		stream, err := p.js.Stream(t.Context(), topology.Duplicates)
		if err != nil {
			t.Fatal(err)
		}
		names := stream.ConsumerNames(t.Context())
		for name := range names.Name() {
			if err := p.js.DeleteConsumer(t.Context(), topology.Duplicates, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := p.log.Len(); n != 3 {
		t.Errorf("%d ids are remembered, want 3", n)
	}
}

// A claim whose message is gone owns nothing; and a log of which nothing is left is caught up with at once.
func TestForgottenClaims(t *testing.T) {
	p := start(t, enginetest.NATS(t))
	w := p.writer(t)
	old, now := claim("a", "x/1"), claim("a", "x/2")
	if _, err := w.Claim(t.Context(), []Claim{old}); err != nil {
		t.Fatal(err)
	}
	stream, err := p.js.Stream(t.Context(), topology.Duplicates)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Find(t.Context(), []Key{old.Key}); err != nil || len(got) > 0 {
		t.Errorf("found %v, %v", got, err)
	}
	if got, err := w.Claim(t.Context(), []Claim{now}); err != nil || got[now.Key] != now {
		t.Errorf("claimed %v, %v; want %v", got, err, now)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := start(t, enginetest.NATS(t)).log.CatchUp(t.Context()); err != nil {
		t.Error(err)
	}
	late, err := Open(t.Context(), p.js, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := late.CatchUp(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	p := start(t, enginetest.NATS(t))
	w := p.writer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.log.reach(ctx, 99); err == nil {
		t.Error("it reached what is not there")
	}
	p.log.Close()
	if _, err := w.Claim(t.Context(), []Claim{claim("a", "x")}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after Close: %v", err)
	}
	if err := p.js.DeleteStream(t.Context(), topology.Duplicates); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), p.js, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it opened a log that is not there")
	}
}
