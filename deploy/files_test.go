package deploy

import (
	"os"
	"regexp"
	"testing"
)

// runbook is the page with a section for each alert.
const runbook = "../docs/operations.md"

var flagName = regexp.MustCompile(`--[a-z-]+`)

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
