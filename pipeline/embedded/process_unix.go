//go:build (linux || darwin) && (amd64 || arm64)

package embedded

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const supported = true

// tryFlock reports held when someone else has the lock.
func tryFlock(f *os.File) (held bool, err error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return true, nil
		default:
			return false, err
		}
	}
}

func processAlive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// ownGroup keeps the terminal's Ctrl-C away from the command: only the parent decides when it ends.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// lowestPriority is as far as a process can give way to others when all are busy.
const lowestPriority = 19

// giveWay has the command and what it started work when others don't.
func giveWay(p *os.Process) error { return unix.Setpriority(unix.PRIO_PGRP, p.Pid, lowestPriority) }

// killGroup ends the command and what it started.
func killGroup(p *os.Process) error { return unix.Kill(-p.Pid, unix.SIGKILL) }

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
