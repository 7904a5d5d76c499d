package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

func TestLockInOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data") // made by Lock
	lock, err := embedded.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if lock.Path() != dir {
		t.Errorf("Path() = %s", lock.Path())
	}
	if _, err := embedded.Lock(dir); !errors.Is(err, embedded.ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	for range 2 {
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}
	again, err := embedded.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// startServing runs this test binary as a program that serves dir, and waits until its data is stored.
func startServing(t *testing.T, dir string) (*exec.Cmd, served) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+dir, "ATTUNE_TEST_LIBRARY="+enginetest.Library(t))
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // Wait closes it
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the program said nothing: %v", err)
	}
	var s served
	if err := json.Unmarshal(line, &s); err != nil {
		t.Fatal(err)
	}
	return cmd, s
}

// TestKilledProcess is the whole promise at once: while a process serves a folder, others are refused; once it
// is killed, its server ends by itself, and the next one waits for that and finds all data.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	cmd, other := startServing(t, dir)

	clickHouse := embedded.ClickHouseConfig{Library: enginetest.Library(t), Dir: filepath.Join(dir, "clickhouse")}
	nats := embedded.NATSConfig{Dir: filepath.Join(dir, "nats")}
	for what, start := range map[string]func() error{
		"Lock":            func() error { _, err := embedded.Lock(dir); return err },
		"StartNATS":       func() error { _, err := embedded.StartNATS(t.Context(), nats); return err },
		"StartClickHouse": func() error { _, err := embedded.StartClickHouse(t.Context(), clickHouse); return err },
	} {
		err := start()
		if !errors.Is(err, embedded.ErrLocked) {
			t.Fatalf("%s on a folder in use: %v", what, err)
		}
		for _, part := range []string{dir, fmt.Sprintf("process %d;", other.PID), "stop it, or give another --data DIR"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", what, err, part)
			}
		}
	}

	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"

	ch, err := embedded.StartClickHouse(t.Context(), clickHouse)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Stop(context.Background())
	t.Logf("started again %s after the kill", time.Since(killed).Round(time.Millisecond))
	child, err := os.FindProcess(other.ChildPID)
	if err != nil {
		t.Fatal(err)
	}
	if child.Signal(syscall.Signal(0)) == nil && !isZombie(other.ChildPID) {
		t.Errorf("the killed process's server %d still runs", other.ChildPID)
	}
	if ch.DSN() != other.DSN {
		t.Errorf("the address changed: %s, was %s", ch.DSN(), other.DSN)
	}
	if n := queryInt(t, ch.DSN(), "SELECT count() + sum(a) FROM kept"); n != 1000+999*500 {
		t.Errorf("rows after the kill: %d", n)
	}
	if got := storedMessages(t, startNATS(t, nats).URL()); strings.Join(got, ",") != "kept" {
		t.Errorf("messages after the kill = %q", got)
	}
}

// isZombie: where nobody reaps orphans (a container without an init), a dead process keeps its number.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}
