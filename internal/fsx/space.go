package fsx

import (
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// Free returns the number of bytes that an ordinary user can still write to
// the file system of dir, which may be a file. It is math.MaxInt64 if the file
// system states no limit.
func Free(dir string) (int64, error) {
	free, _, err := Space(dir)
	return free, err
}

// Space returns the free bytes, like Free, and the total bytes of the file
// system of dir.
func Space(dir string) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free, size = spaceOf(&st)
	return free, size, nil
}

// spaceOf converts block counts to bytes. Statfs counts blocks of Frsize
// bytes. Bsize is the preferred length of a transfer: a network file system
// may have a Bsize of 1 MiB and a Frsize of 512 bytes.
func spaceOf(st *unix.Statfs_t) (free, size int64) {
	if st.Blocks == 0 { // a tmpfs without a limit
		return math.MaxInt64, math.MaxInt64
	}
	return bytesOf(st.Bavail, st.Frsize), bytesOf(st.Blocks, st.Frsize)
}

func bytesOf(blocks uint64, blockLen int64) int64 {
	hi, lo := bits.Mul64(blocks, uint64(blockLen))
	if hi > 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}
