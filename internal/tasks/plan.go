package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// A Plan holds everything that the tasks of one generation must agree on. It is the
// content of plan.json. Only the memory, the temporary directory and the access to
// object storage may differ between tasks.
type Plan struct {
	Version    int       `json:"version"` // formatVersion
	Generation string    `json:"generation"`
	Planned    time.Time `json:"planned"`
	Out        string    `json:"out"` // URL of the published files
	Shards     int       `json:"shards"`
	ShardBy    string    `json:"shard_by"` // last, first, or none for one shard
	Policies   Policies  `json:"policies"`
	Inputs     []Input   `json:"inputs"`
	Splits     [][]Range `json:"splits"` // together all bytes of all inputs, in their order

	// Live is the manifest of the generation in Out that the limits compare with;
	// nil if there is none, or no limit needs it.
	Live *transfer.Manifest `json:"live,omitempty"`

	Program string `json:"-"` // version of the program, for the summary that Publish writes

	id       generation.ID
	sharding format.Sharding
	digest   string // SHA-256 of plan.json
	opts     objects.Options
	work     folder // WORK
	dir      folder // WORK/ID
}

// Policies are the options of a build that decide about its result.
type Policies struct {
	Duplicates          string  `json:"duplicates"` // last, first or error
	MaxBadRows          int64   `json:"max_bad_rows"`
	Delimiter           string  `json:"delimiter"` // one byte
	RequireFinalNewline bool    `json:"require_final_newline"`
	AllowEmpty          bool    `json:"allow_empty"`
	MinRecords          int64   `json:"min_records"`
	MaxShrink           float64 `json:"max_shrink"`
	MaxAdded            float64 `json:"max_added"`
	MaxRemoved          float64 `json:"max_removed"`
	MaxChanged          float64 `json:"max_changed"`
}

// An Input is an object that the splits read.
type Input struct {
	URL  string `json:"url"`  // s3://bucket/key or an absolute path
	Size int64  `json:"size"` // bytes
	ETag string `json:"etag"`
}

// A Range is the part of an input whose rows begin at the offsets from From to To.
type Range struct {
	Input int   `json:"input"` // index of Plan.Inputs
	From  int64 `json:"from"`
	To    int64 `json:"to"`
}

// MaxSplits is the greatest number of splits of a plan. A merge reads a run of each
// split at the same time.
const MaxSplits = 4096

const (
	planName      = "plan.json"
	doneName      = "done.json"
	publishedName = "published.json"
)

// maxPlanLen bounds the bytes of plan.json. One of 100,000 inputs has 20 MB.
const maxPlanLen = 256 << 20

func splitName(index int) string { return fmt.Sprintf("split-%05d", index) }
func mergeName(shard int) string { return fmt.Sprintf("merge-%05d", shard) }

// ErrNoPlan reports a URL without a plan. It is permanent, unless WORK is a directory
// that does not exist: its disk may not be mounted.
var ErrNoPlan = errors.New("no plan")

// errNoPlan returns the error of a folder in work without a plan, or of work.
func errNoPlan(f, work folder, advice string) error {
	err := fmt.Errorf("%s: %w; %s", f.url(""), ErrNoPlan, advice)
	if work.isLocal() {
		if _, statErr := os.Stat(work.path); statErr != nil {
			return err
		}
	}
	return permanent(err)
}

// Load reads and checks the plan at url, which is WORK/ID. If url is WORK, Load
// reads the newest plan there. Shared options save the tasks a search for
// credentials for each input.
func Load(ctx context.Context, url string, opts objects.Options) (*Plan, error) {
	f, err := openFolder(url, opts)
	if err != nil {
		return nil, err
	}
	parent, name := path.Split(strings.TrimSuffix(f.prefix, "/"))
	id, err := generation.ParseID(name)
	if err != nil {
		return newestPlan(ctx, f, opts)
	}
	work := folder{store: f.store, prefix: parent}
	if f.isLocal() {
		work.path = path.Dir(f.path)
	}
	return loadPlan(ctx, work, id, opts)
}

// loadPlan reads the plan of a generation in work.
func loadPlan(ctx context.Context, work folder, id generation.ID, opts objects.Options) (*Plan, error) {
	dir := work.sub(id.String())
	p := &Plan{work: work, dir: dir, opts: opts}
	text, err := dir.readJSON(ctx, planName, maxPlanLen, p)
	if errors.Is(err, objects.ErrNotFound) {
		return nil, errNoPlan(dir, work, "a sweep has removed it, or it is in another place; plan again")
	}
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.url(planName), err)
	}
	if p.id != id {
		return nil, fmt.Errorf("%s: %w", dir.url(planName), formatError("generation %s, want %s", p.id, id))
	}
	p.digest = digestOf(text)
	return p, nil
}

// digestOf returns the digest of the text of a plan.
func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// newestPlan reads the plan of the highest ID in work that has one.
func newestPlan(ctx context.Context, work folder, opts objects.Options) (*Plan, error) {
	ids, err := planIDs(ctx, work)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		p, err := loadPlan(ctx, work, id, opts)
		if !errors.Is(err, ErrNoPlan) {
			return p, err
		}
	}
	return nil, errNoPlan(work, work, "write one with promobuild plan")
}

// URL returns the URL of the plan, WORK/ID.
func (p *Plan) URL() string { return p.dir.url("") }

// check checks all fields of a plan that was decoded, and fills in those that are
// derived from them. The error wraps ErrFormat.
func (p *Plan) check() (err error) {
	if p.id, err = generation.ParseID(p.Generation); err != nil {
		return formatError("%v", err)
	}
	var ok bool
	if p.sharding, ok = format.ParseSharding(p.Shards, p.ShardBy); !ok {
		return formatError("%d shards by %q", p.Shards, p.ShardBy)
	}
	if err := checkURL(p.Out, p.opts); err != nil {
		return formatError("out: %v", err)
	}
	if err := p.Policies.check(); err != nil {
		return err
	}
	if len(p.Inputs) == 0 {
		return formatError("no inputs")
	}
	for i, in := range p.Inputs {
		if err := checkURL(in.URL, p.opts); err != nil {
			return formatError("input %d: %v", i, err)
		}
		if in.Size < 0 || in.ETag == "" {
			return formatError("%s: size %d, ETag %q", in.URL, in.Size, in.ETag)
		}
	}
	if err := checkSplits(p.Splits, p.Inputs); err != nil {
		return err
	}
	if p.Live != nil {
		if err := p.Live.Check(); err != nil {
			return formatError("live: %v", err)
		}
	}
	return nil
}

// checkURL checks a URL of a plan: it must mean the same on all machines.
func checkURL(url string, opts objects.Options) error {
	s, key, err := objects.Parse(url, opts)
	if err != nil {
		return err
	}
	if !objects.IsURL(url) && (!filepath.IsAbs(url) || filepath.Clean(url) != url) {
		return fmt.Errorf("%s is not an absolute path", url)
	}
	if strings.TrimSuffix(s.URL(key), "/") != strings.TrimSuffix(url, "/") {
		return fmt.Errorf("%s: want %s", url, s.URL(key))
	}
	return nil
}

// checkSplits checks that the splits are all bytes of all inputs, in their order.
func checkSplits(splits [][]Range, inputs []Input) error {
	if len(splits) == 0 || len(splits) > MaxSplits {
		return formatError("%d splits, want 1 to %d", len(splits), MaxSplits)
	}
	next := Range{} // begins where the next range must begin
	for i, ranges := range splits {
		if len(ranges) == 0 {
			return formatError("split %d is empty", i)
		}
		for _, r := range ranges {
			if r.Input != next.Input || r.Input >= len(inputs) || r.From != next.From || r.To < r.From || r.To > inputs[r.Input].Size ||
				r.To == r.From && inputs[r.Input].Size > 0 {
				return formatError("split %d: input %d from %d to %d, want input %d from %d", i, r.Input, r.From, r.To, next.Input, next.From)
			}
			next.From = r.To
			if r.To == inputs[r.Input].Size {
				next = Range{Input: r.Input + 1}
			}
		}
	}
	if next.Input != len(inputs) {
		return formatError("the splits end at byte %d of input %d of %d", next.From, next.Input, len(inputs))
	}
	return nil
}

// policyNames are the texts of Policies.Duplicates.
var policyNames = map[string]builder.Duplicates{"last": builder.KeepLast, "first": builder.KeepFirst, "error": builder.FailOnDuplicate}

func (p *Policies) check() error {
	_, known := policyNames[p.Duplicates]
	if !known || len(p.Delimiter) != 1 || !builder.ValidDelimiter(p.Delimiter[0]) || p.MaxBadRows < 0 || p.MinRecords < 0 {
		return formatError("policies %+v", *p)
	}
	for _, percent := range []float64{p.MaxShrink, p.MaxAdded, p.MaxRemoved, p.MaxChanged} {
		if !(percent >= 0) || math.IsInf(percent, 0) {
			return formatError("policies %+v", *p)
		}
	}
	return nil
}

// PoliciesOf returns the policies of the options of a build.
func PoliciesOf(o *builder.Options) Policies {
	p := Policies{
		MaxBadRows: o.MaxBadRows, Delimiter: ",", RequireFinalNewline: o.RequireFinalNewline, AllowEmpty: o.AllowEmpty,
		MinRecords: o.MinRecords, MaxShrink: o.MaxShrink, MaxAdded: o.MaxAdded, MaxRemoved: o.MaxRemoved, MaxChanged: o.MaxChanged,
	}
	if o.Delimiter != 0 {
		p.Delimiter = string(rune(o.Delimiter))
	}
	for name, d := range policyNames {
		if d == o.Duplicates {
			p.Duplicates = name
		}
	}
	return p
}

// guards returns the limits for the sums of all shards.
func (p *Policies) guards() *builder.Guards {
	return &builder.Guards{
		AllowEmpty: p.AllowEmpty, MinRecords: p.MinRecords, MaxShrink: p.MaxShrink,
		MaxAdded: p.MaxAdded, MaxRemoved: p.MaxRemoved, MaxChanged: p.MaxChanged,
	}
}
