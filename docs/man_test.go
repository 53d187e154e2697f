package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/internal/progtest"
)

// TestManualPagesAreCurrent compares the pages in man with the help of the programs.
// promobuild-updater has a page of its own; the other commands are on the page of
// their program.
func TestManualPagesAreCurrent(t *testing.T) {
	p := progtest.Observe(t)
	pages := map[string]string{}
	for _, command := range p.Commands {
		program, name, _ := strings.Cut(command, " ")
		if name == "" || command == "promobuild updater" {
			page := strings.ReplaceAll(command, " ", "-") + ".1"
			pages[page] = manualPage(p, command)
		} else if program != "promobuild" && program != "promoserve" {
			t.Errorf("%q is on no page", command)
		}
	}
	names, err := filepath.Glob("man/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range names {
		if pages[filepath.Base(path)] == "" {
			t.Errorf("%s belongs to no command", path)
		}
	}
	for name, want := range pages {
		path := filepath.Join("man", name)
		got, _ := os.ReadFile(path) // a missing page differs
		switch {
		case string(got) == want:
		case *update:
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s is stale; run make golden", path)
		}
	}
}

// A roff is a manual page in the making.
type roff struct{ strings.Builder }

// line writes a macro or a line of text, which is escaped already.
func (r *roff) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// plain escapes a text. roff takes a line that begins with a dot for a macro.
func plain(text string) string {
	text = roffEscapes.Replace(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}

// text writes a paragraph in lines of up to 80 bytes.
func (r *roff) text(paragraph string) {
	line := ""
	for word := range strings.FieldsSeq(paragraph) {
		if line != "" && len(plain(line+" "+word)) > 80 {
			r.line("%s", plain(line))
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	r.line("%s", plain(line))
}

// sentence returns a phrase of a help as a sentence.
func sentence(phrase string) string { return strings.ToUpper(phrase[:1]) + phrase[1:] + "." }

// quoted escapes a text that is one argument of a macro.
func quoted(text string) string { return `"` + strings.ReplaceAll(plain(text), `"`, `\(dq`) + `"` }

// manualPage returns the page of a program, or of a command that has its own. "make
// install" replaces @DATE@ and @VERSION@.
func manualPage(p *progtest.Programs, command string) string {
	h := p.Helps[command]
	r := &roff{}
	name := strings.ReplaceAll(command, " ", "-")
	r.line(`.\" Generated from the help of the programs by "make golden". Do not edit this page.`)
	r.line(`.TH %s 1 @DATE@ "promostore @VERSION@" "User Commands"`, plain(strings.ToUpper(name)))
	r.line(".nh") // a hyphen that roff adds would be copied with a flag
	r.line(".SH NAME\n%s \\- %s", plain(name), plain(h.Summary()))
	r.line(".SH SYNOPSIS\n.nf")
	r.usage(h, command)
	r.line(".fi\n.SH DESCRIPTION")
	r.paragraphs(h)
	r.options(h, ".SH OPTIONS")
	r.commands(p, command)
	r.list(h, "Signal", "SIGNALS")
	r.list(h, "Exit code", "EXIT STATUS")
	r.line(".SH ENVIRONMENT")
	r.text("A variable that is named with an option sets it. The command line has priority.")
	r.examples(h, ".SH EXAMPLES\n.nf")
	r.line(".SH SEE ALSO")
	others := slices.DeleteFunc([]string{"promobuild", "promobuild-updater", "promoserve"}, func(s string) bool { return s == name })
	r.line(".BR %s (1),\n.BR %s (1)", plain(others[0]), plain(others[1]))
	return r.String()
}

// usage writes the lines of the usage, with the command in bold.
func (r *roff) usage(h progtest.Help, command string) {
	for _, line := range h.Section("USAGE") {
		r.line(`\fB%s\fR%s`, plain(command), plain(strings.TrimPrefix(line, command)))
	}
}

func (r *roff) paragraphs(h progtest.Help) {
	text, _ := h.Description()
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			r.line(".PP")
		}
		r.text(paragraph)
	}
}

// options writes the flags after a heading, if there are any.
func (r *roff) options(h progtest.Help, heading string) {
	for i, f := range h.Flags() {
		if i == 0 && heading != "" {
			r.line("%s", heading)
		}
		flag, value, hasValue := strings.Cut(f.Name, " ")
		if hasValue {
			r.line(".TP\n.BI %s %s", quoted(flag+" "), quoted(value))
		} else {
			r.line(".TP\n.B %s", plain(flag))
		}
		text := sentence(f.Meaning)
		if f.Default != "" {
			text += " Default: " + f.Default + "."
		}
		if f.Env != "" {
			text += " Variable: " + f.Env + "."
		}
		r.text(text)
	}
}

// commands writes the commands of a program, except those with pages of their own.
func (r *roff) commands(p *progtest.Programs, program string) {
	first := true
	for _, command := range p.Commands {
		if !strings.HasPrefix(command, program+" ") {
			continue
		}
		if first {
			r.line(".SH COMMANDS")
		}
		first = false
		h := p.Helps[command]
		r.line(".SS %s", strings.TrimPrefix(command, program+" "))
		r.text(sentence(h.Summary()))
		if command == "promobuild updater" {
			r.line("See\n.BR promobuild\\-updater (1).")
			continue
		}
		r.line(".PP\n.nf")
		r.usage(h, command)
		r.line(".fi\n.PP")
		r.paragraphs(h)
		r.options(h, "")
		r.examples(h, ".PP\nExamples:\n.PP\n.nf")
	}
}

// list writes a list of the description as a section.
func (r *roff) list(h progtest.Help, list, heading string) {
	for i, e := range h.List(list) {
		if i == 0 {
			r.line(".SH %s", heading)
		}
		r.line(".TP\n.B %s", plain(e[0]))
		r.text(sentence(e[1]))
	}
}

func (r *roff) examples(h progtest.Help, heading string) {
	_, lists := h.Description()
	if len(lists["Example"]) == 0 {
		return
	}
	r.line("%s\n.RS 4", heading)
	for _, line := range lists["Example"] {
		r.line("%s", plain(line))
	}
	r.line(".RE\n.fi")
}
