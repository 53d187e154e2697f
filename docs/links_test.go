package docs_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the directory of the repository.
const root = ".."

// pages returns the Markdown files of the repository.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "testdata/*.md", "bench/*.md", "bench/*/*.md"} {
		list, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, list...)
	}
	for _, page := range []string{"README.md", "docs/design.md", "docs/operations.md", "docs/many-machines.md", "docs/runbook.md", "docs/reference.md", "docs/benchmarks.md"} {
		if !slices.Contains(paths, filepath.Join(root, page)) {
			t.Errorf("%s is missing", page)
		}
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notAnchor = regexp.MustCompile(`[^\pL\pN _-]`)
	fenced    = regexp.MustCompile("(?ms)^```.*?^```")
	code      = regexp.MustCompile("`([^`\n]+)`")
	goFile    = regexp.MustCompile(`^[a-z_]+\.go$`)
	path      = regexp.MustCompile(`^(format|builder|reader|httpd|updater|web|internal|cmd|bench|deploy|docs|testdata)/[\w./*-]*$`)
)

// anchors returns the anchors that the headings of a page get.
func anchors(text string) (list []string) {
	for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		title := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		list = append(list, strings.ReplaceAll(notAnchor.ReplaceAllString(title, ""), " ", "-"))
	}
	return list
}

// TestLinks checks that the target and the anchor of every relative link exist.
func TestLinks(t *testing.T) {
	checked := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			checked++
			target := page
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(page), u.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if u.Fragment != "" && !slices.Contains(anchors(read(t, target)), u.Fragment) {
				t.Errorf("%s links to %s: the page has no such heading", page, m[1])
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were checked", checked)
	}
}

// TestPaths checks that the files and directories that the pages name exist.
func TestPaths(t *testing.T) {
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		names[filepath.Base(path)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, page := range pages(t) {
		if filepath.Base(page) == "CHANGELOG.md" {
			continue // names files of earlier versions
		}
		for _, m := range code.FindAllStringSubmatch(read(t, page), -1) {
			switch name := m[1]; {
			case goFile.MatchString(name):
				checked++
				if !names[name] {
					t.Errorf("%s: there is no file %s", page, name)
				}
			case path.MatchString(name):
				checked++
				if list, err := filepath.Glob(filepath.Join(root, name)); err != nil || len(list) == 0 {
					t.Errorf("%s: there is no file %s", page, name)
				}
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d paths were checked", checked)
	}
}
