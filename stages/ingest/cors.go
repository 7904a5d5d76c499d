package ingest

import "net/http"

// allowOrigin lets a browser page of an allowed origin send and read the reply. No credentials are allowed: a write
// key is not a cookie.
func (h *handler) allowOrigin(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if len(h.cfg.CORSOrigins) == 0 || origin == "" {
		return
	}
	head := w.Header()
	switch {
	case h.anyOrigin:
		head.Set("Access-Control-Allow-Origin", "*")
	case h.origins[origin]:
		head.Set("Access-Control-Allow-Origin", origin)
		head.Add("Vary", "Origin")
	default:
		head.Add("Vary", "Origin")
		return
	}
	if r.Method != http.MethodOptions {
		head.Set("Access-Control-Expose-Headers", "Retry-After, X-RateLimit-Reset, "+parkedHeader)
		return
	}
	// A page may add headers of its own (analytics.js lets it): whatever it asks for is harmless here.
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked == "" {
		asked = "Authorization, Content-Type, Content-Encoding"
	}
	head.Set("Access-Control-Allow-Methods", allowedMethods)
	head.Set("Access-Control-Allow-Headers", asked)
	head.Set("Access-Control-Max-Age", "86400")
	head.Add("Vary", "Access-Control-Request-Headers")
}
