#!/bin/sh
# Checks the dependency order of the folders (doc/ARCHITECTURE.md): a file includes its own folder and
# what stands left of it. Also: one folder per library, kernels/cpu and kernels/cuda apart, CUDA's
# preprocessor switch in the backend selection only, and no circles of includes between files (a
# header and the source of its name are one) but those that say why: #include "x.h" /* circle: … */
# on the way back. $1 is the source tree.
set -eu
cd "${1:-.}"

files=$(find src kernels eval reports -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) \
    2>/dev/null | sort)
if [ -z "$files" ]; then
    echo "dependencies: no source files under $(pwd)" >&2
    exit 1
fi

# shellcheck disable=SC2086 # file names of this repository have no blanks
awk '
BEGIN {
    # generate stands before eval, which scores generated answers; reports reads plans and scores.
    count = split("base template kernels mixers checkpoint tokenizer data model library measure scores train analysis " \
                  "generate eval plan convert schedule distill,reports cli cmd", levels, " ")
    for (i = 1; i <= count; i++) {
        n = split(levels[i], names, ",")
        for (j = 1; j <= n; j++) level[names[j]] = i
    }
    # header: the files that may include it, as a pattern of paths
    only["jansson.h"] = "^src/base/json\\.c$"
    only["hdf5.h"] = "^src/data/"
    only["hdf5_hl.h"] = "^src/data/"
    only["sqlite3.h"] = "^src/scores/"
}
function report(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    bad = 1
}
function folder_of(path, parts) {
    split(path, parts, "/")
    return parts[1] == "src" ? parts[2] : parts[1]
}
FNR == 1 {
    folder = FILENAME == "src/main.c" ? "cmd" : folder_of(FILENAME)
    if (!(folder in level)) report("folder \"" folder "\" has no place in the dependency order")
}
/^[ \t]*#[ \t]*include/ {
    header = $0
    sub(/^[^<"]*[<"]/, "", header)
    sub(/[>"].*$/, "", header)
    name = header
    sub(/.*\//, "", name)
    if (name in only && FILENAME !~ only[name]) report("\"" header "\" may not be included here")
    if (index($0, "\"") == 0) next
    target = header ~ /\// ? folder_of(header) : folder
    if (!(target in level)) report("include of \"" header "\" names no folder of the order")
    else if (target != folder && level[target] >= level[folder])
        report(folder " includes " target " (\"" header "\"), which does not stand left of it")
    if (FILENAME ~ /^kernels\/cpu\// && header ~ /^kernels\/cuda\//)
        report("kernels/cpu includes kernels/cuda")
    if (FILENAME ~ /^kernels\/cuda\// && header ~ /^kernels\/cpu\//)
        report("kernels/cuda includes kernels/cpu")
}
/^[ \t]*#[ \t]*(el)?if/ && /CUDA/ && !/CUDA_ARCH|^#ifndef KERNELS_CUDA_[A-Z_]*_C?U?H$/ && FILENAME !~ /^kernels\/(backend|select)[a-z_]*\.[ch]$/ {
    report("a preprocessor switch on CUDA outside the selection of the backend")
}
END { exit bad }
' $files
# Names of no include edges in or out lie on no circle; what is left, lies on one or between two.
# shellcheck disable=SC2086
awk '
function unit_of(path) {
    sub(/\.(c|h|cu|cuh)$/, "", path)
    return path
}
BEGIN {
    for (i = 1; i < ARGC; i++) there[ARGV[i]] = 1
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    if (/\/\* circle: [^ ]+ [^ ]/) next
    header = $0
    sub(/^[^"]*"/, "", header)
    sub(/".*$/, "", header)
    if (header !~ /\//) {
        folder = FILENAME
        sub(/[^\/]*$/, "", folder)
        header = folder header
    }
    target = ("src/" header) in there ? "src/" header : header
    from = unit_of(FILENAME)
    to = unit_of(target)
    if (!(target in there) || from == to || (from, to) in edge) next
    edge[from, to] = FILENAME ":" FNR
    out[from]++
    into[to]++
}
END {
    do {
        gone = 0
        for (pair in edge) {
            split(pair, ends, SUBSEP)
            if (out[ends[2]] > 0 && into[ends[1]] > 0) continue
            out[ends[1]]--
            into[ends[2]]--
            delete edge[pair]
            gone = 1
        }
    } while (gone)
    for (pair in edge) {
        split(pair, ends, SUBSEP)
        printf "%s: %s includes %s, on a circle of includes\n", edge[pair], ends[1], ends[2]
        bad = 1
    }
    exit bad
}
' $files
echo "dependencies: $(echo "$files" | wc -l) files in order"
