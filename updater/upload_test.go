package updater_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"promostore/format/generation"
	"promostore/updater"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	must(t, err)
	must(t, w.Close())
	return b.String()
}

func zstded(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	w, err := zstd.NewWriter(&b)
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
	must(t, w.Close())
	return b.String()
}

const (
	boundary = "xxBOUNDARYxx"
	formType = "multipart/form-data; boundary=" + boundary
)

// form has fields: names and contents by turns.
func form(t *testing.T, fields ...string) string {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	must(t, w.SetBoundary(boundary))
	for i := 0; i < len(fields); i += 2 {
		part, err := w.CreateFormFile(fields[i], "promotions.csv")
		must(t, err)
		_, err = io.WriteString(part, fields[i+1])
		must(t, err)
	}
	must(t, w.Close())
	return b.String()
}

// chunked hides the length of what it reads.
type chunked struct{ io.Reader }

func TestUpload(t *testing.T) {
	const rows = 10_000
	csv := table(t, rows)
	f := start(t, nil)
	want := []int{}
	for _, c := range []struct {
		name, body string
		headers    []string
	}{
		{"plain", csv, nil},
		{"as curl --data-binary sends it", csv, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"gzip", gzipped(t, csv), nil},
		{"zstd", zstded(t, csv), nil},
		{"gzip by its header", gzipped(t, csv), []string{"Content-Encoding", "gzip"}},
		{"zstd by its header", zstded(t, csv), []string{"Content-Encoding", "zstd"}},
		{"form", form(t, "data", csv), []string{"Content-Type", formType}},
		{"form with gzip", form(t, "data", gzipped(t, csv)), []string{"Content-Type", formType}},
		{"form with something before and behind", "before\r\n" + form(t, "data", csv) + "behind\r\n", []string{"Content-Type", formType}},
	} {
		for _, body := range []io.Reader{strings.NewReader(c.body), chunked{strings.NewReader(c.body)}} {
			a := f.post(t, body, c.headers...)
			a.want(t, http.StatusCreated, "")
			if a.object["records"] != float64(rows) || a.object["rows"] != float64(rows) || a.object["pruned"] == nil {
				t.Errorf("%s: %s", c.name, a)
			}
			want = append(want, rows)
			list, err := generation.List(f.data)
			must(t, err)
			if a.object["generation"] != list[len(list)-1].ID.String() {
				t.Errorf("%s: %s is not the newest", c.name, a)
			}
		}
	}
	f.wantGenerations(t, want...)
}

func TestUploadRefused(t *testing.T) {
	csv := table(t, 1000)
	f := start(t, func(o *updater.Options) {
		o.MaxUpload, o.Build.MinRecords = 1<<20, 100
	})
	asForm := []string{"Content-Type", formType}
	for _, c := range []struct {
		name, body string
		headers    []string
		code       int
		reason     string
		says       string
	}{
		{"bad rows", csv + "bad,row\n", nil, 422, "bad_rows", `"rows":[{"line":1001,"column":1,"reason":`},
		{"empty", "", nil, 422, "refused", "no promotions"},
		{"too few", table(t, 10), nil, 422, "refused", `"flag":"--min-records"`},
		{"too large", strings.Repeat("x", 1<<20+1), nil, 413, "too_large", "--max-upload"},
		{"too large a form", form(t, "data", strings.Repeat(csv, 20)), asForm, 413, "too_large", "--max-upload"},
		{"a bomb", gzipped(t, strings.Repeat("\n", 80<<20)), nil, 413, "too_large", "not a data set"},
		{"gzip cut off", gzipped(t, csv)[:1000], nil, 400, "malformed", "truncated"},
		{"zstd cut off", zstded(t, csv)[:1000], nil, 400, "malformed", "truncated"},
		{"another encoding", csv, []string{"Content-Encoding", "br"}, 400, "malformed", `\"br\"`},
		{"an encoded form", form(t, "data", csv), append(asForm, "Content-Encoding", "gzip"), 400, "malformed", "the file in it"},
		{"a form with another field", form(t, "file", csv), asForm, 400, "malformed", `\"file\"`},
		{"a form with another field before", form(t, "x", "", "data", csv), asForm, 400, "malformed", `\"x\"`},
		{"a form with another field behind", form(t, "data", csv, "x", ""), asForm, 400, "malformed", `\"x\"`},
		{"a form with two tables", form(t, "data", csv, "data", csv), asForm, 400, "malformed", "twice"},
		{"a form with none", form(t), asForm, 400, "malformed", ""},
		{"a form without an end", strings.TrimSuffix(form(t, "data", csv), "--"+boundary+"--\r\n"), asForm, 400, "malformed", "cut off"},
		{"a form with half an end", strings.TrimSuffix(form(t, "data", csv), "--\r\n"), asForm, 400, "malformed", "cut off"},
		{"a form with much behind it", form(t, "data", csv) + strings.Repeat("x", 8<<10), asForm, 400, "malformed", "behind the end"},
		{"a form without a boundary", csv, []string{"Content-Type", "multipart/form-data"}, 400, "malformed", "boundary"},
		{"a form with endless headers", "--" + boundary + "\r\n" + strings.Repeat("A: b\r\n", 100_000), asForm, 400, "malformed", ""},
		{"a page of another site", csv, []string{"Sec-Fetch-Site", "cross-site"}, 403, "unauthorized", "cross-origin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, body := range []io.Reader{strings.NewReader(c.body), chunked{strings.NewReader(c.body)}} {
				a := f.post(t, body, c.headers...)
				a.want(t, c.code, c.reason)
				if !strings.Contains(a.text, c.says) {
					t.Errorf("%s does not say %q", a, c.says)
				}
				f.wantGenerations(t)
			}
		})
	}
	f.post(t, strings.NewReader(csv)).want(t, http.StatusCreated, "")
}

// What a client calls things does not fill the status or the log.
func TestLongNames(t *testing.T) {
	f := start(t, nil)
	long := strings.Repeat("x", 10_000)
	for _, a := range []answer{
		f.post(t, strings.NewReader(form(t, long, "")), "Content-Type", formType),
		f.post(t, strings.NewReader(table(t, 1)), "Content-Encoding", long),
	} {
		a.want(t, http.StatusBadRequest, "malformed")
		if len(a.text) > 500 {
			t.Errorf("an answer of %d bytes", len(a.text))
		}
	}
	if text := f.get(t, "/status").text; len(text) > 1000 {
		t.Errorf("a status of %d bytes", len(text))
	}
}

// The report is bounded, whatever the table is like.
func TestManyBadRows(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Build.MaxBadRows = 7 })
	a := f.post(t, strings.NewReader(strings.Repeat(strings.Repeat("x", 10_000)+"\n", 10_000)))
	a.want(t, http.StatusUnprocessableEntity, "bad_rows")
	rows, _ := a.object["rows"].([]any)
	if len(rows) != 20 || a.object["bad_rows"] != 10_000. || a.object["tolerated"] != 7. || len(a.text) > 20<<10 {
		t.Errorf("%d bytes, %d rows: %.1000s", len(a.text), len(rows), a)
	}
	if text := f.get(t, "/status").text; strings.Contains(text, "xxx") {
		t.Errorf("the status shows rows: %.1000s", text)
	}
}

func TestOtherRequests(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/upload", 405}, {"PUT", "/upload", 405}, {"POST", "/status", 405}, {"DELETE", "/prometheus", 405},
		{"GET", "/", 404}, {"POST", "/upload/", 404}, {"GET", "/promotions/1", 404}, {"GET", "/debug/pprof/", 404},
		{"GET", "/healthz", 200}, {"GET", "/readyz", 200}, {"GET", "/status", 200},
	} {
		req, err := http.NewRequest(c.method, "http://"+f.address+c.path, nil)
		must(t, err)
		res, err := f.client.Do(req)
		must(t, err)
		if a := read(t, res); a.code != c.code {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, a, c.code)
		} else if (c.code == 405) != (a.header.Get("Allow") != "") {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, a.header.Get("Allow"))
		}
	}
}

// An upload that comes while another is built is refused before its client
// has sent anything of it.
func TestBusy(t *testing.T) {
	f := start(t, nil)
	csv := table(t, 100_000)
	body, feed := io.Pipe()
	first := make(chan answer)
	go func() {
		defer close(first)
		res, err := f.tryPost(body)
		if err != nil {
			t.Error(err)
			return
		}
		first <- read(t, res)
	}()
	_, err := io.WriteString(feed, csv[:len(csv)/2])
	must(t, err)
	await(t, "the build reads", func() bool {
		building, _ := f.get(t, "/status").object["building"].(map[string]any)
		return building["phase"] == "read"
	})

	c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
	a := answerOn(t, c) // and not 100
	a.want(t, http.StatusConflict, "busy")
	building, _ := a.object["building"].(map[string]any)
	if building["phase"] != "read" || building["source"] != "upload" {
		t.Errorf("no progress in %s", a)
	}
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	f.post(t, strings.NewReader(csv)).want(t, http.StatusConflict, "busy")

	_, err = io.WriteString(feed, csv[len(csv)/2:])
	must(t, err)
	must(t, feed.Close())
	(<-first).want(t, http.StatusCreated, "")
	f.awaitBuilding(t, false)
	f.post(t, strings.NewReader(csv)).want(t, http.StatusCreated, "")
	f.wantGenerations(t, 100_000, 100_000)
}

// Another process that writes to the directory is another build, too.
func TestBusyElsewhere(t *testing.T) {
	f := start(t, nil)
	w, err := generation.OpenWriter(f.data)
	must(t, err)
	c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
	a := answerOn(t, c)
	a.want(t, http.StatusConflict, "busy")
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	must(t, w.Close())
	f.post(t, strings.NewReader(table(t, 10))).want(t, http.StatusCreated, "")
	if n := len(f.builds(t)); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

// What the disk has no room for is refused before it is sent.
func TestNoRoom(t *testing.T) {
	f := start(t, nil)
	c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000\r\nExpect: 100-continue\r\n\r\n")
	answerOn(t, c).want(t, http.StatusInsufficientStorage, "no_space")
	f.wantGenerations(t)
}

// A client that sends too little is cut off, and holds nobody up any longer.
func TestStalled(t *testing.T) {
	const timeout = 300 * time.Millisecond
	f := start(t, func(o *updater.Options) { o.StallTimeout = timeout })
	head := "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
	for name, send := range map[string]func(io.Writer) error{
		"nothing":    func(io.Writer) error { return nil },
		"half a row": func(w io.Writer) error { _, err := io.WriteString(w, "172ffc14"); return err },
		"a byte now and then": func(w io.Writer) error {
			for range 1000 {
				if _, err := io.WriteString(w, "1"); err != nil {
					return nil // cut off
				}
				time.Sleep(timeout / 20)
			}
			return fmt.Errorf("nobody objects to a byte now and then")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.dial(t, head)
			sent := make(chan error, 1)
			go func() { sent <- send(c) }()
			answerOn(t, c).want(t, http.StatusRequestTimeout, "stalled")
			must(t, c.Close())
			must(t, <-sent)
			f.wantGenerations(t)
		})
	}
	t.Run("slow, but not too slow", func(t *testing.T) {
		csv := table(t, 1500)
		body, feed := io.Pipe()
		go func() { // takes longer than the timeout, but each piece does not
			for piece := range slices.Chunk([]byte(csv), updater.MinProgress) {
				_, _ = feed.Write(piece)
				time.Sleep(timeout / 4)
			}
			feed.Close()
		}()
		f.post(t, body).want(t, http.StatusCreated, "")
	})
	f.wantGenerations(t, 1500)
}

// A client that goes away stops the build, and leaves nothing.
func TestClientGone(t *testing.T) {
	f := start(t, nil)
	half := table(t, 1000)[:20_000]
	for name, text := range map[string]string{
		"length": "Content-Length: 1000000\r\n\r\n" + half,
		"chunks": "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(half), half),
		"form":   "Content-Type: " + formType + "\r\nContent-Length: 1000000\r\n\r\n" + form(t, "data", half)[:20_000],
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.builds(t))
			c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\n"+text)
			f.awaitBuilding(t, true)
			must(t, c.Close())
			await(t, "the build ends", func() bool { return len(f.builds(t)) > before })
			if result := f.builds(t)[0]["result"]; result != "interrupted" {
				t.Errorf("it is %v", result)
			}
			f.wantGenerations(t)
		})
	}
}

// What lies about its length is not published: neither what ends too early nor
// what has more than it says.
func TestLength(t *testing.T) {
	f := start(t, nil)
	csv := table(t, 100)
	c := f.dial(t, fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(csv)-30, csv))
	answerOn(t, c).want(t, http.StatusUnprocessableEntity, "bad_rows")
	for _, head := range []string{
		"Content-Length: 10\r\nContent-Length: 20\r\n", "Content-Length: -1\r\n", "Content-Length: 1x\r\n",
		"Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding: x\r\n",
	} {
		c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\n"+head+"\r\n"+csv)
		text, _ := io.ReadAll(c) // which may end with a reset
		if !bytes.HasPrefix(text, []byte("HTTP/1.1 400")) && !bytes.HasPrefix(text, []byte("HTTP/1.1 501")) {
			t.Errorf("%q: %q", head, text)
		}
	}
	f.wantGenerations(t)
}

// Headers that never end take neither memory nor time for long.
func TestHeaders(t *testing.T) {
	f := newFixture(t, nil)
	f.SetHeaderTimeout(200 * time.Millisecond)
	f.serve(t, nil)
	slow := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\nX-A: ")
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("a header that stalls: %v", err)
	}
	endless := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\nX-A: "+strings.Repeat("a", 30<<10))
	text, _ := io.ReadAll(endless)
	if !bytes.HasPrefix(text, []byte("HTTP/1.1 431")) {
		t.Errorf("an endless header: %q", text)
	}
}

func TestKeep(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Keep = 2 })
	var names []any
	for i := range 4 {
		a := f.post(t, strings.NewReader(table(t, int64(i+1))))
		a.want(t, http.StatusCreated, "")
		pruned, _ := a.object["pruned"].([]any)
		if i < 2 && len(pruned) != 0 || i >= 2 && (len(pruned) != 1 || pruned[0] != names[i-2]) {
			t.Errorf("upload %d of %v: %s", i, names, a)
		}
		names = append(names, a.object["generation"])
	}
	f.wantGenerations(t, 3, 4)
}

// A build that runs may end within the time that Shutdown has, and is cut off
// after that.
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name   string
		cut    bool
		code   int
		reason string
	}{{"in time", false, http.StatusCreated, ""}, {"cut off", true, http.StatusServiceUnavailable, "interrupted"}} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			body, feed := io.Pipe()
			defer feed.Close()
			got := make(chan answer, 1)
			go func() {
				defer close(got)
				res, err := f.tryPost(body)
				if err != nil {
					t.Error(err)
					return
				}
				got <- read(t, res)
			}()
			csv := table(t, 10_000)
			_, err := io.WriteString(feed, csv[:len(csv)/2])
			must(t, err)
			f.awaitBuilding(t, true)
			ctx, cut := context.WithCancel(context.Background())
			defer cut()
			stopped := make(chan error, 1)
			go func() { stopped <- f.Shutdown(ctx) }()
			await(t, "it is not ready", func() bool { return f.get(t, "/readyz").code == http.StatusServiceUnavailable })
			f.post(t, strings.NewReader(csv)).want(t, http.StatusServiceUnavailable, "interrupted")
			if c.cut {
				cut()
			} else {
				_, err := io.WriteString(feed, csv[len(csv)/2:])
				must(t, err)
				must(t, feed.Close())
			}
			(<-got).want(t, c.code, c.reason)
			must(t, <-stopped)
			must(t, <-f.served)
			f.served = nil
			if c.cut {
				f.wantGenerations(t)
			} else {
				f.wantGenerations(t, 10_000)
			}
		})
	}
}

// A client that is refused in the middle, and sends on, can do so until it has
// read the answer: whose connection is reset may never come to read.
func TestRefusedWhileSending(t *testing.T) {
	csv := table(t, 1000)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(csv), csv)
	for name, expect := range map[string]string{"at once": "", "when told to": "Expect: 100-continue\r\n"} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: x\r\n"+expect+"Transfer-Encoding: chunked\r\n\r\n"+chunk)
			await(t, "all has been read", func() bool {
				n, err := strconv.ParseFloat(f.metric(t, "promobuild_upload_bytes_total"), 64)
				return err == nil && int(n) == len(csv)
			})
			r := bufio.NewReader(c)
			if expect != "" {
				res, err := http.ReadResponse(r, nil)
				must(t, err)
				if res.StatusCode != http.StatusContinue {
					t.Fatalf("the first answer is %s", res.Status)
				}
			}
			ctx, cut := context.WithCancel(t.Context())
			cut()
			stopped := make(chan error, 1)
			go func() { stopped <- f.Shutdown(ctx) }()
			_, err := r.Peek(1) // the answer is there
			must(t, err)
			for range 200 { // more than the buffers of a connection take
				_, err := io.WriteString(c, chunk)
				must(t, err)
			}
			res, err := http.ReadResponse(r, nil)
			must(t, err)
			read(t, res).want(t, http.StatusServiceUnavailable, "interrupted")
			must(t, c.Close())
			must(t, <-stopped)
			must(t, <-f.served)
			f.served = nil
			f.wantGenerations(t)
		})
	}
}
