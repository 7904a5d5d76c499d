package embedded

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const loopback = "127.0.0.1"

const portsFile = "ports.json"

// ports remembers what was picked in a data folder, so that addresses survive a restart where they can.
type ports map[string]int

func loadPorts(dir string) ports {
	p := ports{}
	if b, err := os.ReadFile(filepath.Join(dir, portsFile)); err == nil {
		_ = json.Unmarshal(b, &p) // a broken file only means new ports
	}
	return p
}

func (p ports) save(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, portsFile), append(b, '\n'))
}

// choose settles the port called name: the wanted one must be free; with want 0 the remembered one is taken if
// it is free, else any free one that none of taken is.
func (p ports) choose(name string, want int, taken ...int) (int, error) {
	if want < 0 || want > 65535 {
		return 0, fmt.Errorf("%s port %d: must be 0 (pick one) or 1 to 65535", name, want)
	}
	if want != 0 {
		if err := portFree(want); err != nil {
			return 0, fmt.Errorf("%s port %d on %s is not free (%w): stop what listens there, or use port 0 to have one picked",
				name, want, loopback, err)
		}
		return want, nil
	}
	if port := p[name]; port > 0 && port <= 65535 && !slices.Contains(taken, port) && portFree(port) == nil {
		return port, nil
	}
	for range 100 {
		port, err := anyPort()
		if err != nil {
			return 0, fmt.Errorf("pick a free %s port on %s: %w", name, loopback, err)
		}
		if !slices.Contains(taken, port) {
			p[name] = port
			return port, nil
		}
	}
	return 0, fmt.Errorf("pick a free %s port on %s: none found", name, loopback)
}

func portFree(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

func anyPort() (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// writeFile replaces path in one step, mode 0600: a reader sees the old bytes or the new ones.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // CreateTemp's mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
