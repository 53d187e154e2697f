package httpd_test

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// TestMetricsCountRequests sends a known set of requests.
func TestMetricsCountRequests(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := newFixture(t, httpd.Options{Version: `v1 "x"`, Certificates: certs}, reader.StoreOptions{})
	f.listen(t)
	f.get(t, "/promotions/"+exampleID)
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	tag := f.get(t, "/promotions/"+exampleID).header.Get("ETag")
	f.get(t, "/promotions/"+exampleID, "If-None-Match", tag)
	f.get(t, "/promotions/172FFC14-D229-4C93-B06B-F48B8C095513")
	f.get(t, "/promotions/1")
	f.do(t, "POST", "/promotions/"+exampleID, "")
	f.do(t, "POST", "/promotions/lookup", `{"ids":["`+exampleID+`","`+exampleID+`","1"]}`)
	f.do(t, "POST", "/promotions/lookup", `{}`)
	f.get(t, "/none")

	for name, want := range map[string]string{
		`promoserve_http_requests_total{endpoint="promotion",code="200"}`:            "1",
		`promoserve_http_requests_total{endpoint="promotion",code="304"}`:            "1",
		`promoserve_http_requests_total{endpoint="promotion",code="404"}`:            "2",
		`promoserve_http_requests_total{endpoint="promotion",code="405"}`:            "1",
		`promoserve_http_requests_total{endpoint="promotion",code="503"}`:            "1",
		`promoserve_http_requests_total{endpoint="lookup",code="200"}`:               "1",
		`promoserve_http_requests_total{endpoint="lookup",code="400"}`:               "1",
		`promoserve_http_requests_total{endpoint="other",code="404"}`:                "1",
		`promoserve_lookups_total{result="found"}`:                                   "4",
		`promoserve_lookups_total{result="not_found"}`:                               "1",
		`promoserve_lookups_total{result="malformed"}`:                               "2",
		`promoserve_lookups_total{result="error"}`:                                   "0",
		`promoserve_generation_swaps_total{result="live"}`:                           "1",
		`promoserve_generation_info{generation="20261122T103000000Z",access="mmap"}`: "1",
		`promoserve_generation_records`:                                              strconv.Itoa(len(rows)),
		`promoserve_generation_shards`:                                               "1",
		`promoserve_digits_info{digits="0-f"}`:                                       "1",
		`promoserve_generation_missing_shards`:                                       "0",
		`promoserve_generation_created_timestamp_seconds`:                            "1.7953434e+09",
		`promoserve_ready`:                 "1",
		`promoserve_http_panics_total`:     "0",
		`promoserve_http_connections_open`: "1",
		`promoserve_http_request_duration_seconds_count{endpoint="promotion"}`:            "6",
		`promoserve_http_request_duration_seconds_bucket{endpoint="promotion",le="+Inf"}`: "6",
		`promoserve_certificate_expiry_timestamp_seconds`:                                 strconv.FormatFloat(float64(certs.NotAfter().Unix()), 'g', -1, 64),
	} {
		if got := f.metric(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"promoserve_generation_open_seconds", "promoserve_generation_verify_seconds", "process_open_fds", "go_goroutines", "process_resident_memory_bytes"} {
		if v, err := strconv.ParseFloat(f.metric(t, name), 64); err != nil || v <= 0 {
			t.Errorf("%s is %v, %v", name, v, err)
		}
	}
	if body := f.get(t, "/prometheus").body; !strings.Contains(body, `promoserve_build_info{version="v1 \"x\"",goversion="go1.`) {
		t.Error("promoserve_build_info is missing")
	}
	f.Drain()
	if got := f.metric(t, "promoserve_ready"); got != "0" {
		t.Errorf("promoserve_ready is %s while draining, want 0", got)
	}
}

func TestMetricReportsIOUring(t *testing.T) {
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		f := newFixture(t, httpd.Options{}, reader.StoreOptions{Access: access})
		f.listen(t)
		publish(t, f.dir, genID(0), rows)
		f.poll(t)
		file := f.store.Acquire(0)
		want := "0"
		if file.UsesRing() {
			want = "1"
		}
		f.store.Release(file, 0)
		if got := f.metric(t, "promoserve_io_uring"); got != want || access == reader.AccessMmap && got != "0" {
			t.Errorf("%v: promoserve_io_uring is %s, want %s", access, got, want)
		}
	}
}

// TestMetricsShareNoCacheLine checks that the fields of a Server that every
// request reads are two cache lines away from those that it writes.
func TestMetricsShareNoCacheLine(t *testing.T) {
	if httpd.MetricsGap < 128 {
		t.Errorf("%d bytes apart, want at least 128", httpd.MetricsGap)
	}
}

// TestMetricsFollowTextFormat checks the syntax of every line, that every family
// has a TYPE and those of promoserve a HELP text, and that buckets are
// cumulative.
// TestMetricsAnswersLikePrometheus checks that /metrics has the samples and the type
// of /prometheus.
func TestMetricsAnswersLikePrometheus(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	series := regexp.MustCompile(`(?m)^(.*) \S+$`)
	a, b := f.get(t, "/prometheus"), f.get(t, "/metrics")
	if x, y := series.ReplaceAllString(a.body, "$1"), series.ReplaceAllString(b.body, "$1"); x != y || b.code != 200 {
		t.Errorf("/prometheus has\n%s\n/metrics has\n%s", x, y)
	}
	if x, y := a.header.Get("Content-Type"), b.header.Get("Content-Type"); x != y {
		t.Errorf("the types are %q and %q", x, y)
	}
}

func TestMetricsFollowTextFormat(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	for range 100 {
		f.get(t, "/promotions/"+exampleID)
	}
	a := f.get(t, "/prometheus")
	if got := a.header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	sample := regexp.MustCompile(`^([a-z_]+)(\{[a-zA-Z_]+="[^"]*"(?:, ?[a-zA-Z_]+="[^"]*")*\})? (\S+)\n$`)
	series := regexp.MustCompile(`_(bucket|sum|count)$`)
	types, helps := map[string]string{}, map[string]bool{}
	seen := map[string]bool{}
	last := map[string]float64{}
	for line := range strings.Lines(a.body) {
		if words := strings.Fields(line); words[0] == "#" {
			switch words[1] {
			case "TYPE":
				types[words[2]] = words[3]
			case "HELP":
				helps[words[2]] = len(words) > 3
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %q", line)
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil || seen[m[1]+m[2]] {
			t.Errorf("line %q: %v, duplicate: %v", line, err, seen[m[1]+m[2]])
		}
		seen[m[1]+m[2]] = true
		family := m[1]
		if base := series.ReplaceAllString(family, ""); types[base] == "histogram" || types[base] == "summary" {
			family = base
		}
		if types[family] == "" || strings.HasPrefix(family, "promoserve_") && !helps[family] {
			t.Errorf("%s: TYPE %q, has HELP: %v", family, types[family], helps[family])
		}
		if before, labels, ok := strings.Cut(m[1]+m[2], ",le="); ok {
			if value < last[before] {
				t.Errorf("%s,le=%s falls to %v", before, labels, value)
			}
			last[before] = value
		}
	}
	if len(types) < 90 || last[`promoserve_http_request_duration_seconds_bucket{endpoint="promotion"`] != 100 {
		t.Errorf("%d families, buckets %v", len(types), last)
	}
}

// TestMetricsCountConcurrentRequests scrapes while many connections send
// requests. Every request must be counted.
func TestMetricsCountConcurrentRequests(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	const connections, requests = 20, 50
	ctx, stop := context.WithCancel(context.Background())
	var scraper, clients sync.WaitGroup
	scraper.Go(func() {
		for ctx.Err() == nil {
			f.get(t, "/prometheus")
		}
	})
	for range connections {
		c, r := f.dial(t)
		clients.Go(func() {
			for range requests {
				if _, err := c.Write([]byte(request("/promotions/" + exampleID))); err != nil {
					t.Error(err)
					return
				}
				receive(t, r).want(t, 200, exampleJSON)
			}
		})
	}
	clients.Wait()
	stop()
	scraper.Wait()
	// An answer is counted before it is sent.
	if got := f.metric(t, `promoserve_lookups_total{result="found"}`); got != strconv.Itoa(connections*requests) {
		t.Errorf("%s found IDs counted, want %d", got, connections*requests)
	}
}
