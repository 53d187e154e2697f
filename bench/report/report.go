// Package report keeps what the contests came to: as a table on a terminal, as
// JSON for programs, and as a page with plots for people.
//
// A directory of results has one JSON file for each chapter, so that a chapter
// can be measured again alone; each says on which machine and of which commit
// it is. The page is made of all that are there.
package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"promostore/bench/contest"
	"promostore/bench/machine"
)

// A Chapter is the results of one area, measured in one run.
type Chapter struct {
	Name    string           `json:"name"`
	Command string           `json:"command"` // that measures it again
	Rows    int64            `json:"rows"`
	Started time.Time        `json:"started"`
	Seconds float64          `json:"seconds"` // that it took
	Machine machine.Machine  `json:"machine"`
	Ended   string           `json:"ended,omitempty"` // why it ended early, if it did
	Results []contest.Result `json:"results"`
}

// Order is that of the chapters on the page; others come behind them.
var Order = []string{"build", "lookup", "http", "limits", "scale"}

// Write puts c in the place of the chapter of that name in the directory dir,
// and makes the page and its plots anew.
func Write(dir string, c *Chapter) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, c.Name+".json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return Refresh(dir)
}

// Refresh makes the page and the plots of dir anew from its chapters.
func Refresh(dir string) error {
	chapters, err := Read(dir)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return writePage(dir, chapters)
}

// Read is the chapters of dir in their order on the page.
func Read(dir string) ([]Chapter, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var chapters []Chapter
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var c Chapter
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		chapters = append(chapters, c)
	}
	place := func(c Chapter) int {
		if i := slices.Index(Order, c.Name); i >= 0 {
			return i
		}
		return len(Order)
	}
	slices.SortStableFunc(chapters, func(a, b Chapter) int {
		return cmp.Or(place(a)-place(b), cmp.Compare(a.Name, b.Name))
	})
	return chapters, nil
}
