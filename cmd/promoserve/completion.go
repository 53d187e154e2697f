package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself, by --generate-bash-completion. Where it
// has nothing to offer the shell completes files.
const (
	bashCompletion = `_promoserve() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}")
	if [[ $cur == -* ]]; then
		words+=("$cur")
	fi
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _promoserve promoserve
`
	zshCompletion = `#compdef promoserve
_promoserve() {
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
compdef _promoserve promoserve
`
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:            "completion",
		Usage:           "print a script that completes flags in a shell",
		ArgsUsage:       "bash|zsh|fish",
		Description:     "Example:\n   source <(promoserve completion bash)",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return fmt.Errorf("%w: completion needs one of bash, zsh and fish", errUsage)
			}
			var script string
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				var err error
				if script, err = c.App.ToFishCompletion(); err != nil {
					return err
				}
			default:
				return fmt.Errorf("%w: %q is none of bash, zsh and fish", errUsage, shell)
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}
