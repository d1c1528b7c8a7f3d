/* What a new mixer takes from data: how its attention behaves on some rows, and from that the
 * memories, sizes, gate and output projection that come closest to it before any training. The
 * rules are those of a kind's table (`fitting`), the choices say which of them are wanted, and the
 * kind's init puts what was found into tensors (see choices.h, `fit`). */
#ifndef MIXERS_FIT_H
#define MIXERS_FIT_H

#include "mixers/choices.h"

/* A layer's attention on some rows, on a device. */
struct fit_rows {
    struct backend *backend;
    const struct sequences *sequences;
    const struct act *input; /* [n, D]: what the mixer reads, normalised */
    const struct act *heads; /* [n, H E]: the attention's heads before its output projection */
};

/* What kinds that can be fitted say of it. Their mixers consist of units, heads or parts of one,
 * each of which stands for as many channels of the attention's heads. */
struct fit_rules {
    int mixed; /* buffer: what the output projection reads [n, its columns], unit by unit */
    int out;   /* tensor: the output projection [D, its columns] */
    int memory, scale, fit_out; /* choices whose second word asks for each part */
    int memory_weight;          /* follows the memories */
    int write_weight; /* follows how much of an error is corrected; -1: kind has no such */
    int scale_weight; /* follows the sizes */
    int64_t (*units)(const struct mixer_sizes *);
    /* The first channel of the attention's heads that a unit stands for; as many as the unit has
     * follow. */
    int64_t (*channel)(const struct mixer_sizes *, const struct mixer_choices *,
                       const struct mixer_host *, int64_t unit);
    /* Whether it needs the row that is closest to 1; NULL: never. */
    bool (*constant)(const struct mixer_sizes *, const struct mixer_choices *);
};

struct mixer_fit {
    int64_t units;
    double *memory;   /* [units]: tokens */
    double *write;    /* [units]: of what the states miss, how much they take in */
    double *scale;    /* [units]: the rms of the attention's heads over the mixer's */
    double *explains; /* [units]: R^2 of a linear map of the mixer's output to the attention's */
    float *constant;  /* [D]: the row whose product with the input is closest to 1; or NULL */
    double constant_explains; /* its R^2 */
    float *out;               /* [D, columns]: the output projection by least squares; or NULL */
};

/* Fit a mixer of these sizes to the attention of `source` on `rows`, as far as `choices` ask for
 * it. The caller frees, and lends it to a copy of the choices (`fit`), with which mixer_init then
 * makes every tensor. */
enum status mixer_fit_make(struct mixer_fit **out, const struct mixer_sizes *sizes,
                           const struct mixer_choices *choices,
                           const struct attention_source *source,
                           const struct fit_rows *rows) STATUS_CHECKED;
/* The same of a mixer of more units, of these sizes, whose others have zeros in the attention. The
 * caller frees. */
enum status mixer_fit_pad(struct mixer_fit **out, const struct mixer_fit *fit,
                          const struct mixer_sizes *sizes,
                          const struct mixer_host *host) STATUS_CHECKED;
void mixer_fit_free(struct mixer_fit *fit); /* accepts NULL */

/* A constant row explains enough to stand for a bias. */
bool mixer_fit_has_constant(const struct mixer_fit *fit);

#endif
