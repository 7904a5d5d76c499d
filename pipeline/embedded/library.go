package embedded

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// ErrNoLibrary is returned (wrapped) when ClickHouse's library is neither here nor can be fetched.
var ErrNoLibrary = errors.New("no ClickHouse library")

// libraryEnv names the library's file, for machines without npm or without a network.
const libraryEnv = "ATTUNE_CHDB_LIBRARY"

// libraryFiles are package.json and package-lock.json: the one place where the version is pinned. The lock has
// no registry's address in it, so npm asks whichever one this machine is set up for.
//
//go:embed library/package.json library/package-lock.json
var libraryFiles embed.FS

// pinnedSHA256 of the library inside each platform's package. A platform without one has no pinned integrity in
// the lock file either: npm then checks the download against what its registry states.
func pinnedSHA256(platform string) string {
	return map[string]string{
		"linux-x64-gnu": "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5",
	}[platform]
}

// LibraryConfig says where [FindLibrary] looks. The zero value is what a program wants.
type LibraryConfig struct {
	// CacheDir holds fetched libraries; empty is attune/chdb in the user's cache folder.
	CacheDir string
	// Progress takes what is being fetched, a line every few seconds; nil is silent.
	Progress io.Writer
	// NoFetch stops where a download would begin.
	NoFetch bool
}

// FindLibrary returns the path of libchdb: the file that ATTUNE_CHDB_LIBRARY names, else the one in the user's
// cache, else it fetches the pinned version once with npm (about 180 MB to load, 550 MB on disk). Processes that
// fetch at the same time wait for one another. Errors wrap [ErrNoLibrary] and say what to do.
func FindLibrary(ctx context.Context, c LibraryConfig) (string, error) {
	if path, set := os.LookupEnv(libraryEnv); set && path != "" {
		info, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w; it must name the file libchdb.so (or libchdb.dylib)", ErrNoLibrary, libraryEnv, err)
		}
		if !info.Mode().IsRegular() {
			return "", fmt.Errorf("%w: %s=%s is no regular file; it must name the file libchdb.so (or libchdb.dylib)",
				ErrNoLibrary, libraryEnv, path)
		}
		return filepath.Abs(path)
	}
	pkg, err := thisPackage()
	if err != nil {
		return "", err
	}
	if c.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("%w: no cache folder to keep it in: %w; set HOME, or %s", ErrNoLibrary, err, libraryEnv)
		}
		c.CacheDir = filepath.Join(dir, "attune", "chdb")
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	home := filepath.Join(c.CacheDir, pkg.Version, pkg.platform)
	if path, err := cachedLibrary(home, pkg); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if c.NoFetch {
		return "", fmt.Errorf("%w at %s; %s", ErrNoLibrary, home, waysOut)
	}
	return fetchLibrary(ctx, c, home, pkg)
}

const waysOut = "either install Node.js with npm and run this again, or set " + libraryEnv +
	" to the path of a libchdb.so (libchdb.dylib on macOS), or set clickhouse.dsn in attune.yaml to use a server of your own"

// cachedLibrary returns the verified library below home; fs.ErrNotExist where none is.
func cachedLibrary(home string, pkg libraryPackage) (string, error) {
	path, err := libraryIn(home)
	if err != nil {
		return "", err
	}
	if err := verify(path, home, pinnedSHA256(pkg.platform)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	return path, nil
}

func libraryIn(dir string) (string, error) {
	for _, name := range []string{"libchdb.so", "libchdb.dylib"} { // the macOS packages, too, call it .so
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("libchdb in %s: %w", dir, fs.ErrNotExist)
}

// libraryPackage is one platform's entry in package-lock.json.
type libraryPackage struct {
	Version   string `json:"version"`
	Integrity string `json:"integrity,omitempty"`

	platform string // the last part of its name, such as linux-x64-gnu
}

func (p libraryPackage) name() string { return "@chdb/lib-" + p.platform }

type libraryLock struct {
	Packages map[string]libraryPackage `json:"packages"`
}

// thisPackage reads the entry for the machine that this program runs on.
func thisPackage() (libraryPackage, error) {
	platform, ok := map[string]string{
		"linux/amd64":  "linux-x64-gnu",
		"linux/arm64":  "linux-arm64-gnu",
		"darwin/amd64": "darwin-x64",
		"darwin/arm64": "darwin-arm64",
	}[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return libraryPackage{}, fmt.Errorf("%w for %s/%s: there are packages for Linux (glibc) and macOS on amd64 and arm64; "+
			"set clickhouse.dsn in attune.yaml to use a server of your own", ErrNoLibrary, runtime.GOOS, runtime.GOARCH)
	}
	b, err := libraryFiles.ReadFile("library/package-lock.json")
	if err != nil {
		return libraryPackage{}, err
	}
	var lock libraryLock
	if err := json.Unmarshal(b, &lock); err != nil {
		return libraryPackage{}, fmt.Errorf("embedded package-lock.json: %w", err)
	}
	pkg := lock.Packages["node_modules/@chdb/lib-"+platform]
	if pkg.Version == "" {
		return libraryPackage{}, fmt.Errorf("embedded package-lock.json has no @chdb/lib-%s", platform)
	}
	pkg.platform = platform
	return pkg, nil
}
