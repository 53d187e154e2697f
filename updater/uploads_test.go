package updater_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/updater"
	"promostore/web"
)

const async = "respond-async"

// rawUpload returns an upload as it is on the wire, for each way to send a body.
func rawUpload(t *testing.T, csv string) map[string]string {
	t.Helper()
	const head = "POST /upload HTTP/1.1\r\nHost: localhost\r\n"
	body := form(t, "data", csv)
	return map[string]string{
		"length": fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(csv), csv),
		"chunks": fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(csv), csv),
		"form":   fmt.Sprintf("%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", head, formType, len(body), body),
		"closes": fmt.Sprintf("%sConnection: close\r\nContent-Length: %d\r\n\r\n%s", head, len(csv), csv),
	}
}

// awaitResult waits for the end of an upload and returns the answer of its path.
func (f *fixture) awaitResult(t *testing.T, path string) (a answer) {
	t.Helper()
	await(t, "end of the upload", func() bool {
		a = f.get(t, path)
		return a.object["state"] == "published" || a.object["state"] == "failed"
	})
	return a
}

func TestHalfClosedClientGetsAnswer(t *testing.T) {
	const rows = 20_000
	for name, text := range rawUpload(t, dataSet(t, rows)) {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			c := f.dial(t, text)
			must(t, c.(*net.TCPConn).CloseWrite())
			a := readAnswer(t, c)
			a.want(t, http.StatusCreated, "")
			f.wantGenerations(t, rows)
			if got := f.get(t, a.header.Get("Location")).object["upload"]; got != a.object["upload"] || got == nil {
				t.Errorf("answer %s; its location names the upload %v", a, got)
			}
		})
	}
}

func TestHalfClosedTLSClientGetsAnswer(t *testing.T) {
	certificates, err := web.SelfSigned()
	must(t, err)
	f := newFixture(t, nil)
	f.serve(t, certificates.Config())
	c, err := tls.Dial("tcp", f.address, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, rawUpload(t, dataSet(t, 20_000))["length"])
	must(t, err)
	must(t, c.CloseWrite())
	readAnswer(t, c).want(t, http.StatusCreated, "")
}

// The build of a client that goes away after the last byte is published. The
// full /status names the upload.
func TestUploadOfGoneClientIsPublished(t *testing.T) {
	const rows = 20_000
	for name, text := range rawUpload(t, dataSet(t, rows)) {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			must(t, f.dial(t, text).Close())
			await(t, "end of the build", func() bool { return len(f.builds(t)) > 0 })
			f.wantGenerations(t, rows)
			a := f.awaitResult(t, fmt.Sprint("/uploads/", f.builds(t)[0]["upload"]))
			if result, _ := a.object["answer"].(map[string]any); a.object["status"] != 201. || result["records"] != float64(rows) {
				t.Errorf("result %s", a)
			}
		})
	}
}

// A body that ends early is never published, even if the client still reads.
func TestHalfClosedClientBeforeEndOfBody(t *testing.T) {
	for name, text := range rawUpload(t, dataSet(t, 1000)) {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			c := f.dial(t, text[:len(text)-2])
			must(t, c.(*net.TCPConn).CloseWrite())
			a := readAnswer(t, c)
			a.want(t, http.StatusBadRequest, "malformed")
			f.wantGenerations(t)
			if got := f.metric(t, `promobuild_uploads_total{code="499"}`); got != "1" {
				t.Errorf("%s clients went away, want 1", got)
			}
			if result := f.awaitResult(t, fmt.Sprint("/uploads/", a.object["upload"])); result.object["status"] != 400. {
				t.Errorf("result %s", result)
			}
		})
	}
}

func TestRespondAsync(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Build.MinRecords, o.Hint = 100, hint })
	for i, c := range []struct {
		name, csv string
		state     string
		status    float64
		contains  string
	}{
		{"published", dataSet(t, 100_000), "published", 201, `"records":100000`},
		{"refused", dataSet(t, 10), "failed", 422, `"flag":"--min-records"`},
		{"bad rows", dataSet(t, 200) + "bad,row\n", "failed", 422, `"rows":[{"line":201,`},
		{"empty", "", "failed", 422, `"reason":"refused"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := f.post(t, chunked{strings.NewReader(c.csv)}, "Prefer", async)
			a.want(t, http.StatusAccepted, "")
			location := a.header.Get("Location")
			if a.header.Get("Preference-Applied") != async || location != fmt.Sprint("/uploads/", a.object["upload"]) {
				t.Errorf("answer %s with the header %v", a, a.header)
			}
			a = f.awaitResult(t, location)
			result, _ := a.object["answer"].(map[string]any)
			if a.object["state"] != c.state || a.object["status"] != c.status || !strings.Contains(a.text, c.contains) || result["upload"] != a.object["upload"] {
				t.Errorf("result %s, want the state %s with the status %v and %s", a, c.state, c.status, c.contains)
			}
			if got := f.metric(t, `promobuild_uploads_total{code="202"}`); got != fmt.Sprint(i+1) {
				t.Errorf("%s answers 202, want %d", got, i+1)
			}
		})
	}
	f.wantGenerations(t, 100_000)
	if n := f.metric(t, `promobuild_builds_total{result="refused"}`); n != "2" {
		t.Errorf("%s builds refused, want 2", n)
	}
}

// The answer 202 follows the last byte of the body. Until then an upload can be
// rejected like any other.
func TestRespondAsyncWaitsForBody(t *testing.T) {
	f := start(t, nil)
	csv := dataSet(t, 1000)
	head := fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: localhost\r\nPrefer: %s\r\nContent-Length: %d\r\n\r\n", async, len(csv))
	c := f.dial(t, head+csv[:len(csv)/2])
	f.awaitBuilding(t, true)
	path := fmt.Sprint("/uploads/", f.get(t, "/status").object["building"].(map[string]any)["upload"])
	if a := f.get(t, path); a.object["state"] != "receiving" || a.object["building"] == nil {
		t.Errorf("upload that arrives: %s", a)
	}
	busy := f.post(t, strings.NewReader(csv), "Prefer", async)
	busy.want(t, http.StatusConflict, "busy")
	if building, _ := busy.object["building"].(map[string]any); path != fmt.Sprint("/uploads/", building["upload"]) {
		t.Errorf("answer %s does not name the upload of %s", busy, path)
	}
	_, err := c.Write([]byte(csv[len(csv)/2:]))
	must(t, err)
	readAnswer(t, c).want(t, http.StatusAccepted, "")
	f.awaitResult(t, path)
	f.wantGenerations(t, 1000)

	cut := f.dial(t, head+csv[:len(csv)/2])
	must(t, cut.(*net.TCPConn).CloseWrite())
	readAnswer(t, cut).want(t, http.StatusBadRequest, "malformed")
	f.wantGenerations(t, 1000)
}

// Shutdown waits for a build whose client has its answer, and interrupts it like
// any other.
func TestShutdownWaitsForAcceptedUpload(t *testing.T) {
	const rows = 100_000
	for name, interrupt := range map[string]bool{"build ends in time": false, "build is interrupted": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.post(t, strings.NewReader(dataSet(t, rows)), "Prefer", async).want(t, http.StatusAccepted, "")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if interrupt {
				cancel()
			}
			must(t, f.Shutdown(ctx))
			f.awaitServed(t)
			if got := f.generations(t); !interrupt || len(got) > 0 { // it may have ended before
				f.wantGenerations(t, rows)
			}
		})
	}
}

// The result of an upload needs the credentials of an upload, because it
// contains rows.
func TestResultRequiresCredentials(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("right\n"), 0o600))
	f := start(t, func(o *updater.Options) { o.TokenFile = tokens })
	a := f.post(t, strings.NewReader("bad,row\n"), "Authorization", "Bearer right", "Prefer", async)
	a.want(t, http.StatusAccepted, "")
	path := a.header.Get("Location")
	f.get(t, path).want(t, http.StatusUnauthorized, "unauthorized")
	f.get(t, "/uploads/x").want(t, http.StatusUnauthorized, "unauthorized")
	for path, want := range map[string]int{path: http.StatusOK, path[:len(path)-1]: http.StatusNotFound, "/uploads/x": http.StatusNotFound} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, err := http.NewRequest(method, "http://"+f.address+path, nil)
			must(t, err)
			req.Header.Set("Authorization", "Bearer right")
			res, err := f.client.Do(req)
			must(t, err)
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s %s: %s, want %d", method, path, res.Status, want)
			}
		}
	}
	if text := f.get(t, "/status").text; strings.Contains(text, "upload") {
		t.Errorf("/status without credentials: %s", text)
	}
}
