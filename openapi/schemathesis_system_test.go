//go:build system

package openapi_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Schemathesis sends valid and invalid requests of each kind, and finds no answer
// that contradicts the document.
func TestSchemathesisFindsNothing(t *testing.T) {
	if _, err := exec.LookPath("schemathesis"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, "go", "build", "-o", dir+"/", "../cmd/...")
	promobuild, data, tokens := filepath.Join(dir, "promobuild"), filepath.Join(dir, "data"), filepath.Join(dir, "tokens")
	for _, id := range []string{"20261122T103000123Z", "20261122T110000000Z"} { // the examples of the document
		run(t, promobuild, "build", "--quiet", "--data", data, "--generation", id, "../testdata/promotions.csv")
	}
	if err := os.WriteFile(tokens, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	served := start(t, []string{"serving", "admin", "generation live"}, filepath.Join(dir, "promoserve"), "--data", data, "--admin-listen", "127.0.0.1:0", "--drain", "0s")
	updater := start(t, []string{"serving"}, promobuild, "updater", "--data", data, "--token-file", tokens)
	for tag, address := range map[string]string{"promoserve": served["serving"], "admin": served["admin"], "updater": updater["serving"]} {
		t.Run(tag, func(t *testing.T) {
			config, err := filepath.Abs("schemathesis.toml")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("schemathesis", "--config-file", config, "run", "http://"+address+"/openapi.json", "--url", "http://"+address,
				"--include-tag", tag, "--exclude-path-regex", "^/debug/", "--header", "Authorization: Bearer secret",
				"--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1", "--workers", "1", "--no-color")
			cmd.Dir = t.TempDir() // it writes .hypothesis and reports
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// start starts a program, waits until it has logged all messages, and returns the
// address of each. The program ends with the test.
func start(t *testing.T, messages []string, name string, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(name, append(args, "--listen", "127.0.0.1:0", "--log-format", "json")...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	found := map[string]string{}
	var text strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Msg, Address string }
		text.WriteString(lines.Text() + "\n")
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue
		}
		found[line.Msg] = line.Address
		missing := 0
		for _, m := range messages {
			if _, ok := found[m]; !ok {
				missing++
			}
		}
		if missing == 0 {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return found
		}
	}
	t.Fatalf("%s ended before it logged %q:\n%s", name, messages, text.String())
	return nil
}
