//go:build system

package objects_test

import "promostore/internal/objecttest"

func init() { servers["versitygw"] = objecttest.Gateway }
