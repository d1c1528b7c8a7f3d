/* A hybrid as a person asks for it: by directories and a plan, with what it was made of written
 * beside its weights. */
#ifndef CONVERT_CONVERSION_H
#define CONVERT_CONVERSION_H

#include "base/hash.h"
#include "convert/convert.h"
#include "plan/plan.h"

struct conversion_settings {
    const char *model;  /* directory of the transformer */
    const char *from;   /* directory of an earlier hybrid of it, every weight's source; or NULL */
    const char *plan;   /* file with the layers to replace, up to */
    int stage;          /* this one; 0: the last */
    const char *layers; /* instead of a plan: as list_parse */
    const char *output; /* the new directory; NULL where nothing is written */
    const char *format; /* a format_name; NULL: what the base is, else the first that can */
    struct mixer_choices choices;   /* of new mixers */
    const char *library;            /* directory of mixers that are there already; or NULL */
    const struct mixer_sizes *kind; /* of them, where the plan says none; NULL: the only one */
    const char *asked;              /* --kind, as it was given; or NULL */
    const char *device;             /* where they are fitted to data; else of no use */
    uint64_t max_shard_bytes;       /* as convert_options has it */
    struct checkpoint_options checkpoint; /* how the model is opened */
    const struct json *identity;          /* options that the provenance records as they are */
};

struct conversion {
    const struct conversion_settings *settings; /* borrowed */
    struct checkpoint *model, *from;            /* from NULL: the model itself is the base */
    char model_fingerprint[SHA256_HEX_SIZE], from_fingerprint[SHA256_HEX_SIZE];
    struct plan plan;
    int stage; /* of the plan, from 1; 0: there is none */
    char plan_hash[SHA256_HEX_SIZE];
    struct int_list layers;           /* that are replaced in the result */
    const struct mixer_sizes **kinds; /* [layers] what by, as the plan says; NULL without one */
    struct json *scores;              /* of the plan's layers */
    struct convert_job job;
    struct library_layout mixers;   /* of the library, for the new layers */
    struct calibration calibration; /* zeroed: there is none */
    struct backend *backend;        /* where it is done; or NULL */
    struct calibration_task *fits;  /* [n_fits]: made when it is written */
    size_t n_fits;
    struct json *provenance; /* everything needed to make the same checkpoint again */
};

/* Open what it is made of and work out the result; nothing is written. The caller frees with
 * conversion_close, after a failure too. */
enum status conversion_open(struct conversion *out,
                            const struct conversion_settings *settings) STATUS_CHECKED;

/* What the hybrid in settings->output was made of otherwise, in words; NULL: it is this one. The
 * caller frees. */
enum status conversion_compare(char **differs, const struct conversion *conversion) STATUS_CHECKED;

/* The remarks that warn, to be said before it is written. */
void conversion_warn(const struct conversion *conversion);

/* convert_write of it, with new mixers that are fitted to data first where that was asked for. */
enum status conversion_write(struct conversion *conversion) STATUS_CHECKED;

void conversion_close(struct conversion *conversion); /* accepts a zeroed struct */

#endif
