package httpd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/reader"
	"promostore/web"
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

// A wantStatus holds the parts of a status that a step changes. IDs are numbers
// of generations; -1 is none.
type wantStatus struct {
	live, pinned, newest int
	refused, swaps       int
	problem              string
	details              string // JSON
}

// newestVerified reports whether the newest generation is live or held back.
func (w wantStatus) newestVerified() bool { return w.newest >= 0 && w.newest == max(w.live, w.held()) }

// held returns the number of the generation that the pin holds back, or -1.
func (w wantStatus) held() int {
	if w.pinned >= 0 && w.live == w.pinned && w.newest > w.live {
		return w.newest
	}
	return -1
}

func (w wantStatus) String() string {
	id := func(k int) string {
		if k < 0 {
			return "null"
		}
		return `"` + genID(k).String() + `"`
	}
	live := `"records":null,"bytes":null,"shards":null,"digits":"0-f","age":null`
	if w.live >= 0 {
		live = fmt.Sprintf(`"records":%d,"bytes":8264,"shards":1,"digits":"0-f","age":SECONDS`, len(rows))
	}
	problem := ""
	if w.held() >= 0 {
		problem = `,"held_back_since":"2026-11-24T13:00:00Z"`
	}
	if w.problem != "" {
		problem += `,"problem":"` + w.problem + `"`
	}
	return fmt.Sprintf(`{"version":"v1","uptime":SECONDS,"live":%s,"pinned":%s,"newest":%s,"missing_shards":[],"newest_verified":%t,"refused":%d,%s,"swaps":%d,"future":[]%s`,
		id(w.live), id(w.pinned), id(w.newest), w.newestVerified(), w.refused, live, w.swaps, problem)
}

// TestStatusFollowsDirectory pins, unpins and removes generations, and checks
// both forms of the status, the metrics and the log after each step.
func TestStatusFollowsDirectory(t *testing.T) {
	f := newFixture(t, httpd.Options{Version: "v1"}, reader.StoreOptions{})
	f.listen(t)
	duration := regexp.MustCompile(`("uptime"|"age"):[0-9.]+`)
	status := func(w wantStatus) {
		t.Helper()
		f.poll(t)
		if w.held() >= 0 {
			f.await(t, reader.EventVerified)
		}
		a := f.get(t, "/status")
		a.body = duration.ReplaceAllString(a.body, "$1:SECONDS")
		a.want(t, 200, w.String()+"}")
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
		text, err := json.Marshal(f.Status())
		must(t, err)
		if got, want := duration.ReplaceAllString(string(text), "$1:SECONDS"), w.String()+","+w.details+"}"; got != want {
			t.Errorf("full status:\n%s, want\n%s", got, want)
		}
	}
	gauge := func(name, want string) {
		t.Helper()
		if got := f.metric(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	pinned := func(active, errors string) {
		t.Helper()
		gauge("promoserve_pinned", active)
		gauge("promoserve_pin_errors_total", errors)
	}
	logged := func(want string) {
		t.Helper()
		if n := strings.Count(f.log.String(), want); n != 1 {
			t.Errorf("logged %d times, want once: %s\n%s", n, want, f.log)
		}
	}
	const none, byPin, byUnpin = `"refused_files":[]`,
		`"by":"ops@node","reason":"wrong \"prices\"","at":"2026-11-24T13:00:00Z","refused_files":[]`,
		`"by":"ops@node","reason":"repaired","at":"2026-11-24T13:00:00Z","refused_files":[]`
	status(wantStatus{-1, -1, -1, 0, 0, "no generation yet", none})

	publish(t, f.dir, genID(1), rows)
	f.poll(t)
	publish(t, f.dir, genID(2), rows)
	status(wantStatus{2, -1, 2, 0, 2, "", none})
	pinned("0", "0")
	live := func(k int) string { return `msg="generation live" generation=` + genID(k).String() }
	logged(live(1) + ` file=` + logValue(gentest.Path(f.dir, genID(1))) + ` records=5 bytes=8264 `)
	logged(live(2) + ` file=` + logValue(gentest.Path(f.dir, genID(2))) + ` previous=` + genID(1).String() + ` records=5 bytes=8264 `)

	logPath := logValue(filepath.Join(f.dir, "promotions.pin"))
	f.pin(t, genID(1))
	status(wantStatus{1, 1, 2, 0, 3, "", byPin})
	pinned("1", "0")
	logged(`level=WARN msg="generation pinned" generation=20261122T103000001Z file=` + logPath + ` by=ops@node reason="wrong \"prices\"" at=2026-11-24T13:00:00.000Z`)

	f.unpin(t)
	status(wantStatus{2, -1, 2, 0, 4, "", byUnpin})
	pinned("0", "0")
	logged(`msg="generation unpinned, the newest is served" file=` + logPath + ` by=ops@node reason=repaired`)

	text := filepath.Join(f.dir, "promotions.pin")
	must(t, os.WriteFile(text, []byte("{"), 0o644))
	status(wantStatus{2, -1, 2, 0, 4, "", `"pin_error":"the pin cannot be read: ` + text + `: unexpected end of JSON input","refused_files":[]`})
	f.poll(t)
	pinned("0", "1")
	gauge("promoserve_pin_readable", "0")
	logged(`level=ERROR msg="pin cannot be read, the live generation remains"`)
	must(t, os.Remove(text))
	f.poll(t)
	gauge("promoserve_pin_readable", "1")
	logged(`msg="generation unpinned, the newest is served" file=` + logPath + "\n")

	f.pin(t, genID(1))
	must(t, os.Remove(gentest.Path(f.dir, genID(1))))
	status(wantStatus{2, 1, 2, 0, 4, "", byPin})
	logged(`level=ERROR msg="pinned generation is not served" generation=20261122T103000001Z`)

	f.unpin(t)
	bad := gentest.Path(f.dir, genID(3))
	must(t, os.WriteFile(bad, []byte("nothing"), 0o644))
	status(wantStatus{2, -1, 3, 1, 4, "", `"by":"ops@node","reason":"repaired","at":"2026-11-24T13:00:00Z","refused_files":[{"file":"` + filepath.Base(bad) + `","error":"` +
		bad + `: header: not a generation file: at offset 0: magic \"nothing\", want \"PROMOGEN\""}]`})
	gauge("promoserve_generations_refused", "1")

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
	var st web.Status
	must(t, json.Unmarshal([]byte(f.get(t, "/status").body), &st))
	if len(st.Future) != 1 || st.Future[0].Generation != id.String() || st.Future[0].Ahead < 47*3600 || st.Future[0].Ahead > 48*3600 {
		t.Errorf("/status: future %+v, want %s", st.Future, id)
	}
	if want := "file=" + logValue(path); !strings.Contains(f.log.String(), want) {
		t.Errorf("the log does not contain %q: %s", want, f.log)
	}
}

// The age of a generation ahead of the clock is 0, not negative, until a newer
// one is live.
func TestAgeIsNeverNegative(t *testing.T) {
	for _, ahead := range []time.Duration{time.Minute, 48 * time.Hour} {
		f := serveMemory(t, nil)
		id := generation.IDOf(time.Now().Add(ahead))
		publish(t, f.dir, id, rows)
		f.poll(t)
		if got := f.metric(t, "promoserve_generation_age_seconds"); got != "0" {
			t.Errorf("promoserve_generation_age_seconds is %s, want 0", got)
		}
		var st web.Status
		must(t, json.Unmarshal([]byte(f.get(t, "/status").body), &st))
		if *st.Live != id.String() || *st.Age != 0 || len(st.Future) != 1 || st.Future[0].Generation != id.String() || st.Future[0].Ahead <= 0 {
			t.Errorf("/status: %+v, want the live generation %s ahead of the clock", st, id)
		}
	}
}

// A pin until a newer generation is servable ends without an unpin. As long as a
// pin holds back a newer servable generation, /status and a metric tell.
func TestPinIsReleasedByNewerGeneration(t *testing.T) {
	f := serveMemory(t, nil)
	publish(t, f.dir, genID(1), rows)
	publish(t, f.dir, genID(2), rows)
	at := time.Now().Add(-time.Hour)
	must(t, generation.SetPin(f.dir, generation.Pin{Active: true, ID: genID(1), UntilNewer: true, Newest: genID(2), By: "ops@node", At: at}))
	check := func(live int, pinned bool, held time.Duration) {
		t.Helper()
		f.poll(t)
		var st web.Status
		must(t, json.Unmarshal([]byte(f.get(t, "/status").body), &st))
		if *st.Live != genID(live).String() || (st.Pinned != nil) != pinned || (st.UntilNewer != nil) != pinned || (st.HeldBack != nil) != (held > 0) {
			t.Errorf("/status: %+v, want %s, pinned %t, held back for %v", st, genID(live), pinned, held)
		}
		if pinned && (*st.UntilNewer != genID(2).String() || !st.HeldBack.Equal(at)) {
			t.Errorf("/status: %+v, want until newer than %s and held back since %v", st, genID(2), at)
		}
		if full := f.Status(); (full.By != "") != pinned || (full.At != nil) != pinned {
			t.Errorf("full status: author %q at %v, want them %t", full.By, full.At, pinned)
		}
		if got := f.metric(t, "promoserve_pinned"); (got == "1") != pinned {
			t.Errorf("promoserve_pinned is %s, want %t", got, pinned)
		}
		seconds, err := strconv.ParseFloat(f.metric(t, "promoserve_held_back_seconds"), 64)
		if err != nil || seconds < held.Seconds() || seconds > held.Seconds()+60 {
			t.Errorf("promoserve_held_back_seconds is %v, %v, want %v", seconds, err, held)
		}
	}
	check(1, true, time.Hour)
	must(t, os.WriteFile(gentest.Path(f.dir, genID(3)), []byte("nothing"), 0o644))
	check(1, true, time.Hour)
	publish(t, f.dir, genID(4), rows)
	check(4, false, 0)
	for _, want := range []string{`msg="generation pinned" generation=` + genID(1).String(), `until_newer_than=` + genID(2).String() + ` by=ops@node`,
		`level=INFO msg="pin released by a newer generation" generation=` + genID(4).String()} {
		if n := strings.Count(f.log.String(), want); n != 1 {
			t.Errorf("logged %d times, want once: %s\n%s", n, want, f.log)
		}
	}
}

// No answer of the public port names a refused file, its target or its directory, or
// quotes its content. The full status does.
func TestPublicPortNamesNoRefusedFile(t *testing.T) {
	const evil = "<script>secret"
	last, first := format.Sharding{Rule: format.ShardLast, Shards: 16}, format.Sharding{Rule: format.ShardFirst, Shards: 16}
	for name, harm := range map[string]func(t *testing.T, dir, path string){
		"text":      func(t *testing.T, _, path string) { must(t, os.WriteFile(path, []byte(evil), 0o644)) },
		"directory": func(t *testing.T, dir, path string) { must(t, os.Symlink(dir, path)) },
		"loop":      func(t *testing.T, _, path string) { must(t, os.Symlink(path, path)) },
		"pipe":      func(t *testing.T, _, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
		"misnamed":  func(t *testing.T, dir, path string) { must(t, os.Rename(publish(t, dir, genID(1), rows), path)) },
		"disagree": func(t *testing.T, dir, _ string) {
			paths := publishRows(t, dir, genID(2), last, generation.AllDigits, rows)
			others := publishRows(t, t.TempDir(), genID(2), first, generation.AllDigits, rows)
			must(t, os.Rename(others[3], paths[3]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), evil)
			must(t, os.Mkdir(dir, 0o755))
			f := newFixtureOf(t, dir, httpd.Options{Page: true}, reader.StoreOptions{})
			f.listen(t)
			harm(t, dir, gentest.Path(dir, genID(2)))
			f.poll(t)
			if st := f.Status(); st.Refused != 1 || !strings.Contains(st.RefusedFiles[0].File, ".pgen") || !strings.Contains(st.RefusedFiles[0].Error, dir) {
				t.Errorf("full status %+v", st)
			}
			for _, path := range []string{"/status", "/readyz", "/", "/generations", "/promotions/" + exampleID + "/history", fmt.Sprintf("/generations/%s/diff/%s", genID(2), genID(2))} {
				a := f.get(t, path)
				if strings.Contains(a.body, "secret") || strings.Contains(a.body, ".pgen") {
					t.Errorf("%s: %s", path, a.body)
				}
			}
			want := "no servable generation: " + genID(2).String() + ": "
			if a := f.get(t, "/status"); !strings.Contains(a.body, want) {
				t.Errorf("/status lacks %q: %s", want, a.body)
			}
			if a := f.get(t, "/readyz"); !strings.Contains(a.body, want) {
				t.Errorf("/readyz lacks %q: %s", want, a.body)
			}
		})
	}
}

// logValue returns s like the text handler of slog writes it.
func logValue(s string) string {
	if strings.Contains(s, " ") {
		return strconv.Quote(s)
	}
	return s
}
