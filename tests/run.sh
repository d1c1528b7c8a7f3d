#!/bin/sh
# Installs what is missing, builds with warnings as errors, and runs every test. The last line is
# "N passed, N failed": test cases of the Check and fuzz programs, and CLI scripts.
#
# usage: tests/run.sh [--sanitize] [--fast-device]
#   --sanitize      also build with AddressSanitizer and UndefinedBehaviorSanitizer (in
#                   build-sanitize/, without CUDA) and run the suite there, except what is marked slow
#                   and the checks of the sources themselves
#   --fast-device   where nvcc is, let it make code for compute capability 9.0a alone, which has every
#                   kernel, and optimize only what needs it: a small part of the time, for machines
#                   without a GPU. Release code is what the default builds
set -eu
cd "$(dirname "$0")/.."

sanitize=false device=
for option; do
    case $option in
    --sanitize) sanitize=true ;;
    --fast-device) device='-Dnvcc_targets=90a -Dnvcc_fast=true' ;;
    *)
        echo "usage: tests/run.sh [--sanitize] [--fast-device]" >&2
        exit 2
        ;;
    esac
done

recipes/install-packages.sh --checks

passed=0
failed=0
run_suite() { # DIRECTORY [meson test options]
    directory=$1
    shift
    rm -f "$directory/meson-logs/testlog.txt"
    outcome=0
    meson test -C "$directory" --print-errorlogs "$@" || outcome=$?
    if [ ! -f "$directory/meson-logs/testlog.txt" ]; then
        echo "tests/run.sh: meson test did not run in $directory" >&2
        exit 1
    fi
    counts=$(awk -f tests/count.awk "$directory/meson-logs/testlog.txt")
    # meson test fails for reasons that no single case shows (a crash after the last one).
    case "$outcome $counts" in
    0\ *) ;;
    *" 0") counts="${counts% *} 1" ;;
    esac
    echo "$directory: ${counts% *} passed, ${counts#* } failed"
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
}

[ -f build/build.ninja ] || meson setup build --werror
# shellcheck disable=SC2086 # words
meson configure build -Dwerror=true $device
ninja -C build
run_suite build

if $sanitize; then
    # Without --werror: instrumented code draws warnings about values that it tests itself. Optimized a
    # little, with line numbers for reports: half of the time that -O2 -g takes to compile.
    [ -f build-sanitize/build.ninja ] ||
        meson setup build-sanitize --buildtype=plain -Doptimization=1 -Dc_args=-g1 -Dcuda=disabled \
            -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C build-sanitize
    # Leaks are reported; a finding of UBSan ends the program, so that the test sees it.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1:detect_stack_use_after_return=1}"
    export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"
    run_suite build-sanitize --no-suite slow --no-suite source --timeout-multiplier 5
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
