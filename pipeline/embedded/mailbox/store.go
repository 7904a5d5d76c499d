package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A mail's id is the instant at which it came, so ids sort by time.
const idLayout = "20060102-150405.000000000"

const suffix = ".eml"

// store keeps one file per mail, and what a list shows in memory.
type store struct {
	dir  string
	keep int
	ids  *regexp.Regexp

	mu      sync.Mutex
	mails   []Summary      // oldest first
	copies  map[string]int // mails by Message-ID
	last    time.Time
	version uint64 // counts changes since the start
	closed  bool
}

func openStore(dir string, keep int) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{dir: dir, keep: keep, ids: regexp.MustCompile(`^\d{8}-\d{6}-\d{9}$`), copies: map[string]int{}}
	entries, err := os.ReadDir(dir) // sorted by name, so by time
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		id, isMail := strings.CutSuffix(e.Name(), suffix)
		if strings.HasPrefix(e.Name(), ".incoming-") { // a write that a crash cut short
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
		if !isMail || !s.ids.MatchString(id) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		s.remember(parse(id, raw).Summary)
	}
	return s, s.trim()
}

// add keeps a mail: written beside, then renamed, so that a file is whole or absent.
func (s *store) add(raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the mailbox is closed")
	}
	now := time.Now().UTC()
	if !now.After(s.last) {
		now = s.last.Add(1)
	}
	id := strings.ReplaceAll(now.Format(idLayout), ".", "-")
	file, err := os.CreateTemp(s.dir, ".incoming-*")
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.path(id))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	s.remember(parse(id, raw).Summary)
	return s.trim()
}

// remember takes a mail into the list; the caller holds the lock or is alone.
func (s *store) remember(m Summary) {
	s.mails = append(s.mails, m)
	if m.MessageID != "" {
		s.copies[m.MessageID]++
	}
	s.last = m.Received
	s.version++
}

// trim removes the oldest mails beyond the number kept.
func (s *store) trim() error {
	for len(s.mails) > s.keep {
		if err := s.drop(); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the oldest mail.
func (s *store) drop() error {
	m := s.mails[0]
	if err := os.Remove(s.path(m.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.mails = slices.Delete(s.mails, 0, 1)
	if s.copies[m.MessageID]--; s.copies[m.MessageID] <= 0 {
		delete(s.copies, m.MessageID)
	}
	s.version++
	return nil
}

func (s *store) clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mails) > 0 {
		if err := s.drop(); err != nil {
			return fmt.Errorf("mailbox: clear: %w", err)
		}
	}
	return nil
}

func (s *store) list() []Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Summary, 0, len(s.mails))
	for _, m := range slices.Backward(s.mails) {
		list = append(list, s.counted(m))
	}
	return list
}

func (s *store) counted(m Summary) Summary {
	m.Copies = max(1, s.copies[m.MessageID])
	return m
}

func (s *store) get(id string) (Mail, error) {
	raw, err := s.source(id)
	if err != nil {
		return Mail{}, err
	}
	m := parse(id, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Summary = s.counted(m.Summary)
	return m, nil
}

// source is the mail as it came, below the lines of its envelope.
func (s *store) source(id string) ([]byte, error) {
	if !s.ids.MatchString(id) {
		return nil, fmt.Errorf("mailbox: mail %q: %w", id, fs.ErrNotExist)
	}
	raw, err := os.ReadFile(s.path(id))
	if err != nil {
		return nil, fmt.Errorf("mailbox: mail %s: %w", id, err)
	}
	return raw, nil
}

// state changes with every mail that comes or goes.
func (s *store) state() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

func (s *store) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

func (s *store) path(id string) string { return filepath.Join(s.dir, id+suffix) }

// received is the instant that an id stands for.
func received(id string) time.Time {
	if len(id) < 10 {
		return time.Time{}
	}
	dot := strings.LastIndexByte(id, '-')
	t, _ := time.Parse(idLayout, id[:dot]+"."+id[dot+1:])
	return t
}
