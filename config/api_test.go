package config_test

import (
	"strings"
	"testing"

	"attune/config"
)

func TestTokensAreChecked(t *testing.T) {
	good := config.Token{Name: "a", Token: "secret-1", Scopes: []string{config.ScopeProfiles}}
	if err := (config.API{Tokens: []config.Token{good}}).Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*config.Token){
		"tokens[1].name: empty":                          func(k *config.Token) { k.Name = " " },
		`tokens[1].name: "a" is also the name`:           func(k *config.Token) { k.Name = "a" },
		"tokens[1].token: empty":                         func(k *config.Token) { k.Token = "" },
		"tokens[1].token: has a character":               func(k *config.Token) { k.Token = "two words" },
		"tokens[1].token: the same as that":              func(k *config.Token) { k.Token = good.Token },
		`tokens[1].scopes: "all" is no scope; there are`: func(k *config.Token) { k.Scopes = []string{"profiles", "all"} },
		"tokens[1].scopes: without profiles":             func(k *config.Token) { k.Scopes = []string{config.ScopePersonal} },
	} {
		other := config.Token{Name: "b", Token: "secret-2", Scopes: []string{config.ScopeProfiles}}
		change(&other)
		err := (config.API{Tokens: []config.Token{good, other}}).Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error holds a token: %v", err)
		}
	}
	if s := good.String(); strings.Contains(s, "secret") {
		t.Errorf("a log line would hold the token: %s", s)
	}
}
