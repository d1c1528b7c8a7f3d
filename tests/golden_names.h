/* Golden files of mixers hold some tensors in parts, or by the names of the stock modules. */
#ifndef TESTS_GOLDEN_NAMES_H
#define TESTS_GOLDEN_NAMES_H

#include <string.h>

#include "mixers/mixer.h"

enum { GOLDEN_PARTS = 3 };

/* The golden tensors that hold tensor `t` of the kind, row on row; NULL behind the last. */
static void golden_parts(const char *parts[GOLDEN_PARTS], const struct mixer_kind *kind, int t) {
    static const struct {
        const char *kind, *tensor, *parts[GOLDEN_PARTS];
    } stock[] = {
        {"gdn", "in_proj_qkvz.weight", {"in_proj_qkv.weight", "in_proj_z.weight"}},
        {"gdn", "in_proj_ba.weight", {"in_proj_b.weight", "in_proj_a.weight"}},
        {"gdn", "convolution.weight", {"conv1d.weight"}},
    };
    const char *name = kind->tensors[t].name;
    parts[0] = name;
    parts[1] = NULL;
    for (size_t i = 0; i < sizeof stock / sizeof *stock; i++)
        if (strcmp(stock[i].kind, kind->name) == 0 && strcmp(stock[i].tensor, name) == 0)
            memcpy(parts, stock[i].parts, sizeof stock[i].parts);
}

#endif
