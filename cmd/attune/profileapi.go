package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"attune/config"
	"attune/pipeline/event"
)

// profileAPI answers GET /v1/profiles/{id}. The id is a profile's, or user:ID or anonymous:ID; ?personal=true adds the
// personal fields, for tokens that have that scope.
type profileAPI struct {
	config config.API
	sums   [][sha256.Size]byte
	open   func(ctx context.Context) (*profileReader, error)
	log    *slog.Logger
}

func newProfileAPI(c config.API, open func(context.Context) (*profileReader, error), log *slog.Logger) *profileAPI {
	a := &profileAPI{config: c, open: open, log: log}
	for _, t := range c.Tokens {
		a.sums = append(a.sums, sha256.Sum256([]byte(t.Token)))
	}
	return a
}

// profileTimeout bounds one answer.
const profileTimeout = 10 * time.Second

// refusal is why a question isn't answered: what is wrong and what to do about it.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

// ServeHTTP is the handler.
func (a *profileAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), profileTimeout)
	defer cancel()
	w.Header().Set("Cache-Control", "no-store") // it is about a person
	status, answer := a.answer(ctx, r)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="attune"`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		a.log.Debug("answer a question about a profile", "error", err) // the caller has gone
	}
}

func (a *profileAPI) answer(ctx context.Context, r *http.Request) (status int, answer any) {
	token, why := a.token(r)
	if why != nil {
		return http.StatusUnauthorized, why
	}
	if !token.May(config.ScopeProfiles) {
		return http.StatusForbidden, refusal{Code: "scope_missing", Message: "this token may not ask about profiles; give it the scope profiles in api.tokens"}
	}
	personal := false
	if text := r.URL.Query().Get("personal"); text != "" {
		var err error
		if personal, err = strconv.ParseBool(text); err != nil {
			return http.StatusBadRequest, refusal{"invalid_parameter", fmt.Sprintf("personal is %q; want true or false", text), "personal"}
		}
	}
	if personal && !token.May(config.ScopePersonal) {
		return http.StatusForbidden, refusal{"scope_missing", "this token may not see personal fields; ask without personal=true, or give it the scope personal in api.tokens", "personal"}
	}
	v, err := a.find(ctx, r.PathValue("id"), personal)
	switch {
	case errors.Is(err, errNoProfile):
		return http.StatusNotFound, refusal{"not_found", err.Error(), "id"}
	case err != nil: // what is wrong inside is for the log
		a.log.Warn("read a profile", "token", token.Name, "error", err)
		return http.StatusServiceUnavailable, refusal{Code: "unavailable", Message: "the profile can't be read at the moment; try again in a second"}
	}
	return http.StatusOK, v
}

func (a *profileAPI) find(ctx context.Context, asked string, personal bool) (*profileView, error) {
	reader, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	id, err := reader.resolve(ctx, asked)
	if err != nil {
		return nil, err
	}
	f, err := reader.read(ctx, id)
	if err != nil {
		return nil, err
	}
	v := view(f, event.At(time.Now()))
	if personal {
		entry, err := reader.personal(ctx, f.ID)
		if err != nil {
			return nil, err
		}
		v.Personal = fields(entry)
	}
	return &v, nil
}

// token finds whose the caller's token is. It compares digests, all of them, in constant time.
func (a *profileAPI) token(r *http.Request) (config.Token, *refusal) {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given = strings.TrimSpace(given)
	switch {
	case len(a.config.Tokens) == 0:
		return config.Token{}, &refusal{Code: "no_token_configured", Message: "nobody may ask about profiles yet: write api.tokens in attune.yaml"}
	case !strings.EqualFold(scheme, "Bearer") || given == "":
		return config.Token{}, &refusal{Code: "token_missing", Message: "send the header Authorization: Bearer TOKEN, with a token of api.tokens", Field: "Authorization"}
	}
	sum, which := sha256.Sum256([]byte(given)), -1
	for i := range a.sums {
		which = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], a.sums[i][:]), i, which)
	}
	if which < 0 {
		return config.Token{}, &refusal{Code: "token_unknown", Message: "no token of api.tokens is this one; write keys, which producers have, open nothing here", Field: "Authorization"}
	}
	return a.config.Tokens[which], nil
}
