package config

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"attune/config/schema"
)

//go:embed example
var exampleFiles embed.FS

//go:embed starter
var starterFiles embed.FS

// ExampleFiles is the example workspace's folder: a small shop.
func ExampleFiles() fs.FS { return within(exampleFiles, "example") }

// StarterFiles is the workspace that WriteStarter writes.
func StarterFiles() fs.FS { return within(starterFiles, "starter") }

func within(files embed.FS, dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil { // dir is a constant that is embedded above
		panic(err)
	}
	return sub
}

// Example is the example workspace with no wait longer than longest, for trying it out; 0 leaves the waits as they
// are. changed says aloud what was shortened.
func Example(longest time.Duration) (ws *Workspace, changed []string, err error) {
	if ws, err = LoadWorkspace(ExampleFiles()); err != nil {
		return nil, nil, fmt.Errorf("example workspace: %w", err)
	}
	if longest > 0 {
		changed = ws.ShortenWaits(longest)
	}
	return ws, changed, nil
}

// WriteStarter writes a commented workspace to start from into dir, which must be empty or not there yet.
func WriteStarter(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("init %s: %w", dir, err)
	}
	if len(list) > 0 {
		return fmt.Errorf("init %s: the folder is not empty (there is %s); name an empty one or one that does not exist yet", dir, list[0].Name())
	}
	write := func(path string, data []byte) error {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o644)
	}
	copyAll := func(files fs.FS, rename func(string) string) error {
		return fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := fs.ReadFile(files, path)
			if err != nil {
				return err
			}
			return write(rename(path), data)
		})
	}
	if err := copyAll(StarterFiles(), func(p string) string { return strings.Replace(p, "gitignore", ".gitignore", 1) }); err != nil {
		return fmt.Errorf("init %s: %w", dir, err)
	}
	if err := copyAll(schema.Files(), func(p string) string { return ".schema/" + p }); err != nil {
		return fmt.Errorf("init %s: %w", dir, err)
	}
	return nil
}
