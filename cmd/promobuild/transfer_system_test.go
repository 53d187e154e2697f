//go:build system

package main

import (
	"testing"

	"promostore/internal/objecttest"
)

// A real server stores generations like the one in the process of other tests.
func TestPushAndPullOfRealServer(t *testing.T) {
	objecttest.Gateway(t).Setenv(t)
	x := newTransferTest(t, "s3://"+objecttest.Bucket+"/promotions")
	for range 4 { // the third and the fourth push delete an old one
		id := x.build(t)
		complete(t, x.pushCommand())
		complete(t, x.pushCommand())
		complete(t, x.pullCommand())
		if got := x.served(t, x.node); got != id {
			t.Errorf("the node serves %s, want %s", got, id)
		}
	}
}
