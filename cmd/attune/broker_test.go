package main

import (
	"strings"
	"testing"

	"attune/config"
	"attune/pipeline/embedded"
)

func TestCheckBroker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		payload int64
		says    string // empty: it fits
	}{
		{"2.15.2", 8 << 20, ""},
		{"2.14.0", 1 << 20, ""},
		{"2.14.0-RC.1", 8 << 20, ""},
		{"3.0.0", 8 << 20, ""},
		{"10.2.1", 8 << 20, ""},
		{"built-here", 8 << 20, ""},
		{"", 8 << 20, ""},
		{"2.13.9", 8 << 20, "nats-server 2.13.9, which can lose scheduled messages: upgrade it to 2.14 or newer"},
		{"1.4.1", 8 << 20, "upgrade it to 2.14 or newer"},
		{"2.15.2", 1<<20 - 1, "max_payload is 1048575 bytes, which a commit may not fit into: set it to 8388608"},
	} {
		switch err := checkBroker(c.version, c.payload); {
		case c.says == "" && err != nil:
			t.Errorf("%s, %d: %v", c.version, c.payload, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s, %d: %v; want %q", c.version, c.payload, err, c.says)
		}
	}
}

func TestConnectRefusesABrokerThatCommitsDoNotFit(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), MaxPayload: 512 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	conn, _, err := connect(config.NATS{URL: server.URL()})
	if err == nil {
		conn.Close()
		t.Fatal("it was taken")
	}
	if !strings.Contains(err.Error(), server.URL()) || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("%v; want the server and its max_payload", err)
	}
}
