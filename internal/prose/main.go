// Prose checks the language of comments, string literals and documents against
// the rules in rules.go. It prints one line a finding and exits with 1 if there
// are any.
//
//	go run ./internal/prose [PATH]...
//
// Of a Go file it reads comments and string literals, and for rules about terms
// also identifiers. Of every other text file it reads all lines. A phrase may
// span lines.
package main

import (
	"bytes"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	paths := os.Args[1:]
	if len(paths) == 0 {
		paths = []string{"."}
	}
	findings, err := check(os.Stdout, paths)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(2)
	}
	if findings > 0 {
		fmt.Fprintf(os.Stderr, "prose: %d findings\n", findings)
		os.Exit(1)
	}
}

// check writes the findings in the files at and below paths to w and returns
// their number.
func check(w io.Writer, paths []string) (findings int, err error) {
	files := 0
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != root && skippedDir(path):
				return filepath.SkipDir
			case d.IsDir() || !d.Type().IsRegular() || !isText(path):
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for _, f := range find(path, text) {
				findings++
				fmt.Fprintln(w, f)
			}
			return nil
		})
		if err != nil {
			return findings, err
		}
	}
	if files == 0 {
		return 0, fmt.Errorf("no text files in %s", strings.Join(paths, ", "))
	}
	return findings, nil
}

// skippedDir reports whether a directory holds no prose of ours.
func skippedDir(path string) bool {
	name := filepath.Base(path)
	return slices.Contains([]string{".git", "bin", "data", "results", "shared"}, name) ||
		strings.HasSuffix(filepath.ToSlash(path), "internal/prose") // the rules quote the words that they forbid
}

// isText reports whether a file is checked, by its name.
func isText(path string) bool {
	name := filepath.Base(path)
	switch filepath.Ext(name) {
	case ".go", ".md", ".tmpl", ".sh", ".yml", ".yaml", ".conf", ".cfg", ".service", ".timer", ".py":
		return name != "THIRD_PARTY.md"
	case ".txt", ".txtar":
		return strings.Contains(filepath.ToSlash(path), "testdata/script/")
	}
	return slices.Contains([]string{"Makefile", "Dockerfile", "promo-pull", "run"}, name)
}

// A finding is a phrase that a rule forbids.
type finding struct {
	path, phrase, use string
	line              int
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %q: %s", f.path, f.line, f.phrase, f.use)
}

// find returns the findings in one file, by line.
func find(path string, text []byte) (list []finding) {
	var prose, terms []byte
	if filepath.Ext(path) == ".go" {
		prose, terms = goText(text)
	} else {
		prose = blankMarkers(text)
		terms = prose
	}
	for _, r := range rules {
		in := prose
		if r.term {
			in = terms
		}
		for _, m := range r.pattern.FindAllIndex(in, -1) {
			around := in[max(0, m[0]-80):min(len(in), m[1]+80)]
			if r.except != nil && r.except.Match(around) {
				continue
			}
			phrase := strings.Join(strings.Fields(string(in[m[0]:m[1]])), " ")
			line := 1 + bytes.Count(in[:m[0]], []byte("\n"))
			list = append(list, finding{path, phrase, r.use, line})
		}
	}
	slices.SortStableFunc(list, func(a, b finding) int { return a.line - b.line })
	return list
}

// goText returns two copies of a Go file: the first has comments and string
// literals only, the second identifiers too. The rest is NUL, which no rule
// matches, and comment markers are blank, so that a phrase may span the lines
// of a comment. All offsets stay.
func goText(src []byte) (prose, terms []byte) {
	prose = bytes.Repeat([]byte{0}, len(src))
	for i, c := range src {
		if c == ' ' || c == '\t' || c == '\n' {
			prose[i] = c
		}
	}
	terms = bytes.Clone(prose)
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(src))
	s.Init(file, src, nil, scanner.ScanComments)
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return prose, terms
		}
		at := file.Offset(pos)
		switch tok {
		case token.COMMENT:
			copy(prose[at:], src[at:at+len(lit)])
			copy(prose[at:], "  ")
			copy(terms[at:], prose[at:at+len(lit)])
		case token.STRING:
			copy(prose[at:], lit)
			copy(terms[at:], lit)
		case token.IDENT:
			copy(terms[at:], lit)
		}
	}
}

// blankMarkers replaces the comment markers at the start of lines by blanks.
func blankMarkers(text []byte) []byte {
	text = bytes.Clone(text)
	start := true
	for i, c := range text {
		switch {
		case c == '\n':
			start = true
		case start && (c == '#' || c == '>'):
			text[i] = ' '
		case c != ' ' && c != '\t':
			start = false
		}
	}
	return text
}
