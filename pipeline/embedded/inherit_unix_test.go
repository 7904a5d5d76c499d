//go:build linux || darwin

package embedded_test

import (
	"os"
	"syscall"
)

func dupInheritable(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
