package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// numRules is the length of the list in rules.go. A rule that is deleted, or
// added without a planted sentence, fails TestPlantedSentences.
const numRules = 28

// plant returns a file of each kind that has the sentence in a comment, or in
// the text. The sentence is cut in two lines at its middle blank.
func plant(sentence string) map[string]string {
	words := strings.Fields(sentence)
	first, second := strings.Join(words[:len(words)/2], " "), strings.Join(words[len(words)/2:], " ")
	return map[string]string{
		"comment.go":  "package p\n\n// " + first + "\n// " + second + "\nvar x = 1\n",
		"string.go":   "package p\n\nvar x = `" + sentence + "`\n",
		"x_test.go":   "package p\n\n/* " + first + "\n" + second + " */\nvar x = 1\n",
		"page.md":     "# Title\n\n" + first + "\n" + second + "\n",
		"script.sh":   "#!/bin/sh\n# " + first + "\n# " + second + "\ntrue\n",
		"file.yaml":   "# " + first + "\n# " + second + "\na: b\n",
		"x.service":   "[Unit]\n# " + first + "\n# " + second + "\n",
		"Makefile":    "# " + first + "\n# " + second + "\n",
		"nginx.conf":  "# " + first + "\n# " + second + "\n",
		"haproxy.cfg": "\t# " + first + "\n\t# " + second + "\n",
	}
}

func TestPlantedSentences(t *testing.T) {
	if len(rules) != numRules {
		t.Errorf("%d rules, want %d", len(rules), numRules)
	}
	planted := 0
	for i, r := range rules {
		for name, text := range plant(r.planted) {
			planted++
			found := false
			for _, f := range find(name, []byte(text)) {
				found = found || f.use == r.use && f.line > 0
			}
			if !found {
				t.Errorf("rule %d, %v, misses its sentence in %s:\n%s", i, r.pattern, name, text)
			}
		}
	}
	if want := numRules * len(plant("a b")); planted != want {
		t.Errorf("%d sentences were planted, want %d", planted, want)
	}
}

func TestAllowedSentences(t *testing.T) {
	for _, s := range []string{
		"Verify reads every block and compares its checksum.",
		"Servers behind a proxy see its address.",
		"Operators who roll back see the pin first.",
		"uid = nobody",
		"The builder reports what changed.",
	} {
		for name, text := range plant(s) {
			if list := find(name, []byte(text)); len(list) > 0 {
				t.Errorf("%s: %v", name, list)
			}
		}
	}
}

func TestCodeIsNotProse(t *testing.T) {
	const src = "package p\n\nfunc who(behind int) (anew int) { return behind }\n"
	if list := find("x.go", []byte(src)); len(list) > 0 {
		t.Errorf("identifiers are checked: %v", list)
	}
	if list := find("x.go", []byte("package p\n\ntype turnstile int\n")); len(list) != 1 || list[0].line != 3 {
		t.Errorf("a term in an identifier: %v", list)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	put("a/b/x.go", "package p\n\n// Both are alike.\n")
	put("c/page.md", "It is written anew,\nand waits for\nwant of room.\n")
	put("bin/page.md", "alike\n")
	put("picture.png", "alike\n")
	var out bytes.Buffer
	findings, err := check(&out, []string{dir})
	want := []string{"x.go:3: \"alike\"", "page.md:1: \"anew\"", "page.md:2: \"for want of\""}
	if err != nil || findings != len(want) || strings.Count(out.String(), "\n") != len(want) {
		t.Fatalf("%d findings, %v:\n%s", findings, err, &out)
	}
	for _, w := range want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%q is missing:\n%s", w, &out)
		}
	}
	if _, err := check(&out, []string{t.TempDir()}); err == nil {
		t.Error("a directory without text passes")
	}
}
