package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrNotRunning is returned (wrapped) when no running process has written its addresses into a data folder.
var ErrNotRunning = errors.New("attune is not running")

const endpointsFile = "endpoints.json"

// Endpoints are the addresses of a running `attune dev`, or of an `attune run` with an embedded engine, for the commands
// that reach it by its data folder.
type Endpoints struct {
	PID                  int       `json:"pid"`
	NATSURL              string    `json:"nats_url,omitempty"`
	ClickHouseDSN        string    `json:"clickhouse_dsn,omitempty"`         // holds a password
	ClickHouseAnalystDSN string    `json:"clickhouse_analyst_dsn,omitempty"` // holds a password
	ClickHouseHTTPURL    string    `json:"clickhouse_http_url,omitempty"`
	IngestURL            string    `json:"ingest_url,omitempty"`
	MailURL              string    `json:"mail_url,omitempty"`  // the page that shows caught mails
	SMTPAddr             string    `json:"smtp_addr,omitempty"` // host:port
	Started              time.Time `json:"started"`
}

// WriteEndpoints puts e into the data folder, readable by this user only. Without a PID it takes this process's.
func WriteEndpoints(dir string, e Endpoints) error {
	if e.PID == 0 {
		e.PID = os.Getpid()
	}
	e.Started = e.Started.UTC()
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, endpointsFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write endpoints to %s: %w", dir, err)
	}
	return nil
}

// ReadEndpoints returns the addresses of the process that runs on the data folder. A missing file and one whose
// process is gone give an error that wraps [ErrNotRunning].
func ReadEndpoints(dir string) (Endpoints, error) {
	path := filepath.Join(dir, endpointsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Endpoints{}, fmt.Errorf("%w on %s; start it with: attune dev --data %s", ErrNotRunning, dir, dir)
	}
	if err != nil {
		return Endpoints{}, fmt.Errorf("read endpoints: %w", err)
	}
	var e Endpoints
	if err := json.Unmarshal(b, &e); err != nil || e.PID <= 0 {
		return Endpoints{}, fmt.Errorf("%s is damaged: stop attune and start it with: attune dev --data %s", path, dir)
	}
	if !processAlive(e.PID) {
		return Endpoints{}, fmt.Errorf("%w on %s: process %d, started %s, is gone; start it with: attune dev --data %s",
			ErrNotRunning, dir, e.PID, e.Started.Format(time.RFC3339), dir)
	}
	return e, nil
}

// RemoveEndpoints takes the file away; a missing one is fine.
func RemoveEndpoints(dir string) error {
	if err := os.Remove(filepath.Join(dir, endpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove endpoints: %w", err)
	}
	return nil
}
