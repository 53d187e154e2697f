//go:build system || campaign

package deploy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"
)

const uploadToken = "a-token"

// startUpdater starts an updater that needs uploadToken, on an unused port.
func startUpdater(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(uploadToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"updater", "--data", data, "--listen", "127.0.0.1:0", "--token-file", tokens, "--memory", "64MiB", "--log-format", "json"}, flags...)
	p := start(t, program(t, "promobuild"), args...)
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(p.line(t, `"msg":"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	return &server{p, "http://" + line.Address}
}

// An uploadAnswer is the answer to an upload, or to a question about one.
type uploadAnswer struct {
	status  int
	header  http.Header
	text    string
	Upload  string
	State   string
	Records int
	Answer  struct{ Records int }
}

// askUpdater sends a request with the token. The body is sent in chunks.
func askUpdater(t *testing.T, method, url, body string, header ...string) uploadAnswer {
	t.Helper()
	req, err := http.NewRequest(method, url, struct{ io.Reader }{strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body = nil
	}
	req.Header.Set("Authorization", "Bearer "+uploadToken)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readUploadAnswer(t, resp)
}

func readUploadAnswer(t *testing.T, resp *http.Response) uploadAnswer {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := uploadAnswer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	_ = json.Unmarshal(text, &a) // an error of the proxy is no JSON
	return a
}

// awaitUpload waits for the end of an upload. url is that of the upload.
func awaitUpload(t *testing.T, url string) (a uploadAnswer) {
	t.Helper()
	waitFor(t, "end of "+url, func() bool {
		a = askUpdater(t, http.MethodGet, url, "")
		return a.State == "published" || a.State == "failed"
	})
	return a
}

func readCSV(t *testing.T, rows int64) string {
	t.Helper()
	text, err := os.ReadFile(writeCSV(t, 0, rows))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestProxyForwardsUploads checks uploads through the proxies as they are shipped.
func TestProxyForwardsUploads(t *testing.T) {
	const rows = 100_000
	csv := readCSV(t, rows)
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			data := t.TempDir()
			_, url := p.run(t, nil, strings.TrimPrefix(startUpdater(t, data).url, "http://"), "1h")
			waitFor(t, "the proxy listens", func() bool { _, err := get(url); return err == nil })

			if a := askUpdater(t, http.MethodPost, url+"/upload", csv); a.status != http.StatusCreated || a.Records != rows {
				t.Errorf("upload: %d %s", a.status, a.text)
			}
			a := askUpdater(t, http.MethodPost, url+"/upload", csv, "Prefer", "respond-async")
			if a.status != http.StatusAccepted || a.header.Get("Preference-Applied") == "" {
				t.Fatalf("upload with Prefer: %d %s", a.status, a.text)
			}
			if a := awaitUpload(t, url+a.header.Get("Location")); a.State != "published" || a.Answer.Records != rows {
				t.Errorf("result: %s", a.text)
			}

			if a := askUpdater(t, http.MethodPost, url+"/upload", csv, "Authorization", "Bearer wrong"); a.status != http.StatusUnauthorized {
				t.Errorf("upload with a wrong token: %d %s", a.status, a.text)
			}
			wantHidden(t, strings.TrimPrefix(url, "http://"), "/uploads")

			conn := sendUpload(t, url, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(csv), csv))
			closeWrite(t, conn)
			if a := readUpload(t, conn); a.status != http.StatusCreated || a.Records != rows {
				t.Errorf("client that closes its sending side: %d %s", a.status, a.text)
			}

			// A client that goes away in the middle publishes nothing.
			before := countGenerations(t, data)
			sendUpload(t, url, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(csv)+1, csv)).Close()
			sendUpload(t, url, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(csv), csv)).Close()
			if a := askUpdater(t, http.MethodPost, url+"/upload", csv); a.status != http.StatusCreated && a.status != http.StatusConflict {
				t.Errorf("upload after a cut one: %d %s", a.status, a.text)
			}
			waitFor(t, "end of the builds", func() bool {
				return askUpdater(t, http.MethodPost, url+"/upload", "").status == http.StatusUnprocessableEntity
			})
			if after := countGenerations(t, data); after > before+1 {
				t.Errorf("%d generations, %d before two cut uploads and one that is complete", after, before)
			}
		})
	}
}

// TestUploadSurvivesProxyTimeout checks that the answer 504 of a proxy after the
// last byte does not stop the build. The updater is suspended, so that the proxy
// has to give up.
func TestUploadSurvivesProxyTimeout(t *testing.T) {
	const rows = 1000
	csv := readCSV(t, rows)
	last := len(csv) - 1
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			data := t.TempDir()
			updater := startUpdater(t, data)
			_, url := p.run(t, nil, strings.TrimPrefix(updater.url, "http://"), "3s")
			waitFor(t, "the proxy listens", func() bool { _, err := get(url); return err == nil })
			conn := sendUpload(t, url, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(csv), csv[:last]))
			var st struct {
				Building *struct{ Upload string }
			}
			waitFor(t, "the build starts", func() bool {
				a := askUpdater(t, http.MethodGet, updater.url+"/status", "")
				if err := json.Unmarshal([]byte(a.text), &st); err != nil {
					t.Fatalf("/status: %v: %s", err, a.text)
				}
				return st.Building != nil
			})
			updater.suspend(t)
			if _, err := io.WriteString(conn, csv[last:]); err != nil {
				t.Fatal(err)
			}
			if a := readUpload(t, conn); a.status != http.StatusGatewayTimeout {
				t.Errorf("answer %d %s, want that of the proxy", a.status, a.text)
			}
			updater.signal(syscall.SIGCONT)
			if a := awaitUpload(t, updater.url+"/uploads/"+st.Building.Upload); a.State != "published" || a.Answer.Records != rows {
				t.Errorf("result: %s", a.text)
			}
			if n := countGenerations(t, data); n != 1 {
				t.Errorf("%d generations, want 1", n)
			}
		})
	}
}

// sendUpload opens a connection to the proxy at url and sends an upload. rest is
// the end of the header and the body.
func sendUpload(t *testing.T, url, rest string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s", uploadToken, rest)
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	return conn
}

func readUpload(t *testing.T, conn net.Conn) uploadAnswer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return readUploadAnswer(t, resp)
}

func closeWrite(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// countGenerations returns the number of generations in a directory.
func countGenerations(t *testing.T, data string) int {
	t.Helper()
	list, err := generation.List(data)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
