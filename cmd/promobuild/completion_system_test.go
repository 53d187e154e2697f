//go:build system

package main

import "testing"

func TestCompletionInZsh(t *testing.T) {
	completes(t, []string{"zsh", "-f", "-i"}, "autoload -U compinit && compinit -D -u && source <(promobuild completion zsh)")
}

func TestCompletionInFish(t *testing.T) {
	completes(t, []string{"fish", "--no-config", "--interactive"}, "promobuild completion fish | source")
}
