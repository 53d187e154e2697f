package updater_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/updater"
)

// hook waits for the command after build i, counted from the newest, and
// returns its result in /status.
func (f *fixture) hook(t *testing.T, i int) map[string]any {
	t.Helper()
	var hook map[string]any
	await(t, "end of the command", func() bool {
		hook, _ = f.builds(t)[i]["hook"].(map[string]any)
		return hook != nil
	})
	return hook
}

func TestHookRunsAfterPublishing(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	f := start(t, func(o *updater.Options) {
		o.Hook = fmt.Sprintf(`echo "$PROMO_GENERATION $PROMO_RECORDS $PROMO_DATA" >>'%s'; test -s "$PROMO_FILE" && echo all is well`, out)
	})
	want := ""
	for rows := range int64(3) {
		a := f.post(t, strings.NewReader(dataSet(t, rows+1)))
		a.want(t, http.StatusCreated, "")
		want += fmt.Sprintf("%s %d %s\n", a.object["generation"], rows+1, f.data)
	}
	if hook := f.hook(t, 0); hook["error"] != nil {
		t.Errorf("hook result %v", hook)
	}
	text, err := os.ReadFile(out)
	must(t, err)
	if string(text) != want {
		t.Errorf("the commands wrote %q, want %q", text, want)
	}
	f.post(t, strings.NewReader("bad\n")).want(t, http.StatusUnprocessableEntity, "bad_rows")
	if got := f.metric(t, "promobuild_hook_runs_total"); got != "3" {
		t.Errorf("%s runs, want 3", got)
	}
	f.stop(t)
	if !strings.Contains(f.log.String(), `output="all is well"`) {
		t.Error("the log does not contain the output of the command")
	}
}

// A command that fails or hangs is counted and logged. It delays neither the
// answer nor the next build.
func TestHookFailureDelaysNothing(t *testing.T) {
	for _, c := range []struct {
		name, command string
		timeout       time.Duration
		want          string
	}{
		{"exit status", "exit 3", time.Minute, "exit status 3"},
		{"missing program", "/no/such/program", time.Minute, "exit status 127"},
		{"timeout with a child that holds the output", "sleep 1000 & sleep 1000", 200 * time.Millisecond, "still running after 200ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, func(o *updater.Options) {
				o.Hook, o.HookTimeout = c.command, c.timeout
			})
			f.post(t, strings.NewReader(dataSet(t, 1))).want(t, http.StatusCreated, "")
			if got := f.hook(t, 0)["error"]; got != c.want {
				t.Errorf("error %q, want %q", got, c.want)
			}
			f.post(t, strings.NewReader(dataSet(t, 2))).want(t, http.StatusCreated, "")
			f.hook(t, 0)
			if got := f.metric(t, "promobuild_hook_failures_total"); got != "2" {
				t.Errorf("%s failures, want 2", got)
			}
			f.wantGenerations(t, 1, 2)
		})
	}
}

func TestHookOutputIsLoggedInShortLines(t *testing.T) {
	f := start(t, func(o *updater.Options) {
		o.Hook = `head -c 100000 /dev/zero | tr '\0' x; echo; echo; echo end; printf rest`
	})
	f.post(t, strings.NewReader(dataSet(t, 1))).want(t, http.StatusCreated, "")
	f.hook(t, 0)
	f.stop(t)
	log := f.log.String()
	if n := strings.Count(log, "x"); n < 100_000 || !strings.Contains(log, "output=end\n") || !strings.Contains(log, "output=rest\n") {
		t.Errorf("%d bytes of output logged, ending with: %s", n, log[max(0, len(log)-200):])
	}
	for line := range strings.Lines(log) {
		if len(line) > 1200 {
			t.Errorf("log line of %d bytes", len(line))
		}
	}
}

func TestHookOutputIsBounded(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Hook = `yes line | head -n 200000; exit 3` })
	f.post(t, strings.NewReader(dataSet(t, 1))).want(t, http.StatusCreated, "")
	if got := f.hook(t, 0)["error"]; got != "exit status 3" {
		t.Errorf("error %v, want that of the command", got)
	}
	f.stop(t)
	if n := strings.Count(f.log.String(), "output=line"); n != 1000 {
		t.Errorf("%d lines logged, want 1000", n)
	}
	if n := strings.Count(f.log.String(), "the rest of its output is not logged"); n != 1 {
		t.Errorf("the end is logged %d times, want once", n)
	}
}

// A command that starts a daemon and succeeds has not failed, although the daemon
// keeps the output open. The daemon lives on.
func TestHookMayStartDaemon(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	f := start(t, func(o *updater.Options) { o.Hook = "setsid sleep 1000 & echo $! >'" + pid + "'" })
	f.post(t, strings.NewReader(dataSet(t, 1))).want(t, http.StatusCreated, "")
	if got := f.hook(t, 0)["error"]; got != nil {
		t.Errorf("error %v, want none", got)
	}
	text, err := os.ReadFile(pid)
	must(t, err)
	daemon, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon has ended: %v", err)
	}
	if got := f.metric(t, "promobuild_hook_failures_total"); got != "0" {
		t.Errorf("%s failures, want 0", got)
	}
}
