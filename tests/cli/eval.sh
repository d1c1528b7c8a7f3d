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

"$program" convert "$demo" --kind m2 --layers 0,3,5 --seed 7 -o h1 >out
equals h1 h1 "$demo"
equals back "$demo" h1
"$program" convert "$demo" --layers 1-4,9 --format apriel2 --init published --d-state 32 --seed 3 -o a2 >out
equals a2 a2 "$demo"
"$program" convert "$demo" --kind m2 --layers 0-11 --d-state 8 --dt-rank 5 --d-conv 3 -o all >out
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

# Kept row by row: found again, continued after half of the rows, the same numbers.
head -n 6 "$golden/ids.jsonl" | "$tests/make_tokens" kept.h5 2048
always=
kept() { "$program" eval --data kept.h5 --device cpu --db kept.db --group-tokens 128 "$@"; }
kept "$demo" >out 2>errors || complain "--db: $?, $(cat errors)"
"$program" convert "$demo" --kind m2 --layers 8 -o hybrid --quiet >/dev/null
kept hybrid --teacher "$demo" | sed 1d >kept.expected
kept hybrid --teacher "$demo" >out
[ "$(head -n 1 out)" = "run 2 was complete: nothing computed" ] || complain "--db again: $(head -n 1 out)"
sqlite3 kept.db "DELETE FROM score WHERE run = 2; DELETE FROM sequence_score WHERE run = 2 AND row IN (1, 2, 5);
    UPDATE run SET status = 'interrupted' WHERE id = 2"
kept hybrid --teacher "$demo" 2>errors | sed 1d >kept.found
same kept
grep -q '^run 2 continues: 3 of 6 rows are there$' errors || complain "--db continued: $(cat errors)"
kept hybrid --rows 4 >out && kept hybrid >out
[ "$("$program" scores --db kept.db --export runs | tail -n +2 | cut -d, -f1 | tr '\n' ' ')" = "1 2 3 4 " ] ||
    complain "--db: runs $("$program" scores --db kept.db)"
"$program" scores --db kept.db >out
grep -q 'ce [0-9.]* +- [0-9.]*' out && grep -q 'base 1 replaced' out && grep -q 'rows 4' out ||
    complain "scores of eval --data: $(cat out)"
[ "$("$program" scores --db kept.db --run 2 | tail -n 1 | wc -w)" = 12 ] || complain "scores --run 2"
# Rows without their run's are a fault, not another mean.
cp kept.db less.db
sqlite3 less.db "DELETE FROM sequence_score WHERE run = 1 AND row = 2"
ends 1 'run 1 of "less.db" is finished, but 1 of its 6 rows are missing: delete it (scores --delete 1) and run its command again' eval "$demo" --data kept.h5 --device cpu --db less.db --quiet

# The paired difference by its formula (README of statistics.h), over the rows that both have.
"$program" scores --db kept.db --export sequences >values
for pair in 1,2 1,3 3,4; do
    a=${pair%,*} b=${pair#*,}
    awk -F, -v a="$a" -v b="$b" '$4 == "ce" && $1 == a { v[$3] = $5; c[$3] = $6 } $4 == "ce" && $1 == b { w[$3] = $5; d[$3] = $6 }
        END { for (r in v) if (r in w) { n++; C += c[r]; D += d[r]; V += c[r] * v[r]; W += d[r] * w[r] }
            for (r in v) if (r in w) { e = c[r] * (v[r] - V / C) / C - d[r] * (w[r] - W / D) / D; s += e * e }
            printf "%.4f %.4f %.4f %.4f %d\n", V / C, W / D, V / C - W / D, sqrt(n / (n - 1) * s), n }' values >compare.expected
    "$program" scores --db kept.db --compare $pair:ce | awk '$3 == "ce" { print $4, $5, $6, $7, $8 }' >compare.found
    same compare
done
"$program" scores --db kept.db --compare 1,2 --json | grep -q '"difference": -0.0' || complain "--compare --json"
"$program" loo "$demo" --data kept.h5 --db kept.db --layers 0 --device cpu --quiet >out
ends 1 'runs of eval compare with runs of eval, not with rankings of layers' scores --db kept.db --compare 1,last
head -n 3 "$golden/ids.jsonl" | "$tests/make_tokens" other.h5 2048
"$program" eval "$demo" --data other.h5 --device cpu --db kept.db >out
ends 1 'runs 1 and 6 are of different token sets ("kept.h5" and "other.h5")' scores --db kept.db --compare 1,6
exit $bad
