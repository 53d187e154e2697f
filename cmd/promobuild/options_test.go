package main

import (
	"testing"

	"promostore/internal/sysmem"
)

func TestMemoryWarning(t *testing.T) {
	if warning := memoryWarning(sysmem.Total()); warning != "" {
		t.Errorf("all memory: %s", warning)
	}
	if memoryWarning(sysmem.Total()+1) == "" {
		t.Error("no warning of more memory than there is")
	}
}
