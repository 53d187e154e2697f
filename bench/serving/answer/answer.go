// Package answer is how a promotion is answered by the servers that promoserve
// is compared with: in the same bytes.
package answer

import (
	"bytes"

	"promostore/format"
)

// NotFound is the answer for an id that is not there.
const NotFound = `{"error":"promotion not found"}`

// dateLen is the wall clock of a date of the CSV, which stands in front.
const dateLen = len("2018-06-04 06:01:20")

// AppendRow appends the promotion with this key. row is the rest of its row in
// the CSV, price and date with a comma between them.
func AppendRow(dst []byte, key format.Key, row []byte) []byte {
	price, date, _ := bytes.Cut(row, []byte(","))
	return AppendJSON(dst, key, price, date)
}

// AppendJSON appends the promotion with this key. price and date are those of
// the CSV.
func AppendJSON(dst []byte, key format.Key, price, date []byte) []byte {
	dst = key.AppendText(append(dst, `{"id":"`...), false)
	dst = append(append(dst, `","price":`...), price...)
	dst = append(append(dst, `,"expiration_date":"`...), date[:min(len(date), dateLen)]...)
	return append(dst, `"}`...)
}
