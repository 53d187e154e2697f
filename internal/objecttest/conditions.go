package objecttest

import (
	"bufio"
	"bytes"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// conditions adds features to gofakes3: If-Match of a GET, If-None-Match and
// the ETag of the end of an upload in parts, and signed chunks of a part.
type conditions struct {
	fake http.Handler
	mu   sync.RWMutex // held for a condition and the request
}

func (c *conditions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		c.mu.RLock()
		defer c.mu.RUnlock()
	} else {
		r = dechunk(r) // outside the lock: the client may be slow
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	etag := c.etag(r.URL.Path)
	want := r.Header.Get("If-Match")
	upload := r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
	if want != "" && etag != "" && want != etag || upload && r.Header.Get("If-None-Match") == "*" && etag != "" {
		Error(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")(w, r, nil)
		return
	}
	if !upload {
		c.fake.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	c.fake.ServeHTTP(rec, r)
	body := oldETag.ReplaceAllString(rec.Body.String(), "<ETag>"+html.EscapeString(c.etag(r.URL.Path))+"</ETag>")
	w.WriteHeader(rec.Code)
	_, _ = io.WriteString(w, body)
}

var oldETag = regexp.MustCompile(`<ETag>.*</ETag>`)

// etag returns the ETag of an object, or nothing if it does not exist.
func (c *conditions) etag(path string) string {
	rec := httptest.NewRecorder()
	c.fake.ServeHTTP(rec, &http.Request{Method: http.MethodHead, URL: &url.URL{Path: path}, Header: http.Header{}})
	return rec.Header().Get("ETag")
}

// dechunk reads the body of a request and removes the signatures of its chunks.
func dechunk(r *http.Request) *http.Request {
	c := r.Clone(r.Context())
	body := io.Reader(r.Body)
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body = &chunks{r: bufio.NewReader(r.Body)}
		c.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		c.Header.Del("Content-Encoding")
		c.Header.Set("Content-Length", r.Header.Get("X-Amz-Decoded-Content-Length"))
		c.ContentLength, _ = strconv.ParseInt(c.Header.Get("Content-Length"), 10, 64)
	}
	data, err := io.ReadAll(body)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body) // after the last chunk
	}
	if err != nil || c.ContentLength >= 0 && int64(len(data)) != c.ContentLength {
		panic(http.ErrAbortHandler) // the client went away
	}
	c.Body = io.NopCloser(bytes.NewReader(data))
	return c
}

// chunks reads a body of chunks: SIZE;chunk-signature=SIGNATURE, a line end, the
// bytes, a line end.
type chunks struct {
	r *bufio.Reader
	n int64 // left of the chunk
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.n == 0 {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		if line = strings.TrimSpace(line); line == "" { // ends the chunk before
			continue
		}
		size, _, _ := strings.Cut(line, ";")
		c.n, err = strconv.ParseInt(size, 16, 64)
		if err != nil {
			return 0, err
		}
		if c.n == 0 {
			return 0, io.EOF
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.n)])
	c.n -= int64(n)
	return n, err
}
