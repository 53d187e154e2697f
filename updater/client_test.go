package updater_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"promostore/updater"
)

// An upload that does not fit on the disk is rejected before the client sends
// the body.
func TestUploadWithoutSpace(t *testing.T) {
	f := start(t, nil)
	c := f.dialExpectContinue(t, "1000000000000000000")
	readAnswer(t, c).want(t, http.StatusInsufficientStorage, "no_space")
	f.wantGenerations(t)
}

// A client that sends too slowly is disconnected and releases the build slot.
func TestUploadStalls(t *testing.T) {
	const timeout = 1200 * time.Millisecond
	f := start(t, func(o *updater.Options) { o.StallTimeout = timeout })
	head := "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
	for name, send := range map[string]func(io.Writer) error{
		"nothing":    func(io.Writer) error { return nil },
		"half a row": func(w io.Writer) error { _, err := io.WriteString(w, "172ffc14"); return err },
		"single bytes": func(w io.Writer) error {
			for range 1000 {
				if _, err := io.WriteString(w, "1"); err != nil {
					return nil // disconnected
				}
				time.Sleep(timeout / 20)
			}
			return errors.New("1,000 bytes were accepted")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.dial(t, head)
			sent := make(chan error, 1)
			go func() { sent <- send(c) }()
			readAnswer(t, c).want(t, http.StatusRequestTimeout, "stalled")
			must(t, c.Close())
			must(t, <-sent)
			f.wantGenerations(t)
		})
	}
	t.Run("slow but sufficient", func(t *testing.T) {
		csv := dataSet(t, 1500)
		body, feed := io.Pipe()
		go func() { // all pieces take longer than the timeout, each one does not
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

func TestUploadStopsWhenClientDisconnects(t *testing.T) {
	f := start(t, nil)
	half := dataSet(t, 1000)[:20_000]
	for name, text := range map[string]string{
		"length": "Content-Length: 1000000\r\n\r\n" + half,
		"chunks": "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(half), half),
		"form":   "Content-Type: " + formType + "\r\nContent-Length: 1000000\r\n\r\n" + form(t, "data", half)[:20_000],
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.builds(t))
			c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\n"+text)
			f.awaitBuilding(t, true)
			must(t, c.Close())
			await(t, "end of the build", func() bool { return len(f.builds(t)) > before })
			build := f.builds(t)[0]
			if build["result"] != "interrupted" || build["error"] != "upload: the upload was cut off" {
				t.Errorf("result %v with the error %q, want interrupted", build["result"], build["error"])
			}
			f.wantGenerations(t)
		})
	}
}

// A body that is longer or shorter than its header announces is not published.
func TestUploadWithWrongLength(t *testing.T) {
	f := start(t, nil)
	csv := dataSet(t, 100)
	c := f.dial(t, fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(csv)-30, csv))
	readAnswer(t, c).want(t, http.StatusUnprocessableEntity, "bad_rows")
	for _, head := range []string{
		"Content-Length: 10\r\nContent-Length: 20\r\n", "Content-Length: -1\r\n", "Content-Length: 1x\r\n",
		"Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding: x\r\n",
	} {
		c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\n"+head+"\r\n"+csv)
		text, _ := io.ReadAll(c) // may end with a reset
		if !bytes.HasPrefix(text, []byte("HTTP/1.1 400")) && !bytes.HasPrefix(text, []byte("HTTP/1.1 501")) {
			t.Errorf("%q: %q", head, text)
		}
	}
	f.wantGenerations(t)
}

// docs/reference.md lists the answers that net/http gives itself, which are not
// JSON.
func TestInvalidHTTPIsAnsweredWithText(t *testing.T) {
	f := start(t, nil)
	for request, code := range map[string]int{
		"GET /healthz\r\n\r\n":                                                     http.StatusBadRequest,
		"GET /healthz HTTP/1.1\r\n\r\n":                                            http.StatusBadRequest,
		"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n":                               http.StatusBadRequest,
		"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n": http.StatusNotImplemented,
		"GET /healthz HTTP/3.7\r\nHost: localhost\r\n\r\n":                         http.StatusHTTPVersionNotSupported,
		"GET /healthz HTTP/1.1\r\nX: " + strings.Repeat("a", 30<<10):               http.StatusRequestHeaderFieldsTooLarge,
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n":            http.StatusExpectationFailed,
	} {
		res, err := http.ReadResponse(bufio.NewReader(f.dial(t, request)), nil)
		must(t, err)
		api.Observe(t, "", "", res)
		res.Body.Close()
		if res.StatusCode != code || !res.Close {
			t.Errorf("%.80q: %s, closes the connection: %t; want %d", request, res.Status, res.Close, code)
		}
	}
}

func TestHeadersAreLimitedInTimeAndLength(t *testing.T) {
	f := newFixture(t, nil)
	f.SetHeaderTimeout(time.Second)
	f.serve(t, nil)
	slow := f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\nX-A: ")
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("stalled header: %v", err)
	}
	endless := f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\nX-A: "+strings.Repeat("a", 30<<10))
	text, _ := io.ReadAll(endless)
	if !bytes.HasPrefix(text, []byte("HTTP/1.1 431")) {
		t.Errorf("endless header: %q", text)
	}
}

// A client that is rejected in the middle of an upload may go on sending until
// it has read the answer. A reset connection could lose the answer.
func TestRejectedClientReadsAnswer(t *testing.T) {
	csv := dataSet(t, 1000)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(csv), csv)
	for name, expect := range map[string]string{"sends at once": "", "waits for 100 Continue": "Expect: 100-continue\r\n"} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\n"+expect+"Transfer-Encoding: chunked\r\n\r\n"+chunk)
			await(t, "the first chunk is read", func() bool {
				n, err := strconv.ParseFloat(f.metric(t, "promobuild_upload_bytes_total"), 64)
				return err == nil && int(n) == len(csv)
			})
			r := bufio.NewReader(c)
			if expect != "" {
				res, err := http.ReadResponse(r, nil)
				must(t, err)
				if res.StatusCode != http.StatusContinue {
					t.Fatalf("first answer %s, want 100", res.Status)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			stopped := make(chan error, 1)
			go func() { stopped <- f.Shutdown(ctx) }()
			_, err := r.Peek(1) // the answer has arrived
			must(t, err)
			for range 200 { // more than the buffers of the connection hold
				_, err := io.WriteString(c, chunk)
				must(t, err)
			}
			res, err := http.ReadResponse(r, nil)
			must(t, err)
			read(t, res).want(t, http.StatusServiceUnavailable, "interrupted")
			must(t, c.Close())
			must(t, <-stopped)
			f.awaitServed(t)
			f.wantGenerations(t)
		})
	}
}
