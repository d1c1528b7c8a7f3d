#!/bin/sh
# apriel-tool eval: hybrids that convert wrote have the values that an independent float64 reading
# of the same files gave (tests/oracle/hybrid.py), and one line for everything that cannot be done.
. "$(dirname "$0")/common.sh"
always="eval --device cpu"

# equals SECTION MODEL TEACHER
equals() {
    "$program" eval "$2" --teacher "$3" --data four.h5 --device cpu --json >found.json 2>errors
    [ ! -s errors ] || complain "--json writes to stderr: $(cat errors)"
    "$tests/check_scores" "$golden/hybrid-eval.json" "$1" <found.json || complain "$1: other values"
}
head -n 4 "$golden/ids.jsonl" | "$tests/make_tokens" four.h5 2048

"$program" convert "$demo" --layers 0,3,5 --seed 7 -o h1 >out
equals h1 h1 "$demo"
equals back "$demo" h1
"$program" convert "$demo" --layers 1-4,9 --format apriel2 --init published --d-state 32 --seed 3 -o a2 >out
equals a2 a2 "$demo"
"$program" convert "$demo" --layers 0-11 --d-state 8 --dt-rank 5 --d-conv 3 -o all >out
equals all all "$demo"

# As a table; --rows; the size of the groups does not matter.
"$program" eval h1 --teacher "$demo" --data four.h5 --device cpu --quiet >found
cat >expected <<'X'
ce               3.071631 +- 0.33       nats per token
perplexity        21.5771 +- 7.1        
against DEMO
teacher ce       2.365099 +- 0.28       nats per token
kl               0.812450 +- 0.15       nats, D_KL(teacher || model)
rkl              0.936301 +- 0.13       nats, D_KL(model || teacher)
top1             0.595703 +- 0.04       share of equal first choices
X
# The sixth decimal is another compiler's.
shorter='s/\([0-9]\.[0-9]\{4\}\)[0-9]*/\1/'
sed "$shorter" expected >expected.short
sed 1d found | sed "s|$demo|DEMO|; $shorter" | diff -u expected.short - >&2 || complain "another table"
"$program" eval "$demo" --data four.h5 --device cpu --rows 1 --json | grep -q '"tokens": 128' || complain "--rows"
"$program" eval h1 --teacher "$demo" --data four.h5 --device cpu --group-tokens 1 --quiet | sed 1d >small
sed 1d found | diff -u - small >&2 || complain "--group-tokens changes the values"
# Against itself nothing is lost.
"$program" eval h1 --teacher h1 --data four.h5 --device cpu --quiet >same
grep -q '^kl  *0\.000000 ' same && grep -q '^top1  *1\.000000 ' same || complain "against itself: $(cat same)"

fails 2 'eval: name one model directory (see apriel-tool eval --help)' --data four.h5
fails 2 'eval: --data or --task is needed' "$demo"
fails 2 'eval: --rows is 0, below 1' "$demo" --data four.h5 --rows 0
fails 2 'unknown device "tpu": auto, cpu, cuda or cuda:N' "$demo" --data four.h5 --device tpu
fails 1 'cannot open "absent.h5": No such file or directory' "$demo" --data absent.h5
fails 1 '"absent" does not exist' absent --data four.h5
fails 1 '"absent" does not exist' "$demo" --teacher absent --data four.h5
echo '5 6 7 8' | "$tests/make_tokens" tiny.h5 300
fails 1 "the models' vocabularies differ: 300 and 2048 tokens" \
    "$demo" --teacher "$models/qwen3" --data tiny.h5
echo '5 !6 !7' | "$tests/make_tokens" masked.h5 2048
fails 1 '"masked.h5": the loss mask leaves no token to predict' "$demo" --data masked.h5
exit $bad
