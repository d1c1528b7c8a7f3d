/* The options of new Mamba mixers, shared by mmr, convert, plan and bench: one spelling, one set of
 * bounds. */
#ifndef CLI_MIXER_OPTION_H
#define CLI_MIXER_OPTION_H

#include "cli/options.h"
#include "model/mil.h"

struct mixer_values {
    struct mil_words words;
    int64_t d_state, dt_rank, d_conv; /* 0: the default */
};

/* The rows of the sizes, and of the choices of the initialisation. */
enum { MIXER_SIZES = 3, MIXER_CHOICES = 10 };
void mixer_option_sizes(struct option table[MIXER_SIZES], struct mixer_values *values);
void mixer_option_choices(struct option table[MIXER_CHOICES], struct mixer_values *values);

/* All of them. */
enum { MIXER_OPTIONS = MIXER_CHOICES + MIXER_SIZES };
void mixer_option_all(struct option table[MIXER_OPTIONS], struct mixer_values *values);
bool mixer_option_is_given(const struct option *row);

/* Into the sizes and choices of `out`; its seed stays. */
enum status mixer_option_resolve(struct mil_options *out,
                                 const struct mixer_values *values) STATUS_CHECKED;

/* The name of the first of these options that was given ("d-state"); NULL: none was. */
const char *mixer_option_given(const struct mixer_values *values);

#endif
