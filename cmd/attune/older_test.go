package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A changed rule looks back at what customers did under ids that have become one with theirs, and at what the log has lost
// to age, which ClickHouse has.
func TestLookBacksFindAllThatHappened(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	post := func(path, body string) {
		t.Helper()
		if status := d.post(path, body); status != http.StatusOK {
			t.Fatalf("POST %s: %d", path, status)
		}
	}
	post("/v1/track", `{"userId":"ada","event":"Began"}`)
	post("/v1/track", `{"anonymousId":"phone","event":"Looked Around","properties":{"shelf":"a","height":2.5}}`)
	post("/v1/track", `{"userId":"bob","event":"Looked Around","properties":{"shelf":"b"}}`)
	post("/v1/track", `{"userId":"eve","event":"Looked Around","properties":{"shelf":"b"}}`)
	post("/v1/track", `{"userId":"eve","event":"Looked Around","properties":{"shelf":"b"}}`)
	d.eventually(20*time.Second, "the visitor", func() bool {
		status, _ := d.ask("anonymous:phone", "dev")
		ada, _ := d.ask("user:ada", "dev")
		return status == http.StatusOK && ada == http.StatusOK
	})
	post("/v1/identify", `{"userId":"ada","anonymousId":"phone"}`)
	d.eventually(20*time.Second, "one customer", func() bool {
		_, ada := d.ask("user:ada", "dev")
		return strings.Contains(jsonText(t, ada["events"]), "Looked Around") && strings.Contains(jsonText(t, ada["events"]), "Began")
	})
	post("/v1/track", `{"anonymousId":"phone","event":"Looked Around","properties":{"shelf":"c"}}`)
	count := func(query string) string {
		return strings.TrimSpace(output(t, "sql", "--data", d.data, "--format", "TSV", query))
	}
	d.eventually(20*time.Second, "all rows", func() bool {
		return count("SELECT count() FROM events WHERE event = 'Looked Around'") == "5"
	})
	apply := func(rules map[string]string) string {
		t.Helper()
		dir := t.TempDir()
		write := func(file, text string) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "segments"), 0o700); err != nil {
			t.Fatal(err)
		}
		write("workspace.yaml", "name: test\n")
		for id, rule := range rules {
			write("segments/"+id+".yaml", "id: "+id+"\nwhen: >\n  "+rule+"\n")
		}
		return output(t, "apply", dir, "--data", d.data, "--wait")
	}
	in := func(who, segment string) bool {
		t.Helper()
		return strings.Contains(output(t, "explain", who, "--segment", segment, "--data", d.data), segment+": in it since")
	}
	expect := func(members map[string][]string) {
		t.Helper()
		for segment, want := range members {
			for _, who := range []string{"ada", "bob", "eve"} {
				if is := strings.Contains(strings.Join(want, " "), who); in("user:"+who, segment) != is {
					t.Errorf("%s is in %s: %v", who, segment, !is)
				}
			}
		}
	}
	apply(map[string]string{
		"visited": `count("Looked Around", {"shelf": ["a", "c"]}, "30d") == 2`,
		"lookers": `did("Looked Around", {"shelf": "b"}, "30d")`,
	})
	expect(map[string][]string{"visited": {"ada"}, "lookers": {"bob", "eve"}})

	d.keepEvents(100 * time.Millisecond)
	d.eventually(20*time.Second, "the log to age out", d.noEvents)
	d.keepEvents(90 * 24 * time.Hour)
	said := apply(map[string]string{
		"tall":  `did("Looked Around", {"height": {">": 2}}, "30d")`,
		"often": `count("Looked Around", {"shelf": ["a", "b", "c"]}, "20d") == 2`,
		"ever":  `first("Looked Around", "shelf") == "a"`,
	})
	if !strings.Contains(said, "is read from ClickHouse; what that lacks counts as if it had not happened until ") || !strings.Contains(said, "all time, and the log begins at ") {
		t.Errorf("it says %s", said)
	}
	expect(map[string][]string{"tall": {"ada"}, "often": {"ada", "eve"}, "ever": {"ada"}})
	d.interrupt()
}
