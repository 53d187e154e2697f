package serving_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/serving"
	"promostore/bench/serving/answer"
	"promostore/internal/synth"
)

const testRows = 5000

// TestAnswers checks that every server answers what ours does.
func TestAnswers(t *testing.T) {
	ours, rivals := serving.StartAll(t, newEnv(t, testRows))
	keys := synth.Keys{Kind: synth.KeysV4}
	for i := uint64(0); i < 2*testRows; i += 97 {
		id := keys.At(i).String()
		status, body := ours.Get(id)
		want := http.StatusOK
		if i >= testRows {
			want = http.StatusNotFound
		}
		if status != want || status == http.StatusOK && (!json.Valid([]byte(body)) || !strings.Contains(body, id)) {
			t.Fatalf("id %d: %d %s, want %d", i, status, body, want)
		}
		for name, s := range rivals {
			if s.Constant() {
				continue
			}
			gotStatus, got := s.Get(id)
			if gotStatus != status || status == http.StatusOK && got != body {
				t.Fatalf("%s: id %d: %d %s, want %d %s", name, i, gotStatus, got, status, body)
			}
		}
	}
}

// TestConstant checks that the constant answers are as long as ours, head and
// all.
func TestConstant(t *testing.T) {
	ours, rivals := serving.StartAll(t, newEnv(t, 1))
	want, found := ours.AnswerLen(), 0
	for name, s := range rivals {
		if !s.Constant() {
			continue
		}
		found++
		if got := s.AnswerLen(); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
	if found != 2 {
		t.Errorf("%d constant servers", found)
	}
}

// TestContests lets each contest have one turn.
func TestContests(t *testing.T) {
	list, cleanup, err := serving.Contests(t.Context(), newEnv(t, testRows))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cleanup(); err != nil {
			t.Error(err)
		}
	})
	var names []string
	for i := range list {
		list[i].Rounds = 1
		r, err := list[i].Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.OursMore["cpu-s/M"] <= 0 || r.PeerMore["cpu-s/M"] <= 0 || r.Ratio <= 0 {
			t.Errorf("%+v", r)
		}
		names = append(names, r.Name)
	}
	want := []string{"get/constant", "get/nginx", "get/bbolt", "get/pebble", "get/redis", "get/mariadb"}
	if !slices.Equal(names, want) {
		t.Errorf("contests %q, want %q", names, want)
	}
}

// TestSwaps checks that generations do change, and no request fails of it.
func TestSwaps(t *testing.T) {
	swapped, wanted, r := serving.SwapTurn(t, newEnv(t, testRows))
	if swapped != wanted || r.Failed > 0 || r.Requests == 0 {
		t.Errorf("%d swaps of %d: %+v", swapped, wanted, r)
	}
}

// TestCheck is that a server that says the wrong thing is not measured.
func TestCheck(t *testing.T) {
	env := newEnv(t, testRows)
	ours := serving.StartOurs(t, env)
	body := func(id string) string {
		_, b := ours.Get(id)
		return b
	}
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, id string)
		want   string
	}{
		"as ours": {func(w http.ResponseWriter, id string) {
			if status, b := ours.Get(id); status != http.StatusOK {
				http.Error(w, "", status)
			} else {
				fmt.Fprint(w, b)
			}
		}, "which is not there: 404"}, // but with another body
		"nothing is there":    {func(w http.ResponseWriter, id string) { http.Error(w, "", http.StatusNotFound) }, "404"},
		"everything is there": {func(w http.ResponseWriter, id string) { fmt.Fprint(w, body(synth.Keys{}.At(0).String())) }, "which is not there: 200"},
		"all are alike": {func(w http.ResponseWriter, id string) {
			if status, _ := ours.Get(id); status != http.StatusOK {
				w.WriteHeader(status)
				fmt.Fprint(w, answer.NotFound)
				return
			}
			fmt.Fprint(w, body(synth.Keys{}.At(0).String()))
		}, "promoserve has 200"},
		"nothing works": {func(w http.ResponseWriter, id string) { http.Error(w, "", http.StatusInternalServerError) }, "500"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.answer(w, strings.TrimPrefix(r.URL.Path, "/promotions/"))
		}))
		err := ours.Check(s.Listener.Addr().String(), testRows)
		s.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestFigures takes what is measured of ours alone, and of two processors.
func TestFigures(t *testing.T) {
	got := map[string]contest.Result{}
	serving.Figures(t, newEnv(t, testRows), func(r contest.Result) { got[r.Name] = r })
	if r := got["allocs"]; r.Holds == nil || !*r.Holds || r.Rows != testRows {
		t.Errorf("%+v", r)
	}
	// Where there is one processor, that is said.
	if r := got["processors"]; r.Ratio < 0.5 && runtime.NumCPU() > 1 || r.Peer != "one processor" {
		t.Errorf("%+v", r)
	}
}

// TestRedisThreads is what redis.conf recommends.
func TestRedisThreads(t *testing.T) {
	for processors, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 3, 8: 6, 64: 6} {
		if got := serving.RedisThreads(processors); got != want {
			t.Errorf("%d processors: %d threads, want %d", processors, got, want)
		}
	}
}
