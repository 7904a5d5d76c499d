package embedded_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"attune/pipeline/embedded"
)

// Each thread that works gives way, not the first one alone.
func TestClickHouseGivesWay(t *testing.T) {
	ch := startClickHouse(t, embedded.ClickHouseConfig{Dir: t.TempDir(), NoFsync: true})
	if err := ch.GiveWay(); err != nil {
		t.Fatal(err)
	}
	if n := queryInt(t, ch.DSN(), "SELECT count() FROM numbers(1000)"); n != 1000 {
		t.Errorf("it counts %d", n)
	}
	threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(ch.PID()), "task"))
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		const lowest = 1 // as Linux says it: 20 less the niceness
		if priority, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && priority != lowest {
			t.Errorf("thread %d has niceness %d, want 19", id, 20-priority)
		}
	}
}
