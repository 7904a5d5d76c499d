//go:build unix

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// withoutFences has the processes of TestChaos reach the broker by a line on which no compare-and-set gets through.
const withoutFences = "CHAOS_WITHOUT_FENCES"

// A chaos run that can't fail shows nothing: without the fences that stop former owners it must find what they did.
//
//	go test ./cmd/attune -run TestMutatedChaos -chaos 2m
func TestMutatedChaos(t *testing.T) {
	if *chaosFor <= 0 {
		t.Skip("it takes minutes: go test ./cmd/attune -run TestMutatedChaos -chaos 2m, or task chaos:mutated")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), self, "-test.run=^TestChaos$", "-test.v", "-chaos="+chaosFor.String())
	run.Env = append(os.Environ(), withoutFences+"=1")
	said, err := run.CombinedOutput()
	t.Logf("%s", said)
	if err == nil {
		t.Fatal("nobody missed the fences")
	}
	if !regexp.MustCompile(`are wrong:|want 0 \(<nil>\)|was sent [0-9]+ times|has not moved`).Match(said) {
		t.Error("it failed for another reason than a wrong result")
	}
}

// unfenced is the address of a line to the broker that spoils the header by which a message is stored only if its subject
// has not changed.
func unfenced(t *testing.T, broker string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lines sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); lines.Wait() }) // after the processes, whose connections end with them
	lines.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", broker)
			if err != nil {
				_ = near.Close()
				continue
			}
			lines.Go(func() { carry(far, near, spoiled()) })
			lines.Go(func() { carry(near, far, func(data []byte) []byte { return data }) })
		}
	})
	return listener.Addr().String()
}

// carry copies until either end closes, and then closes both.
func carry(to, from net.Conn, change func([]byte) []byte) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if _, failed := to.Write(change(buffer[:n])); err != nil || failed != nil {
			return
		}
	}
}

// spoiled changes the header's name in a stream of bytes, wherever that is cut. The sizes that the protocol states stay.
func spoiled() func([]byte) []byte {
	name := []byte("Nats-Expected-Last-Subject-Sequence")
	spoilt := slices.Concat([]byte("None"), name[4:])
	var held []byte // the end of what came, if the name may begin there
	return func(data []byte) []byte {
		data = slices.Concat(held, data)
		data = bytes.ReplaceAll(data, name, spoilt)
		keep := min(len(name)-1, len(data))
		for keep > 0 && !bytes.HasPrefix(name, data[len(data)-keep:]) {
			keep--
		}
		held = data[len(data)-keep:]
		return data[:len(data)-keep]
	}
}

func TestSpoiled(t *testing.T) {
	t.Parallel()
	const text = "HPUB a 60 62\r\nNATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 3\r\nNats-ExpNats-Expected-Last-Subject-Sequence: 4\r\n\r\n"
	want := strings.ReplaceAll(text, "Nats-Expected-Last-Subject-Sequence", "None-Expected-Last-Subject-Sequence")
	for size := 1; size <= len(text); size++ {
		var got []byte
		change := spoiled()
		for part := range slices.Chunk([]byte(text), size) {
			got = append(got, change(part)...)
		}
		if string(got) != want {
			t.Errorf("in parts of %d bytes: %q", size, got)
		}
	}
}
