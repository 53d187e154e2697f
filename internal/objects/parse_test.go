package objects_test

import (
	"strings"
	"testing"

	"promostore/internal/objects"
)

// A name is divided into a store and a key that give the name again.
func TestParse(t *testing.T) {
	for _, c := range []struct{ name, store, key string }{
		{"s3://bucket", "s3://bucket", ""},
		{"s3://bucket/", "s3://bucket", ""},
		{"s3://bucket/dir/part-*.csv.gz", "s3://bucket", "dir/part-*.csv.gz"},
		{"s3://bucket/dir/", "s3://bucket", "dir/"},
		{"s3://bucket/a//b?c#d%20e", "s3://bucket", "a//b?c#d%20e"},
		{"/", "/", ""},
		{"/srv/promotions/", "/", "srv/promotions"},
		{".", ".", ""},
		{"dir/file", ".", "dir/file"},
		{"./a/../b", ".", "b"},
		{"..", "..", ""},
		{"../../x/y", "../..", "x/y"},
		{"a://b/c", "", ""},
		{"dir/a://b", ".", "dir/a:/b"},
	} {
		s, key, err := objects.Parse(c.name, objects.Options{})
		if c.store == "" {
			if err == nil {
				t.Errorf("%s is parsed", c.name)
			}
			continue
		}
		must(t, err)
		if s.URL("") != c.store || key != c.key {
			t.Errorf("%s: store %s, key %q; want %s, %q", c.name, s.URL(""), key, c.store, c.key)
		}
		if objects.IsURL(c.name) && key != "" && s.URL(key) != c.name {
			t.Errorf("%s: URL %s", c.name, s.URL(key))
		}
	}
}

// Keys do not lead out of a directory.
func TestDirectoryKeysStayBelow(t *testing.T) {
	s, _ := parse(t, t.TempDir(), objects.Options{})
	for _, key := range []string{"..", "../x", "a/../../x", "/x", ".", "a//b", "a/"} {
		if _, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("%q is opened", key)
		}
		if _, err := s.Put(t.Context(), key, strings.NewReader(""), 0, objects.Always); err == nil {
			t.Errorf("%q is written", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("%q is deleted", key)
		}
	}
}

// Options and names that cannot work are refused, without their passwords.
func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, endpoint, want string }{
		{"", "", "path is empty"},
		{"s3://", "", "bucket is missing"},
		{"s3:///key", "", "bucket is missing"},
		{"s3://b/key", "", `bucket "b" is not valid`},
		{"s3://my bucket/key", "", `bucket "my bucket" is not valid`},
		{"gs://bucket/key", "", "unknown scheme"},
		{"s3://b/k", "minio:9000", "endpoint is not a URL"},
		{"s3://b/k", "ftp://minio", "endpoint is not a URL"},
		{"s3://b/k", "http://user:hunter2@minio", "endpoint contains a user name"},
		{"s3://b/k", "http://user:hunter2@mi nio", "endpoint is not a URL"},
		{"s3://b/k", "http://minio/bucket?password=hunter2", "more than a scheme, a host and a port"},
	} {
		_, _, err := objects.Parse(c.name, objects.Options{Endpoint: c.endpoint})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s at %s: error %v, want %s", c.name, c.endpoint, err, c.want)
		}
	}
}

// Shared options have one Store for each bucket.
func TestSharedOptions(t *testing.T) {
	opts := objects.Options{Endpoint: "http://localhost:9000"}
	parse := func(name string, opts objects.Options) objects.Store {
		s, _ := parse(t, name, opts)
		return s
	}
	if parse("s3://bucket/1", opts) == parse("s3://bucket/1", opts) {
		t.Error("options share a Store by default")
	}
	first, second := opts.Shared(), opts.Shared()
	if parse("s3://bucket/1", first) != parse("s3://bucket/2", first) {
		t.Error("one bucket has two Stores")
	}
	if parse("s3://bucket/1", first) == parse("s3://other/1", first) {
		t.Error("two buckets have one Store")
	}
	if parse("s3://bucket/1", first) == parse("s3://bucket/1", second) {
		t.Error("two options have one Store")
	}
}
