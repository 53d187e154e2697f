package httpd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/reader"
)

// withPage returns a server that answers about its generations.
func withPage(t testing.TB) *fixture {
	t.Helper()
	f := newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	publish(t, f.dir, genID(1), []row{rows[0], {rows[1].id, "61", rows[1].date}, rows[4], {"aaaaaaaa-0000-0000-0000-000000000000", "1", "2018-08-04 05:32:31"}})
	must(t, generation.WriteSummary(f.dir, genID(0), generation.Summary{
		Program: "v1", Source: generation.SourceCommand, Inputs: []generation.SummaryInput{{Name: "/secret/file.csv", Size: 9}}, NumInputs: 1,
		Started: genID(0).Time(), Seconds: 1.5, Rows: 6, Records: 5, BadRows: 1,
		Bad: []generation.SummaryBadRow{{File: "/secret/file.csv", Line: 7, Column: 1, Reason: "secret", Row: "<script>"}},
	}))
	f.poll(t)
	return f
}

func TestGenerationsAnswersList(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	must(t, generation.SetPin(f.dir, generation.Pin{Active: true, ID: genID(0), By: "ana", Reason: "private"}))
	must(t, os.WriteFile(filepath.Join(f.dir, generation.Name{ID: genID(2), Shards: 1}.String()), []byte("not a generation"), 0o644))
	f.poll(t)
	f.await(t, reader.EventRefused) // by the goroutine of the standby
	a := f.get(t, "/generations").want(t, 200, fmt.Sprintf(`{"generations":[`+
		`{"generation":%q,"created":"2026-11-22T10:30:00.002Z","records":null,"bytes":0,"shards":1,"state":"refused","pinned":false,"error":"not a generation file"},`+
		`{"generation":%q,"created":"2026-11-22T10:30:00.001Z","records":4,"bytes":8251,"shards":1,"state":"retained","pinned":false},`+
		`{"generation":%q,"created":"2026-11-22T10:30:00Z","records":5,"bytes":8264,"shards":1,"state":"live","pinned":true,`+
		`"summary":{"source":"command","num_inputs":1,"started":"2026-11-22T10:30:00Z","seconds":1.5,"rows":6,"records":5,"duplicates":0,"bad_rows":1}}]}`,
		genID(2), genID(1), genID(0)))
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", a.header)
	}
}

func TestHistoryAnswersPromotionOfEachGeneration(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	want := fmt.Sprintf(`{"id":%q,"history":[{"generation":%q,"live":true,"pinned":false,"found":true,"price":61,"expiration_date":"2018-08-04 05:32:31","expired":true},`+
		`{"generation":%q,"live":false,"pinned":false,"found":true,"price":60.683466,"expiration_date":"2018-08-04 05:32:31","expired":true}]}`, rows[1].id, genID(1), genID(0))
	for _, id := range spellings(rows[1].id) {
		f.get(t, "/promotions/"+id+"/history").want(t, 200, want)
	}
	f.get(t, "/promotions/"+rows[0].id+"/history").want(t, 200, fmt.Sprintf(`{"id":%q,"history":[{"generation":%q,"live":true,"pinned":false,"found":true,"price":9.68,"expiration_date":"2022-06-04 06:01:20"},`+
		`{"generation":%q,"live":false,"pinned":false,"found":true,"price":9.68,"expiration_date":"2022-06-04 06:01:20"}]}`, rows[0].id, genID(1), genID(0)))
	f.get(t, "/promotions/"+rows[2].id+"/history").want(t, 200, fmt.Sprintf(`{"id":%q,"history":[{"generation":%q,"live":true,"pinned":false,"found":false},`+
		`{"generation":%q,"live":false,"pinned":false,"found":true,"price":-0.50,"expiration_date":"2018-10-28 02:30:00","expired":true}]}`, rows[2].id, genID(1), genID(0)))
	for _, id := range []string{"1", "", "x/y", exampleID + "0", "%00", "<script>", strings.Repeat("a", 4000)} {
		if id == "" {
			continue // the path is that of the promotion "history"
		}
		f.get(t, "/promotions/"+id+"/history").want(t, 400, `{"error":"not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512"}`)
	}
	f.get(t, "/promotions/history").want(t, 404, unknownJSON)
}

func TestDiffAnswersChanges(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	changes := []string{
		fmt.Sprintf(`{"kind":"removed","id":%q,"from":{"price":9.680,"expiration_date":"2018-10-28 02:30:00"}}`, rows[3].id),
		fmt.Sprintf(`{"kind":"removed","id":%q,"from":{"price":-0.50,"expiration_date":"2018-10-28 02:30:00"}}`, rows[2].id),
		`{"kind":"added","id":"aaaaaaaa-0000-0000-0000-000000000000","to":{"price":1,"expiration_date":"2018-08-04 05:32:31"}}`,
		fmt.Sprintf(`{"kind":"changed","id":%q,"from":{"price":60.683466,"expiration_date":"2018-08-04 05:32:31"},"to":{"price":61,"expiration_date":"2018-08-04 05:32:31"}}`, rows[1].id),
	}
	path := fmt.Sprintf("/generations/%s/diff/%s", genID(0), genID(1))
	for limit, n := range map[string]int{"": 4, "?limit=100": 4, "?limit=2": 2, "?limit=0": 0} {
		a := f.get(t, path+limit).want(t, 200, fmt.Sprintf(`{"from":%q,"to":%q,"changes":[%s],"counts":{"added":1,"removed":2,"changed":1,"unchanged":2}}`, genID(0), genID(1), strings.Join(changes[:n], ",")))
		if a.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", a.header)
		}
	}
	if a := f.do(t, "HEAD", path, ""); a.code != 200 || a.body != "" {
		t.Errorf("HEAD: %+v", a)
	}
	for path, want := range map[string]answer{
		"/generations/x/diff/" + genID(1).String():                         {code: 400, body: `{"error":"\"x\" is not a generation, such as 20261122T103000123Z"}`},
		"/generations/" + genID(1).String() + "/diff/%3Cb%3E%1B":           {code: 400, body: `{"error":"\"\u003cb\u003e\\x1b\" is not a generation, such as 20261122T103000123Z"}`},
		"/generations/" + genID(1).String() + "/diff/" + genID(7).String(): {code: 404, body: `{"error":"no such generation"}`},
		path + "?limit=10001":                         {code: 400, body: `{"error":"limit is not a number from 0 to 10000"}`},
		path + "?limit=%2B1":                          {code: 400, body: `{"error":"limit is not a number from 0 to 10000"}`},
		path + "?limit=1e2":                           {code: 400, body: `{"error":"limit is not a number from 0 to 10000"}`},
		path + "?limit=%20":                           {code: 400, body: `{"error":"limit is not a number from 0 to 10000"}`},
		path + "?limit=-1":                            {code: 400, body: `{"error":"limit is not a number from 0 to 10000"}`},
		path + "?limit=x":                             {code: 400, body: `{"error":"limit is not a number from 0 to 10000"}`},
		path + "/":                                    {code: 404, body: `{"error":"not found"}`},
		"/generations/":                               {code: 404, body: `{"error":"not found"}`},
		"/generations/" + genID(1).String():           {code: 404, body: `{"error":"not found"}`},
		"/generations/" + genID(1).String() + "/diff": {code: 404, body: `{"error":"not found"}`},
		"/generations/a/b/diff/" + genID(1).String():  {code: 404, body: `{"error":"not found"}`},
		"/generationsx":                               {code: 404, body: `{"error":"not found"}`},
	} {
		f.get(t, path).want(t, want.code, want.body)
	}
}

// A path with an encoded slash or a dot segment is not that of another one, like in the
// updater.
func TestGenerationsRefusesInexactPaths(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	a, b := genID(0).String(), genID(1).String()
	for path, code := range map[string]int{
		"/generations/" + a + "/diff/" + b:        200,
		"/generations/" + a + "%2fdiff/" + b:      404,
		"/generations/" + a + "/diff%2F" + b:      404,
		"/generations%2f" + a + "/diff/" + b:      404,
		"/generations/./" + a + "%2Fdiff/" + b:    404,
		"/generations/%2e/" + a + "/diff/" + b:    404,
		"/generations//" + a + "/diff/" + b:       404,
		"/x/../generations":                       404,
		"//generations":                           404,
		"/generations/":                           404,
		"/%67enerations":                          200,
		"/promotions/" + exampleID + "%2fhistory": 404,
		"/promotions/" + exampleID + "/history":   200,
	} {
		c, r := f.dial(t)
		_, err := io.WriteString(c, request(path))
		must(t, err)
		if a := receive(t, r); a.code != code {
			t.Errorf("%s: %d, want %d", path, a.code, code)
		}
		c.Close()
	}
}

// A client of HTTP/1.0 reads no chunks: the body of a comparison ends with the
// connection.
func TestDiffOfHTTP10EndsWithConnection(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	path := fmt.Sprintf("/generations/%s/diff/%s", genID(0), genID(1))
	want := f.get(t, path)
	for _, header := range []string{"", "Connection: keep-alive\r\n"} {
		c, r := f.dial(t)
		_, err := io.WriteString(c, "GET "+path+" HTTP/1.0\r\n"+header+"\r\n")
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		head, body, _ := strings.Cut(string(text), "\r\n\r\n")
		if strings.TrimSuffix(body, "\n") != want.body || !strings.Contains(head, " 200 OK\r\n") || !strings.Contains(head, "Content-Type: application/json\r\n") ||
			!strings.Contains(head, "X-Content-Type-Options: nosniff\r\n") || strings.Contains(head, "chunked") || strings.Contains(head, "Content-Length") || !strings.Contains(head, "Connection: close") {
			t.Errorf("%q", text)
		}
	}
	f.waitDiff(t, path)
}

// A comparison for a client of HTTP/1.0 ends with its client and with the drain.
func TestDiffOfHTTP10Ends(t *testing.T) {
	f, path := withLargeDiff(t)
	f.listen(t)
	hold := func() net.Conn {
		c, err := net.Dial("tcp", f.ln.Addr().String())
		must(t, err)
		must(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
		_, err = io.WriteString(c, "GET "+path+" HTTP/1.0\r\n\r\n")
		must(t, err)
		_, err = io.ReadFull(c, make([]byte, 500))
		must(t, err)
		return c
	}
	hold().Close()
	f.waitDiff(t, path)
	c := hold()
	defer c.Close()
	f.Drain()
	if text, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(text), `],"error":"the server is stopping"}`+"\n") {
		t.Errorf("%v, %q", err, text[max(0, len(text)-100):])
	}
}

func TestHistoryAllowsGetAndHead(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	for _, path := range []string{"/generations", "/promotions/" + exampleID + "/history", fmt.Sprintf("/generations/%s/diff/%s", genID(0), genID(1))} {
		if a := f.do(t, "POST", path, "x").want(t, 405, `{"error":"method not allowed"}`); a.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %v", path, a.header)
		}
		if a := f.do(t, "HEAD", path, ""); a.code != 200 || a.body != "" {
			t.Errorf("HEAD %s: %+v", path, a)
		}
		f.get(t, path).want(t, 200, f.get(t, path).body)
	}
	if got := f.metric(t, `promoserve_history_requests_total{request="diff",result="answered"}`); got != "3" {
		t.Errorf("%s comparisons", got)
	}
}

// While the directory cannot be read, requests about it are answered 503 with the
// reason. The page is complete but for the generations.
func TestUnreadableDirectoryIsAnsweredWithReason(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	must(t, os.Rename(f.dir, f.dir+".away"))
	must(t, os.WriteFile(f.dir, nil, 0o644))
	if err := f.store.Poll(t.Context()); err == nil {
		t.Error("the poll reads a file as a directory")
	}
	const reason = "the directory cannot be read: not a directory"
	for _, path := range []string{"/generations", "/promotions/" + exampleID + "/history", fmt.Sprintf("/generations/%s/diff/%s", genID(0), genID(1))} {
		if a := f.get(t, path).want(t, 503, `{"error":"`+reason+`"}`); a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	a := f.get(t, "/?id="+exampleID)
	if a.code != 503 || strings.Count(a.body, `class="notice bad">`+reason) != 2 || !strings.Contains(a.body, genID(1).String()) || strings.Contains(a.body, f.dir) {
		t.Errorf("page: %d %s", a.code, a.body)
	}
	must(t, os.Remove(f.dir))
	must(t, os.Rename(f.dir+".away", f.dir))
	if a := f.get(t, "/generations"); a.code != 200 {
		t.Errorf("readable again: %d %s", a.code, a.body)
	}
}

func TestWithoutPageNothingTellsOfGenerations(t *testing.T) {
	f := serveMemory(t, rows)
	f.get(t, "/generations").want(t, 404, `{"error":"not found"}`)
	f.get(t, "/promotions/"+exampleID+"/history").want(t, 404, unknownJSON)
	f.get(t, fmt.Sprintf("/generations/%s/diff/%s", genID(0), genID(0))).want(t, 404, `{"error":"not found"}`)
	if f.History() != nil {
		t.Error("the server has a history")
	}
}

// The history works before a generation is live.
func TestHistoryWithoutLiveGeneration(t *testing.T) {
	f := newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{})
	f.listen(t)
	f.get(t, "/generations").want(t, 200, `{"generations":[]}`)
	f.get(t, "/promotions/"+exampleID+"/history").want(t, 200, fmt.Sprintf(`{"id":%q,"history":[]}`, strings.ToLower(exampleID)))
	publish(t, f.dir, genID(0), rows) // and no poll
	f.get(t, "/promotions/"+rows[4].id+"/history").want(t, 200, fmt.Sprintf(`{"id":%q,"history":[{"generation":%q,"live":false,"pinned":false,"found":true,"price":1234567890.123456,"expiration_date":"2018-10-28 02:30:00","expired":true}]}`, rows[4].id, genID(0)))
}

func TestHistoryOfForeignID(t *testing.T) {
	d := parseDigits(t, "0-7")
	f := newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{Digits: d})
	publishShards(t, f.dir, genID(0), byLast, d, gentest.Scattered(100))
	f.poll(t)
	f.listen(t)
	f.get(t, "/promotions/00000000-0000-0000-0000-00000000000F/history").want(t, 421,
		`{"error":"id 00000000-0000-0000-0000-00000000000f: this server serves only ids whose last digit is in 0-7","digits":"0-7"}`)
	f.get(t, "/promotions/00000000-0000-0000-0000-000000000000/history").want(t, 200,
		fmt.Sprintf(`{"id":"00000000-0000-0000-0000-000000000000","history":[{"generation":%q,"live":true,"pinned":false,"found":true,"price":1,"expiration_date":"0000-01-01 00:00:00"}]}`, genID(0)))
}

// withLargeDiff returns a server of two generations without common records, and the
// path of their comparison, whose answer exceeds the buffers of the kernel.
func withLargeDiff(t *testing.T) (f *fixture, path string) {
	t.Helper()
	f = newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{})
	gentest.Publish(t, f.dir, genID(0), gentest.Sequence(200_000))
	gentest.Publish(t, f.dir, genID(1), nil)
	f.poll(t)
	return f, fmt.Sprintf("/generations/%s/diff/%s?limit=10000", genID(0), genID(1))
}

// holdDiff sends a request for a comparison and reads only the header of the answer.
func (f *fixture) holdDiff(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.ln.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
	_, err = io.WriteString(c, request(path))
	must(t, err)
	r := bufio.NewReaderSize(c, 1<<10)
	line, err := r.ReadString('\n')
	must(t, err)
	if !strings.Contains(line, " 200 ") {
		t.Fatal(line)
	}
	return c, r
}

// waitDiff waits until the server accepts another comparison.
func (f *fixture) waitDiff(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		a := f.do(t, "HEAD", path, "")
		if a.code == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the comparison does not end: %d", a.code)
		}
	}
}

func TestOneDiffAtATime(t *testing.T) {
	f, path := withLargeDiff(t)
	f.listen(t)
	c, _ := f.holdDiff(t, path)
	a := f.get(t, path).want(t, 429, `{"error":"another comparison is under way"}`)
	if a.header.Get("Retry-After") != "5" {
		t.Errorf("headers %v", a.header)
	}
	f.get(t, "/promotions/00000000-0000-0000-0000-000000000001").want(t, 404, unknownJSON) // others go on
	c.Close()                                                                              // the comparison ends with its client
	f.waitDiff(t, path)
	if got := f.metric(t, `promoserve_history_requests_total{request="diff",result="refused"}`); got == "0" {
		t.Errorf("%s refused", got)
	}
}

// The write timeout cuts off a client that does not read, and not one that reads an
// answer for longer.
func TestDiffOutlastsWriteTimeout(t *testing.T) {
	f, path := withLargeDiff(t)
	const timeout = 2 * time.Second
	f.SetWriteTimeout(timeout)
	f.listen(t)
	_, r := f.holdDiff(t, path)
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), r)), nil)
	must(t, err)
	var text strings.Builder
	for began := time.Now(); time.Since(began) < 2*timeout; time.Sleep(10 * time.Millisecond) {
		if _, err := io.CopyN(&text, res.Body, 2<<10); err != nil {
			t.Fatalf("after %v and %d bytes: %v", time.Since(began), text.Len(), err)
		}
	}
	_, err = io.Copy(&text, res.Body)
	must(t, err)
	var got struct {
		Changes []struct{ Kind, ID string }
		Counts  map[string]int
	}
	must(t, json.Unmarshal([]byte(text.String()), &got))
	if len(got.Changes) != 10_000 || got.Counts["removed"] != 200_000 {
		t.Errorf("%d changes, counts %v", len(got.Changes), got.Counts)
	}
	f.holdDiff(t, path) // reads no more
	f.waitDiff(t, path)
}

func TestDrainEndsDiff(t *testing.T) {
	f, path := withLargeDiff(t)
	f.listen(t)
	_, r := f.holdDiff(t, path)
	f.Drain()
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), r)), nil)
	must(t, err)
	text, err := io.ReadAll(res.Body)
	must(t, err)
	if !json.Valid(text) || !strings.HasSuffix(string(text), `],"error":"the server is stopping"}`+"\n") {
		t.Errorf("the answer ends with %q", text[max(0, len(text)-100):])
	}
	if a := f.get(t, path).want(t, 503, `{"error":"the server is stopping"}`); a.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.header)
	}
}

// A generation that is damaged where a comparison arrives late ends it with an error.
func TestDiffOfDamagedGeneration(t *testing.T) {
	f, path := withLargeDiff(t)
	f.listen(t)
	gentest.Flip(t, gentest.Path(f.dir, genID(0)), format.BlockOff(1500))
	a := f.get(t, path)
	if a.code != 200 || !json.Valid([]byte(a.body)) || !strings.HasSuffix(a.body, `],"error":"wrong checksum"}`) {
		t.Errorf("%d %q", a.code, a.body[max(0, len(a.body)-100):])
	}
	gentest.Flip(t, gentest.Path(f.dir, genID(0)), -1)
	f.get(t, path).want(t, 500, `{"error":"wrong checksum"}`)
}
