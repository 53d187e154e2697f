package building

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"promostore/bench/contest"
)

// A build makes something with the name path, and tells figures of it.
type build func(ctx context.Context, path string) (more map[string]float64, err error)

// turns is a contestant that builds of rows rows, each time anew, until what it
// made is on the disk. That is measured and removed, which takes no time of its
// turn.
func turns(env *contest.Env, name, setup string, rows int64, b build) contest.Contestant {
	return contest.Contestant{Name: name, Setup: setup, Run: func(ctx context.Context) (s contest.Sample, err error) {
		dir, err := os.MkdirTemp(env.Dir, "turn-")
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		syscall.Sync() // what others left to be written is not to be waited for
		path := filepath.Join(dir, "out")
		start := time.Now()
		more, err := b(ctx, path)
		syscall.Sync() // a table that a power cut takes back is not built
		s = contest.Sample{N: float64(rows), Took: time.Since(start), More: more}
		if err != nil {
			return s, err
		}
		size, err := diskUse(path)
		if size > 0 {
			s.More = with(s.More, bytesPerRow, float64(size)/float64(rows))
		}
		return s, err
	}}
}

// The names of figures.
const (
	bytesPerRow = "bytes/row"
	peakMiB     = "peak-MiB"
	spilledMiB  = "spilled-MiB"
)

func with(more map[string]float64, name string, v float64) map[string]float64 {
	if more == nil {
		more = map[string]float64{}
	}
	more[name] = v
	return more
}

// diskUse is the bytes that a file, or all files of a directory, take on the
// disk; zero if there is none. Some stores make their files longer than what
// is in them.
func diskUse(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		const sector = 512 // the unit of st_blocks
		n += min(info.Size(), info.Sys().(*syscall.Stat_t).Blocks*sector)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return n, err
}

// ours builds a generation of csv with promobuild, in memory bytes of memory,
// or what promobuild takes if 0.
func ours(env *contest.Env, csv string, memory int64) build {
	return func(ctx context.Context, path string) (map[string]float64, error) {
		args := []string{"build", "--quiet", "--json", "--data", path}
		if memory > 0 {
			args = append(args, "--memory", strconv.FormatInt(memory>>20, 10)+"MiB")
		}
		c := exec.CommandContext(ctx, filepath.Join(env.Bin, "promobuild"), append(args, csv)...)
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := c.Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			return nil, err
		}
		var summary struct {
			PeakRSSBytes float64 `json:"peak_rss_bytes"`
			SpilledBytes float64 `json:"spilled_bytes"`
		}
		if err := json.Unmarshal(out, &summary); err != nil {
			return nil, fmt.Errorf("summary: %w", err)
		}
		return map[string]float64{peakMiB: summary.PeakRSSBytes / (1 << 20), spilledMiB: summary.SpilledBytes / (1 << 20)}, nil
	}
}

// oursSetup says how ours builds.
func oursSetup(memory int64) string {
	if memory == 0 {
		return fmt.Sprintf("promobuild build --quiet, %d processors", runtime.GOMAXPROCS(0))
	}
	return fmt.Sprintf("promobuild build --quiet --memory %dMiB, %d processors", memory>>20, runtime.GOMAXPROCS(0))
}
