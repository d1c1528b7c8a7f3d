#include "cli/mixer_option.h"

#include <string.h>

enum { MOST = 65536 }; /* more states or ranks than any model has channels */

void mixer_option_sizes(struct option table[MIXER_SIZES], struct mixer_values *values) {
    const struct option rows[MIXER_SIZES] = {
        {"d-state", OPTION_COUNT, &values->d_state, "N",
         "state size; must divide the head size (16, or as in the hybrid before)", .low = 1,
         .high = MOST, .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"dt-rank", OPTION_COUNT, &values->dt_rank, "N",
         "rank of the step sizes' projection (hidden size / 16)", .low = 1, .high = MOST,
         .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"d-conv", OPTION_COUNT, &values->d_conv, "N", "taps of the convolution (4)", .low = 1,
         .high = 64, .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
    };
    memcpy(table, rows, sizeof rows);
}

void mixer_option_choices(struct option table[MIXER_CHOICES], struct mixer_values *values) {
    struct mil_words *words = &values->words;
    const struct option rows[MIXER_CHOICES] = {
        {"init", OPTION_CHOICE, &words->init, NULL,
         "initialisation (improved): sets the next six, each of which can be set alone",
         .choices = "published|improved", .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"align", OPTION_CHOICE, &words->align, NULL, "order of the query sub-heads",
         .choices = "paper|gqa", .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"conv-init", OPTION_CHOICE, &words->conv_init, NULL, "what the convolution starts as",
         .choices = "random|identity", .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"dt-bias", OPTION_CHOICE, &words->dt_bias, NULL,
         "how often the draw of the step sizes is added", .choices = "twice|once",
         .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"gate", OPTION_CHOICE, &words->gate, NULL,
         "drawn at random, or open: silu(z) starts as 1, which takes biases",
         .choices = "random|open", .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"skip", OPTION_CHOICE, &words->skip, NULL, "what D starts as", .choices = "one|zero",
         .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"c-scale", OPTION_CHOICE, &words->c_scale, NULL,
         "C as the query is, or (head) divided by sqrt(head_dim)", .choices = "one|head",
         .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"a-init", OPTION_CHOICE, &words->a_init, NULL,
         "A starts as -1 to -N over the states, or as -1 in all (s4d)", .choices = "s4d|one",
         .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"dt-range", OPTION_STRING, &words->dt_range, "LOW,HIGH",
         "range of the step sizes that they start with (0.001,0.1)", .group = GROUP_MIXERS,
         .identity = OPTION_RESOLVED},
        {"qkv-bias", OPTION_CHOICE, &words->qkv_bias, NULL,
         "what becomes of attention biases (keep)", .choices = "keep|drop", .group = GROUP_MIXERS,
         .identity = OPTION_RESOLVED},
    };
    memcpy(table, rows, sizeof rows);
}

enum status mixer_option_resolve(struct mil_options *out, const struct mixer_values *values) {
    enum status status = mil_options_parse(out, &values->words);
    out->d_state = (int)values->d_state;
    out->dt_rank = (int)values->dt_rank;
    out->d_conv = (int)values->d_conv;
    return status;
}

bool mixer_option_is_given(const struct option *row) {
    if (row->kind == OPTION_COUNT) return *(const int64_t *)row->target != 0;
    return *(const char *const *)row->target != NULL;
}

void mixer_option_all(struct option table[MIXER_OPTIONS], struct mixer_values *values) {
    mixer_option_choices(table, values);
    mixer_option_sizes(table + MIXER_CHOICES, values);
}

const char *mixer_option_given(const struct mixer_values *values) {
    struct mixer_values copy = *values;
    struct option rows[MIXER_OPTIONS];
    mixer_option_all(rows, &copy);
    for (int i = 0; i < MIXER_OPTIONS; i++)
        if (mixer_option_is_given(&rows[i])) return rows[i].name;
    return NULL;
}
