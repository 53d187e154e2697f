package generation_test

import (
	"fmt"
	"time"

	"promostore/format/generation"
)

func ExampleName() {
	id := generation.IDOf(time.Date(2026, 11, 22, 10, 30, 0, 123e6, time.UTC))
	fmt.Println(generation.Name{ID: id, Shards: 1})
	// Output: promotions-20261122T103000123Z-00000-of-00001.pgen
}
