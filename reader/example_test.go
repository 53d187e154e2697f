package reader_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

func ExampleOpen() {
	dir := exampleDir()
	defer os.RemoveAll(dir)

	f, err := reader.Open(gentest.Path(dir, exampleID), reader.AccessAuto)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	// Verify finds damaged blocks, and makes lookups faster.
	if err := f.Verify(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Header().Records, "records")

	key, ok := reader.ParseID([]byte("172ffc14-d229-4c93-b06b-f48b8c095512"))
	if !ok {
		log.Fatal("not an id")
	}
	r, found, err := f.Get(key)
	if err != nil {
		log.Fatal(err)
	}
	if found {
		fmt.Printf("%s\n", format.DefaultJSONOptions.AppendJSON(nil, &r, f.Styles()))
	}

	// Output:
	// 2 records
	// {"id":"172ffc14-d229-4c93-b06b-f48b8c095512","price":9.680,"expiration_date":"2022-06-04 06:01:20"}
}

func ExampleStore() {
	dir := exampleDir()
	defer os.RemoveAll(dir)

	s := reader.NewStore(dir, reader.StoreOptions{Notify: func(e reader.Event) {
		if e.Kind == reader.EventLive {
			fmt.Println("live:", e.ID)
		}
	}})
	defer s.Close()
	// A server calls Run instead, in a goroutine.
	if err := s.Poll(context.Background()); err != nil {
		log.Fatal(err)
	}

	// A request. The slot, here 7, is the number of its connection.
	g := s.Acquire(7)
	if g == nil {
		log.Fatal("no generation is live")
	}
	defer s.Release(g, 7)
	key, _ := reader.ParseID([]byte("{D018EF0B-DBD9-48F1-AC1A-EB4D90E57118}"))
	r, found, err := g.Get(key)
	if err != nil {
		s.Fault(g, err) // the file has changed: demote the generation
		log.Fatal(err)
	}
	fmt.Println(r.Price(), found)

	// Output:
	// live: 20260102T030405000Z
	// 60.683466 true
}

const exampleID = generation.ID(1767323045000) // 2026-01-02 03:04:05 UTC

// exampleDir returns a temporary directory with a generation of two promotions.
func exampleDir() string {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	gentest.PublishRows(exampleT{}, dir, exampleID,
		gentest.Row{ID: "d018ef0b-dbd9-48f1-ac1a-eb4d90e57118", Price: "60.683466", Date: "2018-08-04 05:32:31 +0200 CEST"},
		gentest.Row{ID: "172ffc14-d229-4c93-b06b-f48b8c095512", Price: "9.680", Date: "2022-06-04 06:01:20"},
	)
	return dir
}

// exampleT lets an example use package gentest.
type exampleT struct{}

func (exampleT) Helper()           {}
func (exampleT) Fatal(args ...any) { log.Fatal(args...) }
