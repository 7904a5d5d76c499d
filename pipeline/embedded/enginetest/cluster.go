package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// nodeEnv tells a test binary that it is one node of a cluster: its value is a [node] in JSON.
const nodeEnv = "ATTUNE_TEST_NATS_NODE"

// clusterReadyWithin is how long a node may take to serve, also after it was killed.
const clusterReadyWithin = 30 * time.Second

// Cluster is a NATS cluster with JetStream on loopback. Each node is a process of its own, so that killing one is a
// real kill: nothing is handed over, nothing flushed. One goroutine uses it; it ends with the test.
type Cluster struct {
	t     testing.TB
	nodes []node
	run   []*exec.Cmd // nil: the node is down
	pipes []io.Closer // a node ends when its input is closed, so none outlives a test binary that dies
}

// node is how one server is started.
type node struct {
	Name, Dir     string
	Client, Route int      // ports
	Routes        []string // of all nodes
}

// MaybeNATSNode runs a node of a [Cluster] and exits, if this process was started as one. A package that uses
// NATSCluster calls it first thing in TestMain.
func MaybeNATSNode() {
	text := os.Getenv(nodeEnv)
	if text == "" {
		return
	}
	if err := serveNode(text); err != nil {
		fmt.Fprintln(os.Stderr, "enginetest: nats node:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveNode(text string) error {
	var n node
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return err
	}
	var routes []*url.URL
	for _, r := range n.Routes {
		u, err := url.Parse(r)
		if err != nil {
			return err
		}
		routes = append(routes, u)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: n.Name, Host: "127.0.0.1", Port: n.Client, MaxPayload: 8 << 20,
		JetStream: true, StoreDir: n.Dir, NoSigs: true, NoLog: true, Routes: routes,
		Cluster: server.ClusterOpts{Name: "attune", Host: "127.0.0.1", Port: n.Route},
	})
	if err != nil {
		return err
	}
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test binary is gone
	s.Shutdown()
	return nil
}

// NATSCluster starts a cluster of the given number of nodes and ends it with the test.
func NATSCluster(t testing.TB, size int) *Cluster {
	t.Helper()
	ports, err := freePorts(2 * size)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, run: make([]*exec.Cmd, size), pipes: make([]io.Closer, size)}
	dir := t.TempDir()
	var routes []string
	for i := range size {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[size+i]))
	}
	t.Cleanup(func() {
		for i := range c.run {
			c.Kill(i)
		}
	})
	for i := range size {
		name := fmt.Sprintf("node-%d", i)
		c.nodes = append(c.nodes, node{Name: name, Dir: filepath.Join(dir, name), Client: ports[i], Route: ports[size+i], Routes: routes})
		c.Start(i)
	}
	c.ready()
	return c
}

// URL lists all nodes, for nats.Connect.
func (c *Cluster) URL() string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", n.Client))
	}
	return strings.Join(all, ",")
}

// Connect opens a connection that finds another node when its own is gone. The caller closes it.
func (c *Cluster) Connect(opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, opts...)
	return nats.Connect(c.URL(), all...)
}

// Node is the index of the node with the given name, as a stream's information has it.
func (c *Cluster) Node(name string) int {
	for i, n := range c.nodes {
		if n.Name == name {
			return i
		}
	}
	c.t.Fatalf("no node is called %q", name)
	return -1
}

// Start starts a node that is down; what it had on its disk is there again. It does not wait until it serves.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	text, err := json.Marshal(c.nodes[i])
	if err != nil {
		c.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.run[i], c.pipes[i] = cmd, pipe
}

// Kill ends a node's process with SIGKILL. Killing one that is down does nothing.
func (c *Cluster) Kill(i int) {
	if c.run[i] == nil {
		return
	}
	_ = c.run[i].Process.Kill() // fails only when it is gone already
	_ = c.run[i].Wait()         // says that it was killed
	_ = c.pipes[i].Close()
	c.run[i] = nil
}

// ready waits until the cluster takes streams that have a copy on every node.
func (c *Cluster) ready() {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(clusterReadyWithin); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = c.try(); err == nil {
			return
		}
	}
	c.t.Fatalf("the cluster is not ready within %s: %v", clusterReadyWithin, err)
}

func (c *Cluster) try() error {
	conn, err := nats.Connect(c.URL())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := conn.JetStream(nats.MaxWait(2 * time.Second))
	if err != nil {
		return err
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "READY", Subjects: []string{"READY"}, Replicas: len(c.nodes)}); err != nil {
		return err
	}
	return js.DeleteStream("READY")
}

// freePorts are ports of loopback that nobody listens on at the moment.
func freePorts(count int) (ports []int, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
