package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
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

Made by ` + "`make scorecard`" + ` from the JSON files beside it. Each pair was measured in turn, A B A B, and the median of the ratios counts: the machine's speed varies, a ratio within one run does not. With a bar "≥" the ratio is of rates, ours over theirs; with "≤" of times.
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
	fmt.Fprintf(w, "\n## %s\n\n", strings.ToUpper(c.Name[:1])+c.Name[1:])
	fmt.Fprintf(w, "`%s`, %s rows, %s, %s. %s\n\n", c.Command, humanize.Comma(c.Rows),
		c.Started.UTC().Format(time.DateOnly), time.Duration(c.Seconds*float64(time.Second)).Round(time.Second), machineLine(&c.Machine))
	fmt.Fprint(w, "| what | ours | floor or peer | ratio | bar | holds |\n|---|---|---|---|---|---|\n")
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
	writeMissed(w, c.Results)
	writeNotes(w, c.Results)
	writeSetups(w, c.Results)
	return nil
}

func machineLine(m *machine.Machine) string {
	return fmt.Sprintf("%s, %d cores, %s memory, Linux %s, %s; the disk reads %s/s and writes %s/s in sequence, and does %s random reads of 4 KiB a second; commit %s.",
		m.CPU, m.Cores, humanize.IBytes(uint64(m.MemoryBytes)), m.Kernel, m.Go,
		humanize.IBytes(uint64(m.SeqReadBytesPerSec)), humanize.IBytes(uint64(m.SeqWriteBytesPerSec)), number(float64(m.ReadsPerSec)), m.Commit)
}

// writeMissed says of each bar that does not hold what was tried.
func writeMissed(w *bufio.Writer, results []contest.Result) {
	heading := false
	for i := range results {
		r := &results[i]
		if r.Holds == nil || *r.Holds {
			continue
		}
		if !heading {
			fmt.Fprint(w, "\n### Bars that do not hold\n")
			heading = true
		}
		text := Tried(r)
		if text == "" {
			text = "Not looked into yet."
		}
		fmt.Fprintf(w, "\n**%s** (%s, bar %s). %s\n", r.What, or(ratio(r), ours(r)), bar(r), text)
	}
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
		if r.Note == "" || unmeasured(r) {
			continue
		}
		if !heading {
			fmt.Fprint(w, "\n### What to know about the figures\n\n")
			heading = true
		}
		fmt.Fprintf(w, "- %s: %s\n", r.What, r.Note)
	}
}

func writeSetups(w *bufio.Writer, results []contest.Result) {
	seen := map[string]bool{}
	for i := range results {
		r := &results[i]
		if r.PeerSetup == "" || seen[r.Peer+r.PeerSetup] {
			continue
		}
		if len(seen) == 0 {
			fmt.Fprint(w, "\n### How the others are set up\n\n")
		}
		seen[r.Peer+r.PeerSetup] = true
		fmt.Fprintf(w, "- %s: %s\n", r.Peer, r.PeerSetup)
	}
}
