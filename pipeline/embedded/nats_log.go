package embedded

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

var _ server.Logger = (*natsLog)(nil)

// natsLog passes the server's warnings and errors on and drops its chatter. A fatal error doesn't end the
// process: it is kept for whoever waits for the start.
type natsLog struct {
	log *slog.Logger

	mu        sync.Mutex
	lastFatal string
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}

func (l *natsLog) Warnf(format string, v ...any) {
	l.log.Warn("nats", "text", fmt.Sprintf(format, v...))
}
func (l *natsLog) Errorf(format string, v ...any) {
	l.log.Error("nats", "text", fmt.Sprintf(format, v...))
}

func (l *natsLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("nats", "text", text, "fatal", true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastFatal = text
}

func (l *natsLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastFatal
}
