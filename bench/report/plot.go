package report

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
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
	colorOurs = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}
	colorPeer = color.RGBA{R: 0xb4, G: 0xb9, B: 0xc1, A: 0xff}
	colorGrid = color.RGBA{R: 0xe4, G: 0xe6, B: 0xea, A: 0xff}
	colorText = color.RGBA{R: 0x33, G: 0x37, B: 0x3d, A: 0xff}
)

const plotWidth = 17 * vg.Centimeter

// A namedValue is one bar of a plot.
type namedValue struct {
	name  string
	value float64
	ours  bool
}

// bars plots values as horizontal bars, the largest on top, to the file path.
func bars(path, title string, values []namedValue) error {
	values = slices.Clone(values)
	slices.SortStableFunc(values, func(a, b namedValue) int { // drawn from below
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	p := newPlot(title)
	var names []string
	top := 0.0
	for i, v := range values {
		names = append(names, v.name+"  ")
		top = max(top, v.value)
		b, err := plotter.NewBarChart(plotter.Values{v.value}, 11)
		if err != nil {
			return err
		}
		b.Horizontal, b.XMin = true, float64(i)
		b.LineStyle.Width = 0
		b.Color = colorPeer
		if v.ours {
			b.Color = colorOurs
		}
		p.Add(b)
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: v.value, Y: float64(i)}}, Labels: []string{" " + short(v.value)}})
		if err != nil {
			return err
		}
		label.TextStyle[0].Font = sans(10)
		label.TextStyle[0].YAlign = draw.YCenter
		label.TextStyle[0].Color = colorText
		p.Add(label)
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, top*1.18 // room for the number
	p.X.Tick.Marker = plot.ConstantTicks(nil)
	p.X.Width = 0
	p.Y.Width = 0
	return save(p, vg.Length(len(values))*0.75*vg.Centimeter+1.8*vg.Centimeter, path)
}

// A point is a figure at a number of rows.
type point struct{ rows, value float64 }

// line plots points against their rows, both on a scale of powers where what
// is plotted spans more than one, to the file path.
func line(path, title string, points []point) error {
	p := newPlot(title)
	xys := make(plotter.XYs, len(points))
	labels := make([]string, len(points))
	lo, hi := math.Inf(1), 0.0
	for i, pt := range points {
		xys[i] = plotter.XY{X: pt.rows, Y: pt.value}
		labels[i] = short(pt.value)
		lo, hi = min(lo, pt.value), max(hi, pt.value)
	}
	p.X.Label.Text = "rows"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizes(points)
	p.X.Min, p.X.Max = points[0].rows/2, points[len(points)-1].rows*2
	if lo > 0 && hi/lo > 20 {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, shortTicks{plot.LogTicks{}}
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
	p.Title.TextStyle.Color = colorText
	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		style.Font = sans(style.Font.Size)
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

// plots writes the plots of one chapter to dir.
func plots(dir string, c *Chapter) ([]figureFile, error) {
	var files []figureFile
	keep := func(name, title string, err error) error {
		if err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		files = append(files, figureFile{name, title})
		return nil
	}
	for _, g := range groups(c.Results) {
		name := strings.NewReplacer("/", "-", " ", "-").Replace(c.Name+"-"+g.name) + ".svg"
		path := dir + "/" + name
		if points := g.points(); len(points) > 1 {
			if err := keep(name, g.title, line(path, g.title, points)); err != nil {
				return nil, err
			}
		} else if values := g.values(); len(values) > 2 {
			if err := keep(name, g.title, bars(path, g.title, values)); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// A group is the results of an area whose names begin alike, up to a slash,
// and which have the same unit.
type group struct {
	name, title, unit string
	results           []*contest.Result
}

func groups(results []contest.Result) []*group {
	var all []*group
	byKey := map[string]*group{}
	for i := range results {
		r := &results[i]
		if unmeasured(r) {
			continue
		}
		prefix, _, _ := strings.Cut(r.Name, "/")
		key := r.Area + " " + prefix + " " + r.Unit
		g := byKey[key]
		if g == nil {
			g = &group{name: r.Area + "-" + prefix, unit: r.Unit, title: r.Area + ", " + prefix + ": " + r.Unit}
			byKey[key] = g
			all = append(all, g)
		}
		g.results = append(g.results, r)
	}
	return all
}

// points is the group as figures against rows, or nil if its names are not
// numbers of rows.
func (g *group) points() []point {
	var points []point
	for _, r := range g.results {
		_, rows, _ := strings.Cut(r.Name, "/")
		n, err := strconv.ParseFloat(rows, 64)
		if err != nil {
			return nil
		}
		points = append(points, point{n, r.Ours})
	}
	slices.SortFunc(points, func(a, b point) int {
		if a.rows < b.rows {
			return -1
		}
		return 1
	})
	return points
}

// values is the group as bars: each peer, and ours as the median of what was
// measured against them.
func (g *group) values() []namedValue {
	var values []namedValue
	var own []float64
	for _, r := range g.results {
		if r.Peer == "" {
			_, name, _ := strings.Cut(r.Name, "/")
			values = append(values, namedValue{name: name, value: r.Ours, ours: name == "ours" || name == "promostore"})
			continue
		}
		values = append(values, namedValue{name: r.Peer, value: r.Theirs})
		own = append(own, r.Ours)
	}
	if len(own) > 0 {
		values = append(values, namedValue{name: "promostore", value: contest.Median(own), ours: true})
	}
	return values
}
