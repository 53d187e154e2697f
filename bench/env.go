package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/bench/peer"
	"promostore/internal/sysmem"
)

// Env holds the programs and the files of a run.
type Env struct {
	Dir  string // for large files
	Bin  string // promobuild, promoserve and promopeer
	Rows int64  // of the data sets; 0 for the default of each suite
}

// NewEnv makes a directory in dir, or in the directory of temporary files, and
// builds the programs. The caller calls Close.
func NewEnv(dir string, rows int64) (*Env, error) {
	dir, err := os.MkdirTemp(dir, "promobench-")
	if err != nil {
		return nil, err
	}
	e := &Env{Dir: dir, Bin: filepath.Join(dir, "bin"), Rows: rows}
	ours := exec.Command("go", "build", "-C", "..", "-trimpath", "-o", e.Bin+"/", "./cmd/...")
	ours.Env = append(os.Environ(), "CGO_ENABLED=0")
	peers := exec.Command("go", "build", "-o", e.Bin+"/", "./cmd/promopeer")
	peers.Env = append(os.Environ(), "CGO_ENABLED=1") // for the stores in C
	if err := errors.Join(peer.Run(ours), peer.Run(peers)); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close removes all files.
func (e *Env) Close() error { return os.RemoveAll(e.Dir) }

// rows returns the number of rows of the run, or the default of a suite.
func (e *Env) rows(suite int64) int64 {
	if e.Rows > 0 {
		return e.Rows
	}
	return suite
}

// command returns a command of one of the programs, which ends with this
// process.
func (e *Env) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(e.Bin, program), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// CSV returns the path of a CSV with IDs of a kind, such as "v4". It makes the
// file on the first call.
func (e *Env) CSV(tb testing.TB, keys string, rows int64) string {
	path := filepath.Join(e.Dir, fmt.Sprintf("%s-%d.csv", keys, rows))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	f, err := os.Create(path)
	must(tb, err)
	generate := e.command("promobuild", "generate", "--rows", strconv.FormatInt(rows, 10), "--keys", keys)
	generate.Stdout = f
	must(tb, errors.Join(peer.Run(generate), f.Sync(), f.Close()))
	return path
}

// Compressed returns the path of a file that a command and its options make of
// another one, in the format that suffix tells. It makes the file on the first
// call, and skips the test if the command is missing.
func (e *Env) Compressed(tb testing.TB, file, suffix string, command ...string) string {
	path := fmt.Sprintf("%s-%s%s", file, strings.Join(command, ""), suffix)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	program, err := peer.LookPath(command[0])
	if err != nil {
		tb.Skip(err)
	}
	c := exec.Command(program, command[1:]...)
	in, err := os.Open(file)
	must(tb, err)
	defer in.Close()
	out, err := os.Create(path)
	must(tb, err)
	c.Stdin, c.Stdout = in, out
	must(tb, errors.Join(peer.Run(c), out.Sync(), out.Close()))
	return path
}

// Generation returns a directory with a generation of CSV(keys, rows), built with
// flags, and the path of its first file. It makes the generation on the first call.
func (e *Env) Generation(tb testing.TB, keys string, rows int64, flags ...string) (dir, file string) {
	dir = filepath.Join(e.Dir, fmt.Sprintf("%s-%d%s", keys, rows, strings.Join(flags, "")))
	if _, err := os.Stat(dir); err != nil {
		e.buildFromPipe(tb, keys, rows, dir, flags...)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pgen"))
	must(tb, err)
	if len(files) == 0 {
		tb.Fatalf("no generation in %s", dir)
	}
	return dir, files[0]
}

// summary is a part of the output of promobuild build --json.
type summary struct {
	Generation string `json:"generation"`

	Rows      float64 `json:"rows"`
	Records   float64 `json:"records"`
	FileBytes float64 `json:"file_bytes"`
	Spilled   float64 `json:"spilled_bytes"`
	PeakRSS   float64 `json:"peak_rss_bytes"`
	Shards    float64 `json:"shards"`

	LargestShard struct {
		Records float64 `json:"records"`
	} `json:"largest_shard"`
}

// buildFromPipe builds a generation in dir from the output of promobuild
// generate.
func (e *Env) buildFromPipe(tb testing.TB, keys string, rows int64, dir string, flags ...string) (s summary) {
	generate := e.command("promobuild", "generate", "--rows", strconv.FormatInt(rows, 10), "--keys", keys)
	build := e.command("promobuild", append([]string{"build", "--quiet", "--json", "--data", dir, "-"}, flags...)...)
	var out, stderr bytes.Buffer
	build.Stdout, build.Stderr = &out, &stderr
	pipe, err := generate.StdoutPipe()
	must(tb, err)
	build.Stdin = pipe
	must(tb, errors.Join(generate.Start(), build.Start()))
	// Only build reads from the pipe, so that generate notices its end.
	must(tb, pipe.Close())
	if err := errors.Join(build.Wait(), generate.Wait()); err != nil {
		tb.Fatalf("build of %d rows: %v: %s", rows, err, stderr.Bytes())
	}
	must(tb, json.Unmarshal(out.Bytes(), &s))
	return s
}

func must(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}

// readAll reads a file with one thread, and returns its size. It brings the
// file into the page cache.
func readAll(tb testing.TB, path string) int64 {
	f, err := os.Open(path)
	must(tb, err)
	defer f.Close()
	// Without io.Discard itself, which reads into small buffers.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	must(tb, err)
	return n
}

// evict removes a file from the page cache.
func evict(tb testing.TB, path string) {
	f, err := os.Open(path)
	must(tb, err)
	defer f.Close()
	must(tb, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// diskUse returns the bytes on the disk of a file or of all files of a
// directory. Some stores make their files longer than their content.
func diskUse(tb testing.TB, path string) (n float64) {
	must(tb, filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += float64(min(info.Size(), info.Sys().(*syscall.Stat_t).Blocks*512))
		}
		return err
	}))
	return n
}

var numGroups atomic.Int64

// Limited returns a command whose memory, page cache included, is limited to
// memory bytes, and its reads from the disk of e.Dir to readIOPS a second, unless
// that is 0. It uses systemd if it is running, else a directory of cgroup version 2
// or 1, which needs root.
func (e *Env) Limited(tb testing.TB, memory int64, readIOPS int, program string, args ...string) *exec.Cmd {
	path := filepath.Join(e.Bin, program)
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		run := []string{"systemd-run", "--scope", "--quiet", "-p", fmt.Sprintf("MemoryMax=%d", memory), "-p", "MemorySwapMax=0"}
		if os.Geteuid() != 0 {
			run = append(run, "--user")
		}
		if readIOPS > 0 {
			run = append(run, "-p", fmt.Sprintf("IOReadIOPSMax=%s %d", e.Dir, readIOPS))
		}
		return e.wrapped(append(append(run, path), args...))
	}
	const root = "/sys/fs/cgroup"
	name := fmt.Sprintf("promobench-%d-%d", os.Getpid(), numGroups.Add(1))
	limit := func(hierarchy, file, value string) (script string) {
		dir := filepath.Join(root, hierarchy, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			tb.Skipf("no control groups: %v", err)
		}
		tb.Cleanup(func() {
			for range 500 { // a process leaves its group a moment after it ends
				if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
			tb.Skipf("no control groups: %v", err)
		}
		return "echo 0 > " + dir + "/cgroup.procs && "
	}
	script := ""
	_, err := os.Stat(filepath.Join(root, "cgroup.controllers"))
	v2 := err == nil
	if v2 {
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory +io"), 0o644) // as a rule, it has them
		script += limit("", "memory.max", strconv.FormatInt(memory, 10))
	} else {
		script += limit("memory", "memory.limit_in_bytes", strconv.FormatInt(memory, 10))
	}
	if readIOPS > 0 {
		disk, err := diskOf(e.Dir)
		must(tb, err)
		if v2 {
			script += limit("", "io.max", fmt.Sprintf("%s riops=%d", disk, readIOPS))
		} else {
			script += limit("blkio", "blkio.throttle.read_iops_device", fmt.Sprintf("%s %d", disk, readIOPS))
		}
	}
	return e.wrapped(append([]string{"/bin/sh", "-c", script + `exec "$@"`, "sh", path}, args...))
}

func (e *Env) wrapped(argv []string) *exec.Cmd {
	c := exec.Command(argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// diskOf returns the number, such as 254:0, of the disk of a directory.
func diskOf(dir string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return "", err
	}
	number := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err != nil {
		return number, nil
	}
	whole, err := os.ReadFile(filepath.Join(filepath.Dir(sys), "dev"))
	return strings.TrimSpace(string(whole)), err
}

// Config returns the configuration of a run as lines of the benchmark format,
// "key: value". It measures the disk with fio, if fio is installed.
func (e *Env) Config() (lines []string) {
	add := func(key, value string) {
		if value != "" {
			lines = append(lines, key+": "+value)
		}
	}
	output := func(pattern, program string, args ...string) string {
		path, err := peer.LookPath(program)
		if err != nil {
			return ""
		}
		out, _ := exec.Command(path, args...).CombinedOutput() // wrk fails after printing its version
		return string(regexp.MustCompile(pattern).Find(out))
	}
	add("date", time.Now().UTC().Format(time.DateOnly))
	commit := output(`\S+`, "git", "describe", "--always", "--exclude=*")
	if exec.Command("git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)bench/results", ":(top,exclude)docs/benchmarks.md").Run() != nil {
		commit += "-dirty"
	}
	add("commit", commit)
	add("cores", strconv.Itoa(runtime.NumCPU()))
	add("memory", fmt.Sprintf("%.0f GiB", float64(sysmem.Total())/(1<<30)))
	add("kernel", output(`\S+`, "uname", "-r"))
	add("go", runtime.Version())
	add("filesystem", output(`[a-z]\S*`, "stat", "-f", "-c", "%T", e.Dir))
	for _, test := range []struct{ key, rw, size, depth, field, format string }{
		{"disk-write", "write", "1M", "8", "bw_bytes", "%.0f MB/s"},
		{"disk-read", "read", "1M", "8", "bw_bytes", "%.0f MB/s"},
		{"disk-random-read", "randread", "4k", "64", "iops", "%.0f reads/s of 4 KiB"},
	} {
		out := output(`(?s)\{.*`, "fio", "--name=probe", "--filename="+filepath.Join(e.Dir, "probe"), "--size=512M", "--direct=1", "--end_fsync=1",
			"--thread", "--ioengine=psync", "--numjobs="+test.depth, "--runtime=2", "--group_reporting", "--rw="+test.rw, "--bs="+test.size, "--output-format=json")
		var r struct{ Jobs []map[string]json.RawMessage }
		var side map[string]any
		if json.Unmarshal([]byte(out), &r) == nil && len(r.Jobs) == 1 {
			_ = json.Unmarshal(r.Jobs[0][strings.TrimPrefix(test.rw, "rand")], &side)
		}
		if v, ok := side[test.field].(float64); ok {
			if test.field == "bw_bytes" {
				v /= 1e6
			}
			add(test.key, fmt.Sprintf(test.format, v))
		}
	}
	_ = os.Remove(filepath.Join(e.Dir, "probe"))
	add("sort", output(`[0-9][0-9.]+`, "sort", "--version"))
	add("mariadb", output(`[0-9][0-9.]+-MariaDB`, "mariadbd", "--version"))
	add("nginx", output(`[0-9][0-9.]+`, "nginx", "-v"))
	add("wrk", output(`[0-9][0-9.]+`, "wrk", "--version"))
	return lines
}
