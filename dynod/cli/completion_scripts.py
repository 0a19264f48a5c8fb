"""The scripts of `dynod completion`: each asks that verb what a word may become, and tells its shell.

An answer has a line for each: its kind (`plain`; `file` and `dir`: any path), the word, and what is said beside it,
with tabs between. Data, and no code of ours in it but that.
"""

from collections.abc import Mapping
from typing import Final

# bash takes a word apart at ":" and "=", which are of its COMP_WORDBREAKS, and replaces only what follows the last one.
_BASH: Final = r"""_dynod_completion() {
    local kind value beside line word before
    line="${COMP_LINE:0:COMP_POINT}"
    word="${line##*[[:space:]]}"
    COMPREPLY=()
    while IFS=$'\t' read -r kind value beside; do
        if [[ $kind == plain ]]; then COMPREPLY+=("$value"); fi
    done < <("$1" completion bash --line "$line" 2> /dev/null)
    if [[ $word == *[:=]* ]]; then
        before="${word%"${word##*[:=]}"}"
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2> /dev/null; fi
}
complete -o bashdefault -o default -F _dynod_completion dynod
"""

_ZSH: Final = r"""#compdef dynod
_dynod() {
    local kind value beside
    local -a found assigned
    while IFS=$'\t' read -r kind value beside; do
        case $kind in
            (plain)
                if [[ $value == *= ]]; then
                    assigned+=("${value//:/\\:}:$beside")
                else
                    found+=("${value//:/\\:}:$beside")
                fi;;
            (file) _files;;
            (dir) _files -/;;
        esac
    done < <("${words[1]}" completion zsh -- "${(@)words[2,$CURRENT]}" 2> /dev/null)
    if (( $#found )); then _describe -V dynod found; fi
    if (( $#assigned )); then _describe -V dynod assigned -S ''; fi
}
if [[ $funcstack[1] == _dynod ]]; then _dynod "$@"; else compdef _dynod dynod; fi
"""

_FISH: Final = r"""function __dynod_completion
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] completion fish -- $words[2..-1] "$current" 2> /dev/null)
        set -l parts (string split -m 2 \t -- $line)
        switch $parts[1]
            case plain
                printf '%s\t%s\n' $parts[2] "$parts[3]"
            case file
                __fish_complete_path $current
            case dir
                __fish_complete_directories $current
        end
    end
end
complete -c dynod -f -a '(__dynod_completion)'
"""

SCRIPTS: Final[Mapping[str, str]] = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}
