# The head of every test of the command line, which begins with
#     . "$(dirname "$0")/common.sh"
# and is called as tests/cli/NAME.sh PROGRAM SOURCE. The test goes on in an empty directory of its
# own and ends with `exit $bad`.
set -eu
program=$(realpath "$1")
source=$(realpath "$2")
this=$(basename "$0" .sh)
tests=$(dirname "$program")/tests # programs made for tests
demo=$source/recipes/demo-model
models=$source/tests/data/models
golden=$source/tests/data/golden
samples=$source/eval/samples

temporary=$(mktemp -d)
mounted= # a file system that the test has mounted
cleanup() {
    [ -z "$mounted" ] || umount "$mounted"
    rm -rf "$temporary"
}
trap cleanup EXIT
cd "$temporary"

bad=0
complain() {
    echo "$this: $*" >&2
    bad=1
}

# await_rows DATABASE EXPORT: until run 1 there has such rows (scores --export), for at most 30 seconds.
await_rows() {
    tries=0
    until [ "$("$program" scores --db "$1" --run 1 --export "$2" 2>/dev/null | wc -l)" -gt 1 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { complain "\"$1\" gets no $2"; break; }
        sleep 0.1
    done
}

# ends CODE MESSAGE ARGUMENTS...: the program with $always and these arguments ends with this exit
# code and this one line.
always=
ends() {
    code=$1 message=$2
    shift 2
    found=0
    # shellcheck disable=SC2086 # words
    "$program" $always "$@" >out 2>errors || found=$?
    [ $found -eq "$code" ] || complain "$always $*: exit code $found, not $code"
    [ "$(cat errors)" = "apriel-tool: $message" ] || complain "$always $*: $(cat errors)"
}
# Without the user's cache of hashes, which grows when a model's files are old enough to be trusted.
files() {
    find . ! -name .before ! -name .after ! -path ./out ! -path ./errors ! -path ./cache ! -path './cache/*' | sort
}
# fails CODE MESSAGE ARGUMENTS...: the same, and it prints nothing else and leaves no file behind.
fails() {
    files >.before
    ends "$@"
    shift 2
    [ ! -s out ] || complain "$always $*: prints to stdout although it fails"
    files >.after
    diff .before .after >&2 || complain "$always $*: leaves files behind"
}

# odd WORDS COMMAND...: on a disk as tests/odd_disk.c makes it
odd() {
    words=$1
    shift
    ODD_DISK=$words LD_PRELOAD=$tests/libodd_disk.so \
        ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" "$@"
}

# same NAME: NAME.found is NAME.expected
same() {
    diff -u "$1.expected" "$1.found" >&2 || complain "$1: another output"
}

# tokens_around NAME BEFORE AFTER: a copy of the demo model, directory NAME, whose tokenizer puts
# <|endoftext|> BEFORE and AFTER every text so many times.
tokens_around() {
    special='{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}'
    single='{"Sequence": {"id": "A", "type_id": 0}}'
    [ "$2" -eq 0 ] || single="$special, $single"
    [ "$3" -eq 0 ] || single="$single, $special"
    token='{"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}'
    mkdir "$1"
    for file in config.json generation_config.json model.safetensors; do ln -s "$demo/$file" "$1/$file"; done
    template="{\"type\": \"TemplateProcessing\", \"single\": [$single], \"pair\": [], \"special_tokens\": $token}"
    sed "s/^  \"post_processor\": null/  \"post_processor\": $template/" "$demo/tokenizer.json" >"$1/tokenizer.json"
    grep -q TemplateProcessing "$1/tokenizer.json" || complain "no template in $1"
}

# gives_rows NAME ROW...: the token set of found.json (data --json) has these rows, written as the
# rest of {"ids": ...
gives_rows() {
    name=$1
    shift
    printf '{"ids": %s\n' "$@" >expected-rows.jsonl
    "$program" data --quiet --force --tokenizer "$demo" -o expected.h5 --json expected-rows.jsonl >expected.json
    [ "$(grep fingerprint found.json)" = "$(grep fingerprint expected.json)" ] ||
        complain "$name: other rows ($(grep -E '"(rows|tokens|masked_tokens)"' found.json | tr -d '\n'))"
}

# records_give NAME MODEL RECORD... -- ROW...: `data` with $options makes the rows of the records.
options=
records_give() {
    name=$1 model=$2
    shift 2
    : >given.jsonl
    while [ "$1" != -- ]; do printf '%s\n' "$1" >>given.jsonl; shift; done
    shift
    # shellcheck disable=SC2086 # words
    "$program" data --quiet --force --tokenizer "$model" -o found.h5 --json $options given.jsonl >found.json 2>errors ||
        complain "$name: $(cat errors)"
    gives_rows "$name" "$@"
}
