package program

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself, by --generate-bash-completion. Where it
// has nothing to offer the shell completes files.
const (
	bashScript = `_PROGRAM() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}")
	if [[ $cur == -* ]]; then
		words+=("$cur")
	fi
	local IFS=$'\n'
	mapfile -t COMPREPLY < <(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur")
}
complete -o bashdefault -o default -F _PROGRAM PROGRAM
`
	zshScript = `#compdef PROGRAM
_PROGRAM() {
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
compdef _PROGRAM PROGRAM
`
)

// CompletionCommand prints a script that completes the commands and flags of
// a program in a shell. usage makes the error of a wrong call
// out of its reason.
func CompletionCommand(program string, usage func(reason string) error) *cli.Command {
	return &cli.Command{
		Name:            "completion",
		Usage:           "print a script that completes commands and flags in a shell",
		ArgsUsage:       "bash|zsh|fish",
		HideHelpCommand: true,
		Description: strings.ReplaceAll(`Example:
   PROGRAM completion bash > /etc/bash_completion.d/PROGRAM
   source <(PROGRAM completion bash)
   PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`, "PROGRAM", program),
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usage("completion: one of bash, zsh and fish is needed")
			}
			var script string
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashScript
			case "zsh":
				script = zshScript
			case "fish":
				var err error
				if script, err = c.App.ToFishCompletion(); err != nil {
					return fmt.Errorf("completion: %w", err)
				}
			default:
				return usage(fmt.Sprintf("completion: shell %q is none of bash, zsh and fish", shell))
			}
			_, err := fmt.Fprint(c.App.Writer, strings.ReplaceAll(script, "PROGRAM", program))
			return err
		},
	}
}
