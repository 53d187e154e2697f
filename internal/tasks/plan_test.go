package tasks

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/diff"
	"promostore/internal/objects"
	"promostore/internal/synth"
	"promostore/internal/transfer"
)

// A plan that is loaded equals the one that was made, by both URLs.
func TestPlanIsLoaded(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "a b.csv", csvOf(t, synth.DataSet{Rows: 100})))
		opts.SplitSize = 1000
		opts.Policies = PoliciesOf(&builder.Options{Delimiter: '\t', Duplicates: builder.FailOnDuplicate, MaxBadRows: 3, Guards: builder.Guards{MinRecords: 1}})
		made, err := Make(t.Context(), opts)
		must(t, err)
		if !made.New || made.URL() != s.folder(t, "work").url(testID.String()) || len(made.Splits) < 5 {
			t.Errorf("plan %s of %d splits, new %v", made.URL(), len(made.Splits), made.New)
		}
		for _, url := range []string{made.URL(), s.url + "/work", s.url + "/work/"} {
			p, err := Load(t.Context(), url, s.opts)
			must(t, err)
			if !p.equal(made.Plan) || p.digest != made.digest || !p.Planned.Equal(made.Planned) || p.URL() != made.URL() {
				t.Errorf("%s: %+v, want %+v", url, p, made.Plan)
			}
		}
		isLocal := s.server == nil // a missing directory may not be mounted
		for url, permanent := range map[string]bool{
			"/none": !isLocal, "/none/" + testID.String(): !isLocal, "/work/" + (testID + 1).String(): true, "/in": true,
		} {
			if _, err := Load(t.Context(), s.url+url, s.opts); !errors.Is(err, ErrNoPlan) || IsPermanent(err) != permanent {
				t.Errorf("%s: %v, permanent: %v", url, err, IsPermanent(err))
			}
		}
	})
}

// The same plan again changes nothing; another one of the same generation is
// refused for good.
func TestMakeIsIdempotent(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		in := s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 100}))
		opts := s.makeOptions(in)
		opts.Generation = generation.IDOf(time.Now())
		first := makePlan(t, opts)
		again, err := Make(t.Context(), opts)
		must(t, err)
		if again.New || again.digest != first.digest {
			t.Errorf("%+v", again)
		}
		for name, change := range map[string]func(o *MakeOptions){
			"inputs":   func(o *MakeOptions) { o.Inputs = []Source{in, in} },
			"policies": func(o *MakeOptions) { o.Policies.AllowEmpty = true },
			"splits":   func(o *MakeOptions) { o.SplitSize = 2000 },
			"out":      func(o *MakeOptions) { o.Out += "2" },
			"shards":   func(o *MakeOptions) { o.Sharding.Shards = 32 },
		} {
			other := opts
			change(&other)
			if _, err := Make(t.Context(), other); !IsPermanent(err) || !strings.Contains(err.Error(), "another plan") {
				t.Errorf("other %s: %v", name, err)
			}
		}
		if keys := s.keys(t, "work"); len(keys) != 1 {
			t.Errorf("%q", keys)
		}
	})
}

// The plan of a published generation is found. Another one is refused for good, and
// so is the same one after it is gone.
func TestPlanOfPublishedGeneration(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 100})))
		opts.Policies.MaxChanged = 1 // reads the live generation
		first := makePlan(t, opts)
		splitAll(t, first)
		mergeAll(t, first)
		_, err := first.Publish(t.Context(), 0)
		must(t, err)
		for range 2 {
			again, err := Make(t.Context(), opts)
			must(t, err)
			if again.New || !again.Published || again.digest != first.digest {
				t.Errorf("%+v", again)
			}
			_, err = Sweep(t.Context(), s.url+"/work", s.opts, DefaultAbandoned)
			must(t, err)
		}
		other := opts
		other.Policies.AllowEmpty = true
		if _, err := Make(t.Context(), other); !IsPermanent(err) || !strings.Contains(err.Error(), "another plan") {
			t.Errorf("error %v", err)
		}
		_, err = Sweep(t.Context(), s.url+"/work", s.opts, 0)
		must(t, err)
		opts.DryRun = true
		if _, err := Make(t.Context(), opts); !IsPermanent(err) || !strings.Contains(err.Error(), "use another generation") {
			t.Errorf("error %v", err)
		}
	})
}

// Plans that are made at the same moment get different generations.
func TestPlansOfOneMomentDiffer(t *testing.T) {
	s := newDirSite(t)
	now := time.Now()
	var ids []string
	for _, name := range []string{"a.csv", "b.csv", "c.csv"} {
		m := &maker{MakeOptions: s.makeOptions(s.put(t, name, []byte("x"))), now: now}
		m.Generation = 0
		must(t, m.make(t.Context()))
		p, isNew, err := m.write(t.Context())
		must(t, err)
		if !isNew {
			t.Errorf("%s is not new", p.Generation)
		}
		ids = append(ids, p.Generation)
	}
	if id := generation.IDOf(now); !slices.Equal(ids, []string{id.String(), (id + 1).String(), (id + 2).String()}) {
		t.Errorf("generations %v", ids)
	}
}

// A dry run writes nothing, and sweeps nothing.
func TestDryRunWritesNothing(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 100})))
		makePlan(t, opts)
		done := s.folder(t, "work").sub(testID.String())
		_, err := done.putJSON(t.Context(), publishedName, 1)
		must(t, err)
		before := s.keys(t, "")
		opts.DryRun, opts.Generation = true, testID+1
		made, err := Make(t.Context(), opts)
		must(t, err)
		if len(made.Splits) != 1 || made.Generation != (testID+1).String() || !slices.Equal(s.keys(t, ""), before) {
			t.Errorf("%+v, objects %q", made.Plan, s.keys(t, ""))
		}
	})
}

// publish puts a generation of one record into the output of a site.
func (s site) publish(t *testing.T, id generation.ID, sharding format.Sharding) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "in.csv")
	must(t, os.WriteFile(path, csvOf(t, synth.DataSet{Rows: 100}), 0o600))
	_, err := builder.Build(t.Context(), builder.Options{Inputs: []builder.Input{builder.FileInput(path)}, Dir: dir, Generation: id, AllowFuture: true, Sharding: sharding, Memory: builder.MinMemory})
	must(t, err)
	list, err := generation.List(dir)
	must(t, err)
	set, err := list[0].OpenIndex()
	must(t, err)
	defer set.Close()
	out, err := transfer.Parse(s.url+"/out", s.opts)
	must(t, err)
	_, err = out.Push(t.Context(), set, transfer.Progress{})
	must(t, err)
}

// The default generation follows those of the output, unless they are from the
// future.
func TestDefaultGenerationIsNewest(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "a.csv", []byte("x")))
		opts.Generation = 0
		ahead := generation.IDOf(time.Now().Add(30 * time.Minute))
		s.publish(t, ahead, format.Unsharded)
		s.publish(t, generation.IDOf(time.Now().Add(3*time.Hour)), format.Unsharded)
		if p := makePlan(t, opts); p.id != ahead+1 {
			t.Errorf("generation %s, want %s", p.id, ahead+1)
		}
		opts.Generation = generation.IDOf(time.Now().Add(2 * time.Hour))
		if _, err := Make(t.Context(), opts); !errors.Is(err, generation.ErrFuture) || !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
	})
}

// Limits compare with the live generation, whose manifest is part of the plan.
func TestLiveGenerationIsPlanned(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "a.csv", []byte("x")))
		opts.Policies.MaxShrink = 5
		opts.Generation = testID + 5
		if p := makePlan(t, opts); p.Live != nil {
			t.Errorf("live %+v", p.Live)
		}
		s.publish(t, testID, format.Unsharded)
		s.publish(t, testID+1, sharding16)
		s.publish(t, testID+6, format.Unsharded)
		opts.Generation = testID + 7
		p := makePlan(t, opts)
		if p.Live == nil || p.Live.Generation != (testID+6).String() {
			t.Errorf("live %+v", p.Live)
		}
		s.publish(t, testID+7, sharding16)
		m := &maker{MakeOptions: opts, now: time.Now()}
		must(t, m.make(t.Context()))
		if live := m.plan.Live; live == nil || live.Generation != (testID+6).String() { // not its own
			t.Errorf("live %+v", live)
		}
		p, err := Load(t.Context(), p.URL(), s.opts)
		must(t, err)
		if p.Live.Records != 100 {
			t.Errorf("live %+v", p.Live)
		}
		opts.Generation = testID + 8
		opts.Policies.MaxRemoved = 5
		if p := makePlan(t, opts); p.Live.Generation != (testID + 7).String() {
			t.Errorf("live %+v", p.Live)
		}
		// The pinned one.
		pin, err := json.Marshal(generation.Pin{Active: true, ID: testID + 6, At: time.Now()})
		must(t, err)
		out := s.folder(t, "out")
		_, err = out.store.Put(t.Context(), out.prefix+generation.PinName, strings.NewReader(string(pin)), int64(len(pin)), objects.Always)
		must(t, err)
		opts.Generation = testID + 9
		if _, err := Make(t.Context(), opts); !IsPermanent(err) || !strings.Contains(err.Error(), "has 1 shard, and this plan 16 shards") {
			t.Errorf("error %v", err)
		}
		opts.Policies.MaxRemoved = 0
		if p := makePlan(t, opts); p.Live.Generation != (testID + 6).String() {
			t.Errorf("live %+v", p.Live)
		}
		// No other attempt can read it.
		for _, name := range []string{"promotions-" + (testID + 6).String() + ".json", generation.PinName} {
			_, err = out.store.Put(t.Context(), out.prefix+name, strings.NewReader("x"), 1, objects.Always)
			must(t, err)
			if _, err := Make(t.Context(), opts); !IsPermanent(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("with a damaged %s: %v", name, err)
			}
		}
	})
}

// A data directory of servers is refused as the output. The files that an earlier
// plan merged do not make a directory one.
func TestDataDirectoryIsRefused(t *testing.T) {
	s := newDirSite(t)
	opts := s.makeOptions(s.put(t, "a.csv", []byte("x")))
	opts.Generation = generation.IDOf(time.Now())
	plan := makePlan(t, opts)
	out := filepath.Join(s.url, "out")
	must(t, os.MkdirAll(out, 0o755))
	must(t, os.WriteFile(filepath.Join(out, plan.fileName(0)), nil, 0o600))
	makePlan(t, opts)
	must(t, os.WriteFile(filepath.Join(out, generation.Name{ID: testID, Shards: 1}.String()), nil, 0o600))
	if _, err := Make(t.Context(), opts); !errors.Is(err, ErrData) || !IsPermanent(err) {
		t.Errorf("error %v", err)
	}
}

// A place that a sweep would remove is refused for the generations and the inputs.
func TestPlacesWithinAPlanAreRefused(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		in := s.put(t, "a.csv", []byte("x"))
		plan := s.url + "/work/" + testID.String()
		for _, set := range []func(*MakeOptions){
			func(o *MakeOptions) { o.Work = plan },
			func(o *MakeOptions) { o.Work = plan + "/" },
			func(o *MakeOptions) { o.Out = plan },
			func(o *MakeOptions) { o.Out = s.url + "/work/" + (testID + 1).String() + "/out/" },
			func(o *MakeOptions) { o.Work, o.Out = s.url, s.url+"/"+testID.String() },
			func(o *MakeOptions) { o.Inputs = []Source{s.putIn(t, "work/"+testID.String(), "a.csv", nil)} },
		} {
			opts := s.makeOptions(in)
			set(&opts)
			if _, err := Make(t.Context(), opts); !IsPermanent(err) {
				t.Errorf("work %s, out %s: error %v", opts.Work, opts.Out, err)
			}
		}
		for _, out := range []string{"/work", "/work/out", "/work/" + testID.String() + "-out", "/out/" + testID.String()} {
			opts := s.makeOptions(in)
			opts.Out = s.url + out
			makePlan(t, opts)
			_, err := Sweep(t.Context(), opts.Work, s.opts, -1)
			must(t, err)
		}
	})
}

// Servers of object storage resolve other elements of a prefix in different ways.
func TestPrefixesAreClean(t *testing.T) {
	s := newS3Site(t)
	for _, sub := range []string{"/a//b", "/a/./b", "/a/../b", "/..", "/a\xff"} {
		for _, set := range []func(*MakeOptions){
			func(o *MakeOptions) { o.Work = s.url + sub },
			func(o *MakeOptions) { o.Out = s.url + sub },
		} {
			opts := s.makeOptions(s.put(t, "a.csv", nil))
			set(&opts)
			if _, err := Make(t.Context(), opts); !IsPermanent(err) {
				t.Errorf("work %s, out %s: error %v", opts.Work, opts.Out, err)
			}
		}
		if _, err := Load(t.Context(), s.url+sub, s.opts); !IsPermanent(err) {
			t.Errorf("%s: error %v", sub, err)
		}
	}
}

// Large plain inputs are cut; large compressed ones are not. An input of another
// kind is refused before it is split.
func TestCompressedInputsAreNotCut(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		zeros := make([]byte, 5000)
		opts := s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 50})), s.put(t, "b", append([]byte{0x1f, 0x8b}, zeros...)), s.put(t, "c", append([]byte{0x28, 0xb5, 0x2f, 0xfd}, zeros...)))
		opts.SplitSize = 1000
		p := makePlan(t, opts)
		want := [][]Range{{{1, 0, 5002}}, {{2, 0, 5004}}}
		if n := len(p.Splits); n < 5 || !reflect.DeepEqual(p.Splits[n-2:], want) {
			t.Errorf("splits %+v", p.Splits)
		}
		opts.Generation++
		opts.Inputs = []Source{s.put(t, "d", append([]byte("PAR1"), zeros...))}
		if _, err := Make(t.Context(), opts); !errors.As(err, new(*builder.KindError)) || !IsPermanent(err) || !strings.Contains(err.Error(), "/in/d: Parquet") {
			t.Errorf("error %v", err)
		}
	})
}

// Without a size, splits become larger until there are not too many. A size that
// gives too many is refused.
func TestSplitSizeFollowsInputs(t *testing.T) {
	s := newDirSite(t)
	in := s.put(t, "a.csv.gz", []byte("x"))
	in.Object.Size = DefaultSplitSize // not read, because it is not larger
	opts := s.makeOptions(slices.Repeat([]Source{in}, MaxSplits*3)...)
	opts.DryRun = true
	made, err := Make(t.Context(), opts)
	must(t, err)
	if n := len(made.Splits); n != MaxSplits*3/4 {
		t.Errorf("%d splits", n)
	}
	opts.SplitSize = DefaultSplitSize
	if _, err := Make(t.Context(), opts); !IsPermanent(err) || !strings.Contains(err.Error(), "larger splits") {
		t.Errorf("error %v", err)
	}
}

// Plans name absolute paths. A name that JSON cannot hold is refused.
func TestPlanNamesAbsolutePaths(t *testing.T) {
	s := newDirSite(t)
	t.Chdir(s.url)
	s.put(t, "a.csv", []byte("x"))
	s.url = "."
	p := makePlan(t, s.makeOptions(s.put(t, "a.csv", []byte("x"))))
	dir, err := os.Getwd()
	must(t, err)
	if p.Out != dir+"/out" || p.Inputs[0].URL != dir+"/in/a.csv" || p.URL() != dir+"/work/"+testID.String() {
		t.Errorf("%s: %+v", p.URL(), p)
	}
	in := s.put(t, "a.csv", []byte("x"))
	in.Object.Key = "\xff"
	if _, err := Make(t.Context(), s.makeOptions(in)); !IsPermanent(err) || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("error %v", err)
	}
}

// validPlan returns the text of a plan.
func validPlan(t testing.TB) string {
	p := &Plan{
		Version: 1, Generation: testID.String(), Planned: testID.Time(), Out: "/out", Shards: 16, ShardBy: "last",
		Policies: PoliciesOf(&builder.Options{}), Inputs: []Input{{"/in/a.csv", 100, "e"}, {"s3://bucket/b", 0, "e"}},
		Splits: [][]Range{{{0, 0, 50}}, {{0, 50, 100}, {1, 0, 0}}},
	}
	text, err := json.Marshal(p)
	must(t, err)
	return string(text)
}

// parsePlan parses and checks the text of a plan.
func parsePlan(text string) (*Plan, error) {
	p := new(Plan)
	if err := decode([]byte(text), p); err != nil {
		return nil, err
	}
	return p, p.check()
}

func TestPlanRefusesWrongFields(t *testing.T) {
	good := validPlan(t)
	_, err := parsePlan(good)
	must(t, err)
	for _, change := range [][2]string{
		{`"version":1`, `"version":0`},
		{`"version":1`, `"version":2`},
		{`"version":1`, `"version":1,"more":1`},
		{testID.String(), "../x"},
		{`"shards":16`, `"shards":17`},
		{`"shards":16`, `"shards":4294967312`},
		{`"shard_by":"last"`, `"shard_by":"none"`},
		{`"out":"/out"`, `"out":""`},
		{`"out":"/out"`, `"out":"out"`},
		{`"out":"/out"`, `"out":"/out/../etc"`},
		{`"out":"/out"`, `"out":"s3://"`},
		{`"/in/a.csv"`, `"/in/../a.csv"`},
		{`"/in/a.csv"`, `"in/a.csv"`},
		{`"/in/a.csv"`, `"gs://in/a.csv"`},
		{`"s3://bucket/b"`, `""`},
		{`"size":100`, `"size":-1`},
		{`"size":100`, `"size":99`},
		{`"size":0`, `"size":1`},
		{`"etag":"e"`, `"etag":""`},
		{`"from":50`, `"from":51`},
		{`"from":50`, `"from":-50`},
		{`"to":50`, `"to":101`},
		{`"input":1`, `"input":2`},
		{`"input":1`, `"input":-1`},
		{`],[`, `],[],[`},
		{`"duplicates":"last"`, `"duplicates":""`},
		{`"delimiter":","`, `"delimiter":"a"`},
		{`"delimiter":","`, `"delimiter":""`},
		{`"delimiter":","`, `"delimiter":",,"`},
		{`"max_bad_rows":0`, `"max_bad_rows":-1`},
		{`"max_shrink":0`, `"max_shrink":-1`},
		{`"max_added":0`, `"max_added":1e999`},
		{`}]]}`, `}]],"live":{}}`},
		{`}]]}`, `}]]`},
		{`}]]}`, `}]]} {}`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if _, err := parsePlan(text); !errors.Is(err, ErrFormat) || !IsPermanent(err) || text == good {
			t.Errorf("%s → %s: %v", change[0], change[1], err)
		}
	}
	if _, err := parsePlan(strings.Replace(good, `"version":1`, `"version":2`, 1)); err == nil || !strings.Contains(err.Error(), "the same promobuild") {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(validPlan(f))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlan(text)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v is not an ErrFormat", err)
			}
			return
		}
		again, err := json.Marshal(p)
		must(t, err)
		q, err := parsePlan(string(again))
		if err != nil || !q.equal(p) {
			t.Errorf("%s\nis accepted, but not\n%s: %v", text, again, err)
		}
		for shard := range p.Shards {
			if n, err := generation.ParseName(p.fileName(shard)); err != nil || n.ID != p.id {
				t.Errorf("file %q", p.fileName(shard))
			}
		}
	})
}

// validDone returns a plan and the text of a done file of its split 1.
func validDone(t testing.TB) (*Plan, string) {
	p, err := parsePlan(validPlan(t))
	must(t, err)
	p.digest = strings.Repeat("0f", 32)
	d := SplitDone{
		Version: 1, Plan: p.digest, Attempt: "0123456789abcdef", Rows: 10, BadRows: 1, Duplicates: 2, Lines: []int64{5, 7},
		Bad: []BadRow{{Range: 1, Line: 7, Column: 1, Reason: "id", Text: []byte("\xff")}}, Unterminated: []int{1}, InputBytes: 50,
	}
	for shard := range p.Shards {
		d.Files = append(d.Files, RunFile{p.fileName(shard), 4096, "e"})
	}
	text, err := json.Marshal(d)
	must(t, err)
	return p, string(text)
}

func parseDone(p *Plan, text string) (*SplitDone, error) {
	d := new(SplitDone)
	if err := decode([]byte(text), d); err != nil {
		return nil, err
	}
	return d, d.check(p, 1)
}

func TestSplitDoneRefusesWrongFields(t *testing.T) {
	p, good := validDone(t)
	_, err := parseDone(p, good)
	must(t, err)
	for _, change := range [][2]string{
		{`"version":1`, `"version":3`},
		{`"plan":"0f`, `"plan":"0e`},
		{`0123456789abcdef`, `../../../../x/..`},
		{`0123456789abcdef`, `0123456789ABCDEF`},
		{`0123456789abcdef`, ``},
		{`-00003-of-`, `-00002-of-`},
		{`promotions-`, `../promotions-`},
		{`"size":4096`, `"size":0`},
		{`"etag":"e"`, `"etag":""`},
		{`{"name"`, `{"name":"x","size":1,"etag":"e"},{"name"`},
		{`"lines":[5,7]`, `"lines":[5]`},
		{`"lines":[5,7]`, `"lines":[5,-7]`},
		{`"range":1`, `"range":2`},
		{`"range":1`, `"range":-1`},
		{`"line":7`, `"line":0`},
		{`"bad_rows":1`, `"bad_rows":0`},
		{`"bad_rows":1`, `"bad_rows":9`},
		{`"rows":10`, `"rows":-1`},
		{`"duplicates":2`, `"duplicates":11`},
		{`"unterminated":[1]`, `"unterminated":[2]`},
		{`"input_bytes":50`, `"input_bytes":-1`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if _, err := parseDone(p, text); !errors.Is(err, ErrFormat) || text == good {
			t.Errorf("%s → %s: %v", change[0], change[1], err)
		}
	}
}

func FuzzSplitDone(f *testing.F) {
	p, good := validDone(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDone(p, text)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v is not an ErrFormat", err)
			}
			return
		}
		if strings.ContainsAny(d.Attempt, "/.") || len(d.Files) != p.Shards {
			t.Errorf("%s is accepted", text)
		}
	})
}

func FuzzMergeDone(f *testing.F) {
	p, err := parsePlan(validPlan(f))
	must(f, err)
	text, err := json.Marshal(MergeDone{
		Version: 1, Plan: p.digest, File: transfer.File{Name: p.fileName(3), Size: 4096, SHA256: strings.Repeat("0f", 32)},
		Records: 1, Comparison: &diff.Counts{Added: 1},
	})
	must(f, err)
	f.Add(string(text))
	f.Fuzz(func(t *testing.T, text string) {
		d := new(MergeDone)
		err := decode([]byte(text), d)
		if err == nil {
			err = d.check(p, 3)
		}
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%v is not an ErrFormat", err)
		}
		if err == nil && (d.File.Name != p.fileName(3) || d.File.Size <= 0) {
			t.Errorf("%s is accepted", text)
		}
	})
}
