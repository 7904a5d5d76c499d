package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writeFiles writes a workspace, file by file.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A dev's workspace is changed while customers are there: they are judged by it, with what it looks back at; a segment
// that is too small chooses nobody, until it has grown; and attune segments tells how they are.
func TestAChangedWorkspaceAndItsSegments(t *testing.T) {
	folder := t.TempDir()
	shop := filepath.Join(folder, "shop")
	const campaign = "id: go\non: {event: Go}\naudience: consent(\"email\") && in_segment(\"viewers\")\n" +
		"send: {destination: mail, from: \"Shop <hi@shop.example>\", subject: s, template: plain}\n"
	writeFiles(t, shop, map[string]string{
		"workspace.yaml": "name: shop\n", "templates/plain.html": "<p>Hello</p>", "campaigns/go.yaml": campaign,
		"segments/viewers.yaml": "id: viewers\nwhen: did(\"Product Viewed\", \"7d\")\nmin_size: 3\n",
	})
	d := startDev(t, filepath.Join(folder, "data"), "--no-shop", "--workspace", shop)
	say := func(user, name string) {
		body := fmt.Sprintf(`{"userId":%q,"event":%q,"properties":{"color":"red"}}`, user, name)
		if status := d.post("/v1/track", body); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	subscribe := func(user string) {
		if status := d.post("/v1/track", fmt.Sprintf(`{"userId":%q,"event":"Subscribed","properties":{"channel":"email"}}`, user)); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	for _, user := range []string{"u1", "u2"} {
		subscribe(user)
		say(user, "Product Viewed")
		say(user, "Product Added")
	}
	say("u3", "Product Added")
	d.eventually(20*time.Second, "the segments in ClickHouse", func() bool { return d.sql("SELECT count() FROM segment_changes") == "2" })
	say("u1", "Go")
	d.eventually(20*time.Second, "the refusal", func() bool {
		return d.sql("SELECT reason FROM decisions WHERE campaign = 'go'") == "segment_too_small"
	})

	writeFiles(t, shop, map[string]string{
		"segments/adders.yaml": "id: adders\nwhen: >\n  did(\"Product Added\", {\"color\": \"red\"}, \"30d\")\n",
		"segments/both.yaml":   "id: both\nwhen: in_segment(\"adders\") && in_segment(\"viewers\")\n",
	})
	said := output(t, "apply", shop, "--data", d.data, "--wait")
	for _, part := range []string{"staged as version 1", `segment adders looks back at Product Added {"color":"red"}, 30d, which is read from the log`, "in force: 3 customers"} {
		if !strings.Contains(said, part) {
			t.Errorf("apply does not say %q:\n%s", part, said)
		}
	}
	d.eventually(20*time.Second, "the new segments' members", func() bool {
		return d.sql("SELECT count(), uniqExact(at) FROM segment_changes WHERE reason = 'definitions'") == "5\t1" // all at one instant
	})
	if status := output(t, "status", "--data", d.data); strings.Contains(status, "staged") {
		t.Errorf("status after it:\n%s", status)
	}

	var report segmentReport
	d.eventually(20*time.Second, "the new segments are counted", func() bool {
		report = segmentReport{}
		if err := json.Unmarshal([]byte(output(t, "segments", "--data", d.data, "--json")), &report); err != nil {
			t.Fatal(err)
		}
		small := 0
		for _, s := range report.Segments {
			if s.Small {
				small++
			}
		}
		return small == 3
	})
	got := map[string][]any{}
	for _, s := range report.Segments {
		got[s.ID] = []any{s.Members, s.MinSize, s.Small, s.Entered24h, s.Campaigns, s.SegmentsThat}
	}
	want := map[string][]any{
		"adders": {int64(3), 100, true, uint64(3), []string{}, []string{"both"}}, "both": {int64(2), 100, true, uint64(2), []string{}, []string{}},
		"viewers": {int64(2), 3, true, uint64(2), []string{"go"}, []string{"both"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("segments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]overlap{{"both", "viewers", 2, 1}, {"adders", "both", 2, 0.6667}, {"adders", "viewers", 2, 0.6667}}, report.Overlaps); diff != "" {
		t.Errorf("overlaps (-want +got):\n%s", diff)
	}
	shown := output(t, "segments", "--data", d.data)
	for _, part := range []string{"! viewers is too small: 2 members, min_size 3: go may not go by it", "! both and viewers are much the same: 100 %", "! both is used by no campaign"} {
		if !strings.Contains(shown, part) {
			t.Errorf("segments does not say %q:\n%s", part, shown)
		}
	}

	for _, user := range []string{"u3", "u4"} { // four: a tenth more than three
		say(user, "Product Viewed")
	}
	d.eventually(30*time.Second, "viewers are enough", func() bool { return !strings.Contains(output(t, "segments", "--data", d.data), "viewers is too small") })
	say("u2", "Go")
	d.eventually(20*time.Second, "a mail", func() bool {
		return d.sql("SELECT outcome FROM decisions WHERE campaign = 'go' ORDER BY at DESC LIMIT 1") == "fired"
	})
	if said := output(t, "replay", "--verify", "--data", d.data); strings.Count(said, "equal") != 8 || strings.Contains(said, "differ") {
		t.Errorf("replay says\n%s", said)
	}
	d.interrupt()
}
