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

// A fixture is an updater on a port of loopback.
type fixture struct {
	*updater.Server
	data, inbox string
	address     string
	client      *http.Client
	log         *bytes.Buffer // complete after stop
	served      chan error
}

// newFixture makes an updater that does not serve yet. Its inbox is there if
// change says so by a name.
func newFixture(t *testing.T, change func(*updater.Options)) *fixture {
	t.Helper()
	f := &fixture{data: filepath.Join(t.TempDir(), "data"), log: new(bytes.Buffer)}
	opts := updater.Options{
		Build:  builder.Options{Dir: f.data, Memory: builder.MinMemory, Workers: 2},
		Poll:   10 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opts)
	}
	f.data, f.inbox = opts.Build.Dir, opts.Inbox
	var err error
	f.Server, err = updater.New(opts)
	must(t, err)
	return f
}

func start(t *testing.T, change func(*updater.Options)) *fixture {
	t.Helper()
	f := newFixture(t, change)
	f.serve(t, nil)
	return f
}

func (f *fixture) serve(t *testing.T, config *tls.Config) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.address = ln.Addr().String()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ExpectContinueTimeout: 10 * time.Second}
	f.client = &http.Client{Transport: transport, Timeout: 5 * time.Minute}
	f.served = make(chan error, 1)
	go func() { f.served <- f.Serve(ln, config) }()
	t.Cleanup(func() { f.stop(t) })
}

// stop cuts off what runs.
func (f *fixture) stop(t *testing.T) {
	t.Helper()
	if f.served == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-f.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	f.served = nil
	f.client.CloseIdleConnections()
}

// An answer is what the updater says. Objects has what every JSON object of
// the body has.
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
	body, err := io.ReadAll(res.Body)
	must(t, err)
	a := answer{code: res.StatusCode, header: res.Header, text: string(body)}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Fatalf("content type %q: %s", got, a)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	must(t, d.Decode(&a.object))
	if d.More() {
		t.Fatalf("more than one object: %s", a)
	}
	return a
}

// post uploads; headers are names and values by turns.
func (f *fixture) post(t *testing.T, body io.Reader, headers ...string) answer {
	t.Helper()
	a, err := f.tryPost(body, headers...)
	must(t, err)
	return read(t, a)
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

func (f *fixture) get(t *testing.T, path string) answer {
	t.Helper()
	res, err := f.client.Get("http://" + f.address + path)
	must(t, err)
	return read(t, res)
}

// want checks code and reason of an answer.
func (a answer) want(t *testing.T, code int, reason string) {
	t.Helper()
	if got, _ := a.object["reason"].(string); a.code != code || got != reason {
		t.Errorf("got %s, want %d with reason %q", a, code, reason)
	}
	if message, _ := a.object["error"].(string); (code >= 400) != (message != "") {
		t.Errorf("got %s, and an error is %t", a, code >= 400)
	}
}

// files is what a directory has, but for locks and directories.
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
	return names
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", filepath.Base(dir), got, want)
	}
}

// generations is how many records each generation has, oldest first.
func (f *fixture) generations(t *testing.T) []int {
	t.Helper()
	list, err := generation.List(f.data)
	must(t, err)
	records := []int{}
	for _, g := range list {
		h, err := g.Header()
		must(t, err)
		records = append(records, int(h.Records))
	}
	if names := files(t, f.data); len(names) != len(list) {
		t.Errorf("the data directory has %q", names)
	}
	return records
}

func (f *fixture) wantGenerations(t *testing.T, records ...int) {
	t.Helper()
	if got := f.generations(t); !slices.Equal(got, records) {
		t.Errorf("generations of %d records, want %d", got, records)
	}
}

// table is a CSV of so many rows.
func table(t testing.TB, rows int64) string {
	t.Helper()
	var b strings.Builder
	_, err := synth.Table{Rows: rows}.WriteTo(&b)
	must(t, err)
	return b.String()
}

// dial sends text on a connection of its own.
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

// answerOn reads the answer on a connection.
func answerOn(t *testing.T, c net.Conn) answer {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	return read(t, res)
}

// await waits until the condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("it never comes to pass: %s", what)
		}
	}
}

func (f *fixture) awaitBuilding(t *testing.T, want bool) {
	t.Helper()
	await(t, fmt.Sprintf("building is %t", want), func() bool { return (f.get(t, "/status").object["building"] != nil) == want })
}

// builds is what the status says of the builds that are done, newest first.
func (f *fixture) builds(t *testing.T) (list []map[string]any) {
	t.Helper()
	for _, b := range f.get(t, "/status").object["builds"].([]any) {
		list = append(list, b.(map[string]any))
	}
	return list
}
