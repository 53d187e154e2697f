package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"promostore/bench/contest"
	"promostore/builder"
)

// A built is what a build came to.
type built struct {
	builder.Summary
	seconds  float64 // from the start of generate to the end of build
	peakDisk int64   // of all its files together
}

// build pipes generate into build, which publishes in dir.
func build(ctx context.Context, env *contest.Env, dir string, rows int64) (b built, err error) {
	program := filepath.Join(env.Bin, "promobuild")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return b, err
	}
	generate := exec.CommandContext(ctx, program, "generate", "--rows", strconv.FormatInt(rows, 10))
	build := exec.CommandContext(ctx, program, "build", "--memory", strconv.Itoa(buildMemory), "--data", dir, "--json", "--quiet", "-")
	var out, generateErr, buildErr bytes.Buffer
	build.Stdout, build.Stderr, generate.Stderr = &out, &buildErr, &generateErr
	for _, c := range []*exec.Cmd{generate, build} {
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	pipe, err := generate.StdoutPipe()
	if err != nil {
		return b, err
	}
	build.Stdin = pipe
	start := time.Now()
	if err := generate.Start(); err != nil {
		return b, err
	}
	err = build.Start()
	// The reader of the pipe must be build alone, or generate would not see it end.
	_ = pipe.Close()
	if err == nil {
		done := make(chan struct{})
		peak := make(chan int64, 1)
		go func() { peak <- watch(dir, build.Process.Pid, done) }()
		err = build.Wait()
		close(done)
		b.peakDisk = <-peak
	}
	b.seconds = time.Since(start).Seconds()
	if generateWait := generate.Wait(); err != nil || generateWait != nil {
		return b, fmt.Errorf("build of %d rows: %w, generate: %w: %s%s", rows, err, generateWait, buildErr.Bytes(), generateErr.Bytes())
	}
	return b, json.Unmarshal(out.Bytes(), &b.Summary)
}

// watchEvery is how often watch looks: a spilled bucket lives longer.
const watchEvery = 20 * time.Millisecond

// watch is the most bytes on the disk, until done, that files of the directory
// dir, and those that the process pid has open without a name, had together.
func watch(dir string, pid int, done <-chan struct{}) (peak int64) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return max(peak, used(dir, pid))
		case <-tick.C:
			peak = max(peak, used(dir, pid))
		}
	}
}

func used(dir string, pid int) int64 {
	var sum int64
	seen := map[uint64]bool{}
	var home syscall.Stat_t
	if syscall.Stat(dir, &home) != nil {
		return 0
	}
	for _, list := range []string{dir, fmt.Sprintf("/proc/%d/fd", pid)} {
		entries, err := os.ReadDir(list)
		if err != nil {
			continue // the process has ended
		}
		for _, e := range entries {
			var stat syscall.Stat_t
			if syscall.Stat(filepath.Join(list, e.Name()), &stat) != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFREG || stat.Dev != home.Dev || seen[stat.Ino] {
				continue
			}
			seen[stat.Ino] = true
			sum += stat.Blocks * 512
		}
	}
	return sum
}
