package fsx

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrWritten reports a file that a process has open for writing.
var ErrWritten = errors.New("open for writing")

// CheckLease returns nil if no process has f open for writing: the kernel then
// grants a read lease. It returns ErrWritten if one has. Any other error means
// that the kernel does not tell: it refuses leases on files of other users
// without CAP_LEASE, and on file systems without leases.
func CheckLease(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return ErrWritten
	}
	if err != nil {
		return os.NewSyscallError("lease", err)
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // else the next writer waits for it
	return nil
}
