package progtest

import (
	"regexp"
	"strings"
)

// A Help is the output of --help of a command.
type Help string

// Section returns the lines below a heading such as USAGE.
func (h Help) Section(heading string) (lines []string) {
	_, text, _ := strings.Cut("\n"+string(h), "\n"+heading+":\n")
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, " ") {
			break
		}
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), "   "))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Summary returns the sentence after the name.
func (h Help) Summary() string {
	_, text, _ := strings.Cut(strings.Join(h.Section("NAME"), " "), " - ")
	return text
}

// Description returns the text of the description and the lists in it by their
// headings, in the singular: "Example", "Signal". The lines of a list keep their
// columns.
func (h Help) Description() (text string, lists map[string][]string) {
	lists = map[string][]string{}
	var paragraphs [][]string
	list := ""
	for _, line := range h.Section("DESCRIPTION") {
		switch name, isHeading := strings.CutSuffix(line, ":"); {
		case isHeading && !strings.HasPrefix(line, " ") && !strings.Contains(name, "."):
			list = strings.TrimSuffix(name, "s")
		case list != "" && (line == "" || strings.HasPrefix(line, " ")):
			lists[list] = append(lists[list], strings.TrimPrefix(line, "   "))
		case line == "":
			paragraphs = append(paragraphs, nil)
		default:
			list = ""
			if len(paragraphs) == 0 {
				paragraphs = append(paragraphs, nil)
			}
			last := len(paragraphs) - 1
			paragraphs[last] = append(paragraphs[last], line)
		}
	}
	for _, p := range paragraphs {
		if len(p) > 0 {
			text += strings.Join(p, " ") + "\n\n"
		}
	}
	for name, lines := range lists {
		lists[name] = strings.Split(strings.TrimSpace(strings.Join(lines, "\n")), "\n")
	}
	return strings.TrimSpace(text), lists
}

// List returns the entries of a list of two columns in the description, by its
// heading in the singular, such as "Signal". A line that begins with a blank
// continues the entry before it.
func (h Help) List(heading string) (entries [][2]string) {
	_, lists := h.Description()
	for _, line := range lists[heading] {
		if first, meaning, ok := Columns(line); ok && !strings.HasPrefix(line, " ") {
			entries = append(entries, [2]string{first, meaning})
		} else if len(entries) > 0 {
			entries[len(entries)-1][1] += " " + strings.TrimSpace(line)
		}
	}
	return entries
}

var (
	gap         = regexp.MustCompile(`^ *(\S.*?) {2,}(\S.*)$`)
	defaultPart = regexp.MustCompile(` \(default: (.*?)\)( \[\$.*\])?$`)
	envPart     = regexp.MustCompile(` \[\$(\w+)\]$`)
)

// Columns splits a line of two columns.
func Columns(line string) (name, meaning string, ok bool) {
	m := gap.FindStringSubmatch(line)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// A Flag is a flag of a command.
type Flag struct {
	Name    string // with the metavariable
	Meaning string
	Default string // empty for false
	Env     string // the variable that sets it, or empty
}

// Flags returns the flags, except --help and --version.
func (h Help) Flags() (list []Flag) {
	for _, line := range append(h.Section("OPTIONS"), h.Section("GLOBAL OPTIONS")...) {
		name, meaning, ok := Columns(line)
		if !ok || strings.HasPrefix(name, "--help") || strings.HasPrefix(name, "--version") {
			continue
		}
		f := Flag{Name: name}
		if m := defaultPart.FindStringSubmatch(meaning); m != nil {
			f.Default = strings.Trim(m[1], `"`)
			meaning = strings.Replace(meaning, " (default: "+m[1]+")", "", 1)
		}
		if m := envPart.FindStringSubmatch(meaning); m != nil {
			f.Env = m[1]
			meaning = strings.TrimSuffix(meaning, m[0])
		}
		if f.Default == "false" {
			f.Default = ""
		}
		f.Meaning = meaning
		list = append(list, f)
	}
	return list
}

// HasFlag reports whether the command has a flag such as --data.
func (h Help) HasFlag(flag string) bool {
	return regexp.MustCompile(`(?m)^   ` + flag + `[ ,]`).MatchString(string(h))
}
