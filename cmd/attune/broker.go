package main

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"attune/pipeline/embedded"
)

const (
	// NATS servers before this version could lose scheduled messages, which are the wake-ups.
	oldestBrokerMajor, oldestBrokerMinor = 2, 14
	// leastPayload is NATS's own default. A commit is cut at half of it, but what its last event leads to comes on top.
	leastPayload = 1 << 20
)

// checkBroker says what is wrong with a NATS server of one's own, given what it says of itself. A version that isn't a
// number is a build of one's own, and taken for new enough.
func checkBroker(version string, payload int64) error {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	if err == nil && (major < oldestBrokerMajor || major == oldestBrokerMajor && minor < oldestBrokerMinor) {
		return fmt.Errorf("it runs nats-server %s, which can lose scheduled messages: upgrade it to %d.%d or newer", version, oldestBrokerMajor, oldestBrokerMinor)
	}
	if payload < leastPayload {
		return fmt.Errorf("its max_payload is %d bytes, which a commit may not fit into: set it to %d (8MB), at least to %d", payload, embedded.DefaultMaxPayload, leastPayload)
	}
	return nil
}

// warnOfBroker says what may get in the way later.
func warnOfBroker(conn *nats.Conn, log *slog.Logger) {
	if payload := conn.MaxPayload(); payload < embedded.DefaultMaxPayload {
		log.Warn("NATS has a small max_payload: an event that leads to very much stops its partition", "bytes", payload, "tested_with", embedded.DefaultMaxPayload)
	}
}
