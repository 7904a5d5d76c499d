package embedded

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLaunchOnATakenPort: a stranger may take a picked port before the server opens it. The start must notice
// quickly, and as what it is, since then it is repeated with other ports.
func TestLaunchOnATakenPort(t *testing.T) {
	library, err := FindLibrary(t.Context(), LibraryConfig{NoFetch: true})
	if err != nil {
		t.Skip(err) // the tests of StartClickHouse fetch it, or fail where they must
	}
	for name, native := range map[string]bool{"native": true, "HTTP": false} {
		t.Run(name, func(t *testing.T) {
			stranger, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			taken := stranger.Addr().(*net.TCPAddr).Port
			free, err := anyPort()
			if err != nil {
				t.Fatal(err)
			}
			tcp, http := taken, free
			if !native {
				tcp, http = free, taken
			}
			c := ClickHouseConfig{Library: library, Dir: t.TempDir(), MaxMemory: 1 << 30, NoFsync: true, Log: slog.New(slog.DiscardHandler)}
			lock, err := lockFolder(t.Context(), c.Dir, clickHouseLock, "")
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			ch, err := launchOn(t.Context(), c, passwords{App: randomHex(), Analyst: randomHex()}, lock, tcp, http)
			if err == nil {
				ch.Stop(context.Background())
				t.Fatal("it started")
			}
			if !errors.Is(err, errPortClash) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestPasswordsAreKept(t *testing.T) {
	dir := t.TempDir()
	first, err := loadPasswords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.App) != 32 || first.App == first.Analyst {
		t.Errorf("passwords %q and %q", first.App, first.Analyst)
	}
	again, err := loadPasswords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("second load (-first +second):\n%s", diff)
	}
	if err := os.WriteFile(dir+"/"+passwordsFile, []byte(strconv.Itoa(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPasswords(dir); err == nil {
		t.Error("a damaged file: no error")
	}
}
