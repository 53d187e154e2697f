//go:build system

package httpd_test

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/httpd"
	"promostore/internal/fusetest"
	"promostore/reader"
)

// mountedFixture returns a server over a directory of a FUSE file system.
func mountedFixture(t *testing.T, opts reader.StoreOptions) (*fixture, *fusetest.Mount) {
	m := fusetest.New(t)
	f := newFixture(t, httpd.Options{}, opts)
	must(t, errors.Join(os.Remove(f.dir), os.Symlink(m.Dir, f.dir)))
	return f, m
}

// evict removes the file at path from the page cache.
func evict(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	must(t, errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close()))
}

// TestBusyDiskAnswers503 sends more lookups than reads are allowed to a disk
// that does not answer.
func TestBusyDiskAnswers503(t *testing.T) {
	const clients = 300
	f, m := mountedFixture(t, reader.StoreOptions{Access: reader.AccessPread, IndexOnly: true})
	path := publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.listen(t)
	evict(t, path)
	m.Hang(0)
	answers := make(chan *http.Response, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			r, err := f.client.Get(f.base + "/promotions/" + exampleID)
			if err != nil {
				t.Error(err)
				return
			}
			r.Body.Close()
			answers <- r
		})
	}
	if r := <-answers; r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || r.Header.Get("X-Promotions-Generation") != genID(0).String() {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	f.get(t, "/readyz").want(t, 200, `{"status":"ready"}`)
	m.Heal()
	wg.Wait()
	if got := f.metric(t, `promoserve_lookups_total{result="busy"}`); got == "0" {
		t.Error("no busy lookup is counted")
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}
