package file

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// source is the opened file: unpacked, without a byte order mark.
type source struct {
	name        string // for messages
	file        *os.File
	gz          *gzip.Reader
	text        *bufio.Reader
	total       int64        // bytes on disk; -1 when nobody knows
	read        atomic.Int64 // of total
	fingerprint string       // "" where there is no second reading: standard input, pipes
}

// fingerprintBytes is how much of a file's beginning goes into its fingerprint, beside its size.
const fingerprintBytes = 64 << 10

func openSource(path string, stdin io.Reader) (*source, error) {
	s := &source{name: path, total: -1}
	if path == "-" {
		s.name = "standard input"
		if stdin == nil {
			stdin = os.Stdin
		}
		return s, s.unpack(stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open import: %w", err)
	}
	s.file = f
	if err := s.look(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *source) look() error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("open import: %w", err)
	}
	if info.IsDir() {
		return fmt.Errorf("open import %s: it is a folder; name a file", s.name)
	}
	if info.Mode().IsRegular() {
		s.total = info.Size()
		head, err := io.ReadAll(io.NewSectionReader(s.file, 0, fingerprintBytes))
		if err != nil {
			return fmt.Errorf("read import: %w", err)
		}
		hash := sha256.New()
		hash.Write(head)
		fmt.Fprintf(hash, "\n%d", s.total)
		s.fingerprint = hex.EncodeToString(hash.Sum(nil))
	}
	return s.unpack(s.file)
}

type countingReader struct {
	from  io.Reader
	count *atomic.Int64
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.count.Add(int64(n))
	return n, err
}

const readBuffer = 64 << 10

// unpack looks at the first bytes. Names lie: files called .csv are gzipped and the other way round.
func (s *source) unpack(from io.Reader) error {
	s.text = bufio.NewReaderSize(countingReader{from, &s.read}, readBuffer)
	head, err := s.text.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read import %s: %w", s.name, err)
	}
	for _, other := range []struct{ magic, name, hint string }{
		{"PK\x03\x04", "a zip archive (or a spreadsheet)", "unzip it, or save the sheet as CSV"},
		{"\x28\xb5\x2f\xfd", "zstd", "unpack it: zstd -d"},
		{"BZh", "bzip2", "unpack it: bunzip2"},
		{"\xfd7zX", "xz", "unpack it: unxz"},
		{"PAR1", "Parquet", "write it as CSV or JSONL first"},
	} {
		if bytes.HasPrefix(head, []byte(other.magic)) {
			return fmt.Errorf("read import %s: this is %s, not CSV or JSONL; %s", s.name, other.name, other.hint)
		}
	}
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		if s.gz, err = gzip.NewReader(s.text); err != nil {
			return fmt.Errorf("read import %s: gzip: %w", s.name, err)
		}
		s.text = bufio.NewReaderSize(s.gz, readBuffer)
	}
	if head, err = s.text.Peek(3); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read import %s: %w", s.name, explain(err))
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = s.text.Discard(3)
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return fmt.Errorf("read import %s: this is UTF-16; convert it: iconv -f UTF-16 -t UTF-8", s.name)
	}
	return nil
}

// explain adds what to do to the errors of a damaged file.
func explain(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the gzip file is cut short: fetch it again: %w", err)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("the gzip file is damaged: fetch it again: %w", err)
	}
	return err
}

// sniff tells JSONL by its first character that is no space.
func (s *source) sniff() (Format, error) {
	for n := 64; ; n *= 2 {
		head, err := s.text.Peek(min(n, readBuffer))
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return "", fmt.Errorf("read import %s: %w", s.name, explain(err))
		}
		trimmed := bytes.TrimLeft(head, " \t\r\n")
		switch {
		case len(trimmed) > 0 && trimmed[0] == '{':
			return JSONL, nil
		case len(trimmed) > 0 && trimmed[0] == '[':
			return "", fmt.Errorf("read import %s: this is one JSON list; one object per line is wanted: jq -c '.[]'", s.name)
		case len(trimmed) > 0:
			return CSV, nil
		case err == io.EOF:
			return "", fmt.Errorf("read import %s: the file is empty", s.name)
		case n >= readBuffer:
			return CSV, nil
		}
	}
}

func (s *source) close() error {
	if s.gz != nil {
		_ = s.gz.Close() // it holds nothing: a damaged stream was already reported by Read
	}
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// line is one physical line, without its end.
type line struct {
	number  int
	text    string
	tooLong bool // text is its beginning
	invalid bool // text was not UTF-8; what was wrong is replaced
}

// lines reads physical lines. Those of a record that turned out to be none can be given back.
type lines struct {
	from   *source
	max    int
	latin1 bool
	number int
	back   []line // in order
	buffer []byte
}

// next gives io.EOF at the end.
func (l *lines) next() (line, error) {
	if len(l.back) > 0 {
		first := l.back[0]
		l.back = l.back[1:]
		return first, nil
	}
	l.buffer = l.buffer[:0]
	out := line{number: l.number + 1}
	for {
		part, err := l.from.text.ReadSlice('\n')
		if room := l.max - len(l.buffer); len(bytes.TrimRight(part, "\r\n")) > room {
			out.tooLong = true
			l.buffer = append(l.buffer, part[:max(room, 0)]...)
		} else {
			l.buffer = append(l.buffer, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && (len(l.buffer) > 0 || out.tooLong) {
			err = nil
		}
		if err == io.EOF {
			return out, err
		}
		if err != nil {
			return out, fmt.Errorf("%s:%d: %w", l.from.name, out.number, explain(err))
		}
		break
	}
	l.number++
	text := bytes.TrimSuffix(bytes.TrimSuffix(l.buffer, []byte("\n")), []byte("\r"))
	switch {
	case l.latin1:
		out.text = decodeLatin1(text)
	case utf8.Valid(text):
		out.text = string(text)
	default:
		out.invalid = true
		out.text = strings.ToValidUTF8(string(text), "\uFFFD")
	}
	return out, nil
}

func (l *lines) giveBack(all []line) { l.back = append(all, l.back...) }

// decodeLatin1 reads Windows-1252, as browsers do when somebody says Latin-1: it differs only where Latin-1
// has control characters, and there real files have quotes, dashes and the euro.
func decodeLatin1(b []byte) string {
	const c1 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ"
	var out strings.Builder
	out.Grow(len(b))
	for _, c := range b {
		if c >= 0x80 && c < 0xa0 {
			n := 0
			for _, r := range c1 {
				if n == int(c-0x80) {
					out.WriteRune(r)
					break
				}
				n++
			}
			continue
		}
		out.WriteRune(rune(c))
	}
	return out.String()
}
