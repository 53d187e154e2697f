package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

const bashCompletion = `_promoserve() {
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}") cur="${COMP_WORDS[COMP_CWORD]}"
	[[ $cur == -* ]] && words+=("$cur")
	mapfile -t COMPREPLY < <(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur")
}
complete -o bashdefault -o default -F _promoserve promoserve
`

const zshCompletion = `#compdef promoserve
_promoserve() {
	local -a values
	local -a line=("${(@)words[1,CURRENT-1]}")
	[[ ${words[CURRENT]} == -* ]] && line+=("${words[CURRENT]}")
	values=("${(@f)$(_CLI_ZSH_AUTOCOMPLETE_HACK=1 "${line[@]}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n ${values[1]} ]]; then
		_describe 'promoserve' values
	else
		_files
	fi
}
compdef _promoserve promoserve
`

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:            "completion",
		Usage:           "print what makes a shell complete the flags of promoserve",
		UsageText:       "promoserve completion bash|zsh|fish",
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
