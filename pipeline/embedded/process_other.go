//go:build !((linux || darwin) && (amd64 || arm64))

package embedded

import (
	"os"
	"os/exec"
)

const supported = false

func tryFlock(*os.File) (held bool, err error) { return false, ErrUnsupported }

func processAlive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}

func ownGroup(*exec.Cmd) {}

func giveWay(*os.Process) error { return ErrUnsupported }

func killGroup(p *os.Process) error { return p.Kill() }

func inode(os.FileInfo) uint64 { return 0 }
