package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/internal/apitest"
	"promostore/internal/gentest"
	"promostore/reader"
)

// A row is one line of a CSV file of promotions.
type row struct{ id, price, date string }

// rows is the data set of most tests: the example, and a row with each of the
// other timestamp layouts.
var rows = []row{
	{"172FFC14-D229-4C93-B06B-F48B8C095512", "9.68", "2022-06-04 06:01:20"},
	{"d018ef0b-dbd9-48f1-ac1a-eb4d90e57118", "60.683466", "2018-08-04 05:32:31 +0200 CEST"},
	{"5e56d0c5-4d4d-46c6-b5b0-0ccf6f0ab0aa", "-0.50", "2018-10-28 02:30:00 +0100 CET"},
	{"00000000-0000-0000-0000-000000000000", "9.680", "2018-10-28T02:30:00Z"},
	{"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "1234567890.123456", "2018-10-28T02:30:00-07:30"},
}

// publish writes a generation of rows to dir and returns the path of its file.
func publish(t testing.TB, dir string, id generation.ID, rows []row) string {
	t.Helper()
	return publishRows(t, dir, id, format.Unsharded, generation.AllDigits, rows)[0]
}

// publishRows writes the shards of a generation of rows that these digits select,
// and returns the paths of their files.
func publishRows(t testing.TB, dir string, id generation.ID, s format.Sharding, digits generation.Digits, rows []row) []string {
	t.Helper()
	list := make([]gentest.Row, len(rows))
	for i, r := range rows {
		list[i] = gentest.Row{ID: r.id, Price: r.price, Date: r.date}
	}
	records, styles := gentest.Records(t, list...)
	return publishShards(t, dir, id, s, digits, records, styles...)
}

// publishShards is like publishRows, for records in the order of their ids.
func publishShards(t testing.TB, dir string, id generation.ID, s format.Sharding, digits generation.Digits, records []format.Record, styles ...format.TimestampStyle) (paths []string) {
	t.Helper()
	for shard, path := range gentest.PublishSharded(t, dir, id, s, records, styles...) {
		if digits.Owns(s, uint32(shard)) {
			paths = append(paths, path)
		} else {
			must(t, os.Remove(path))
		}
	}
	return paths
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// genID returns the ID of the k-th generation of a test.
func genID(k int) generation.ID {
	return generation.IDOf(time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)) + generation.ID(k)
}

// A logBuffer collects the log of a server. It is safe for concurrent use.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// api compares answers with the OpenAPI document.
var api = func() *apitest.Checker {
	c, err := apitest.New(apitest.Promoserve)
	if err != nil {
		panic(err)
	}
	return c
}()

// A fixture is a server over a directory of generations.
type fixture struct {
	*httpd.Server
	dir    string
	store  *reader.Store
	log    *logBuffer
	events chan reader.Event // drops events when it is full
	ln     net.Listener
	base   string // URL without a path
	client *http.Client
}

// newFixture returns a server that does not listen yet. It sets the Store and
// the Logger of opts.
func newFixture(t testing.TB, opts httpd.Options, storeOpts reader.StoreOptions) *fixture {
	return newFixtureOf(t, t.TempDir(), opts, storeOpts)
}

// newFixtureOf returns a fixture of dir.
func newFixtureOf(t testing.TB, dir string, opts httpd.Options, storeOpts reader.StoreOptions) *fixture {
	f := &fixture{dir: dir, log: &logBuffer{}, events: make(chan reader.Event, 10_000)}
	storeOpts.Notify = func(e reader.Event) {
		f.Observe(e)
		select {
		case f.events <- e:
		default:
		}
	}
	f.store = reader.NewStore(f.dir, storeOpts)
	opts.Store = f.store
	opts.Logger = slog.New(slog.NewTextHandler(f.log, nil))
	if opts.JSON == (format.JSONOptions{}) {
		opts.JSON = format.DefaultJSONOptions
	}
	f.Server = httpd.New(opts)
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// serveMemory serves rows through an in-memory listener.
func serveMemory(t testing.TB, rows []row) *fixture {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	if rows != nil {
		publish(t, f.dir, genID(0), rows)
		f.poll(t)
	}
	ln := fasthttputil.NewInmemoryListener()
	f.serve(t, ln, &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ln.Dial() }})
	f.base = "http://memory"
	return f
}

// listenLoopback listens on a port of the loopback interface like promoserve.
func listenLoopback() (net.Listener, error) {
	config := httpd.ListenConfig()
	return config.Listen(context.Background(), "tcp", "127.0.0.1:0")
}

// listen starts the server on a port of the loopback interface.
func (f *fixture) listen(t testing.TB) {
	ln, err := listenLoopback()
	must(t, err)
	f.serve(t, ln, &http.Transport{})
	f.base = "http://" + ln.Addr().String()
}

func (f *fixture) serve(t testing.TB, ln net.Listener, transport *http.Transport) {
	f.ln = ln
	f.client = &http.Client{Transport: api.Transport(t, transport)}
	served := make(chan error, 1)
	go func() { served <- f.Serve(ln) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			t.Error("Shutdown:", err)
		}
		if err := <-served; err != nil {
			t.Error("Serve:", err)
		}
	})
}

func (f *fixture) poll(t testing.TB) {
	t.Helper()
	must(t, f.store.Poll(context.Background()))
}

// await waits for an event of this kind.
func (f *fixture) await(t testing.TB, kind reader.EventKind) reader.Event {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e := <-f.events:
			if e.Kind == kind {
				return e
			}
		case <-timeout:
			t.Fatalf("no event of kind %d after 20 s", kind)
		}
	}
}

// An answer is a response with its body.
type answer struct {
	code   int
	header http.Header
	body   string
}

// do sends a request. The headers alternate names and values.
func (f *fixture) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, f.base+path, r)
	must(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := f.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	return answerOf(t, res)
}

func (f *fixture) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return f.do(t, http.MethodGet, path, "", headers...)
}

// want reports an error unless a has this code and body.
func (a answer) want(t testing.TB, code int, body string) answer {
	t.Helper()
	if a.code != code || a.body != body {
		t.Errorf("got %d %s, want %d %s", a.code, a.body, code, body)
	}
	return a
}

// metric returns the value of a sample, whose name includes its labels.
func (f *fixture) metric(t testing.TB, name string) string {
	t.Helper()
	a := f.get(t, "/prometheus")
	for line := range strings.Lines(a.body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("metric %s is missing", name)
	return ""
}

func promotionJSON(id, price, date string) string {
	return fmt.Sprintf(`{"id":"%s","price":%s,"expiration_date":"%s"}`, id, price, date)
}

// serveSocket serves rows on a port of the loopback interface.
func serveSocket(t testing.TB, opts httpd.Options) *fixture {
	f := newFixture(t, opts, reader.StoreOptions{Access: reader.AccessMmap})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.listen(t)
	return f
}

// dial opens a connection whose deadline is ten seconds from now.
func (f *fixture) dial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.ln.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c, bufio.NewReader(c)
}

// receive reads one response.
func receive(t testing.TB, r *bufio.Reader) answer {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	must(t, err)
	return answerOf(t, res)
}

// answerOf reads the body of res. A JSON body must end with a newline, which
// the answer does not have.
func answerOf(t testing.TB, res *http.Response) answer {
	t.Helper()
	if res.Request == nil { // read from a connection
		api.Observe(t, "", "", res)
	}
	b, err := io.ReadAll(res.Body)
	must(t, err)
	body, ended := strings.CutSuffix(string(b), "\n")
	if res.Header.Get("Content-Type") != "application/json" {
		body = string(b)
	} else if body != "" && !ended {
		t.Errorf("JSON without a newline at the end: %q", b)
	}
	return answer{res.StatusCode, res.Header, body}
}

func request(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }
