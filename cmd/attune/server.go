package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/ingest"
)

// server is the HTTP face: ingest, metrics, health, and in dev the caught mails.
type server struct {
	http     http.Server
	listener net.Listener
	stopping atomic.Bool
	checks   []check
}

// check is one line of /readyz.
type check struct {
	name string
	run  func(ctx context.Context) error
	// beside: events can be taken and will be worked on also where it fails.
	beside bool
}

// within runs the check. One that does not decide must not take as long as a probe waits, a second by Kubernetes' default.
func (c check) within(ctx context.Context) error {
	if c.beside {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
	}
	return c.run(ctx)
}

// newServer listens. raw is where events that are taken in go; nil: none are.
func newServer(address string, raw *pipeline.RawLog, c ingest.Config, registry *prometheus.Registry, checks []check, log *slog.Logger) (*server, *http.ServeMux, error) {
	mux := http.NewServeMux()
	if raw != nil {
		taking, err := ingest.Handler(c, busyLog{raw}, raw, ingest.Deps{
			Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, Logger: log, Metrics: registry,
		})
		if err != nil {
			return nil, nil, err
		}
		mux.Handle("/v1/", taking)
		for _, e := range c.Entrances {
			if e.Path != "" {
				mux.Handle(e.Path, taking)
			}
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %s: %w; choose another address with --listen (port 0 picks one)", address, err)
	}
	s := &server{listener: listener, checks: checks}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	s.http = http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s, mux, nil
}

// url is where the server is reached.
func (s *server) url() string { return "http://" + s.listener.Addr().String() }

func (s *server) serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// stop refuses new requests and waits for those under way: what was accepted has been stored then.
func (s *server) stop(ctx context.Context) error {
	s.stopping.Store(true)
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("stop HTTP: %w", err), s.http.Close())
	}
	return nil
}

// ready says whether events can be taken and will be worked on; ?verbose lists each check: [+] it is well, [-] it is not,
// [!] it is not, and what it would do waits.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	status, lines := http.StatusOK, ""
	if s.stopping.Load() {
		status, lines = http.StatusServiceUnavailable, "[-] stopping\n"
	}
	for _, c := range s.checks {
		switch err := c.within(ctx); {
		case err == nil:
			lines += fmt.Sprintf("[+] %s\n", c.name)
		case c.beside:
			lines += fmt.Sprintf("[!] %s: %v\n", c.name, err)
		default:
			status = http.StatusServiceUnavailable
			lines += fmt.Sprintf("[-] %s: %v\n", c.name, err)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.URL.Query().Has("verbose") || status != http.StatusOK {
		fmt.Fprint(w, lines)
		return
	}
	fmt.Fprintln(w, "ok")
}

// busyLog tells ingest in its own words that RAW is full.
type busyLog struct{ raw *pipeline.RawLog }

// Append stores the records.
func (l busyLog) Append(ctx context.Context, records []event.Raw) error {
	err := l.raw.Append(ctx, records)
	if errors.Is(err, pipeline.ErrRawFull) {
		return fmt.Errorf("%w: %w", ingest.ErrBusy, err)
	}
	return err
}
