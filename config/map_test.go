package config

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Segments that ask for each other are told at one of them.
func TestSegmentsInACircle(t *testing.T) {
	_, err := CheckWorkspace(fstest.MapFS{
		"workspace.yaml":  {Data: []byte("name: circle\n")},
		"segments/a.yaml": {Data: []byte("id: a\nwhen: in_segment(\"b\") && consent(\"email\")\n")},
		"segments/b.yaml": {Data: []byte("id: b\nwhen: '!in_segment(\"c\")'\n")},
		"segments/c.yaml": {Data: []byte("id: c\nwhen: in_segment(\"a\")\n")},
	}, DefaultInstallation())
	if err == nil || !strings.Contains(err.Error(), "segments/a.yaml:2:") || !strings.Contains(err.Error(), "a → b → c → a ask for each other") {
		t.Errorf("got %v", err)
	}
}

// Which field feeds which rule, campaign and block.
func TestMap(t *testing.T) {
	ws, err := CheckWorkspace(fstest.MapFS{
		"workspace.yaml":    {Data: []byte("name: map\n")},
		"segments/fan.yaml": {Data: []byte("id: fan\nwhen: did(\"Liked\", {\"color\":\"red\"}, \"1h\") && trait(\"plan\") == \"pro\" && affinity(\"category\", \"hats\") > 0.5\n")},
		"segments/vip.yaml": {Data: []byte("id: vip\nwhen: in_segment(\"fan\") && customer.clv > 20\n")},
		"campaigns/hello.yaml": {Data: []byte("id: hello\non: {segment_entered: fan}\naudience: consent(\"email\")\n" +
			"send: {destination: mail, from: a@shop.example, subject: 'Hi {{ customer.first_name }}', template: t}\n")},
		"templates/t.html": {Data: []byte("{% if customer.clv > 50 %}\n{{ event.properties.cart.name }}{% endif %}\n{{ customer.traits.plan }}")},
		"templates/t.txt":  {Data: []byte("{% for s in customer.segments %}{{ s }}{% endfor %}{{ key }}")},
	}, DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := ws.Map(&got); err != nil {
		t.Fatal(err)
	}
	want := `affinity category    segment fan
consent email        campaign hello (audience)
customer.clv         block t.html:1, segment vip
customer.first_name  campaign hello (send.subject)
customer.segments    block t.txt:1
event Liked          segment fan
key                  block t.txt:1
property cart.name   block t.html:2
property color       segment fan
segment fan          campaign hello (on), segment vip
template t           campaign hello (send)
trait plan           block t.html:3, segment fan
`
	if got.String() != want {
		t.Errorf("the map is\n%s\nnot\n%s", &got, want)
	}
}
