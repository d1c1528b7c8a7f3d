# bash completion for apriel-tool. The program itself says what may stand where the cursor is:
# a word and a tab a line, or which files.
_apriel_tool() {
    local current=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]/#\~/$HOME} prefix= line
    local -a words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=()
    case $current in # "=" cuts words, unless somebody took it out of COMP_WORDBREAKS
    =) current= ;;
    [a-z-]*=*) prefix=${current%="${current##*=}"}= current=${current##*=} ;;
    esac
    while IFS= read -r line; do
        case $line in
        :directories)
            compopt -o filenames
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -P "$prefix" -- "$current")
            ;;
        :files*)
            compopt -o filenames
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(
                compgen -f -X "!${line#:files }" -P "$prefix" -- "$current"
                compgen -d -P "$prefix" -- "$current"
            )
            ;;
        *) COMPREPLY+=("$prefix${line%%$'\t'*}") ;;
        esac
    done < <("$program" --complete "${words[@]}" 2>/dev/null)
    [[ ${COMPREPLY[0]-} != *= || ${#COMPREPLY[@]} -ne 1 ]] || compopt -o nospace
}
complete -F _apriel_tool apriel-tool
