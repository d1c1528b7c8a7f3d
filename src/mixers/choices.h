/* How a new mixer begins: the choices that its kind offers, a row each, and the sizes that are
 * asked for. mmr, convert, plan and bench take them from the same rows, so a probe starts from
 * exactly the values that a converted checkpoint holds. */
#ifndef MIXERS_CHOICES_H
#define MIXERS_CHOICES_H

#include "base/json.h"
#include "base/text.h"
#include "mixers/mixer.h"

enum { MIXER_MAX_CHOICES = 16 };

/* What a choice enters beside the new mixer's values. */
enum choice_effect { ENTERS_ESTIMATE = 1, ENTERS_FAST_LLM = 2, ENTERS_SURGERY = 4 };

struct choice_row {
    const char *name;     /* "conv_init": in run parameters and provenance */
    const char *option;   /* "conv-init" */
    const char *words[2]; /* the first is 0; NULL: a range of two numbers */
    int usual;            /* unless `init` says it */
    bool of_init;         /* published is the first word, improved the second */
    bool flag;            /* an option without a value: its second word */
    bool quiet;           /* only said where it is not the usual */
    bool needs_data;      /* its second word: what that is, is fitted to rows of --calibrate … */
    bool usual_of_data;   /* … and the usual where there are any */
    unsigned enters;      /* enum choice_effect */
    const char *help;
    const char *low_name, *high_name; /* of a range: "dt_min", "dt_max" */
    double least, most;               /* its bounds … */
    double low, high;                 /* … and what it usually is */
};

/* Rows that new mixers are fitted to. */
struct mixer_data {
    const char *path; /* of a token set; NULL: there is none */
    int64_t tokens;   /* its first rows, until there are so many */
};

struct mixer_fit; /* fit.h */

struct mixer_choices {
    struct mixer_sizes sizes; /* of the kind; 0: the default, or as in the model */
    int word[MIXER_MAX_CHOICES];
    double low[MIXER_MAX_CHOICES], high[MIXER_MAX_CHOICES]; /* of ranges; both 0: the usual */
    struct mixer_data data;
    const struct mixer_fit *fit; /* what was found there for the layer at hand; NULL: nothing yet */
    uint64_t seed;
};

/* What mixers begin with when nothing is said: of the kind that `text` names ("m2"; NULL: the
 * default). STATUS_USAGE for what is no kind. */
enum status mixer_choices_begin(struct mixer_choices *out, const char *text) STATUS_CHECKED;

/* What a mixer of another kind begins with where `choices` are of one: the same where they are of
 * its kind and parameter, else what is usual. */
void mixer_choices_for(struct mixer_choices *out, const struct mixer_choices *choices,
                       const struct mixer_sizes *kind);

/* One choice by its option, "conv-init"; "init" published|improved, which is to be set first, sets
 * those that follow it. STATUS_USAGE names a wrong word, or an option that the kind does not have.
 */
#define MIXER_INIT "init"
enum status mixer_choices_set(struct mixer_choices *choices, const char *option,
                              const char *word) STATUS_CHECKED;

/* The second word of a choice that is a flag. */
enum status mixer_choices_flag(struct mixer_choices *choices, const char *option) STATUS_CHECKED;

/* A size by its option, "d-state". */
enum status mixer_choices_size(struct mixer_choices *choices, const char *option,
                               int64_t value) STATUS_CHECKED;

/* Fit to data what the kind's rows say is then fitted; before words are set. STATUS_USAGE where a
 * kind has nothing to fit. */
#define MIXER_CALIBRATE "calibrate"
#define MIXER_CALIBRATE_TOKENS "calibrate-tokens"
enum { MIXER_CALIBRATE_USUAL = 4096 };
enum status mixer_choices_calibrate(struct mixer_choices *choices,
                                    const struct mixer_data *data) STATUS_CHECKED;

/* STATUS_USAGE, naming the option, where a word needs data and there is none. */
enum status mixer_choices_check(const struct mixer_choices *choices) STATUS_CHECKED;

/* Whether new mixers are to be fitted to data before they begin. */
bool mixer_choices_fits(const struct mixer_choices *choices);

/* The same without data: what times mixers needs none. */
void mixer_choices_forget_data(struct mixer_choices *choices);

/* Whether a kind has an option, of a choice or of a size. */
bool mixer_has_option(const struct mixer_kind *kind, const char *option);

/* The two ends of a range. */
void mixer_choices_range(double *low, double *high, const struct mixer_choices *choices, int row);

/* The choices and the sizes that options ask for, for run parameters and provenance, where `sizes`
 * are those of the new mixer; the caller frees. */
struct json *mixer_choices_to_json(const struct mixer_choices *choices,
                                   const struct mixer_sizes *sizes);

/* "; align gqa, conv-init identity": the choices that are always said, for people. */
void mixer_choices_append(struct text *text, const struct mixer_choices *choices);

/* Whether `value` is what a run has under `key` when nothing is said, as mixer_choices_to_json
 * wrote it for a model of `host`. */
bool mixer_choice_is_usual(const char *key, const struct json *value,
                           const struct mixer_host *host);

/* What a new mixer is made from: the attention of one layer, by the tensors of
 * attention/attention.h; implemented over a checkpoint, and by tests over arrays. */
struct attention_source {
    void *context;
    const struct mixer_host *host;
    enum dtype dtype; /* of its weights */
    int layer;
    /* Elements [first, first + count) of a tensor. */
    enum status (*read)(void *context, int tensor, int64_t first, int64_t count, float *out);
    /* The weights of the norm before the mixer [D]. */
    enum status (*input_norm)(void *context, float *out);
    /* As its checkpoint names it; NULL: it has none. */
    const char *(*name)(void *context, int tensor);
};

/* Fill `out` with a tensor of a new mixer, by the rows of its kind; a random value depends on
 * (seed, layer, tensor name, index) only, and storing it in the source's type loses nothing. */
enum status mixer_init(float *out, int tensor, const struct mixer_sizes *sizes,
                       const struct mixer_choices *choices,
                       const struct attention_source *source) STATUS_CHECKED;

/* Put a weight of a new mixer, from the tensors that it consists of. */
enum status mixer_make_weight(struct mixer *mixer, struct backend *backend,
                              const struct mixer_choices *choices,
                              const struct attention_source *source, int weight) STATUS_CHECKED;

/* What mixer_init makes a tensor from, in words. The caller frees. */
char *mixer_origin(int tensor, const struct mixer_sizes *sizes, const struct mixer_choices *choices,
                   const struct attention_source *source);

/* Which of its weights a new mixer's training leaves as they are; and whether it leaves any other.
 */
void mixer_freeze(struct mixer *mixer, const struct mixer_choices *choices);
bool mixer_trains(const struct mixer_choices *choices);

/* Whether a kind has the attention's own weights: they are copied as they are. */
bool mixer_is_copy(const struct mixer_kind *kind);

#endif
