package tasks

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/synth"
)

const testID = generation.ID(1_795_341_600_000)

var sharding16 = format.Sharding{Rule: format.ShardLast, Shards: 16}

// A site has places for the inputs, the work and the output of a plan.
type site struct {
	url    string // of all
	opts   objects.Options
	server *objecttest.Server // nil: a directory
}

// newDirSite returns a site in a directory.
func newDirSite(t testing.TB) site { return site{url: t.TempDir()} }

// newS3Site returns a site in a bucket of a server in this process.
func newS3Site(t testing.TB) site { return newServerSite(t, objecttest.New(t)) }

func newServerSite(t testing.TB, server *objecttest.Server) site {
	server.Setenv(t)
	return site{"s3://" + objecttest.Bucket + "/site", server.Options(), server}
}

// sites make a site of each kind.
var sites = map[string]func(t testing.TB) site{"directory": newDirSite, "s3": newS3Site}

// eachSite runs test in a site of each kind.
func eachSite(t *testing.T, test func(t *testing.T, s site)) {
	for name, newSite := range sites {
		t.Run(name, func(t *testing.T) { test(t, newSite(t)) })
	}
}

func (s site) folder(t testing.TB, name string) folder {
	t.Helper()
	f, err := openFolder(s.url+"/"+name, s.opts)
	must(t, err)
	return f
}

// put writes an input and returns it.
func (s site) put(t testing.TB, name string, data []byte) Source {
	t.Helper()
	return s.putIn(t, "in", name, data)
}

// putIn writes an input into a folder of the site and returns it.
func (s site) putIn(t testing.TB, folder, name string, data []byte) Source {
	t.Helper()
	f := s.folder(t, folder)
	_, err := f.store.Put(context.Background(), f.prefix+name, bytes.NewReader(data), int64(len(data)), objects.Always)
	must(t, err)
	r, err := f.store.Open(context.Background(), f.prefix+name)
	must(t, err)
	defer r.Close()
	return Source{f.store, r.Object()}
}

// makeOptions returns options that plan these inputs.
func (s site) makeOptions(inputs ...Source) MakeOptions {
	return MakeOptions{
		Work: s.url + "/work", Out: s.url + "/out", Objects: s.opts, Inputs: inputs, Generation: testID, Sharding: sharding16,
		Policies: PoliciesOf(&builder.Options{}),
	}
}

// keys returns the keys of the objects below a folder of the site, without it.
func (s site) keys(t testing.TB, name string) (keys []string) {
	t.Helper()
	f := s.folder(t, name)
	for o, err := range f.store.List(context.Background(), f.prefix) {
		must(t, err)
		keys = append(keys, o.Key[len(f.prefix):])
	}
	return keys
}

func makePlan(t testing.TB, opts MakeOptions) *Plan {
	t.Helper()
	made, err := Make(context.Background(), opts)
	must(t, err)
	must(t, made.Sweep)
	return made.Plan
}

func taskOptions(t testing.TB) Options {
	return Options{Memory: builder.MinMemory, Workers: 2, TempDir: t.TempDir()}
}

// csvOf returns the text of a data set.
func csvOf(t testing.TB, d synth.DataSet) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := d.WriteTo(&b)
	must(t, err)
	return b.Bytes()
}

// filesIn returns the paths of all regular files below a directory.
func filesIn(t testing.TB, dir string) (paths []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	slices.Sort(paths)
	return paths
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
