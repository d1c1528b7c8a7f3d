#!/bin/sh
# Completion: what the program offers, and what bash and zsh make of it, typed into a terminal.
. "$(dirname "$0")/common.sh"

mkdir work tokens models
: >tokens/a.h5
: >rows.h5
: >rows.txt
: >scores.db
: >plan.json
: >"a file.h5"

# offers "WORD WORD…" ARGUMENTS...: these words, and lines of the shell's own, in this order.
offers() {
    wanted=$1
    shift
    found=$("$program" --complete "$@" | cut -f 1 | tr '\n' ' ')
    [ "${found% }" = "$wanted" ] || complain "--complete $*: \"$found\""
}
offers 'loo' lo
offers 'plan' help pl
offers '--help' --h
offers 'mixer block' loo --ablate ''
offers 'block' loo --ablate b
offers 'block' loo --ablate=b
offers 'block' loo --ablate = b
offers 'mixer block' loo --ablate =
offers '' loo --ablate x
offers '--data' loo --da
offers '--data' loo MODEL --ablate mixer --da
offers ':files *.h5' loo --data ''
offers ':files *.h5' data -o ''
offers ':files *.h5' data --output ''
offers ':files *' data -o x.h5 ''
offers ':directories' loo ''
offers ':directories' loo -- --da
offers 'recall' eval --task rec
offers 'gsm8k=' eval --task gsm
offers ':files *.jsonl' eval --task gsm8k = x
offers ':files *.jsonl' eval --task=gsm8k=x
offers '' loo --seed ''
offers '--json' version --j
offers 'auto cpu cuda' mmr --device ''
offers '' nonsense --da

# Every command, every option of its help and every choice is offered.
for command in $("$program" --complete '' | cut -f 1 | grep '^[a-z]'); do
    [ "$command" != help ] || continue
    "$program" "$command" --help >help || complain "$command --help"
    sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z0-9][a-z0-9-]*\).*/\2/p' help | sort >expected
    "$program" "$command" --complete -- >found 2>errors
    [ ! -s errors ] || complain "$command --complete: $(cat errors)"
    "$program" --complete "$command" -- | cut -f 1 | sort >found
    diff -u expected found >&2 || complain "$command: completion and --help have other options"
done

# The tasks that are offered are those there are.
for task in $("$program" --complete eval --task '' | cut -f 1); do
    [ "$task" != recall ] || continue
    ! "$program" eval "$demo" --device cpu --task "${task}absent.jsonl" 2>errors || complain "$task"
    ! grep -q 'no task' errors || complain "there is no task \"$task\""
done

# What is offered for a value is accepted.
# accepted COMMAND OPTION... -- ARGUMENTS...: each value of each option, on top of the arguments.
accepted() {
    command=$1
    options=
    shift
    while [ "$1" != -- ]; do
        options="$options $1"
        shift
    done
    shift
    for option in $options; do
        "$program" --complete "$command" "$option" '' | cut -f 1 | grep -v '^:' >values
        [ -s values ] || complain "$command $option: no values"
        while read -r value; do
            "$program" "$command" "$@" "$option" "$value" --quiet >found 2>errors </dev/null ||
                complain "$command $option $value: $(cat errors)"
        done <values
    done
}
"$program" data --tokenizer "$demo" -o work/t.h5 --seq-len 64 "$source/recipes/gsm8k-excerpt.jsonl" --quiet >found
accepted convert --init --align --conv-init --dt-bias --gate --skip --c-scale --a-init --qkv-bias \
    -- "$demo" --layers 0 --dry-run
"$program" --complete convert --format '' | cut -f 1 | grep -v '^:' >values
[ "$(wc -l <values)" = 5 ] || complain "convert --format: $(cat values)"
while read -r format; do
    model=$demo
    [ "$format" = qwen3.5 ] && model=$models/qwen3
    "$program" convert "$model" --layers none --dry-run --format "$format" --quiet >found 2>errors </dev/null ||
        complain "convert --format $format: $(cat errors)"
done <values
printf '%s\n' '[1,5,9,13,2,7]' '[3,1,4,1,5,9]' | "$tests/make_tokens" work/few.h5 300
accepted loo --ablate --estimate -- "$models/qwen2-tied" --data work/few.h5 --db work/few.db --layers 0 --device cpu
accepted mmr --loss --train --schedule -- "$models/qwen2-tied" --data work/few.h5 --db work/few.db --layers 0 --steps 1 \
    --batch 1 --heldout 1 --device cpu
"$program" loo "$demo" --data work/t.h5 --db work/s.db --layers 0-1 --estimate fisher --device cpu --quiet >found
accepted scores --sort -- --db work/s.db --run 1
accepted scores --export -- --db work/s.db
accepted plan --format -- --db work/s.db --run 1 --stages 1

# Lines as they are typed (printf's escapes; \t completes), and what they become.
cat >lines <<'X'
apriel-tool conv\t|apriel-tool convert
apriel-tool loo --abl\tbl\t|apriel-tool loo --ablate block
apriel-tool loo --ablate=bl\t|apriel-tool loo --ablate=block
apriel-tool loo --data ro\t|apriel-tool loo --data rows.h5
apriel-tool loo --data=ro\t|apriel-tool loo --data=rows.h5
apriel-tool loo mod\t|apriel-tool loo models/
apriel-tool scores --db s\t|apriel-tool scores --db scores.db
apriel-tool plan --format fa\t--pl\tplan\t|apriel-tool plan --format fast-llm --plan plan.json
apriel-tool data -o tokens/\t|apriel-tool data -o tokens/a.h5
apriel-tool data -o a\t|apriel-tool data -o a file.h5
apriel-tool eval --task gsm\tev\t|apriel-tool eval --task gsm8k=events.jsonl
X
: >events.jsonl
: >events.json
cat >bash.rc <<X
PATH=$(dirname "$program"):\$PATH
print_line() { printf 'line: %s\n' "\$*"; }
PS1='% '
bind 'set enable-bracketed-paste off'
. "$source/completions/apriel-tool.bash"
X
cat >bash <<X
#!/bin/sh
export TERM=dumb
cd "$temporary" && exec bash --noprofile --rcfile bash.rc -i
X
mkdir zsh.home
cat >zsh.home/.zshrc <<X
path=($(dirname "$program") \$path)
fpath=($source/completions \$fpath)
print_line() { print -r -- "line: \$*" }
PS1='% '
autoload -U compinit && compinit -u -D
setopt no_auto_remove_slash no_beep no_always_last_prompt no_list_beep
bindkey -e
zstyle ':completion:*' insert-tab false # although the keys are all there at once
X
cat >zsh <<X
#!/bin/sh
export TERM=dumb ZDOTDIR=$temporary/zsh.home
cd "$temporary" && exec zsh -i
X
chmod +x bash zsh
cut -d '|' -f 2 lines >typed.expected
while IFS='|' read -r keys _; do
    # shellcheck disable=SC2059 # the keys are a format: that is how they hold tabs
    printf "$keys\001print_line \n"
done <lines >typed.keys
echo exit >>typed.keys
for shell in bash zsh; do
    command -v $shell >/dev/null && command -v script >/dev/null || continue
    timeout 30 script -qec "$temporary/$shell" /dev/null <typed.keys 2>/dev/null | tr -d '\r' |
        sed -n 's/^line: //p' >typed.found
    same typed || complain "typed into $shell"
done

exit $bad
