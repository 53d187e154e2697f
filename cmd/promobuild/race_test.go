//go:build race

package main

// killShare divides the numbers of kills. The race detector makes processes several
// times as slow, and does not depend on when they are killed.
const killShare = 4
