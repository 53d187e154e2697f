//go:build system

package deploy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A tab is a page in a browser of its own. The test fails if the console of the page
// has an error or a warning, such as a violation of the Content-Security-Policy, or if
// a request of the page fails, unless the test allows it.
type tab struct {
	testing.TB
	ctx context.Context

	mu      sync.Mutex
	faults  []string
	allowed []string
}

// browse opens a tab.
func browse(t testing.TB, options ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	needs(t, "chromium")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	options = append(append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.Flag("allow-pre-commit-input", true)), options...) // the browser drops no input while a page loads
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(cancelTab)
	b := &tab{TB: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.record); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser ends: %v", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, fault := range b.faults {
			if !slices.ContainsFunc(b.allowed, func(text string) bool { return strings.Contains(fault, text) }) {
				t.Errorf("browser: %s", fault)
			}
		}
	})
	return b
}

// record remembers the event if it is a fault of the page.
func (b *tab) record(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		b.faults = append(b.faults, fmt.Sprintf("log: %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *runtime.EventConsoleAPICalled:
		b.faults = append(b.faults, fmt.Sprintf("console: %s: %v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, "exception: "+e.ExceptionDetails.Text)
	case *network.EventLoadingFailed:
		if !e.Canceled || e.BlockedReason != "" { // the next page cancels a refresh
			b.faults = append(b.faults, fmt.Sprintf("request: %s %s", e.ErrorText, e.BlockedReason))
		}
	}
}

// allow lets the page have faults that contain one of the texts.
func (b *tab) allow(texts ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, texts...)
}

// hasFault reports whether a fault contains text.
func (b *tab) hasFault(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.faults, func(fault string) bool { return strings.Contains(fault, text) })
}

// do runs actions, which must succeed.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// open opens an address.
func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
}

// eval returns the value of a JavaScript expression.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits until a JavaScript expression is true. The page may change meanwhile.
func (b *tab) wait(expression string) {
	b.Helper()
	defer func() {
		if b.Failed() {
			text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
			b.Logf("%v\n%s", err, text)
		}
	}()
	waitFor(b, expression, func() bool {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && ok
	})
}

// waitText waits until an element has a text.
func (b *tab) waitText(selector, text string) {
	b.Helper()
	b.wait(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q)", selector, text))
}

// text returns the text of an element.
func (b *tab) text(selector string) string {
	b.Helper()
	return eval[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? 'nothing is at ' + %[1]q", selector))
}

// rows returns the texts of the cells of a table, row by row.
func (b *tab) rows(table string) [][]string {
	b.Helper()
	return eval[[][]string](b, fmt.Sprintf("[...document.querySelectorAll(%q)].map(r => [...r.cells].map(c => c.innerText.trim()))", table+" tbody tr"))
}

// fill fills an input, as a user does.
func (b *tab) fill(selector, text string) {
	b.Helper()
	b.wait("document.readyState === 'complete'")
	b.do(chromedp.Focus(chromedp.CSS(selector)))
	eval[bool](b, "(document.activeElement.select(), true)")
	b.do(chromedp.KeyEvent(text))
}

// click clicks an element.
func (b *tab) click(selector string) {
	b.Helper()
	b.wait("document.readyState === 'complete'")
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// prefer emulates a preference of the user for dark or light pages.
func (b *tab) prefer(scheme string) {
	b.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.Fatal(err)
	}
}

// width changes the width of the page in pixels.
func (b *tab) width(pixels int64) {
	b.Helper()
	b.do(chromedp.EmulateViewport(pixels, 900))
}

// fits checks that the page does not scroll sideways.
func (b *tab) fits(what string) {
	b.Helper()
	if wide := eval[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		b.Errorf("%s: the page is %d pixels wider than the window", what, wide)
	}
}

// axe looks for barriers with axe-core. The evaluation is not bound by the policy of
// the page.
func (b *tab) axe(what string) {
	b.Helper()
	path := os.Getenv("AXE")
	if path == "" {
		b.Fatal("AXE is not the path of axe.min.js; make test-system sets it")
	}
	source, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.do(chromedp.Evaluate[chromedp.Void](string(source)))
	violations := eval[[]string](b, `axe.run(document, {preload: false, resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.help + "\n" + v.nodes.map(n => n.html + "\n" + n.failureSummary).join("\n")))`)
	for _, v := range violations {
		b.Errorf("%s: %s", what, v)
	}
	if passes := eval[int](b, `axe.run(document, {preload: false}).then(r => r.passes.length)`); passes < 20 {
		b.Errorf("%s: axe-core has checked only %d rules", what, passes)
	}
}
