//go:build system || campaign

package deploy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// client keeps a connection for each goroutine of inParallel.
var client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// getRaw requests a path as it is spelled.
func getRaw(base, path string) (answer, error) {
	u, err := url.Parse(base)
	if err != nil {
		return answer{}, err
	}
	u.Opaque = path
	return receive(client.Do(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}))
}

// lookup looks up ids in one request.
func lookup(url string, ids []string) (answer, error) {
	query, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return answer{}, err
	}
	return receive(client.Post(url, "application/json", bytes.NewReader(query)))
}

// metrics returns the samples of a server, by name and labels.
func metrics(t testing.TB, s *server) map[string]float64 {
	t.Helper()
	a, err := get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(a.body) {
		if name, value, ok := cutLast(strings.TrimSpace(line), " "); ok && line[0] != '#' {
			if samples[name], err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return samples
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// inParallel calls work with 0 to n-1, from several goroutines, until the test
// has failed.
func inParallel(t *testing.T, n int, work func(i int)) {
	t.Helper()
	next := make(chan int)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := range next {
				work(i)
			}
		})
	}
	for i := 0; i < n && !t.Failed(); i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
