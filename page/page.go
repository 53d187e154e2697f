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
	"embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/internal/escape"
)

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

//go:embed index.html page.css page.js icon.svg
var files embed.FS

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
