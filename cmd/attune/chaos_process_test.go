//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/pipeline/embedded"
)

// process is one of a deployment. Its supervisor starts it again whenever it has ended, as systemd would.
type process struct {
	name    string
	log     *os.File
	launch  func(ctx context.Context, log *os.File) (*running, error)
	stopped context.Context
	ended   sync.WaitGroup

	turn  sync.Mutex // one fault at a time
	mu    sync.Mutex
	now   *running      // nil: it is down
	pause time.Duration // before the next start
	alone int           // how often it ended though nobody killed it
}

// running is one life of a process.
type running struct {
	signal func(os.Signal) error
	done   <-chan struct{}
}

// startPause is what a supervisor waits before it starts what ended by itself.
const startPause = 200 * time.Millisecond

// startProcess starts a process and keeps it running until the test ends. launch returns as soon as it can be killed.
func startProcess(t *testing.T, name, folder string, launch func(ctx context.Context, log *os.File) (*running, error)) *process {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(folder, name+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &process{name: name, log: log, launch: launch, stopped: ctx, pause: startPause}
	p.ended.Go(p.supervise)
	t.Cleanup(func() {
		stop()
		if r := p.current(); r != nil {
			_ = r.signal(syscall.SIGKILL) // it ends one that is stopped too
		}
		p.ended.Wait()
		_ = log.Close()
	})
	return p
}

func (p *process) supervise() {
	for p.stopped.Err() == nil {
		r, err := p.launch(p.stopped, p.log)
		if err != nil {
			fmt.Fprintf(p.log, "%s does not start: %v\n", p.name, err)
		} else {
			p.set(r)
			if p.stopped.Err() != nil { // it ended between the two
				_ = r.signal(syscall.SIGKILL)
			}
			<-r.done
			p.set(nil)
		}
		select {
		case <-time.After(p.rest()):
		case <-p.stopped.Done():
		}
	}
}

func (p *process) set(r *running) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = r
}

func (p *process) current() *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// rest is how long it stays down.
func (p *process) rest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := p.pause
	if p.pause = startPause; pause == startPause && p.stopped.Err() == nil {
		p.alone++
	}
	return pause
}

// await returns its life once it is up.
func (p *process) await(ctx context.Context) (*running, error) {
	for {
		if r := p.current(); r != nil {
			return r, nil
		}
		select {
		case <-time.After(10 * time.Millisecond): // between two looks
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is not up: %w", p.name, context.Cause(ctx))
		}
	}
}

// suffer does one fault to it, and returns when it is over: what was killed is up again, what was stopped goes on.
// The caller has taken its turn.
func (p *process) suffer(ctx context.Context, f fault) error {
	r, err := p.await(ctx)
	if err != nil {
		return err
	}
	if f.kill {
		p.mu.Lock()
		p.pause = f.lasting
		p.mu.Unlock()
		if err := r.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill %s: %w", p.name, err)
		}
		<-r.done
		for p.current() == r { // until the supervisor has noticed
			time.Sleep(time.Millisecond)
		}
		_, err = p.await(ctx)
		return err
	}
	if err := r.signal(syscall.SIGSTOP); err != nil {
		return notDone(err)
	}
	time.Sleep(f.lasting)
	return notDone(r.signal(syscall.SIGCONT))
}

// notDone forgives that a process has ended by itself in the meantime.
func notDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// text is what its lives have logged.
func (p *process) text() string {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// tail is the end of that.
func (p *process) tail(most int) string {
	text := p.text()
	if cut := len(text) - most; cut > 0 {
		_, text, _ = strings.Cut(text[cut:], "\n")
	}
	return text
}

// attuneProcess is a command of attune as a process of its own group, which ends with this one.
func attuneProcess(env []string, args ...string) func(context.Context, *os.File) (*running, error) {
	return func(ctx context.Context, log *os.File) (*running, error) {
		cmd := attune(context.WithoutCancel(ctx), args...)
		cmd.Env = append(cmd.Env, append(env, lifeLine+"=1")...)
		return runCommandLine(cmd, log)
	}
}

// brokerProcess is a NATS server.
func brokerProcess(c embedded.NATSConfig) func(context.Context, *os.File) (*running, error) {
	return func(ctx context.Context, log *os.File) (*running, error) {
		cmd := exec.CommandContext(context.WithoutCancel(ctx), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", asBroker, c.Port, c.Dir), lifeLine+"=1")
		return runCommandLine(cmd, log)
	}
}

func runCommandLine(cmd *exec.Cmd, log *os.File) (*running, error) {
	cmd.Stdout, cmd.Stderr = log, log
	// When this process dies, the kernel continues what is stopped in a group that has become an orphan.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	line, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := cmd.Wait()
		_ = line.Close()
		fmt.Fprintf(log, "-- process %d: %v\n", cmd.Process.Pid, err)
	}()
	return &running{cmd.Process.Signal, done}, nil
}

// clickhouseProcess is a ClickHouse server, which is a process of its own in any case.
func clickhouseProcess(c embedded.ClickHouseConfig) func(context.Context, *os.File) (*running, error) {
	return func(ctx context.Context, log *os.File) (*running, error) {
		c := c
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		server, err := embedded.StartClickHouse(ctx, c)
		if err != nil {
			return nil, err
		}
		signal := func(s os.Signal) error {
			select {
			case <-server.Done():
				return os.ErrProcessDone
			default:
				return syscall.Kill(server.PID(), s.(syscall.Signal))
			}
		}
		return &running{signal, server.Done()}, nil
	}
}

// defects are lines of a log that no fault excuses.
func (p *process) defects() []string {
	var found []string
	for line := range strings.Lines(p.text()) {
		for _, sign := range []string{"panic:", "panicked", "fatal error:", "DATA RACE"} {
			if strings.Contains(line, sign) {
				found = append(found, p.name+": "+strings.TrimSpace(line))
			}
		}
	}
	return found
}
