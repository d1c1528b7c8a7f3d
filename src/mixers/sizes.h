/* A kind's sizes: their names, options, bounds and defaults stand in one row each, and what
 * config.json calls them in one table a format, by which it is both written and read. */
#ifndef MIXERS_SIZES_H
#define MIXERS_SIZES_H

#include "base/json.h"
#include "mixers/mixer.h" /* circle: rows of a kind's table */

enum size_type {
    SIZE_WHOLE, /* in value, within [low, high] */
    SIZE_FLAG,  /* in value, 0 or 1 */
    SIZE_REAL,  /* in real, above 0; no part of the function */
};

struct size_row {
    const char *name; /* "d_state": in JSON, run parameters, provenance */
    enum size_type type;
    int64_t low, high;
    const char *option, *help; /* "d-state"; NULL: it follows from the model */
    int like; /* 1 + the size that it is equal to unless it is asked for: then it is not said; 0 */
    int64_t (*otherwise)(const struct mixer_host *); /* of a new mixer, unless an option says it */
    int64_t (*absent)(const struct mixer_host *);    /* where config.json leaves it out; NULL: it
                                                        may not */
    double usual;                                    /* of a real */
    bool upper_end;   /* of a real: of equal mixers that share a description, the largest stays in
                         it; else the least */
    bool may_be_zero; /* 0, which JSON leaves out, means that there is none */
    const char *block_word; /* unless it is 0, it stands behind this in the name of a block of
                               Apriel2's decoder; NULL: it does not */
    bool inspected;         /* what `inspect` shows of a mixer */
    bool set_by_init;       /* follows from the choices of the initialisation */
};

/* More than any model has. */
enum { SIZE_MOST = 65536, SIZE_MOST_TAPS = 64 };

/* Defaults that kinds share: H, E, a convolution's four taps, flags. */
int64_t size_heads(const struct mixer_host *host);
int64_t size_head_dim(const struct mixer_host *host);
int64_t size_taps(const struct mixer_host *host);
int64_t size_yes(const struct mixer_host *host);
int64_t size_no(const struct mixer_host *host);

enum config_use {
    CONFIG_SIZE,
    CONFIG_TRUE, /* a constant that must be so */
    CONFIG_WORD, /* constants that are only written */
    CONFIG_NUMBER,
    CONFIG_DERIVED,  /* computed, and only written */
    CONFIG_NORM_EPS, /* of the mixer's own norm: that of the model's norms. `number` is what readers
                        take where it is left out, as it is when they agree */
};

struct config_row {
    const char *key; /* "dt_layer.bias.enabled": a path of objects */
    int size;        /* CONFIG_SIZE: the row; several keys of one are read in their order */
    enum config_use use;
    int when; /* 1 + a size without which the row is left out; 0: always there */
    double number;
    const char *word; /* written; of a size, the word that stands for its absence: "auto" */
    int64_t (*derive)(const struct mixer_sizes *, const struct mixer_host *);
};

/* All sizes by name, as databases and plans keep them; and back (STATUS_FAILED names `source`).
 * Zeros of rows that may be are left out. */
struct json *mixer_sizes_to_json(const struct mixer_sizes *sizes);
enum status mixer_sizes_read(struct mixer_sizes *out, const struct mixer_kind *kind,
                             const struct json *json, const char *source) STATUS_CHECKED;

/* One size by its name. */
void mixer_sizes_set(struct json *object, const struct mixer_sizes *sizes, int size);

/* What config.json says of a mixer, appended to `object`; and back. */
void mixer_config_write(struct json *object, const struct mixer_sizes *sizes,
                        const struct mixer_host *host, enum mixer_format format);
enum status mixer_config_read(struct mixer_sizes *out, const struct mixer_kind *kind,
                              const struct json *json, const struct mixer_host *host,
                              enum mixer_format format, const char *source) STATUS_CHECKED;

/* The sizes of a new mixer: those of `asked` that are not zero, then those that options can ask for
 * as `usual` (or NULL) has them, then the defaults. STATUS_USAGE when one is out of bounds or does
 * not divide what it must. */
enum status mixer_sizes_new(struct mixer_sizes *out, const struct mixer_sizes *asked,
                            const struct mixer_sizes *usual,
                            const struct mixer_host *host) STATUS_CHECKED;

/* What is no part of the function, in both: a lower end is the lower of the two, an upper end the
 * upper. */
void mixer_sizes_join(struct mixer_sizes *into, const struct mixer_sizes *other);

/* What a fingerprint says of a mixer: all that changes what is computed; `sampled`: as it was up to
 * release 0.1.0. */
enum { MIXER_IDENTITY_SIZE = 512 };
const char *mixer_identity(char out[MIXER_IDENTITY_SIZE], const struct mixer_sizes *sizes,
                           bool sampled);

/* The kind that a format calls `type`; of several, the one whose name the block's `name` (or NULL)
 * begins with, else the first. NULL: there is none. */
const struct mixer_kind *mixer_kind_of_type(enum mixer_format format, const char *type,
                                            const char *name);

/* The name of a mixer's block: "attention", "attention_window_4096", "mamba" (`number` 1), and
 * "mamba_2", … for further sets of sizes. */
enum { MIXER_BLOCK_SIZE = 64 };
void mixer_block_name(char out[MIXER_BLOCK_SIZE], const struct mixer_sizes *sizes, int number);

const struct mixer_kind *mixer_kind_of_letter(char letter); /* NULL: there is none */

/* Every kind that can stand in attention's place, as it is written: "m2, name:N". */
const char *mixer_kind_list(char *out, size_t size);

/* A mixer in words, "name:4096": the kind's name with its parameter, as options, layouts in JSON
 * and databases have it. And back: STATUS_USAGE for what is no kind, naming `option`; sizes other
 * than the parameter are 0. */
enum { MIXER_TEXT_SIZE = 48 };
const char *mixer_text(char out[MIXER_TEXT_SIZE], const struct mixer_sizes *sizes);
enum status mixer_from_text(struct mixer_sizes *out, const char *text,
                            const char *option) STATUS_CHECKED;

#endif
