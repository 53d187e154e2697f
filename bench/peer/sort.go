package peer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// Sort sorts csv into the file path with GNU sort, in memory bytes of memory.
// GNU sort checks nothing and does not sync. Its temporary files are beside the
// output. A .gz file is decompressed by the gzip command.
func Sort(ctx context.Context, csv, path string, memory int64) error {
	c := exec.CommandContext(ctx, "sort",
		"-S", strconv.FormatInt(memory>>10, 10)+"K",
		"--parallel="+strconv.Itoa(runtime.GOMAXPROCS(0)),
		"--batch-size=128", // the number of runs that are merged at a time
		"-T", filepath.Dir(path), "-o", path)
	c.Env = append(os.Environ(), "LC_ALL=C")
	if filepath.Ext(csv) != ".gz" {
		c.Args = append(c.Args, csv)
		return Run(c)
	}
	gzip := exec.CommandContext(ctx, "gzip", "-dc", csv)
	pipe, err := gzip.StdoutPipe()
	if err != nil {
		return err
	}
	c.Stdin = pipe
	if err := gzip.Start(); err != nil {
		return err
	}
	return errors.Join(Run(c), gzip.Wait())
}
