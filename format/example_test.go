package format_test

import (
	"fmt"

	"promostore/format"
)

func ExampleOpen() {
	var f memFile
	w := format.NewWriter(&f, 1)
	key, upper, _ := format.ParseKey([]byte("172FFC14-D229-4C93-B06B-F48B8C095512"))
	price, _ := format.ParsePrice([]byte("9.68"))
	seconds, sep, rest, _ := format.ParseDate([]byte("2022-06-04 06:01:20"))
	style, _ := format.ParseTimestampStyle(sep, rest)
	batch, _ := w.Reserve([]format.Record{format.MakeRecord(key, upper, price, seconds, 0)})
	_ = batch.Write()
	h, _ := w.Finish(format.Header{Sharding: format.Unsharded}, []format.TimestampStyle{style})

	x, _ := format.Open(&f, h.FileLen)
	var r format.Record
	_, _ = f.ReadAt(r[:], format.BlockOff(0))
	fmt.Printf("%s\n", format.DefaultJSONOptions.AppendJSON(nil, &r, x.Styles))
	// Output: {"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}
}

func ExampleParsePrice() {
	p, err := format.ParsePrice([]byte("+09.680"))
	if err != nil {
		panic(err)
	}
	fmt.Println(p)                            // all decimals
	fmt.Println(string(p.AppendText(nil, 1))) // truncated to one
	// Output:
	// 9.680
	// 9.6
}
