package httpd_test

import "testing"

// TestOtherHeader sends one whose name only begins as that of the transfer
// coding.
func TestOtherHeader(t *testing.T) {
	f := serveMemory(t, rows)
	for _, name := range []string{"Transfer-Encoding-Before", "Transfer-Encodings", "Transfer"} {
		f.get(t, "/promotions/"+exampleID, name, "identity").want(t, 200, exampleJSON)
	}
}
