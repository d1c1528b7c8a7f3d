/* The options of new mixers, shared by mmr, convert, plan and bench: those of every kind, from the
 * rows of its table, so one spelling and one set of bounds. */
#ifndef CLI_MIXER_OPTION_H
#define CLI_MIXER_OPTION_H

#include "cli/options.h"
#include "mixers/choices.h"

enum { MIXER_OPTIONS = 48, MIXER_WORDS_SIZE = 96 }; /* at most */

/* What was said, in the order of the rows of mixer_option_all. */
struct mixer_values {
    const char *words[MIXER_OPTIONS];
    int64_t sizes[MIXER_OPTIONS]; /* 0: the default */
    bool flags[MIXER_OPTIONS];
    char choices[MIXER_OPTIONS][MIXER_WORDS_SIZE]; /* what the rows point to */
};

/* All of them: the kind, the choices of how mixers start, their sizes; and those without the
 * choices. Both return how many rows they are; what they point to lies in `values`. */
int mixer_option_all(struct option table[MIXER_OPTIONS], struct mixer_values *values);
int mixer_option_sizes(struct option table[MIXER_OPTIONS], struct mixer_values *values);
bool mixer_option_is_given(const struct option *row);

/* What mixers begin with where `usual` (NULL: the first kind) is what stands in attention's place
 * when no kind is named. An option that it does not have stands for the first kind that has all
 * that were given. */
enum status mixer_option_resolve(struct mixer_choices *out, const struct mixer_values *values,
                                 uint64_t seed, const struct mixer_kind *usual) STATUS_CHECKED;

/* `*out` is format_usual_kind of the model in a directory, or of the hybrid on top of which mixers
 * are put (or NULL), where no kind is named; else NULL. `format` is what option --format says, or
 * NULL. */
enum status mixer_option_usual(const struct mixer_kind **out, const struct mixer_values *values,
                               const char *model, const char *hybrid,
                               const char *format) STATUS_CHECKED;

/* The same for several kinds, "m2,window:1024": each takes the options that it has, and one that
 * none of them has is refused. Up to `most` are written to `out`. */
enum status mixer_option_resolve_list(struct mixer_choices *out, int *count, int most,
                                      const struct mixer_values *values, uint64_t seed,
                                      const struct mixer_kind *usual) STATUS_CHECKED;

/* The name of the first of these options that was given ("d-state"); NULL: none was. */
const char *mixer_option_given(const struct mixer_values *values);

/* The same without the kind. */
const char *mixer_option_detail(const struct mixer_values *values);

/* What was said of one of them, a word; NULL: nothing. */
const char *mixer_option_word(const struct mixer_values *values, const char *name);

/* What an option enters beside the values of new mixers: enum choice_effect, all of it for sizes
 * and for what sets several choices. */
unsigned mixer_option_effect(const char *name);

#endif
