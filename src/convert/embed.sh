#!/bin/sh
# The bytes of a file as the elements of a C array.
#
# usage: embed.sh FILE
set -eu
od -An -v -tu1 "$1" | sed 's/\([0-9][0-9]*\)/\1,/g'
