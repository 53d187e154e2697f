package program

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts call the program with the argument __complete and the words of the
// command line up to the cursor; see complete. Package cli completes flags and
// commands only, and no values.
const (
	bashScript = `_PROGRAM() {
	local cur glue line i IFS=$'\n'
	local -a words=() lines
	for ((i = 1; i <= COMP_CWORD; i++)); do # --flag=value is three words of bash
		if [[ ${COMP_WORDS[i]} == '=' && ${#words[@]} -gt 0 ]]; then
			words[-1]+='='
			glue=1
		elif [[ $glue ]]; then
			words[-1]+=${COMP_WORDS[i]}
			glue=
		else
			words+=("${COMP_WORDS[i]}")
		fi
	done
	cur=${words[-1]}
	mapfile -t lines < <("${COMP_WORDS[0]/#\~/$HOME}" __complete "${words[@]//\\/}" 2>/dev/null)
	COMPREPLY=()
	for line in "${lines[@]}"; do
		case $line in
		:files)
			compopt -o filenames
			COMPREPLY+=($(compgen -f -- "${cur#--*=}"))
			;;
		:directories)
			compopt -o filenames
			COMPREPLY+=($(compgen -d -- "${cur#--*=}"))
			;;
		*)
			line=${line%%$'\t'*}
			COMPREPLY+=("${line#--*=}")
			;;
		esac
	done
} 2>/dev/null
complete -F _PROGRAM PROGRAM
`
	zshScript = `#compdef PROGRAM
_PROGRAM() {
	local -a request lines offers
	local line directive
	request=("${(@Q)words[1,CURRENT]}")
	lines=("${(@f)$("${request[1]}" __complete "${(@)request[2,-1]}" 2>/dev/null)}")
	for line in $lines; do
		case $line in
		:files|:directories) directive=$line ;;
		*$'\t'*) offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
		*) offers+=("${line//:/\\:}") ;;
		esac
	done
	if (( $#offers )); then
		_describe -V PROGRAM offers
	fi
	case $directive in
	:files) compset -P '--*='; _files ;;
	:directories) compset -P '--*='; _files -/ ;;
	esac
}
if [[ $funcstack[1] == _PROGRAM ]]; then
	_PROGRAM
else
	compdef _PROGRAM PROGRAM
fi
`
	fishScript = `function __PROGRAM_complete
	set -l words (commandline -opc)
	set -l program $words[1]
	set -e words[1]
	set -l cur (commandline -ct)
	set -l prefix (string match -r -- '^--[^=]*=' "$cur")
	set -l path (string replace -r -- '^--[^=]*=' '' "$cur")
	for line in ($program __complete $words "$cur" 2>/dev/null)
		switch $line
			case :files
				string replace -r -- '^' "$prefix" (__fish_complete_path "$path")
			case :directories
				string replace -r -- '^' "$prefix" (__fish_complete_directories "$path" '')
			case '*'
				echo $line
		end
	end
end
complete -c PROGRAM -f -k -a '(__PROGRAM_complete)'
`
)

var scripts = map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}

// CompletionCommand returns the command that prints a completion script for a
// shell.
func CompletionCommand(program string) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell completion script",
		ArgsUsage: "bash|zsh|fish",
		Description: strings.ReplaceAll(`Print a script that completes commands, flags and their values, generation IDs
and file names.

Examples:
   source <(PROGRAM completion bash)
   PROGRAM completion bash > /etc/bash_completion.d/PROGRAM
   PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
   PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`, "PROGRAM", program),
		Action: Printing(func(c *cli.Context) error {
			args, err := Args(c, 1, 1)
			if err != nil {
				return err
			}
			if err := checkChoice(args[0], []string{"bash", "zsh", "fish"}); err != nil {
				return Usagef("shell %v", err)
			}
			_, err = fmt.Fprint(c.App.Writer, strings.ReplaceAll(scripts[args[0]], "PROGRAM", program))
			return err
		}),
	}
}
