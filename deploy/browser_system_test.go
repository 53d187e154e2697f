//go:build system

package deploy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// wanted is an ID that all generations of threeGenerations have.
const wanted = "172FFC14-D229-4C93-B06B-F48B8C095512"

// promotionsCSV returns a CSV of rows from to to of the data set of seed 0, and of
// wanted with a price.
func promotionsCSV(from, to uint64, price string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s,%s,2022-06-04 06:01:20 +0200 CEST\n", wanted, price)
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s,%d.50,2099-08-04 05:32:31 +0200 CEST\n", keys(0).At(i), i%90+1)
	}
	return b.String()
}

// writeFile writes a file in a new directory and returns its path.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildText builds a generation from a CSV and returns its ID.
func buildText(t testing.TB, data, name, csv string, flags ...string) string {
	t.Helper()
	args := append([]string{"build", "--quiet", "--memory", "64MiB", "--data", data}, flags...)
	run(t, program(t, "promobuild"), append(args, writeFile(t, name, csv))...)
	return idOf(t, newest(t, data).Files[0])
}

// threeGenerations builds three generations and returns their IDs, the oldest first.
// From the second to the third, the price of wanted changes, 5 promotions are added
// and 3 removed.
func threeGenerations(t testing.TB) (data string, ids []string) {
	t.Helper()
	data = t.TempDir()
	for i, price := range []string{"12.345678", "8.06", "9.68"} {
		i := uint64(i)
		bad := strings.Repeat("not-an-id,1.00,2099-08-04\n", int(i))
		ids = append(ids, buildText(t, data, fmt.Sprintf("promotions-%d.csv", i+1), promotionsCSV(i*3, 500+i*5, price)+bad, "--max-bad-rows", "5"))
	}
	return data, ids
}

// withToken starts an updater with the token "secret", and with more flags.
func withToken(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	tokens := writeFile(t, "tokens", "secret\n")
	if err := os.Chmod(tokens, 0o600); err != nil {
		t.Fatal(err)
	}
	return startOpenUpdater(t, data, append([]string{"--token-file", tokens}, flags...)...)
}

// pages returns the addresses of the page on all servers of a directory, by the name of
// the server.
func pages(t *testing.T, data string) map[string]string {
	t.Helper()
	s := serve(t, data, "--admin-listen", "127.0.0.1:0")
	u := withToken(t, data)
	open := startOpenUpdater(t, data, "--inbox", t.TempDir())
	waitFor(t, "a generation is live", func() bool {
		a, err := get(s.url + "/readyz")
		return err == nil && a.status == http.StatusOK
	})
	return map[string]string{"promoserve": s.url, "the admin listener": s.admin(t), "the updater": u.url, "the open updater": open.url}
}

// TestPageLookups looks promotions up, in several spellings, with and without
// JavaScript.
func TestPageLookups(t *testing.T) {
	data, ids := threeGenerations(t)
	for name, url := range pages(t, data) {
		for _, script := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, script %t", name, script), func(t *testing.T) {
				b := browse(t)
				if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script}); err != nil {
					t.Fatal(err)
				}
				b.open(url + "/")
				b.waitText("h1", ids[2])
				for _, spelling := range []string{wanted, strings.ToLower(wanted), strings.ReplaceAll(wanted, "-", ""), " " + wanted + " "} {
					b.fill("#id", spelling)
					b.do(chromedp.KeyEvent(kb.Enter))
					b.wait(fmt.Sprintf("new URLSearchParams(location.search).get('id') === %q && document.readyState === 'complete'", spelling))
					b.waitText("#lookup .answer", `"price":9.68`)
					want := [][]string{
						{ids[2], "live", "9.68", "+20.1 %", "2022-06-04 06:01:20 expired"},
						{ids[1], "", "8.06", "−34.7 %", "2022-06-04 06:01:20 expired"},
						{ids[0], "", "12.345678", "", "2022-06-04 06:01:20 expired"},
					}
					if got := b.rows("#lookup table"); !reflect.DeepEqual(got, want) {
						t.Errorf("the history of %q is %q, want %q", spelling, got, want)
					}
				}

				// The link shows the same history in another tab.
				link := eval[string](b, "document.querySelector('#lookup .caption a').href")
				b.open(link)
				b.waitText("#lookup .answer", wanted)

				b.fill("#id", "no-id")
				b.click("#lookup button")
				b.waitText("#lookup .notice.bad", "not a promotion ID")
				added := string(keys(0).At(506).AppendText(nil, false))
				b.fill("#id", added)
				b.click("#lookup button")
				b.waitText("#lookup .answer", "57.50")
				if got := b.rows("#lookup table"); len(got) != 3 || got[1][2] != "not there" || strings.Contains(got[0][4], "expired") {
					t.Errorf("the history of an added promotion is %q", got)
				}
				b.fill("#id", string(keys(0).At(0).AppendText(nil, false)))
				b.click("#lookup button")
				b.waitText("#lookup .notice", "The live generation has no promotion")
			})
		}
	}
}

// TestPageComparison compares two generations, with and without JavaScript.
func TestPageComparison(t *testing.T) {
	data, ids := threeGenerations(t)
	for name, url := range pages(t, data) {
		for _, script := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, script %t", name, script), func(t *testing.T) {
				b := browse(t)
				if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script}); err != nil {
					t.Fatal(err)
				}
				b.open(url + "/")
				b.click(fmt.Sprintf("input[name=from][value=%q]", ids[1]))
				b.click(fmt.Sprintf("input[name=to][value=%q]", ids[2]))
				b.click("#generations button:not([type])")
				b.waitText("#comparison h2", "From "+ids[1]+" to "+ids[2])
				if got, want := strings.Fields(b.text("#comparison dl")), strings.Fields("Added 5 Removed 3 Changed 1 Same 499"); !reflect.DeepEqual(got, want) {
					t.Errorf("the counts are %q, want %q", got, want)
				}
				got := b.rows("#comparison table")
				if len(got) != 9 || !strings.Contains(fmt.Sprint(got), "[changed "+wanted+" 8.06 9.68 2022-06-04 06:01:20 2022-06-04 06:01:20]") {
					t.Errorf("the changes are %q", got)
				}
				b.click("#comparison tbody a")
				b.waitText("#lookup .caption", "What each generation has for")
			})
		}
	}
}

// TestPageIsAccessible looks for barriers with axe-core on the pages of all servers, with
// results, in light and dark and in a narrow window. No page scrolls sideways.
func TestPageIsAccessible(t *testing.T) {
	data, ids := threeGenerations(t)
	run(t, program(t, "promobuild"), "pin", "--data", data, "--reason", "wrong prices", ids[1])
	if err := os.WriteFile(filepath.Join(data, "promotions-20990101T000000000Z.pgen"), []byte("no generation"), 0o644); err != nil {
		t.Fatal(err)
	}
	all := pages(t, data)
	empty := serve(t, t.TempDir())
	b := browse(t) // ends before the servers, whose end is a fault of the page
	for name, url := range all {
		background := map[string]string{}
		for _, scheme := range []string{"light", "dark"} {
			b.prefer(scheme)
			for _, width := range []int64{1200, 320} {
				b.width(width)
				what := fmt.Sprintf("%s, %s, %d pixels", name, scheme, width)
				b.open(url + fmt.Sprintf("/?id=%s&from=%s&to=%s", wanted, ids[1], ids[2]))
				b.waitText("#comparison dl", "Changed")
				eval[int](b, "[...document.querySelectorAll('details')].map(d => d.open = true).length")
				b.axe(what)
				b.fits(what)
				background[scheme] = eval[string](b, "getComputedStyle(document.documentElement).backgroundColor")
				b.open(url + "/?id=x&from=y&to=y")
				b.axe(what + ", with errors")
				b.fits(what + ", with errors")
			}
		}
		if background["light"] == background["dark"] {
			t.Errorf("%s: the background is %s in light and dark", name, background["light"])
		}
	}
	b.open(empty.url + "/")
	b.waitText("h1", "No generation is live")
	b.axe("an empty directory")
}

// focused describes the focused element.
const focused = `(e => e === document.body ? "" : e.tagName + "#" + e.id + " " + (e.name ?? "") + " " + (e.getAttribute("aria-label") ?? e.innerText.trim()))(document.activeElement)`

// TestPageKeyboard reaches everything with the Tab key, and sees where it is.
func TestPageKeyboard(t *testing.T) {
	data, ids := threeGenerations(t)
	run(t, program(t, "promobuild"), "pin", "--data", data, ids[2])
	for name, url := range pages(t, data) {
		t.Run(name, func(t *testing.T) {
			b := browse(t)
			b.open(url + fmt.Sprintf("/?id=%s&from=%s&to=%s", wanted, ids[1], ids[2]))
			b.waitText("#comparison dl", "Changed")
			want := eval[[]string](b, `[...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
				.filter(e => e.checkVisibility() && !e.disabled && (e.type !== "radio" || e.checked))
				.map(e => { e.focus(); return `+focused+` })`)
			eval[int](b, "(document.activeElement.blur(), getSelection().removeAllRanges(), scrollTo(0, 0), 0)")
			b.open(url + fmt.Sprintf("/?id=%s&from=%s&to=%s", wanted, ids[1], ids[2]))
			b.waitText("#comparison dl", "Changed")
			var got []string
			for range len(want) {
				b.do(chromedp.KeyEvent(kb.Tab))
				got = append(got, eval[string](b, focused))
				if style := eval[string](b, "getComputedStyle(document.activeElement).outline"); !strings.Contains(style, "solid 3px") {
					t.Errorf("the focus on %s is invisible: %s", got[len(got)-1], style)
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("Tab reaches\n%q, want\n%q", got, want)
			}
		})
	}
}

// TestPageRefresh refreshes the page, which keeps what the user has chosen and typed,
// and the focus.
func TestPageRefresh(t *testing.T) {
	data, ids := threeGenerations(t)
	for name, url := range pages(t, data) {
		t.Run(name, func(t *testing.T) {
			b := browse(t)
			b.open(url + "/?id=" + wanted)
			b.click(fmt.Sprintf("input[name=from][value=%q]", ids[0]))
			b.click(fmt.Sprintf("input[name=to][value=%q]", ids[1]))
			b.fill("#id", "half of an")
			id := buildText(t, data, "next.csv", promotionsCSV(0, 100, "1"))
			ids := append(ids, id)
			b.wait(fmt.Sprintf("(document.dispatchEvent(new Event('visibilitychange')), document.querySelector('#generations tbody').innerText.includes(%q))", id))
			b.waitText("h1", "Live")
			if from := eval[string](b, "document.querySelector('input[name=from]:checked').value"); from != ids[0] {
				t.Errorf("from is %s, want %s", from, ids[0])
			}
			if to := eval[string](b, "document.querySelector('input[name=to]:checked').value"); to != ids[1] {
				t.Errorf("to is %s, want %s", to, ids[1])
			}
			if typed := eval[string](b, "document.getElementById('id').value"); typed != "half of an" {
				t.Errorf("the ID is %q", typed)
			}
			if at := eval[string](b, "document.activeElement.id"); at != "id" {
				t.Errorf("the focus is on %q", at)
			}
			if !strings.Contains(b.text("#lookup .answer"), wanted) {
				t.Error("the lookup is gone")
			}
		})
	}
}

// pin pins a generation with a request to an updater.
func pin(t *testing.T, url, id, reason string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"generation": id, "reason": reason})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/pin", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a, err := receive(http.DefaultClient.Do(req)); err != nil || a.status != http.StatusOK {
		t.Fatalf("%v %v", a, err)
	}
}

// TestScreenshots renders the page of an updater with three generations, a pin and a
// comparison. With -update, it writes the pictures in docs.
func TestScreenshots(t *testing.T) {
	data := t.TempDir()
	s := startOpenUpdater(t, data, "--inbox", t.TempDir(), "--max-bad-rows", "5", "--keep", "3")
	var ids []string
	for i, price := range []string{"12.345678", "8.06", "9.68"} {
		i := uint64(i)
		csv := promotionsCSV(i*2, 199_900+i*3, price) + strings.Repeat("not-an-id,1.00,2099-08-04\n", int(i))
		resp, err := http.Post(s.url+"/upload", "application/octet-stream", strings.NewReader(csv)) //nolint:noctx // it is local
		if a, err := receive(resp, err); err != nil || a.status != http.StatusCreated {
			t.Fatalf("%v %v", a, err)
		}
		ids = append(ids, idOf(t, newest(t, data).Files[0]))
	}
	pin(t, s.url, ids[1], "the newest prices are wrong")
	b := browse(t)
	for _, scheme := range []string{"light", "dark"} {
		b.prefer(scheme)
		b.width(1200)
		b.open(s.url + fmt.Sprintf("/?id=%s&from=%s&to=%s", wanted, ids[1], ids[2]))
		b.waitText("#comparison dl", "Changed")
		height := eval[float64](b, "document.getElementById('comparison').getBoundingClientRect().bottom + scrollY")
		beyond := true
		shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Clip: &page.Viewport{Width: 1200, Height: height, Scale: 1}, CaptureBeyondViewport: &beyond,
		})
		if err != nil {
			t.Fatal(err)
		}
		small := shrink(t, shot.Data)
		if len(small) > 200<<10 {
			t.Errorf("the picture in %s has %d bytes", scheme, len(small))
		}
		if *update {
			if err := os.WriteFile("../docs/page-"+scheme+".png", small, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// shrink returns a picture with its 256 most frequent colors. The text of a page has
// more, which the eye does not tell apart.
func shrink(t *testing.T, data []byte) []byte {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.Color]int{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[picture.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	small := image.NewPaletted(bounds, colors[:min(256, len(colors))])
	draw.Draw(small, bounds, picture, bounds.Min, draw.Src)
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
