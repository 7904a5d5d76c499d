package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Position is a place in the sequence of calls: after how many, and what they were.
type Position struct {
	Calls  int64  `json:"calls"`
	Digest string `json:"digest"` // SHA-256 chain over the payloads so far: a changed file can't pass for the old one
}

// Checkpoint is where an import stands: every call up to Position is acknowledged.
type Checkpoint struct {
	File        string   `json:"file"` // for people; the fingerprint decides
	Fingerprint string   `json:"fingerprint"`
	Mapping     string   `json:"mapping"` // its hash
	Position    Position `json:"position"`
}

var (
	// ErrNoResume says that the input can be read only once: standard input, a pipe.
	ErrNoResume = errors.New("this input can't be resumed: begin again; message ids are the same, so nothing doubles within topology.duplicates_age")
	// ErrChanged says that a checkpoint was made with another file or mapping.
	ErrChanged = errors.New("changed since the checkpoint: delete the checkpoint to begin again; message ids are the same, so nothing doubles within topology.duplicates_age")
)

// LoadCheckpoint reads what [Checkpoint.Save] wrote. Where there is none, errors.Is(err, fs.ErrNotExist).
func LoadCheckpoint(path string) (*Checkpoint, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	var c Checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w: delete it to begin again", path, err)
	}
	if c.Fingerprint == "" || c.Mapping == "" || c.Position.Calls < 0 {
		return nil, fmt.Errorf("read checkpoint %s: it lacks fields: is it an import's? Delete it to begin again", path)
	}
	return &c, nil
}

// Save writes the checkpoint so that a crash leaves the old one or this one, whole.
func (c Checkpoint) Save(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save checkpoint: %w", err)
		}
	}()
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
