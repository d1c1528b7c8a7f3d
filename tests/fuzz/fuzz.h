/* A fuzz program is one file with LLVMFuzzerTestOneInput. meson.build here links it twice: with
 * replay.c, as a test over corpus/NAME/ that every build runs, and, with -Dfuzzers=true and clang,
 * with libFuzzer. An input that once failed goes into the corpus. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Write the input to a temporary file, for readers that take a path; removed at exit. Returns the
 * path, the same at every call. */
const char *fuzz_file(const uint8_t *bytes, size_t size);

#endif
