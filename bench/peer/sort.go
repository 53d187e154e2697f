package peer

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// Sort sorts csv into the file path with GNU sort, in memory bytes of memory.
// GNU sort checks nothing and does not sync. Its temporary files are beside the
// output.
func Sort(ctx context.Context, csv, path string, memory int64) error {
	c := exec.CommandContext(ctx, "sort",
		"-S", strconv.FormatInt(memory>>10, 10)+"K",
		"--parallel="+strconv.Itoa(runtime.GOMAXPROCS(0)),
		"--batch-size=128", // the number of runs that are merged at a time
		"-T", filepath.Dir(path), "-o", path, csv)
	c.Env = append(os.Environ(), "LC_ALL=C")
	return Run(c)
}
