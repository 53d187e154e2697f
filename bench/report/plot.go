package report

import (
	"cmp"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"promostore/bench/contest"
)

var (
	colorOurs  = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}
	colorPeer  = color.RGBA{R: 0xb4, G: 0xb9, B: 0xc1, A: 0xff}
	colorFloor = color.RGBA{R: 0xe0, G: 0xa0, B: 0x30, A: 0xff}
	colorGrid  = color.RGBA{R: 0xe4, G: 0xe6, B: 0xea, A: 0xff}
	colorText  = color.RGBA{R: 0x33, G: 0x37, B: 0x3d, A: 0xff}
)

const weightBold = 2 // WeightBold of golang.org/x/image/font

const plotWidth = 17 * vg.Centimeter

// wideRatio is from which ratio on the least of the values of a plot would be
// too small to be seen, so that the axis has powers.
const wideRatio = 20

// A barChart draws sections of horizontal bars from above, each headed by its
// size.
type barChart struct {
	lines []barLine
	style text.Style
}

// A barLine is a bar, or the heading of a section.
type barLine struct {
	value
	heading string
}

func newBarChart(sections []section, style text.Style) *barChart {
	b := &barChart{style: style}
	b.style.Font, b.style.Color = sans(10), colorText
	b.style.XAlign, b.style.YAlign = draw.XLeft, draw.YCenter
	for _, s := range sections {
		if s.rows > 0 {
			b.lines = append(b.lines, barLine{heading: contest.Count(s.rows) + " rows"})
		}
		for _, v := range s.values {
			b.lines = append(b.lines, barLine{value: v})
		}
	}
	return b
}

// span is the least and the largest value.
func (b *barChart) span() (lo, hi float64) {
	lo = math.Inf(1)
	for _, l := range b.lines {
		if l.heading == "" {
			lo, hi = min(lo, l.v), max(hi, l.v)
		}
	}
	return lo, hi
}

// y is where line i is on the axis.
func (b *barChart) y(i int) float64 { return float64(len(b.lines) - 1 - i) }

// names are for the axis, from below.
func (b *barChart) names() []string {
	names := make([]string, len(b.lines))
	for i, l := range b.lines {
		name := l.name
		if l.floor && name != "floor" {
			name += " (floor)"
		}
		names[len(names)-1-i] = name + "  "
	}
	return names
}

// Plot implements plot.Plotter.
func (b *barChart) Plot(c draw.Canvas, p *plot.Plot) {
	const thick = 12
	x, y := p.Transforms(&c)
	for i, l := range b.lines {
		at := y(b.y(i))
		if l.heading != "" {
			bold := b.style
			bold.Font.Weight = weightBold
			c.FillText(bold, vg.Point{X: c.Min.X, Y: at - thick/4}, l.heading) // nearer to its bars
			continue
		}
		left, right := c.Min.X, x(l.v)
		corners := []vg.Point{{X: left, Y: at - thick/2}, {X: right, Y: at - thick/2}, {X: right, Y: at + thick/2}, {X: left, Y: at + thick/2}}
		c.FillPolygon(l.color(), corners)
		c.FillText(b.style, vg.Point{X: right + 4, Y: at}, short(l.v))
	}
}

func (v *value) color() color.Color {
	switch {
	case v.ours:
		return colorOurs
	case v.floor:
		return colorFloor
	}
	return colorPeer
}

// bars plots sections to the file path.
func bars(path, title, unit string, sections []section) error {
	p := newPlot(title)
	b := newBarChart(sections, p.Y.Tick.Label)
	p.NominalY(b.names()...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(b.lines))-0.4
	p.X.Label.Text, p.X.Label.TextStyle.Font = unit, sans(10)
	if strings.HasSuffix(unit, "/s") {
		p.X.Label.Text += ", others by their ratio to " + usName
	}
	const room = 0.12 // of the width, for the number behind the longest bar
	if lo, hi := b.span(); lo > 0 && hi/lo > wideRatio {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
		p.X.Min = math.Pow(10, math.Floor(math.Log10(lo*0.9)))
		p.X.Max = hi * math.Pow(hi/p.X.Min, room/(1-room))
		p.X.Label.Text += "; scale of powers of ten"
		grid := plotter.NewGrid()
		grid.Vertical.Color, grid.Horizontal.Width = colorGrid, 0
		p.Add(grid)
	} else {
		p.X.Min, p.X.Max = 0, hi/(1-room)
		p.X.Tick.Marker = plot.ConstantTicks(nil)
	}
	p.Add(b)
	p.X.Width, p.Y.Width = 0, 0
	return save(p, vg.Length(len(b.lines))*0.62*vg.Centimeter+2.4*vg.Centimeter, path)
}

// decades marks the powers of ten.
type decades struct{}

func (decades) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for v := math.Pow(10, math.Ceil(math.Log10(lo*0.999))); v <= hi; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: short(v)})
	}
	return ticks
}

// A point is a figure at a number of rows.
type point struct{ rows, value float64 }

// line plots points against their rows, both on a scale of powers where what
// is plotted spans more than one, to the file path.
func line(path, title, unit string, points []point) error {
	p := newPlot(title)
	xys := make(plotter.XYs, len(points))
	labels := make([]string, len(points))
	lo, hi := math.Inf(1), 0.0
	for i, pt := range points {
		xys[i] = plotter.XY{X: pt.rows, Y: pt.value}
		labels[i] = short(pt.value)
		lo, hi = min(lo, pt.value), max(hi, pt.value)
	}
	p.X.Label.Text, p.Y.Label.Text = "rows", unit
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizes(points)
	p.X.Min, p.X.Max = points[0].rows/2, points[len(points)-1].rows*2
	if lo > 0 && hi/lo > wideRatio {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
		p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
	} else {
		p.Y.Min, p.Y.Max, p.Y.Tick.Marker = 0, max(hi*1.25, 1e-9), shortTicks{plot.DefaultTicks{}}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = colorGrid, colorGrid
	l, s, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	l.Color, s.Color, s.Shape = colorOurs, colorOurs, draw.CircleGlyph{}
	l.Width = 1.5
	names, err := plotter.NewLabels(plotter.XYLabels{XYs: xys, Labels: labels})
	if err != nil {
		return err
	}
	for i := range names.TextStyle {
		names.TextStyle[i].Font = sans(10)
		names.TextStyle[i].XAlign, names.TextStyle[i].YAlign = draw.XCenter, draw.YBottom
		names.TextStyle[i].Color = colorText
	}
	names.Offset = vg.Point{Y: 4}
	p.Add(grid, l, s, names)
	return save(p, 6.5*vg.Centimeter, path)
}

func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = 6
	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.X.Tick.Label, &p.Y.Label.TextStyle, &p.Y.Tick.Label} {
		style.Font, style.Color = sans(style.Font.Size), colorText
	}
	return p
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// save draws p, with a margin around it, to the file path.
func save(p *plot.Plot, height vg.Length, path string) error {
	const margin = 10
	canvas := vgsvg.New(plotWidth, height)
	p.Draw(draw.Crop(draw.New(canvas), margin, -2*margin, margin, -margin))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

// sizes marks the rows of points.
func sizes(points []point) plot.ConstantTicks {
	var t plot.ConstantTicks
	for _, pt := range points {
		t = append(t, plot.Tick{Value: pt.rows, Label: short(pt.rows)})
	}
	return t
}

// shortTicks writes the labels of other ticks short.
type shortTicks struct{ plot.Ticker }

func (s shortTicks) Ticks(lo, hi float64) []plot.Tick {
	ticks := s.Ticker.Ticks(lo, hi)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

// short is v with three digits and k, M or G.
func short(v float64) string {
	for _, unit := range []struct {
		value float64
		name  string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if v >= unit.value {
			return number(v/unit.value) + unit.name
		}
	}
	return number(v)
}

// A figureFile is a plot that was written.
type figureFile struct{ name, title string }

// plots writes the plots of one chapter to dir: the comparisons, and what has
// several sizes in the chapter of that.
func plots(dir string, c *Chapter) ([]figureFile, error) {
	var files []figureFile
	keep := func(f figureFile, err error) error {
		if err != nil {
			return fmt.Errorf("plot %s: %w", f.name, err)
		}
		files = append(files, f)
		return nil
	}
	for i := range comparisons {
		compared := &comparisons[i]
		sections := compared.sections(c.Results)
		if compared.chapter != c.Name || len(sections) == 0 {
			continue
		}
		f := figureFile{c.Name + "-" + compared.area + ".svg", compared.title}
		if err := keep(f, bars(filepath.Join(dir, f.name), compared.title, compared.unit, sections)); err != nil {
			return nil, err
		}
	}
	if c.Name != scaleChapter {
		return files, nil
	}
	for _, s := range bySize(c.Results) {
		f := figureFile{c.Name + "-" + s.name + ".svg", s.title}
		if err := keep(f, line(filepath.Join(dir, f.name), s.title, s.unit, s.points)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

const scaleChapter = "scale"

// A series is a figure at several sizes, the smallest first.
type series struct {
	name, title, unit string
	points            []point
}

// bySize is the figures whose names are name/rows, of which there are several.
func bySize(results []contest.Result) []*series {
	var all []*series
	byName := map[string]*series{}
	for i := range results {
		r := &results[i]
		name, size, _ := strings.Cut(r.Name, "/")
		rows, err := strconv.ParseFloat(size, 64)
		if err != nil || unmeasured(r) || r.Area != scaleChapter {
			continue
		}
		s := byName[name]
		if s == nil {
			s = &series{name: name, unit: r.Unit, title: capital(strings.TrimSuffix(r.What, ", "+size+" rows"))}
			byName[name] = s
			all = append(all, s)
		}
		s.points = append(s.points, point{rows, r.Ours})
	}
	for _, s := range all {
		slices.SortFunc(s.points, func(a, b point) int { return cmp.Compare(a.rows, b.rows) })
	}
	return slices.DeleteFunc(all, func(s *series) bool { return len(s.points) < 2 })
}
