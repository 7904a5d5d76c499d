package vault

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := enginetest.JetStream(t)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: topology.Vault}); err != nil {
		t.Fatal(err)
	}
	return js
}

func open(t *testing.T, js jetstream.JetStream) *Vault {
	t.Helper()
	bucket, err := state.Open(js.Conn(), topology.Vault)
	if err != nil {
		t.Fatal(err)
	}
	v := New(bucket)
	t.Cleanup(v.Close)
	return v
}

// updates are what a customer said, with few names, instants and letters, so that they collide.
func updates() *rapid.Generator[[]map[string]Field] {
	value := rapid.Custom(func(t *rapid.T) json.RawMessage {
		text, err := event.ObjectOf(map[string]any{"v": rapid.StringOfN(rapid.RuneFrom([]rune("&<Z]a\u2028é\"")), 0, 3, -1).Draw(t, "text")})
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "plain") { // as a producer writes it: no letter is escaped
			return json.RawMessage(fmt.Sprintf("%q", rapid.StringMatching(`[&<Z\]a]{0,3}`).Draw(t, "plain text")))
		}
		return json.RawMessage(text)
	})
	field := rapid.Custom(func(t *rapid.T) Field {
		return Field{Value: value.Draw(t, "value"), At: event.Instant(rapid.IntRange(0, 2).Draw(t, "at"))}
	})
	return rapid.SliceOfN(rapid.MapOfN(rapid.SampledFrom([]string{"email", "phone", "name"}), field, 1, 3), 1, 6)
}

// Whatever order updates arrive in, and however often, the entry is the same.
func TestMergeDoesNotDependOnTheOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := updates().Draw(t, "updates")
		shuffled := rapid.Permutation(append(slices.Clone(all), all...)).Draw(t, "order")
		merge := func(updates []map[string]Field) Entry {
			var e Entry
			for _, u := range updates {
				before, err := encode(e)
				if err != nil {
					t.Fatal(err)
				}
				changed := e.Merge(u)
				after, err := encode(e)
				if err != nil {
					t.Fatal(err)
				}
				if e.Fields != nil && len(before) > len(`{"fields":null}`) && changed == (string(before) == string(after)) {
					t.Fatalf("changed is %v between %s and %s", changed, before, after)
				}
				if e, err = Decode(after); err != nil { // the vault holds it in between
					t.Fatal(err)
				}
			}
			return e
		}
		if diff := cmp.Diff(merge(all), merge(shuffled)); diff != "" {
			t.Fatalf("in the order %v: %s", shuffled, diff)
		}
	})
}

func TestDecode(t *testing.T) {
	t.Parallel()
	if e, err := Decode(nil); err != nil || len(e.Fields) != 0 {
		t.Errorf("nothing: %v, %v", e, err)
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Error("half an entry was read")
	}
}

func text(s string) json.RawMessage { return json.RawMessage(fmt.Sprintf("%q", s)) }

func TestVaultKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	v := open(t, connect(t))
	want := Entry{Fields: map[string]Field{
		"email":   {Value: text("Ann & Bob <a@b.example>"), At: 5},
		"address": {Value: json.RawMessage(`{"city":"Köln","zip":"1 & 2"}`), At: 6},
	}}
	if err := v.Merge(t.Context(), map[string]map[string]Field{"p": want.Fields, "q": {"email": {Value: text("q"), At: 1}}}); err != nil {
		t.Fatal(err)
	}
	got, err := v.Get(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if e, err := v.Get(t.Context(), "nobody"); err != nil || len(e.Fields) != 0 {
		t.Errorf("nobody: %v, %v", e, err)
	}
	if err := v.Merge(t.Context(), nil); err != nil {
		t.Errorf("nothing to merge: %v", err)
	}
}

// Two write to the same profiles: each one's newest fields are there in the end.
func TestVaultLosesNoFieldUnderTwoWriters(t *testing.T) {
	t.Parallel()
	js := connect(t)
	const rounds, people = 60, 5
	var work sync.WaitGroup
	for writer := range 2 {
		v := open(t, js)
		work.Go(func() {
			for round := range rounds {
				all := map[string]map[string]Field{}
				for p := range people {
					at := event.Instant(round*2 + writer)
					all[fmt.Sprint("p", p)] = map[string]Field{
						fmt.Sprintf("mine%d", writer): {Value: text(fmt.Sprint(round)), At: at},
						"shared":                      {Value: text(fmt.Sprint(at)), At: at},
					}
				}
				if err := v.Merge(t.Context(), all); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	v := open(t, js)
	want := Entry{Fields: map[string]Field{
		"mine0":  {Value: text(fmt.Sprint(rounds - 1)), At: rounds*2 - 2},
		"mine1":  {Value: text(fmt.Sprint(rounds - 1)), At: rounds*2 - 1},
		"shared": {Value: text(fmt.Sprint(event.Instant(rounds*2 - 1))), At: rounds*2 - 1},
	}}
	for p := range people {
		got, err := v.Get(t.Context(), fmt.Sprint("p", p))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestHasher(t *testing.T) {
	t.Parallel()
	h := NewHasher([]byte("key"))
	if got := h.Hash("email", "ann@example.com"); !regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(got) || got != NewHasher([]byte("key")).Hash("email", "ann@example.com") {
		t.Errorf("hash %q", got)
	}
	seen := map[string]string{}
	for _, key := range []string{"key", "other"} {
		for _, pair := range [][2]string{{"email", "a"}, {"email", "b"}, {"user", "a"}, {"emai", "la"}, {"", "emaila"}, {"email", ""}} {
			hash := NewHasher([]byte(key)).Hash(pair[0], pair[1])
			if other, ok := seen[hash]; ok {
				t.Errorf("%v with %s has the hash of %s", pair, key, other)
			}
			seen[hash] = fmt.Sprint(pair, key)
		}
	}
}

func TestTheKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	js := connect(t)
	var mu sync.Mutex
	hashes := map[string]int{}
	var work sync.WaitGroup
	for range 8 { // processes that start at the same moment
		work.Go(func() {
			h, err := OpenHasher(t.Context(), js)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			hashes[h.Hash("email", "a")]++
		})
	}
	work.Wait()
	if len(hashes) != 1 {
		t.Errorf("%d different keys", len(hashes))
	}
	for hash := range hashes {
		if hash == NewHasher(nil).Hash("email", "a") || hash == NewHasher(make([]byte, 32)).Hash("email", "a") {
			t.Error("the key is empty")
		}
	}
}
