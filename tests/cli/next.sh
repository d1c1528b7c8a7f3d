#!/bin/sh
# What comes next is said after each step, as commands that a shell takes, whatever the names are;
# not with --quiet or --json.
. "$(dirname "$0")/common.sh"
export OMP_WAIT_POLICY=passive

# A model whose name has what shells care about, and a path that looks like an option.
model="-a b's \$(touch hurt)"
cp -r "$demo" "./$model"
printf '%s\n' '{"text": "Natalia sold 48 clips in April, and half as many in May."}' >texts.jsonl

# step COMMAND ARGUMENTS...: runs it, keeps the lines on stderr, and sees that --quiet and --json
# leave none.
step() {
    "$program" "$@" >out 2>errors || complain "$*: $(cat errors)"
    sed -n 's/^next: //p; s/^or:   //p' errors >hints
    [ -s hints ] || complain "$*: says nothing of what comes next: $(cat errors)"
}
silent() {
    for option in --quiet -q --json; do
        "$program" "$@" $option >out 2>errors || complain "$* $option: $(cat errors)"
        ! grep -q '^next:\|^or:' errors || complain "$* $option: $(cat errors)"
    done
}
# follow PATTERN: runs the hint of that command as a shell does.
apriel() {
    shift # apriel-tool
    "$program" "$@"
}
follow() {
    line=$(grep "^apriel-tool $1 " hints) || complain "no hint of $1: $(cat hints)"
    eval "apriel $line --help" >/dev/null || complain "a shell does not take: $line"
    eval "step ${line#apriel-tool } ${2-}"
}

step inspect "./$model"
grep -q '^apriel-tool data --tokenizer ' hints || complain "inspect: $(cat hints)"
silent inspect "./$model"
step data --tokenizer "./$model" -o tokens.h5 --seq-len 8 texts.jsonl
[ "$(wc -l <hints)" -eq 1 ] || complain "data: $(cat hints)"
follow loo '--layers 0-2 --device cpu'
mv hints after_loo
silent loo "./$model" --data tokens.h5 --db scores.db --layers 0-2 --device cpu
cp after_loo hints
line=$(grep '^apriel-tool scores ' hints) || complain "loo: $(cat hints)"
eval "apriel $line" >ranking || complain "a shell does not take: $line"
grep -q '^ *1 ' ranking || complain "loo: $line shows no ranking"
step scores --db scores.db
grep -qx 'apriel-tool scores --db scores.db --run 1' hints || complain "scores: $(cat hints)"
step scores --db scores.db --run 1
grep -qx 'apriel-tool plan --db scores.db --run 1 -o plan.json' hints || complain "scores --run: $(cat hints)"
silent scores --db scores.db --run 1
cp after_loo hints
follow plan '--stages 1,2'
[ -s plan.json ] || complain "no plan.json"
step plan --db scores.db --run 1 --stages 1
grep -q -- '-o plan.json' hints || complain "plan without -o: $(cat hints)"
step plan --plan plan.json
follow convert
[ -s hybrid/config.json ] || complain "no hybrid"
follow eval '--device cpu'
follow eval '--lengths 32 --items 1 --device cpu --db scores.db'
"$program" scores --db scores.db --run last 2>errors >out || complain "scores of an eval: $(cat errors)"
! grep -q 'apriel-tool plan' errors || complain "a plan by an evaluation: $(cat errors)"
[ ! -e hurt ] || complain "a name became a command"

exit $bad
