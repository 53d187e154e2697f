package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/web"
)

// newHistory returns a History of a directory with the generations 1 and 2. Each
// request calls status.
func newHistory(t *testing.T, status func() generation.Status) *web.History {
	t.Helper()
	dir := t.TempDir()
	gentest.Publish(t, dir, 1, gentest.Sequence(1000))
	gentest.Publish(t, dir, 2, gentest.Sequence(500))
	return web.NewHistory(dir, generation.AllDigits, status, format.DefaultJSONOptions)
}

func noStatus() generation.Status { return generation.Status{} }

// Two requests read at a time. Others wait, and are refused if that takes too long.
func TestHistoryBoundsReads(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	h := newHistory(t, func() generation.Status {
		entered <- true
		<-leave
		return generation.Status{}
	})
	answers := make(chan web.Answer)
	for range 3 {
		go func() { answers <- h.Generations(context.Background(), false) }()
	}
	<-entered
	<-entered
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if a := h.Promotion(impatient, []byte("00000000-0000-0000-0000-000000000000"), false); a.Code != 429 || a.RetryAfter == "" {
		t.Errorf("a third request: %d %s", a.Code, a.Body)
	}
	go func() { answers <- h.Generations(context.Background(), true) }()
	<-entered // the operator, whose limits are separate
	leave <- true
	if a := <-answers; a.Code != 200 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	leave <- true
	<-entered // the one that waited
	leave <- true
	leave <- true
	for range 3 {
		if a := <-answers; a.Code != 200 {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	}
	var e web.ExpositionWriter
	h.WriteMetrics(&e, "x")
	for _, line := range []string{`x_history_requests_total{request="generations",result="answered"} 4`, `x_history_requests_total{request="history",result="refused"} 1`} {
		if !strings.Contains(string(e.Bytes()), line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, e.Bytes())
		}
	}
}

func TestHistoryGivesUp(t *testing.T) {
	h := newHistory(t, noStatus)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if a := h.Generations(canceled, false); a.Code != 503 || string(a.Body) != `{"error":"reading took too long"}`+"\n" {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

// The comparison ends with the context, with Stop and with a client that has gone,
// and the next one runs.
func TestDiffEnds(t *testing.T) {
	h := newHistory(t, noStatus)
	from, to := generation.ID(1).String(), generation.ID(2).String()
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		ctx   func() context.Context
		write error
		want  string
	}{
		"end":      {t.Context, nil, `"counts":{"added":0,"removed":500,"changed":0,"unchanged":500}}` + "\n"},
		"canceled": {func() context.Context { ctx, cancel := context.WithCancel(t.Context()); cancel(); return ctx }, nil, `"error":"context canceled"}` + "\n"},
		"gone":     {t.Context, gone, ""},
	} {
		a := h.Diff(from, to, "", false)
		if a.Code != 200 || a.Diff == nil {
			t.Fatalf("%s: %d %s", name, a.Code, a.Body)
		}
		if b := h.Diff(from, to, "", false); b.Code != 429 {
			t.Errorf("%s: a second comparison: %d", name, b.Code)
		}
		if b := h.Diff(from, to, "", true); b.Code != 200 {
			t.Errorf("%s: a comparison of an operator: %d", name, b.Code)
		} else {
			b.Diff.Close()
		}
		var b bytes.Buffer
		a.Diff.Run(c.ctx(), writerFunc(func(p []byte) (int, error) {
			if c.write != nil {
				return 0, c.write
			}
			return b.Write(p)
		}), func() error { return nil })
		if c.write == nil && (!json.Valid(b.Bytes()) || !strings.HasSuffix(b.String(), c.want)) {
			t.Errorf("%s: %s, want the end %s", name, b.String()[max(0, b.Len()-200):], c.want)
		}
	}
	running := h.Diff(from, to, "", false)
	h.Stop()
	var b bytes.Buffer
	running.Diff.Run(t.Context(), &b, func() error { return nil })
	if !json.Valid(b.Bytes()) || !strings.HasSuffix(b.String(), `"error":"the server is stopping"}`+"\n") {
		t.Errorf("after Stop: %s", b.String())
	}
	if a := h.Diff(from, to, "", false); a.Code != 503 {
		t.Errorf("after Stop: %d", a.Code)
	}
}

// A comparison outlasts the timeouts of a server of net/http, as long as its client
// reads.
func TestDiffOutlastsTimeouts(t *testing.T) {
	dir := t.TempDir()
	gentest.Publish(t, dir, 1, gentest.Sequence(50_000))
	gentest.Publish(t, dir, 2, nil)
	h := web.NewHistory(dir, generation.AllDigits, noStatus, format.DefaultJSONOptions)
	const timeout = time.Second
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.Diff(generation.ID(1).String(), generation.ID(2).String(), "10000", false).Write(w, r, 20*timeout)
	}))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = timeout, timeout
	srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(32 << 10) // otherwise the kernel takes the whole answer
		return ctx
	}
	srv.Start()
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	gentest.Must(t, err)
	defer c.Close()
	gentest.Must(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	gentest.Must(t, err)
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 1<<10), nil)
	gentest.Must(t, err)
	var text bytes.Buffer
	for began := time.Now(); time.Since(began) < 2*timeout; time.Sleep(10 * time.Millisecond) {
		_, err := io.CopyN(&text, res.Body, 2<<10)
		gentest.Must(t, err)
	}
	_, err = io.Copy(&text, res.Body)
	if err != nil || !json.Valid(text.Bytes()) || !strings.HasSuffix(text.String(), `"removed":50000,"changed":0,"unchanged":0}}`+"\n") {
		t.Errorf("%d bytes, %v, the end is %q", text.Len(), err, text.Bytes()[max(0, text.Len()-100):])
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Names of files and texts of summaries are escaped, and only for operators.
func TestHistoryEscapesHostileTexts(t *testing.T) {
	dir := t.TempDir() + "/<b>\u202e"
	gentest.Must(t, os.Mkdir(dir, 0o755))
	const hostile = "<script>alert(1)</script>\x1b[2J\u202e\u2028&\"'"
	gentest.Publish(t, dir, 1, nil)
	gentest.Must(t, generation.WriteSummary(dir, 1, generation.Summary{
		Program: hostile, Source: generation.SourceInbox, Inputs: []generation.SummaryInput{{Name: hostile}}, Rows: 1, BadRows: 1,
		Bad: []generation.SummaryBadRow{{File: hostile, Line: 1, Column: 1, Reason: hostile, Row: hostile}},
	}))
	gentest.Must(t, os.WriteFile(gentest.Path(dir, 2), []byte(hostile), 0o644))
	h := web.NewHistory(dir, generation.AllDigits, noStatus, format.DefaultJSONOptions)
	for _, details := range []bool{false, true} {
		bodies := []string{
			string(h.Generations(t.Context(), details).Body),
			string(h.Promotion(t.Context(), []byte("00000000-0000-0000-0000-000000000000"), details).Body),
			string(h.Promotion(t.Context(), []byte(hostile), details).Body),
			string(h.Diff(hostile, "1", "", details).Body),
			string(h.Diff(generation.ID(1).String(), generation.ID(2).String(), "", details).Body),
			string(h.Diff(generation.ID(1).String(), generation.ID(1).String(), hostile, details).Body),
		}
		for _, body := range bodies {
			if !json.Valid([]byte(body)) || strings.ContainsAny(body, "<>&\x1b\u202e\u2028") {
				t.Errorf("details %t: %q", details, body)
			}
			if !details && strings.Contains(body, dir[1:5]) {
				t.Errorf("names a file: %q", body)
			}
		}
		var list struct {
			Generations []struct {
				Summary struct {
					Program string
					Bad     []struct{ Row string }
				}
			}
		}
		gentest.Must(t, json.Unmarshal([]byte(bodies[0]), &list))
		if s := list.Generations[1].Summary; (s.Program == hostile && len(s.Bad) == 1 && s.Bad[0].Row == hostile) != details {
			t.Errorf("details %t: summary %+v", details, s)
		}
	}
}
