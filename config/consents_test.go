package config_test

import (
	"fmt"
	"testing"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
)

// A consent that makes room for another one is asked again: the customer has not said anything about it any more.
func TestAConsentThatMakesRoomIsAskedAgain(t *testing.T) {
	chain, err := workspaceOf(t, map[string]string{"reachable": `consent("sms")`}).Chain(1, enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	p := profile.New("p1")
	say := func(position uint64, granted map[string]bool) {
		t.Helper()
		at := event.Instant(1_767_225_600_000 + position)
		e := event.Event{Type: event.Identify, Profile: "p1", Occurred: at, Accepted: at, Consent: granted}
		if _, err := chain.Apply(p, &e, position); err != nil {
			t.Fatal(err)
		}
	}
	many := map[string]bool{"sms": true}
	for i := range profile.MaxNames - 1 {
		many[fmt.Sprintf("a%03d", i)] = true
	}
	say(1, many)
	if !p.In("reachable") || len(p.Consents) != profile.MaxNames {
		t.Fatalf("%d consents, reachable %t", len(p.Consents), p.In("reachable"))
	}
	say(2, map[string]bool{"b": true})
	if _, ok := p.Consents["sms"]; ok {
		t.Fatal("nothing made room: the test shows nothing")
	}
	if p.In("reachable") {
		t.Error("who has no consent any more is still in")
	}
}
