//go:build system

package deploy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"promostore/format/generation"
	"promostore/internal/synth"
)

// generations returns the number of generations in a directory.
func generations(t testing.TB, data string) int {
	t.Helper()
	list, err := generation.List(data)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// evil is a text that runs a script if a page does not escape it.
const evil = `<img src=x onerror="document.title='evil'"><script>document.title='evil'</script>`

// unharmed checks that evil has not become markup.
func (b *tab) unharmed() {
	b.Helper()
	if n := eval[int](b, "document.querySelectorAll('main img, main script').length"); n > 0 || eval[string](b, "document.title") == "evil" {
		b.Errorf("the page has %d elements of hostile texts", n)
	}
}

// TestPageUpload uploads files with a wrong token, with the right one and without rows
// that are promotions, and drops one. The rows are synthetic.
func TestPageUpload(t *testing.T) {
	data := t.TempDir()
	u := withToken(t, data, "--max-bad-rows", "1", "--workers", "1") // slow enough to see the build
	b := browse(t)
	b.open(u.url + "/")
	b.waitText("#builds", "shown to clients with the token")
	path := filepath.Join(t.TempDir(), "<img src=x onerror=document.title='evil'>.csv")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := (synth.DataSet{Keys: keys(1), Rows: 600_000}).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	small := writeFile(t, "small.csv", promotionsCSV(0, 10, "1"))

	b.allow("status of 401", "status of 422")
	b.fill("#token", "wrong")
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{small}))
	b.click("#send")
	b.waitText("#result .notice.bad", "wrong token")
	if n := generations(t, data); n != 0 {
		t.Fatalf("a wrong token published %d generations", n)
	}

	// The transfer is slow enough to see its progress.
	slow := []*network.Conditions{{UploadThroughput: 20e6, DownloadThroughput: -1}}
	if _, err := chromedp.Call(b.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: slow}); err != nil {
		t.Fatal(err)
	}
	eval[bool](b, `(window.seen = [], new MutationObserver(() => seen.push(document.querySelector("#progress progress")?.value + " " + document.getElementById("progress").innerText)).observe(document.getElementById("progress"), {childList: true, subtree: true, characterData: true}), true)`)
	b.fill("#token", "secret")
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{path}))
	b.click("#send")
	b.waitText("#result .notice.good", "600,000 records of 600,000 rows")
	b.waitText("h1", idOf(t, newest(t, data).Files[0]))
	b.waitText("#builds tbody", "published")
	b.waitText("#generations tbody", idOf(t, newest(t, data).Files[0])) // there was no table
	sending, building := map[string]bool{}, false
	for _, text := range eval[[]string](b, "seen") {
		if strings.Contains(text, "Sending "+filepath.Base(path)) && strings.Contains(text, " MB") {
			sending[text] = true
		}
		building = building || strings.Contains(text, "Building") && strings.Contains(text, " rows")
	}
	if len(sending) < 2 || !building {
		t.Errorf("the progress of the build was seen: %t; that of the transfer was %v", building, sending)
	}
	b.unharmed()

	b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{writeFile(t, "bad.csv", promotionsCSV(0, 3, "1")+evil+",1,2099-01-01\nno-id,2,2099-01-01\n")}))
	b.click("#send")
	b.waitText("#result .notice.bad", "2 bad rows")
	got := b.rows("#result table")
	if len(got) != 2 || got[0][0] != "5" || got[1][0] != "6" || !strings.Contains(got[0][3], evil) || !strings.HasPrefix(got[1][3], "no-id") {
		t.Errorf("the bad rows are %q", got)
	}
	b.unharmed()
	b.axe("bad rows")
	b.width(320)
	b.fits("bad rows")
	b.axe("bad rows, 320 pixels")
	b.width(1200)

	before := generations(t, data)
	b.do(chromedp.ScrollIntoView(chromedp.CSS("#drop")))
	at := eval[[]float64](b, "(r => [r.x + r.width / 2, r.y + r.height / 2])(document.getElementById('drop').getBoundingClientRect())")
	for _, kind := range []input.DispatchDragEventType{input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop} {
		event := input.DispatchDragEventParams{Type: kind, X: at[0], Y: at[1], Data: &input.DragData{Items: []*input.DragDataItem{}, Files: []string{small}, DragOperationsMask: 1}}
		if _, err := chromedp.Call(b.ctx, input.DispatchDragEvent, event); err != nil {
			t.Fatal(err)
		}
	}
	b.waitText("#result .notice.good", "11 records of 11 rows")
	if n := generations(t, data); n != before+1 {
		t.Errorf("%d generations after the drop, want %d", n, before+1)
	}
}

// TestPagePin pins, unpins and rolls back with the keyboard. A dialog says what happens,
// holds the focus, and Escape cancels it.
func TestPagePin(t *testing.T) {
	data, ids := threeGenerations(t)
	u := withToken(t, data)
	b := browse(t)
	b.open(u.url + "/")
	b.fill("#token", "secret")
	eval[int](b, "(document.dispatchEvent(new Event('visibilitychange')), document.getElementById('show').click(), 0)") // during a refresh
	b.waitText("#builds", "No build since")
	pinned := func() string {
		p, err := generation.ReadPin(data)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Active {
			return ""
		}
		return p.ID.String()
	}
	dialog := func(selector, title, text string) {
		t.Helper()
		b.do(chromedp.Focus(chromedp.CSS(selector)), chromedp.KeyEvent(kb.Enter))
		b.waitText("#confirm[open] h2", title)
		if got := b.text("#confirm-text"); !strings.Contains(got, text) {
			t.Errorf("the dialog says %q, not %q", got, text)
		}
	}
	closed := func() { t.Helper(); b.wait("!document.getElementById('confirm').open") }
	pin := fmt.Sprintf("[data-action=pin][data-generation=%q]", ids[0])

	dialog(pin, "Pin this generation?", "All servers serve "+ids[0])
	b.axe("the dialog")
	for range 6 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if !eval[bool](b, "document.activeElement === document.body || document.getElementById('confirm').contains(document.activeElement)") {
			t.Errorf("the focus left the dialog for %s", eval[string](b, focused))
		}
	}
	b.do(chromedp.KeyEvent(kb.Escape))
	closed()
	dialog(pin, "Pin this generation?", ids[0])
	b.click("#confirm-yes") // the reason is missing
	if !eval[bool](b, "document.getElementById('confirm').open") || pinned() != "" {
		t.Errorf("a canceled dialog, or one without a reason, pinned %q", pinned())
	}
	b.do(chromedp.SendKeys(chromedp.CSS("#reason"), evil+kb.Enter))
	closed()
	b.waitText("#result .notice.good", ids[0])
	if pinned() != ids[0] {
		t.Errorf("%q is pinned, want %s", pinned(), ids[0])
	}
	b.waitText(".hero", "Reason: "+evil)
	b.waitText("#generations tr.current", ids[0])
	b.unharmed()
	b.wait("document.querySelector('#result .notice.good').getBoundingClientRect().bottom <= innerHeight")
	if at := eval[string](b, "document.activeElement.dataset.generation ?? ''"); at != ids[0] {
		t.Errorf("the focus is on %s, not on the button", eval[string](b, focused))
	}

	b.wait("!document.querySelector('[data-action=unpin]').disabled")
	dialog("[data-action=unpin]", "Unpin?", "the newest servable generation")
	b.do(chromedp.Focus(chromedp.CSS("#confirm-yes")), chromedp.KeyEvent(kb.Enter))
	closed()
	b.wait("document.querySelector('[data-action=unpin]').disabled")
	if pinned() != "" {
		t.Errorf("%q is pinned", pinned())
	}
	b.wait("document.activeElement.matches('#generations button:enabled')") // not on the disabled one

	dialog("[data-action=rollback]", "Roll back?", "The generation before the live one is pinned")
	b.do(chromedp.SendKeys(chromedp.CSS("#reason"), "wrong prices"+kb.Enter))
	closed()
	b.waitText("h1", ids[1])
	if pinned() != ids[1] {
		t.Errorf("%q is pinned, want %s", pinned(), ids[1])
	}

	b.allow("status of 401")
	b.fill("#token", "wrong")
	dialog("[data-action=unpin]", "Unpin?", "")
	b.do(chromedp.Focus(chromedp.CSS("#confirm-yes")), chromedp.KeyEvent(kb.Enter))
	b.waitText("#result .notice.bad", "wrong token")
	if pinned() != ids[1] {
		t.Error("a wrong token unpinned")
	}
}

// TestPageOfAnotherSite opens pages of another site that show the page in a frame, post to
// the updater, and reach it under another host name.
func TestPageOfAnotherSite(t *testing.T) {
	data, _ := threeGenerations(t)
	all := pages(t, data)
	open := all["the open updater"]
	body := ""
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, `<!DOCTYPE html><link rel="icon" href="data:,">`+body)
	}))
	defer site.Close()
	address := strings.Replace(site.URL, "127.0.0.1", "localhost", 1)
	before := generations(t, data)

	for name, url := range all {
		b := browse(t)
		b.allow("frame-ancestors", "X-Frame-Options", "BLOCKED_BY_RESPONSE")
		body = fmt.Sprintf(`<iframe src="%s/"></iframe>`, url)
		b.open(address)
		waitFor(t, name+" refuses to be in a frame", func() bool { return b.hasFault("frame-ancestors") || b.hasFault("BLOCKED_BY_RESPONSE") })
	}

	b := browse(t, chromedp.Flag("host-resolver-rules", "MAP rebound.example 127.0.0.1"))
	b.allow("status of 403", "CORS", "ERR_FAILED", "ERR_ABORTED", "favicon.ico")
	body = fmt.Sprintf(`<form method="post" enctype="multipart/form-data" action="%s/upload"><textarea name="data">%s</textarea><button>Win</button></form>`, open, promotionsCSV(0, 5, "0.01"))
	b.open(address)
	b.click("button")
	b.waitText("body", "cross-origin request")
	b.open(address)
	for _, request := range []string{`"upload", {method: "POST", mode: "no-cors", body: "x"}`, `"pin", {method: "DELETE"}`, `"rollback", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"reason":"x"}'}`, `"generations"`} {
		if got := eval[string](b, fmt.Sprintf(`fetch(%q + %s).then(r => r.text(), () => "")`, open+"/", request)); got != "" {
			t.Errorf("another site reads %q", got)
		}
	}
	if n := generations(t, data); n != before {
		t.Errorf("another site published %d generations", n-before)
	}
	if p, err := generation.ReadPin(data); err != nil || p.Active {
		t.Errorf("another site pinned %v, %v", p, err)
	}
	for _, name := range []string{"the open updater", "the admin listener"} {
		b.open(strings.Replace(all[name], "127.0.0.1", "rebound.example", 1) + "/")
		if text := b.text("body"); !strings.Contains(text, "host") || strings.Contains(text, "Generations") {
			t.Errorf("%s answers another host name: %q", name, text)
		}
	}
}

// TestPageWithHostileFiles shows summaries and file names of an attacker that can write to the
// directory and to the inbox.
func TestPageWithHostileFiles(t *testing.T) {
	data, _ := threeGenerations(t)
	inbox := t.TempDir()
	// A name of a file has no slash.
	name := strings.NewReplacer("</script>", "", "<script>", "").Replace(evil)
	buildText(t, data, name+".csv", promotionsCSV(0, 5, "1")+evil+",1,2099-01-01\n", "--max-bad-rows", "1")
	u := startOpenUpdater(t, data, "--inbox", inbox)
	if err := os.WriteFile(filepath.Join(inbox, name+".csv"), []byte(evil+",1,2099-01-01\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, data, "--admin-listen", "127.0.0.1:0")
	waitLive(t, s.url, idOf(t, newest(t, data).Files[0]))
	b := browse(t)
	for _, url := range []string{u.url, s.admin(t)} {
		b.open(url + "/?id=" + evil + "&from=" + evil + "&to=" + evil)
		b.waitText("#comparison", evil[:20])
		b.wait("(document.dispatchEvent(new Event('visibilitychange')), document.querySelector('#generations table').textContent.includes('onerror'))")
		b.unharmed()
	}
	b.open(u.url + "/")
	b.wait("(document.dispatchEvent(new Event('visibilitychange')), document.querySelector('#builds tbody')?.textContent.includes('onerror'))")
	b.unharmed()
}
