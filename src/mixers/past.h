/* What generation keeps of the tokens so far, for each sequence under way: by the rows of the
 * mixer's kind, keys and values, or states. */
#ifndef MIXERS_PAST_H
#define MIXERS_PAST_H

#include "mixers/mixer.h"

struct past_row {
    const char *name; /* "the key cache" */
    bool acc;         /* else act */
    /* Elements of a row of the past (see mixer_kind.past_rows). */
    int64_t (*width)(const struct mixer_sizes *, const struct mixer_host *);
    const char *made_up; /* random stream of past_fill; NULL: zeros */
};

struct layer_past {              /* of one layer, for every slot */
    void *array[MIXER_MAX_PAST]; /* [slots, rows, width], by the kind's rows */
    int64_t rows;
};

struct past_use {
    const struct layer_past *layer;
    const int32_t *slots; /* device [sequences]: where each sequence's past stands */
    bool step;            /* one more token a sequence; else sequences from their beginning */
    int64_t longest;      /* of a step: at least every sequence's tokens, the new one included */
};

/* Bytes that one sequence of up to `tokens` tokens needs, where elements take so many bytes; and
 * what each further token adds, before a window is full. */
uint64_t past_bytes(const struct mixer_sizes *sizes, const struct mixer_host *host, int64_t tokens,
                    size_t act_bytes, size_t acc_bytes);
uint64_t past_token_bytes(const struct mixer_sizes *sizes, const struct mixer_host *host,
                          size_t act_bytes, size_t acc_bytes);

/* Room for `slots` sequences of up to `tokens` tokens. past_free accepts a zeroed struct. */
enum status past_alloc(struct layer_past *out, struct backend *backend,
                       const struct mixer_sizes *sizes, const struct mixer_host *host, int slots,
                       int64_t tokens) STATUS_CHECKED;

/* Make up what is kept, for `slots` sequences of `tokens` tokens: random keys and values, zero
 * states. */
enum status past_fill(struct layer_past *past, struct backend *backend,
                      const struct mixer_sizes *sizes, const struct mixer_host *host, int layer,
                      int slots, int64_t tokens) STATUS_CHECKED;
void past_free(struct layer_past *past, struct backend *backend);

#endif
