package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"promostore/internal/progtest"
)

var (
	// A call is at the start of a line, after a pipe or another shell operator, or
	// a path. A name elsewhere is that of a unit or a process.
	call     = regexp.MustCompile(`(?:^\s*|[|&;]\s*|/)(promobuild|promoserve)((?:\s[^|&;#]*)?)$|(?:^\s*|[|&;]\s*|/)(promobuild|promoserve)(\s[^|&;#]*)[|&;#]`)
	flagName = regexp.MustCompile(`--[a-z-]+`)
	word     = regexp.MustCompile(`^[a-z]+$`)
)

// needData matches the commands that a page must call with --data, except in a
// container: their default directory, ./data, is wrong on most nodes.
var needData = regexp.MustCompile(`^promobuild (pin|unpin|rollback|prune|diff) [^\[]`)

// TestCommandsInPagesExist checks that the pages call commands that exist, with
// flags that exist.
func TestCommandsInPagesExist(t *testing.T) {
	p := progtest.Observe(t)
	total := 0
	for _, page := range pages(t) {
		if filepath.Base(page) == "CHANGELOG.md" || strings.HasPrefix(page, filepath.Join(root, "bench")) {
			continue
		}
		for _, snippet := range snippets(read(t, page)) {
			if strings.Contains(snippet, "promobuild_job.py") {
				continue // an argument of the job is the path of promobuild
			}
			for _, m := range call.FindAllStringSubmatch(snippet, -1) {
				total++
				checkCall(t, p, page, snippet, m[1]+m[3], m[2]+m[4])
			}
		}
	}
	if total < 40 {
		t.Errorf("%d commands in all pages, want at least 40", total)
	}
}

// snippets returns the inline code, the indented lines and the fenced lines of a page.
func snippets(text string) (list []string) {
	fence := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			fence = !fence
		case fence, strings.HasPrefix(line, "    "):
			list = append(list, strings.TrimPrefix(strings.TrimSpace(line), "$ "))
		default:
			for _, m := range code.FindAllStringSubmatch(line, -1) {
				list = append(list, m[1])
			}
		}
	}
	return list
}

// checkCall checks a call of a program. rest is the call without the name.
func checkCall(t *testing.T, p *progtest.Programs, page, snippet, program, rest string) {
	t.Helper()
	rest, _, _ = strings.Cut(rest, "  ") // an explanation may follow
	rest = strings.TrimSpace(rest)
	name := program
	if words := strings.Fields(rest); len(words) > 0 && word.MatchString(words[0]) {
		name += " " + words[0]
	}
	h, ok := p.Helps[name]
	if !ok && name != program+" help" {
		t.Errorf("%s: %q: there is no command %q", page, snippet, name)
		return
	}
	data := false
	for _, f := range flagName.FindAllString(rest, -1) {
		if f != "--help" && f != "--version" && !h.HasFlag(f) {
			t.Errorf("%s: %q: %s has no flag %s", page, snippet, name, f)
		}
		data = data || f == "--data"
	}
	if needData.MatchString(program+" "+rest) && !data && !strings.Contains(snippet, "/"+program) {
		t.Errorf("%s: %q: --data is missing", page, snippet)
	}
}
