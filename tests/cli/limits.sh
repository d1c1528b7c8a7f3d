#!/bin/sh
# Little memory, a small stack, few files, small files: the same output, or one line and an exit code
# that says so; never a crash, never another output.
. "$(dirname "$0")/common.sh"
unset OMP_WAIT_POLICY
rows=$source/tests/data/tiny.h5
head -n 3 "$source/recipes/gsm8k-excerpt.jsonl" >few.jsonl
"$tests/make_scores" scores.db

# Under the sanitizers nothing runs within limits.
(ulimit -v 700000 && "$program" version) >out 2>&1 || exit $bad

run_inspect() { "$program" inspect "$demo"; }
run_data() { rm -f o.h5 && "$program" data --tokenizer "$demo" -o o.h5 --seq-len 64 few.jsonl >log && cat o.h5; }
run_plan() { "$program" plan --db scores.db --run 1 --stages 1,3; }
run_scores() { "$program" scores --db scores.db --run 1 --export sequences; }
run_convert() { rm -rf hybrid && "$program" convert "$demo" --layers 3 -o hybrid >log && cat hybrid/config.json hybrid/model.safetensors; }
run_generate() { "$program" generate "$demo" --prompt 'a b' --max-tokens 3 --device cpu; }
run_eval() { "$program" eval "$demo" --data "$rows" --device cpu --quiet >log && grep '^ce' log; }
run_loo() { rm -f l.db* && "$program" loo "$demo" --data "$rows" --db l.db --layers 0-1 --device cpu --quiet >log && "$program" scores --db l.db --run 1 --export sequences; }
run_mmr() { rm -f m.db* && "$program" mmr "$demo" --data "$rows" --db m.db --layers 2 --steps 2 --batch 1 --heldout 1 --device cpu --quiet >log && "$program" scores --db m.db --run 1 --export sequences; }
run_version() { "$program" version; }

# limited FLAG VALUE COMMAND: the same, or one line and exit code 1 (or 127, of the loader)
limited() {
    found=0
    (
        ulimit "-$1" "$2"
        "run_$3"
    ) >out 2>errors || found=$?
    lines=$(grep -c '^apriel-tool: ' errors) || true
    case $found in
    0) cmp -s out "$3.right" || complain "$3, ulimit -$1 $2: exit code 0 and another output" ;;
    1) [ "$lines" -eq 1 ] && ! grep -q 'is wrong on this machine' errors ||
        complain "$3, ulimit -$1 $2: $(cat errors)" ;;
    127) grep -q 'shared libraries\|TLS' errors || complain "$3, ulimit -$1 $2: $(cat errors)" ;;
    *) complain "$3, ulimit -$1 $2: exit code $found, $(cat errors)" ;;
    esac
}
for command in inspect data plan scores convert generate eval loo mmr version; do
    "run_$command" >$command.right 2>errors || complain "$command: $(cat errors)"
done
for value in 73000 80000 90000 100000 120000 140000; do
    for command in generate eval; do limited v $value $command; done
done
for command in inspect data plan scores convert loo mmr version; do
    for value in 75000 95000 105000; do limited v $value $command; done
done
for value in 4000 10000 15000 20000 30000 40000; do limited d $value eval; done
for command in data convert generate mmr version; do limited d 20000 $command; done
for command in generate loo version; do
    for value in 64 200 600; do limited s $value $command; done
done
for command in convert loo mmr; do
    for value in 1 16; do limited f $value $command; done
done
# Fewer descriptors than a shell needs to redirect.
for value in 3 4 5 6 7 8 9; do
    found=0
    sh -c "ulimit -n $value && exec \"\$0\" \"\$@\"" "$program" eval "$demo" --data "$rows" --device cpu --quiet \
        --threads 1 >out 2>errors || found=$?
    { [ $found -eq 0 ] && grep '^ce' out | cmp -s - eval.right; } ||
        { [ $found -eq 127 ] && grep -q 'shared libraries' errors; } ||
        { [ $found -eq 1 ] && [ "$(grep -c '^apriel-tool: ' errors)" -eq 1 ]; } ||
        complain "eval, $value descriptors: exit code $found, $(cat errors)"
done

# limit FLAG VALUE MESSAGE: what eval says
limit() {
    (ulimit "-$1" "$2" && "$program" eval "$demo" --data "$rows" --device cpu --threads 1) >out 2>errors || true
    grep -qxE "apriel-tool: $3" errors || complain "ulimit -$1 $2: $(cat errors)"
}
limit v 90000 'out of memory: matrix products need 33\.6 MB, and ulimit -v leaves [0-9.]+ MB'
limit d 20000 'out of memory: matrix products need 33\.6 MB, and ulimit -d leaves [0-9.]+ MB'
limit d 4000 'out of memory: the program needs 8\.39 MB, and ulimit -d leaves [0-9.]+ MB'
limit s 200 'a stack of 200 kB \(ulimit -s\) is too small: 512 kB are needed'
exit $bad
