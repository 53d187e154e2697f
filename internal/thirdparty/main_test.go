package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCurrent compares THIRD_PARTY.md with the page that would be written now.
func TestCurrent(t *testing.T) {
	want, err := list()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"| github.com/valyala/fasthttp | v", "| Go, the standard library |  | BSD-3-Clause |"} {
		if !strings.Contains(string(want), module) {
			t.Errorf("no %q in\n%s", module, want)
		}
	}
	got, err := os.ReadFile("../../THIRD_PARTY.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("THIRD_PARTY.md is stale: run \"go run ./internal/thirdparty THIRD_PARTY.md\". It should be\n%s", want)
	}
}

func TestLicences(t *testing.T) {
	const (
		bsd2 = "Redistribution and use in\n source and binary forms"
		bsd3 = bsd2 + " ... to endorse or promote\nproducts"
		mit  = "Permission is hereby granted, free of charge, to any person obtaining a copy"
	)
	for name, c := range map[string]struct {
		files map[string]string
		want  string // empty: an error
	}{
		"none":          {nil, ""},
		"two clauses":   {map[string]string{"LICENSE": bsd2}, "BSD-2-Clause"},
		"three clauses": {map[string]string{"COPYING": bsd3}, "BSD-3-Clause"},
		"several":       {map[string]string{"LICENSE": mit + bsd3, "licence.txt": "Apache License\n Version 2.0"}, "Apache-2.0 BSD-3-Clause MIT"},
		"twice":         {map[string]string{"LICENSE": mit, "LICENSE.md": mit}, "MIT"},
		"unknown":       {map[string]string{"LICENSE": "all rights reserved"}, ""},
		"one unknown":   {map[string]string{"LICENSE": mit, "LICENSE-2": "all rights reserved"}, ""},
		"elsewhere":     {map[string]string{"README": mit}, ""},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := licences(dir)
		if strings.Join(got, " ") != c.want || (c.want == "") != errors.Is(err, errLicence) {
			t.Errorf("%s: %v, %v, want %q", name, got, err, c.want)
		}
	}
}

// TestTexts checks that the licences and notices of all modules are there, and the
// terms of the Apache License are not.
func TestTexts(t *testing.T) {
	page, err := texts()
	if err != nil {
		t.Fatal(err)
	}
	modules, err := linked()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if _, text, ok := strings.Cut(string(page), "\n"+strings.TrimSpace(m.path+" "+m.version)+"\n\n"); !ok || strings.HasPrefix(text, "---") {
			t.Errorf("%s has no licence", m.path)
		}
	}
	if !strings.Contains(string(page), "This product includes software developed at CoreOS") {
		t.Error("the notice of a module is missing")
	}
	if strings.Contains(string(page), "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION") {
		t.Error("the terms of the Apache License are there")
	}
}
