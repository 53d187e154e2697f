package deploy

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"promostore/format/generation"
)

// A sample is a running "make run".
type sample struct {
	*process
	api, secure, upload string // URLs of the printed commands
}

// makeRun returns the arguments of make for unused ports and a directory. It builds
// the programs first, which may take longer than patience.
func makeRun(t *testing.T, dir string, variables ...string) []string {
	t.Helper()
	needs(t, "make", "bash")
	run(t, "make", "-C", "..", "build")
	return append([]string{"-C", "..", "run", "LISTEN=127.0.0.1:0", "UPDATER=127.0.0.1:0", "DATA=" + dir}, variables...)
}

var printedURL = regexp.MustCompile(`https?://\S+`)

// startSample starts "make run" and reads the commands that it prints.
func startSample(t *testing.T, dir string, variables ...string) *sample {
	t.Helper()
	p := start(t, "make", makeRun(t, dir, variables...)...)
	p.line(t, "Ctrl-C stops")
	return &sample{p, printedURL.FindString(p.line(t, "  curl http:")), printedURL.FindString(p.line(t, "  curl -k https:")), printedURL.FindString(p.line(t, "  curl --form"))}
}

// interrupt sends the signal of Ctrl-C to make and its programs, and checks that
// none of them is left.
func (s *sample) interrupt(t *testing.T) {
	t.Helper()
	s.stop(syscall.SIGINT)
	for _, url := range []string{s.api, s.upload} {
		if a, err := get(url); err == nil {
			t.Errorf("after Ctrl-C %s answers %d", url, a.status)
		}
	}
}

// newestOf returns the newest generation of a directory and their number.
func newestOf(t *testing.T, dir string) (string, int) {
	t.Helper()
	list, err := generation.List(dir)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s has %v, %v", dir, list, err)
	}
	return idOf(t, list[len(list)-1].Files[0]), len(list)
}

// TestMakeRun checks that "make run" prints commands that succeed, builds its sample
// only if that has changed, and never hides an uploaded data set.
func TestMakeRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a sample")
	s := startSample(t, dir)
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer insecure.CloseIdleConnections()
	resp, err := insecure.Get(s.secure)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	first, _ := newestOf(t, dir)
	if a, err := get(s.api); err != nil || a.status != http.StatusOK || a.generation != first || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %v %v; %s: %s", s.api, a, err, s.secure, resp.Status)
	}
	s.interrupt(t)

	s = startSample(t, dir)
	if second, n := newestOf(t, dir); second != first || n != 1 {
		t.Errorf("the same sample is built again: %s, then %s", first, second)
	}
	s.interrupt(t)

	csv := filepath.Join(t.TempDir(), "sample.csv")
	write := func(row string) {
		t.Helper()
		if err := os.WriteFile(csv, []byte(row+",1.5,2026-12-31 23:59:59\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(id(0))
	s = startSample(t, dir, "SAMPLE="+csv)
	changed, n := newestOf(t, dir)
	if a, err := get(s.api); n != 2 || err != nil || a.status != http.StatusOK || !strings.HasSuffix(s.api, "/"+id(0)) {
		t.Errorf("of a changed sample %s answers %v, %v", s.api, a, err)
	}
	resp, err = http.Post(s.upload, "text/csv", strings.NewReader(id(1)+",2.5,2026-12-31 23:59:59\n"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("upload: %s", resp.Status)
	}
	uploaded, _ := newestOf(t, dir)
	s.interrupt(t)

	write(id(2))
	s = startSample(t, dir, "SAMPLE="+csv)
	if newest, n := newestOf(t, dir); newest != uploaded || newest == changed || n != 3 {
		t.Errorf("the sample hides an upload: the newest is %s, not %s", newest, uploaded)
	}
	if a, err := get(s.api); err != nil || a.status != http.StatusOK || !strings.HasSuffix(s.api, "/"+id(1)) {
		t.Errorf("of an upload %s answers %v, %v", s.api, a, err)
	}
	s.interrupt(t)
}

// TestMakeRunPortTaken checks that "make run" names the variables that choose other
// ports, prints no commands, and leaves no program.
func TestMakeRunPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, name := range []string{"LISTEN", "UPDATER"} {
		p := start(t, "make", makeRun(t, t.TempDir(), name+"="+taken.Addr().String())...)
		<-p.exited // after all programs that write to its output
		log := strings.Join(p.log, "\n")
		if p.ProcessState.Success() || strings.Contains(log, "curl") {
			t.Errorf("with a taken %s: %v\n%s", name, p.ProcessState, log)
		}
		for _, part := range []string{"address already in use", "LISTEN=", "UPDATER=", "DATA="} {
			if !strings.Contains(log, part) {
				t.Errorf("with a taken %s there is no %s in\n%s", name, part, log)
			}
		}
	}
}

// TestMakeWithoutModules checks that make tells how to prepare for a machine without
// a network.
func TestMakeWithoutModules(t *testing.T) {
	needs(t, "make")
	cmd := exec.Command("make", "-C", "..", "test")
	cmd.Env = append(os.Environ(), "GOMODCACHE="+t.TempDir(), "GOPROXY=off")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "go mod download") || strings.Count(string(out), "\n") > 6 {
		t.Errorf("%v\n%s", err, out)
	}
}
