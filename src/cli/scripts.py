"""What a shell reads to complete our words on Tab: of ``residual``, or in the clone of ``python -m src.<command>``."""

BASH = r"""
_{name}() {
    local line="${COMP_LINE:0:COMP_POINT}" word cut="" IFS=$'\n'
    word="${line##*[[:space:]]}"
    COMPREPLY=($({ask} --complete "$line" 2>/dev/null))
    # bash has split the word at these signs already
    [[ $COMP_WORDBREAKS == *=* ]] && cut="${word%"${word##*=}"}"
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && cut="${word%"${word##*:}"}"
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.:,] ]] && compopt -o nospace 2>/dev/null
    return 0
}
"""
ZSH = r"""
_{name}() {
    local -a found open closed
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    found=(${(f)"$({ask} --complete "$line" 2>/dev/null)"})
    if (( ! $#found )); then
        compset -P '*='
        _files
        return
    fi
    open=(${(M)found:#*[=.:,]})
    closed=(${found:#*[=.:,]})
    (( $#open )) && compadd -S '' -- $open
    (( $#closed )) && compadd -- $closed
}
"""
COMPINIT = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"
FISH = r"""
function __{name}
    set -l program (commandline -opc)[1]
    set -l found ({ask} --complete (commandline -cp | string collect) 2>/dev/null | string match -rv '^$')
    if test (count $found) -gt 0
        printf '%s\n' $found
        return
    end
    set -l word (commandline -ct)
    set -l key (string match -r '^.*=' -- $word)
    for path in (complete -C "__residual_files "(string replace -r '^.*=' '' -- $word))
        echo $key$path
    end
end
"""


def fill(template: str, name: str, ask: str) -> str:
    """Return a template with the name of its function, and the command that it asks."""
    return template.replace("{name}", name).replace("{ask}", ask).lstrip()


SCRIPTS: dict[str, dict[str, str]] = {
    "bash": {
        "residual": fill(BASH, "residual", "residual") + "complete -o bashdefault -o default -F _residual residual",
        "python": fill(BASH, "residual_lines", '"${COMP_WORDS[0]}" -m src')
        + '_residual_python() {\n    [[ $COMP_LINE == *" -m src"* ]] && _residual_lines || COMPREPLY=()\n}\n'
        + "complete -o bashdefault -o default -F _residual_python python python3 .venv/bin/python",
    },
    "zsh": {
        "residual": COMPINIT + fill(ZSH, "residual", "residual") + "compdef _residual residual",
        "python": COMPINIT
        + fill(ZSH, "residual_lines", "$words[1] -m src")
        + "_residual_python() {\n"
        + '    if [[ "$words" == *" -m src"* ]]; then _residual_lines\n'
        + "    elif (( $+functions[_python] )); then _python\n"
        + "    else _files\n    fi\n}\n"
        + "compdef _residual_python python python3 .venv/bin/python",
    },
    "fish": {
        "residual": fill(FISH, "residual_words", "residual") + "complete -c residual -f -k -a '(__residual_words)'",
        "python": fill(FISH, "residual_words", "$program -m src")
        + "for name in python python3\n"
        + "    complete -c $name -f -k -n 'string match -q \"* -m src*\" -- (commandline -cp)'"
        + " -a '(__residual_words)'\n"
        + "end",
    },
}
