package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const verdictFile = "verified.json"

// verdict remembers a checked file by what changes when the file does: hashing half a gigabyte takes seconds.
type verdict struct {
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified_ns"`
	SHA256   string `json:"sha256"`
}

// verify checks path against the pinned hash, or, where none is pinned, against the one that it had when it was
// first seen. The verdict is kept in dir.
func verify(path, dir, pinned string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	var old verdict
	if b, err := os.ReadFile(filepath.Join(dir, verdictFile)); err == nil {
		_ = json.Unmarshal(b, &old) // a broken verdict only means hashing again
	}
	want := pinned
	if want == "" {
		want = old.SHA256
	}
	now := verdict{Inode: inode(info), Size: info.Size(), Modified: info.ModTime().UnixNano(), SHA256: old.SHA256}
	if now == old && old.SHA256 != "" && old.SHA256 == want {
		return nil
	}
	if now.SHA256, err = hashFile(path); err != nil {
		return err
	}
	if want != "" && now.SHA256 != want {
		return fmt.Errorf("%s is not the file that it should be (sha256 %s, expected %s): remove the folder %s and run this again",
			path, now.SHA256, want, dir)
	}
	b, err := json.Marshal(now)
	if err != nil {
		return err
	}
	_ = writeFile(filepath.Join(dir, verdictFile), append(b, '\n')) // a read-only cache costs time, not correctness
	return nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
