#!/bin/sh
# Packs what tests/cuda/run.sh runs, for a GPU machine that has no build of its own: the programs of
# tests/cuda/list, has_device and bench_ops, and the libraries that such a machine may lack.
#
# usage: tests/cuda/bundle.sh BUILD FILE
#   BUILD   a build directory with CUDA
#   FILE    the archive, .tar.xz
set -eu
if [ $# -ne 2 ]; then
    echo "usage: tests/cuda/bundle.sh BUILD FILE" >&2
    exit 2
fi
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
mkdir "$parts/tests" "$parts/lib"
programs="has_device bench_ops $(awk '{ print $2 }' "$source/tests/cuda/list")"
for program in $programs; do
    cp "$build/tests/$program" "$parts/tests/"
    strip "$parts/tests/$program"
done
cp "$build/apriel-tool" "$parts/"
strip "$parts/apriel-tool"
# Where the programs look for tests/data; run.sh puts a link there.
echo "$source/tests/data" >"$parts/data-path"
# CUDA's and the compiler's own libraries are there where a program for it runs at all.
for program in "$parts"/tests/* "$parts/apriel-tool"; do
    ldd "$program" | awk '$3 ~ /^\// { print $3 }'
done | sort -u | grep -vE '/lib(c|m|stdc\+\+|gcc_s|cublas|cublasLt|cudart|crypto|dl|pthread|rt)\.so' |
    while read -r library; do cp -L "$library" "$parts/lib/"; done
strip --strip-unneeded "$parts"/lib/*
tar -C "$parts" -cf - . | xz -T1 --lzma2=preset=1,dict=256MiB >"$2"
ls -l "$2"
