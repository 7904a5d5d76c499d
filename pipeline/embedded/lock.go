package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrLocked is returned (wrapped) when another process, or another engine of this one, holds a data folder.
var ErrLocked = errors.New("data folder is in use")

// ErrUnsupported is returned (wrapped) by everything that needs an operating system which the engines don't run on.
var ErrUnsupported = errors.New("embedded engines run on Linux and macOS, on amd64 and arm64, only")

const (
	folderLock     = "attune.lock"
	natsLock       = "nats.lock"
	clickHouseLock = "clickhouse.lock"
	fetchLock      = "fetch.lock"
)

// orphanWait bounds the wait for the child of a killed process: it notices the death within two seconds and
// then flushes what it holds.
const orphanWait = 30 * time.Second

// Dir is a locked data folder. Close releases it; so does the end of the process, however it ends.
type Dir struct {
	path string
	file *os.File
	once sync.Once
}

// Lock takes the data folder dir for this process and creates it (mode 0700) where it is missing. A folder that
// is held gives an error that wraps [ErrLocked] and names the folder and the process. The caller closes it.
func Lock(dir string) (*Dir, error) {
	f, err := lockFolder(context.Background(), dir, folderLock, `stop it, or give another --data DIR`)
	if err != nil {
		return nil, err
	}
	return &Dir{path: dir, file: f}, nil
}

// Path is the folder as it was given to [Lock].
func (d *Dir) Path() string { return d.path }

// Close releases the folder; calling it again does nothing.
func (d *Dir) Close() error {
	var err error
	d.once.Do(func() { err = d.file.Close() })
	return err
}

// lockFolder locks dir/name and writes this process's id into it. It waits only for the orphan of a dead
// process, which ends by itself. The file stays after the release: removing it would let two processes lock
// two files of one name.
func lockFolder(ctx context.Context, dir, name, hint string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data folder %s: %w", dir, err)
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	deadline := time.Now().Add(orphanWait)
	for {
		held, err := tryFlock(f)
		if err == nil && !held {
			break
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
		}
		pid := readPID(path)
		orphan := pid > 0 && !processAlive(pid)
		if !orphan || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("%w: %s is held by %s; %s", ErrLocked, dir, describePID(pid, orphan), hint)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock data folder %s: %w", dir, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := writePID(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID returns 0 while the holder has not written itself down yet.
func readPID(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

func describePID(pid int, orphan bool) string {
	switch {
	case pid == 0:
		return "another process"
	case pid == os.Getpid():
		return fmt.Sprintf("this process (pid %d)", pid)
	case orphan:
		return fmt.Sprintf("a child of process %d, which is gone", pid)
	default:
		return fmt.Sprintf("process %d", pid)
	}
}
