package mailbox

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html
var pageHTML string

// page serves the mails: HTML for people, JSON for programs.
type page struct {
	store    *store
	template *template.Template
	policy   string // Content-Security-Policy of the page
	run      string // tells apart the versions of two runs
	handler  http.Handler
}

func newPage(s *store) (*page, error) {
	p := &page{store: s, run: strconv.FormatInt(time.Now().UnixNano(), 36)}
	var err error
	p.template, err = template.New("page").Funcs(template.FuncMap{
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"clock": func(t time.Time) string { return t.UTC().Format("15:04") + " UTC" },
		"long":  func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
		"bytes": func(n int) string {
			if n < 1000 {
				return fmt.Sprintf("%d bytes", n)
			}
			return fmt.Sprintf("%.1f kB", float64(n)/1000)
		},
	}).Parse(pageHTML)
	if err != nil {
		return nil, err
	}
	// The page's own style and script are allowed by their hashes, as they are rendered; nothing else runs.
	var empty bytes.Buffer
	if err := p.template.Execute(&empty, view{}); err != nil {
		return nil, err
	}
	style, err := hashOf(empty.String(), "style")
	if err != nil {
		return nil, err
	}
	script, err := hashOf(empty.String(), "script")
	if err != nil {
		return nil, err
	}
	p.policy = "default-src 'none'; style-src " + style + "; script-src " + script +
		"; connect-src 'self'; frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /{id}", p.mail)
	mux.HandleFunc("GET /{id}/html", p.html)
	mux.HandleFunc("GET /{id}/source", p.source)
	mux.HandleFunc("GET /api/mails", p.apiList)
	mux.HandleFunc("GET /api/mails/{id}", p.apiMail)
	mux.HandleFunc("DELETE /api/mails", p.apiClear)
	p.handler = http.NewCrossOriginProtection().Handler(mux) // another site's page can't delete
	return p, nil
}

// Handler serves the page and the API under /mails/, whether or not the caller strips that prefix:
//
//	GET    /mails/                     the page
//	GET    /mails/{id}                 the page with one mail open; ?view=html, text, headers or source
//	GET    /mails/{id}/html            the mail's HTML, in a sandbox
//	GET    /mails/{id}/source          the mail as it came, text/plain
//	GET    /mails/api/mails            {"mails": [...]}, newest first; ?to= part of the recipient, any case; ?since=
//	                                   RFC 3339 time, exclusive
//	GET    /mails/api/mails/{id}       one mail with html, text and headers
//	DELETE /mails/api/mails            removes all mails; 204
//
// Errors of the API are {"error": "..."} with the status that fits. It has no protection of its own: serve it on
// loopback.
func (m *Mailbox) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/mails/"); ok {
			stripped := r.Clone(r.Context())
			stripped.URL.Path, stripped.URL.RawPath = "/"+rest, ""
			r = stripped
		}
		m.page.handler.ServeHTTP(w, r)
	})
}

// view is what the template shows.
type view struct {
	Mails    []Summary
	Open     *Mail // nil: none
	Tab      string
	Source   string
	Repeated int  // Message-IDs that came more than once
	Missing  bool // the mail asked for isn't there
}

func (p *page) view() view {
	v := view{Mails: p.store.list(), Tab: "html"}
	seen := map[string]bool{}
	for _, m := range v.Mails {
		if m.Copies > 1 && !seen[m.MessageID] {
			seen[m.MessageID] = true
			v.Repeated++
		}
	}
	return v
}

func (p *page) index(w http.ResponseWriter, r *http.Request) {
	tag := fmt.Sprintf(`"%s-%d"`, p.run, p.store.state())
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	p.render(w, http.StatusOK, p.view())
}

func (p *page) mail(w http.ResponseWriter, r *http.Request) {
	v := p.view()
	m, err := p.store.get(r.PathValue("id"))
	if err != nil {
		v.Missing = true
		p.render(w, status(err), v)
		return
	}
	v.Open = &m
	if m.HTML == "" {
		v.Tab = "text"
	}
	switch tab := r.URL.Query().Get("view"); tab {
	case "html", "text", "headers":
		v.Tab = tab
	case "source":
		v.Tab = tab
		raw, err := p.store.source(m.ID)
		if err != nil {
			http.Error(w, err.Error(), status(err))
			return
		}
		v.Source = valid(raw)
	}
	p.render(w, http.StatusOK, v)
}

func (p *page) render(w http.ResponseWriter, code int, v view) {
	var out bytes.Buffer
	if err := p.template.Execute(&out, v); err != nil {
		http.Error(w, "mailbox: page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(code)
	_, _ = w.Write(out.Bytes())
}

// html serves a mail's HTML as a document of no origin: no script, no form, no navigation of the page around it.
// Links open in a new tab. Remote images load, as a mail program would load them.
func (p *page) html(w http.ResponseWriter, r *http.Request) {
	m, err := p.store.get(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), status(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "+
		"img-src http: https: data:; style-src 'unsafe-inline' http: https:; font-src http: https: data:; frame-ancestors 'self'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(withTarget(m.HTML)))
}

// withTarget makes links open in a new tab, without moving a document type from its place.
func withTarget(markup string) string {
	const base = `<base target="_blank">`
	lower := strings.ToLower(markup)
	var at int
	if i := strings.Index(lower, "<head>"); i >= 0 {
		at = i + len("<head>")
	} else if strings.HasPrefix(strings.TrimSpace(lower), "<!doctype") {
		at = strings.IndexByte(lower, '>') + 1
	} else {
		return "<!doctype html>" + base + markup
	}
	if len(lower) != len(markup) { // a letter whose lower case is longer: positions differ
		return base + markup
	}
	return markup[:at] + base + markup[at:]
}

func (p *page) source(w http.ResponseWriter, r *http.Request) {
	raw, err := p.store.source(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), status(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(raw)
}

func (p *page) apiList(w http.ResponseWriter, r *http.Request) {
	to := strings.ToLower(r.URL.Query().Get("to"))
	var since time.Time
	if s := r.URL.Query().Get("since"); s != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, s); err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("since is %q: want an RFC 3339 time such as 2026-01-02T15:04:05Z (write + as %%2B)", s)})
			return
		}
	}
	mails := []Summary{}
	for _, m := range p.store.list() {
		if m.Received.After(since) && strings.Contains(strings.ToLower(m.To), to) {
			mails = append(mails, m)
		}
	}
	answer(w, http.StatusOK, map[string]any{"mails": mails})
}

func (p *page) apiMail(w http.ResponseWriter, r *http.Request) {
	m, err := p.store.get(r.PathValue("id"))
	if err != nil {
		answer(w, status(err), map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, m)
}

func (p *page) apiClear(w http.ResponseWriter, _ *http.Request) {
	if err := p.store.clear(); err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func status(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// hashOf is the CSP source of the page's only inline element of that name.
func hashOf(document, element string) (string, error) {
	_, rest, ok := strings.Cut(document, "<"+element+">")
	content, _, end := strings.Cut(rest, "</"+element+">")
	if !ok || !end {
		return "", fmt.Errorf("page.html has no <%s>", element)
	}
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'", nil
}
