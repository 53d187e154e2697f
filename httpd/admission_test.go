package httpd_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"promostore/format"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestRunningLookupsAreBounded holds lookups at the line of the log that a
// damaged record causes, and counts how many run at a time.
func TestRunningLookupsAreBounded(t *testing.T) {
	const more = 10
	limit := httpd.LookupsPerProc * runtime.GOMAXPROCS(0)
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{IndexOnly: true})
	f.SetLookupWait(time.Millisecond)
	path := publish(t, f.dir, genID(0), rows)
	gentest.Overwrite(t, path, exampleOff, bytes.Repeat([]byte{0xFF}, format.RecordLen-16))
	f.poll(t)

	answers := make(chan string, limit+more)
	refused := 0
	func() {
		f.log.mu.Lock()
		defer f.log.mu.Unlock()
		for range limit + more {
			go func() { answers <- f.exchange(t, batchOf(1)) }()
		}
		for ; refused < more; refused++ {
			select {
			case a := <-answers:
				for _, want := range []string{"HTTP/1.1 503 ", "Retry-After: ", "too many lookups are under way"} {
					if !strings.Contains(a, want) {
						t.Errorf("%q does not contain %q", a, want)
					}
				}
			case <-time.After(20 * time.Second):
				t.Errorf("%d lookups run at a time, want %d", limit+more-refused, limit)
				return
			}
		}
		if got := f.answeredHere(t, "promoserve_lookup_requests_refused_total"); got != fmt.Sprint(more) {
			t.Errorf("%s refused lookups are counted, want %d", got, more)
		}
		if a := f.exchange(t, request("/promotions/"+rows[4].id)); !strings.HasPrefix(a, "HTTP/1.1 200 ") {
			t.Errorf("a GET meanwhile: %.100q", a)
		}
	}()
	for range limit + more - refused {
		if a := <-answers; !strings.HasPrefix(a, "HTTP/1.1 500 ") {
			t.Errorf("fewer than %d lookups run at a time: %.100q", limit, a)
		}
	}
	if a := f.exchange(t, strings.Replace(batchOf(1), exampleID, rows[4].id, 1)); !strings.HasPrefix(a, "HTTP/1.1 200 ") {
		t.Errorf("the lookup after them: %.100q", a)
	}
}
