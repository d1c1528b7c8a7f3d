#!/bin/sh
# Installs what building and testing need, through apt-get, and only what is missing. Run by
# tests/run.sh and recipes/quickstart.sh; on systems without apt-get it names what to install.
#
# usage: recipes/install-packages.sh [--checks]
#   --checks   also what checks the sources: clang-format and clang-tidy 14 and shellcheck, of which a
#              system may have none; without them those tests are skipped
set -eu

missing=""
need() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

need gcc sh -c 'command -v cc || command -v gcc || command -v clang'
# shellcheck disable=SC2016 # CC is for the inner shell
need libc6-dev sh -c 'echo "#include <stdio.h>" | ${CC:-cc} -E -'
need meson sh -c 'command -v meson'
need ninja-build sh -c 'command -v ninja'
need pkg-config sh -c 'command -v pkg-config'
need libjansson-dev pkg-config --exists 'jansson >= 2.13'
need libhdf5-dev sh -c 'command -v h5cc || pkg-config --exists hdf5'
need libsqlite3-dev pkg-config --exists 'sqlite3 >= 3.24'
need libpcre2-dev pkg-config --exists libpcre2-8
need libutf8proc-dev pkg-config --exists libutf8proc
# shellcheck disable=SC2016
need libdnnl-dev sh -c 'echo "#include <oneapi/dnnl/dnnl.h>" | ${CC:-cc} -E -'
need libssl-dev pkg-config --exists libcrypto
need zlib1g-dev pkg-config --exists zlib
need libgmp-dev pkg-config --exists gmp
need libmpfr-dev pkg-config --exists mpfr
# shellcheck disable=SC2016
need libmpc-dev sh -c 'echo "#include <mpc.h>" | ${CC:-cc} -E -'
need check pkg-config --exists check
need gnuplot-nox sh -c 'command -v gnuplot'
need sqlite3 sh -c 'command -v sqlite3'

if [ "${1-}" = --checks ]; then
    known() { # PACKAGE: of another system's, none
        ! command -v apt-cache >/dev/null || [ -n "$(apt-cache search --names-only "^$1\$" 2>/dev/null)" ]
    }
    command -v apt-get >/dev/null && for check in clang-format-14 clang-tidy-14 shellcheck; do
        command -v "$check" >/dev/null || ! known "$check" || missing="$missing $check"
    done
fi
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "install-packages: install these first (Debian's names):$missing" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-packages: not root and no sudo: install these first:$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is words
install_missing() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2; }
install_missing || { $as_root apt-get update >&2 && install_missing; }
