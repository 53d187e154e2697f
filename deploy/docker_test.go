//go:build system

package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"promostore/internal/synth"
)

// A standIn is an image that replaces one that users pull.
type standIn struct {
	name       string
	dockerfile string   // the file that names the image
	changes    []string // instructions of a Dockerfile
	fill       func(*tar.Writer) error
}

// make creates the image unless an image with its name exists, and removes it when
// the test ends.
func (s standIn) make(t *testing.T) {
	t.Helper()
	dockerfile, err := os.ReadFile(s.dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(dockerfile)), s.name) {
		t.Fatalf("%s does not name %s", s.dockerfile, s.name)
	}
	if exec.Command("docker", "image", "inspect", s.name).Run() == nil {
		return
	}
	importImage(t, s.name, s.changes, s.fill)
}

// importImage creates an image of one layer. When the test ends, it removes the
// image and the containers and images that are based on it.
func importImage(t *testing.T, name string, changes []string, fill func(*tar.Writer) error) {
	t.Helper()
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	cmd := exec.Command("docker", append(args, "-", name)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(stdin)
	if err := errors.Join(fill(tw), tw.Close(), stdin.Close(), cmd.Wait()); err != nil {
		t.Fatalf("docker import: %v: %s", err, &out)
	}
	t.Cleanup(func() {
		for container := range strings.FieldsSeq(run(t, "docker", "ps", "--all", "--quiet", "--filter", "ancestor="+name)) {
			_ = exec.Command("docker", "rm", "--force", container).Run()
		}
		for image := range strings.FieldsSeq(run(t, "docker", "images", "--quiet", "--filter", "dangling=true", "--filter", "since="+name)) {
			_ = exec.Command("docker", "rmi", "--force", image).Run()
		}
		run(t, "docker", "rmi", name)
	})
}

// golang returns an image with Go, the modules and a shell of this machine, so that
// a build of the Dockerfile needs no network.
func golang(t *testing.T) standIn {
	t.Helper()
	modules := filepath.Join(t.TempDir(), "modules")
	host := strings.TrimSpace(run(t, "go", "env", "GOMODCACHE"))
	proxies := strings.TrimSpace(run(t, "go", "env", "GOPROXY"))
	goroot := strings.TrimSpace(run(t, "go", "env", "GOROOT"))
	download := exec.Command("go", "mod", "download")
	download.Dir = ".."
	download.Env = append(os.Environ(), "GOMODCACHE="+modules, "GOFLAGS=-modcacherw", "GOPROXY=file://"+host+"/cache/download,"+proxies)
	if out, err := download.CombinedOutput(); err != nil {
		t.Fatalf("go mod download: %v: %s", err, out)
	}
	return standIn{
		name:       "golang:1.26",
		dockerfile: "Dockerfile",
		changes:    []string{"ENV PATH=/usr/local/go/bin:/bin", "ENV GOTOOLCHAIN=local", "ENV GOPROXY=file:///modules", "ENV GOSUMDB=off"},
		fill: func(tw *tar.Writer) error {
			return errors.Join(
				addTree(tw, goroot, "usr/local/go"),
				addTree(tw, filepath.Join(modules, "cache", "download"), "modules"),
				addPrograms(tw, "/bin/sh"),
				addDir(tw, "tmp/", 0o1777, 0))
		},
	}
}

// debian returns an image with the programs of this machine that promo-pull needs,
// and an apt-get that does nothing.
func debian() standIn {
	return standIn{
		name:       "debian:13-slim",
		dockerfile: "rsync/Dockerfile",
		changes:    []string{"ENV PATH=/usr/local/bin:/usr/bin:/bin"},
		fill: func(tw *tar.Writer) error {
			err := addPrograms(tw, "/bin/sh", "/usr/bin/env", "/bin/bash", "/usr/bin/rsync", "/usr/bin/find", "/usr/bin/flock",
				"/bin/mkdir", "/bin/mv", "/bin/rm", "/bin/sed", "/usr/bin/awk", "/usr/bin/od", "/bin/grep", "/usr/bin/tail", "/bin/sleep", "/bin/true=usr/bin/apt-get")
			return errors.Join(err, addDir(tw, "tmp/", 0o1777, 0))
		},
	}
}

// prometheus returns an image with the Prometheus of this machine, started like the
// official image.
func prometheus() standIn {
	return standIn{
		name:       "prom/prometheus:v3.5.0",
		dockerfile: composeFile,
		changes: []string{`ENTRYPOINT ["/bin/prometheus"]`, "USER 65534",
			`CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]`},
		fill: func(tw *tar.Writer) error {
			return errors.Join(addPrograms(tw, "/usr/bin/prometheus=bin/prometheus"), addDir(tw, "prometheus/", 0o755, 65534))
		},
	}
}

// addTree adds the files below dir under another name. It omits tests, which are a
// third of the Go distribution.
func addTree(tw *tar.Writer, dir, name string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "testdata" || path == filepath.Join(dir, "test")) {
			return fs.SkipDir
		}
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return addFile(tw, path, filepath.Join(name, rel))
	})
}

// addPrograms adds programs and the libraries that they need. A program of the form
// PATH=NAME is added as NAME.
func addPrograms(tw *tar.Writer, programs ...string) error {
	added := map[string]bool{}
	add := func(path, name string) error {
		if added[name] {
			return nil
		}
		added[name] = true
		return addFile(tw, path, name)
	}
	for _, program := range programs {
		path, name, renamed := strings.Cut(program, "=")
		if !renamed {
			name = path[1:]
		}
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			return fmt.Errorf("ldd %s: %w", path, err)
		}
		for _, library := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
			if err := add(library, library[1:]); err != nil {
				return err
			}
		}
		if err := add(path, name); err != nil {
			return err
		}
	}
	return nil
}

func addDir(tw *tar.Writer, name string, mode int64, owner int) error {
	return tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, Uid: owner, Gid: owner})
}

func addFile(tw *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// A composition is a running copy of compose.yaml with a project name of its own.
type composition struct {
	command        []string // without the subcommand
	name, image    string
	api, updater   string // URLs
	prometheus     string // an address
	generationsDir string // the directory of the volume on this machine
}

// compose returns the command of Docker Compose, the plugin or the program.
func compose(t *testing.T) []string {
	t.Helper()
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	needs(t, "docker-compose")
	return []string{"docker-compose"}
}

// up builds the image and starts api and updater.
func up(t *testing.T) *composition {
	t.Helper()
	needs(t, "docker", "ldd")
	run(t, "docker", "version")
	name := fmt.Sprintf("promostore-test-%d", os.Getpid())
	api, updater, metrics := freeAddress(t), freeAddress(t), freeAddress(t)
	c := &composition{
		command: append(compose(t), "--file", composeFile, "--project-name", name),
		name:    name, image: name,
		api: "http://" + api, updater: "http://" + updater, prometheus: metrics,
	}
	t.Setenv("API", api)
	t.Setenv("UPDATER", updater)
	t.Setenv("PROMETHEUS", metrics)
	t.Setenv("IMAGE", c.image)
	t.Setenv("VERSION", "v1.2.3-test")
	golang(t).make(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.run(t, "logs", "--no-color"))
		}
		c.run(t, "--profile", "monitoring", "down", "--volumes", "--remove-orphans", "--timeout", "1")
		run(t, "docker", "rmi", c.image)
	})
	c.run(t, "up", "--build", "--detach")
	c.generationsDir = strings.TrimSpace(run(t, "docker", "volume", "inspect", "--format", "{{.Mountpoint}}", name+"_generations"))
	return c
}

func (c *composition) run(t *testing.T, args ...string) string {
	t.Helper()
	args = append(slices.Clone(c.command), args...)
	return run(t, args[0], args[1:]...)
}

// exec runs a command in the container of a service and returns its output and its
// exit code.
func (c *composition) exec(t *testing.T, service string, command ...string) (string, int) {
	t.Helper()
	args := append(append(slices.Clone(c.command), "exec", "-T", service), command...)
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// inspect decodes the output of a template for the container of a service into v.
func (c *composition) inspect(t *testing.T, service, template string, v any) {
	t.Helper()
	container := strings.TrimSpace(c.run(t, "ps", "--quiet", service))
	out := run(t, "docker", "inspect", "--format", "{{json "+template+"}}", container)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("%s of %s is %s: %v", template, service, out, err)
	}
}

func (c *composition) waitHealthy(t *testing.T, service string) {
	t.Helper()
	waitFor(t, service+" is healthy", func() bool {
		var status string
		c.inspect(t, service, ".State.Health.Status", &status)
		return status == "healthy"
	})
}

// wantFiles checks the files in the volume, except the lock.
func (c *composition) wantFiles(t *testing.T, generations ...string) {
	t.Helper()
	entries, err := os.ReadDir(c.generationsDir)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range entries {
		if e.Name() != ".lock" {
			got = append(got, e.Name())
		}
	}
	for _, g := range generations {
		want = append(want, "promotions-"+g+"-00000-of-00001.pgen", "promotions-"+g+".summary.json")
	}
	if !slices.Equal(got, want) {
		t.Errorf("the volume has %q, want %q", got, want)
	}
}

// upload uploads the data set of a seed as a form and returns the generation.
func (c *composition) upload(t *testing.T, seed uint64) string {
	t.Helper()
	body, content := io.Pipe()
	form := multipart.NewWriter(content)
	go func() {
		part, err := form.CreateFormFile("data", "promotions.csv")
		if err == nil {
			_, err = synth.DataSet{Keys: keys(seed), Rows: minRows}.WriteTo(part)
		}
		content.CloseWithError(errors.Join(err, form.Close()))
	}()
	resp, err := http.Post(c.updater+"/upload", form.FormDataContentType(), body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("upload: %d %s, %v", resp.StatusCode, answer, err)
	}
	var summary struct {
		Generation string
		Records    int64
	}
	if err := json.Unmarshal(answer, &summary); err != nil || summary.Generation == "" || summary.Records != minRows {
		t.Fatalf("upload: %s, %v", answer, err)
	}
	return summary.Generation
}

// stall starts an upload that never ends. It returns when the updater has a
// temporary file.
func (c *composition) stall(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	body, content := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.updater+"/upload", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = synth.DataSet{Keys: keys(9), Rows: minRows}.WriteTo(content) }()
	go func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	waitFor(t, "a build has begun", func() bool {
		left, err := filepath.Glob(filepath.Join(c.generationsDir, ".promotions-*"))
		return err == nil && len(left) > 0
	})
}

// kill kills the process of a service and waits for its restart. It does not use
// docker kill, after which the engine would not restart the container.
func (c *composition) kill(t *testing.T, service string) {
	t.Helper()
	var pid int
	c.inspect(t, service, ".State.Pid", &pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, service+" restarts", func() bool {
		var now int
		c.inspect(t, service, ".State.Pid", &now)
		return now != 0 && now != pid
	})
}

// TestCompose runs both services through uploads, a crash, a restart and a rollback.
func TestCompose(t *testing.T) {
	c := up(t)
	c.waitHealthy(t, "api")
	c.waitHealthy(t, "updater")
	c.checkConfined(t)

	// Without a generation, the API lives but is not ready.
	if a, err := get(c.api + "/readyz"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("/readyz before the first upload: %d, %v", a.status, err)
	}
	if out, code := c.exec(t, "api", "/promoserve", "health"); code != 1 {
		t.Errorf("health before the first upload: %d %s", code, out)
	}

	c.checkCommands(t)

	var known dataSets
	first := c.upload(t, 0)
	known.add(first, 0)
	waitLive(t, c.api, first)
	if out, code := c.exec(t, "api", "/promoserve", "health"); code != 0 {
		t.Errorf("health: %d %s", code, out)
	}
	c.checkMonitored(t)
	stop := known.ask(t, c.api)
	second := c.upload(t, 1)
	known.add(second, 1)
	waitLive(t, c.api, second)

	c.stall(t)
	c.kill(t, "updater")
	c.waitHealthy(t, "updater")
	third := c.upload(t, 2)
	known.add(third, 2)
	waitLive(t, c.api, third)
	c.wantFiles(t, second, third)

	stop() // the only API is unavailable during its restart
	c.run(t, "restart", "api")
	waitLive(t, c.api, third)
	known.ask(t, c.api)

	if out, code := c.exec(t, "updater", "/promobuild", "rollback", "--reason", "a test"); code != 0 {
		t.Fatalf("rollback: %d %s", code, out)
	}
	waitLive(t, c.api, second)
	c.run(t, "up", "--detach", "--scale", "updater=0")
	if left := strings.TrimSpace(c.run(t, "ps", "--quiet", "updater")); left != "" {
		t.Errorf("there are still updaters: %s", left)
	}
	if _, err := get(c.updater + "/healthz"); err == nil {
		t.Error("there is still an updater")
	}
	waitLive(t, c.api, second)
	c.checkWithoutRing(t)
}

// checkCommands runs the commands that users of the replaced system know: they
// upload a file, get a promotion over http and https, and get a 404.
func (c *composition) checkCommands(t *testing.T) {
	t.Helper()
	needs(t, "curl")
	curl := func(want string, args ...string) string {
		t.Helper()
		args = append([]string{"--silent", "--show-error", "--write-out", "\n%{http_code}"}, args...)
		out := run(t, "curl", args...)
		body, code := out[:strings.LastIndexByte(out, '\n')], out[strings.LastIndexByte(out, '\n')+1:]
		if code != want {
			t.Fatalf("curl %q: %s %s, want %s", args, code, body, want)
		}
		return body
	}
	var published struct{ Generation string }
	answer := curl("201", "--form", "data=@../testdata/promotions.csv", c.updater+"/upload")
	if err := json.Unmarshal([]byte(answer), &published); err != nil {
		t.Fatalf("the response to the upload is %s: %v", answer, err)
	}
	waitLive(t, c.api, published.Generation)
	const path = "/promotions/172FFC14-D229-4C93-B06B-F48B8C095512"
	const promotion = `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}`
	for _, api := range []string{c.api, strings.Replace(c.api, "http:", "https:", 1)} {
		if got := curl("200", "--insecure", api+path); strings.TrimSpace(got) != promotion {
			t.Errorf("%s%s is %s, want %s", api, path, got, promotion)
		}
		curl("404", "--insecure", api+"/promotions/172FFC14-D229-4C93-B06B-000000000000")
	}
}

// checkMonitored starts Prometheus, which must scrape both programs.
func (c *composition) checkMonitored(t *testing.T) {
	t.Helper()
	needs(t, "prometheus")
	prometheus().make(t)
	c.run(t, "--profile", "monitoring", "up", "--detach", "--no-deps", "prometheus")
	waitFor(t, "Prometheus has scraped both", func() bool {
		n, err := results(c.prometheus, "up == 1")
		return err == nil && n == 2
	})
	wantHealthyRules(t, c.prometheus)
}

// checkConfined checks the restrictions of the services.
func (c *composition) checkConfined(t *testing.T) {
	t.Helper()
	for _, service := range []string{"api", "updater"} {
		var host struct {
			ReadonlyRootfs       bool
			CapDrop, SecurityOpt []string
			PortBindings         map[string][]struct{ HostIp string }
			RestartPolicy        struct{ Name string }
		}
		c.inspect(t, service, ".HostConfig", &host)
		var user string
		c.inspect(t, service, ".Config.User", &user)
		if !host.ReadonlyRootfs || !slices.Equal(host.CapDrop, []string{"ALL"}) || !slices.Contains(host.SecurityOpt, "no-new-privileges:true") ||
			host.RestartPolicy.Name != "unless-stopped" || user != "65532:65532" {
			t.Errorf("%s runs as %q with %+v", service, user, host)
		}
		for port, bindings := range host.PortBindings {
			for _, b := range bindings {
				if b.HostIp != "127.0.0.1" {
					t.Errorf("%s is published on %q", port, b.HostIp)
				}
			}
		}
		var pid int
		c.inspect(t, service, ".State.Pid", &pid)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Uid:\t65532\t65532", "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
			if !bytes.Contains(status, []byte(want)) {
				t.Errorf("%s lacks %q:\n%s", service, want, status)
			}
		}
	}
	if out, _ := c.exec(t, "api", "/promoserve", "--version"); !strings.Contains(out, "v1.2.3-test") {
		t.Errorf("the version is %q", out)
	}
	if size := strings.TrimSpace(run(t, "docker", "image", "inspect", "--format", "{{.Size}} {{len .RootFS.Layers}}", c.image)); len(size) > len("99999999 2") {
		t.Errorf("the image has %s bytes and layers", size)
	}
}

// checkWithoutRing checks that a server works with --access pread if the seccomp
// profile forbids io_uring, as the default of newer engines does.
func (c *composition) checkWithoutRing(t *testing.T) {
	t.Helper()
	filter := filepath.Join(t.TempDir(), "seccomp.json")
	const rules = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["io_uring_setup", "io_uring_enter", "io_uring_register"], "action": "SCMP_ACT_ERRNO"}]}`
	if err := os.WriteFile(filter, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"seccomp=" + filter, "no-new-privileges"} {
		address := freeAddress(t)
		container := strings.TrimSpace(run(t, "docker", "run", "--detach", "--read-only", "--cap-drop", "ALL", "--security-opt", option,
			"--publish", address+":1321", "--volume", c.name+"_generations:/data:ro", c.image, "/promoserve", "--access", "pread"))
		t.Cleanup(func() { run(t, "docker", "rm", "--force", container) })
		waitFor(t, "a promotion is served with "+option, func() bool {
			a, err := get("http://" + address + "/promotions/" + id(1))
			return err == nil && a.status == http.StatusOK
		})
		if log := run(t, "docker", "logs", container); !strings.Contains(log, "access=pread") {
			t.Errorf("with %s the server logs %s", option, log)
		}
	}
}

// TestComposeMonitoring checks that the profile monitoring adds two services, with
// fixed versions.
func TestComposeMonitoring(t *testing.T) {
	command := append(compose(t), "--file", composeFile, "--profile", "monitoring", "config")
	config := run(t, command[0], command[1:]...)
	names := strings.Fields(run(t, command[0], append(command[1:], "--services")...))
	slices.Sort(names)
	if want := []string{"api", "grafana", "prometheus", "updater"}; !slices.Equal(names, want) {
		t.Errorf("the services are %q, want %q", names, want)
	}
	images := regexp.MustCompile(`image: (prom|grafana)/\S+`).FindAllString(config, -1)
	if len(images) != 2 {
		t.Errorf("the images are %q", images)
	}
	for _, image := range images {
		if !regexp.MustCompile(`:v?\d+\.\d+\.\d+$`).MatchString(image) {
			t.Errorf("%s: without a version", image)
		}
	}
}

// TestPullImage checks that the image of promo-pull copies generations into a volume
// that the image of the server can read.
func TestPullImage(t *testing.T) {
	needs(t, "docker", "ldd")
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	promobuild := program(t, "promobuild")
	name := fmt.Sprintf("promo-pull-test-%d", os.Getpid())
	importImage(t, name+"-programs", nil, func(tw *tar.Writer) error {
		return errors.Join(addDir(tw, "data/", 0o755, 65532), addFile(tw, promobuild, "promobuild"))
	})
	debian().make(t)
	run(t, "docker", "build", "--quiet", "--build-arg", "PROGRAMS="+name+"-programs", "--file", "rsync/Dockerfile", "--tag", name, "..")
	t.Cleanup(func() {
		run(t, "docker", "rmi", name)
		run(t, "docker", "volume", "rm", name)
	})
	pull := func() string {
		return run(t, "docker", "run", "--rm", "--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
			"--env", "RSYNC_PASSWORD=secret", "--volume", name+":/data", name, "promo-pull", m.url, "/data", "2")
	}
	pull()
	out := run(t, "docker", "run", "--rm", "--volume", name+":/data:ro", name, "promobuild", "verify", "/data/"+filepath.Base(path))
	if !strings.Contains(out, "good") {
		t.Errorf("verify of the pulled file: %s", out)
	}
	pull()
}
