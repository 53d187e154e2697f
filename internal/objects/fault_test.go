package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"promostore/internal/objects"
	"promostore/internal/objecttest"
)

// newS3 returns a store of a server whose faults a test chooses.
func newS3(t *testing.T) (*objecttest.Server, objects.Store) {
	server := objecttest.New(t)
	server.Setenv(t)
	s, _ := parse(t, "s3://"+objecttest.Bucket, server.Options())
	return server, s
}

// open returns a Reader of a new object.
func open(t *testing.T, s objects.Store, data []byte) *objects.Reader {
	t.Helper()
	put(t, s, "dir/o.csv", data)
	r, err := s.Open(t.Context(), "dir/o.csv")
	must(t, err)
	return r
}

func readAll(t *testing.T, r *objects.Reader, parts, partLen int) ([]byte, error) {
	t.Helper()
	stream := r.Stream(t.Context(), 0, r.Size(), parts, partLen)
	defer stream.Close()
	return io.ReadAll(stream)
}

// A stream continues after the received bytes if connections are cut.
func TestStreamContinuesAfterCutConnections(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
		want := random(3_000_000)
		r := open(t, s, want)
		server.Fail(objecttest.Where(objecttest.Gets, objecttest.Cut(200_000)))
		server.Requests()
		got, err := readAll(t, r, 3, 1_000_000)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Error("wrong bytes")
		}
		if n := len(server.Requests()); n > 20 {
			t.Errorf("%d requests for 15 pieces", n)
		}
	})
}

// Requests that never succeed end with the error of the last one.
func TestReaderGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		fault objecttest.Fault
		want  string
	}{
		"cut":        {objecttest.Cut(0), "byte 0 of 1000: unexpected EOF"},
		"slow down":  {objecttest.SlowDown(), "SlowDown: Please reduce your request rate."},
		"no answer":  {objecttest.Lost(), "the server closed the connection"},
		"stalled":    {objecttest.Stall(10), "the transfer stalled"},
		"an HTML":    {html(http.StatusBadGateway), "502 Bad Gateway"},
		"long":       {header("Content-Length", "1001"), "the answer has 1001 bytes, want 1000"},
		"short":      {header("Content-Length", "999"), "the answer has 999 bytes, want 1000"},
		"other":      {header("Content-Range", "bytes 0-999/2000"), `the answer has the range "bytes 0-999/2000", want "bytes 0-999/1000"`},
		"whole file": {whole, `the answer has the range "", want "bytes 1-999/1000"`},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := newS3(t)
			r := open(t, s, random(1000))
			if name == "stalled" {
				objects.SetStallLimit(t, 50*time.Millisecond)
			}
			server.Fail(objecttest.Where(objecttest.Gets, c.fault))
			off := int64(0)
			if name == "whole file" {
				off = 1
			}
			server.Requests()
			_, err := r.ReadAt(make([]byte, 1000-off), off)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "s3://bucket/dir/o.csv: ") || !strings.Contains(err.Error(), "(10 attempts)") {
				t.Errorf("error %v; want %s", err, c.want)
			}
			if n := len(server.Requests()); n < 10 || n > 11 { // net/http repeats one of a connection that it reused
				t.Errorf("%d requests, want 10", n)
			}
		})
	}
}

// An object of unknown length is not taken for an empty one.
func TestOpenNeedsTheLength(t *testing.T) {
	server, s := newS3(t)
	put(t, s, "o", random(1000))
	server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
	})
	if r, err := s.Open(t.Context(), "o"); err == nil || !strings.HasPrefix(err.Error(), "s3://bucket/o: the server does not send the length") {
		t.Errorf("reader %v, error %v", r, err)
	}
}

// header changes a header of an answer.
func header(name, value string) objecttest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&headerWriter{w, name, value, false}, r)
	}
}

type headerWriter struct {
	http.ResponseWriter
	name, value string
	written     bool
}

func (w *headerWriter) WriteHeader(code int) {
	if !w.written {
		w.written = true
		w.Header().Set(w.name, w.value)
		w.ResponseWriter.WriteHeader(code)
	}
}

// whole ignores the range of a request.
func whole(w http.ResponseWriter, r *http.Request, next http.Handler) {
	r.Header.Del("Range")
	next.ServeHTTP(w, r)
}

// html answers like a proxy.
func html(status int) objecttest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>\n<body>"+http.StatusText(status)+strings.Repeat(" long", 1000)+"</body></html>")
	}
}

// All calls succeed and give the same results while random requests fail in
// random ways.
func TestStoreSurvivesRandomFaults(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
		big := random(6 << 20)
		put(t, s, "big", big)
		objects.SetPageLen(t, 7)
		keys := []string{"big"}
		for i := range 40 {
			keys = append(keys, fmt.Sprintf("dir/%02d", i))
			put(t, s, keys[i+1], []byte(keys[i+1]))
		}
		server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			f := []objecttest.Fault{
				objecttest.SlowDown(), objecttest.Lost(), objecttest.Cut(rand.IntN(2000)), html(502),
				objecttest.Error(500, "InternalError", "We encountered an internal error. Please try again."),
				objecttest.Where(func(r *http.Request) bool { return r.Method != http.MethodHead }, header("Content-Length", "1")),
			}
			if rand.IntN(5) == 0 { // all attempts of a call fail once in ten million calls
				f[rand.IntN(len(f))](w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		})
		r, err := s.Open(t.Context(), "big")
		must(t, err)
		got, err := readAll(t, r, 4, 300_000)
		must(t, err)
		if !bytes.Equal(got, big) {
			t.Error("a stream has wrong bytes")
		}
		for range 50 {
			off := rand.IntN(len(big))
			n := rand.IntN(min(len(big)-off, 100_000)) + 1
			b := make([]byte, n)
			if _, err := r.ReadAt(b, int64(off)); err != nil || !bytes.Equal(b, big[off:off+n]) {
				t.Errorf("ReadAt(%d bytes, %d): %v", n, off, err)
			}
		}
		if got := list(t, s, ""); !slices.Equal(got, keys) {
			t.Errorf("listed %q, want %q", got, keys)
		}
		for i, size := range []int{0, 100, 11 << 20} {
			key, data := fmt.Sprintf("new/%d", i), random(size)
			if _, err := s.Put(t.Context(), key, bytes.NewReader(data), int64(size), objects.IfAbsent); err != nil {
				t.Errorf("Put of %d bytes: %v", size, err)
			}
			if !bytes.Equal(get(t, s, key), data) {
				t.Errorf("a new object of %d bytes is wrong", size)
			}
			if _, err := s.Put(t.Context(), key, bytes.NewReader(data), int64(size), objects.IfAbsent); !errors.Is(err, objects.ErrExists) {
				t.Errorf("second Put of %d bytes: %v", size, err)
			}
		}
		must(t, s.Delete(t.Context(), keys...))
		if got := list(t, s, ""); len(got) != 3 {
			t.Errorf("left: %q", got)
		}
	})
}

// A reader fails with ErrChanged if the ETag changes between two ranges, also if
// the server ignores If-Match.
func TestReaderFindsChangeBetweenRanges(t *testing.T) {
	for _, fault := range map[string]objecttest.Fault{
		"If-Match": nil,
		"ignored":  objecttest.Where(objecttest.Gets, header("ETag", `"other"`)),
	} {
		eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
			r := open(t, s, bytes.Repeat([]byte("a"), 1000))
			must(t, readFull(r, 0))
			server.Fail(fault)
			put(t, s, "dir/o.csv", bytes.Repeat([]byte("b"), 1000))
			server.Requests()
			if err := readFull(r, 500); !errors.Is(err, objects.ErrChanged) || !strings.HasPrefix(err.Error(), "s3://bucket/dir/o.csv: ") {
				t.Errorf("error %v", err)
			}
			if n := len(server.Requests()); n != 1 {
				t.Errorf("%d requests; a change is final", n)
			}
		})
	}
}

func readFull(r *objects.Reader, off int64) error {
	_, err := r.ReadAt(make([]byte, 500), off)
	return err
}

// An object that is there because of an attempt whose answer was lost is not that
// of another writer.
func TestPutSucceedsAfterLostAnswer(t *testing.T) {
	for _, size := range []int{100, 11 << 20} {
		eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
			isLast := func(r *http.Request) bool {
				return r.Method == http.MethodPut && !r.URL.Query().Has("uploadId") || r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
			}
			server.Fail(objecttest.First(2, isLast, objecttest.Lost()))
			data := random(size)
			etag, err := s.Put(t.Context(), "o", bytes.NewReader(data), int64(size), objects.IfAbsent)
			must(t, err)
			r, err := s.Open(t.Context(), "o")
			must(t, err)
			if r.ETag() != etag || !bytes.Equal(get(t, s, "o"), data) {
				t.Errorf("%d bytes: wrong object", size)
			}
		})
	}
}

// An upload in parts whose end conflicts with another write begins again, because
// S3 refuses each further end of it. No upload remains.
func TestPutBeginsAgainAfterConflict(t *testing.T) {
	conflict := objecttest.Error(http.StatusConflict, "ConditionalRequestConflict", "A conflicting operation occurred.")
	data := random(11 << 20)
	ends := func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
	}
	for name, c := range map[string]struct {
		fault   func(s objects.Store) objecttest.Fault
		uploads int
		want    error
	}{
		"once": {func(objects.Store) objecttest.Fault { return objecttest.First(1, ends, conflict) }, 2, nil},
		"with itself": {func(objects.Store) objecttest.Fault {
			return objecttest.First(1, ends, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				next.ServeHTTP(httptest.NewRecorder(), r) // the first attempt of a client that does not wait
				conflict(w, r, next)
			})
		}, 1, nil},
		"with another object": {func(s objects.Store) objecttest.Fault {
			return objecttest.First(1, ends, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				put(t, s, "o", []byte("other"))
				conflict(w, r, next)
			})
		}, 1, objects.ErrExists},
		"always": {func(objects.Store) objecttest.Fault { return objecttest.Where(ends, conflict) }, 3, objects.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
				server.Fail(c.fault(s))
				server.Requests()
				etag, err := s.Put(t.Context(), "o", bytes.NewReader(data), int64(len(data)), objects.IfAbsent)
				if !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				begun, aborted := 0, 0
				for _, r := range server.Requests() {
					if strings.HasPrefix(r, "POST /bucket/o?uploads") {
						begun++
					}
					if strings.HasPrefix(r, "DELETE /bucket/o?uploadId=") {
						aborted++
					}
				}
				finished := 0
				if err == nil {
					finished = 1
				}
				if begun != c.uploads || aborted != begun-finished {
					t.Errorf("%d uploads begun, %d aborted; want %d begun", begun, aborted, c.uploads)
				}
				if err != nil {
					return
				}
				r, err := s.Open(t.Context(), "o")
				must(t, err)
				if r.ETag() != etag || !bytes.Equal(get(t, s, "o"), data) {
					t.Error("wrong object")
				}
			})
		})
	}
}

// A Put without condition whose upload is gone does not report an object that was
// there before.
func TestPutOfAGoneUpload(t *testing.T) {
	server, s := newS3(t)
	put(t, s, "o", []byte("old"))
	server.Fail(objecttest.Where(func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
	}, objecttest.Error(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist.")))
	_, err := s.Put(t.Context(), "o", bytes.NewReader(random(11<<20)), 11<<20, objects.Always)
	if err == nil || errors.Is(err, objects.ErrExists) || !strings.Contains(err.Error(), "upload does not exist") {
		t.Errorf("error %v", err)
	}
}

// A Put that cannot tell whether the object is its own does not claim that another
// writer was faster.
func TestPutThatCannotReadItsObject(t *testing.T) {
	server, s := newS3(t)
	lost := objecttest.First(1, func(r *http.Request) bool { return r.Method == http.MethodPut }, objecttest.Lost())
	server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			lost(w, r, next)
			return
		}
		objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied")(w, r, next)
	})
	_, err := s.Put(t.Context(), "o", strings.NewReader("data"), 4, objects.IfAbsent)
	if !errors.Is(err, objects.ErrDenied) || errors.Is(err, objects.ErrExists) {
		t.Errorf("error %v", err)
	}
}

// A failed or canceled upload leaves no parts, and no object.
func TestPutRemovesPartsOfFailedUpload(t *testing.T) {
	for _, fault := range map[string]func(cancel func()) objecttest.Fault{
		"denied": func(func()) objecttest.Fault {
			return objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied")
		},
		"canceled": func(cancel func()) objecttest.Fault {
			return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
				_, _ = io.Copy(io.Discard, r.Body)
				cancel()
				<-r.Context().Done()
			}
		},
	} {
		eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			second := func(r *http.Request) bool {
				return r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2"
			}
			server.Fail(objecttest.Where(second, fault(cancel)))
			_, err := s.Put(ctx, "o", bytes.NewReader(make([]byte, 11<<20)), 11<<20, objects.Always)
			if !errors.Is(err, objects.ErrDenied) && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			aborted := slices.ContainsFunc(server.Requests(), func(r string) bool { return strings.HasPrefix(r, "DELETE /bucket/o?uploadId=") })
			if !aborted || len(list(t, s, "")) != 0 {
				t.Error("parts are left")
			}
		})
	}
}

// An error in the listing of a server is not taken for its end.
func TestListFailsOfWrongPages(t *testing.T) {
	server, s := newS3(t)
	for i := range 20 {
		put(t, s, fmt.Sprintf("dir/%02d", i), nil)
	}
	again := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		q := r.URL.Query()
		q.Del("continuation-token")
		q.Set("max-keys", "5")
		r.URL.RawQuery = q.Encode()
		next.ServeHTTP(w, r)
	}
	for name, c := range map[string]struct {
		fault objecttest.Fault
		want  string
	}{
		"first page again": {again, `out of order: "dir/00" follows "dir/04"`},
		"cut":              {objecttest.Cut(900), "unexpected EOF"},
		"denied":           {objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied"), "access denied"},
	} {
		server.Fail(objecttest.Where(objecttest.Lists, c.fault))
		var last error
		for _, err := range s.List(t.Context(), "dir/") {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", name, last, c.want)
		}
	}
}

// A page that stalls is requested again.
func TestListSurvivesStall(t *testing.T) {
	server, s := newS3(t)
	put(t, s, "o", nil)
	objects.SetStallLimit(t, 50*time.Millisecond)
	server.Fail(objecttest.First(2, objecttest.Lists, objecttest.Stall(100)))
	if got := list(t, s, ""); !slices.Equal(got, []string{"o"}) {
		t.Errorf("listed %q", got)
	}
}

// A missing bucket is named, by each call.
func TestMissingBucket(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objecttest.Server, _ objects.Store) {
		s, _ := parse(t, "s3://none", server.Options())
		_, openErr := s.Open(t.Context(), "k")
		_, putErr := s.Put(t.Context(), "k", strings.NewReader(""), 0, objects.Always)
		var listErr error
		for _, err := range s.List(t.Context(), "") {
			listErr = err
		}
		for _, err := range []error{openErr, putErr, listErr, s.Delete(t.Context(), "k")} {
			if !errors.Is(err, objects.ErrNotFound) || err.Error() != "s3://none: bucket not found" {
				t.Errorf("error %v", err)
			}
		}
	})
}

// A server that does not exist is not waited for.
func TestUnknownHost(t *testing.T) {
	s, _ := parse(t, "s3://bucket", objects.Options{Endpoint: "https://promostore.invalid"})
	if _, err := s.Open(t.Context(), "k"); err == nil || strings.Contains(err.Error(), "attempts") || !strings.HasPrefix(err.Error(), "s3://bucket/k: ") {
		t.Errorf("error %v", err)
	}
}
