//go:build system || campaign

package deploy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A proxy is a program of deploy/proxy, with the parts of its configuration that
// the tests replace.
type proxy struct {
	program string
	config  string
	api     string // the directive with the address of the API; %s is the address
	updater string // the same for uploads
	port    string // format of a port in an address
	timeout string // the directive with the time from the last byte of an upload to the answer; %s is the time
	command func(config string) []string
	pid     bool                       // the configuration names a PID file
	shards  bool                       // the configuration routes requests to groups
	changes []func(text string) string // applied to the configuration first
}

var proxies = map[string]proxy{
	"haproxy": {
		program: "haproxy", config: "proxy/haproxy.cfg", api: "bind %s\n", updater: "bind %s\n", port: ":%d", timeout: "timeout server %s ",
		command: func(config string) []string { return []string{"haproxy", "-db", "-f", config} },
	},
	"nginx": {
		program: "nginx", config: "proxy/nginx.conf", api: "listen %s ", updater: "listen %s;", port: "%d", timeout: "proxy_read_timeout %s;", pid: true,
		command: func(config string) []string { return []string{"nginx", "-g", "daemon off;", "-c", config} },
	},
}

const unused = "127.0.0.1:9" // an address where no program listens

// sharded returns the proxy that routes requests to groups. Each change edits the
// configuration.
func (p proxy) sharded(changes ...func(text string) string) proxy {
	p.config = strings.Replace(p.config, ".", "-shards.", 1)
	p.shards, p.changes = true, changes
	return p
}

// start runs the proxy in front of servers and returns its URL.
func (p proxy) start(t *testing.T, servers []*server) string {
	t.Helper()
	api, _ := p.run(t, servers, unused, "1h")
	return api
}

// run runs the proxy in front of servers and an updater, and returns the URLs of
// both. The addresses of the configuration become those of the servers, in turn.
// The proxy waits for the answer to an upload for timeout.
func (p proxy) run(t *testing.T, servers []*server, updater, timeout string) (api, uploads string) {
	t.Helper()
	text, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range p.changes {
		text = []byte(change(string(text)))
	}
	replace := func(old, to string) {
		t.Helper()
		if bytes.Count(text, []byte(old)) != 1 {
			t.Fatalf("%s does not have %q once", p.config, old)
		}
		text = bytes.Replace(text, []byte(old), []byte(to), 1)
	}
	listen := func(directive string, port int) string {
		t.Helper()
		address := freeAddress(t)
		replace(fmt.Sprintf(directive, fmt.Sprintf(p.port, port)), fmt.Sprintf(directive, address))
		return "http://" + address
	}
	api, uploads = listen(p.api, 80), listen(p.updater, 1322)
	for i := range bytes.Count(text, []byte(":1321")) {
		address := unused
		if len(servers) > 0 { // one that is down would answer until the proxy notices
			address = servers[i%len(servers)].address()
		}
		replace(fmt.Sprintf(" 10.0.0.1%d:1321", i+1), " "+address)
	}
	replace(" 10.0.0.10:1322", " "+updater)
	replace(fmt.Sprintf(p.timeout, "1h"), fmt.Sprintf(p.timeout, timeout))
	dir := t.TempDir()
	if p.pid {
		replace("pid /run/nginx.pid;", fmt.Sprintf("pid %q;", filepath.Join(dir, "pid")))
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, text, 0o644); err != nil {
		t.Fatal(err)
	}
	command := p.command(config)
	start(t, command[0], command[1:]...)
	return api, uploads
}

// TestProxy checks that no request fails while servers behind a proxy stop, are
// killed and change generations.
func TestProxy(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			var all dataSets
			var dirs, generations []string
			var servers []*server
			for seed := range uint64(3) {
				dir := t.TempDir()
				generation := idOf(t, build(t, dir, seed, minRows))
				all.add(generation, seed)
				dirs, generations = append(dirs, dir), append(generations, generation)
				servers = append(servers, serve(t, dir, "--drain", "2s"))
				waitLive(t, servers[seed].url, generation)
			}
			url := p.start(t, servers)
			waitServed := func(generations ...string) {
				t.Helper()
				for range 20 {
					for _, g := range generations {
						waitLive(t, url, g)
					}
				}
			}
			restart := func(i int) {
				t.Helper()
				servers[i] = serve(t, dirs[i], "--drain", "2s", "--listen", strings.TrimPrefix(servers[i].url, "http://"))
				waitServed(generations...)
			}
			waitServed(generations...)
			stop := all.ask(t, url)

			servers[0].stop(syscall.SIGTERM)
			waitServed(generations[1:]...)
			restart(0)

			servers[1].stop(syscall.SIGKILL)
			waitServed(generations[0], generations[2])
			restart(1)

			generations[2] = idOf(t, build(t, dirs[2], 3, minRows))
			all.add(generations[2], 3)
			waitServed(generations...)
			stop()

			wantHidden(t, strings.TrimPrefix(url, "http://"), "/promotions")
			for _, s := range servers {
				s.stop(syscall.SIGKILL)
			}
			if a, err := get(url + "/promotions/" + id(0)); err != nil || a.status < 500 {
				t.Errorf("without servers: %d %q, %v", a.status, a.body, err)
			}
		})
	}
}

// TestProxySkipsDrainingServer checks that HAProxy, which asks /readyz, sends no
// requests to a server that drains.
func TestProxySkipsDrainingServer(t *testing.T) {
	needs(t, "haproxy")
	var all dataSets
	var servers []*server
	var generations []string
	for seed := range uint64(3) {
		dir := t.TempDir()
		generations = append(generations, idOf(t, build(t, dir, seed, minRows)))
		all.add(generations[seed], seed)
		servers = append(servers, serve(t, dir, "--drain", "1h"))
		waitLive(t, servers[seed].url, generations[seed])
	}
	url := proxies["haproxy"].start(t, servers)
	waitLive(t, url, generations[0])
	all.ask(t, url)
	if err := servers[0].Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server gets no requests", func() bool {
		for range 200 {
			if a, err := get(url + "/promotions/" + id(0)); err != nil || a.generation == generations[0] {
				return false
			}
		}
		return true
	})
	if a, err := get(servers[0].url + "/promotions/" + id(0)); err != nil || a.status != http.StatusOK {
		t.Errorf("the server that drains answers %d, %v", a.status, err)
	}
}

// wantHidden checks that no spelling of a path reaches an endpoint for operators, or
// the page.
// root is the path that the proxy forwards.
func wantHidden(t *testing.T, address, root string) {
	t.Helper()
	for _, path := range []string{
		"/status", "/prometheus", "/metrics", "/readyz", "//status", "/promotions/../status", "/promotions/./../prometheus",
		"/promotions/%2e%2e/status", "/promotions/..%2fstatus", "/promotions/%2E%2E%2Fprometheus", "/promotions//../status",
		"/promotions/x/../../prometheus", "/promotions", "/", "http://x/status", "//", "/?id=x", "/activity", "/generations", "/assets/x/page.js", "/openapi.json",
		"/promotions/..", "/promotions/../", "/promotions/../?id=x", "/promotions/%2e%2e/", "/promotions/..%2f", "/promotions/x/../../", "/promotions/../activity", "/promotions/%2e%2e/generations",
	} {
		path = strings.ReplaceAll(path, "/promotions", root)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 404 ")) && !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
			t.Errorf("%s: %v: %.200s", path, err, answer)
		}
	}
}
