package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded"
)

func startNATS(t *testing.T, c embedded.NATSConfig) *embedded.NATS {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// storeMessage makes sure of the stream KEPT and appends one message, acknowledged.
func storeMessage(ctx context.Context, n *embedded.NATS, text string) error {
	conn, err := n.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}}); err != nil {
		return err
	}
	_, err = js.Publish(ctx, "kept", []byte(text))
	return err
}

// storedMessages reads KEPT over a TCP connection, as another process would.
func storedMessages(t *testing.T, natsURL string) []string {
	t.Helper()
	conn, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(msg.Data))
	}
	return all
}

func TestNATSRestartKeepsMessagesAndAddress(t *testing.T) {
	c := embedded.NATSConfig{Dir: t.TempDir(), SyncAlways: true}
	var first string
	for _, text := range []string{"one", "two"} {
		n := startNATS(t, c)
		if first == "" {
			first = n.URL()
		}
		if n.URL() != first {
			t.Errorf("the address changed from %s to %s", first, n.URL())
		}
		if err := storeMessage(t.Context(), n, text); err != nil {
			t.Fatal(err)
		}
		n.Close()
		n.Close()
	}
	got := storedMessages(t, startNATS(t, c).URL())
	if strings.Join(got, ",") != "one,two" {
		t.Errorf("stored messages = %q", got)
	}
}

func TestNATSListensOnLoopbackOnly(t *testing.T) {
	n := startNATS(t, embedded.NATSConfig{Dir: t.TempDir()})
	u, err := url.Parse(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	if u.Hostname() != "127.0.0.1" {
		t.Errorf("URL = %s", n.URL())
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.IsLinkLocalUnicast() {
			continue
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.IP.String(), u.Port()), 2*time.Second)
		if err == nil {
			conn.Close()
			t.Errorf("it listens on %s", ip.IP)
		}
	}
}

func TestNATSPortIsTakenWhenAnotherHasIt(t *testing.T) {
	dir := t.TempDir()
	n := startNATS(t, embedded.NATSConfig{Dir: dir})
	n.Close()
	u, err := url.Parse(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := net.Listen("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if again := startNATS(t, embedded.NATSConfig{Dir: dir}); again.URL() == n.URL() {
		t.Errorf("it took the stranger's port %s", u.Host)
	}

	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	_, err = embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), Port: port})
	if err == nil || !strings.Contains(err.Error(), "nats port "+u.Port()) || !strings.Contains(err.Error(), "port 0") {
		t.Errorf("a fixed port that is taken: %v", err)
	}
}

func TestNATSMaxPayload(t *testing.T) {
	for _, c := range []struct {
		name string
		max  int32
		want int64
	}{{"default", 0, 8 << 20}, {"set", 1 << 16, 1 << 16}} {
		t.Run(c.name, func(t *testing.T) {
			n := startNATS(t, embedded.NATSConfig{Dir: t.TempDir(), MaxPayload: c.max})
			conn, err := n.Connect()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if conn.MaxPayload() != c.want {
				t.Errorf("max payload = %d, want %d", conn.MaxPayload(), c.want)
			}
			if err := conn.Publish("x", bytes.Repeat([]byte("x"), int(c.want))); err != nil {
				t.Errorf("publish of the largest: %v", err)
			}
			if err := conn.Publish("x", bytes.Repeat([]byte("x"), int(c.want)+1)); !errors.Is(err, nats.ErrMaxPayload) {
				t.Errorf("publish of one byte more: %v", err)
			}
			if err := conn.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNATSRefusesWhatItCannotUse(t *testing.T) {
	for name, c := range map[string]embedded.NATSConfig{
		"no data folder":    {},
		"sync interval -1s": {Dir: t.TempDir(), SyncInterval: -time.Second},
		"max payload -1":    {Dir: t.TempDir(), MaxPayload: -1},
		"nats port 70000":   {Dir: t.TempDir(), Port: 70000},
	} {
		if n, err := embedded.StartNATS(t.Context(), c); err == nil {
			n.Close()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
