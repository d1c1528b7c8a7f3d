/* The evil names of evil_names.h as each border writes them, for scripts: quote_names list prints
 * all names, each ended by a NUL; quote_names BORDER prints what the border's helper makes of each,
 * likewise ended; quote_names BORDER NAME of one name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "evil_names.h"

static void quote_nothing(struct text *out, const char *name) {
    text_append(out, "%s", name);
}

static const struct {
    const char *name;
    void (*quote)(struct text *out, const char *name);
} borders[] = {
    {"list", quote_nothing}, {"terminal", quote_terminal},
    {"shell", quote_shell},  {"shell_path", quote_shell_path},
    {"yaml", quote_yaml},    {"csv", quote_csv},
    {"xml", quote_xml},      {"gnuplot", quote_gnuplot},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof borders / sizeof *borders; i++) {
        if (strcmp(borders[i].name, argv[1]) != 0) continue;
        const char *const *names = argc > 2 ? (const char *const *)argv + 2 : evil_names;
        size_t count = argc > 2 ? (size_t)argc - 2 : EVIL_NAMES;
        for (size_t k = 0; k < count; k++) {
            struct text text = {0};
            borders[i].quote(&text, names[k]);
            char *quoted = text_finish(&text);
            if (!quoted) return EXIT_FAILURE;
            fwrite(quoted, 1, strlen(quoted) + 1, stdout);
            free(quoted);
        }
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    fprintf(stderr, "usage: quote_names list|BORDER [NAME...]\n");
    return 2;
}
