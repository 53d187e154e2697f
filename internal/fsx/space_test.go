package fsx

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpaceOf(t *testing.T) {
	for _, c := range []struct {
		name       string
		st         unix.Statfs_t
		free, size int64
	}{
		{"local disk", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1000, Bfree: 600, Bavail: 500}, 500 * 4096, 1000 * 4096},
		{"full disk", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1000}, 0, 1000 * 4096},
		{"network file system", unix.Statfs_t{Bsize: 1 << 20, Frsize: 512, Blocks: 1000, Bfree: 600, Bavail: 500}, 500 * 512, 1000 * 512},
		{"tmpfs without a limit", unix.Statfs_t{Bsize: 4096, Frsize: 4096}, math.MaxInt64, math.MaxInt64},
		{"over MaxInt64", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1 << 52, Bavail: 1 << 52}, math.MaxInt64, math.MaxInt64},
		{"over MaxUint64", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: math.MaxUint64, Bavail: math.MaxUint64}, math.MaxInt64, math.MaxInt64},
	} {
		if free, size := spaceOf(&c.st); free != c.free || size != c.size {
			t.Errorf("%s: %d bytes free of %d, want %d of %d", c.name, free, size, c.free, c.size)
		}
	}
}
