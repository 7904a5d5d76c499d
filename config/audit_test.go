package config

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestUnused(t *testing.T) {
	ws, err := CheckWorkspace(fstest.MapFS{
		"workspace.yaml":        {Data: []byte("name: shop\nenrich: {loyalty: {tiers: [{name: gold, spent: 100}]}}\n")},
		"segments/used.yaml":    {Data: []byte("id: used\nwhen: in_segment(\"through\")\n")},
		"segments/through.yaml": {Data: []byte("id: through\nwhen: trait(\"plan\") == \"pro\" || max(\"Order Completed\", \"tax\", {\"shop\":\"x\"}) > 5\n")},
		"segments/shown.yaml":   {Data: []byte("id: shown\nwhen: consent(\"email\")\n")},
		"segments/alone.yaml":   {Data: []byte("id: alone\nwhen: in_segment(\"used\")\n")},
		"segments/pair.yaml":    {Data: []byte("id: pair\nwhen: in_segment(\"alone\")\n")},
		"campaigns/c.yaml": {Data: []byte("id: c\nkey: cart\non: {event: Product Added, where: 'event.properties.size == \"L\"'}\naudience: in_segment(\"used\")\n" +
			"send: {destination: mail, from: a@shop.example, subject: \"{{ event.properties.colour }}\", template: cart}\n")},
		"templates/cart.html": {Data: []byte("{% if 'shown' in customer.segments %}hello{% endif %}")},
		"templates/old.html":  {Data: []byte("bye {{ event.properties.weight }}")},
	}, DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ws.Unused("plan", "size", "colour", "weight", "tax", "shop", "cart")
	if err != nil {
		t.Fatal(err)
	}
	want := []Unused{
		{UnusedField, "customer.tier", "no rule and no template reads it"},
		{UnusedField, "weight", "no rule and no template reads it"},
		{UnusedSegment, "alone", "no campaign asks for it"},
		{UnusedSegment, "pair", "no campaign asks for it"},
		{UnusedTemplate, "old", "no campaign sends it"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
