package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/enrich"
	"attune/stages/normalize"
)

// identified are the customers at the end of some calls, by the ids that producers know.
type identified struct {
	*rig
	hash   *vault.Hasher
	merges []pipeline.Merge
}

func identify(t *testing.T, calls ...map[string]any) *identified {
	t.Helper()
	r := newRig(t, mergingPartitions)
	stage, err := enrich.New(enrich.DefaultConfig(), enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	r.load = func(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
		return &pipeline.Chain{Stages: []pipeline.Stage{stage}}, nil
	}
	for i, call := range calls {
		call["messageId"] = fmt.Sprint("m", i)
		data, err := json.Marshal(call)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Raw, 0), data); err != nil {
			t.Fatal(err)
		}
	}
	stop := r.whole(r.fate(0, 0, cut, nil))
	eventually(t, "all is applied", r.quiet)
	stop()
	id := &identified{rig: r}
	if id.hash, err = vault.OpenHasher(t.Context(), r.js); err != nil {
		t.Fatal(err)
	}
	for _, facts := range r.facts() {
		id.merges = append(id.merges, facts.Merges...)
	}
	return id
}

// facts are those of all commits.
func (r *rig) facts() (all []pipeline.Facts) {
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for p := range mergingPartitions {
		for _, m := range r.stored(topology.Commits, topology.Subject(topology.Commits, p)) {
			commit, err := codec.Decode(m.Data)
			if err != nil {
				r.t.Fatal(err)
			}
			facts, err := codec.Facts(commit)
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, facts)
		}
	}
	return all
}

// of is the customer whom a key of the identities leads to.
func (id *identified) of(key string) *profile.Profile {
	id.t.Helper()
	kv, err := id.js.KeyValue(id.t.Context(), topology.Identities)
	if err != nil {
		id.t.Fatal(err)
	}
	entry, err := kv.Get(id.t.Context(), key)
	if err != nil {
		id.t.Fatal(err)
	}
	p := id.profiles()[normalize.ProfileOf(entry.Value())]
	if p == nil || p.Into != "" {
		id.t.Fatalf("%s leads to no customer: %+v", key, p)
	}
	return p
}

func (id *identified) user(name string) *profile.Profile {
	id.t.Helper()
	return id.of(normalize.UserKey(id.hash, name))
}

func (id *identified) visitor(name string) *profile.Profile {
	id.t.Helper()
	return id.of(normalize.AnonymousKey(id.hash, name))
}

func calling(kind string, fields ...any) map[string]any {
	call := map[string]any{"type": kind}
	if kind == "track" {
		call["event"] = "Product Viewed"
	}
	for i := 0; i < len(fields); i += 2 {
		call[fields[i].(string)] = fields[i+1]
	}
	return call
}

// In other systems a merged profile lost properties and personal fields.
func TestMergeKeepsTraitsAndPersonalFields(t *testing.T) {
	t.Parallel()
	id := identify(t,
		calling("identify", "userId", "ada", "timestamp", time.Now().Add(-time.Hour).Format(time.RFC3339), "traits", map[string]any{"plan": "pro", "first_name": "Ada", "email": "old@mail.example"}),
		calling("identify", "anonymousId", "phone", "traits", map[string]any{"size": 42, "email": "new@mail.example", "phone": "+39 06 123"}),
		calling("identify", "userId", "ada", "anonymousId", "phone"),
	)
	ada := id.user("ada")
	if string(ada.Traits["plan"].Value) != `"pro"` || string(ada.Traits["size"].Value) != "42" || len(ada.Merged) != 1 {
		t.Errorf("traits %v of %v", ada.Traits, ada.Merged)
	}
	bucket, err := state.Open(id.js.Conn(), topology.Vault)
	if err != nil {
		t.Fatal(err)
	}
	personal := vault.New(bucket)
	defer personal.Close()
	for _, asked := range []string{ada.ID, ada.Merged[0].ID} { // a delivery of before the merge asks for the loser
		entry, err := personal.Get(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for name, field := range entry.Fields {
			got[name] = string(field.Value)
		}
		if diff := cmp.Diff(map[string]string{"first_name": `"Ada"`, "email": `"new@mail.example"`, "phone": `"+39 06 123"`}, got); diff != "" {
			t.Errorf("personal fields (-want +got):\n%s", diff)
		}
	}
	if err := personal.Merge(t.Context(), map[string]map[string]vault.Field{ada.Merged[0].ID: {"city": {Value: []byte(`"Rome"`)}}}); err != nil {
		t.Fatal(err)
	}
	if entry, err := personal.Get(t.Context(), ada.ID); err != nil || string(entry.Fields["city"].Value) != `"Rome"` {
		t.Errorf("what came late for the loser is lost: %v, %v", entry, err)
	}
}

// In other systems a merge asked for so many profiles at once that the database refused; and one id that many share, by
// a program's mistake, drew all of them in.
func TestMergeHasLimits(t *testing.T) {
	t.Parallel()
	const devices = normalize.MaxMerges + 15
	var calls []map[string]any
	for i := range devices {
		calls = append(calls, calling("track", "anonymousId", fmt.Sprint("d", i)))
	}
	for i := range devices {
		calls = append(calls, calling("identify", "userId", "everyone", "anonymousId", fmt.Sprint("d", i)))
	}
	for _, nobody := range []string{"null", "undefined", "00000000-0000-0000-0000-000000000000"} {
		calls = append(calls, calling("identify", "userId", nobody, "anonymousId", nobody+"-1"), calling("identify", "userId", nobody, "anonymousId", nobody+"-2"))
	}
	id := identify(t, calls...)
	everyone := id.user("everyone") // took over the first device's profile, which is no merge
	merged, refused := 0, 0
	for _, m := range id.merges {
		switch {
		case m.Winner != everyone.ID:
			t.Errorf("%+v", m)
		case m.Refused == normalize.ReasonTooManyMerges:
			refused++
		case m.Refused == "":
			merged++
		}
	}
	if merged != normalize.MaxMerges || refused != devices-1-normalize.MaxMerges || everyone.Count("Product Viewed") != normalize.MaxMerges+1 {
		t.Errorf("%d merged, %d refused, %d views; want %d and %d", merged, refused, everyone.Count("Product Viewed"), normalize.MaxMerges, devices-1-normalize.MaxMerges)
	}
	if last := id.visitor(fmt.Sprint("d", devices-1)); last.ID != everyone.ID {
		t.Error("a device whose profile stays apart does not follow the user")
	}
	if a, b := id.visitor("null-1"), id.visitor("null-2"); a.ID == b.ID {
		t.Error("null is somebody")
	}
}

// In other systems a merge left behind what had happened.
func TestMergeMovesWhatHappened(t *testing.T) {
	t.Parallel()
	order := map[string]any{"revenue": 12.5, "currency": "EUR"}
	id := identify(t,
		calling("track", "userId", "ada", "event", "Order Completed", "properties", order),
		calling("track", "anonymousId", "phone", "event", "Order Completed", "properties", order),
		calling("track", "anonymousId", "phone", "properties", map[string]any{"product_id": "p1", "category": "boots"}),
		calling("identify", "userId", "ada", "anonymousId", "phone"),
	)
	ada := id.user("ada")
	if ada.Orders.Count != 2 || ada.Orders.Revenue != 25*event.MoneyUnit || len(ada.Viewed) != 1 || ada.StyleGroup() != "boots" || ada.Scores.CLV == 0 {
		t.Errorf("orders %+v, viewed %v, style %q, scores %+v", ada.Orders, ada.Viewed, ada.StyleGroup(), ada.Scores)
	}
	if len(id.merges) != 1 || id.merges[0].Winner != ada.ID || id.merges[0].Loser != ada.Merged[0].ID || time.Since(id.merges[0].At.Time()) > time.Hour {
		t.Errorf("for those who ask ClickHouse: %+v", id.merges)
	}
}

// In other systems only the last of several ids led to the merged profile.
func TestMergeKeepsEveryID(t *testing.T) {
	t.Parallel()
	id := identify(t,
		calling("track", "anonymousId", "phone"), // the oldest
		calling("track", "userId", "ada", "anonymousId", "laptop"),
		calling("track", "userId", "ada", "anonymousId", "tablet"),
		calling("track", "userId", "Ada@Mail.example", "anonymousId", "work"),
		calling("alias", "userId", "ada", "previousId", "ada@mail.example"),
		calling("identify", "userId", "ada", "anonymousId", "phone"),
	)
	ada := id.user("ada")
	for name, p := range map[string]*profile.Profile{
		"address": id.user("ADA@mail.example"), "phone": id.visitor("phone"), "laptop": id.visitor("laptop"), "tablet": id.visitor("tablet"), "work": id.visitor("work"),
	} {
		if p.ID != ada.ID {
			t.Errorf("the %s leads to %s, want %s", name, p.ID, ada.ID)
		}
	}
	if ada.Count("Product Viewed") != 4 || len(ada.Merged) != 2 {
		t.Errorf("%d views, %d merged", ada.Count("Product Viewed"), len(ada.Merged))
	}
}

// In other systems counters doubled with each merge.
func TestMergeCountsOnce(t *testing.T) {
	t.Parallel()
	var calls []map[string]any
	for range 3 {
		calls = append(calls, calling("track", "anonymousId", "phone"), calling("track", "userId", "ada"))
	}
	for range 5 { // again and again, and both ways
		calls = append(calls, calling("identify", "userId", "ada", "anonymousId", "phone"), calling("alias", "userId", "ada", "previousId", "phone"))
	}
	id := identify(t, calls...)
	if n := id.user("ada").Count("Product Viewed"); n != 6 || len(id.merges) != 1 {
		t.Errorf("%d views, want 6; %d merges", n, len(id.merges))
	}
}

// Two users of one device, and of each other's: nothing but an alias makes them one.
func TestSharedDevicesDoNotMergeUsers(t *testing.T) {
	t.Parallel()
	var calls []map[string]any
	for range 3 {
		for _, user := range []string{"anna", "ben"} {
			for _, device := range []string{"sofa", "desk"} {
				calls = append(calls, calling("identify", "userId", user, "anonymousId", device), calling("track", "anonymousId", device))
			}
		}
	}
	id := identify(t, calls...)
	if id.user("anna").ID == id.user("ben").ID || len(id.merges) != 0 {
		t.Errorf("two users are one: %+v", id.merges)
	}
	if id.visitor("sofa").ID != id.user("ben").ID {
		t.Error("the device does not follow who signed in last")
	}
}

// What a merge leaves in the log and in the commits is nothing personal.
func TestMergeLeavesNothingPersonal(t *testing.T) {
	t.Parallel()
	id := identify(t,
		calling("identify", "userId", "ada@mail.example"),
		calling("identify", "anonymousId", "phone", "traits", map[string]any{"email": "canary@mail.example", "first_name": "Canarina"}),
		calling("identify", "userId", "ada@mail.example", "anonymousId", "phone"),
	)
	for _, stream := range []string{topology.Events, topology.Commits, "KV_" + topology.Identities, "KV_" + topology.Profiles} {
		s, err := id.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		for sequence := uint64(1); sequence <= s.CachedInfo().State.LastSeq; sequence++ {
			m, err := s.GetMsg(t.Context(), sequence)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, canary := range []string{"canary@", "Canarina", "ada@"} {
				if strings.Contains(string(m.Data), canary) {
					t.Errorf("%s %d holds %s", stream, sequence, canary)
				}
			}
		}
	}
}
