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
	}, nil)
	if err == nil || !strings.Contains(err.Error(), "segments/a.yaml:2:") || !strings.Contains(err.Error(), "a → b → c → a ask for each other") {
		t.Errorf("got %v", err)
	}
}
