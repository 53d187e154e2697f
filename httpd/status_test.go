package httpd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/httpd"
	"promostore/reader"
)

var pinTime = time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)

func (f *fixture) pin(t testing.TB, id generation.ID) {
	t.Helper()
	must(t, generation.SetPin(f.dir, generation.Pin{Active: true, ID: id, By: "ops@node", Reason: `wrong "prices"`, At: pinTime}))
}

func (f *fixture) unpin(t testing.TB) {
	t.Helper()
	must(t, generation.SetPin(f.dir, generation.Pin{By: "ops@node", Reason: "repaired", At: pinTime}))
}

// TestStatusFollowsDirectory pins, unpins and removes generations, and checks
// both forms of the status, the metrics and the log after each step.
func TestStatusFollowsDirectory(t *testing.T) {
	f := serveMemory(t, nil)
	status := func(public, full string) {
		t.Helper()
		f.poll(t)
		a := f.get(t, "/status").want(t, 200, public)
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
		if got, err := json.Marshal(f.Status()); err != nil || string(got) != full {
			t.Errorf("full status: %s, want %s, %v", got, full, err)
		}
	}
	pinned := func(gauge, errors string) {
		t.Helper()
		if got := f.metric(t, "promoserve_pinned"); got != gauge {
			t.Errorf("promoserve_pinned is %s, want %s", got, gauge)
		}
		if got := f.metric(t, "promoserve_pin_errors_total"); got != errors {
			t.Errorf("promoserve_pin_errors_total is %s, want %s", got, errors)
		}
	}
	logged := func(want string) {
		t.Helper()
		if n := strings.Count(f.log.String(), want); n != 1 {
			t.Errorf("logged %d times, want once: %s\n%s", n, want, f.log)
		}
	}
	status(`{"live":null,"pinned":null,"newest":null,"refused":0,"future":0,"problem":"no generation yet"}`,
		`{"live":null,"pinned":null,"newest":null,"refused":[],"problem":"no generation yet"}`)

	publish(t, f.dir, genID(1), rows)
	publish(t, f.dir, genID(2), rows)
	status(`{"live":"20261122T103000002Z","pinned":null,"newest":"20261122T103000002Z","refused":0,"future":0}`,
		`{"live":"20261122T103000002Z","pinned":null,"newest":"20261122T103000002Z","refused":[]}`)
	pinned("0", "0")

	logPath := logValue(filepath.Join(f.dir, "promotions.pin"))
	f.pin(t, genID(1))
	status(`{"live":"20261122T103000001Z","pinned":"20261122T103000001Z","newest":"20261122T103000002Z","refused":0,"future":0}`,
		`{"live":"20261122T103000001Z","pinned":"20261122T103000001Z","by":"ops@node","reason":"wrong \"prices\"","at":"2026-11-24T13:00:00Z","newest":"20261122T103000002Z","refused":[]}`)
	pinned("1", "0")
	logged(`level=WARN msg="generation pinned" generation=20261122T103000001Z file=` + logPath + ` by=ops@node reason="wrong \"prices\"" at=2026-11-24T13:00:00.000Z`)

	f.unpin(t)
	status(`{"live":"20261122T103000002Z","pinned":null,"newest":"20261122T103000002Z","refused":0,"future":0}`,
		`{"live":"20261122T103000002Z","pinned":null,"by":"ops@node","reason":"repaired","at":"2026-11-24T13:00:00Z","newest":"20261122T103000002Z","refused":[]}`)
	pinned("0", "0")
	logged(`msg="generation unpinned, the newest is served" file=` + logPath + ` by=ops@node reason=repaired`)

	text := filepath.Join(f.dir, "promotions.pin")
	must(t, os.WriteFile(text, []byte("{"), 0o644))
	status(`{"live":"20261122T103000002Z","pinned":null,"newest":"20261122T103000002Z","refused":0,"future":0}`,
		`{"live":"20261122T103000002Z","pinned":null,"pin_error":"the pin cannot be read: `+text+`: unexpected end of JSON input","newest":"20261122T103000002Z","refused":[]}`)
	f.poll(t)
	pinned("0", "1")
	logged(`level=ERROR msg="pin cannot be read, the live generation remains"`)

	f.pin(t, genID(1))
	must(t, os.Remove(filepath.Join(f.dir, generation.Name{ID: genID(1), Shards: 1}.String())))
	status(`{"live":"20261122T103000002Z","pinned":"20261122T103000001Z","newest":"20261122T103000002Z","refused":0,"future":0}`,
		`{"live":"20261122T103000002Z","pinned":"20261122T103000001Z","by":"ops@node","reason":"wrong \"prices\"","at":"2026-11-24T13:00:00Z","newest":"20261122T103000002Z","refused":[]}`)
	logged(`level=ERROR msg="pinned generation is not served" generation=20261122T103000001Z`)

	f.unpin(t)
	bad := generation.Name{ID: genID(3), Shards: 1}.String()
	must(t, os.WriteFile(filepath.Join(f.dir, bad), []byte("nothing"), 0o644))
	status(`{"live":"20261122T103000002Z","pinned":null,"newest":"20261122T103000003Z","refused":1,"future":0}`,
		`{"live":"20261122T103000002Z","pinned":null,"by":"ops@node","reason":"repaired","at":"2026-11-24T13:00:00Z","newest":"20261122T103000003Z","refused":[{"file":"`+bad+`","error":"`+
			filepath.Join(f.dir, bad)+`: header: not a generation file: at offset 0: magic \"nothing\", want \"PROMOGEN\""}]}`)

	f.do(t, "POST", "/status", "").want(t, 405, `{"error":"method not allowed"}`)
	if a := f.do(t, "HEAD", "/status", ""); a.code != 200 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.code, a.body)
	}
}

// TestServerChangesPinUnderLoad pins one generation after another while 64
// connections send requests. Every answer must be complete, and its content must
// be that of the generation that it names.
func TestServerChangesPinUnderLoad(t *testing.T) {
	const connections, kept, steps = 64, 5, 40
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		t.Run(access.String(), func(t *testing.T) {
			f := newFixture(t, httpd.Options{}, reader.StoreOptions{Access: access})
			byName := map[string]int{}
			for k := range kept {
				publish(t, f.dir, genID(k), swapRows(k))
				byName[genID(k).String()] = k
			}
			f.poll(t)
			f.listen(t)
			var stop atomic.Bool
			var answers atomic.Int64
			var seen [kept]atomic.Bool
			var clients sync.WaitGroup
			for n := range connections {
				clients.Go(func() {
					c, err := net.Dial("tcp", f.ln.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					r := bufio.NewReader(c)
					for i := n; !stop.Load(); i++ {
						k, err := askSwap(c, r, i, byName)
						if err != nil {
							t.Errorf("connection %d: %v", n, err)
							return
						}
						seen[k].Store(true)
						answers.Add(1)
					}
				})
			}
			for step := range steps {
				k := step * 3 % kept
				if step%8 == 7 {
					f.unpin(t)
					k = kept - 1
				} else {
					f.pin(t, genID(k))
				}
				f.poll(t)
				seen[k].Store(false)
				for before := answers.Load(); !t.Failed() && (!seen[k].Load() || answers.Load() < before+connections); {
					if answer, err := http.Get(f.base + "/readyz"); err != nil {
						t.Error(err)
					} else if answer.Body.Close(); answer.StatusCode != 200 {
						t.Errorf("/readyz: %d", answer.StatusCode)
					}
				}
				live := fmt.Sprintf(`promoserve_generation_info{generation="%s",access="%s"}`, genID(k), access)
				if got := f.metric(t, live); got != "1" {
					t.Errorf("step %d: %s is %s, want 1", step, live, got)
				}
			}
			stop.Store(true)
			clients.Wait()
			http.DefaultClient.CloseIdleConnections()
			t.Logf("%d answers", answers.Load())
		})
	}
}

func TestFutureGenerationIsCountedAndNamed(t *testing.T) {
	f := serveMemory(t, rows)
	if got := f.metric(t, "promoserve_generations_future"); got != "0" {
		t.Errorf("promoserve_generations_future is %s, want 0", got)
	}
	id := generation.IDOf(time.Now().Add(48 * time.Hour))
	path := publish(t, f.dir, id, rows)
	f.poll(t)
	if got := f.metric(t, "promoserve_generations_future"); got != "1" {
		t.Errorf("promoserve_generations_future is %s, want 1", got)
	}
	f.get(t, "/status").want(t, 200, fmt.Sprintf(`{"live":"%s","pinned":null,"newest":"%[1]s","refused":0,"future":1}`, genID(0)))
	if got := f.Status().Future; !slices.Equal(got, []string{filepath.Base(path)}) {
		t.Errorf("the full status names %q, want %s", got, filepath.Base(path))
	}
	if want := "file=" + logValue(path); !strings.Contains(f.log.String(), want) {
		t.Errorf("the log does not contain %q: %s", want, f.log)
	}
}

// logValue returns s like the text handler of slog writes it.
func logValue(s string) string {
	if strings.Contains(s, " ") {
		return strconv.Quote(s)
	}
	return s
}
