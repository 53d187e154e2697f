package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"promostore/bench/peer"
	"promostore/internal/objects"
)

// BenchmarkTasks measures a generation of 16 shards that is built by tasks: by two
// processes of one processor each and by a cluster of Spark with two such workers,
// against one build, and from object storage against files. The object storage is
// versitygw on the same processors.
//
// The processor time is that of the machine, because it includes the servers.
func BenchmarkTasks(b *testing.B) {
	rows := env.rows(4_000_000)
	csv := env.CSV(b, "v4", rows)
	var parts []string
	for _, part := range split(b, csv, 8) {
		parts = append(parts, env.Compressed(b, part, ".gz", "gzip", "-1"))
	}
	processes := runtime.GOMAXPROCS(0)
	for _, in := range []struct {
		name  string
		files []string
	}{{"plain", []string{csv}}, {"8 files of gzip -1", parts}} {
		run(b, fmt.Sprintf("%s by %d processes, one build", in.name, processes), rows, func(b *testing.B) {
			compareBuilds(b, rows, 6, byTasks(processes, nil, in.files), byOne(in.files), Target{})
		})
		s3 := startStorage(b, in.files)
		run(b, in.name+" of object storage, files; one build", rows, func(b *testing.B) {
			compareBuilds(b, rows, 6, byOne(s3.urls), byOne(in.files), Target{})
		})
		run(b, in.name+" of object storage, files; tasks", rows, func(b *testing.B) {
			compareBuilds(b, rows, 6, byTasks(processes, s3, s3.urls), byTasks(processes, nil, in.files), Target{})
		})
		s3.stop()
	}
	run(b, "8 files of gzip -1 by Spark, one build", rows, func(b *testing.B) {
		compareBuilds(b, rows, 3, startSpark(b).build(parts), byOne(parts), Target{})
	})
	run(b, "8 files of gzip -1 of object storage by Spark, one build", rows, func(b *testing.B) {
		s3 := startStorage(b, parts)
		defer s3.stop()
		compareBuilds(b, rows, 3, startSpark(b).buildStored(s3), byOne(s3.urls), Target{})
	})
	for _, file := range append(parts, csv) {
		must(b, os.Remove(file))
	}
}

// A usage is the resources that a build uses.
type usage struct {
	started       time.Duration // processor time of the machine
	mu            sync.Mutex
	read, written float64 // bytes of system calls, from files and connections
}

func newUsage(tb testing.TB) *usage { return &usage{started: machineTime(tb)} }

// machineTime returns the processor time that the machine has used, in units of
// 10 ms.
func machineTime(tb testing.TB) time.Duration {
	text, err := os.ReadFile("/proc/stat")
	must(tb, err)
	var user, nice, system, idle, wait, irq, softirq int64
	_, err = fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq)
	must(tb, err)
	return time.Duration(user+nice+system+irq+softirq) * 10 * time.Millisecond
}

// run runs a command, adds its bytes, and returns its output.
func (u *usage) run(c *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		return nil, err
	}
	// The files of the process are readable until it is waited for.
	err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	text, ioErr := os.ReadFile(fmt.Sprintf("/proc/%d/io", c.Process.Pid))
	if err := errors.Join(err, ioErr, c.Wait()); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, stderr.Bytes())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "rchar":
			u.read += n
		case "wchar":
			u.written += n
		}
	}
	return stdout.Bytes(), nil
}

func (u *usage) metrics(tb testing.TB, rows float64) map[string]float64 {
	m := map[string]float64{"cpu-ns/row": float64(machineTime(tb)-u.started) / rows}
	if u.read > 0 {
		m["read-B/row"], m["written-B/row"] = u.read/rows, u.written/rows
	}
	return m
}

// byOne builds 16 shards with one process.
func byOne(inputs []string) build {
	return func(tb testing.TB, path string) map[string]float64 {
		u := newUsage(tb)
		c := env.command("promobuild", append([]string{"build", "--quiet", "--json", "--shards", "16", "--data", path}, inputs...)...)
		out, err := u.run(c)
		must(tb, err)
		var s summary
		must(tb, json.Unmarshal(out, &s))
		return u.metrics(tb, s.Rows)
	}
}

// byTasks builds 16 shards with tasks, as many at the same time as there are
// processes.
func byTasks(processes int, s3 *storage, inputs []string) build {
	return func(tb testing.TB, path string) map[string]float64 {
		u := newUsage(tb)
		task := func(args ...string) []byte {
			c := env.command("promobuild", args...)
			c.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(max(1, runtime.GOMAXPROCS(0)/processes)), "TMPDIR="+env.Dir)
			out, err := u.run(c)
			if err != nil {
				tb.Error(err)
			}
			return out
		}
		prefix := path
		if s3 != nil {
			prefix = s3.url(filepath.Base(filepath.Dir(path)))
			defer os.RemoveAll(s3.path(filepath.Base(filepath.Dir(path))))
		}
		var plan struct {
			Plan   string `json:"plan"`
			Splits int    `json:"splits"`
			Shards int    `json:"shards"`
		}
		args := []string{"plan", "--json", "--shards", "16", "--split-size", "128MiB", "--work", prefix + "/work", "--out", prefix + "/out"}
		must(tb, json.Unmarshal(task(append(args, inputs...)...), &plan))
		for _, step := range []struct {
			name  string
			tasks int
		}{{"split", plan.Splits}, {"merge", plan.Shards}} {
			var g errgroup.Group
			g.SetLimit(processes)
			for i := range step.tasks {
				g.Go(func() error { task(step.name, "--plan", plan.Plan, "--index", strconv.Itoa(i)); return nil })
			}
			_ = g.Wait()
		}
		var s summary
		must(tb, json.Unmarshal(task("publish", "--plan", plan.Plan, "--json"), &s))
		task("sweep", prefix+"/work")
		m := u.metrics(tb, s.Rows)
		m["splits"] = float64(plan.Splits)
		return m
	}
}

// A storage is a versitygw, an S3 server of files.
type storage struct {
	dir  string
	cmd  *exec.Cmd
	urls []string // of the files that it holds
}

// Credentials of each storage, and its bucket.
const (
	storageKey, storageSecret = "bench", "bench-secret"
	bucket                    = "bench"
)

// startStorage starts object storage that holds files, and sets the environment of
// its clients.
func startStorage(tb testing.TB, files []string) *storage {
	program, err := peer.LookPath("versitygw")
	if err != nil {
		program, err = filepath.Abs("../bin/versitygw")
		must(tb, err)
	}
	dir, err := os.MkdirTemp(env.Dir, "storage-")
	must(tb, err)
	must(tb, os.Mkdir(filepath.Join(dir, bucket), 0o755))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	address := l.Addr().String()
	must(tb, l.Close())
	s := &storage{dir: dir, cmd: exec.Command(program, "--quiet", "--port", address, "posix", dir)}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+storageKey, "ROOT_SECRET_ACCESS_KEY="+storageSecret)
	must(tb, s.cmd.Start())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			must(tb, conn.Close())
			break
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s does not listen on %s", program, address)
		}
	}
	tb.Setenv("AWS_ENDPOINT_URL", "http://"+address)
	tb.Setenv("AWS_REGION", "us-east-1")
	tb.Setenv("AWS_ACCESS_KEY_ID", storageKey)
	tb.Setenv("AWS_SECRET_ACCESS_KEY", storageSecret)
	for _, file := range files {
		s.urls = append(s.urls, s.put(tb, file))
	}
	return s
}

func (s *storage) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

// path returns the path of the file that holds an object.
func (s *storage) path(key string) string { return filepath.Join(s.dir, bucket, key) }

func (s *storage) url(key string) string { return "s3://" + bucket + "/" + key }

// put makes an object of a file and returns its URL.
func (s *storage) put(tb testing.TB, file string) string {
	url := s.url(filepath.Base(file))
	store, key, err := objects.Parse(url, objects.Options{Endpoint: os.Getenv("AWS_ENDPOINT_URL"), Region: os.Getenv("AWS_REGION")})
	must(tb, err)
	f, err := os.Open(file)
	must(tb, err)
	defer f.Close()
	info, err := f.Stat()
	must(tb, err)
	_, err = store.Put(tb.Context(), key, f, info.Size(), objects.Always)
	must(tb, err)
	return url
}

// A spark is a standalone cluster of Apache Spark with two workers.
type spark struct{ bin, master string }

// startSpark starts a cluster, which ends with the benchmark.
func startSpark(tb testing.TB) *spark {
	submit, err := peer.LookPath("spark-submit")
	if err != nil {
		tb.Skip(err)
	}
	submit, err = filepath.Abs(submit)
	must(tb, err)
	python := filepath.Join(filepath.Dir(submit), "python3")
	home, err := exec.Command(python, "-c", "import pyspark; print(pyspark.__path__[0])").Output()
	must(tb, err)
	s := &spark{bin: filepath.Join(strings.TrimSpace(string(home)), "bin")}
	dir := tb.TempDir()
	for name, value := range map[string]string{
		"SPARK_HOME": filepath.Dir(s.bin), "PYSPARK_PYTHON": python, "SPARK_CONF_DIR": dir, "SPARK_LOCAL_DIRS": dir,
		"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m", "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
	} {
		tb.Setenv(name, value)
	}
	const daemon = "org.apache.spark.deploy."
	log := s.start(tb, daemon+"master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
	s.master = awaitLine(tb, log, regexp.MustCompile(`Starting Spark master at (\S+)`))
	for i := range 2 {
		log := s.start(tb, daemon+"worker.Worker", "--host", fmt.Sprint("127.0.0.", 2+i), "--port", "0", "--webui-port", "0",
			"--cores", "1", "--memory", "1g", "--work-dir", filepath.Join(dir, strconv.Itoa(i)), s.master)
		awaitLine(tb, log, regexp.MustCompile(`Successfully registered with master (\S+)`))
	}
	return s
}

// start starts a daemon of the cluster and returns the path of its log.
func (s *spark) start(tb testing.TB, class string, args ...string) (log string) {
	f, err := os.CreateTemp(tb.TempDir(), "log")
	must(tb, err)
	defer f.Close()
	c := exec.Command(filepath.Join(s.bin, "spark-class"), append([]string{class}, args...)...)
	c.Stdout, c.Stderr = f, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(tb, c.Start())
	tb.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return f.Name()
}

// awaitLine waits, for a minute, until a log matches a pattern, and returns the
// submatch.
func awaitLine(tb testing.TB, log string, pattern *regexp.Regexp) string {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		text, err := os.ReadFile(log)
		must(tb, err)
		if m := pattern.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		if time.Now().After(deadline) {
			tb.Fatalf("no %s in the log:\n%s", pattern, text)
		}
	}
}

// build builds 16 shards of files by a job of the cluster. Its time includes the
// start of the driver and of the executors.
func (s *spark) build(inputs []string) build {
	return func(tb testing.TB, path string) map[string]float64 { return s.submit(tb, path, inputs) }
}

// buildStored is like build, with the objects of a storage.
func (s *spark) buildStored(s3 *storage) build {
	return func(tb testing.TB, path string) map[string]float64 {
		prefix := filepath.Base(filepath.Dir(path))
		defer os.RemoveAll(s3.path(prefix))
		return s.submit(tb, s3.url(prefix), s3.urls)
	}
}

func (s *spark) submit(tb testing.TB, prefix string, inputs []string) map[string]float64 {
	started := machineTime(tb)
	job, err := filepath.Abs("../deploy/spark/promobuild_job.py")
	must(tb, err)
	args := []string{
		"--master", s.master, "--driver-memory", "512m", "--executor-memory", "512m", "--conf", "spark.ui.enabled=false", job,
		"--promobuild", filepath.Join(env.Bin, "promobuild"), "--shards", "16", "--split-size", "128MiB", "--work", prefix + "/work", "--out", prefix + "/out",
	}
	out, err := exec.Command(filepath.Join(s.bin, "spark-submit"), append(args, inputs...)...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%v:\n%s", err, out)
	}
	summary := regexp.MustCompile(`(?m)^rows\s+([0-9,]+)$`).FindSubmatch(out)
	if summary == nil {
		tb.Fatalf("no number of rows:\n%s", out)
	}
	rows, err := strconv.ParseFloat(strings.ReplaceAll(string(summary[1]), ",", ""), 64)
	must(tb, err)
	return map[string]float64{"cpu-ns/row": float64(machineTime(tb)-started) / rows}
}

// TestTasks checks that each way to build a generation publishes one.
func TestTasks(t *testing.T) {
	csv := env.CSV(t, "v4", 3000)
	s3 := startStorage(t, []string{csv})
	defer s3.stop()
	cluster, files := startSpark(t), []string{csv}
	for name, f := range map[string]build{
		"build": byOne(files), "build of objects": byOne(s3.urls), "tasks": byTasks(2, nil, files), "tasks of objects": byTasks(2, s3, s3.urls),
		"Spark": cluster.build(files), "Spark of objects": cluster.buildStored(s3),
	} {
		if s := timed(3000, f)(t); s.Value <= 0 || s.Metrics["cpu-ns/row"] <= 0 {
			t.Errorf("%s: %v", name, s)
		}
	}
}
