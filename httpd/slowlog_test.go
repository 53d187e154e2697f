package httpd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"promostore/httpd"
	"promostore/reader"
)

// TestSlowRequestsAreLogged switches the log on and off between requests, which
// all take longer than nothing and less than an hour.
func TestSlowRequestsAreLogged(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	logged := func(sent string) string {
		before := len(f.log.String())
		f.exchange(t, sent)
		return f.log.String()[before:]
	}
	get := request("/promotions/" + exampleID)
	if got := f.LogSlow(); got >= 0 || logged(get) != "" {
		t.Errorf("by default, requests over %v are logged: %s", got, f.log)
	}
	f.SetLogSlow(time.Hour)
	if got := f.LogSlow(); got != time.Hour || logged(get) != "" {
		t.Errorf("requests over %v are logged: %s", got, f.log)
	}
	f.SetLogSlow(0)
	for sent, want := range map[string]string{
		get:                                      "code=200 seconds=X method=GET uri=/promotions/" + exampleID,
		batchOf(3):                               "code=200 seconds=X method=POST uri=/promotions/lookup",
		request("/promotions/1%0a%1b[2J"):        "code=404 seconds=X method=GET uri=/promotions/1%0a%1b[2J",
		request("/promotions/\xe2\x80\xaeabc"):   "code=404 seconds=X method=GET uri=/promotions/\\u202eabc",
		request("/\xff\u009b31m"):                "code=404 seconds=X method=GET uri=/\\xff\\u009b31m",
		request("/" + strings.Repeat("a", 1000)): "code=404 seconds=X method=GET uri=/" + strings.Repeat("a", 255) + "\n",
		"GET / HTTP/9\r\n\r\n":                   "code=400 seconds=0",
	} {
		got := logged(sent)
		i := strings.Index(got, " seconds=") + len(" seconds=")
		j := strings.IndexAny(got[i:], " \n") + i
		if text := got[:i] + "X" + got[j:]; !strings.Contains(text, `level=WARN msg="slow request" client=`) ||
			!strings.Contains(text, want) && !strings.Contains(got, want) {
			t.Errorf("%.60q: logged %q, want %q", sent, got, want)
		}
	}
	f.SetLogSlow(-1)
	if got := logged(get); got != "" {
		t.Errorf("after it was switched off: %s", got)
	}
}

// TestSlowLogIsBounded logs more requests than a second allows.
func TestSlowLogIsBounded(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	now := time.Now()
	f.SetLogClock(func() time.Time { return now })
	f.SetLogSlow(0)
	for range httpd.MaxSlowLines + 7 {
		f.exchange(t, request("/healthz"))
	}
	if got := strings.Count(f.log.String(), "slow request"); got != httpd.MaxSlowLines {
		t.Errorf("%d lines in a second, want %d", got, httpd.MaxSlowLines)
	}
	now = now.Add(time.Second)
	f.exchange(t, request("/healthz"))
	if want := fmt.Sprintf("omitted=%d\n", 7); !strings.HasSuffix(f.log.String(), want) {
		t.Errorf("the log ends with %q, want %q", f.log.String()[len(f.log.String())-100:], want)
	}
}
