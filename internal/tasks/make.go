package tasks

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// A Source is an object that a plan reads.
type Source struct {
	Store  objects.Store
	Object objects.Object
}

// MakeOptions configure Make.
type MakeOptions struct {
	Work, Out  string // URLs
	Objects    objects.Options
	Inputs     []Source        // in the order that decides between duplicates
	SplitSize  int64           // bytes of a split; 0: DefaultSplitSize, or more if there would be over MaxSplits
	Generation generation.ID   // 0: the current time, or the one after the newest of Out
	Sharding   format.Sharding // as in builder.Options
	Policies   Policies
	DryRun     bool // write nothing
}

// Made is the result of Make.
type Made struct {
	*Plan
	New       bool            // it was not there before
	Published bool            // the generation is published, so that tasks have nothing to do
	Removed   []generation.ID // plans whose files were swept
	Sweep     error           // why others could not be swept
}

// ErrData reports an Out that is a data directory.
var ErrData = errors.New("holds generations without a manifest")

// A maker is one call of Make.
type maker struct {
	MakeOptions
	plan    *Plan
	planned bool // plan.json of the generation is there
	work    folder
	out     transfer.Location
	now     time.Time
}

// Make plans one generation and writes plan.json. It first removes files of other
// plans from Work, like Sweep. A plan of the same generation that is there already
// is the result if its inputs and policies are the same; otherwise the error is
// permanent. So it is if Out has the generation, but Work has no plan of it.
func Make(ctx context.Context, opts MakeOptions) (Made, error) {
	m := &maker{MakeOptions: opts, now: time.Now()}
	if err := m.make(ctx); err != nil {
		return Made{}, err
	}
	if m.DryRun {
		return Made{Plan: m.plan, New: true}, nil
	}
	made := Made{Plan: m.plan}
	var keep generation.ID
	if m.planned {
		keep = m.plan.id
	}
	made.Removed, made.Sweep = sweep(ctx, m.work, DefaultAbandoned, keep)
	if ctx.Err() != nil {
		return Made{}, context.Cause(ctx)
	}
	var err error
	if made.Plan, made.New, err = m.write(ctx); err == nil && !made.New {
		made.Published, err = made.isPublished(ctx)
	}
	return made, err
}

// make fills in the plan.
func (m *maker) make(ctx context.Context) (err error) {
	if m.Work, err = absolute(m.Work); err != nil {
		return err
	}
	if m.Out, err = absolute(m.Out); err != nil {
		return err
	}
	if m.work, err = openFolder(m.Work, m.Objects); err != nil {
		return err
	}
	if err := m.checkPlaces(); err != nil {
		return err
	}
	if m.Sharding == (format.Sharding{}) {
		m.Sharding = format.Unsharded
	}
	m.plan = &Plan{
		Version: formatVersion, Planned: m.now.UTC(), Out: m.Out,
		Shards: int(m.Sharding.Shards), ShardBy: m.Sharding.Rule.String(), Policies: m.Policies, opts: m.Objects, work: m.work,
	}
	for _, in := range m.Inputs {
		url, err := absolute(in.Store.URL(in.Object.Key))
		if err != nil {
			return err
		}
		if in.Object.ETag == "" { // such as in a listing
			return permanent(fmt.Errorf("%s: the server sends no ETag", url))
		}
		if !utf8.ValidString(url) {
			return permanent(fmt.Errorf("%s: name is not valid UTF-8; rename it", url))
		}
		if err := m.checkSwept(url); err != nil {
			return err
		}
		m.plan.Inputs = append(m.plan.Inputs, Input{url, in.Object.Size, in.Object.ETag})
	}
	visible, err := m.checkOut(ctx)
	if err != nil {
		return err
	}
	if err := m.chooseGeneration(ctx, visible); err != nil {
		return err
	}
	if err := m.chooseLive(ctx, visible); err != nil {
		return err
	}
	if err := m.divideInputs(ctx); err != nil {
		return err
	}
	return m.plan.check()
}

// checkPlaces checks that Work is not a plan itself, and that Out is not within one.
func (m *maker) checkPlaces() error {
	if url := m.work.url(""); isPlanName(path.Base(url)) {
		return permanent(fmt.Errorf("%s has the name of one plan; use another directory for all plans", url))
	}
	out, err := openFolder(m.Out, m.Objects)
	if err != nil {
		return err
	}
	return m.checkSwept(out.url(""))
}

// checkSwept refuses a URL within the folder of a plan, which Sweep removes.
func (m *maker) checkSwept(url string) error {
	rest, within := strings.CutPrefix(url, strings.TrimSuffix(m.work.url(""), "/")+"/")
	if name, _, _ := strings.Cut(rest, "/"); within && isPlanName(name) {
		return permanent(fmt.Errorf("%s is among the work files of plan %s, which are removed after it is published; use another place", url, name))
	}
	return nil
}

// isPlanName reports whether a folder of this name in Work is that of a plan.
func isPlanName(name string) bool {
	_, err := generation.ParseID(name)
	return err == nil
}

// absolute returns the URL with an absolute path, so that it means the same in
// other working directories.
func absolute(url string) (string, error) {
	if url == "" || objects.IsURL(url) {
		return url, nil
	}
	return filepath.Abs(url)
}

// checkOut opens Out and returns its generations. It refuses a directory whose generations
// have no manifest and belong to no plan: servers could serve it, and would see a
// generation before the limits are applied.
func (m *maker) checkOut(ctx context.Context) (visible []generation.ID, err error) {
	if m.out, err = transfer.Parse(m.Out, m.Objects); err != nil {
		return nil, permanent(err)
	}
	visible, hidden, err := m.out.Generations(ctx)
	if err != nil || objects.IsURL(m.Out) || len(visible) > 0 {
		return visible, err
	}
	plans, err := planIDs(ctx, m.work)
	if err != nil {
		return nil, err
	}
	for _, id := range hidden {
		if !slices.Contains(plans, id) {
			return nil, permanent(fmt.Errorf("%s %w, like a data directory of servers: %s; use an empty directory, or remove its files", m.out, ErrData, id))
		}
	}
	return visible, nil
}

// chooseGeneration sets the generation. A new one is never older than those that
// are there, unless they are from the future.
func (m *maker) chooseGeneration(ctx context.Context, visible []generation.ID) (err error) {
	id := m.Generation
	if id == 0 {
		id = generation.IDOf(m.now)
		for _, v := range visible {
			if !v.IsFuture(m.now) {
				id = max(id, v+1)
			}
		}
	}
	if id.IsFuture(m.now) {
		return fmt.Errorf("generation %s: %w", id, generation.ErrFuture)
	}
	m.setGeneration(id)
	_, m.planned, err = m.plan.dir.modified(ctx, planName)
	if err == nil && !m.planned && slices.Contains(visible, id) {
		err = permanent(fmt.Errorf("generation %s is in %s already, and its plan is not in %s; use another generation", id, m.Out, m.Work))
	}
	return err
}

func (m *maker) setGeneration(id generation.ID) {
	m.plan.id, m.plan.Generation, m.plan.dir = id, id.String(), m.work.sub(id.String())
}

// chooseLive sets the generation that limits compare with.
func (m *maker) chooseLive(ctx context.Context, visible []generation.ID) error {
	if g := m.Policies.guards(); !g.LimitsShrink() && !g.ComparesContent() {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(visible), func(id generation.ID) bool { return id == m.plan.id })
	live, err := m.out.Live(ctx, others)
	if errors.Is(err, transfer.ErrNotLive) {
		return nil
	}
	if err != nil {
		err = fmt.Errorf("live generation: %w", err)
		if errors.Is(err, transfer.ErrManifest) || errors.Is(err, generation.ErrPin) {
			return permanent(fmt.Errorf("%w; delete this file, or push it again", err))
		}
		return err
	}
	m.plan.Live = &live
	return m.plan.checkLive()
}

// write writes the plan. If another plan of the same generation is there, write
// tries the next generation, unless the caller chose this one. It reports whether
// the plan is new.
func (m *maker) write(ctx context.Context) (p *Plan, isNew bool, err error) {
	for {
		text, err := m.plan.dir.putJSON(ctx, planName, m.plan)
		if err == nil {
			m.plan.digest = digestOf(text)
			return m.plan, true, nil
		}
		if !errors.Is(err, objects.ErrExists) {
			return nil, false, err
		}
		there, err := loadPlan(ctx, m.work, m.plan.id, m.Objects)
		if err != nil {
			return nil, false, err
		}
		if there.equal(m.plan) {
			return there, there.digest == digestOf(text), nil // the answer of the Put may have been lost
		}
		if m.Generation != 0 {
			return nil, false, permanent(fmt.Errorf("%s: another plan of generation %s is there, with other inputs or policies; use another generation", m.plan.URL(), m.plan.Generation))
		}
		m.setGeneration(m.plan.id + 1)
	}
}

// equal reports whether two plans of a generation build the same. The live
// generation may differ, because another one was published in between.
func (p *Plan) equal(q *Plan) bool {
	return p.Out == q.Out && p.sharding == q.sharding && p.Policies == q.Policies &&
		slices.Equal(p.Inputs, q.Inputs) && reflect.DeepEqual(p.Splits, q.Splits)
}

// InputBytes returns the size of all inputs.
func (p *Plan) InputBytes() (n int64) {
	for _, in := range p.Inputs {
		n += in.Size
	}
	return n
}
