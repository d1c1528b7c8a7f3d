#!/bin/sh
# Runs a test program on the first GPU; exit status 77, a skipped test, where there is none.
#
# usage: tests/cuda/on_cuda.sh DIRECTORY PROGRAM [ARGUMENT...]
#   DIRECTORY   where PROGRAM and has_device are
set -eu
directory=$1
program=$2
shift 2
"$directory/has_device" cuda
TEST_DEVICE=cuda exec "$directory/$program" "$@"
