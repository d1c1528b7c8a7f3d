#!/bin/sh
# Where results go: nothing is replaced that is no plain file, nothing silently, and nothing is left
# by a run that fails or is killed.
. "$(dirname "$0")/common.sh"
always=

printf 'some words of text\n' >x.txt
"$tests/make_scores" scores.db
data() { "$program" data --tokenizer "$demo" "$@"; }
data -o right.h5 x.txt >out
"$program" plan --db scores.db --run 1 --stages 1 -o right.json >out

# ---- no silent replacing
for there in there.h5 there.json; do echo mine >$there; done
fails 1 '"there.h5" exists already: give --force to replace it, or choose another name' \
    data --tokenizer "$demo" -o there.h5 x.txt
fails 1 '"there.json" exists already: give --force to replace it, or choose another name' \
    plan --db scores.db --run 1 --stages 1 -o there.json
[ "$(cat there.h5 there.json)" = "mine
mine" ] || complain "a file is replaced"
chmod 600 there.h5
data -o there.h5 --force x.txt >out
cmp there.h5 right.h5 || complain "--force writes another file"
[ "$(stat -c %a there.h5)" = 600 ] || complain "--force opens a file for others: $(stat -c %a there.h5)"
"$program" plan --db scores.db --run 1 --stages 1 -o there.json --force >out
cmp there.json right.json || complain "--force writes another plan"

# --force is not for a score database, which took hours to make.
cp scores.db mine.db
ln -s mine.db mine.json
for name in mine.db mine.json ./mine.db; do
    fails 1 "\"$name\" is a score database, which nothing replaces: choose another name" plan --db mine.db --run 1 --stages 1 -o "$name" --force
    fails 1 "\"$name\" is a score database, which nothing replaces: choose another name" data --tokenizer "$demo" -o "$name" --force x.txt
    fails 1 "\"$name\" is a score database, which nothing replaces: choose another name" plan --plan right.json --format csv -o "$name" --force
done
"$program" scores --db mine.db >out || complain "a database is replaced"

# ---- nothing is written over what is read, by whatever name
cp x.txt in.txt
ln -s in.txt soft.txt
ln in.txt hard.txt
mkdir -p own/deep
cp -L "$demo"/config.json "$demo"/tokenizer.json own
mv own/tokenizer.json blob
ln -s ../blob own/tokenizer.json
same_as='it is the same file as "in.txt", which is read: choose another name'
ends 1 'cannot write "in.txt": it is an input: choose another name' data --tokenizer own -o in.txt --force in.txt
ends 1 'cannot write "in.txt": it is an input: choose another name' data --tokenizer own -o in.txt --force x.txt in.txt
for name in ./in.txt own/../in.txt "$PWD/in.txt" soft.txt hard.txt; do
    ends 1 "cannot write \"$name\": $same_as" data --tokenizer own -o "$name" --force in.txt
done
ends 1 'cannot write "in.txt": it is the same file as "soft.txt", which is read: choose another name' \
    data --tokenizer own -o in.txt --force soft.txt
ends 1 'cannot write "in.txt": it is the same file as standard input, which is read: choose another name' \
    data --tokenizer own -o in.txt --force --format text - <in.txt
for name in own/tokenizer.json blob own/deep/../config.json; do
    ends 1 "cannot write \"$name\": it is a file of \"own\", which is read: choose another name" \
        data --tokenizer own -o "$name" --force x.txt
done
echo '{{ messages }}' >template.jinja
ends 1 'cannot write "template.jinja": it is an input: choose another name' \
    data --tokenizer own -o template.jinja --force --template template.jinja x.txt
found=0
data -o /dev/stdout in.txt 1<>in.txt 2>errors || found=$?
[ $found -eq 1 ] && [ "$(cat errors)" = "apriel-tool: cannot write \"/dev/stdout\": $same_as" ] ||
    complain "standard output is the input: exit code $found, $(cat errors)"
cmp in.txt x.txt && cmp blob "$demo/tokenizer.json" || complain "an input is replaced"
cp right.json p.json
cp right.json p.dat
cp right.json p.gp
ln -s p.json q.json
ends 1 'cannot write "p.json": it is an input: choose another name' plan --plan p.json --format csv -o p.json --force
ends 1 'cannot write "q.json": it is the same file as "p.json", which is read: choose another name' \
    plan --plan p.json --format csv -o q.json --force
ends 1 'cannot write "own/config.json": it is a file of "own", which is read: choose another name' \
    plan --plan p.json --model own -o own/config.json --force
for there in dat gp; do
    ends 1 "cannot write \"p.$there\": it is an input: choose another name" chart --db scores.db --run 1 --plan p.$there -o p.svg --force
done
ends 1 'cannot write "p.dat": it is the same file as "./p.dat", which is read: choose another name' \
    chart --db scores.db --run 1 --plan ./p.dat -o p.svg --force
cmp p.json right.json && cmp p.dat right.json && cmp p.gp right.json && cmp own/config.json "$demo/config.json" ||
    complain "an input is replaced"
cp "$source/tests/data/tiny.h5" rows.h5
for name in rows.h5 ./rows.h5; do
    found=0
    "$program" eval "$demo" --data rows.h5 --db $name --device cpu >out 2>errors || found=$?
    [ $found -eq 1 ] && cmp rows.h5 "$source/tests/data/tiny.h5" || complain "--db $name: exit code $found, $(cat errors)"
done
data -o own/rows.h5 in.txt >out && data -o own/rows.h5 --force in.txt >out || complain "a file beside a model's"
ends 1 "the input holds no text" data --tokenizer own -o /dev/null --format text /dev/null

# ---- links are written through, and stay
mkdir away
ln -s away/target.h5 link.h5
ln -s ../link.h5 away/back.h5
data -o away/back.h5 x.txt >out
[ -L link.h5 ] && [ -L away/back.h5 ] && cmp away/target.h5 right.h5 || complain "a link is not written through"
fails 1 '"link.h5" exists already: give --force to replace it, or choose another name' data --tokenizer "$demo" -o link.h5 x.txt
data -o link.h5 --force x.txt >out
[ -L link.h5 ] && cmp away/target.h5 right.h5 || complain "--force replaces a link"
ln -s around.h5 around.h5
fails 1 'cannot write "around.h5": Too many levels of symbolic links' data --tokenizer "$demo" -o around.h5 x.txt
ln -s nowhere/x.h5 dangling.h5
fails 1 'cannot write "dangling.h5": No such file or directory' data --tokenizer "$demo" -o dangling.h5 x.txt

# ---- directories, FIFOs, sockets, devices
fails 1 'cannot write "away": it is a directory' data --tokenizer "$demo" -o away x.txt
fails 1 'cannot write "away/": it is a directory' plan --db scores.db --run 1 -o away/
fails 1 'cannot write "nowhere/x.h5": No such file or directory' data --tokenizer "$demo" -o nowhere/x.h5 x.txt
fails 1 'cannot write "x.txt/y.h5": Not a directory' data --tokenizer "$demo" -o x.txt/y.h5 x.txt
mkfifo fifo
timeout 60 cat fifo >through.h5 &
timeout 60 "$program" data --tokenizer "$demo" -o fifo x.txt >out || complain "a FIFO: exit code $?"
wait $! || complain "the FIFO's reader gets no end"
[ -p fifo ] && cmp through.h5 right.h5 || complain "a FIFO is not written through"
timeout -k 10 20 "$program" plan --db scores.db --run 1 -o fifo >out 2>errors & # nobody reads it
process=$!
sleep 0.5
kill $process
found=0
wait $process || found=$?
[ $found -eq 130 ] || [ $found -eq 143 ] || complain "SIGTERM at a FIFO without a reader: exit code $found, $(cat errors)"
data -o /dev/null x.txt >out 2>errors || complain "/dev/null: $(cat errors)"
[ -c /dev/null ] || complain "/dev/null is no device any more"
found=0
data -o /dev/full x.txt >out 2>errors || found=$?
[ $found -eq 1 ] && [ "$(cat errors)" = 'apriel-tool: cannot write "/dev/full": No space left on device' ] && [ -c /dev/full ] ||
    complain "/dev/full: exit code $found, $(cat errors)"
if mknod null c 1 3 2>/dev/null && : 2>/dev/null >null; then
    data -o null x.txt >out 2>errors || complain "a device: $(cat errors)"
    [ -c null ] || complain "a device is replaced"
fi
if mknod disk b 7 200 2>/dev/null; then
    fails 1 'cannot write "disk": it is a disk' data --tokenizer "$demo" -o disk x.txt
    rm disk
fi

# ---- standard output: the result alone, whatever it is
data -o /dev/stdout x.txt 2>errors | cmp - right.h5 || complain "/dev/stdout, a pipe"
data -o /dev/stdout x.txt >stdout.h5 2>errors
cmp stdout.h5 right.h5 || complain "/dev/stdout, a file"
grep -q '^rows ' errors || complain "the report is not on standard error"
[ -L /dev/stdout ] || complain "/dev/stdout is replaced"
"$program" plan --db scores.db --run 1 --stages 1 -o /dev/stdout 2>errors | cmp - right.json || complain "/dev/stdout, a plan"
data -o /dev/fd/3 x.txt 3>three.h5 >out && cmp three.h5 right.h5 || complain "/dev/fd/3"
data -o /proc/self/fd/1 x.txt 2>errors | cmp - right.h5 || complain "/proc/self/fd/1"

# ---- limits
found=0
(
    ulimit -f 1
    exec "$program" data --tokenizer "$demo" -o limited.h5 x.txt >/dev/null 2>errors
) || found=$?
[ $found -eq 1 ] && [ "$(cat errors)" = 'apriel-tool: cannot write "limited.h5": File too large' ] ||
    complain "a limit on sizes: exit code $found, $(cat errors)"
[ -z "$(find . -name '*limited*' -o -name '.apriel-tool*')" ] || complain "a limit on sizes leaves $(find . -name '*limited*')"
for files in 4 5 6 7 8 10; do
    found=0
    (
        ulimit -n $files
        exec "$program" data --tokenizer "$demo" -o few.h5 x.txt
    ) >out 2>errors || found=$?
    if [ $found -eq 0 ]; then cmp few.h5 right.h5 && rm few.h5; else
        [ $found -eq 1 ] && [ "$(wc -l <errors)" -eq 1 ] || complain "$files descriptors: exit code $found, $(cat errors)"
        [ -z "$(find . -name 'few*' -o -name '.apriel-tool*')" ] || complain "$files descriptors: files are left"
    fi
done

# ---- what killed runs left is removed by the next one, and nothing else
: >.apriel-tool.tmp-1-0
mkdir .apriel-tool.tmp-2-0
ln -s right.h5 .apriel-tool.tmp-3-0
: >.apriel-tool.tmp-4-0x
: >.apriel-tool.tmp-notes
ln right.h5 .apriel-tool.tmp-5-0 # another name of a file that somebody wants
: >.apriel-tool.tmp-6-0
flock .apriel-tool.tmp-6-0 sleep 20 &
holder=$!
sleep 0.3
data -o cleaned.h5 x.txt >out
kill $holder
[ ! -e .apriel-tool.tmp-1-0 ] || complain "what a killed run left stays"
for stays in 2-0 3-0 4-0x notes 5-0 6-0; do
    [ -e .apriel-tool.tmp-$stays ] || complain ".apriel-tool.tmp-$stays is gone"
done
rm -r .apriel-tool.tmp-*

# ---- convert's unfinished directories: never somebody's own
mkdir victim
echo precious >victim/a
ln -s victim .hy.unfinished-1                    # a link to it
mkdir .hy.unfinished-2 .hy.unfinished-3x .hy.unfinished-
echo precious >.hy.unfinished-2/a                # not marked
echo precious >.hy.unfinished-3x/a               # not digits alone
echo precious >.hy.unfinished-/a
echo file >.hy.unfinished-4                      # no directory
mkdir .hy.unfinished-5                           # marked, with a directory in it
: >.hy.unfinished-5/.apriel-tool-unfinished
mkdir .hy.unfinished-5/sub
mkdir .hy.unfinished-6                           # left by a killed run, before and after its mark
chmod 1755 .hy.unfinished-6
mkdir .hy.unfinished-7
: >.hy.unfinished-7/.apriel-tool-unfinished
: >.hy.unfinished-7/model.safetensors
ln -s ../victim/a .hy.unfinished-7/link          # removed as a link
mkdir .hy.unfinished-8                           # a mark that is a link
: >.hy.unfinished-8/a
ln -s /dev/null .hy.unfinished-8/.apriel-tool-unfinished
"$program" convert "$demo" --layers 3 -o hy >out 2>errors || complain "convert: $(cat errors)"
for stays in victim/a .hy.unfinished-1/a .hy.unfinished-2/a .hy.unfinished-3x/a .hy.unfinished-/a .hy.unfinished-4 \
    .hy.unfinished-5/sub .hy.unfinished-8/a; do
    [ -e "$stays" ] || complain "convert removes $stays"
done
for left in .hy.unfinished-6 .hy.unfinished-7; do [ ! -e $left ] || complain "convert leaves $left"; done
for named in 1 2 4 5 8; do
    grep -q "^warning: \"./.hy.unfinished-$named\"" errors || complain "convert does not name .hy.unfinished-$named: $(cat errors)"
done
[ -z "$(find hy -name '.*' -type f)" ] || complain "convert leaves its mark in the hybrid"
rm -rf hy .hy.*

# A name as long as names may be.
long=$(printf '%0250d' 0)
"$program" convert "$demo" --layers 3 -o "$long" >out 2>errors || complain "a long name: $(cat errors)"
data -o "$long.h5" x.txt >out 2>errors || complain "a long name of a file: $(cat errors)"

# ---- closed descriptors: progress does not go into the model
"$program" convert "$demo" --layers 3 -o opened >out 2>errors
for closing in '>&-' '2>&-' '>&- 2>&-' '<&- >&- 2>&-'; do
    eval "\"\$program\" convert \"\$demo\" --layers 3 -o closed $closing" >/dev/null 2>&1 || true
    cmp closed/model.safetensors opened/model.safetensors && cmp closed/config.json opened/config.json ||
        complain "convert $closing: another hybrid"
    eval "\"\$program\" data --tokenizer \"\$demo\" -o closed.h5 --force x.txt >out $closing" || true
    cmp closed.h5 right.h5 || complain "data $closing: another token set"
    rm -rf closed
done

# ---- a full disk under standard output, in every command
for command in '' inspect data loo mmr scores plan convert eval generate bench chart version; do
    found=0
    # shellcheck disable=SC2086
    "$program" $command --help >/dev/full 2>errors || found=$?
    [ $found -eq 1 ] && [ "$(cat errors)" = 'apriel-tool: cannot write to standard output: No space left on device' ] ||
        complain "$command --help >/dev/full: exit code $found, $(cat errors)"
done
for command in 'version' 'scores --db scores.db' 'plan --db scores.db --run 1' 'plan --db scores.db --run 1 --json' \
    "inspect $demo" "data --tokenizer $demo -o full.h5 --force x.txt"; do
    found=0
    # shellcheck disable=SC2086
    "$program" $command >/dev/full 2>errors || found=$?
    [ $found -eq 1 ] && grep -q 'cannot write to standard output: No space left on device' errors ||
        complain "$command >/dev/full: exit code $found, $(cat errors)"
done
exit $bad
