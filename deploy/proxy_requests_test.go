//go:build system

package deploy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// exchange sends text on a new connection and returns the first answer and its
// body.
func exchange(t *testing.T, url, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Errorf("%.80q: %v", text, err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	return res, string(body)
}

// percent percent-encodes the bytes of text that encode selects.
func percent(text string, encode func(i int) bool) string {
	var b strings.Builder
	for i := range len(text) {
		if encode(i) {
			fmt.Fprintf(&b, "%%%02x", text[i])
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// TestProxyForwardsNoHistory asks for the answers about generations, which tell
// promotions that are not live.
func TestProxyForwardsNoHistory(t *testing.T) {
	dir := t.TempDir()
	generation := idOf(t, build(t, dir, 0, minRows))
	s := serve(t, dir)
	waitLive(t, s.url, generation)
	history := "/promotions/" + id(0) + "/history"
	paths := []string{history, history + "?x", "/generations", "/generations/" + generation + "/diff/" + generation}
	for _, path := range paths {
		if a, err := get(s.url + path); err != nil || a.status != http.StatusOK {
			t.Fatalf("%s of the server: %+v, %v", path, a, err)
		}
	}
	for _, path := range []string{"/history", "//history", "/./history", "/x/../history", "%2Fhistory", "%2fhistor%79", "/%68istory", "/history%00", "/history;x", "/history/", "/history%0a"} {
		paths = append(paths, "/promotions/"+id(0)+path, "/promotions/x/../"+id(0)+path)
	}
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			url := p.start(t, []*server{s})
			waitLive(t, url, generation)
			for _, path := range paths {
				if res, body := exchange(t, url, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusBadRequest || strings.Contains(body, `"generation"`) {
					t.Errorf("%s: %s %s", path, res.Status, body)
				}
			}
		})
	}
}

// TestProxyForwardsUnusualRequests sends requests that a server behind a proxy
// answers, although the proxy or the server alone could reject them.
func TestProxyForwardsUnusualRequests(t *testing.T) {
	dir := t.TempDir()
	generation := idOf(t, build(t, dir, 0, minRows))
	s := serve(t, dir)
	waitLive(t, s.url, generation)
	path := "/promotions/" + id(0)
	tag := ""
	if a, err := http.Get(s.url + path); err == nil {
		tag = a.Header.Get("ETag")
		a.Body.Close()
	}
	long := strings.Repeat("a", 9000)
	query := `{"ids":["` + id(0) + `"]}`
	post := fmt.Sprintf("POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n", len(query))
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			url := p.start(t, []*server{s})
			waitLive(t, url, generation)
			for request, want := range map[string]struct {
				code int
				body string
			}{
				"GET /promotions/" + percent(id(0), func(int) bool { return true }) + " HTTP/1.1\r\nHost: x\r\n\r\n": {200, `{"id":`},
				"GET " + path + " HTTP/1.0\r\n\r\n":                                                                          {200, `{"id":`},
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nCookie: a=" + long + "\r\n\r\n":                                     {200, `{"id":`},
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + long + "\r\n\r\n":                         {200, `{"id":`},
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nReferer: https://x/" + long + "\r\n\r\n":                            {200, `{"id":`},
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + tag + "\r\n\r\n":                                 {304, ""},
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + tag[:len(tag)-1] + "-gzip\"\r\n\r\n":             {304, ""},
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"x\", W/" + tag + "\r\n\r\n":                        {304, ""},
				strings.Replace(post, "lookup", "lookup/0", 1) + "\r\n" + query:                                              {200, `{"promotions":[`},
				post + "Content-Type: application/x-www-form-urlencoded\r\n\r\n" + query:                                     {200, `{"promotions":[`},
				post + "Content-Encoding: gzip\r\n\r\n" + query:                                                              {415, ""},
				strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n" + query:                                            {200, `{"promotions":[`},
				strings.Replace(strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1), "Host: x\r\n", "", 1) + "\r\n" + query:     {200, `{"promotions":[`},
				fmt.Sprintf("POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%8388608s", 8<<20, ""): {413, ""},
			} {
				if res, body := exchange(t, url, request); res.StatusCode != want.code || !strings.HasPrefix(body, want.body) {
					t.Errorf("%.120q: %d %.200s, want %d %s", request, res.StatusCode, body, want.code, want.body)
				}
			}
		})
	}
}

// TestProxyWaitsForServer sends half of a request. The server ends it after its
// limit of 10 s, and the client gets the answer of the server.
func TestProxyWaitsForServer(t *testing.T) {
	needs(t, "haproxy") // nginx receives the whole request first
	dir := t.TempDir()
	generation := idOf(t, build(t, dir, 0, minRows))
	s := serve(t, dir)
	waitLive(t, s.url, generation)
	url := proxies["haproxy"].start(t, []*server{s})
	waitLive(t, url, generation)
	for _, half := range []string{"", `{"ids":[`} {
		t.Run(fmt.Sprint(len(half)), func(t *testing.T) {
			t.Parallel()
			res, body := exchange(t, url, "POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"+half)
			if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(body, "the request took too long") {
				t.Errorf("after %q: %d %s, want the 408 of the server", half, res.StatusCode, body)
			}
		})
	}
}
