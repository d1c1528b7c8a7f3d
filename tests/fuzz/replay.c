/* Runs a fuzz target over the files of a corpus directory and prints one TAP case a file: reaching
 * the end of the file's case without a crash or a sanitizer's finding is the pass. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "fuzz.h"

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv) {
    struct dirent **entries = NULL;
    int count = argc == 2 ? scandir(argv[1], &entries, is_visible, alphasort) : -1;
    if (count <= 0) {
        fprintf(stderr, "usage: replay DIRECTORY (with at least one file)\n");
        return 2;
    }
    printf("1..%d\n", count);
    int failed = 0;
    for (int i = 0; i < count; i++) {
        char *path = file_join(argv[1], entries[i]->d_name), *bytes = NULL;
        size_t size = 0;
        bool good = path && file_read(&bytes, &size, path) == STATUS_OK;
        /* An exact copy, so that reading one byte too far is seen. */
        uint8_t *exact = good ? malloc(size ? size : 1) : NULL;
        if (exact) {
            memcpy(exact, bytes, size);
            LLVMFuzzerTestOneInput(exact, size);
        }
        printf("%sok %d - %s\n", exact ? "" : "not ", i + 1, entries[i]->d_name);
        fflush(stdout);
        failed += !exact;
        free(exact);
        free(bytes);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return failed ? 1 : 0;
}
