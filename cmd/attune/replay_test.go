package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
)

// What a dev did, over a kill and a restart, is what its log gives again, from the start and from a snapshot.
func TestReplayVerifiesADev(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	d := startDev(t, data, "--max-wait", "1s", "--rate", "60", "--seed", "11")
	d.eventually(time.Minute, "a mail", func() bool { return len(d.mails()) > 0 })
	said := output(t, "replay", "--verify", "--data", data, "--snapshot", snapshot)
	if strings.Count(said, "equal") != 8 || strings.Contains(said, "differ") {
		t.Errorf("replay says\n%s", said)
	}
	d.kill()
	d = startDev(t, data, "--max-wait", "1s", "--rate", "60", "--seed", "12")
	events := d.sql("SELECT count() FROM events")
	d.eventually(20*time.Second, "more events", func() bool { return d.sql("SELECT count() FROM events") != events })
	var facts [2]uint64
	for i, more := range [][]string{{}, {"--from", snapshot}} {
		said := output(t, append([]string{"replay", "--verify", "--json", "--partition", "3", "--data", data}, more...)...)
		var report replay.Report
		if err := json.Unmarshal([]byte(said), &report); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		if report.Partition != 3 || !report.Verified || !report.Equal() || report.Missing+report.Unknown != 0 || report.Hash != report.Recorded {
			t.Errorf("%v: %s", more, said)
		}
		facts[i] = report.Facts
	}
	if facts[1] >= facts[0] {
		t.Errorf("from the snapshot %d facts, from the start %d", facts[1], facts[0])
	}
	if said := output(t, "replay", "--data", data, "--partition", "0"); !strings.Contains(said, "--verify") {
		t.Errorf("without --verify: %s", said)
	}
	if said := failure(t, "replay", "--data", data, "--partition", "8"); !strings.Contains(said, "0 to 7") {
		t.Errorf("an unknown partition: %s", said)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("no snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := failure(t, "replay", "--data", data, "--from", broken); !strings.Contains(said, broken) || !strings.Contains(said, "--snapshot") {
		t.Errorf("a foreign file: %s", said)
	}
	d.interrupt() // it leaves nothing without its trail
	d = startDev(t, data, "--no-shop")
	position := d.spoilTrail(3)
	for _, arguments := range [][]string{nil, {"--json"}} {
		said := failure(t, append([]string{"replay", "--verify", "--data", data, "--partition", "3"}, arguments...)...)
		for _, part := range []string{strconv.FormatUint(position, 10), "profile", "event", "replayed"} {
			if !strings.Contains(said, part) {
				t.Errorf("a difference at position %d is told without %q:\n%s", position, part, said)
			}
		}
	}
	d.interrupt()
}

// spoilTrail changes the last checksum in the first trail of a partition, and returns its position.
func (d *dev) spoilTrail(partition int) (position uint64) {
	d.t.Helper()
	conn, err := nats.Connect(d.NATSURL)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		d.t.Fatal(err)
	}
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		d.t.Fatal(err)
	}
	stream, err := js.Stream(d.t.Context(), topology.Trails)
	if err != nil {
		d.t.Fatal(err)
	}
	subject := topology.Subject(topology.Trails, partition)
	m, err := stream.GetMsg(d.t.Context(), 1, jetstream.WithGetMsgSubject(subject))
	if err != nil {
		d.t.Fatal(err)
	}
	trail, err := codec.DecodeTrail(m.Data)
	if err != nil {
		d.t.Fatal(err)
	}
	for trace, err := range trail.All() {
		if err != nil {
			d.t.Fatal(err)
		}
		position = trace.Position
	}
	trail.Traces[len(trail.Traces)-1] ^= 1
	data, err := codec.EncodeTrail(trail)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := stream.Purge(d.t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := js.Publish(d.t.Context(), subject, data); err != nil {
		d.t.Fatal(err)
	}
	return position
}
