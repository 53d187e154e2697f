// Package progtest builds and runs promobuild and promoserve, and reports their
// help, metrics and endpoints. The tests of the docs and of the deployment files
// compare those with the programs.
package progtest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Programs describes both programs.
type Programs struct {
	Helps    map[string]Help // by command line, such as "promobuild build"
	Commands []string        // the keys of Helps, in the order of the help
	Server   Observation     // of promoserve
	Updater  Observation     // of promobuild updater
}

// An Observation holds the metrics and the endpoints of a running server.
type Observation struct {
	Metrics   []Family
	Endpoints []Endpoint
}

// Allows reports whether the server answers method at path.
func (o *Observation) Allows(method, path string) bool {
	return slices.ContainsFunc(o.Endpoints, func(e Endpoint) bool {
		return e.Path == path && slices.Contains(strings.Split(e.Methods, ", "), method)
	})
}

// Observe builds and runs the programs, once for all tests of a package. It fails
// the test if that fails.
func Observe(t testing.TB) *Programs {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	statSources(t, root)
	p, err := observe()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Help returns the help of a command. It fails the test if there is no such command.
func (p *Programs) Help(t testing.TB, command string) Help {
	t.Helper()
	h, ok := p.Helps[command]
	if !ok {
		t.Fatalf("no command %q", command)
	}
	return h
}

// moduleRoot returns the directory of go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err = os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir != "/" && errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return "", err
}

// statSources stats the source files, so that the go command runs the tests again
// after a change of them.
func statSources(t testing.TB, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"bench", "testdata", "data", ".git", "bin"}, d.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) == ".go":
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var observe = sync.OnceValues(func() (*Programs, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "promostore-progtest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	p := &Programs{Helps: map[string]Help{}}
	if err := cmp.Or(p.readHelp(dir, "promoserve"), p.readHelp(dir, "promobuild")); err != nil {
		return nil, err
	}
	return p, p.runServers(root, dir)
})

// readHelp reads the help of a program and of each of its commands.
func (p *Programs) readHelp(dir, program string) error {
	read := func(words ...string) error {
		name := strings.Join(append([]string{program}, words...), " ")
		out, err := exec.Command(filepath.Join(dir, program), append(words, "--help")...).Output()
		p.Helps[name] = Help(out)
		p.Commands = append(p.Commands, name)
		return err
	}
	err := read()
	for _, line := range p.Helps[program].Section("COMMANDS") {
		if name, _, ok := Columns(line); ok && !strings.HasPrefix(name, "help") {
			err = cmp.Or(err, read(name))
		}
	}
	return err
}

// runServers runs both servers over one generation and observes them.
func (p *Programs) runServers(root, dir string) error {
	data := filepath.Join(dir, "data")
	updater, stop, err := launch("serving", filepath.Join(dir, "promobuild"), "updater", "--data", data, "--inbox", filepath.Join(dir, "inbox"), "--max-changed", "100")
	if err != nil {
		return err
	}
	defer stop()
	csv, err := exec.Command(filepath.Join(dir, "promobuild"), "generate", "--rows", "1000").Output()
	if err != nil {
		return err
	}
	for range 2 { // the second is compared with the first
		resp, err := http.Post(updater+"/upload", "text/csv", bytes.NewReader(csv))
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("upload: %s", resp.Status)
		}
	}
	server, stop, err := launch("generation live", filepath.Join(dir, "promoserve"), "--data", data, "--tls-self-signed", "--drain", "0s")
	if err != nil {
		return err
	}
	defer stop()
	if p.Server, err = look(server, filepath.Join(root, "httpd")); err != nil {
		return err
	}
	p.Updater, err = look(updater, filepath.Join(root, "updater"))
	return err
}

// launch starts a server on a free port and returns its URL after it has logged
// message.
func launch(message, program string, args ...string) (url string, stop func(), err error) {
	cmd := exec.Command(program, append(args, "--listen", "127.0.0.1:0", "--log-format", "json")...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	lines := bufio.NewScanner(out)
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		if line.Msg == "serving" {
			url = "http://" + line.Address
		}
		if line.Msg == message {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return url, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s ended before it logged %q", program, message)
}

// look reads the metrics of the server at url and asks for the methods of the
// endpoints that the source of its package defines.
func look(url, pkg string) (Observation, error) {
	var o Observation
	resp, err := http.Get(url + "/prometheus")
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	if o.Metrics, err = families(resp.Body); err != nil {
		return o, err
	}
	if o.Endpoints, err = Endpoints(pkg); err != nil {
		return o, err
	}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		req, err := http.NewRequest(http.MethodPatch, url+e.Path, nil)
		if err != nil {
			return o, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return o, err
		}
		resp.Body.Close()
		e.Methods = resp.Header.Get("Allow")
		if resp.StatusCode != http.StatusMethodNotAllowed || e.Methods == "" {
			return o, fmt.Errorf("PATCH %s: %s, Allow %q", e.Path, resp.Status, e.Methods)
		}
	}
	return o, nil
}

// A Family holds the metrics of one name.
type Family struct {
	Name, Kind, Help string
	Labels           []string            // except le
	Values           map[string][]string // by label
}

var (
	histogramSuffix = regexp.MustCompile(`_(bucket|sum|count)$`)
	labelPair       = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// families reads the text format of Prometheus.
func families(r io.Reader) (list []Family, err error) {
	at := func(name string) *Family {
		i := slices.IndexFunc(list, func(f Family) bool { return f.Name == name })
		if i < 0 {
			i = len(list)
			list = append(list, Family{Name: name, Values: map[string][]string{}})
		}
		return &list[i]
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 4)
		switch {
		case words[0] == "#" && len(words) == 4 && words[1] == "HELP":
			at(words[2]).Help = words[3]
		case words[0] == "#" && len(words) == 4 && words[1] == "TYPE":
			at(words[2]).Kind = words[3]
		case words[0] != "#" && words[0] != "":
			name, labels, _ := strings.Cut(lines.Text(), "{")
			name, _, _ = strings.Cut(name, " ")
			if base := histogramSuffix.ReplaceAllString(name, ""); slices.ContainsFunc(list, func(f Family) bool { return f.Name == base && f.Kind == "histogram" }) {
				name = base
			}
			f := at(name)
			for _, m := range labelPair.FindAllStringSubmatch(labels, -1) {
				f.Values[m[1]] = append(f.Values[m[1]], m[2])
				if !slices.Contains(f.Labels, m[1]) && m[1] != "le" {
					f.Labels = append(f.Labels, m[1])
				}
			}
		}
	}
	return list, lines.Err()
}
