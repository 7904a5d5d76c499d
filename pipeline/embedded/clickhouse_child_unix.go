//go:build (linux || darwin) && (amd64 || arm64)

package embedded

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/creack/pty"
	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// Exit codes of the child, beside ClickHouse's own.
const (
	exitNoLibrary  = 69
	exitNoTerminal = 70
	exitNoSymbol   = 71
	exitNoResult   = 72
	exitStuck      = 73 // it didn't leave its prompt after the parent had gone
)

const stuckAfter = 30 * time.Second

// MaybeClickHouse turns this process into the ClickHouse server if [StartClickHouse] started it as one: then it
// never returns. In any other process it does nothing. It must be the first statement of main and of TestMain.
func MaybeClickHouse() {
	// Not Getenv: with an empty value the child would take itself for a parent and start children without end.
	library, child := os.LookupEnv(childEnv)
	if !child {
		return
	}
	os.Exit(clickHouseMain(library))
}

// clickHouseMain runs the server until its standard input, which is the parent's life line, ends.
func clickHouseMain(library string) int {
	runtime.LockOSThread() // the library's main wants the main thread
	// Beside the pipeline on one machine, analytics give way to decisions, if not yet as far as GiveWay makes them: a start
	// is waited for. The library's threads inherit it.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness) // a machine that refuses shares evenly
	// The parent alone decides when the server ends; a vanished log reader is no reason either.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)

	if info, err := os.Stat(library); err != nil || !info.Mode().IsRegular() {
		return childFails(exitNoLibrary, "library", fmt.Errorf("%q is no file", library))
	}
	closeInherited()
	life, master, err := terminalOnStdin()
	if err != nil {
		return childFails(exitNoTerminal, "terminal", err)
	}
	go func() { _, _ = io.Copy(io.Discard, master) }() // what the prompt echoes
	go func() {
		_, _ = io.Copy(io.Discard, life) // until the parent closes it or dies
		for deadline := time.Now().Add(stuckAfter); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			_, _ = master.WriteString("exit\n")
		}
		os.Exit(exitStuck)
	}()

	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return childFails(exitNoLibrary, "load library", err)
	}
	var (
		run         func(argc int32, argv unsafe.Pointer) uintptr
		resultError func(uintptr) string
	)
	for name, f := range map[string]any{"chdb_query_cmdline": &run, "chdb_result_error": &resultError} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return childFails(exitNoSymbol, "library "+library, err)
		}
		purego.RegisterFunc(f, symbol)
	}
	result := runWith(run, append(os.Args[:len(os.Args):len(os.Args)],
		"--query", "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP",
		"--interactive", "--disable_suggestion", "--history_file=/dev/null", "--progress=off", "--highlight=0"))
	if result == 0 {
		return childFails(exitNoResult, "run", fmt.Errorf("no result"))
	}
	if e := resultError(result); e != "" {
		return childFails(1, "run", fmt.Errorf("%s", e))
	}
	return 0
}

// niceness is how far ClickHouse gives way from its start on: from 0, not at all, to lowestPriority.
const niceness = 10

// lockDescriptor is the data folder's lock, the first of exec.Cmd's extra files: it stays open, unused, so that
// the folder is held for as long as this process lives.
const lockDescriptor = 3

// closeInherited closes what this process was given beyond that: the parent's parent may have left descriptors
// open that survive an exec, such as a socket handed over by a service manager. Go's own don't survive one, so
// the mark tells them apart.
func closeInherited() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= lockDescriptor {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// terminalOnStdin moves the life line off descriptor 0 and puts a terminal there. In libchdb up to 26.8 any
// exception that leaves a connection handler (a wrong password, random bytes on the port) ends the process
// unless standard input is a terminal and --interactive is given (ClickHouse issue 115666).
func terminalOnStdin() (life, master *os.File, err error) {
	fd, err := unix.Dup(0)
	if err != nil {
		return nil, nil, err
	}
	unix.CloseOnExec(fd)
	master, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	if err := unix.Dup2(int(slave.Fd()), 0); err != nil {
		return nil, nil, err
	}
	_ = slave.Close()
	return os.NewFile(uintptr(fd), "life line"), master, nil
}

// runWith calls the library's main with a C argument vector.
func runWith(run func(int32, unsafe.Pointer) uintptr, args []string) uintptr {
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]*byte, len(args)+1) // the last one is the terminating NULL
	for i, a := range args {
		b := append([]byte(a), 0)
		argv[i] = &b[0]
		pin.Pin(argv[i])
	}
	pin.Pin(&argv[0])
	return run(int32(len(args)), unsafe.Pointer(&argv[0]))
}

func childFails(code int, what string, err error) int {
	fmt.Fprintf(os.Stderr, "embedded clickhouse: %s: %v\n", what, err)
	return code
}
