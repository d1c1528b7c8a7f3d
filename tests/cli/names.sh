#!/bin/sh
# Names that break out of what they are written into (tests/evil_names.h), at the borders that a
# command has: scripts that are really run, messages, YAML.
. "$(dirname "$0")/common.sh"

# each COMMAND...: runs it with each evil name behind it, but the empty one and those with a slash.
each() {
    "$tests/quote_names" list | LC_ALL=C grep -zav '/' | LC_ALL=C grep -zav '^$' | xargs -0 -n 1 "$@" || bad=1
}

# ---- plan --schedule: a script with evil names runs its commands, with these names, and nothing else
mkdir bin schedule
cat >bin/apriel-tool <<'X2'
#!/bin/sh
printf '%s\0' "$@" >>arguments
while [ $# -gt 1 ]; do # as loo and mmr do
    [ "$1" != --run-file ] || echo 7 >"$2"
    shift
done
X2
cat >one_schedule <<'X2'
#!/bin/sh
rm -rf schedule
mkdir schedule
cd schedule
mkdir -p "./$1"
cp "$demo/config.json" "./$1/config.json"
printf '%s\0' "$1" >name
"$program" plan --schedule 2,3 --model="$1" --data="$1" --db="$1" --work="$1.w" >script || exit 1
PATH=$temporary/bin:$PATH sh ./script >printed 2>errors || { echo "the script fails: $(cat errors)" >&2; exit 1; }
[ ! -s printed ] && [ ! -s errors ] || { echo "the script says: $(cat printed errors)" >&2; exit 1; }
case $1 in -*) path=./$1 ;; *) path=$1 ;; esac
printf '%s\0' loo "$path" --data "$path" --db "$path" --run-file "$path.w/run-2" \
    plan --db "$path" --run 7 --stages 2 -o "$path.w/plan-2.json" \
    convert "$path" --plan "$path.w/plan-2.json" -o "$path.w/hybrid-2" \
    mmr "$path" --data "$path" --db "$path" --base "$path.w/hybrid-2" --run-file "$path.w/run-3" \
    plan --db "$path" --run 7 --stages 3 -o "$path.w/plan-3.json" \
    convert "$path" --plan "$path.w/plan-3.json" --from "$path.w/hybrid-2" -o "$path.w/hybrid-3" >expected
cmp arguments expected >&2 || { echo "another command" >&2; exit 1; }
# Only the work directory came into being.
rm "./$1/config.json"
case $1 in .|..) ;; *) rmdir "./$1" ;; esac
printf '%s\0' "$1.w" arguments errors expected name printed script . | sort -z >files.expected
{ find . -mindepth 1 -maxdepth 1 ! -name 'files.*' -printf '%P\0'; printf '.\0'; } | sort -z >files.found
cmp files.expected files.found >&2 || { echo "other files" >&2; exit 1; }
# What a terminal would carry out, and lines of their own in comments, are not in it.
[ "$(tr -d '\n' <script | tr -dc '\001-\037\177' | wc -c)" -eq 0 ] || { echo "control characters" >&2; exit 1; }
X2
chmod +x bin/apriel-tool one_schedule
export program temporary demo
each ./one_schedule

# What was done stands in comments, also of a name of several lines.
evil='m
touch pwned_done
#'
cp -r "$demo" "$evil"
"$tests/make_scores" scores.db
head -n 3 "$golden/ids.jsonl" | "$tests/make_tokens" "$evil.h5" 2048
for stages in "1 --auto" 1,2; do
    # shellcheck disable=SC2086 # words
    "$program" plan --schedule $stages --model "$evil" --data "$evil.h5" --db "$evil.db" --work steps \
        --mmr-options "--steps 1 --batch 1 --heldout 1" >script 2>errors || complain "$stages: $(cat errors)"
done
[ "$(grep -c '^# done: apriel-tool ' script)" = 3 ] || complain "what is done is not in comments"
PATH=$temporary/bin:$PATH sh ./script >out 2>&1 || complain "the script fails: $(cat out)"
[ ! -e pwned_done ] || complain "a name runs as a command"

# ---- messages: one line, nothing that a terminal carries out
cat >one_message <<'X2'
#!/bin/sh
for name; do
    "$program" inspect "absent/$name"
    "$program" plan --plan "absent/$name"
    "$program" data --tokenizer . -o rows.h5 "$name"
    "$program" "--$name"
done >messages.out 2>>messages
X2
chmod +x one_message
"$tests/quote_names" list | LC_ALL=C grep -zaP '[\x01-\x1f\x7f-\xff]' >strange
xargs -0 ./one_message <strange || true
[ ! -s messages.out ] || complain "a message on stdout"
[ "$(wc -l <messages)" -eq "$((4 * $(tr -dc '\000' <strange | wc -c)))" ] || complain "messages of several lines"
[ "$(tr -d '\n' <messages | LC_ALL=C tr -dc '\001-\037\177' | wc -c)" -eq 0 ] || complain "control characters in messages"
iconv -f UTF-8 -t UTF-8 messages >/dev/null || complain "messages that are not UTF-8"
grep -q '"absent/\\x1b\[31mred\\x1b\[0m"' messages || complain "an escape sequence does not show"
grep -q '"absent/\\u{202e}gvs.txt"' messages || complain "an override of direction does not show"

# ---- YAML: nothing in a value becomes a line of its own
"$program" plan --db scores.db --run 1 --stages 1,2 -o plan.json >out
for format in fast-llm surgery; do "$program" plan --plan plan.json --format $format >$format.right; done
for value in 'loo\\nevil: 1\\n#' 'loo\\r\\nevil: 1' 'loo\\revil: 1' 'loo\\u2028evil: 1' 'loo\\u0085evil: 1' '# - x' '\\u001b[31m'; do
    sed "s|\"signal\": \"[^\"]*\"|\"signal\": \"$value\"|" plan.json >evil.json
    cmp -s plan.json evil.json && complain "the plan has no signal to change"
    for format in fast-llm surgery; do
        "$program" plan --plan evil.json --format $format >yaml 2>errors || continue
        sed 1d yaml >rest
        sed 1d $format.right | cmp -s - rest || complain "$format: \"$value\" changes more than the heading"
        [ "$(LC_ALL=C tr -dc '\001-\011\013-\037\177' <yaml | wc -c)" -eq 0 ] || complain "$format: \"$value\": control characters"
    done
done
exit $bad
