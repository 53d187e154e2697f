package httpd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/reader"
)

// swapRows returns the rows of generation k. The price of each is k, and every
// second generation lacks the odd rows.
func swapRows(k int) []row {
	var data []row
	for i := range 300 {
		if k%2 == 0 || i%2 == 0 {
			data = append(data, row{swapID(i), fmt.Sprintf("%d.0", k), "2022-06-04 06:01:20"})
		}
	}
	return data
}

func swapID(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i*14_000_029, i) }

func TestServerSwapsUnderLoad(t *testing.T) {
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		t.Run(access.String(), func(t *testing.T) { testSwapsUnderLoad(t, access, 51) })
	}
}

// swapSharding returns how generation k is divided into shards.
func swapSharding(k int) format.Sharding {
	return []format.Sharding{format.Unsharded, byLast, byFirst}[k%3]
}

// testSwapsUnderLoad publishes generations of different shardings while 64
// connections send requests. Every answer must be complete, and its content must be
// that of the generation that it names. The first and the last generation have one
// file.
func testSwapsUnderLoad(t *testing.T, access reader.Access, generations int) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		// It sleeps for up to ten seconds before it checks whether the server stopped.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// All servers of the process share it.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
	const connections = 64
	t.Run("load", func(t *testing.T) {
		f := newFixture(t, httpd.Options{}, reader.StoreOptions{Access: access})
		publish(t, f.dir, genID(0), swapRows(0))
		f.poll(t)
		f.listen(t)
		mapsBefore, filesBefore := openGenerations(t)

		byName := map[string]int{}
		for k := range generations + 1 {
			byName[genID(k).String()] = k
		}
		var stop atomic.Bool
		var answers atomic.Int64
		var progress sync.WaitGroup // until every connection has received an answer
		var clients sync.WaitGroup
		progress.Add(connections)
		for n := range connections {
			clients.Go(func() {
				c, err := net.Dial("tcp", f.ln.Addr().String())
				if err != nil {
					t.Error(err)
					progress.Done()
					return
				}
				defer c.Close()
				r := bufio.NewReader(c)
				last := 0
				for i := n; ; i++ {
					k, err := askSwap(c, r, i, byName)
					if i == n {
						progress.Done()
					}
					if err == nil && k < last {
						err = fmt.Errorf("generation %d after %d", k, last)
					}
					if err != nil {
						t.Errorf("connection %d: %v", n, err)
						return
					}
					last = k
					answers.Add(1)
					if stop.Load() {
						return
					}
				}
			})
		}
		progress.Wait()
		for k := 1; k <= generations; k++ {
			paths := publishRows(t, f.dir, genID(k), swapSharding(k), generation.AllDigits, swapRows(k))
			before := answers.Load()
			f.poll(t)
			if k%2 == 0 { // like prune
				for _, path := range paths {
					must(t, os.Remove(path))
				}
			}
			for answers.Load() < before+connections && !t.Failed() {
				if answer, err := http.Get(f.base + "/readyz"); err != nil {
					t.Error(err)
				} else if answer.Body.Close(); answer.StatusCode != 200 {
					t.Errorf("/readyz: %d", answer.StatusCode)
				}
			}
		}
		stop.Store(true)
		clients.Wait()
		http.DefaultClient.CloseIdleConnections()
		for closed := 0; closed < generations; {
			if e := <-f.events; e.Kind == reader.EventClosed {
				closed++
			} else if e.Kind != reader.EventLive {
				t.Errorf("event %v: %v", e.Kind, e.Err)
			}
		}
		if maps, files := openGenerations(t); maps != mapsBefore || files != filesBefore {
			t.Errorf("%d mappings and %d files are open, want %d and %d", maps, files, mapsBefore, filesBefore)
		}
		t.Logf("%d generations, %d answers", generations, answers.Load())
	})
	if maps, files := openGenerations(t); maps != 0 || files != 0 {
		t.Errorf("%d mappings and %d files are open after Close, want none", maps, files)
	}
}

// askSwap sends the i-th request of a connection and returns the number of the
// generation that answered.
func askSwap(c net.Conn, r *bufio.Reader, i int, byName map[string]int) (k int, err error) {
	id := swapID(i % 300)
	batch := i%10 == 9
	if batch {
		body := fmt.Sprintf(`{"ids":["%s","%s","%s"]}`, id, swapID((i+1)%300), swapID((i+2)%300))
		_, err = fmt.Fprintf(c, "POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	} else {
		_, err = c.Write([]byte(request("/promotions/" + id)))
	}
	if err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	name := res.Header.Get("X-Promotions-Generation")
	k, ok := byName[name]
	if !ok {
		return 0, fmt.Errorf("status %d, generation %q", res.StatusCode, name)
	}
	hasRow := func(i int) bool { return k%2 == 0 || i%300%2 == 0 }
	price := json.Number(fmt.Sprintf("%d.0", k))
	decoder := json.NewDecoder(res.Body)
	if batch {
		var answer lookupAnswer
		if err := decoder.Decode(&answer); err != nil {
			return 0, err
		}
		want := 0
		for j := range 3 {
			if hasRow(i + j) {
				want++
			}
		}
		if len(answer.Promotions) != want || len(answer.NotFound) != 3-want {
			return 0, fmt.Errorf("generation %d: %v, want %d of 3 found", k, answer, want)
		}
		for _, p := range answer.Promotions {
			if p.Price != price {
				return 0, fmt.Errorf("generation %d: price %s", k, p.Price)
			}
		}
		return k, nil
	}
	if !hasRow(i) {
		if res.StatusCode != 404 {
			return 0, fmt.Errorf("generation %d: status %d for a missing id, want 404", k, res.StatusCode)
		}
		return k, nil
	}
	var p promotion
	if err := decoder.Decode(&p); err != nil {
		return 0, err
	}
	if res.StatusCode != 200 || p.ID != id || p.Price != price {
		return 0, fmt.Errorf("generation %d: status %d, %v", k, res.StatusCode, p)
	}
	return k, nil
}

// openGenerations counts the generations that this process has mapped and open.
func openGenerations(t *testing.T) (maps, files int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	maps = strings.Count(string(b), ".pgen")
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range list {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(target, ".pgen") {
			files++
		}
	}
	return maps, files
}
