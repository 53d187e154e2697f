package updater_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/updater"
	"promostore/web"
)

func TestStatusListsLatestBuilds(t *testing.T) {
	f := start(t, nil)
	for rows := range int64(22) {
		f.post(t, strings.NewReader(dataSet(t, rows+1))).want(t, http.StatusCreated, "")
	}
	builds := f.builds(t)
	if len(builds) != 20 {
		t.Fatalf("%d builds, want 20", len(builds))
	}
	for i, b := range builds {
		summary, _ := b["summary"].(map[string]any)
		if b["result"] != "published" || b["source"] != "upload" || summary["records"] != float64(22-i) {
			t.Errorf("build %d: %v", i, b)
		}
	}
}

// The answer, /status and the log tell that servers keep the pinned generation.
func TestUploadReportsPin(t *testing.T) {
	f := start(t, nil)
	a := f.post(t, strings.NewReader(dataSet(t, 1)))
	if a.object["pinned"] != nil {
		t.Errorf("answer names a pin before the first one: %s", a)
	}
	id, err := generation.ParseID(a.object["generation"].(string))
	must(t, err)
	at := time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id, By: "ops@node", Reason: "wrong prices", At: at}))
	a = f.post(t, strings.NewReader(dataSet(t, 2)))
	a.want(t, http.StatusCreated, "")
	if a.object["pinned"] != id.String() {
		t.Errorf("answer %s does not name the pinned generation %s", a, id)
	}
	st := f.get(t, "/status").object
	if st["live"] != id.String() || st["pinned"] != id.String() || st["by"] != "ops@node" || st["reason"] != "wrong prices" || st["at"] != "2026-11-24T13:00:00Z" {
		t.Errorf("/status: %v", st)
	}
	if b := f.builds(t)[0]; b["pinned"] != id.String() {
		t.Errorf("build: %v", b)
	}
	must(t, os.WriteFile(filepath.Join(f.data, generation.PinName), []byte("{"), 0o644))
	f.post(t, strings.NewReader(dataSet(t, 3))).want(t, http.StatusCreated, "")
	if st := f.get(t, "/status").object; st["pinned"] != nil || st["pin_error"] == nil {
		t.Errorf("/status: %v", st)
	}
	f.stop(t)
	for _, want := range []string{`msg="servers keep the pinned generation"`, `by=ops@node reason="wrong prices"`, generation.ErrPin.Error()} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log does not contain %q", want)
		}
	}
}

// An upload releases a pin until a newer generation is servable: the answer and
// /status name no pin, the log names it, and prune removes its generation.
func TestUploadReleasesPin(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Keep = 1 })
	a := f.post(t, strings.NewReader(dataSet(t, 1)))
	id, err := generation.ParseID(a.object["generation"].(string))
	must(t, err)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id, UntilNewer: true, Newest: id, By: "ops@node"}))
	if st := f.get(t, "/status").object; st["pinned"] != id.String() || st["until_newer_than"] != id.String() || st["held_back_since"] != nil {
		t.Errorf("/status: %v", st)
	}
	a = f.post(t, strings.NewReader(dataSet(t, 2)))
	a.want(t, http.StatusCreated, "")
	if a.object["pinned"] != nil {
		t.Errorf("the answer names a pin: %s", a)
	}
	if st := f.get(t, "/status").object; st["pinned"] != nil || st["live"] != a.object["generation"] {
		t.Errorf("/status: %v", st)
	}
	if got := f.metric(t, "promobuild_pinned"); got != "0" {
		t.Errorf("promobuild_pinned is %s, want 0", got)
	}
	if list, err := generation.List(f.data); err != nil || len(list) != 1 || list[0].ID == id {
		t.Errorf("generations %v, %v, want the new one", list, err)
	}
	f.stop(t)
	if want := `msg="the new generation releases the pin"`; !strings.Contains(f.log.String(), want) {
		t.Errorf("the log does not contain %s:\n%s", want, f.log)
	}
}

// A generation of the year 9999 does not stop builds. It is counted and named.
func TestBuildGoesOnAfterFutureGeneration(t *testing.T) {
	f := start(t, nil)
	const future = generation.ID(format.MaxGeneration)
	gentest.Publish(t, f.data, future, gentest.Sequence(1))
	for rows := range int64(2) {
		f.post(t, strings.NewReader(dataSet(t, rows+2))).want(t, http.StatusCreated, "")
	}
	f.wantGenerations(t, 1, 2, 3)
	if got := f.metric(t, "promobuild_generations_future"); got != "1" {
		t.Errorf("promobuild_generations_future is %s, want 1", got)
	}
	if got := f.metric(t, "promobuild_generation_records"); got != "3" {
		t.Errorf("the live generation has %s records, want 3", got)
	}
	list, _ := f.get(t, "/status").object["future"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["generation"] != future.String() || list[0].(map[string]any)["ahead"].(float64) < 3600 {
		t.Errorf("/status: future %v, want %s", list, future)
	}
	f.stop(t)
	if want := gentest.Path(f.data, future); !strings.Contains(f.log.String(), want) {
		t.Errorf("the log does not contain %s", want)
	}
}

// Without the token, /status names no client, file or person. A wrong token is
// refused like that of an upload.
func TestStatusIsShortWithoutToken(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("right\n"), 0o600))
	f := start(t, func(o *updater.Options) {
		o.TokenFile, o.Inbox = tokens, filepath.Join(t.TempDir(), "inbox")
	})
	a := f.post(t, strings.NewReader(dataSet(t, 1)), "Authorization", "Bearer right")
	a.want(t, http.StatusCreated, "")
	id, err := generation.ParseID(a.object["generation"].(string))
	must(t, err)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id, By: "ops@node", Reason: "wrong prices"}))
	get := func(headers ...string) answer {
		req, err := http.NewRequest(http.MethodGet, "http://"+f.address+"/status", nil)
		must(t, err)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := f.client.Do(req)
		must(t, err)
		return read(t, res)
	}
	public := get()
	if st := public.object; public.code != http.StatusOK || st["live"] != id.String() || st["pinned"] != id.String() || st["running"] != false || st["stopping"] != false {
		t.Errorf("without a token: %s", public)
	}
	for _, secret := range []string{"127.0.0.1", "ops@node", "wrong prices", f.data, "builds", "inbox"} {
		if strings.Contains(public.text, secret) {
			t.Errorf("without a token: %s contains %s", public, secret)
		}
	}
	full := get("Authorization", "Bearer right")
	for _, want := range []string{"127.0.0.1", "ops@node", "wrong prices", f.data, "builds", "inbox"} {
		if !strings.Contains(full.text, want) {
			t.Errorf("with the token: %s does not contain %s", full, want)
		}
	}
	get("Authorization", "Bearer wrong").want(t, http.StatusUnauthorized, "unauthorized")
	if got := f.metric(t, "promobuild_clients_refused_total"); got != "1" {
		t.Errorf("%s clients refused, want 1", got)
	}
}

// /status of the updater has the shape of that of promoserve, and parts of its
// own.
func TestStatusHasSharedShape(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Version = "v1" })
	bad := generation.Name{ID: generation.IDOf(time.Now().Add(30 * time.Minute)), Shards: 1}
	check := func(live, newest, records any, refused, swaps, future float64, problem any) {
		t.Helper()
		a := f.get(t, "/status")
		if !strings.HasSuffix(a.text, "}\n") {
			t.Errorf("no newline at the end: %s", a)
		}
		text, err := json.Marshal(web.NewStatus("", time.Now(), &generation.Status{}))
		must(t, err)
		shape := map[string]any{}
		must(t, json.Unmarshal(text, &shape))
		for key := range shape {
			if _, found := a.object[key]; !found && key != "problem" {
				t.Errorf("/status has no %s: %s", key, a)
			}
		}
		list, _ := a.object["future"].([]any)
		if st := a.object; st["version"] != "v1" || st["live"] != live || st["newest"] != newest || st["records"] != records || st["refused"] != refused ||
			st["swaps"] != swaps || float64(len(list)) != future || st["problem"] != problem || (st["age"] == nil) != (live == nil) || (st["bytes"] == nil) != (live == nil) {
			t.Errorf("/status: %s", a)
		}
	}
	check(nil, nil, nil, 0, 0, 0, "no generation yet")
	must(t, os.WriteFile(filepath.Join(f.data, bad.String()), []byte("PROMOXXX"), 0o600))
	check(nil, bad.ID.String(), nil, 1, 0, 1, "no servable generation: "+bad.ID.String()+": not a generation file")
	must(t, os.Remove(filepath.Join(f.data, bad.String())))
	a := f.post(t, strings.NewReader(dataSet(t, 3)))
	a.want(t, http.StatusCreated, "")
	id := a.object["generation"]
	check(id, id, float64(3), 0, 1, 0, nil)
}

// TestStatusDescribesShards takes a shard of the newest generation away, and pins the
// one before it.
func TestStatusDescribesShards(t *testing.T) {
	f := start(t, nil)
	byFirst := format.Sharding{Rule: format.ShardFirst, Shards: 32}
	old := generation.IDOf(time.Now().Add(-time.Hour))
	gentest.PublishSharded(t, f.data, old, format.Unsharded, gentest.Scattered(100))
	paths := gentest.PublishSharded(t, f.data, old+1, byFirst, gentest.Scattered(200))
	check := func(live generation.ID, want string) {
		t.Helper()
		st := f.get(t, "/status").object
		if got := fmt.Sprintln(st["shards"], st["shard_by"], st["records"], st["missing_shards"], st["newest_verified"], st["refused"]); st["live"] != live.String() || got != want+"\n" {
			t.Errorf("/status: %s, live %v, want %s, %v", got, st["live"], want, live)
		}
		missing, _ := st["missing_shards"].([]any)
		for name, want := range map[string]string{
			"promobuild_generation_shards":         fmt.Sprint(st["shards"]),
			"promobuild_generation_records":        fmt.Sprint(st["records"]),
			"promobuild_generation_missing_shards": fmt.Sprint(len(missing)),
		} {
			if got := f.metric(t, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	}
	check(old+1, "32 first 200 [] true 0")
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: old, By: "ops@node"}))
	check(old, "1 <nil> 100 [] true 0")
	must(t, os.Remove(paths[3]))
	must(t, os.Remove(paths[31]))
	check(old, "1 <nil> 100 [3 31] false 0")
	must(t, generation.SetPin(f.data, generation.Pin{}))
	check(old, "1 <nil> 100 [3 31] false 0")
}

// The log has the flag that accepts an empty data set, like /status.
func TestHintIsLogged(t *testing.T) {
	f := start(t, func(o *updater.Options) {
		o.Hint = func(error) updater.Hint { return updater.Hint{Text: "use --flag"} }
	})
	f.post(t, strings.NewReader("\n")).want(t, http.StatusUnprocessableEntity, "refused")
	f.stop(t)
	if log := f.log.String(); !strings.Contains(log, `error="upload: no promotions in the input; use --flag"`) {
		t.Errorf("the log does not have the hint:\n%s", log)
	}
}

// The log has the first bad row of a data set that is not published. /status has
// none.
func TestFirstBadRowIsLogged(t *testing.T) {
	f := start(t, nil)
	csv := dataSet(t, 1)
	f.post(t, strings.NewReader(csv+"secret,1,2\nother,1,2\n")).want(t, http.StatusUnprocessableEntity, "bad_rows")
	f.post(t, strings.NewReader("\n")).want(t, http.StatusUnprocessableEntity, "refused")
	if st := f.get(t, "/status"); strings.Contains(st.text, "secret") {
		t.Errorf("/status has a row: %s", st)
	}
	f.stop(t)
	if log := f.log.String(); !strings.Contains(log, `first_bad_row="upload:2:`) || !strings.Contains(log, `\"secret,1,2\"`) || strings.Contains(log, "other") {
		t.Errorf("the log does not have the first bad row:\n%s", log)
	}
}
