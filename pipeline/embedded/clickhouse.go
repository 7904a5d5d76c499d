package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// childEnv tells a process that it is the server; its value is the library's path.
const childEnv = "ATTUNE_CLICKHOUSE_CHILD"

const (
	// DefaultMaxMemory is the server's memory limit where [ClickHouseConfig] gives none: 4 GiB.
	DefaultMaxMemory = 4 << 30

	readyWithin   = 60 * time.Second // reading 550 MB of library from a cold disk counts into it
	startAttempts = 3                // another program may take a picked port before the child opens it
)

// codeAuthentication is ClickHouse's answer to an unknown user and to a wrong password alike.
const codeAuthentication = 516

// errPortClash is an attempt's end that another pair of ports may cure.
var errPortClash = errors.New("port taken by another program")

// ClickHouseConfig says how to start a ClickHouse server.
type ClickHouseConfig struct {
	// Library is the path of libchdb, see [FindLibrary]. Required.
	Library string
	// Dir is the server's data folder; it is created where it is missing. Required.
	Dir string
	// TCPPort and HTTPPort are loopback ports for the native and the HTTP protocol. 0 picks the port of the last
	// run if it is free, else another.
	TCPPort, HTTPPort int
	// MaxMemory is the server's limit in bytes; 0 is [DefaultMaxMemory].
	MaxMemory int64
	// NoFsync gives up durability against a power loss (not against a crash of the process) for speed: tests.
	NoFsync bool
	// Log takes the server's warnings and the child's output at debug level; nil drops them.
	Log *slog.Logger
}

// ClickHouse is a running server. Its methods are safe for concurrent use; whoever started it stops it.
type ClickHouse struct {
	tcpPort, httpPort int
	passwords         passwords
	log               *serverLog

	cmd      *exec.Cmd
	lifeLine io.Closer
	stopping atomic.Bool
	stopOnce sync.Once
	done     chan struct{}
	err      error // why it ended; read after done
}

// StartClickHouse starts the server as a child of this process and returns when the application's user has
// reached its database over the native protocol. ctx bounds the start only. When this process dies, by kill -9
// too, the child ends by itself and keeps the data.
//
// Errors: [ErrLocked] when another server holds the folder, [ErrNoLibrary] when Library is no file,
// [ErrUnsupported] on other systems.
func StartClickHouse(ctx context.Context, c ClickHouseConfig) (*ClickHouse, error) {
	ch, err := startClickHouse(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start embedded clickhouse: %w", err)
	}
	return ch, nil
}

func startClickHouse(ctx context.Context, c ClickHouseConfig) (*ClickHouse, error) {
	if !supported {
		return nil, ErrUnsupported
	}
	if _, child := os.LookupEnv(childEnv); child {
		return nil, fmt.Errorf("this process is itself the child of a server (%s is set): "+
			"embedded.MaybeClickHouse must be the first statement of main", childEnv)
	}
	if c.Dir == "" {
		return nil, errors.New("no data folder given")
	}
	if c.MaxMemory < 0 {
		return nil, fmt.Errorf("max memory %d: must not be negative", c.MaxMemory)
	}
	if info, err := os.Stat(c.Library); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %q is no file", ErrNoLibrary, c.Library)
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	if c.Library, err = filepath.Abs(c.Library); err != nil {
		return nil, err
	}
	lock, err := lockFolder(ctx, c.Dir, clickHouseLock, "stop it, or give another --data DIR")
	if err != nil {
		return nil, err
	}
	defer lock.Close() // the child has its own copy, so the folder is held for as long as it lives
	secrets, err := loadPasswords(c.Dir)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		ch, err := launch(ctx, c, secrets, lock)
		if err == nil || !errors.Is(err, errPortClash) || attempt == startAttempts {
			return ch, err
		}
		c.Log.Debug("clickhouse start repeated", "attempt", attempt, "error", err)
	}
}

// launch is one attempt on ports that are free at this moment.
func launch(ctx context.Context, c ClickHouseConfig, secrets passwords, lock *os.File) (*ClickHouse, error) {
	remembered := loadPorts(c.Dir)
	tcp, err := remembered.choose("clickhouse native", c.TCPPort, c.HTTPPort)
	if err != nil {
		return nil, err
	}
	http, err := remembered.choose("clickhouse HTTP", c.HTTPPort, tcp)
	if err != nil {
		return nil, err
	}
	if err := remembered.save(c.Dir); err != nil {
		return nil, err
	}
	return launchOn(ctx, c, secrets, lock, tcp, http)
}

// launchOn writes the configuration, starts the child and waits until it answers.
func launchOn(ctx context.Context, c ClickHouseConfig, secrets passwords, lock *os.File, tcp, http int) (*ClickHouse, error) {
	config, err := writeConfig(c.Dir, serverConfig{
		TCPPort: tcp, HTTPPort: http, MaxMemory: c.MaxMemory, Fsync: !c.NoFsync,
	}, secrets)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	ch := &ClickHouse{
		tcpPort: tcp, httpPort: http, passwords: secrets,
		log: &serverLog{log: c.Log}, done: make(chan struct{}),
	}
	ch.cmd = exec.Command(self, "--config-file="+config, "--path="+c.Dir, "--log-level=warning")
	ch.cmd.Args[0] = "clickhouse-local"
	ch.cmd.Env = append(childEnvironment(os.Environ(), c.Dir), childEnv+"="+c.Library)
	ch.cmd.Dir = c.Dir
	ch.cmd.Stdout, ch.cmd.Stderr = ch.log, ch.log
	ch.cmd.ExtraFiles = []*os.File{lock}
	ch.cmd.WaitDelay = 5 * time.Second
	ownGroup(ch.cmd)
	if ch.lifeLine, err = ch.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := ch.cmd.Start(); err != nil {
		return nil, err
	}
	go ch.wait()
	if err := ch.ready(ctx); err != nil {
		ch.kill()
		if ch.log.portClash() {
			err = fmt.Errorf("%w: %w", errPortClash, err)
		}
		return nil, err
	}
	return ch, nil
}

// childEnvironment keeps the few variables that a server needs: no secret of the parent's, and none of the
// CLICKHOUSE_ ones that its client half would obey.
func childEnvironment(parent []string, home string) []string {
	env := []string{"HOME=" + home, "TERM=dumb", "TZ=UTC"} // the configuration's <timezone> is ignored
	for _, kv := range parent {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "GOCOVERDIR", "GOTRACEBACK":
			env = append(env, kv)
		}
	}
	return env
}

func (ch *ClickHouse) wait() {
	err := ch.cmd.Wait()
	_ = ch.lifeLine.Close()
	switch {
	case ch.stopping.Load():
		if err != nil {
			ch.err = fmt.Errorf("embedded clickhouse did not end cleanly: %w; %s", err, ch.log.tail())
		}
	case err != nil:
		ch.err = fmt.Errorf("embedded clickhouse ended: %w; %s", err, ch.log.tail())
	default:
		ch.err = fmt.Errorf("embedded clickhouse ended by itself; %s", ch.log.tail())
	}
	close(ch.done)
}

// ready waits for both protocols. A stranger may own a port by now, so the proof is what only our server
// grants: the application's user makes its database.
func (ch *ClickHouse) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	var last error
	for {
		if last = ch.probe(ctx); last == nil {
			return nil
		}
		if ch.log.portClash() {
			return last
		}
		if refusal := (*clickhouse.Exception)(nil); errors.As(last, &refusal) {
			if refusal.Code == codeAuthentication {
				return fmt.Errorf("%w: another ClickHouse answers on port %d: %w", errPortClash, ch.tcpPort, last)
			}
			return last
		}
		select {
		case <-ch.done:
			return ch.err
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (last try: %w); %s", ctx.Err(), last, ch.log.tail())
		case <-pause.C:
		}
	}
}

func (ch *ClickHouse) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := ch.pingHTTP(ctx); err != nil {
		return err
	}
	options, err := clickhouse.ParseDSN(ch.dsn(appUser, ch.passwords.App, "system"))
	if err != nil {
		return err
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("native ping: %w", err)
	}
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+databaseName+" ENGINE = Atomic"); err != nil {
		return fmt.Errorf("create database %s: %w", databaseName, err)
	}
	return nil
}

func (ch *ClickHouse) pingHTTP(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ch.HTTPURL()+"/ping", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("http ping: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10)) // a reader that is gone is logged as an error there
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("http ping: status %s", resp.Status)
	}
	return nil
}

// DSN is the application's address for clickhouse-go's native protocol, password included. This user owns the
// databases whose names begin with "attune"; its default one is attune.
func (ch *ClickHouse) DSN() string { return ch.dsn(appUser, ch.passwords.App, databaseName) }

// AnalystDSN is the address of a user who may only SELECT from attune.*: no writing, no files, no URLs.
func (ch *ClickHouse) AnalystDSN() string {
	return ch.dsn(analystUser, ch.passwords.Analyst, databaseName)
}

func (ch *ClickHouse) dsn(user, password, database string) string {
	u := url.URL{
		Scheme: "clickhouse", User: url.UserPassword(user, password),
		Host: net.JoinHostPort(loopback, strconv.Itoa(ch.tcpPort)), Path: "/" + database,
	}
	return u.String()
}

// HTTPURL is the base address of the HTTP protocol, without a user.
func (ch *ClickHouse) HTTPURL() string {
	return "http://" + net.JoinHostPort(loopback, strconv.Itoa(ch.httpPort))
}

// PID is the child's process id.
func (ch *ClickHouse) PID() int { return ch.cmd.Process.Pid }

// GiveWay has the server work, from now on, when no other process of this machine wants to: for one beside the pipeline,
// whose decisions its merges would hold up by tens of milliseconds. It can't be taken back.
func (ch *ClickHouse) GiveWay() error {
	if err := giveWay(ch.cmd.Process); err != nil {
		return fmt.Errorf("lower the priority of embedded clickhouse: %w", err)
	}
	return nil
}

// Done is closed when the child has ended, however it came to it.
func (ch *ClickHouse) Done() <-chan struct{} { return ch.done }

// Err says why the child ended; nil while it runs and after a clean Stop.
func (ch *ClickHouse) Err() error {
	if !ch.ended() {
		return nil
	}
	return ch.err
}

func (ch *ClickHouse) ended() bool {
	select {
	case <-ch.done:
		return true
	default:
		return false
	}
}

// Stop ends the server cleanly and waits for its end; where ctx ends first, the child is killed (what was
// acknowledged stays, the folder is clean) and the error says so. Calling it again waits as well.
func (ch *ClickHouse) Stop(ctx context.Context) error {
	ch.stopOnce.Do(func() {
		ch.stopping.Store(true)
		_ = ch.lifeLine.Close()
	})
	select {
	case <-ch.done:
		return ch.err
	case <-ctx.Done():
		if ch.ended() {
			return ch.err
		}
		ch.kill()
		return fmt.Errorf("stop embedded clickhouse: killed, since it had not ended in time: %w", ctx.Err())
	}
}

func (ch *ClickHouse) kill() {
	_ = ch.cmd.Process.Kill() // an error says that it has ended
	<-ch.done
}
