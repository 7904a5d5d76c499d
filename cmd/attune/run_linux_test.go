package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The embedded NATS could not write for a moment, as on a full disk. A stream that has seen that refuses everything from then
// on, without an answer: the process ends and says why, and another start goes on with all that was accepted.
func TestRunEndsWhenItsBrokerCannotWrite(t *testing.T) {
	t.Parallel()
	listen, folder := freeAddress(t), t.TempDir()
	file := filepath.Join(folder, "attune.yaml")
	settings := fmt.Sprintf("listen: %s\ndata_dir: %s\ningest: {write_keys: [{name: web, key: secret}]}\n", listen, filepath.Join(folder, "data"))
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *dev {
		d := &dev{t: t, cmd: attune(context.WithoutCancel(t.Context()), "run", "--only", "ingest,normalize", "--config", file), logs: new(lockedBuffer), IngestURL: "http://" + listen, WriteKey: "secret"}
		d.cmd.Stderr = d.logs
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.kill)
		d.ready()
		return d
	}
	d := start()
	var before unix.Rlimit
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 1
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_FSIZE, &none, nil); err != nil {
		t.Fatal(err)
	}
	d.eventually(30*time.Second, "it is not ready", func() bool { // a heartbeat could not be written
		answer, err := http.Get(d.IngestURL + "/readyz")
		if err != nil {
			return true // it has ended
		}
		defer answer.Body.Close()
		return answer.StatusCode != http.StatusOK
	})
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_FSIZE, &before, nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended as if all were well")
		}
	case <-time.After(time.Minute):
		t.Fatalf("it goes on:\n%s", d.logs)
	}
	if said := d.logs.String(); !strings.Contains(said, "write error") || !strings.Contains(said, "is the disk full") {
		t.Errorf("it says\n%s", said)
	}
	d = start()
	if status := d.post("/v1/track", `{"userId":"ada","event":"Product Viewed"}`); status != 200 {
		t.Errorf("after another start: status %d", status)
	}
	d.interrupt()
}
