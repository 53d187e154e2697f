package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/bench/contest"
	"promostore/bench/machine"
)

// tried is what was done about bars that do not hold: sections headed
// "## area/name", where a name may end in a star.
//
//go:embed tried.md
var tried string

const pageHead = `# Scorecard

Made by ` + "`make scorecard`" + ` from the JSON files beside it. Each pair was measured in turn, A B A B, and the median of the ratios counts: the machine's speed varies, a ratio within one run does not. With a bar "≥" the ratio is of rates, ours over theirs; with "≤" of times. Beside a ratio that has a bar are the lowest and the highest turn.

A bar holds, or does not, where that is so for every value that the median may have: those between which it lies with 95 % by the sign test, or all turns where there are fewer than six. Else, and after a single turn, it is open. A bar that is for another size is marked "-".
`

// writePage writes README.md and the plots that it shows.
func writePage(dir string, chapters []Chapter) error {
	f, err := os.Create(filepath.Join(dir, "README.md"))
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprint(w, pageHead)
	for i := range chapters {
		if err := writeChapter(w, dir, &chapters[i]); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func writeChapter(w *bufio.Writer, dir string, c *Chapter) error {
	fmt.Fprintf(w, "\n## %s\n\n", capital(c.Name))
	if c.Ended != "" {
		fmt.Fprintf(w, "**This chapter ended early: %s.** What comes behind is not measured.\n\n", strings.TrimSuffix(c.Ended, "."))
	}
	fmt.Fprintf(w, "- command: `%s`\n", c.Command)
	fmt.Fprintf(w, "- size: %s rows\n", humanize.Comma(c.Rows))
	fmt.Fprintf(w, "- date: %s, for %s\n", c.Started.UTC().Format(time.DateOnly), time.Duration(c.Seconds*float64(time.Second)).Round(time.Second))
	writeMachine(w, &c.Machine)
	fmt.Fprint(w, "\n| what | ours | floor or peer | ratio | bar | holds |\n|---|---|---|---|---|---|\n")
	for i := range c.Results {
		row := cells(&c.Results[i])
		for j := range row {
			row[j] = strings.ReplaceAll(row[j], "|", `\|`)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	files, err := plots(dir, c)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintf(w, "\n![%s](%s)\n", f.title, f.name)
	}
	writeBars(w, c.Results, "no", "Bars that do not hold")
	writeBars(w, c.Results, "open", "Bars that are open")
	writeNotes(w, c.Results)
	writeSetups(w, c.Results)
	return nil
}

// capital is text, which begins with a letter of ASCII, with a large one.
func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func writeMachine(w *bufio.Writer, m *machine.Machine) {
	fmt.Fprintf(w, "- machine: %s, %d cores, %s memory; the disk reads %s/s and writes %s/s in sequence, and does %s random reads of 4 KiB a second\n",
		m.CPU, m.Cores, humanize.IBytes(uint64(m.MemoryBytes)),
		humanize.IBytes(uint64(m.SeqReadBytesPerSec)), humanize.IBytes(uint64(m.SeqWriteBytesPerSec)), number(m.ReadsPerSec))
	fmt.Fprintf(w, "- versions: commit %s, %s, Linux %s, %s; those of the others are with their set-up\n", m.Commit, m.Go, m.Kernel, m.OS)
}

// writeBars says of each bar with that verdict what was tried.
func writeBars(w *bufio.Writer, results []contest.Result, verdict, heading string) {
	lines := map[string][]string{}
	var texts []string // keys of lines in their order
	for i := range results {
		r := &results[i]
		if r.Verdict() != verdict {
			continue
		}
		text := Tried(r)
		if text == "" && verdict == "no" {
			text = "Not looked into yet."
		}
		if lines[text] == nil {
			texts = append(texts, text)
		}
		lines[text] = append(lines[text], fmt.Sprintf("**%s** (%s, bar %s%s).", r.What, or(ratio(r), ours(r)), bar(r), spread(r)))
	}
	if len(texts) > 0 {
		fmt.Fprintf(w, "\n### %s\n", heading)
	}
	for _, text := range texts {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(strings.Join(lines[text], " ")+" "+text))
	}
}

// spread is why a bar is open.
func spread(r *contest.Result) string {
	switch {
	case !r.Open:
		return ""
	case len(r.Ratios) == 1:
		return "; there was one turn"
	}
	return fmt.Sprintf("; by %d turns the median is between %s and %s", len(r.Ratios), fixed(r.Low), fixed(r.High))
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Tried is what is written about the bar of r not holding; empty if nothing.
func Tried(r *contest.Result) string {
	for section := range strings.SplitSeq("\n"+tried, "\n## ") {
		name, text, _ := strings.Cut(section, "\n")
		if ok, err := filepath.Match(name, r.Area+"/"+strings.ReplaceAll(r.Name, "/", "-")); ok && err == nil {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

func writeNotes(w *bufio.Writer, results []contest.Result) {
	heading := false
	for i := range results {
		r := &results[i]
		note := r.Note
		if r.Bar != nil && r.Bar.Rows > 0 {
			note = strings.TrimPrefix(note+"; the bar is for "+contest.Count(r.Bar.Rows)+" rows", "; ")
		}
		if note == "" || unmeasured(r) {
			continue
		}
		if !heading {
			fmt.Fprint(w, "\n### What to know about the figures\n\n")
			heading = true
		}
		fmt.Fprintf(w, "- %s: %s\n", r.What, note)
	}
}

// A setup is how a contestant was run, and in which contests.
type setup struct {
	name, text string
	whats      []string
}

// writeSetups lists each setup once, with its contests where the contestant
// has others elsewhere.
func writeSetups(w *bufio.Writer, results []contest.Result) {
	var all []*setup
	numOf := map[string]int{} // setups of a name
	add := func(name, text, what string) {
		if text == "" {
			return
		}
		i := slices.IndexFunc(all, func(s *setup) bool { return s.name == name && s.text == text })
		if i < 0 {
			i = len(all)
			all = append(all, &setup{name: name, text: text})
			numOf[name]++
		}
		all[i].whats = append(all[i].whats, what)
	}
	for i := range results {
		add(usName, results[i].OursSetup, results[i].What)
		add(results[i].Peer, results[i].PeerSetup, results[i].What)
	}
	if len(all) > 0 {
		fmt.Fprint(w, "\n### Set-up\n\n")
	}
	place := func(s *setup) int { // of the first of that name
		return slices.IndexFunc(all, func(first *setup) bool { return first.name == s.name })
	}
	all = slices.SortedStableFunc(slices.Values(all), func(a, b *setup) int { return place(a) - place(b) })
	for _, s := range all {
		fmt.Fprintf(w, "- %s: %s", s.name, s.text)
		if numOf[s.name] > 1 {
			fmt.Fprintf(w, " (%s)", strings.Join(s.whats, "; "))
		}
		fmt.Fprintln(w)
	}
}
