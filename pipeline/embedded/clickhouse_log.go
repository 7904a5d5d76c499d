package embedded

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// keepLines is how much of the child's last output an error may quote.
const keepLines = 12

// maxLine bounds what is held of a line that doesn't end.
const maxLine = 64 << 10

// serverLog turns the child's output into slog records and keeps the last lines for errors. It is safe for
// concurrent use.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	part  []byte
	last  []string
	clash bool
}

// serverLine matches "2026.11.23 15:04:05.000000 [ 17 ] {query id} <Error> Logger: text".
var serverLine = regexp.MustCompile(`^\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d\.\d+ \[ \d+ \] \{[^}]*\} <(\w+)> ([^:]+): (.*)$`)

// stackLine matches a line of a stack trace, which tells nothing in a library without symbols.
var stackLine = regexp.MustCompile(`^\d+\. .* @ 0x[0-9a-f]+$`)

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 {
			break
		}
		l.line(strings.TrimSpace(string(l.part[:i])))
		l.part = l.part[i+1:]
	}
	if len(l.part) > maxLine {
		l.part = nil
	}
	return len(p), nil
}

func (l *serverLog) line(s string) {
	if s == "" || stackLine.MatchString(s) {
		return
	}
	if len(l.last) == keepLines {
		l.last = l.last[1:]
	}
	l.last = append(l.last, s)
	if strings.Contains(s, "Address already in use") {
		l.clash = true
	}
	m := serverLine.FindStringSubmatch(s)
	if m == nil { // the prompt's, or the rest of a longer text
		l.log.Debug("clickhouse", "line", s)
		return
	}
	text, _, _ := strings.Cut(m[3], ", Stack trace (when copying")
	l.log.Log(context.Background(), serverLevel(m[1], m[2]), "clickhouse", "logger", m[2], "text", text)
}

// serverLevel passes on what an operator can act on. A failed query is an <Error> of the connection's handler, but
// its client has been told; some warnings tell of nothing but the server's own workings.
func serverLevel(level, logger string) slog.Level {
	logger, _, _ = strings.Cut(logger, "/")
	switch level {
	case "Fatal", "Critical":
		return slog.LevelError
	case "Error":
		if logger == "executeQuery" || strings.HasSuffix(logger, "Handler") {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	case "Warning":
		if logger == "BackgroundSchedulePool" || logger == "MergeMutateSelectedEntry" { // frequent, most at a stop
			return slog.LevelDebug
		}
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// tail is the last output, for an error.
func (l *serverLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) == 0 {
		return "it said nothing"
	}
	return "its last words:\n  " + strings.Join(l.last, "\n  ")
}

// portClash reports whether a listener could not be opened.
func (l *serverLog) portClash() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clash
}
