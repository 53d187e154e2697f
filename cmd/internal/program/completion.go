package program

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts call the program with --generate-bash-completion. The shell
// completes file names where the program offers nothing.
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

// CompletionCommand returns the command that prints a completion script for a
// shell.
func CompletionCommand(program string) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell completion script",
		ArgsUsage: "bash|zsh|fish",
		Description: strings.ReplaceAll(`Print a script that completes commands and flags.

Examples:
   source <(PROGRAM completion bash)
   PROGRAM completion bash > /etc/bash_completion.d/PROGRAM
   PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`, "PROGRAM", program),
		Action: Printing(func(c *cli.Context) error {
			args, err := Args(c, 1, 1)
			if err != nil {
				return err
			}
			var script string
			switch args[0] {
			case "bash":
				script = bashScript
			case "zsh":
				script = zshScript
			case "fish":
				if script, err = c.App.ToFishCompletion(); err != nil {
					return err
				}
			default:
				return Usagef("shell %v", checkChoice(args[0], []string{"bash", "zsh", "fish"}))
			}
			_, err = fmt.Fprint(c.App.Writer, strings.ReplaceAll(script, "PROGRAM", program))
			return err
		}),
	}
}
