#include "scores/numbers.h"

#include <string.h>

#include "scores/kinds.h"

/* Version 1 is what release 0.1.0 computed. */
static const struct {
    const char *name;
    int version;
} table[] = {
    {RUN_LOO, 1},
    {RUN_ESTIMATE_FIRST_ORDER, 1},
    {RUN_ESTIMATE_FISHER, 1},
    {RUN_ESTIMATE_COSINE, 1},
    {RUN_MMR, 1},
    {RUN_ALIGN, 1},
    {RUN_DISTILL, 1},
    {"teacher-states", 1}, /* files of mmr --cache-dir */
    {"eval-rows", 1},
    /* 2: the beginning token follows the tokenizer */
    {RUN_LOO_TASK, 2},
    {"eval-choices", 2},
    /* 2: also end tokens of generation_config.json, chats by the model's own template, answers
     * compared exactly
     * 3: units of single letters, raised and lowered signs, binomial coefficients with variables;
     * bold type and remarks in texts without marks */
    {"eval-answers", 3},
};
enum { KINDS = sizeof table / sizeof *table };

enum status numbers_version(int64_t *out, const char *name) {
    for (int i = 0; i < KINDS; i++)
        if (strcmp(table[i].name, name) == 0) {
            *out = table[i].version;
            return STATUS_OK;
        }
    return status_fail("runs of kind \"%s\" have no numbers version (see scores/numbers.c)", name);
}

const char *numbers_name(int index) {
    return index < KINDS ? table[index].name : NULL;
}
