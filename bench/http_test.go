package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/bench/load"
	"promostore/bench/peer"
	"promostore/internal/sysmem"
)

// getLoad is the load on every server: random IDs, of which one in a hundred is
// absent, on 64 connections. Client and servers share the processors.
func getLoad(rows int64) load.Options {
	return load.Options{Rows: rows, Connections: 64, Duration: 500 * time.Millisecond, Misses: 0.01}
}

// BenchmarkHTTP measures promoserve over the loopback interface against other
// servers, each a process of its own; batches; GET while a new generation
// becomes live every second; and the cost of the load generator.
func BenchmarkHTTP(b *testing.B) {
	const databaseRows = 2_000_000
	rows := env.rows(4_000_000)
	few := min(rows, databaseRows)
	run(b, "constant answer", rows, func(b *testing.B) {
		ours := env.startMapped(b, rows)
		compareServers(b, rows, 25, ours, startConstant(b, ours), Target{AtLeast: 0.95})
	})
	run(b, "nginx", rows, func(b *testing.B) {
		ours := env.startMapped(b, rows)
		compareServers(b, rows, 7, ours, startNginx(b, ours), Target{})
	})
	for _, name := range []string{"bbolt", "Pebble"} {
		run(b, name+" in the same handler", few, func(b *testing.B) {
			compareServers(b, few, 7, env.startMapped(b, few), startStore(b, name, few), Target{})
		})
	}
	run(b, "MariaDB design", few, func(b *testing.B) {
		compareServers(b, few, 7, env.startMapped(b, few), startDesign(b, few), Target{AtLeast: 12})
	})
	run(b, "batches of 1000 IDs", rows, func(b *testing.B) {
		Measure(b, "IDs/s", batches(env.startMapped(b, rows), rows), 6, Target{AtLeast: 2_000_000})
	})
	run(b, "a new generation every second", swapRows(rows), benchmarkSwap)
	b.Run("load generator, wrk", benchmarkLoad)
}

// startMapped starts promoserve on a generation of rows rows.
func (e *Env) startMapped(tb testing.TB, rows int64) *Server {
	dir, _ := e.Generation(tb, "v4", rows)
	return e.StartOurs(tb, dir, "--access", "mmap")
}

// compareServers compares the rates at full load, and measures latencies at
// half of them.
func compareServers(b *testing.B, rows int64, rounds int, ours, theirs *Server, target Target) {
	theirs.check(b, ours, rows)
	full := func(s *Server) Subject {
		return func(tb testing.TB) Sample {
			before := s.cpuSeconds(tb)
			r := env.load(tb, s, getLoad(rows))
			metrics := latencies(r)
			metrics["cpu-µs/request"] = (s.cpuSeconds(tb) - before) / float64(r.Requests) * 1e6
			return Sample{r.PerSecond(), metrics}
		}
	}
	full(ours)(b)
	full(theirs)(b)
	rate, peerRate := Compare(b, Comparison{Unit: "requests/s", Ours: full(ours), Peer: full(theirs), Rounds: rounds, Target: target})
	var a, p []Sample
	half := func(s *Server, rate float64) Sample {
		o := getLoad(rows)
		o.Rate, o.Duration = rate/2, time.Second
		r := env.load(b, s, o)
		return Sample{r.P99, map[string]float64{"half-p50-µs": r.P50, "half-p99.9-µs": r.P999}}
	}
	for range 5 {
		a, p = append(a, half(ours, rate)), append(p, half(theirs, peerRate))
	}
	report(b, "", "half-p99-µs", a)
	report(b, "peer-", "half-p99-µs", p)
}

// batches measures the rate of IDs in batches.
func batches(s *Server, rows int64) Subject {
	o := getLoad(rows)
	o.Batch = true
	return func(tb testing.TB) Sample {
		r := env.load(tb, s, o)
		return Sample{r.PerSecond() * load.BatchLen, latencies(r)}
	}
}

func latencies(r load.Result) map[string]float64 {
	return map[string]float64{"p50-µs": r.P50, "p99-µs": r.P99, "p99.9-µs": r.P999}
}

// startConstant starts a fasthttp handler that sends the answer of promoserve
// for row 0 to every request: the floor.
func startConstant(tb testing.TB, ours *Server) *Server {
	_, header, body, err := ours.Get(promotion(0))
	must(tb, err)
	s := Start(tb, env.command("promopeer", "constant", "ADDRESS", body, header.Get("ETag"), header.Get("X-Promotions-Generation")), "/")
	s.Constant = true
	return s
}

// startStore starts the handler of promoserve over the store of a peer.
func startStore(tb testing.TB, name string, rows int64) *Server {
	path := filepath.Join(env.Dir, "http-"+name)
	must(tb, peer.Run(env.command("promopeer", "build", name, env.CSV(tb, "v4", rows), path)))
	tb.Cleanup(func() { must(tb, os.RemoveAll(path)) })
	return Start(tb, env.command("promopeer", "serve", "ADDRESS", name, path, strconv.FormatInt(rows, 10)), promotion(0))
}

// startDesign starts the design that promostore replaces: net/http in front of
// MariaDB with two tables, and a row that selects the table.
func startDesign(tb testing.TB, rows int64) *Server {
	m := startMariaDB(tb)
	must(tb, m.Load(tb.Context(), env.CSV(tb, "v4", rows), "promotions_a"))
	for _, statement := range []string{
		"CREATE TABLE promotions_b LIKE promotions_a",
		"CREATE TABLE promotions_switch (active INT NOT NULL)",
		"INSERT INTO promotions_switch VALUES (0)",
	} {
		_, err := m.DB.ExecContext(tb.Context(), statement)
		must(tb, err)
	}
	var n int64 // counting also reads the table into the buffer pool
	must(tb, m.DB.QueryRowContext(tb.Context(), "SELECT COUNT(*) FROM promotions_a").Scan(&n))
	if n != rows {
		tb.Fatalf("%d rows in MariaDB, want %d", n, rows)
	}
	s := Start(tb, env.command("promopeer", "mariadb", "ADDRESS", m.DSN()), promotion(0))
	s.Database = m.PID()
	return s
}

// nginxConf has the parameters directory, address, padding and body. reuseport
// gives each worker its own queue of connections, so that the load is even.
const nginxConf = `daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx-error.log;
events { worker_connections 1024; }
http {
	access_log off;
	server_tokens off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/nginx-body;
	proxy_temp_path %[1]s/nginx-proxy;
	fastcgi_temp_path %[1]s/nginx-fastcgi;
	uwsgi_temp_path %[1]s/nginx-uwsgi;
	scgi_temp_path %[1]s/nginx-scgi;
	server {
		listen %[2]s reuseport;
		location /promotions/ {
			default_type application/json;
			add_header X %[3]s;
			return 200 '%[4]s';
		}
	}
}
`

// startNginx starts nginx, which sends the body of promoserve for row 0 with a
// head of the same length.
func startNginx(tb testing.TB, ours *Server) *Server {
	program, err := peer.LookPath("nginx")
	if err != nil {
		tb.Skip(err)
	}
	_, _, body, err := ours.Get(promotion(0))
	must(tb, err)
	bare := len("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 22:14:31 GMT\r\n" +
		"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: keep-alive\r\nX: \r\n\r\n")
	padding := strings.Repeat("x", max(1, answerLen(tb, ours)-bare-len(body)))
	dir := tb.TempDir()
	addr := freeAddr(tb) // nginx reads it from the file
	conf := filepath.Join(dir, "nginx.conf")
	must(tb, os.WriteFile(conf, []byte(fmt.Sprintf(nginxConf, dir, addr, padding, body)), 0o600))
	s := startAt(tb, exec.Command(program, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "nginx-error.log")), addr, promotion(0))
	s.Constant = true
	return s
}

// answerLen returns the length of the answer for row 0, head and body, on a
// connection like those of the load.
func answerLen(tb testing.TB, s *Server) int {
	c, err := net.Dial("tcp", s.Addr)
	must(tb, err)
	defer c.Close()
	must(tb, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", promotion(0), s.Addr)
	must(tb, err)
	buf := make([]byte, 4<<10)
	n, err := c.Read(buf)
	must(tb, err)
	return n
}

// Each round of the swaps has two new generations.
const (
	swapRounds   = 9
	swapsPerTurn = 2
)

// swapRows returns the number of rows of each generation: all of them stay in
// the page cache, because a slow disk is not the subject here.
func swapRows(rows int64) int64 {
	return min(rows, 10_000_000, sysmem.Available()/2/(33*(1+swapRounds*swapsPerTurn)))
}

// benchmarkSwap compares the p99 of GET at full load while a new generation
// becomes live every second with the p99 without. All generations are built
// before, so that the builds take nothing from the requests.
func benchmarkSwap(b *testing.B) {
	rows := swapRows(env.rows(4_000_000))
	csv := env.CSV(b, "v4", rows)
	stage, live := filepath.Join(env.Dir, "stage"), filepath.Join(env.Dir, "live")
	defer os.RemoveAll(stage)
	defer os.RemoveAll(live)
	must(b, os.Mkdir(live, 0o755))
	for i := range 1 + swapRounds*swapsPerTurn {
		must(b, peer.Run(env.command("promobuild", "build", "--quiet", "--data", stage, "--generation", fmt.Sprintf("20300101T0000%02d000Z", i), csv)))
	}
	staged, err := filepath.Glob(filepath.Join(stage, "*.pgen"))
	must(b, err)
	publish := func() error {
		from := staged[0]
		staged = staged[1:]
		return os.Rename(from, filepath.Join(live, filepath.Base(from)))
	}
	must(b, publish())
	ours := env.StartOurs(b, live, "--access", "mmap")
	generation := func() string {
		_, header, _, err := ours.Get(promotion(0))
		if err != nil {
			return err.Error()
		}
		return header.Get("X-Promotions-Generation")
	}
	swaps := func() error {
		at := time.Now().Add(500 * time.Millisecond)
		for range swapsPerTurn {
			time.Sleep(time.Until(at))
			at = at.Add(time.Second)
			before := generation()
			if err := publish(); err != nil {
				return err
			}
			if err := syscall.Kill(ours.cmd.Process.Pid, syscall.SIGHUP); err != nil { // poll now
				return err
			}
			for generation() == before {
				if time.Now().After(at) {
					return fmt.Errorf("no new generation became live within a second")
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		return nil
	}
	o := getLoad(rows)
	o.Duration = swapsPerTurn * time.Second
	failed := 0.0
	subject := func(swapping bool) Subject {
		return func(tb testing.TB) Sample {
			done := make(chan error, 1)
			if swapping {
				go func() { done <- swaps() }()
			} else {
				done <- nil
			}
			o.Addr = ours.Addr
			r, err := o.Command(tb.Context(), filepath.Join(env.Bin, "promopeer"))
			must(tb, err)
			must(tb, <-done)
			failed += float64(r.Failed)
			return Sample{r.P99, map[string]float64{"requests/s": r.PerSecond()}}
		}
	}
	Compare(b, Comparison{Unit: "p99-µs", Ours: subject(true), Peer: subject(false), Rounds: swapRounds, Target: Target{AtMost: 1.5}})
	b.ReportMetric(failed, "failed-requests")
}

// benchmarkLoad compares the processor time of a request in the load generator
// with wrk, on a constant answer. wrk sends the same request again and again,
// while the load generator makes each for a random ID.
func benchmarkLoad(b *testing.B) {
	wrk, err := peer.LookPath("wrk")
	if err != nil {
		b.Skip(err)
	}
	s := startConstant(b, env.startMapped(b, 1000))
	o := getLoad(1000)
	o.Duration = time.Second
	Compare(b, Comparison{
		Unit: "client-cpu-µs/request", Rounds: 10, Target: Target{AtMost: 1.2},
		Ours: func(tb testing.TB) Sample {
			r := env.load(tb, s, o)
			return Sample{r.CPUSeconds / float64(r.Requests) * 1e6, map[string]float64{"requests/s": r.PerSecond()}}
		},
		Peer: func(tb testing.TB) Sample {
			c := exec.Command(wrk, "-t", "2", "-c", strconv.Itoa(o.Connections), "-d", "1", "http://"+s.Addr+promotion(0))
			var out bytes.Buffer
			c.Stdout = &out
			must(tb, peer.Run(c))
			m := wrkOutput.FindSubmatch(out.Bytes())
			if m == nil || bytes.Contains(out.Bytes(), []byte("errors")) || bytes.Contains(out.Bytes(), []byte("Non-2xx")) {
				tb.Fatalf("wrk: %s", out.Bytes())
			}
			requests, err1 := strconv.ParseFloat(string(m[1]), 64)
			rate, err2 := strconv.ParseFloat(string(m[2]), 64)
			must(tb, errors.Join(err1, err2))
			cpu := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
			return Sample{cpu.Seconds() / requests * 1e6, map[string]float64{"requests/s": rate}}
		},
	})
}

var wrkOutput = regexp.MustCompile(`(?s)(\d+) requests in .*Requests/sec: +([0-9.]+)`)

// TestAnswers checks that every server gives the answers of promoserve.
func TestAnswers(t *testing.T) {
	const rows = 3000
	ours := env.startMapped(t, rows)
	for name, start := range map[string]func(testing.TB) *Server{
		"constant": func(tb testing.TB) *Server { return startConstant(tb, ours) },
		"nginx":    func(tb testing.TB) *Server { return startNginx(tb, ours) },
		"bbolt":    func(tb testing.TB) *Server { return startStore(tb, "bbolt", rows) },
		"Pebble":   func(tb testing.TB) *Server { return startStore(tb, "Pebble", rows) },
		"MariaDB":  func(tb testing.TB) *Server { return startDesign(tb, rows) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.check(t, ours, rows)
			if got, want := answerLen(t, s), answerLen(t, ours); s.Constant && got != want {
				t.Errorf("an answer has %d bytes, want %d", got, want)
			}
			o := getLoad(rows)
			o.Duration = 50 * time.Millisecond
			if r := env.load(t, s, o); r.Requests == 0 {
				t.Error("no requests")
			}
			if status, _, _, err := s.Get(promotion(rows)); !s.Constant && status != http.StatusNotFound {
				t.Errorf("absent ID: status %d, %v", status, err)
			}
		})
	}
}
