package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// API is who may ask about customers over HTTP.
type API struct {
	// Tokens are what callers show, as a bearer token. None (the default): nobody may ask.
	Tokens []Token `yaml:"tokens"`
}

// Token lets a program or a person ask.
type Token struct {
	// Name says whose token it is: support.
	Name string `yaml:"name"`
	// Token is what the caller sends: printable ASCII without space; a long random string.
	Token string `yaml:"token"`
	// Scopes are what it may ask for: profiles, and personal for the personal fields of the vault as well.
	Scopes []string `yaml:"scopes"`
}

// The scopes of a token.
const (
	ScopeProfiles = "profiles" // GET /v1/profiles/{id}
	ScopePersonal = "personal" // its personal fields, where they are asked for
)

// String leaves the token out, for logs.
func (t Token) String() string { return t.Name + ":***" }

// May tells whether the token has a scope.
func (t Token) May(scope string) bool { return slices.Contains(t.Scopes, scope) }

// Validate reports what is wrong with the tokens. Their own text stays out of errors, which end in logs.
func (a API) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	names, tokens := map[string]int{}, map[string]int{}
	for i, t := range a.Tokens {
		field := fmt.Sprintf("tokens[%d]", i)
		if strings.TrimSpace(t.Name) == "" {
			bad("%s.name: empty; name whoever uses the token", field)
		} else if j, taken := names[t.Name]; taken {
			bad("%s.name: %q is also the name of tokens[%d]; give each its own", field, t.Name, j)
		}
		names[t.Name] = i
		if t.Token == "" {
			bad("%s.token: empty; give a long random string", field)
		} else if strings.ContainsFunc(t.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			bad("%s.token: has a character that a header can't carry; use printable ASCII without space", field)
		} else if j, taken := tokens[t.Token]; taken {
			bad("%s.token: the same as that of tokens[%d]; give each its own", field, j)
		}
		tokens[t.Token] = i
		for _, scope := range t.Scopes {
			if scope != ScopeProfiles && scope != ScopePersonal {
				bad("%s.scopes: %q is no scope; there are %s and %s", field, scope, ScopeProfiles, ScopePersonal)
			}
		}
		if !t.May(ScopeProfiles) {
			bad("%s.scopes: without %s the token opens nothing", field, ScopeProfiles)
		}
	}
	return errors.Join(errs...)
}
