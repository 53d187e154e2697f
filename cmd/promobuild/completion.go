package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands and flags in a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Example:
   promobuild completion bash > /etc/bash_completion.d/promobuild
   source <(promobuild completion bash)
   promobuild completion fish > ~/.config/fish/completions/promobuild.fish`,
		Action: completion,
	}
}

// The scripts ask the program itself, by --generate-bash-completion. Where it
// has nothing to offer the shell completes files.
const (
	bashCompletion = `_promobuild() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}")
	if [[ $cur == -* ]]; then
		words+=("$cur")
	fi
	local IFS=$'\n'
	mapfile -t COMPREPLY < <(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur")
}
complete -o bashdefault -o default -F _promobuild promobuild
`
	zshCompletion = `#compdef promobuild
_promobuild() {
	local -a request offers
	request=("${(@)words[1,CURRENT-1]}")
	if [[ $words[CURRENT] == -* ]]; then
		request+=("$words[CURRENT]")
	fi
	offers=("${(@f)$("${request[@]}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n $offers[1] ]]; then
		compadd -a offers
	else
		_files
	fi
}
compdef _promobuild promobuild
`
)

func completion(c *cli.Context) error {
	args, err := wantArgs(c, 1, 1)
	if err != nil {
		return err
	}
	var script string
	switch args[0] {
	case "bash":
		script = bashCompletion
	case "zsh":
		script = zshCompletion
	case "fish":
		if script, err = c.App.ToFishCompletion(); err != nil {
			return fmt.Errorf("completion: %w", err)
		}
	default:
		return usagef("completion: shell %q is none of bash, zsh and fish", args[0])
	}
	_, err = fmt.Fprint(c.App.Writer, script)
	return err
}
