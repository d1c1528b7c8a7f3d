/* make_tokens FILE.h5 VOCABULARY <ROWS: a token set for the tests of the command line, from lines
 * of token ids with blanks between them. "!" before an id masks it out; one such mark gives the set
 * a loss mask. What is not a digit or "!" separates, so that ids.jsonl serves as it is. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/tokenset.h"

enum { MAX_ROWS = 4096, MAX_TOKENS = 1 << 21 };

static uint64_t row_offsets[MAX_ROWS + 1];
static uint32_t ids[MAX_TOKENS];
static uint8_t mask[MAX_TOKENS];

static enum status read_rows(struct tokenset *set) {
    char *line = NULL;
    size_t capacity = 0;
    bool masked = false;
    enum status status = STATUS_OK;
    while (!status && getline(&line, &capacity, stdin) > 0) {
        if (set->rows == MAX_ROWS) status = status_fail("more than %d rows", MAX_ROWS);
        for (char *cursor = line; !status && *cursor;) {
            bool out = *cursor == '!';
            if (out) cursor++;
            if (*cursor < '0' || *cursor > '9') {
                cursor += !out;
                continue;
            }
            if (set->tokens == MAX_TOKENS) status = status_fail("more than %d ids", MAX_TOKENS);
            if (status) break;
            mask[set->tokens] = !out;
            ids[set->tokens++] = (uint32_t)strtoul(cursor, &cursor, 10);
            masked |= out;
        }
        row_offsets[++set->rows] = set->tokens;
    }
    free(line);
    set->loss_mask = masked ? mask : NULL;
    return status;
}

int main(int argc, char **argv) {
    struct tokenset set = {.row_offsets = row_offsets, .ids = ids, .sources = "make_tokens"};
    if (argc != 3) {
        fputs("usage: make_tokens FILE.h5 VOCABULARY <ROWS\n", stderr);
        return STATUS_USAGE;
    }
    set.vocab_size = strtoul(argv[2], NULL, 10);
    enum status status = read_rows(&set);
    if (!status) status = tokenset_write(argv[1], &set);
    if (status) fprintf(stderr, "make_tokens: %s\n", status_message());
    return (int)status;
}
