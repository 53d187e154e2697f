//go:build !race

package main

const killShare = 1 // see race_test.go
