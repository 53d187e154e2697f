// Package page renders the page at / of promoserve and of the updater.
//
// The server renders the whole page, which is complete without JavaScript:
// lookups and comparisons are forms that send GET requests. The script of the page
// only refreshes it, sends uploads and changes the pin.
//
// The servers of both programs route requests to Respond and FindAsset, and send the
// answers with Headers, which allow nothing but the assets of the page. All texts are
// escaped.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"path"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/internal/escape"
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
	Omitted     int         // generations that are older
	From, To    string      // generations that are selected for a comparison
	Comparison  *Comparison // nil: none was asked for
	Updater     *Updater    // nil: the program is a server
}

// A Lookup tells what the generations have for one ID.
type Lookup struct {
	ID      string
	Error   string // why nothing was looked up
	Now     string // JSON object that GET returns; empty: it returns none
	Absent  bool   // from the live generation
	Entries []Entry
}

// An Entry is what one generation has for an ID.
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
	Created    string
	Error      string  // why it is not servable
	Records    *uint64 // nil: unknown
	Bytes      int64
	Build      string // summary of the build in words
	BadRows    *BadRows
}

// BadRows are the first bad rows of a build. Only operators may see them.
type BadRows struct {
	Title string
	Rows  []BadRow
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
	Until, Source, Name string
	Result, Class, Text string
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

// Notices returns the facts of the status that need attention, the worst first.
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
		add("bad", "Incomplete:", "generation %s lacks %d shards that this program needs.", *st.Newest, len(st.Missing))
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
		add("warn", "Held back:", "the pin keeps a newer generation back since %s.", st.HeldBack.UTC().Format(time.DateTime))
	}
	return list
}

//go:embed index.html page.css page.js icon.svg
var files embed.FS

// assets has the answers to requests for the files that the page loads, by their
// paths, such as "/assets/0a1b2c3d/page.css". A path contains a checksum, so that the
// file never changes.
var assets, assetPaths = loadAssets("page.css", "page.js", "icon.svg")

// contentTypes has the types of the assets. The tables of a system may have others,
// which browsers refuse because of the header nosniff.
var contentTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// loadAssets returns the assets by their paths, and their paths below the root by name.
func loadAssets(names ...string) (byPath map[string]Answer, paths map[string]string) {
	byPath, paths = map[string]Answer{}, map[string]string{}
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		sum := sha256.Sum256(body)
		paths[name] = "assets/" + hex.EncodeToString(sum[:6]) + "/" + name
		byPath["/"+paths[name]] = Answer{Code: http.StatusOK, ContentType: contentTypes[path.Ext(name)], CacheControl: "public, max-age=31536000, immutable", Body: body, Shared: true}
	}
	return byPath, paths
}

// FindAsset returns the answer to a request for an asset.
func FindAsset(requestPath string) (a Answer, ok bool) {
	a, ok = assets[requestPath]
	return a, ok
}

// Headers are the headers of the page and of its assets, as names and values. No
// other site can show the page in a frame, read it, or load its assets.
var Headers = [][2]string{
	{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
}

var index = template.Must(template.New("index.html").Funcs(template.FuncMap{
	"asset":  func(name string) string { return assetPaths[name] },
	"number": number,
	"bytes":  size,
	"age":    age,
}).ParseFS(files, "index.html"))

// Render writes the page as HTML. Its texts have no characters that change the order
// of others, or that are invisible.
func Render(w io.Writer, v *View) error {
	var b bytes.Buffer // nothing is written if the template fails
	if err := index.Execute(&b, v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escape.Text(b.String()))
	return err
}

// number formats an integer, or a pointer to one, with thousands separators.
func number(v any) string {
	switch v := v.(type) {
	case uint64:
		return humanize.Comma(int64(v))
	case *uint64:
		if v != nil {
			return humanize.Comma(int64(*v))
		}
	}
	return "unknown"
}

// size formats a number of bytes, or a pointer to one.
func size(v any) string {
	switch v := v.(type) {
	case int64:
		return humanize.IBytes(uint64(max(0, v)))
	case *int64:
		if v != nil {
			return humanize.IBytes(uint64(max(0, *v)))
		}
	}
	return "unknown"
}

// age formats a number of seconds, or a pointer to one, with one or two units.
func age(v any) string {
	var s float64
	switch v := v.(type) {
	case float64:
		s = v
	case *float64:
		if v == nil {
			return "unknown"
		}
		s = *v
	}
	switch d := time.Duration(s) * time.Second; {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}
