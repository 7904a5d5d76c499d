package spelling_test

import (
	"strings"
	"testing"

	"attune/pipeline/spelling"
)

func TestNearest(t *testing.T) {
	known := []string{"audience", "unless", "wait", "when", "id", "größe"}
	for written, want := range map[string]string{
		"audiance": "audience", "Unless": "unless", "wiat": "wait", "whne": "when", "unles": "unless", "grösse": "größe", "groesse": "",
		"something": "", "xy": "", "ix": "id", "": "", "wain": "wait", strings.Repeat("wait", 20): "",
	} {
		if got := spelling.Nearest(written, known); got != want {
			t.Errorf("%q: got %q, want %q", written, got, want)
		}
	}
	if got := spelling.Nearest("wait", nil); got != "" {
		t.Errorf("of no words: %q", got)
	}
	if got := spelling.Nearest("wat", []string{"war", "wait"}); got != "war" {
		t.Errorf("of two that are as near: %q, want the first", got)
	}
}
