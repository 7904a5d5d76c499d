package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/ingest/mapping"
)

// How long an entrance takes at most once it has the body: Shopify gives five seconds in all, and deletes the
// subscription of whoever is late too often.
const (
	turnTime    = 500 * time.Millisecond // until it is mapped
	mappingTime = time.Second
	storingTime = 3 * time.Second
)

// routeEntrance is where entrances are.
const routeEntrance = "/v1/in/"

// entranceOf finds the entrance of a path.
func (h *handler) entranceOf(path string) *entrance {
	path = strings.TrimSuffix(path, "/")
	if name, under := strings.CutPrefix(path, routeEntrance); under {
		return h.entrances[name]
	}
	return h.paths[path]
}

// openEntrances reads the mappings of all entrances.
func (h *handler) openEntrances() error {
	h.entrances, h.paths = map[string]*entrance{}, map[string]*entrance{}
	h.mapping = make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, c := range h.cfg.Entrances {
		e, err := c.open()
		if err != nil {
			return err
		}
		h.entrances[e.name] = e
		if c.Path != "" {
			h.paths[c.Path] = e
		}
	}
	return nil
}

// enter takes a POST at an entrance. Whoever is known is answered 200 whatever the payload is, since a producer that
// is told 400 would only send it again: what can't be used is parked first.
func (h *handler) enter(r *http.Request, e *entrance) reply {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return refuse(http.StatusTooManyRequests, wrong(codeTooManyRequests, "",
			"more than %d requests are being worked on; try again after the pause in Retry-After", h.cfg.MaxInFlight))
	}
	auth, query := e.mapping.Authentication(), r.URL.Query()
	if !auth.NeedsBody() && !auth.Check(r.Header, query, nil, e.secrets, h.now()) {
		return refuse(http.StatusUnauthorized, stranger())
	}
	limit := min(h.cfg.MaxBatchBytes, mapping.MaxParked)
	held := h.room()
	defer held.leave()
	if !held.take(bodyRoom(r, limit)) {
		return refuse(http.StatusTooManyRequests, h.crowded())
	}
	body, status, p := readRaw(r, limit)
	if p != nil {
		return refuse(status, p)
	}
	accepted := h.now().Round(0).UTC()
	if auth.NeedsBody() && !auth.Check(r.Header, query, body, e.secrets, accepted) {
		return refuse(http.StatusUnauthorized, stranger())
	}
	request := e.mapping.Request(h.newID(), r.Header, query, body)
	result, ok := h.apply(r.Context(), e, request)
	if !ok {
		return refuse(http.StatusTooManyRequests, wrong(codeTooManyRequests, "",
			"other payloads are being mapped; try again after the pause in Retry-After"))
	}
	if r.Context().Err() != nil { // the sender has gone before its payload was taken: it will send again
		return refuse(http.StatusServiceUnavailable, wrong(codeUnavailable, "", "the request was cancelled"))
	}
	in, problems := records(result, accepted)
	if !held.take(in.size()) {
		return refuse(http.StatusTooManyRequests, h.crowded())
	}
	if len(problems) > 0 {
		payload, err := request.Park(accepted)
		if err != nil {
			return refuse(http.StatusBadRequest, wrong(codeBodyUnreadable, "", "the payload can't be kept"))
		}
		in.parked = append(in.parked, parked{letter: pipeline.DeadLetter{
			Entrance: e.name, Reason: problems[0].Reason, Error: told(problems), Payload: payload,
		}})
	}
	if trace := r.Header.Get("Traceparent"); event.IsTrace(trace) {
		for i := range in.records {
			in.records[i].Trace = trace
		}
	}
	rep := h.store(r.Context(), in, "in/"+e.name, e.name, min(h.cfg.AppendTimeout, storingTime))
	if rep.parked > 0 {
		rep.parked = len(problems)
	}
	h.logger.DebugContext(r.Context(), "entered", "entrance", e.name, "calls", len(in.records), "ignored", result.Ignored, "problems", len(problems), "status", rep.status)
	return rep
}

// apply maps a payload when it is its turn: what a mapping needs of memory is needed a few times only, and the
// processors are busy with these. What it waits is not taken from its time: a good payload would be parked as too slow
// whenever there are many. False: its turn did not come.
func (h *handler) apply(ctx context.Context, e *entrance, r mapping.Request) (mapping.Result, bool) {
	turn, done := context.WithTimeout(ctx, turnTime)
	defer done()
	select {
	case h.mapping <- struct{}{}:
	case <-turn.Done():
		return mapping.Result{}, false
	}
	defer func() { <-h.mapping }()
	ctx, cancel := context.WithTimeout(ctx, mappingTime)
	defer cancel()
	return e.mapping.Map(ctx, r, h.cfg.limits()), true
}

func stranger() *problem {
	return wrong(codeNotAuthenticated, "", "the token or signature is missing or wrong; the entrance's mapping says what it must be")
}

// allowWebhook answers the question of CloudEvents' webhook specification whether deliveries are welcome here; each
// has to authenticate all the same.
func allowWebhook(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
		w.Header().Set("WebHook-Allowed-Origin", origin)
		if rate, err := strconv.Atoi(r.Header.Get("WebHook-Request-Rate")); err == nil && rate > 0 {
			w.Header().Set("WebHook-Allowed-Rate", strconv.Itoa(rate))
		}
	}
}

// Again maps the payload of a dead letter anew, by the entrance's mapping as it is now. The records keep the moment
// at which the payload came; those that were stored then have the same ids. reason is empty when all of it could be
// used; else problems says what could not.
func (c Config) Again(ctx context.Context, name string, payload []byte) (again []event.Raw, reason string, problems, err error) {
	for _, e := range c.Entrances {
		if e.Name != name {
			continue
		}
		m, err := e.openMapping()
		if err != nil {
			return nil, "", nil, err
		}
		request, received, err := mapping.Unpark(payload)
		if err != nil {
			return nil, "", nil, err
		}
		in, wrong := records(m.Map(ctx, request, c.limits()), received)
		if len(wrong) > 0 {
			return in.records, wrong[0].Reason, errors.New(told(wrong)), nil
		}
		return in.records, "", nil, nil
	}
	return nil, "", nil, fmt.Errorf("there is no entrance %q in the configuration; give that of the process that takes events", name)
}
