package builder_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"promostore/builder"
)

func ExampleBuild() {
	dir, err := os.MkdirTemp("", "promotions")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	csv := `id,price,expiration_date
d018ef0b-dbd9-48f1-ac1a-eb4d90e57118,60.683466,2018-08-04 05:32:31 +0200 CEST
172FFC14-D229-4C93-B06B-F48B8C095512,9.68,2022-06-04 06:01:20
d018ef0b-dbd9-48f1-ac1a-eb4d90e57118,61.00,2018-08-04 05:32:31 +0200 CEST
`
	summary, err := builder.Build(context.Background(), builder.Options{
		Inputs: []builder.Input{builder.StreamInput("promotions.csv", strings.NewReader(csv))},
		Dir:    dir,
		Memory: builder.MinMemory,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(summary.Rows, "rows")
	fmt.Println(summary.Records, "records")
	fmt.Println(summary.Duplicates, "duplicate")
	// Output:
	// 3 rows
	// 2 records
	// 1 duplicate
}
