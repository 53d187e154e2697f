//go:build system

package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/objecttest"
)

const sparkJob = "spark/promobuild_job.py"

// A sparkCluster is a standalone cluster: a master and two workers with one core
// each. Their addresses differ, because Spark runs the copies of a task on different
// hosts.
type sparkCluster struct {
	bin     string // directory of spark-submit
	master  string // spark://…
	work    string // has the logs of the executors
	workers []*process
}

// startSpark starts a cluster from the package pyspark, which "make test-system"
// installs.
func startSpark(t *testing.T) *sparkCluster {
	t.Helper()
	needs(t, "spark-submit", "java")
	submit, err := exec.LookPath("spark-submit")
	if err != nil {
		t.Fatal(err)
	}
	python := filepath.Join(filepath.Dir(submit), "python3")
	home := strings.TrimSpace(run(t, python, "-c", "import pyspark; print(pyspark.__path__[0])"))
	c := &sparkCluster{bin: filepath.Join(home, "bin"), work: t.TempDir()}
	for name, value := range map[string]string{
		"SPARK_HOME": home, "PYSPARK_PYTHON": python, "PYTHONPYCACHEPREFIX": t.TempDir(),
		"SPARK_CONF_DIR": t.TempDir(), "SPARK_LOCAL_DIRS": t.TempDir(), "SPARK_LOCAL_IP": "127.0.0.1",
		"SPARK_DAEMON_MEMORY": "256m", "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
	} {
		t.Setenv(name, value)
	}
	run(t, python, "-m", "py_compile", sparkJob)

	const daemon = "org.apache.spark.deploy."
	master := start(t, filepath.Join(c.bin, "spark-class"), daemon+"master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
	port := func(service string) string {
		_, port, _ := strings.Cut(master.line(t, "Successfully started service '"+service+"' on port "), "on port ")
		return strings.TrimSuffix(port, ".")
	}
	c.master = "spark://127.0.0.1:" + port("sparkMaster")
	status := "http://127.0.0.1:" + port("MasterUI") + "/json/"
	for i := range 2 {
		c.workers = append(c.workers, start(t, filepath.Join(c.bin, "spark-class"), daemon+"worker.Worker", "--host", fmt.Sprintf("127.0.0.%d", 2+i),
			"--port", "0", "--webui-port", "0", "--cores", "1", "--memory", "1g", "--work-dir", filepath.Join(c.work, strconv.Itoa(i)), c.master))
	}
	waitFor(t, "both workers are registered", func() bool {
		var master struct{ AliveWorkers int }
		a, err := get(status)
		return err == nil && json.Unmarshal([]byte(a.body), &master) == nil && master.AliveWorkers == len(c.workers)
	})
	t.Cleanup(func() {
		if t.Failed() {
			for path, text := range c.logs(t) {
				t.Logf("%s:\n%s", path, text[max(0, len(text)-10_000):])
			}
		}
	})
	return c
}

// logs returns the standard error of all executors, by path.
func (c *sparkCluster) logs(t *testing.T) map[string]string {
	t.Helper()
	logs := map[string]string{}
	err := filepath.WalkDir(c.work, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "stderr" {
			return err
		}
		text, err := os.ReadFile(path)
		logs[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

// attempts returns how often executors ran the task of an index for the plan of a
// generation.
func (c *sparkCluster) attempts(t *testing.T, id generation.ID, command string, index int) (n int) {
	t.Helper()
	for _, log := range c.logs(t) {
		for line := range strings.Lines(log) {
			if strings.Contains(line, "promobuild "+command+" --plan ") && strings.Contains(line, id.String()) && strings.HasSuffix(line, fmt.Sprintf(" --index %d\n", index)) {
				n++
			}
		}
	}
	return n
}

// submit starts the job in the cluster. The settings of Spark lack their prefix.
func (c *sparkCluster) submit(t *testing.T, promobuild string, settings []string, args ...string) *process {
	t.Helper()
	all := []string{"--master", c.master, "--driver-memory", "512m", "--executor-memory", "512m", "--files", promobuild}
	for _, s := range append(settings, "ui.enabled=false") {
		all = append(all, "--conf", "spark."+s)
	}
	all = append(all, sparkJob, "--promobuild", promobuild, "--memory", "128MiB")
	return start(t, filepath.Join(c.bin, "spark-submit"), append(all, args...)...)
}

// await calls done until it returns true. The process must not end before.
func (p *process) await(t *testing.T, event string, done func() bool) {
	t.Helper()
	waitFor(t, event, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("%s has ended before this: %s", p.Path, event)
		default:
		}
		return done()
	})
}

// wait waits for the end of a job and returns its output and its exit code.
func (p *process) wait(t *testing.T) (string, int) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(3 * patience):
		t.Fatalf("the job runs after %s", 3*patience)
	}
	return strings.Join(p.log, "\n"), p.ProcessState.ExitCode()
}

// wantNoSecret checks that neither the output of the job nor the log of an executor
// has the secret key of object storage.
func (c *sparkCluster) wantNoSecret(t *testing.T, output string) {
	t.Helper()
	logs := c.logs(t)
	logs["the driver"] = output
	for name, text := range logs {
		if strings.Contains(text, objecttest.SecretAccessKey) {
			t.Errorf("%s has the secret key", name)
		}
	}
}

// wrap writes a shell script that runs some lines and then promobuild. The lines can
// compare the variable task with a command and an index, such as split-1.
func wrap(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "promobuild")
	script := "#!/bin/sh\nfor index; do :; done\ntask=$1-$index\n" + lines + "\nexec '" + program(t, "promobuild") + "' \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// isRunning reports whether a process exists and has not ended.
func isRunning(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(line) > 0
}

// descendants returns the children of a process, their children and so on.
func descendants(t *testing.T, pid int) (pids []int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]int{}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		var child, parent int
		var state string
		name, rest, _ := strings.Cut(string(stat), ") ")
		_, err1 := fmt.Sscan(name, &child)
		_, err2 := fmt.Sscan(rest, &state, &parent)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		children[parent] = append(children[parent], child)
	}
	pids = slices.Clone(children[pid])
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}
