#!/bin/sh
# The same numbers whatever threads there are and whatever the environment says of them: right, or
# an error, never others.
. "$(dirname "$0")/common.sh"
unset OMP_WAIT_POLICY
rows=$source/tests/data/tiny.h5

# right VARIABLE...: with this environment, ce is what it is
right() {
    env "$@" "$program" eval "$demo" --data "$rows" --device cpu --quiet >out 2>errors ||
        complain "$*: exit code $?: $(cat errors)"
    grep -q '^ce  *2.14713[89] ' out || complain "$*: $(cat out errors)"
}
right A=1
right OMP_NUM_THREADS=2 OMP_THREAD_LIMIT=1
right OMP_NUM_THREADS=9 OMP_THREAD_LIMIT=2
right OMP_DYNAMIC=true
right OMP_DYNAMIC=true OMP_NUM_THREADS=16
right OMP_MAX_ACTIVE_LEVELS=0
right OMP_MAX_ACTIVE_LEVELS=0 OMP_NUM_THREADS=3
right OMP_MAX_ACTIVE_LEVELS=7 OMP_NESTED=true
right OMP_NESTED=true OMP_NUM_THREADS=3,2
right OMP_NUM_THREADS=7
right OMP_NUM_THREADS=1
right OMP_PROC_BIND=true 'OMP_PLACES={0}'
right OMP_PROC_BIND=spread OMP_PLACES=cores
right OMP_WAIT_POLICY=active
right OMP_DYNAMIC=true OMP_THREAD_LIMIT=1 OMP_MAX_ACTIVE_LEVELS=0 OMP_NUM_THREADS=9
right ONEDNN_DEFAULT_FPMATH_MODE=ANY
right taskset -c 0 env OMP_NUM_THREADS=2

# More threads than processors, as asked: --threads is obeyed.
for threads in 1 2 5; do
    "$program" eval "$demo" --data "$rows" --device cpu --threads $threads --quiet >out 2>errors ||
        complain "--threads $threads: $(cat errors)"
    grep -q '^ce  *2.14713[89] ' out || complain "--threads $threads: $(cat out errors)"
done
ends 2 'eval: --threads is 0, outside 1 to 4096' eval "$demo" --data "$rows" --threads 0
OMP_THREAD_LIMIT=2 ends 2 '--threads 3: OMP_THREAD_LIMIT allows 2' eval "$demo" --data "$rows" --threads 3

# Every path that shares work, with threads that do not come: the values of one thread.
for limit in 1 2; do
    OMP_NUM_THREADS=2 OMP_THREAD_LIMIT=$limit "$program" mmr "$demo" --data "$rows" --device cpu --steps 2 \
        --batch 2 --heldout 2 --layers 3 --db "$limit.db" --quiet >/dev/null
    OMP_NUM_THREADS=2 OMP_THREAD_LIMIT=$limit "$program" loo "$demo" --data "$rows" --device cpu \
        --layers 3,7 --db "$limit.db" --quiet >/dev/null
    for run in 1 2; do
        "$program" scores --db $limit.db --run $run --export sequences | cut -d, -f2-
    done >$limit.csv
done
[ "$(wc -l <1.csv)" -gt 20 ] || complain "too few values: $(cat 1.csv)"
cmp -s 1.csv 2.csv || complain "one thread and two give other values"

# A system that starts no more threads: fewer are used, with a word. Its limit does not hold for root.
if [ "$(id -u)" = 0 ] && command -v setpriv prlimit >/dev/null; then
    chmod 755 "$temporary"
    cp "$program" here
    cp "$rows" rows.h5
    cp -rL "$demo" model
    chmod -R a+rX .
    setpriv --reuid 54321 --clear-groups prlimit --nproc=3 ./here eval model --data rows.h5 --device cpu \
        --threads 8 >out 2>errors || true
    grep -q '^ce  *2.14713[89] ' out || grep -q . errors || complain "ulimit -u 3: $(cat out errors)"
    setpriv --reuid 54321 --clear-groups prlimit --nproc=5 ./here eval model --data rows.h5 --device cpu \
        --threads 8 >out 2>errors || true
    grep -q '^ce  *2.14713[89] ' out || complain "ulimit -u 5: $(cat out errors)"
    grep -q '^warning: [1-7] threads\{0,1\} instead of 8: the system gives no more$' errors ||
        complain "ulimit -u 5: $(cat errors)"
fi
exit $bad
