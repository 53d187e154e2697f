package httpd_test

import (
	"strings"
	"testing"

	"promostore/httpd"
	"promostore/reader"
)

// TestCacheControl checks that only promotions have the configured header, and
// that no cache keeps the answer for an unknown one.
func TestCacheControl(t *testing.T) {
	const value = "public, max-age=60"
	for _, value := range []string{value, ""} {
		f := newFixture(t, httpd.Options{CacheControl: value}, reader.StoreOptions{})
		f.listen(t)
		check := func(a answer, code int, want string) {
			t.Helper()
			if got := a.header.Get("Cache-Control"); a.code != code || got != want {
				t.Errorf("%d with %q, want %d with %q", a.code, got, code, want)
			}
		}
		unknown := ""
		if value != "" {
			unknown = "no-store"
		}
		path := "/promotions/" + exampleID
		check(f.get(t, path), 503, "")
		publish(t, f.dir, genID(0), rows)
		f.poll(t)
		a := f.get(t, path)
		check(a, 200, value)
		check(f.do(t, "HEAD", path, ""), 200, value)
		check(f.get(t, path, "If-None-Match", a.header.Get("ETag")), 304, value)
		check(f.get(t, "/promotions/1"), 404, unknown)
		check(f.get(t, strings.Replace(path, "1", "2", 1)), 404, unknown)
		check(f.do(t, "POST", "/promotions/lookup", noIDs), 200, "")
		check(f.get(t, "/healthz"), 200, "")
		check(f.get(t, "/x"), 404, "")
	}
}

func TestCheckCacheControl(t *testing.T) {
	for _, value := range []string{
		"public, max-age=60", "no-cache", "MAX-AGE=0,s-maxage=2147483647", "private , must-revalidate, stale-while-revalidate=5", "max-age=31536000, immutable",
	} {
		if err := httpd.CheckCacheControl(value); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
	for value, want := range map[string]string{
		"":                     `unknown directive ""`,
		" ":                    `unknown directive ""`,
		"maxage=60":            `unknown directive "maxage"; write a list such as "public, max-age=60"`,
		"max-age 60":           `unknown directive "max-age 60"`,
		"public max-age=60":    `unknown directive "public max-age"`,
		"public;max-age=60":    `unknown directive "public;max-age"`,
		"public,":              `unknown directive ""`,
		"max-age":              "directive max-age needs seconds, such as max-age=60",
		"max-age=":             "directive max-age needs seconds",
		"max-age=-1":           "directive max-age needs seconds",
		"max-age=1m":           "directive max-age needs seconds",
		"max-age=2147483648":   "directive max-age needs seconds",
		`max-age="60"`:         "directive max-age needs seconds",
		"public=1":             "directive public has no argument",
		"max-age=1, Max-Age=2": "directive Max-Age twice",
		"public\r\nX: y":       "unknown directive",
		"max-age=60\r\nX: y":   "directive max-age needs seconds",
		"public\x00":           "unknown directive",
		"öffentlich":           "unknown directive",
	} {
		if err := httpd.CheckCacheControl(value); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
}
