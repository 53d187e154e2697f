package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/synth"
)

// An updaterProcess is a running updater on a loopback port.
type updaterProcess struct {
	*exec.Cmd
	address string
	drained chan struct{}
}

func startUpdater(t *testing.T, args ...string) *updaterProcess {
	t.Helper()
	return startUpdaterAs(t, nil, args...)
}

// startUpdaterAs starts an updater of another user; nil is the user of the test.
func startUpdaterAs(t *testing.T, user *syscall.Credential, args ...string) *updaterProcess {
	t.Helper()
	p := &updaterProcess{drained: make(chan struct{})}
	p.Cmd = exec.Command("promobuild", append([]string{"updater", "--listen", "127.0.0.1:0", "--memory", "64MiB", "--log-format", "json"}, args...)...)
	p.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.wait()
		}
	})
	log := bufio.NewReader(stderr)
	line, err := log.ReadBytes('\n')
	var first struct{ Msg, Address string }
	if err != nil || json.Unmarshal(line, &first) != nil || first.Msg != "serving" {
		t.Fatalf("the log begins with %q, %v", line, err)
	}
	p.address = first.Address
	go func() {
		_, _ = io.Copy(io.Discard, log)
		close(p.drained)
	}()
	return p
}

func (p *updaterProcess) wait() error {
	<-p.drained
	return p.Wait()
}

func (p *updaterProcess) status(t *testing.T) string {
	t.Helper()
	res, err := http.Get("http://" + p.address + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Times in answers are in UTC, whatever the time zone of the updater.
func TestStatusIsInUTC(t *testing.T) {
	t.Setenv("TZ", "Asia/Kathmandu")
	p := startUpdater(t, "--data", t.TempDir())
	for _, body := range []string{"bad", "5f3c1d1e-8a4b-4c55-9d0e-0123456789ab,12.50,2026-12-31 23:59:59\n"} {
		res, err := http.Post("http://"+p.address+"/upload", "text/csv", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	times := regexp.MustCompile(`T\d\d:\d\d:\d\d[.\d]*([^"]*)"`).FindAllStringSubmatch(p.status(t), -1)
	for _, zone := range times {
		if zone[1] != "Z" {
			t.Errorf("a time ends with %q", zone[1])
		}
	}
	if len(times) < 4 {
		t.Errorf("%d times: %s", len(times), p.status(t))
	}
}

// An updater that is killed repeatedly, at any time, loses no file of its inbox and
// builds none twice.
func TestKilledUpdaterBuildsEachFileOnce(t *testing.T) {
	for _, shards := range []int{1, 16} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) { killUpdater(t, shards) })
	}
}

// killUpdater kills updaters that build sharded generations of an inbox, and checks
// the generations.
func killUpdater(t *testing.T, shards int) {
	const numFiles = 15
	dir := t.TempDir()
	data, inbox := filepath.Join(dir, "data"), filepath.Join(dir, "inbox")
	if err := os.Mkdir(inbox, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range int64(numFiles) { // file N has N records
		f, err := os.Create(filepath.Join(inbox, fmt.Sprintf("%03d.csv", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (synth.DataSet{Rows: i + 1}).WriteTo(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	done := func() int {
		entries, err := os.ReadDir(filepath.Join(inbox, "done"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return len(entries)
	}
	random := rand.New(rand.NewPCG(1, 2))
	kills := 0
	for before := 0; before < numFiles; before = done() {
		p := startUpdater(t, "--data", data, "--inbox", inbox, "--shards", fmt.Sprint(shards))
		// Kill it after up to 4 more files: few files make many kills.
		deadline := time.Now().Add(time.Minute)
		for goal := before + 1 + random.IntN(4); done() < min(goal, numFiles); {
			if time.Now().After(deadline) {
				t.Fatalf("%d files are done: %s", done(), p.status(t))
			}
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond) // at any point of a build
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.wait()
		kills++
	}
	p := startUpdater(t, "--data", data, "--inbox", inbox) // finishes the interrupted moves
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	list, err := generation.List(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != numFiles {
		t.Errorf("%d generations of %d files, after %d kills", len(list), numFiles, kills)
	}
	for i, g := range list {
		if h, err := g.Header(); err != nil || h.Records != uint64(i+1) {
			t.Errorf("generation %d of %d has %d records, %v", i, len(list), h.Records, err)
		}
	}
	if names := files(t, data); len(names) != len(list)*shards {
		t.Errorf("the data directory has %v", names)
	}
	for _, sub := range []string{"failed", ".building", ".publishing"} {
		if left := files(t, filepath.Join(inbox, sub)); len(left) > 0 {
			t.Errorf("%s has %v", sub, left)
		}
	}
	t.Logf("%d kills", kills)
}

// An upload excludes a build. If its updater is killed, the next updater removes the
// temporary file.
func TestUpdaterAfterKilledUploadCleansUp(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := startUpdater(t, "--data", data)
	body, feed := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		res, err := http.Post("http://"+p.address+"/upload", "text/csv", body)
		if err == nil {
			res.Body.Close()
			err = fmt.Errorf("answer %s", res.Status)
		}
		sent <- err
	}()
	if _, err := (synth.DataSet{Rows: 10_000}).WriteTo(feed); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.status(t), `"phase":"read"`); {
		if time.Now().After(deadline) {
			t.Fatalf("no build runs: %s", p.status(t))
		}
	}
	out, err := exec.Command("promobuild", "build", "--quiet", "--data", data, "../../testdata/promotions.csv").CombinedOutput()
	if exitCode(err) != program.ExitFailed || !strings.Contains(string(out), fmt.Sprintf("process %d is writing", p.Process.Pid)) {
		t.Errorf("a build during the upload: %v: %s", err, out)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.wait()
	feed.CloseWithError(io.ErrUnexpectedEOF) // the client may be waiting to send more
	if err := <-sent; err == nil || strings.HasPrefix(err.Error(), "answer") {
		t.Errorf("the client got %v", err)
	}
	if left := files(t, data); len(left) != 1 || !strings.HasPrefix(left[0], ".") {
		t.Errorf("the killed updater left %v", left)
	}
	p = startUpdater(t, "--data", data)
	if left := files(t, data); len(left) != 0 {
		t.Errorf("the next updater left %v", left)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		t.Errorf("the updater exits with %v", err)
	}
}
