package ingest

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/event"
)

// Deps are what the handler needs besides its log.
type Deps struct {
	// Now is the clock that stamps `accepted`. Required; safe for concurrent use.
	Now func() time.Time
	// NewID makes the messageId of a call that has none: a UUIDv7, or other text of printable ASCII without quote
	// and backslash. Required; safe for concurrent use.
	NewID func() string
	// Logger gets one line for each request at debug. Nil: silent.
	Logger *slog.Logger
	// Metrics is where the handler registers its metrics. Nil: nowhere.
	Metrics prometheus.Registerer
}

const (
	allowedMethods = "POST, OPTIONS"
	parkedHeader   = "Attune-Parked"
	routeList      = "POST /v1/track, identify, page, screen, group, alias, batch, import, in/NAME"
)

// handler serves the Segment HTTP API.
type handler struct {
	cfg       Config
	log       Log
	dead      DeadLetters
	keys      keyring
	now       func() time.Time
	newID     func() string
	logger    *slog.Logger
	metrics   *metrics
	slots     chan struct{} // one is held by each request that is worked on
	bytes     atomic.Int64  // what their bodies may take, and what those become
	anyOrigin bool
	origins   map[string]bool
	entrances map[string]*entrance // by name
	paths     map[string]*entrance // by further route
	mapping   chan struct{}        // one is held by each payload that is being mapped
}

// Handler serves the Segment-compatible API described at the top of this package. It starts no goroutine and
// needs no closing: http.Server.Shutdown waits for the requests in flight. The server around it bounds how slowly
// a client may send (ReadTimeout). An error says what is wrong with cfg or deps.
func Handler(cfg Config, log Log, dead DeadLetters, deps Deps) (http.Handler, error) {
	if len(cfg.WriteKeys) == 0 { // not in Validate: a command that takes no events needs none
		return nil, errors.New("ingest: write_keys: none given; add one, such as {name: shop-web, key: <a long random string>}")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil || dead == nil || deps.Now == nil || deps.NewID == nil {
		return nil, errors.New("ingest: the handler needs a log, dead letters, a clock (Now) and an id maker (NewID)")
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	h := &handler{
		cfg: cfg, log: log, dead: dead, keys: newKeyring(cfg.WriteKeys), now: deps.Now, newID: deps.NewID,
		logger: deps.Logger, metrics: m, slots: make(chan struct{}, cfg.MaxInFlight), origins: map[string]bool{},
	}
	if h.logger == nil {
		h.logger = slog.New(slog.DiscardHandler)
	}
	for _, o := range cfg.CORSOrigins {
		h.anyOrigin = h.anyOrigin || o == "*"
		h.origins[o] = true
	}
	return h, h.openEntrances()
}

// route is a path below /v1/ with what it takes; kind is empty for a batch.
type route struct{ path, name, kind string }

func routes() [15]route {
	return [...]route{
		{"track", "track", "track"}, {"identify", "identify", "identify"}, {"page", "page", "page"},
		{"screen", "screen", "screen"}, {"group", "group", "group"}, {"alias", "alias", "alias"},
		{"batch", "batch", ""}, {"import", "batch", ""},
		{"t", "track", "track"}, {"i", "identify", "identify"}, {"p", "page", "page"}, {"s", "screen", "screen"},
		{"g", "group", "group"}, {"a", "alias", "alias"}, {"b", "batch", ""},
	}
}

// routeOf names the route of a path; kind is empty for a batch.
func routeOf(path string) (name, kind string, ok bool) {
	rest, under := strings.CutPrefix(strings.TrimSuffix(path, "/"), "/v1/")
	if !under {
		return "", "", false
	}
	for _, r := range routes() {
		if r.path == rest {
			return r.name, r.kind, true
		}
	}
	return "", "", false
}

// reply is what a request is told.
type reply struct {
	status  int
	problem *problem
	errors  []eventProblem
	parked  int
}

func refuse(status int, p *problem) reply { return reply{status: status, problem: p} }

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.now()
	h.allowOrigin(w, r)
	route, kind, ok := routeOf(r.URL.Path)
	entrance := h.entranceOf(r.URL.Path)
	if entrance != nil {
		route, ok = "in/"+entrance.name, true
	}
	var rep reply
	switch {
	case !ok:
		route = "other" // paths are the client's text: they don't become labels
		rep = refuse(http.StatusNotFound, wrong(codeNotFound, "", "no such route; there are %s", routeList))
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allowedMethods)
		if entrance != nil {
			allowWebhook(w, r)
		}
		rep = reply{status: http.StatusNoContent}
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", allowedMethods)
		rep = refuse(http.StatusMethodNotAllowed, wrong(codeMethod, "", "this route takes POST only"))
	case entrance != nil:
		rep = h.enter(r, entrance)
	default:
		rep = h.serve(r, route, kind)
	}
	h.send(w, rep)
	h.metrics.requests.WithLabelValues(route, strconv.Itoa(rep.status)).Inc()
	h.metrics.duration.WithLabelValues(route).Observe(h.now().Sub(start).Seconds())
}

// serve takes a POST on a known route.
func (h *handler) serve(r *http.Request, route, kind string) reply {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return refuse(http.StatusTooManyRequests, wrong(codeTooManyRequests, "",
			"more than %d requests are being worked on; try again after the pause in Retry-After", h.cfg.MaxInFlight))
	}
	// A key in the header is looked at before the body is read: a stranger costs nothing.
	key, given := basicKey(r.Header.Get("Authorization"))
	producer, known := h.keys.producer(key)
	if given && !known {
		return refuse(http.StatusUnauthorized, unknownKey())
	}
	limit := h.cfg.MaxEventBytes
	if kind == "" {
		limit = h.cfg.MaxBatchBytes
	}
	held := h.room()
	defer held.leave()
	if !held.take(bodyRoom(r, limit)) {
		return refuse(http.StatusTooManyRequests, h.crowded())
	}
	body, status, p := readBody(r, limit)
	if p != nil {
		return refuse(status, p)
	}
	accepted := h.now().Round(0).UTC()
	doc, err := document(body)
	if err != nil {
		return refuse(http.StatusBadRequest, wrong(codeInvalidJSON, "", "the body is not valid JSON: %v", err))
	}
	if doc[0] != '{' {
		return refuse(http.StatusBadRequest, wrong(codeNotObject, "", "the body is not a JSON object"))
	}
	var top call
	top.parse(doc)
	if !given {
		key := top.text(fieldWriteKey)
		if producer, known = h.keys.producer(key); !known {
			return refuse(http.StatusUnauthorized, unknownKey())
		}
	}
	strict, p := strictOf(r)
	if p != nil {
		return refuse(http.StatusBadRequest, p)
	}
	var (
		in   *intake
		each []eventProblem
	)
	if kind != "" {
		in, p = h.takeOne(&top, kind, accepted)
	} else {
		in, p, each = h.takeBatch(&top, held, accepted, strict)
	}
	if p != nil && p.Code == codeTooManyRequests {
		return refuse(http.StatusTooManyRequests, p)
	}
	if p != nil {
		h.metrics.count(kind, outcomeRefused, max(1, len(each)))
		h.logger.DebugContext(r.Context(), "refused", "route", route, "producer", producer, "code", p.Code, "field", p.Field)
		return reply{status: http.StatusBadRequest, problem: p, errors: each}
	}
	if trace := r.Header.Get("Traceparent"); event.IsTrace(trace) {
		for i := range in.records {
			in.records[i].Trace = trace
		}
	}
	return h.store(r.Context(), in, route, producer, h.cfg.AppendTimeout)
}

func (h *handler) crowded() *problem {
	return wrong(codeTooManyRequests, "", "the requests being worked on hold %d bytes; try again after the pause in Retry-After", h.cfg.MaxInFlightBytes)
}

func unknownKey() *problem {
	return wrong(codeInvalidWriteKey, "writeKey",
		`the write key is missing or unknown; send it as the user name of HTTP Basic, or as "writeKey" in the body`)
}

// send writes the reply.
func (h *handler) send(w http.ResponseWriter, rep reply) {
	if rep.status == http.StatusNoContent {
		w.WriteHeader(rep.status)
		return
	}
	head := w.Header()
	head.Set("Content-Type", "application/json; charset=utf-8")
	head.Set("X-Content-Type-Options", "nosniff")
	switch rep.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds := strconv.Itoa(int(h.cfg.RetryAfter / time.Second))
		head.Set("Retry-After", seconds)
		head.Set("X-RateLimit-Reset", seconds) // the one that analytics.js reads
	case http.StatusUnauthorized:
		// Not Basic: that would open a password box in the shopper's browser.
		head.Set("WWW-Authenticate", `WriteKey realm="attune"`)
	case http.StatusUnsupportedMediaType:
		head.Set("Accept-Encoding", "gzip, identity")
	}
	if rep.parked > 0 {
		head.Set(parkedHeader, strconv.Itoa(rep.parked))
	}
	body := []byte(`{"success":true}`)
	if rep.problem != nil {
		body = encode(rep)
	}
	w.WriteHeader(rep.status)
	_, _ = w.Write(body) // the client may be gone: nothing is left to do for it
}

func encode(rep reply) []byte {
	body, err := json.Marshal(struct {
		Success bool           `json:"success"`
		Error   *problem       `json:"error"`
		Errors  []eventProblem `json:"errors,omitempty"`
	}{false, rep.problem, rep.errors})
	if err != nil { // strings and ints only: can't happen
		return []byte(`{"success":false}`)
	}
	return body
}
