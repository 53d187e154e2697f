package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"promostore/internal/objects"
	"promostore/internal/objecttest"
)

// servers start the S3 servers of the tests.
var servers = map[string]func(testing.TB) *objecttest.Server{"S3": objecttest.New}

// eachStore runs a test with a store of a directory and one of each server.
func eachStore(t *testing.T, test func(t *testing.T, s objects.Store)) {
	t.Run("directory", func(t *testing.T) {
		t.Chdir(t.TempDir())
		s, _ := parse(t, ".", objects.Options{})
		test(t, s)
	})
	eachServer(t, func(t *testing.T, _ *objecttest.Server, s objects.Store) { test(t, s) })
}

// eachServer runs a test with a store of each server, whose faults it chooses.
func eachServer(t *testing.T, test func(t *testing.T, server *objecttest.Server, s objects.Store)) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			server.Setenv(t)
			s, _ := parse(t, "s3://"+objecttest.Bucket, server.Options())
			test(t, server, s)
		})
	}
}

func parse(t *testing.T, name string, opts objects.Options) (objects.Store, string) {
	t.Helper()
	s, key, err := objects.Parse(name, opts)
	must(t, err)
	return s, key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s objects.Store, key string, data []byte) string {
	t.Helper()
	etag, err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), objects.Always)
	must(t, err)
	return etag
}

func get(t *testing.T, s objects.Store, key string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), key)
	must(t, err)
	defer r.Close()
	data, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	must(t, err)
	return data
}

func list(t *testing.T, s objects.Store, prefix string) (keys []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix) {
		must(t, err)
		keys = append(keys, o.Key)
	}
	return keys
}

// random returns bytes that do not repeat.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// An object has the bytes, the size and the ETag that were put, whatever its size.
func TestStoreReturnsObjects(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		for _, size := range []int{0, 1, 4096, 5 << 20, 5<<20 + 1, 17 << 20} {
			key := fmt.Sprintf("dir with blank/ä+%%20&?#=%d.bin", size)
			want := random(size)
			etag := put(t, s, key, want)
			r, err := s.Open(t.Context(), key)
			must(t, err)
			if r.Size() != int64(size) || r.ETag() != etag || etag == "" {
				t.Errorf("size %d, ETag %q; want %d, %q", r.Size(), r.ETag(), size, etag)
			}
			must(t, r.Close())
			if got := get(t, s, key); !bytes.Equal(got, want) {
				t.Errorf("%d bytes are not those that were put", size)
			}
			for o, err := range s.List(t.Context(), key) {
				must(t, err)
				if o.Key != key || o.Size != int64(size) || o.ETag != etag || o.Modified.IsZero() {
					t.Errorf("listed as %+v, want ETag %q", o, etag)
				}
			}
		}
	})
}

// ReadAt follows the rules of io.ReaderAt at every offset and length.
func TestReaderReadAt(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		want := random(100)
		put(t, s, "o", want)
		r, err := s.Open(t.Context(), "o")
		must(t, err)
		defer r.Close()
		for range 200 {
			off, n := rand.IntN(130), rand.IntN(130)
			got := make([]byte, n)
			m, err := r.ReadAt(got, int64(off))
			end := min(off+n, len(want))
			if off > end {
				end = off
			}
			if wantN := end - off; m != wantN || !bytes.Equal(got[:m], want[min(off, 100):min(end, 100)]) {
				t.Fatalf("ReadAt(%d bytes, %d) read %d, want %d", n, off, m, wantN)
			}
			if m < n && !errors.Is(err, io.EOF) || m == n && err != nil {
				t.Fatalf("ReadAt(%d bytes, %d): error %v", n, off, err)
			}
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
			t.Error("a negative offset is read")
		}
	})
}

// A stream has the bytes of its range, for all lengths and numbers of parts.
func TestReaderStream(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		want := random(10_000)
		put(t, s, "o", want)
		r, err := s.Open(t.Context(), "o")
		must(t, err)
		defer r.Close()
		for _, off := range []int{0, 1, 9_999, 10_000, 10_001} {
			for _, to := range []int{0, 1, 1000, 9_999, 10_000, 10_001} {
				for _, parts := range []int{1, 2, 7} {
					for _, partLen := range []int{333, 1000, 1 << 20} {
						stream := r.Stream(t.Context(), int64(off), int64(to), parts, partLen)
						got, err := io.ReadAll(stream)
						must(t, err)
						if end := min(to, len(want)); !bytes.Equal(got, want[min(off, end):end]) {
							t.Errorf("[%d, %d), %d parts of %d: wrong bytes", off, to, parts, partLen)
						}
						must(t, stream.Close())
						if _, err := stream.Read(make([]byte, 1)); err == nil {
							t.Error("a closed stream is read")
						}
					}
				}
			}
		}
	})
}

// Keys are listed in the order of their bytes, with those of a prefix only.
func TestStoreLists(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		keys := []string{"a-b", "a.csv", "a/b.csv", "a/c/d", "a/c0", "a0", "b/part-0.csv", "b/part-1.csv", "b/part-10.csv", "é"}
		for _, i := range rand.Perm(len(keys)) {
			put(t, s, keys[i], []byte("x"))
		}
		for _, prefix := range append([]string{"", "a", "a/", "a/b", "a/c", "b/part-1", "c", "a/c/d/e", "none/"}, keys...) {
			var want []string
			for _, k := range keys {
				if strings.HasPrefix(k, prefix) {
					want = append(want, k)
				}
			}
			if got := list(t, s, prefix); !slices.Equal(got, want) {
				t.Errorf("prefix %q: %q, want %q", prefix, got, want)
			}
		}
		for _, err := range s.List(t.Context(), "") {
			must(t, err)
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range s.List(ctx, "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error of a canceled listing: %v", err)
			}
		}
	})
}

func TestStoreDeletes(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		var keys []string
		for i := range 40 {
			keys = append(keys, fmt.Sprintf("d/%02d", i))
			put(t, s, keys[i], []byte("x"))
		}
		must(t, s.Delete(t.Context()))
		must(t, s.Delete(t.Context(), append(keys[1:], "none", "none/none", keys[1])...))
		if got := list(t, s, ""); !slices.Equal(got, keys[:1]) {
			t.Errorf("left: %q", got)
		}
		if _, err := s.Open(t.Context(), keys[1]); !errors.Is(err, objects.ErrNotFound) {
			t.Errorf("error of a deleted object: %v", err)
		}
	})
}

// Of many writers of an absent object exactly one succeeds, and the object is the
// one that it wrote.
func TestStorePutIfAbsent(t *testing.T) {
	for _, size := range []int{0, 100, 5<<20 + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s objects.Store) {
				const writers = 6
				var wg sync.WaitGroup
				etags, errs := make([]string, writers), make([]error, writers)
				for i := range writers {
					wg.Go(func() {
						data := bytes.Repeat([]byte{byte(i)}, size)
						etags[i], errs[i] = s.Put(t.Context(), "d/o", bytes.NewReader(data), int64(size), objects.IfAbsent)
					})
				}
				wg.Wait()
				winner := -1
				for i, err := range errs {
					switch {
					case err == nil && winner < 0:
						winner = i
					case err == nil:
						t.Error("two writers succeed")
					case !errors.Is(err, objects.ErrExists):
						t.Error(err)
					}
				}
				if winner < 0 {
					t.Fatal("no writer succeeds")
				}
				if !bytes.Equal(get(t, s, "d/o"), bytes.Repeat([]byte{byte(winner)}, size)) {
					t.Error("the object is not that of the writer that succeeded")
				}
				put(t, s, "d/o", []byte("new"))
				if got := get(t, s, "d/o"); string(got) != "new" {
					t.Errorf("got %q after a Put without condition", got)
				}
			})
		})
	}
}

// A source that is shorter than its size leaves the old object.
func TestStorePutFailsOfShortSource(t *testing.T) {
	for _, size := range []int64{100, 12 << 20} {
		eachStore(t, func(t *testing.T, s objects.Store) {
			put(t, s, "o", []byte("old"))
			_, err := s.Put(t.Context(), "o", bytes.NewReader(make([]byte, size-1)), size, objects.Always)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), fmt.Sprintf("want %d", size)) {
				t.Errorf("error %v", err)
			}
			if got := list(t, s, ""); !slices.Equal(got, []string{"o"}) || string(get(t, s, "o")) != "old" {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// A reader returns the opened object or ErrChanged after another Put or a Delete.
func TestReaderOfReplacedObject(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		for name, change := range map[string]func(){
			"replaced": func() { put(t, s, "o", bytes.Repeat([]byte("b"), 1000)) },
			"shorter":  func() { put(t, s, "o", []byte("b")) },
			"deleted":  func() { must(t, s.Delete(t.Context(), "o")) },
		} {
			t.Run(name, func(t *testing.T) {
				put(t, s, "o", bytes.Repeat([]byte("a"), 1000))
				r, err := s.Open(t.Context(), "o")
				must(t, err)
				defer r.Close()
				stream := r.Stream(t.Context(), 0, r.Size(), 1, 100)
				defer stream.Close()
				first := make([]byte, 100)
				_, err = io.ReadFull(stream, first)
				must(t, err)
				change()
				rest, err := io.ReadAll(stream)
				got := append(first, rest...)
				if bytes.Contains(got, []byte("b")) || err == nil && len(got) != 1000 || err != nil && !errors.Is(err, objects.ErrChanged) {
					t.Errorf("%d bytes, error %v", len(got), err)
				}
			})
		}
	})
}

func TestStoreErrorsAreTyped(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		_, err := s.Open(t.Context(), "none/none.csv")
		if !errors.Is(err, objects.ErrNotFound) || !strings.Contains(err.Error(), s.URL("none/none.csv")) {
			t.Errorf("error %v", err)
		}
		if _, err := s.Open(t.Context(), ""); err == nil {
			t.Error("an empty key is opened")
		}
		if _, err := s.Put(t.Context(), "", bytes.NewReader(nil), 0, objects.Always); err == nil {
			t.Error("an empty key is written")
		}
	})
}

// A canceled context ends all calls with its cause.
func TestStoreCanceled(t *testing.T) {
	eachStore(t, func(t *testing.T, s objects.Store) {
		put(t, s, "o", random(1000))
		r, err := s.Open(t.Context(), "o")
		must(t, err)
		defer r.Close()
		cause := errors.New("cause")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		stream := r.Stream(ctx, 0, r.Size(), 2, 10)
		defer stream.Close()
		if _, err := io.ReadAll(stream); !errors.Is(err, cause) {
			t.Errorf("Stream: %v", err)
		}
		if _, err := s.Put(ctx, "new", bytes.NewReader(random(1000)), 1000, objects.Always); !errors.Is(err, cause) {
			t.Errorf("Put: %v", err)
		}
		if got := list(t, s, ""); !slices.Equal(got, []string{"o"}) {
			t.Errorf("left: %q", got)
		}
	})
}

// The temporary file of a Put that was killed is not listed, and removed after a
// day by the next Put.
func TestDirectoryRemovesOldTemporaryFiles(t *testing.T) {
	root := t.TempDir()
	s, key := parse(t, root, objects.Options{})
	young, old := filepath.Join(root, ".put-1.tmp"), filepath.Join(root, ".put-2.tmp")
	must(t, os.WriteFile(young, nil, 0o600))
	must(t, os.WriteFile(old, nil, 0o600))
	must(t, os.Chtimes(old, time.Time{}, time.Now().Add(-25*time.Hour)))
	put(t, s, key+"/o", []byte("x"))
	if got := list(t, s, key); !slices.Equal(got, []string{key + "/o"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("old file: %v", err)
	}
}

// Dirs names the elements of keys that have a slash after them, once each, whatever
// the pages of the listing and their failures.
func TestDirs(t *testing.T) {
	keys := []string{"a", "b/1", "b/2", "b/c/1", "b/c/d/2", "b/e-/1", "b/e/1", "b/f", "g h/ä/1"}
	test := func(t *testing.T, s objects.Store) {
		t.Helper()
		for dir, want := range map[string]string{"": "b g h", "b/": "c e e-", "b/c/": "d", "b/c/d/": "", "g h/": "ä", "none/": "", "a/": ""} {
			got, err := s.Dirs(t.Context(), dir)
			must(t, err)
			if strings.Join(got, " ") != want {
				t.Errorf("directories %q of %q, want %q", got, dir, want)
			}
		}
	}
	eachStore(t, func(t *testing.T, s objects.Store) {
		for _, key := range keys {
			put(t, s, key, nil)
		}
		test(t, s)
	})
	eachServer(t, func(t *testing.T, server *objecttest.Server, s objects.Store) {
		for _, key := range keys {
			put(t, s, key, nil)
		}
		objects.SetPageLen(t, 2)
		test(t, s)
		server.Fail(objecttest.First(3, objecttest.Lists, objecttest.Error(http.StatusServiceUnavailable, "SlowDown", "Reduce your request rate.")))
		test(t, s)
		server.Fail(objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied"))
		if _, err := s.Dirs(t.Context(), ""); !errors.Is(err, objects.ErrDenied) {
			t.Errorf("error %v", err)
		}
	})
}
