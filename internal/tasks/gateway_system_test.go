//go:build system

package tasks

import (
	"testing"

	"promostore/internal/objecttest"
)

func init() {
	sites["versitygw"] = func(t testing.TB) site { return newServerSite(t, objecttest.Gateway(t)) }
}
