package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

// emptyMachine hides npm, the cache and the environment variable.
func emptyMachine(t *testing.T) {
	t.Helper()
	empty := t.TempDir()
	t.Setenv("PATH", empty)
	t.Setenv("HOME", empty)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(empty, "cache"))
	t.Setenv("ATTUNE_CHDB_LIBRARY", "")
}

// fakeNPM puts a program called npm first on the PATH.
func fakeNPM(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestLibraryWithoutNPMNamesTheWaysOut(t *testing.T) {
	emptyMachine(t)
	_, err := embedded.FindLibrary(t.Context(), embedded.LibraryConfig{})
	if !errors.Is(err, embedded.ErrNoLibrary) {
		t.Fatalf("error: %v", err)
	}
	for _, part := range []string{"npm", "Node.js", "ATTUNE_CHDB_LIBRARY", "clickhouse.dsn", "attune.yaml"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
}

func TestLibraryFromTheEnvironment(t *testing.T) {
	emptyMachine(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "libchdb.so")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ATTUNE_CHDB_LIBRARY", file)
	if got, err := embedded.FindLibrary(t.Context(), embedded.LibraryConfig{}); err != nil || got != file {
		t.Errorf("FindLibrary = %q, %v", got, err)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "missing.so")} {
		t.Setenv("ATTUNE_CHDB_LIBRARY", bad)
		_, err := embedded.FindLibrary(t.Context(), embedded.LibraryConfig{})
		if !errors.Is(err, embedded.ErrNoLibrary) || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "libchdb.so") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestLibraryFetchFailures(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         []string
	}{
		{"npm fails", "echo npm error code E404 >&2; exit 1", []string{"E404", "exit status 1", "ATTUNE_CHDB_LIBRARY"}},
		{"npm installs nothing", "exit 0", []string{"libchdb"}},
		{"npm installs something else", "mkdir -p node_modules/@chdb/" + packageDir() + "; echo x > node_modules/@chdb/" + packageDir() + "/libchdb.so",
			[]string{"sha256"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want[0] == "sha256" && packageDir() != "lib-linux-x64-gnu" {
				t.Skip("no hash is pinned for this platform")
			}
			t.Setenv("ATTUNE_CHDB_LIBRARY", "")
			fakeNPM(t, c.script)
			cache := t.TempDir()
			_, err := embedded.FindLibrary(t.Context(), embedded.LibraryConfig{CacheDir: cache})
			if !errors.Is(err, embedded.ErrNoLibrary) {
				t.Fatalf("error: %v", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			wantNothingFetched(t, cache)
		})
	}
}

func TestLibraryFetchIsCancelled(t *testing.T) {
	t.Setenv("ATTUNE_CHDB_LIBRARY", "")
	cache := t.TempDir()
	fakeNPM(t, "touch '"+cache+"/running'; sleep 60 & wait")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := embedded.FindLibrary(ctx, embedded.LibraryConfig{CacheDir: cache})
		ended <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(cache, "running")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("npm was never run")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, embedded.ErrNoLibrary) {
		t.Errorf("error: %v", err)
	}
	os.Remove(filepath.Join(cache, "running"))
	wantNothingFetched(t, cache)
}

// TestLibraryIsFetchedOnce lets several fetch at a time into a cache in which a killed fetch lies; npm takes the
// real library from this machine's cache.
func TestLibraryIsFetchedOnce(t *testing.T) {
	library := enginetest.Library(t)
	t.Setenv("ATTUNE_CHDB_LIBRARY", "")
	cache := t.TempDir()
	killed := filepath.Join(cache, ".fetch-killed")
	if err := os.MkdirAll(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	to := "node_modules/@chdb/" + packageDir()
	fakeNPM(t, fmt.Sprintf("echo run >> '%s/runs'; [ \"$1\" = ci ] || exit 9; mkdir -p %s; ln '%s' %s/ 2>/dev/null || cp '%s' %s/\n",
		cache, to, library, to, library, to))

	var wg sync.WaitGroup
	var progress bytes.Buffer
	paths := make([]string, 3)
	for i := range paths {
		wg.Go(func() {
			c := embedded.LibraryConfig{CacheDir: cache}
			if i == 0 {
				c.Progress = &progress
			}
			var err error
			if paths[i], err = embedded.FindLibrary(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, path := range paths {
		if path != paths[0] || !strings.HasPrefix(path, cache) {
			t.Errorf("paths: %q", paths)
		}
	}
	if runs, _ := os.ReadFile(filepath.Join(cache, "runs")); string(runs) != "run\n" {
		t.Errorf("npm ran %d times", strings.Count(string(runs), "\n"))
	}
	if progress.Len() == 0 {
		t.Error("no progress was told")
	}
	if _, err := os.Stat(killed); err == nil {
		t.Error("the killed fetch is still there")
	}

	emptyMachine(t) // now it needs neither npm nor a network
	if got, err := embedded.FindLibrary(t.Context(), embedded.LibraryConfig{CacheDir: cache}); err != nil || got != paths[0] {
		t.Errorf("from the cache: %q, %v", got, err)
	}
}

func wantNothingFetched(t *testing.T, cache string) {
	t.Helper()
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "fetch.lock" {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func packageDir() string {
	return map[string]string{
		"linux/amd64": "lib-linux-x64-gnu", "linux/arm64": "lib-linux-arm64-gnu",
		"darwin/amd64": "lib-darwin-x64", "darwin/arm64": "lib-darwin-arm64",
	}[runtime.GOOS+"/"+runtime.GOARCH]
}
