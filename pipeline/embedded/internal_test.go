package embedded

import (
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLibraryLock: npm asks the registry that this machine is set up for, and takes nothing else than what is pinned.
func TestLibraryLock(t *testing.T) {
	read := func(name string, into any) string {
		b, err := libraryFiles.ReadFile("library/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var wanted struct {
		OptionalDependencies map[string]string `json:"optionalDependencies"`
	}
	var lock libraryLock
	text := read("package.json", &wanted) + read("package-lock.json", &lock)
	for _, part := range []string{"resolved", "://", "registry", ".tgz"} {
		if strings.Contains(text, part) {
			t.Errorf("the lock names a host: it has %q in it", part)
		}
	}
	const platforms = 4
	if len(wanted.OptionalDependencies) != platforms || len(lock.Packages) != platforms+1 {
		t.Errorf("%d packages wanted, %d locked", len(wanted.OptionalDependencies), len(lock.Packages)-1)
	}
	for name, version := range wanted.OptionalDependencies {
		locked := lock.Packages["node_modules/"+name]
		if locked.Version != version || !strings.HasPrefix(version, "26.7.3") {
			t.Errorf("%s is wanted at %s and locked at %s", name, version, locked.Version)
		}
		hashed := pinnedSHA256(strings.TrimPrefix(name, "@chdb/lib-")) != ""
		if hashed != strings.HasPrefix(locked.Integrity, "sha512-") {
			t.Errorf("%s: the library and its package must both have a hash or neither", name)
		}
	}
	if lock.Packages["node_modules/@chdb/lib-linux-x64-gnu"].Integrity == "" {
		t.Error("linux-x64-gnu has no integrity")
	}
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "libchdb.so")
	write := func(text string, modified time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	const helloSHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	now := time.Unix(1_800_000_000, 0)
	write("hello", now)
	if err := verify(path, dir, helloSHA); err != nil {
		t.Error(err)
	}
	write("jello", now) // same inode, size and time: the verdict stands, which shows that it isn't hashed again
	if err := verify(path, dir, helloSHA); err != nil {
		t.Errorf("a cached verdict: %v", err)
	}
	write("jello", now.Add(time.Second))
	if err := verify(path, dir, helloSHA); err == nil || !strings.Contains(err.Error(), "remove the folder "+dir) {
		t.Errorf("a changed file: %v", err)
	}
	if err := verify(path, dir, ""); err == nil {
		t.Error("a changed file where the first sight counts: no error")
	}
	if err := os.Remove(filepath.Join(dir, verdictFile)); err != nil {
		t.Fatal(err)
	}
	if err := verify(path, dir, ""); err != nil {
		t.Errorf("first sight: %v", err)
	}
	if err := verify(path, dir, helloSHA); err == nil {
		t.Error("a verdict of first sight passes for a pinned hash")
	}
}

func TestChildEnvironmentHasNoSecrets(t *testing.T) {
	got := childEnvironment([]string{
		"PATH=/bin", "HOME=/home/me", "CLICKHOUSE_PASSWORD=x", "ATTUNE_CLICKHOUSE_DSN=x", "AWS_SECRET_ACCESS_KEY=x",
		"TZ=Europe/Berlin", "LANG=C.UTF-8", "=weird",
	}, "/data")
	want := []string{"HOME=/data", "TERM=dumb", "TZ=UTC", "PATH=/bin", "LANG=C.UTF-8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestServerLog(t *testing.T) {
	var out strings.Builder
	l := &serverLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level:       slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return map[bool]slog.Attr{false: a}[a.Key == slog.TimeKey] },
	}))}
	const head = "2026.11.23 15:19:34.458000 [ 17 ] {} "
	for _, chunk := range []string{
		head + "<Warning> Context: Linux is slow\n" + head + "<Warn", "ing> BackgroundSchedulePool/BgSchPool: Temporarily pause\n",
		head + "<Error> TCPHandler: Code: 497. DB::Exception: no\n" + head + "<Error> MergeTask: Code: 243. DB::Exception: " +
			"no space, Stack trace (when copying this message, always include the lines below):\n0. ? @ 0x000000001c8fa4b3\n12. start_thread @ 0x00000000000891f5\n\n",
		head + "<Fatal> BaseDaemon: it is over\n", head + "<Information> Application: hello\n", "Ok.\n", "an open end",
	} {
		if n, err := l.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	const want = `level=WARN msg=clickhouse logger=Context text="Linux is slow"
level=WARN msg=clickhouse logger=MergeTask text="Code: 243. DB::Exception: no space"
level=ERROR msg=clickhouse logger=BaseDaemon text="it is over"
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if tail := l.tail(); strings.Contains(tail, "@ 0x") || !strings.Contains(tail, "it is over") || !strings.HasSuffix(tail, "Ok.") {
		t.Errorf("tail = %q", tail)
	}
	if l.portClash() {
		t.Error("a port clash out of nothing")
	}
	l.Write([]byte("ed\n" + head + "<Error> Application: Listen [127.0.0.1]:9000 failed: Address already in use\n"))
	if !l.portClash() {
		t.Error("the port clash was not seen")
	}
	l.Write(make([]byte, 2*maxLine))
	if len(l.part) != 0 {
		t.Errorf("%d bytes are held of a line without end", len(l.part))
	}
}

func TestPorts(t *testing.T) {
	dir := t.TempDir()
	first, err := ports{}.choose("x", 0)
	if err != nil {
		t.Fatal(err)
	}
	p := ports{"x": first}
	if err := p.save(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := loadPorts(dir).choose("x", 0); err != nil || got != first {
		t.Errorf("remembered %d, got %d, %v", first, got, err)
	}
	if got, err := loadPorts(dir).choose("x", 0, first); err != nil || got == first {
		t.Errorf("it gave the port away twice: %d, %v", got, err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().(*net.TCPAddr).Port
	if got, err := (ports{"x": busy}).choose("x", 0); err != nil || got == busy {
		t.Errorf("it chose a busy port: %d, %v", got, err)
	}
	if _, err := (ports{}).choose("x", busy); err == nil {
		t.Error("a wanted port that is busy: no error")
	}
	if err := os.WriteFile(filepath.Join(dir, portsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPorts(dir).choose("x", 0); err != nil {
		t.Errorf("a damaged file: %v", err)
	}
}
