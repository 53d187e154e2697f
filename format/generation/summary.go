package generation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// ErrSummary reports a text that is not the summary of a generation.
var ErrSummary = errors.New("not a summary of a generation")

// A Summary describes a build for people. It is a file beside those of the
// generation, which is served without it too. No operation on generations fails
// because a summary cannot be read, written or removed.
//
// The texts in it are those of inputs, so they may be of any content.
type Summary struct {
	Version    int                `json:"version"` // summaryVersion
	Generation string             `json:"generation"`
	Program    string             `json:"program"` // version of the program that built it
	Source     Source             `json:"source"`
	Inputs     []SummaryInput     `json:"inputs,omitempty"` // the first MaxSummaryList
	NumInputs  int                `json:"num_inputs"`
	Started    time.Time          `json:"started"`
	Seconds    float64            `json:"seconds"` // until the files were complete
	Rows       int64              `json:"rows"`    // Records + Duplicates + BadRows
	Records    int64              `json:"records"`
	Duplicates int64              `json:"duplicates"`
	BadRows    int64              `json:"bad_rows"`
	Bad        []SummaryBadRow    `json:"bad,omitempty"`        // the first MaxSummaryList
	Comparison *SummaryComparison `json:"comparison,omitempty"` // nil: none was made
}

// A Source is the way in which the inputs of a build arrived.
type Source string

// The sources.
const (
	SourceCommand Source = "command" // arguments of a command
	SourceInbox   Source = "inbox"
	SourceUpload  Source = "upload"
)

// A SummaryInput is an input of a build.
type SummaryInput struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes, before decompression; 0: unknown
}

// A SummaryBadRow is a row that is not a promotion.
type SummaryBadRow struct {
	File   string `json:"file"`
	Line   int64  `json:"line"`   // counted from 1
	Column int    `json:"column"` // of the first wrong byte, counted from 1
	Reason string `json:"reason"`
	Row    string `json:"row"` // truncated if long
}

// A SummaryComparison compares the records with those of the generation that was
// live.
type SummaryComparison struct {
	Live        string `json:"live"` // generation
	LiveRecords int64  `json:"live_records"`
	Added       int64  `json:"added"`
	Removed     int64  `json:"removed"`
	Changed     int64  `json:"changed"`
	Unchanged   int64  `json:"unchanged"`
}

// Limits of a Summary. A text that is too long is cut, and a file that is too long
// has fewer bad rows and inputs.
const (
	MaxSummaryList = 20       // inputs, and bad rows
	maxSummaryText = 256      // bytes of a text
	MaxSummaryLen  = 64 << 10 // bytes of the file
)

// Versions of summaries:
//
//	1  the first one
const summaryVersion = 1

const summarySuffix = ".summary.json"

// SummaryName returns the file name of the summary of a generation.
func SummaryName(id ID) string { return prefix + id.String() + summarySuffix }

// ParseSummaryName parses the result of SummaryName and rejects everything else.
func ParseSummaryName(s string) (ID, error) {
	text, prefixed := strings.CutPrefix(s, prefix)
	text, suffixed := strings.CutSuffix(text, summarySuffix)
	if id, err := ParseID(text); err == nil && prefixed && suffixed {
		return id, nil
	}
	return 0, fmt.Errorf("%w: file name %q of a summary", ErrName, s)
}

// Encode returns the text of the summary of generation id, which ParseSummary
// accepts.
func (s Summary) Encode(id ID) []byte {
	s.Version, s.Generation = summaryVersion, id.String()
	s.NumInputs = max(s.NumInputs, len(s.Inputs))
	s.Program = cutText(s.Program)
	var inputs []SummaryInput
	for _, in := range s.Inputs[:min(len(s.Inputs), MaxSummaryList)] {
		inputs = append(inputs, SummaryInput{cutText(in.Name), in.Size})
	}
	var bad []SummaryBadRow
	for _, r := range s.Bad[:min(len(s.Bad), MaxSummaryList)] {
		r.File, r.Reason, r.Row = cutText(r.File), cutText(r.Reason), cutText(r.Row)
		bad = append(bad, r)
	}
	s.Inputs, s.Bad = inputs, bad
	for {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // for people
		if err := e.Encode(s); err != nil {
			panic("BUG: " + err.Error())
		}
		switch {
		case b.Len() <= MaxSummaryLen:
			return b.Bytes()
		case len(s.Bad) > 0:
			s.Bad = s.Bad[:len(s.Bad)-1]
		default:
			s.Inputs = s.Inputs[:len(s.Inputs)-1]
		}
	}
}

// cutText returns s, without the characters after maxSummaryText bytes.
func cutText(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxSummaryText {
		return s
	}
	n := maxSummaryText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// ParseSummary parses the summary of generation id and checks all its fields. It
// ignores unknown fields. The error wraps ErrSummary.
func ParseSummary(text []byte, id ID) (Summary, error) {
	var s Summary
	err := error(nil)
	switch {
	case len(text) > MaxSummaryLen:
		err = fmt.Errorf("%d bytes, above the maximum of %d", len(text), MaxSummaryLen)
	case !utf8.Valid(text): // encoding/json would replace invalid bytes
		err = errors.New("not in UTF-8")
	default:
		if err = json.Unmarshal(text, &s); err == nil {
			err = s.check(id)
		}
	}
	if err != nil {
		return Summary{}, fmt.Errorf("%w: %w", ErrSummary, err)
	}
	return s, nil
}

func (s *Summary) check(id ID) error {
	if s.Version != summaryVersion {
		return fmt.Errorf("version %d, want %d", s.Version, summaryVersion)
	}
	if s.Generation != id.String() {
		return fmt.Errorf("generation %.64q, want %s", s.Generation, id)
	}
	switch s.Source {
	case SourceCommand, SourceInbox, SourceUpload:
	default:
		return fmt.Errorf("unknown source %.64q", string(s.Source))
	}
	if len(s.Inputs) > MaxSummaryList || s.NumInputs < len(s.Inputs) {
		return fmt.Errorf("%d inputs in the list, num_inputs %d", len(s.Inputs), s.NumInputs)
	}
	if s.Records < 0 || s.Duplicates < 0 || s.BadRows < 0 || s.Rows < 0 ||
		s.Records > s.Rows || s.Duplicates > s.Rows-s.Records || s.BadRows != s.Rows-s.Records-s.Duplicates {
		return fmt.Errorf("%d rows, but %d records, %d duplicates and %d bad rows", s.Rows, s.Records, s.Duplicates, s.BadRows)
	}
	if _, err := s.Started.MarshalText(); err != nil { // UnmarshalText accepts an offset of 24 hours
		return fmt.Errorf("started: %w", err)
	}
	if !(s.Seconds >= 0) {
		return fmt.Errorf("seconds %v", s.Seconds)
	}
	if len(s.Bad) > MaxSummaryList || int64(len(s.Bad)) > s.BadRows {
		return fmt.Errorf("%d bad rows in the list, bad_rows %d", len(s.Bad), s.BadRows)
	}
	texts := []string{s.Program}
	for _, in := range s.Inputs {
		if in.Size < 0 {
			return fmt.Errorf("an input of %d bytes", in.Size)
		}
		texts = append(texts, in.Name)
	}
	for _, r := range s.Bad {
		if r.Line < 1 || r.Column < 1 {
			return fmt.Errorf("a bad row at line %d, column %d", r.Line, r.Column)
		}
		texts = append(texts, r.File, r.Reason, r.Row)
	}
	for _, text := range texts {
		if len(text) > maxSummaryText {
			return fmt.Errorf("a text of %d bytes, above the maximum of %d", len(text), maxSummaryText)
		}
	}
	if c := s.Comparison; c != nil {
		if _, err := ParseID(c.Live); err != nil {
			return fmt.Errorf("comparison: %w", err)
		}
		if c.LiveRecords < 0 || c.Added < 0 || c.Removed < 0 || c.Changed < 0 || c.Unchanged < 0 {
			return errors.New("a negative number in the comparison")
		}
	}
	return nil
}

// ReadSummary returns the summary of a generation of dir. The error wraps
// ErrSummary, or is one of the file system.
func ReadSummary(dir string, id ID) (Summary, error) {
	text, err := readSmall(filepath.Join(dir, SummaryName(id)), MaxSummaryLen)
	if err != nil {
		return Summary{}, err
	}
	return ParseSummary(text, id)
}

func tempSummaryName(id ID) string { return tempPrefix + SummaryName(id) + tempSuffix }

func isTempSummary(s string) bool {
	name, ok := strings.CutSuffix(s, tempSuffix)
	if !ok || !strings.HasPrefix(name, tempPrefix) {
		return false
	}
	_, err := ParseSummaryName(name[len(tempPrefix):])
	return err == nil
}

// WriteSummary gives dir the summary of generation id. A rename makes it visible.
// The caller syncs the directory.
func WriteSummary(dir string, id ID, s Summary) error {
	temp := filepath.Join(dir, tempSummaryName(id))
	err := writeFile(temp, s.Encode(id))
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, SummaryName(id)))
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// sweepSummaries removes those of the named summaries whose generation has no file
// left.
func (w *Writer) sweepSummaries(names []string) error {
	files, _, err := readFiles(w.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, err := ParseSummaryName(name)
		if err == nil && !slices.ContainsFunc(files, func(f file) bool { return f.ID == id }) {
			removeSummary(w.dir, id)
		}
	}
	return nil
}

// removeSummary removes the summary of a generation if it can. A directory with its
// name is none.
func removeSummary(dir string, id ID) { _ = syscall.Unlink(filepath.Join(dir, SummaryName(id))) }
