package embedded_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/embedded"
)

func TestEndpoints(t *testing.T) {
	dir := t.TempDir()
	want := embedded.Endpoints{
		NATSURL:              "nats://127.0.0.1:4222",
		ClickHouseDSN:        "clickhouse://attune:x@127.0.0.1:9000/attune",
		ClickHouseAnalystDSN: "clickhouse://analyst:y@127.0.0.1:9000/attune",
		ClickHouseHTTPURL:    "http://127.0.0.1:8123",
		IngestURL:            "http://127.0.0.1:8080",
		MailURL:              "http://127.0.0.1:8080/mail",
		SMTPAddr:             "127.0.0.1:1025",
		Started:              time.Date(2026, 11, 23, 16, 0, 0, 0, time.FixedZone("", 3600)),
	}
	if err := embedded.WriteEndpoints(dir, want); err != nil {
		t.Fatal(err)
	}
	want.PID, want.Started = os.Getpid(), want.Started.UTC()
	got, err := embedded.ReadEndpoints(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(dir, "endpoints.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: it holds passwords", info.Mode())
	}
	for range 2 {
		if err := embedded.RemoveEndpoints(dir); err != nil {
			t.Error(err)
		}
	}
	_, err = embedded.ReadEndpoints(dir)
	wantHint(t, err, dir)
}

func TestEndpointsOfADeadProcess(t *testing.T) {
	dir := t.TempDir()
	dead := exec.Command(os.Args[0], "-test.run=^$")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	if err := embedded.WriteEndpoints(dir, embedded.Endpoints{PID: dead.Process.Pid}); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.ReadEndpoints(dir)
	wantHint(t, err, dir)
}

func wantHint(t *testing.T, err error, dir string) {
	t.Helper()
	if !errors.Is(err, embedded.ErrNotRunning) || !strings.Contains(err.Error(), "start it with: attune dev --data "+dir) {
		t.Errorf("ReadEndpoints: %v", err)
	}
}

func TestEndpointsDamaged(t *testing.T) {
	for _, text := range []string{"", "{", `{"pid":0}`, `{"pid":-1}`, "[]"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "endpoints.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.ReadEndpoints(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
