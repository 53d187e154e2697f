// Thirdparty writes the modules that are linked into the programs, with the names
// of their licences, to the file named by its argument. With the argument texts
// before it, it writes the licences themselves, which packages have to contain.
//
// It recognizes a licence by a phrase that no other licence contains. A module
// without a known licence is an error: a person has to read its licence.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const programs = "promostore/cmd/..."

func main() {
	write, args := list, os.Args[1:]
	if len(args) == 2 && args[0] == "texts" {
		write, args = texts, args[1:]
	}
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: thirdparty [texts] FILE")
		os.Exit(2)
	}
	page, err := write()
	if err == nil {
		err = os.WriteFile(args[0], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

// A module is a module that is linked into a program.
type module struct {
	path, version string
	dir           string
}

// list returns the page.
func list() ([]byte, error) {
	modules, err := linked()
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	page.WriteString("# Third-party software\n\n" +
		"The modules that are linked into promobuild and promoserve. `make audit` writes this page. " +
		"The packages of `make packages` contain the texts of the licences.\n\n" +
		"| module | version | licence |\n|---|---|---|\n")
	for _, m := range modules {
		names, err := licences(m.dir)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.path, m.version, err)
		}
		fmt.Fprintf(&page, "| %s | %s | %s |\n", m.path, m.version, strings.Join(names, ", "))
	}
	return page.Bytes(), nil
}

var apache = regexp.MustCompile(`(?s)Apache License\s+Version 2\.0, January 2004.*?END OF TERMS AND CONDITIONS`)

// texts returns the licences and notices of all modules. It names the terms of the
// Apache License, which the packages contain once, or Debian for all packages.
func texts() ([]byte, error) {
	modules, err := linked()
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	page.WriteString("promostore is licensed under the Apache License, Version 2.0. Its text is in\n" +
		"/usr/share/common-licenses/Apache-2.0 on Debian, and elsewhere in\n/usr/share/licenses/promostore/LICENSE.\n\n" +
		"The programs contain the following modules.\n")
	for _, m := range modules {
		fmt.Fprintf(&page, "\n%s\n%s\n", strings.Repeat("-", 78), strings.TrimSpace(m.path+" "+m.version))
		files, err := licenceFiles(m.dir)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			text, err := os.ReadFile(filepath.Join(m.dir, name))
			if err != nil {
				return nil, err
			}
			text = apache.ReplaceAllLiteral(text, []byte("Apache License, Version 2.0"))
			fmt.Fprintf(&page, "\n%s\n", bytes.TrimSpace(text))
		}
	}
	return page.Bytes(), nil
}

// linked returns the standard library and the modules that contain packages of
// the programs.
func linked() ([]module, error) {
	const format = `{{if .Standard}}{{else}}{{with .Module}}{{if not .Main}}` +
		`{{if .Replace}}{{.Replace.Path}} {{.Replace.Version}}{{else}}{{.Path}} {{.Version}}{{end}} {{.Dir}}{{end}}{{end}}{{end}}`
	out, err := run("go", "list", "-deps", "-f", format, programs)
	if err != nil {
		return nil, err
	}
	env, err := run("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	root := strings.TrimSpace(env)
	// Its version is left out: it depends on the machine that builds.
	modules := []module{{"Go, the standard library", "", root}}
	for line := range strings.Lines(out) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(fields) != 3 {
			continue // a package of this module or of the standard library
		}
		if m := (module{fields[0], fields[1], fields[2]}); !slices.Contains(modules, m) {
			modules = append(modules, m)
		}
	}
	slices.SortFunc(modules[1:], func(a, b module) int { return strings.Compare(a.path, b.path) })
	return modules, nil
}

func run(name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, &stderr)
	}
	return string(out), nil
}

var errLicence = errors.New("no known licence")

// licenceFiles returns the names of the licences and notices in dir.
func licenceFiles(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !e.IsDir() && slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}, func(prefix string) bool {
			return strings.HasPrefix(name, prefix)
		}) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// licences returns the SPDX identifiers of the licences in dir, sorted.
func licences(dir string) ([]string, error) {
	files, err := licenceFiles(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		found := namesIn(string(text))
		if len(found) == 0 && !strings.HasPrefix(strings.ToUpper(file), "NOTICE") {
			return nil, fmt.Errorf("%s: %w", file, errLicence)
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		return nil, errLicence
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// namesIn returns the SPDX identifiers of the licences in a text.
func namesIn(text string) (names []string) {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	for name, phrase := range map[string]string{
		"Apache-2.0": "apache license version 2.0",
		"ISC":        "permission to use, copy, modify, and/or distribute",
		"MIT":        "permission is hereby granted, free of charge, to any person obtaining a copy",
		"MPL-2.0":    "mozilla public license version 2.0",
	} {
		if strings.Contains(text, phrase) {
			names = append(names, name)
		}
	}
	if strings.Contains(text, "redistribution and use in source and binary forms") {
		name := "BSD-2-Clause"
		if strings.Contains(text, "to endorse or promote products") {
			name = "BSD-3-Clause"
		}
		names = append(names, name)
	}
	return names
}
