package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"promostore/bench/load"
	"promostore/bench/peer"
)

// historyGenerations is the number of generations of which a history tells. All of
// them are in the page cache.
const historyGenerations = 20

// BenchmarkHistory compares the p99 of GET while clients request histories of
// promotions, or comparisons of two generations, as fast as promoserve answers them,
// with the p99 without these clients. Then it measures promobuild history.
func BenchmarkHistory(b *testing.B) {
	rows := env.rows(2_000_000)
	dir := env.generations(b, rows)
	ours := env.StartOurs(b, dir, "--access", "mmap")
	full := getLoad(rows)
	full.Duration = 2 * time.Second
	peak := full
	peak.Rate = 20_000 // 1.2 M a minute
	beside := func(o load.Options, unit string, clients int, path func(n int64) string) Subject {
		return func(tb testing.TB) Sample {
			requests := startRequests(ours, clients, path)
			r := env.load(tb, ours, o)
			n, err := requests.stop()
			must(tb, err)
			m := latencies(r)
			m["requests/s"], m[unit+"/s"] = r.PerSecond(), float64(n)/r.Seconds
			return Sample{r.P99, m}
		}
	}
	histories := func(n int64) string { return promotion(n*7919%rows) + "/history" }
	comparisons := func(n int64) string {
		return fmt.Sprintf("/generations/%s/diff/%s", historyID(int(n)%(historyGenerations-1)), historyID(historyGenerations-1))
	}
	alone := func(o load.Options) Subject { return beside(o, "histories", 0, histories) }
	for _, c := range []struct {
		name    string
		load    load.Options
		clients int
		unit    string
		path    func(n int64) string
	}{
		{"p99 at 20,000 requests/s, histories", peak, 4, "histories", histories},
		{"p99 at 20,000 requests/s, comparisons", peak, 1, "comparisons", comparisons},
		{"p99 at full load, histories", full, 4, "histories", histories},
		{"p99 at full load, comparisons", full, 1, "comparisons", comparisons},
	} {
		run(b, c.name, rows, func(b *testing.B) {
			Compare(b, Comparison{Unit: "p99-µs", Rounds: 9, Ours: beside(c.load, c.unit, c.clients, c.path), Peer: alone(c.load)})
		})
	}
	run(b, "promobuild history", rows, func(b *testing.B) {
		Measure(b, "ms", func(tb testing.TB) Sample {
			start := time.Now()
			must(tb, peer.Run(env.command("promobuild", "history", "--data", dir, filepath.Base(promotion(rows/2)))))
			return Sample{Value: float64(time.Since(start).Microseconds()) / 1000}
		}, 9, Target{})
	})
}

// historyID returns the ID of a generation.
func historyID(i int) string { return fmt.Sprintf("20260101T0000%02d000Z", i) }

// generations returns a directory with historyGenerations generations. Each has
// rows rows, of which a few differ from the generation before.
func (e *Env) generations(tb testing.TB, rows int64) (dir string) {
	dir = filepath.Join(e.Dir, fmt.Sprintf("history-%d", rows))
	csv := e.CSV(tb, "v4", rows)
	for i := range historyGenerations {
		args := []string{"build", "--quiet", "--data", dir, "--generation", historyID(i), csv}
		if i > 0 {
			args = append(args, e.CSV(tb, "v7", int64(i))) // added rows
		}
		must(tb, peer.Run(e.command("promobuild", args...)))
	}
	return dir
}

// requests are clients that send requests until they are stopped.
type requests struct {
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu  sync.Mutex
	n   int64 // answered
	err error // of requests that failed
}

// startRequests starts clients that request path(0), path(1) and so on. An answer
// that a request is refused because of others is right and does not count.
func startRequests(s *Server, clients int, path func(n int64) string) *requests {
	ctx, cancel := context.WithCancel(context.Background())
	q := &requests{cancel: cancel}
	next := int64(0)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	for range clients {
		q.group.Go(func() {
			for ctx.Err() == nil {
				q.mu.Lock()
				n := next
				next++
				q.mu.Unlock()
				ok, err := getJSON(ctx, transport, "http://"+s.Addr+path(n))
				q.mu.Lock()
				if ok {
					q.n++
				}
				if ctx.Err() == nil {
					q.err = errors.Join(q.err, err)
				}
				q.mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	return q
}

// stop stops the clients, and returns the number of answers.
func (q *requests) stop() (int64, error) {
	q.cancel()
	q.group.Wait()
	return q.n, q.err
}

// getJSON requests url and reports whether the answer is a JSON value with status
// 200. It reports false for 429.
func getJSON(ctx context.Context, transport *http.Transport, url string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	res, err := transport.RoundTrip(request)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return false, err
	case res.StatusCode == http.StatusTooManyRequests:
		return false, nil
	case res.StatusCode != http.StatusOK || !json.Valid(body):
		return false, fmt.Errorf("%s: status %d: %.200s", url, res.StatusCode, body)
	}
	return true, nil
}

// TestHistoryLoad checks the answers to the requests of BenchmarkHistory.
func TestHistoryLoad(t *testing.T) {
	const rows = 2000
	dir := env.generations(t, rows)
	ours := env.StartOurs(t, dir)
	var list struct{ Generations []struct{ Records int64 } }
	_, _, body, err := ours.Get("/generations")
	must(t, err)
	must(t, json.Unmarshal([]byte(body), &list))
	if len(list.Generations) != historyGenerations || list.Generations[0].Records != rows+historyGenerations-1 {
		t.Errorf("generations: %s", body)
	}
	var history struct{ History []struct{ Found bool } }
	_, _, body, err = ours.Get(promotion(7) + "/history")
	must(t, err)
	must(t, json.Unmarshal([]byte(body), &history))
	if len(history.History) != historyGenerations || !history.History[historyGenerations-1].Found {
		t.Errorf("history: %s", body)
	}
	var diff struct {
		Counts struct{ Added, Unchanged int64 }
	}
	_, _, body, err = ours.Get("/generations/" + historyID(3) + "/diff/" + historyID(historyGenerations-1))
	must(t, err)
	must(t, json.Unmarshal([]byte(body), &diff))
	if diff.Counts.Added != historyGenerations-4 || diff.Counts.Unchanged != rows+3 {
		t.Errorf("comparison: %s", body)
	}
	q := startRequests(ours, 2, func(n int64) string { return promotion(n%rows) + "/history" })
	env.load(t, ours, load.Options{Rows: rows, Connections: 4, Duration: 50 * time.Millisecond})
	if n, err := q.stop(); n == 0 || err != nil {
		t.Errorf("%d histories, %v", n, err)
	}
	q = startRequests(ours, 1, func(int64) string { return "/absent" })
	q.group.Wait()
	if _, err := q.stop(); err == nil {
		t.Error("a request for an absent page fails without an error")
	}
}
