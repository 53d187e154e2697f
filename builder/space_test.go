package builder

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFreeBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		st   unix.Statfs_t
		want int64
	}{
		{"a disk", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1000, Bfree: 600, Bavail: 500}, 500 * 4096},
		{"a full disk", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1000}, 0},
		{"a network", unix.Statfs_t{Bsize: 1 << 20, Frsize: 512, Blocks: 1000, Bavail: 500}, 500 * 512},
		{"a tmpfs without a limit", unix.Statfs_t{Bsize: 4096, Frsize: 4096}, math.MaxInt64},
		{"more than there is", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1 << 52, Bavail: 1 << 52}, math.MaxInt64},
		{"as many blocks as can be said", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: math.MaxUint64, Bavail: math.MaxUint64}, math.MaxInt64},
	} {
		if got := freeBytes(&c.st); got != c.want {
			t.Errorf("%s: %d bytes are free, want %d", c.name, got, c.want)
		}
	}
}
