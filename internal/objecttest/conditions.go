package objecttest

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"sync"
)

// conditions adds features to gofakes3: If-Match of a GET, and If-None-Match and
// the ETag at the end of an upload in parts.
type conditions struct {
	fake http.Handler
	mu   sync.RWMutex // held for a condition and the request
}

func (c *conditions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		c.mu.RLock()
		defer c.mu.RUnlock()
	} else {
		data, err := io.ReadAll(r.Body) // outside the lock: the client may be slow
		if err != nil || int64(len(data)) != r.ContentLength {
			panic(http.ErrAbortHandler) // the client went away
		}
		r.Body = io.NopCloser(bytes.NewReader(data))
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
