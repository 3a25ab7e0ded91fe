"""The parts of a completion script that are the same whatever the commands are: `BASH`, `ZSH`, `FISH`.

For `str.format`: braces of the shell are doubled.
"""

BASH = r"""# Completion of spinesearch, made by `spinesearch completion`.
{lists}

_spinesearch() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="" key="" prefix="" offered="" values="" runs=""
    local command="${{COMP_WORDS[1]-}}"
    (( COMP_CWORD > 0 )) && before="${{COMP_WORDS[COMP_CWORD-1]}}"
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=( $(compgen -W "{commands}" -- "$current") )
        return
    fi
    case "$command" in
        {subcommands}) (( COMP_CWORD > 2 )) && command="$command ${{COMP_WORDS[2]}}" ;;
    esac
    # key=value: bash makes three words of it, other shells one.
    if [[ "$current" == "=" ]]; then
        key="$before" current=""
    elif [[ "$before" == "=" ]]; then
        key="${{COMP_WORDS[COMP_CWORD-2]}}"
    elif [[ "$current" == *=* ]]; then
        key="${{current%%=*}}" prefix="$key="
    fi
    if [[ -n "$key" ]]; then
        case "$key" in
{values}
        esac
        if [[ -n "$values" ]]; then
            COMPREPLY=( $(compgen -P "$prefix" -W "$values" -- "${{current#"$prefix"}}") )
        else
            COMPREPLY=( $(compgen -P "$prefix" -f -- "${{current#"$prefix"}}") )
        fi
        return
    fi
    case "$command $before" in
{cases_of_options}
    esac
    if [[ -n "$values" ]]; then
        COMPREPLY=( $(compgen -W "$values" -- "$current") )
        return
    fi
    case "$command" in
{cases}
    esac
    if [[ -n "$runs" ]]; then
        local ledger
        for ledger in runs/*/ledger.jsonl; do
            [[ -e "$ledger" ]] && ledger="${{ledger%/ledger.jsonl}}" && offered+=" ${{ledger#runs/}}"
        done
    fi
    COMPREPLY=( $(compgen -W "$offered" -- "$current") $(compgen -f -- "$current") )
    if [[ "${{COMPREPLY[0]-}}" == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}}

complete -o bashdefault -F _spinesearch spinesearch
"""

# Before the script for bash, whose completion zsh can take over.
ZSH = """autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit

"""

FISH = """# Completion of spinesearch, made by `spinesearch completion`.
function __spinesearch_runs
    for ledger in runs/*/ledger.jsonl
        string replace -r '^runs/(.*)/ledger.jsonl$' '$1' $ledger
    end
end

{lines}
"""
