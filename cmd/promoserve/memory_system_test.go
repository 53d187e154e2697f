//go:build system

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A memoryCgroup is a cgroup of version 1 or 2 with a memory limit.
type memoryCgroup struct {
	dir string
	v1  bool
}

// newMemoryCgroup creates a cgroup. It needs root.
func newMemoryCgroup(t *testing.T, limit int) memoryCgroup {
	t.Helper()
	name := fmt.Sprintf("promostore-test-%d", os.Getpid())
	g := memoryCgroup{dir: filepath.Join("/sys/fs/cgroup/memory", name), v1: true}
	if _, err := os.Stat(filepath.Dir(g.dir)); err != nil {
		g = memoryCgroup{dir: filepath.Join("/sys/fs/cgroup", name)}
		must(t, os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0))
	}
	must(t, os.Mkdir(g.dir, 0o755))
	t.Cleanup(func() { must(t, os.Remove(g.dir)) })
	if g.v1 {
		g.set(t, "memory.limit_in_bytes", limit)
		g.set(t, "memory.kmem.tcp.limit_in_bytes", limit) // without it, sockets are not counted
	} else {
		g.set(t, "memory.max", limit)
		g.set(t, "memory.swap.max", 0)
	}
	return g
}

func (g memoryCgroup) set(t *testing.T, file string, n int) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.Itoa(n)), 0))
}

// peak returns the highest memory of all processes of g, with their sockets.
func (g memoryCgroup) peak(t *testing.T) (n int) {
	t.Helper()
	files := []string{"memory.peak"}
	if g.v1 {
		files = []string{"memory.max_usage_in_bytes", "memory.kmem.tcp.max_usage_in_bytes"}
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(g.dir, file))
		must(t, err)
		bytes, err := strconv.Atoi(strings.TrimSpace(string(text)))
		must(t, err)
		n += bytes
	}
	return n
}

// TestSlowReadersStayWithinMemory sends lookups of 10,000 IDs from clients that
// read nothing to a server in a cgroup of 256 MiB. It must go on serving others.
func TestSlowReadersStayWithinMemory(t *testing.T) {
	const limit = 256 << 20
	for _, readers := range []int{500, 5000} {
		t.Run(fmt.Sprint(readers), func(t *testing.T) {
			s := newServer(t)
			s.build(t, "9.68")
			g := newMemoryCgroup(t, limit)
			enter := `echo $$ > "$0" && exec promoserve --data "$1" --listen 127.0.0.1:0 --log-format json --drain 0s`
			process := exec.Command("sh", "-c", enter, filepath.Join(g.dir, "cgroup.procs"), s.dir)
			log, err := process.StderrPipe()
			must(t, err)
			must(t, process.Start())
			exited := make(chan struct{})
			go func() {
				defer close(exited)
				s.read(log)
				_ = process.Wait()
			}()
			t.Cleanup(func() {
				_ = process.Process.Kill()
				<-exited
			})
			s.address = s.await(t, "serving")["address"].(string)
			s.await(t, "generation live")

			query := `{"ids":["` + exampleID + strings.Repeat(`","`+exampleID, 9_999) + `"]}`
			lookup := fmt.Sprintf("POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(query), query)
			narrow := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
				return errors.Join(c.Control(func(fd uintptr) {
					err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
				}), err)
			}}
			var sending sync.WaitGroup
			for range readers {
				sending.Go(func() {
					c, err := narrow.Dial("tcp", s.address)
					if err != nil {
						t.Error(err)
						return
					}
					t.Cleanup(func() { c.Close() })
					_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
					_, _ = io.WriteString(c, lookup) // the server may refuse it meanwhile
				})
			}
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				sending.Wait()
			}()
			s.askUntil(t, sent)
			res, err := http.Post("http://"+s.address+"/promotions/lookup", "application/json", strings.NewReader(`{"ids":["`+exampleID+`"]}`))
			must(t, err)
			res.Body.Close()
			if res.StatusCode != 200 && (res.StatusCode != 503 || res.Header.Get("Retry-After") == "") {
				t.Errorf("a lookup beside the slow readers: %d %v", res.StatusCode, res.Header)
			}
			_, metrics := s.get(t, "http", "/prometheus")
			if strings.Contains(metrics, "\npromoserve_lookup_requests_refused_total 0\n") {
				t.Error("no refused lookup is counted")
			}
			t.Logf("peak memory %d MiB", g.peak(t)>>20)
			if got := g.peak(t); got > limit {
				t.Errorf("peak memory %d bytes, with sockets, more than %d", got, limit)
			}
		})
	}
}

// askUntil requests a promotion repeatedly until stop is closed, and once more.
// Every request must be answered in time.
func (s *server) askUntil(t *testing.T, stop <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for stopped := false; !stopped; {
		select {
		case <-stop:
			stopped = true
		case <-ctx.Done():
			t.Fatal("the slow readers still send after a minute")
		default:
		}
		s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))
	}
}
