package page

import (
	"fmt"
	"time"

	"promostore/internal/english"
	"promostore/web"
)

// A View holds everything that the page shows.
type View struct {
	Program     string // promoserve or promobuild updater
	Now         time.Time
	Status      web.Status
	Activity    *Activity // nil: the program has none
	Query       string    // the ID that the client typed
	Lookup      *Lookup   // nil: no ID was typed
	Generations []Generation
	Error       string      // why there are no Generations
	Omitted     int         // generations that are older
	From, To    string      // generations that are selected for a comparison
	Comparison  *Comparison // nil: none was asked for
	Updater     *Updater    // nil: the program is a server
}

// A Lookup holds the records that the generations have for one ID.
type Lookup struct {
	ID      string
	Error   string // why nothing was looked up
	Now     string // JSON object that GET returns; empty: it returns none
	Absent  bool   // from the live generation
	Entries []Entry
}

// An Entry is the record of one generation for an ID.
type Entry struct {
	Generation     string
	States         []string // live, pinned
	Live           bool
	Error          string
	Found          bool
	Price          string
	Change         string // of the price, from the next older generation that has one
	ChangeClass    string // up or down
	ExpirationDate string
	Expired        bool
}

// A Generation is a row of the table of generations.
type Generation struct {
	Generation string
	States     []string // live, pinned, future, incomplete, refused
	Live       bool
	Created    time.Time
	Error      string  // why it is not servable
	Records    *uint64 // nil: unknown
	Bytes      int64
	Build      string // summary of the build in words
	BadRows    *BadRows
}

// BadRows are the first bad rows of a build. Only operators may see them.
type BadRows struct {
	Title  string
	Inputs bool // the rows are from several inputs
	Rows   []BadRow
}

// A BadRow is a row of an input that is not a promotion.
type BadRow struct {
	Input        string
	Line, Column int64
	Reason, Text string
}

// A Comparison is the difference between two generations.
type Comparison struct {
	From, To                      string
	Error                         string
	Added, Removed, Changed, Same uint64
	Changes                       []Change
}

// Caption describes the Changes.
func (c *Comparison) Caption() string {
	n, all := uint64(len(c.Changes)), c.Added+c.Removed+c.Changed
	if n == all {
		return "All differences"
	}
	return fmt.Sprintf("The first %s of %s differences; promobuild diff shows more", number(n), number(all))
}

// A Change is a difference between two generations.
type Change struct {
	Kind, ID           string
	FromPrice, ToPrice string
	FromDate, ToDate   string
}

// An Updater holds the parts that only the updater has.
type Updater struct {
	Token    bool // requests need a token
	Private  bool // the client may see builds and the inbox
	Building *Building
	Inbox    *Inbox
	Builds   []Build
}

// A Building is the running build.
type Building struct {
	Title, Text string
	Percent     float64 // 0: unknown
}

// An Inbox has the numbers of the files of the inbox.
type Inbox struct {
	Waiting, Ignored, Done, Failed, Stuck int
	Names                                 []string
}

// A Build is a finished build.
type Build struct {
	Until               time.Time
	Source, Name        string
	Result, Class, Text string
	BadRows             *BadRows // the first ones of a data set that was not published
}

// A Notice is a fact that needs attention.
type Notice struct{ Kind, Title, Text string }

// Shards returns the number of shards of the live generation.
func (v *View) Shards() uint32 {
	if v.Status.Shards == nil {
		return 0
	}
	return *v.Status.Shards
}

// Refused returns the refused files that the client may see.
func (v *View) Refused() []web.RefusedFile {
	if v.Status.Details == nil {
		return nil
	}
	return v.Status.RefusedFiles
}

// Notices returns the facts of the status that need attention.
func (v *View) Notices() (list []Notice) {
	st := &v.Status
	add := func(kind, title, format string, args ...any) {
		list = append(list, Notice{kind, title, fmt.Sprintf(format, args...)})
	}
	if st.Problem != "" {
		add("bad", "Problem:", "%s", st.Problem)
	}
	if st.Deleted {
		add("bad", "Deleted:", "the directory no longer has a file of the live generation.")
	}
	if len(st.Missing) > 0 {
		add("bad", "Incomplete:", "generation %s lacks %s that this program needs.", *st.Newest, english.Count(len(st.Missing), "shard"))
	}
	if st.Refused > 0 {
		files := "one file is"
		if st.Refused > 1 {
			files = fmt.Sprint(st.Refused, " files are")
		}
		add("bad", "Refused:", "%s not servable.", files)
	}
	for _, f := range st.Future {
		add("warn", "Future:", "generation %s is %s ahead of the clock.", f.Generation, age(f.Ahead))
	}
	if st.Details != nil && st.PinError != "" {
		add("bad", "Pin:", "%s", st.PinError)
	}
	if st.Pinned != nil {
		text := "generation " + *st.Pinned + " is served until it is unpinned."
		if st.UntilNewer != nil {
			text = "generation " + *st.Pinned + " is served until one newer than " + *st.UntilNewer + " arrives."
		}
		if st.Details != nil {
			if st.By != "" {
				text += " By " + st.By
				if st.At != nil {
					text += " at " + st.At.UTC().Format(time.DateTime)
				}
				text += "."
			}
			if st.Reason != "" {
				text += " Reason: " + st.Reason
			}
		}
		add("warn", "Pinned:", "%s", text)
	}
	if st.HeldBack != nil {
		add("warn", "Held back:", "the pin has held back a newer generation since %s.", st.HeldBack.UTC().Format(time.DateTime))
	}
	return list
}
