package updater_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/apitest"
	"promostore/internal/synth"
	"promostore/updater"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// api compares answers with the OpenAPI document.
var api = func() *apitest.Checker {
	c, err := apitest.New(apitest.Updater)
	if err != nil {
		panic(err)
	}
	return c
}()

// A fixture is an updater on a loopback port.
type fixture struct {
	*updater.Server
	data, inbox string
	address     string
	client      *http.Client
	log         *bytes.Buffer // complete after stop
	served      chan error
}

// newFixture returns an updater that does not serve yet. configure changes its
// options; nil changes none.
func newFixture(t *testing.T, configure func(*updater.Options)) *fixture {
	t.Helper()
	f := &fixture{data: filepath.Join(t.TempDir(), "data"), log: new(bytes.Buffer)}
	opts := updater.Options{
		Build:  builder.Options{Dir: f.data, Memory: builder.MinMemory, Workers: 2},
		Poll:   10 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if configure != nil {
		configure(&opts)
	}
	f.data, f.inbox = opts.Build.Dir, opts.Inbox
	var err error
	f.Server, err = updater.New(opts)
	must(t, err)
	over := make(chan time.Time)
	close(over)
	f.SetRefusalPause(func() <-chan time.Time { return over })
	return f
}

// start returns an updater that serves until the end of the test.
func start(t *testing.T, configure func(*updater.Options)) *fixture {
	t.Helper()
	f := newFixture(t, configure)
	f.serve(t, nil)
	return f
}

func (f *fixture) serve(t *testing.T, config *tls.Config) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.address = ln.Addr().String()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ExpectContinueTimeout: 10 * time.Second}
	f.client = &http.Client{Transport: api.Transport(t, transport), Timeout: 5 * time.Minute}
	f.served = make(chan error, 1)
	go func() { f.served <- f.Serve(ln, config) }()
	t.Cleanup(func() { f.stop(t) })
}

// stop shuts the updater down and interrupts a running build.
func (f *fixture) stop(t *testing.T) {
	t.Helper()
	if f.served == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	f.awaitServed(t)
}

// awaitServed waits for Serve after a Shutdown.
func (f *fixture) awaitServed(t *testing.T) {
	t.Helper()
	if err := <-f.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	f.served = nil
	f.client.CloseIdleConnections()
}

// An answer is an HTTP answer with one JSON object as its body.
type answer struct {
	code   int
	header http.Header
	text   string
	object map[string]any
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.code, a.text) }

func read(t *testing.T, res *http.Response) answer {
	t.Helper()
	defer res.Body.Close()
	if res.Request == nil { // read from a connection
		api.Observe(t, "", "", res)
	}
	body, err := io.ReadAll(res.Body)
	must(t, err)
	a := answer{code: res.StatusCode, header: res.Header, text: string(body)}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Fatalf("content type %q: %s", got, a)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	must(t, d.Decode(&a.object))
	if d.More() {
		t.Fatalf("more than one JSON object: %s", a)
	}
	return a
}

// post uploads body. headers alternates between names and values.
func (f *fixture) post(t *testing.T, body io.Reader, headers ...string) answer {
	t.Helper()
	res, err := f.tryPost(body, headers...)
	must(t, err)
	return read(t, res)
}

func (f *fixture) tryPost(body io.Reader, headers ...string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+f.address+"/upload", body)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return f.client.Do(req)
}

// postAsync uploads body in a goroutine. The channel closes without an answer
// if the upload fails.
func (f *fixture) postAsync(t *testing.T, body io.Reader) <-chan answer {
	t.Helper()
	answers := make(chan answer, 1)
	go func() {
		defer close(answers)
		res, err := f.tryPost(body)
		if err != nil {
			t.Error(err)
			return
		}
		answers <- read(t, res)
	}()
	return answers
}

func (f *fixture) get(t *testing.T, path string) answer {
	t.Helper()
	res, err := f.client.Get("http://" + f.address + path)
	must(t, err)
	return read(t, res)
}

// want checks the status code and the reason of an answer, and that errors have
// a message.
func (a answer) want(t *testing.T, code int, reason string) {
	t.Helper()
	if got, _ := a.object["reason"].(string); a.code != code || got != reason {
		t.Errorf("answer %s, want %d with the reason %q", a, code, reason)
	}
	if message, _ := a.object["error"].(string); (code >= 400) != (message != "") {
		t.Errorf("answer %s has the error %q", a, message)
	}
}

// files returns the names of the files in dir except for the lock and the summaries
// of generations that are there.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := []string{}
	for _, e := range entries {
		if e.Name() != ".lock" && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		of, ok := strings.CutSuffix(name, ".summary.json")
		return ok && slices.ContainsFunc(names, func(file string) bool { return strings.HasPrefix(file, of+"-") })
	})
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("files in %s: %q, want %q", filepath.Base(dir), got, want)
	}
}

// generations returns the number of records of each generation, oldest first.
func (f *fixture) generations(t *testing.T) []int {
	t.Helper()
	list, err := generation.List(f.data)
	must(t, err)
	records, numFiles := []int{}, 0
	for _, g := range list {
		numFiles += g.Shards
		h, err := g.Header()
		must(t, err)
		records = append(records, int(h.Records))
	}
	if names := files(t, f.data); len(names) != numFiles {
		t.Errorf("files in the data directory: %q", names)
	}
	return records
}

func (f *fixture) wantGenerations(t *testing.T, records ...int) {
	t.Helper()
	if got := f.generations(t); !slices.Equal(got, records) {
		t.Errorf("records of the generations: %d, want %d", got, records)
	}
}

// dataSet returns a CSV file with the given number of rows.
func dataSet(t testing.TB, rows int64) string {
	t.Helper()
	var b strings.Builder
	_, err := synth.DataSet{Rows: rows}.WriteTo(&b)
	must(t, err)
	return b.String()
}

// dial opens a connection and sends text.
func (f *fixture) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.address)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, text)
	must(t, err)
	return c
}

// dialExpectContinue opens a connection and sends the header of an upload whose
// client waits for "100 Continue".
func (f *fixture) dialExpectContinue(t *testing.T, contentLength string) net.Conn {
	t.Helper()
	return f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: "+contentLength+"\r\nExpect: 100-continue\r\n\r\n")
}

// readAnswer reads an answer from a connection.
func readAnswer(t *testing.T, c net.Conn) answer {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	return read(t, res)
}

// await waits for a condition.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("timeout: %s", what)
		}
	}
}

func (f *fixture) awaitBuilding(t *testing.T, want bool) {
	t.Helper()
	await(t, fmt.Sprintf("building is %t", want), func() bool { return (f.get(t, "/status").object["building"] != nil) == want })
}

// builds returns the finished builds of /status, newest first.
func (f *fixture) builds(t *testing.T) (list []map[string]any) {
	t.Helper()
	for _, b := range f.get(t, "/status").object["builds"].([]any) {
		list = append(list, b.(map[string]any))
	}
	return list
}

// inboxStatus returns the inbox of /status.
func (f *fixture) inboxStatus(t *testing.T) map[string]any {
	t.Helper()
	st, _ := f.get(t, "/status").object["inbox"].(map[string]any)
	return st
}
