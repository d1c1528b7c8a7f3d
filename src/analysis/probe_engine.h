/* Shared by probe.c, which holds what all probes need, and probe_group.c, which trains them. */
#ifndef ANALYSIS_PROBE_ENGINE_H
#define ANALYSIS_PROBE_ENGINE_H

#include "analysis/probe.h" /* circle: private to it and its parts */
#include "train/loss.h"
#include "train/tape.h"

struct probe_engine {
    struct model *student, *teacher;
    struct backend *backend;
    const struct tokenset *set;
    struct probe_settings settings;
    struct probe_arrangement arrangement;
    struct probe_cache cache;
    int64_t training;              /* rows of the set that are trained on: the first ones */
    int64_t first;                 /* the loaded steps are [first, first + loaded) */
    int64_t in_memory;             /* training rows that are loaded; held-out rows follow them */
    int64_t batches;               /* of loaded steps that differ */
    struct hidden inputs, targets; /* at the present layer; the teacher's last */
    int64_t max_tokens;
    int max_rows, longest;
    struct mixer_sizes mixer;  /* of the new mixers */
    struct tape **tapes;       /* [together]: of the probes of a group, by their place in it */
    struct parked *parked;     /* inputs of their blocks; or NULL */
    struct trace eval_trace;   /* without gradients */
    struct acc *trunk;         /* [tokens, D]: what runs on beside a group's first probes until the
                            last one has left; NULL when probes go one by one */
    struct acc *target_hidden; /* [tokens, D] */
    struct loss *loss;
    struct scorer *scorer;
    bool stale; /* the student's head and final norm have been trained */
};

#endif
