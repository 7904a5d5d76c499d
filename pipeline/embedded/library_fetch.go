package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const progressEvery = 3 * time.Second

// fetchLibrary installs the pinned package into home. It works in a folder beside it and renames at the end, so
// what is killed half-way leaves nothing that looks whole.
func fetchLibrary(ctx context.Context, c LibraryConfig, home string, pkg libraryPackage) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("%w: it is not in %s, and npm, which fetches it, is not on the PATH: %s", ErrNoLibrary, c.CacheDir, waysOut)
	}
	lock, err := lockFetch(ctx, c)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	defer lock.Close()
	if path, err := cachedLibrary(home, pkg); !errors.Is(err, fs.ErrNotExist) {
		return path, err // another process has fetched it meanwhile
	}
	removeLeftovers(c.CacheDir)
	work, err := os.MkdirTemp(c.CacheDir, fetchPrefix)
	if err != nil {
		return "", fmt.Errorf("%w: make a folder to fetch it into: %w", ErrNoLibrary, err)
	}
	defer os.RemoveAll(work)

	fmt.Fprintf(c.Progress, "fetching ClickHouse's library once: %s %s, about 180 MB to load, 550 MB on disk, into %s\n",
		pkg.name(), pkg.Version, home)
	started := time.Now()
	if err := npmInstall(ctx, npm, work, pkg, c.Progress); err != nil {
		return "", fmt.Errorf("%w: fetch %s %s with npm: %w\n%s", ErrNoLibrary, pkg.name(), pkg.Version, err, waysOut)
	}
	installed := filepath.Join(work, "node_modules", filepath.FromSlash(pkg.name()))
	if _, err := cachedLibrary(installed, pkg); err != nil {
		return "", fmt.Errorf("%w: fetch %s %s with npm: %w", ErrNoLibrary, pkg.name(), pkg.Version, err)
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	if err := os.RemoveAll(home); err != nil { // a folder without a library in it
		return "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	if err := os.Rename(installed, home); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	fmt.Fprintf(c.Progress, "fetched ClickHouse's library in %s\n", time.Since(started).Round(time.Second))
	return cachedLibrary(home, pkg)
}

const fetchPrefix = ".fetch-"

// removeLeftovers of killed fetches; the caller holds the lock, so nobody works in them.
func removeLeftovers(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, fetchPrefix+"*"))
	for _, path := range old {
		_ = os.RemoveAll(path)
	}
}

// lockFetch waits for other processes that fetch into the same cache.
func lockFetch(ctx context.Context, c LibraryConfig) (*os.File, error) {
	told := time.Time{}
	for {
		lock, err := lockFolder(ctx, c.CacheDir, fetchLock, "it fetches the library")
		if !errors.Is(err, ErrLocked) {
			return lock, err
		}
		if time.Since(told) >= progressEvery {
			fmt.Fprintf(c.Progress, "waiting for another process, which fetches ClickHouse's library into %s\n", c.CacheDir)
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// npmInstall runs npm ci in dir for one package. The embedded files list it as optional, and npm passes over an
// optional package that it can't get, or whose integrity is wrong, without a word and with exit code 0: here it
// is a plain dependency.
func npmInstall(ctx context.Context, npm, dir string, pkg libraryPackage, progress io.Writer) error {
	wanted := map[string]string{pkg.name(): pkg.Version}
	files := map[string]any{
		"package.json": map[string]any{"private": true, "dependencies": wanted},
		"package-lock.json": map[string]any{
			"name": "library", "lockfileVersion": 3, "requires": true,
			"packages": map[string]any{
				"":                           map[string]any{"dependencies": wanted},
				"node_modules/" + pkg.name(): pkg,
			},
		},
	}
	for name, content := range files {
		b, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &output, &output
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	started := time.Now()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("%w: %s", err, lastLines(output.String(), 8))
			}
			return nil
		case <-tick.C:
			fmt.Fprintf(progress, "fetching ClickHouse's library: %s, %d MB unpacked\n",
				time.Since(started).Round(time.Second), sizeBelow(dir)>>20)
		}
	}
}

func sizeBelow(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // files come and go under npm's hands
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
