package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/synth"
)

// put writes objects to the bucket of the server.
func put(t testing.TB, opts objects.Options, contents map[string][]byte) {
	t.Helper()
	s, _, err := objects.Parse("s3://"+objecttest.Bucket, opts)
	if err != nil {
		t.Fatal(err)
	}
	for key, data := range contents {
		if _, err := s.Put(context.Background(), key, bytes.NewReader(data), int64(len(data)), objects.Always); err != nil {
			t.Error(err) // may be in a server
		}
	}
}

// bucketOf starts a server with these objects, whose credentials are in the
// environment.
func bucketOf(t testing.TB, keys ...string) *objecttest.Server {
	t.Helper()
	s := objecttest.New(t)
	fill(t, s, keys...)
	return s
}

// fill writes objects of one row each to a server. Keys of directories get no row.
func fill(t testing.TB, s *objecttest.Server, keys ...string) {
	t.Helper()
	s.Setenv(t)
	contents := map[string][]byte{}
	for i, key := range keys {
		contents[key] = fmt.Appendf(nil, "%08x-0000-4000-8000-000000000000,1.5,2018-06-04 06:01:20\n", i)
		if strings.HasSuffix(key, "/") {
			contents[key] = nil
		}
	}
	put(t, s.Options(), contents)
}

// runBuild runs a build with the given arguments.
func runBuild(ctx context.Context, data string, args ...string) (code int, stderr string) {
	var stdout, errs bytes.Buffer
	args = append([]string{"promobuild", "build", "--generation", "20261122T103000123Z", "--memory", "64MiB", "--data", data}, args...)
	code = run(ctx, args, strings.NewReader(""), &stdout, &errs)
	return code, errs.String()
}

// published returns the only generation file of a directory.
func published(t *testing.T, dir string) []byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.pgen"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("files %q, %v", paths, err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// packed compresses data for an extension.
func packed(t *testing.T, ext string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	switch ext {
	case ".gz":
		w, _ := gzip.NewWriterLevel(&b, 1)
		_, err := w.Write(data)
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	case ".zst":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		return w.EncodeAll(data, nil)
	}
	return data
}

// Objects give the bytes of local files, for any division into objects, compression,
// page size of listings and number of workers, and with failing requests.
func TestBuildOfObjectsMatchesFiles(t *testing.T) {
	testBuildMatchesFiles(t, bucketOf(t), objecttest.Pages(1), objecttest.Pages(3))
}

// testBuildMatchesFiles makes requests fail, and applies faults too.
func testBuildMatchesFiles(t *testing.T, server *objecttest.Server, faults ...objecttest.Fault) {
	var rows bytes.Buffer
	if _, err := (synth.DataSet{Rows: 60_000, Duplicates: 9_000}).WriteTo(&rows); err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(rows.Bytes(), []byte("\n"))
	local := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(local, rows.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if code, stderr := runBuild(t.Context(), dir, local); code != program.ExitDone {
		t.Fatal(stderr)
	}
	want := published(t, dir)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		num := 1 + rng.IntN(9)
		contents := map[string][]byte{}
		for i := range num {
			ext := []string{"", ".gz", ".zst"}[rng.IntN(3)]
			part := bytes.Join(lines[i*len(lines)/num:(i+1)*len(lines)/num], nil)
			contents[fmt.Sprintf("%d/part-%05d.csv%s", seed, i, ext)] = packed(t, ext, part)
		}
		contents[fmt.Sprintf("%d/_SUCCESS", seed)] = nil
		server.Fail(nil)
		put(t, server.Options(), contents)
		faults := append(faults[:len(faults):len(faults)],
			objecttest.Every(3+rng.IntN(5), objecttest.Gets, objecttest.Cut(rng.IntN(300_000))),
			objecttest.Every(4+rng.IntN(5), objecttest.Gets, objecttest.SlowDown()),
		)
		server.Fail(faults[rng.IntN(len(faults))])
		dir := t.TempDir()
		args := []string{"--workers", fmt.Sprint(1 + rng.IntN(4)), fmt.Sprintf("s3://bucket/%d/part-*", seed)}
		if code, stderr := runBuild(t.Context(), dir, args...); code != program.ExitDone {
			t.Fatalf("%d objects, %q: %s", num, args, stderr)
		}
		if !bytes.Equal(published(t, dir), want) {
			t.Errorf("%d objects, %q: different bytes", num, args)
		}
	}
}

// A pattern means the data sets that it matches in the order of their keys, and not
// markers, incomplete objects, and objects of temporary or further directories.
func TestObjectPatterns(t *testing.T) { testPatterns(t, objecttest.New(t)) }

func testPatterns(t *testing.T, server *objecttest.Server) {
	fill(t, server, "d/", "d/_SUCCESS", "d/_temporary/0.csv", "d/a.csv", "d/b.csv.gz", "d/b.csv.gz.md5", "d/c.csv.tmp",
		"d/sub/", "d/sub/a.csv", "e-1/x.csv", "e/x.csv", "e[0].csv", "top.csv")
	for pattern, want := range map[string]string{
		"d/*":            "d/a.csv d/b.csv.gz",
		"d/?.csv*":       "d/a.csv d/b.csv.gz",
		"d/[b-z].csv.gz": "d/b.csv.gz",
		"d/*/*":          "d/sub/a.csv",
		"d[^x]a.csv":     "",
		"d[^x]_*[^x]0.*": "",
		"d/_*/*":         "",
		"d/_temporary/*": "d/_temporary/0.csv",
		"*":              "e[0].csv top.csv",
		"*/x.csv":        "e-1/x.csv e/x.csv",
		"e*/*":           "e-1/x.csv e/x.csv",
		`e\[0].*`:        "e[0].csv",
		"d/a.csv":        "d/a.csv",
		"d/c.csv.tmp":    "d/c.csv.tmp",
		"d/_SUCCESS":     "d/_SUCCESS",
	} {
		list, passed, err := namedObjects(t.Context(), "s3://bucket/"+pattern, server.Options())
		var got []string
		for _, o := range list {
			got = append(got, o.Object.Key)
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, error %v, want %q", pattern, got, err, want)
		}
		if pattern == "d/*" && !slices.Contains(passed, "s3://bucket/d/b.csv.gz.md5") {
			t.Errorf("passed over %q", passed)
		}
	}
}

// Errors of objects name the object, tell what to do, and contain no secret.
func TestBuildOfObjectsThatAreMissing(t *testing.T) {
	server := bucketOf(t, "d/a.csv", "marked/", "marked/_SUCCESS", "bad.csv")
	put(t, server.Options(), map[string][]byte{"bad.csv": []byte("no row\n")})
	usage := "promobuild build"
	for _, c := range []struct {
		arg    string
		code   int
		stderr string // a part
		env    []string
	}{
		{arg: "s3://bucket/d/*.gz", code: program.ExitFailed, stderr: "s3://bucket/d/*.gz: no object matches the pattern\n"},
		{arg: "s3://bucket/marked/*", code: program.ExitFailed, stderr: "s3://bucket/marked/*: no data set matches the pattern, only s3://bucket/marked/_SUCCESS\n"},
		{arg: "s3://bucket/d", code: program.ExitFailed, stderr: "s3://bucket/d is a prefix, not an object; name its objects, as in 's3://bucket/d/*'\n"},
		{arg: "s3://bucket/d/", code: program.ExitFailed, stderr: "s3://bucket/d/ is a prefix, not an object; name its objects, as in 's3://bucket/d/*'\n"},
		{arg: "s3://bucket/d/a", code: program.ExitFailed, stderr: "s3://bucket/d/a is a prefix, not an object; name its objects, as in 's3://bucket/d/a*'\n"},
		{arg: "s3://bucket/marked/", code: program.ExitFailed, stderr: "s3://bucket/marked/ is a prefix, not an object; name its objects, as in 's3://bucket/marked/*'\n"},
		{arg: "s3://bucket", code: program.ExitFailed, stderr: "s3://bucket is a prefix, not an object; name its objects, as in 's3://bucket/*'\n"},
		{arg: "s3://bucket/none.csv", code: program.ExitFailed, stderr: "s3://bucket/none.csv: not found\n"},
		{arg: "s3://other/none.csv", code: program.ExitFailed, stderr: "s3://other: bucket not found\n"},
		{arg: "s3://bucket/d/[", code: program.ExitUsage, stderr: usage},
		{arg: "s3:///d/a.csv", code: program.ExitFailed, stderr: "bucket is missing"},
		{arg: "s3://bucket/bad.csv", code: program.ExitFailed, stderr: "s3://bucket/bad.csv:1:"},
		{arg: "s3://bucket/d/*", code: program.ExitFailed, stderr: "there are no credentials; tried AWS_ACCESS_KEY_ID", env: []string{"AWS_ACCESS_KEY_ID", ""}},
		{arg: "s3://bucket/d/a.csv", code: program.ExitFailed, stderr: "--s3-endpoint", env: []string{"AWS_ACCESS_KEY_ID", "AKIAOTHER"}},
	} {
		t.Run("", func(t *testing.T) {
			if c.env != nil {
				t.Setenv(c.env[0], c.env[1])
			}
			dir := filepath.Join(t.TempDir(), "data")
			code, stderr := runBuild(t.Context(), dir, c.arg)
			if code != c.code || !strings.Contains(stderr, c.stderr) {
				t.Errorf("%s: exits with %d: %s\nwant %d: %s", c.arg, code, stderr, c.code, c.stderr)
			}
			if strings.Contains(stderr, objecttest.SecretAccessKey) {
				t.Errorf("%s: the secret is in %s", c.arg, stderr)
			}
		})
	}
}

// An object that is replaced while it is read fails the build.
func TestObjectReplacedDuringBuild(t *testing.T) { testObjectReplaced(t, bucketOf(t)) }

func testObjectReplaced(t *testing.T, server *objecttest.Server) {
	var rows bytes.Buffer
	if _, err := (synth.DataSet{Rows: 100_000}).WriteTo(&rows); err != nil {
		t.Fatal(err)
	}
	put(t, server.Options(), map[string][]byte{"a.csv": rows.Bytes()})
	var gets atomic.Int64
	server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if objecttest.Gets(r) && gets.Add(1) == 10 { // of 15 parts
			put(t, server.Options(), map[string][]byte{"a.csv": rows.Bytes()[1:]})
		}
		next.ServeHTTP(w, r)
	})
	dir := filepath.Join(t.TempDir(), "data")
	code, stderr := runBuild(t.Context(), dir, "s3://bucket/a.csv")
	if code != program.ExitFailed || !strings.Contains(stderr, "s3://bucket/a.csv: replaced during the build") {
		t.Errorf("exits with %d: %s", code, stderr)
	}
	if paths, _ := filepath.Glob(filepath.Join(dir, "*.pgen")); len(paths) > 0 {
		t.Errorf("published %q", paths)
	}
}

// An interrupted build does not wait for a server that does not answer.
func TestInterruptedBuildOfObjectsEnds(t *testing.T) {
	server := bucketOf(t, "a.csv")
	ctx, cancel := context.WithCancel(t.Context())
	server.Fail(objecttest.Where(objecttest.Gets, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		cancel()
		<-r.Context().Done()
	}))
	code, stderr := runBuild(ctx, t.TempDir(), "s3://bucket/a.csv")
	if code == program.ExitDone || !strings.Contains(stderr, "nothing was published") {
		t.Errorf("exits with %d: %s", code, stderr)
	}
}

// The size of the input is known before the build, also if an object is empty.
func TestObjectsHaveSizes(t *testing.T) {
	server := bucketOf(t, "d/a.csv")
	put(t, server.Options(), map[string][]byte{"d/b.csv": nil})
	list, _, err := inputs(t.Context(), []string{"s3://bucket/d/*"}, nil, server.Options())
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	_, err = builder.Build(t.Context(), builder.Options{Inputs: list, Dir: t.TempDir(), Memory: builder.MinMemory, Observe: func(s builder.Status) { size = s.InputSize }})
	if err != nil || size != list[0].Size || size == 0 {
		t.Errorf("size %d, error %v", size, err)
	}
}

// Objects are read together with files and standard input, in the order of the
// arguments.
func TestObjectsAmongFiles(t *testing.T) {
	bucketOf(t, "a.csv")
	const row = "00000000-0000-4000-8000-000000000000,%s,2018-06-04 06:01:20\n"
	local := filepath.Join(t.TempDir(), "local.csv")
	if err := os.WriteFile(local, fmt.Appendf(nil, row, "2.5"), 0o600); err != nil {
		t.Fatal(err)
	}
	for last, args := range map[string][]string{"2.5": {"s3://bucket/a.csv", local}, "1.5": {local, "--wait-quiet=1ms", "s3://bucket/*"}} {
		dir := t.TempDir()
		if code, stderr := runBuild(t.Context(), dir, args...); code != program.ExitDone {
			t.Fatal(stderr)
		}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"promobuild", "dump", dir}, nil, &stdout, &stderr); code != program.ExitDone || !strings.Contains(stdout.String(), ","+last+",") {
			t.Errorf("%q: %s%s, want the price %s", args, &stdout, &stderr, last)
		}
	}
}
