#define _POSIX_C_SOURCE 200809L
#include "cmd/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/paths.h"
#include "base/utf8.h"
#include "base/version.h"
#include "cli/document.h"
#include "cli/options.h"
#include "data/input.h"
#include "data/tokenset.h"
#include "kernels/backend.h"
#include "scores/store.h"
#include "tokenizer/regex.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const struct {
    const char *name, *key;
    const char *(*version)(void);
} libraries[] = {
    {"oneDNN", "onednn", backend_library_version}, {"HDF5", "hdf5", tokenset_library_version},
    {"SQLite", "sqlite", store_library_version},   {"jansson", "jansson", js_library_version},
    {"PCRE2", "pcre2", regex_library_version},     {"utf8proc", "utf8proc", utf8_library_version},
    {"OpenSSL", "openssl", hash_library_version},  {"zlib", "zlib", input_library_version},
};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

/* What was built, and what it finds where it runs. */
struct about {
    char cuda[BACKEND_CUDA_VERSION_SIZE]; /* "": none */
    char gnuplot[64];                     /* "5.4 patchlevel 8"; "": none */
    char *data;                           /* where recipes and chart styles lie; NULL: missing */
};

static void find_gnuplot(char out[64]) {
    FILE *pipe = popen("gnuplot --version 2>/dev/null", "r");
    *out = '\0';
    if (!pipe) return;
    char line[80] = "";
    if (fgets(line, sizeof line, pipe) && strncmp(line, "gnuplot ", 8) == 0) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, 64, "%.60s", line + 8);
    }
    pclose(pipe);
}

static void print_text(const struct about *about) {
    printf("apriel-tool %s\n", version_release());
    printf("commit    %s\n", version_commit());
    printf("compiler  %s\n", COMPILER);
    printf("CUDA      %s\n", *about->cuda ? about->cuda : "no");
    for (int i = 0; i < LIBRARIES; i++)
        printf("%-9s %s\n", libraries[i].name, libraries[i].version());
    printf("gnuplot   %s\n", *about->gnuplot ? about->gnuplot : "not found: chart cannot draw");
    printf("data      %s\n", about->data ? about->data : "not found");
}

static enum status print_json(const struct about *about) {
    struct json *document = document_begin("version"), *versions = js_new_object();
    js_set_string(document, "release", version_release());
    js_set_string(document, "commit", version_commit());
    js_set_string(document, "compiler", COMPILER);
    js_set_string(document, "cuda", *about->cuda ? about->cuda : NULL);
    for (int i = 0; i < LIBRARIES; i++)
        js_set_string(versions, libraries[i].key, libraries[i].version());
    js_set(document, "libraries", versions);
    js_set_string(document, "gnuplot", *about->gnuplot ? about->gnuplot : NULL);
    js_set_string(document, "data", about->data);
    return document_print(document);
}

enum status cmd_version(int argc, char **argv) {
    struct command_line line = {.command = "version",
                                .usage = "[--json]",
                                .about = "Print the version of apriel-tool, the commit and what it "
                                         "was built with, the libraries that it runs with, and "
                                         "where its recipes are."};
    struct command_arguments arguments;
    struct about about = {0};
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (status || arguments.help) goto done;
    if (arguments.positional.count > 0) {
        status = status_set(STATUS_USAGE, "version: unexpected argument \"%s\"",
                            arguments.positional.values[0]);
        goto done;
    }
    backend_cuda_version(about.cuda);
    find_gnuplot(about.gnuplot);
    if (paths_find_data(&about.data, "recipes")) about.data = NULL;
    if (arguments.json)
        status = print_json(&about);
    else
        print_text(&about);
done:
    free(about.data);
    options_free(&arguments, &line);
    return status;
}
