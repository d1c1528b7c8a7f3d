/* Throughput of decoding: a model with none, some, more of its attention layers replaced, in one
 * engine, one run, on one device.
 *
 * A row fills the memory budget (or takes a fixed number of sequences), prefills a prompt, and
 * times decoding steps at context lengths spread evenly over the output (the midpoints of
 * BENCH_CONTEXTS parts); a step's time is nearly linear in the context, so their mean is the mean
 * step of the whole output. Outputs shorter than what that would take are decoded in full. The next
 * token is chosen and fed back as in generation. New mixers are copies of one initialised mixer in
 * memory of their own: what is in them does not change the speed. */
#ifndef GENERATE_BENCH_H
#define GENERATE_BENCH_H

#include "mixers/choices.h"
#include "model/cost.h"
#include "model/model.h"

enum { BENCH_CONTEXTS = 6, BENCH_AUTO = 0, BENCH_ROUNDS = 3 };

struct bench_settings {
    const int *order;        /* [n_order] attention layers, the first is replaced first */
    const int *counts;       /* [n_counts] replaced layers, ascending, at most n_order */
    const int64_t *batches;  /* [n_batches] sequences at a time; BENCH_AUTO: what memory holds */
    const int64_t *prefills; /* [n_prefills] prompt lengths to time the prefill of */
    size_t n_order, n_counts, n_batches, n_prefills;
    int64_t prompt, output; /* tokens of a sequence, 1 or more each */
    uint64_t memory;        /* bytes for weights, caches and everything else */
    const struct mixer_choices *choices;
};

/* The middle of what BENCH_ROUNDS rounds gave, and the least and the most. */
struct bench_value {
    double middle, low, high;
};

struct bench_row {
    int replaced;
    bool automatic;      /* the memory decided the batch */
    int64_t batch;       /* 0: no sequence fits, nothing was measured */
    uint64_t memory;     /* bytes of weights, caches, states and buffers */
    int64_t steps;       /* timed */
    double step_seconds; /* mean over the output */
    struct bench_value tokens_per_second;
    double first_token_seconds; /* from the prompts to the first token of every sequence */
    double bytes_per_token;     /* that the cost model counts */
    double roofline;          /* tokens a second at the measured copy bandwidth and product rate */
    struct bench_value ratio; /* to the row of the same batch with nothing replaced in the same
                                 round; NAN */
    double roofline_ratio;    /* of the two rooflines; NAN */
    int rounds;
    double rates[BENCH_ROUNDS], first[BENCH_ROUNDS]; /* [rounds] */
};

struct bench_prefill {
    int replaced;
    int64_t tokens;             /* of one prompt */
    struct bench_value seconds; /* NAN: it does not fit */
    int rounds;
    double times[BENCH_ROUNDS]; /* [rounds] */
};

struct bench_result {
    struct cost_device device;      /* measured */
    struct bench_row *rows;         /* [n_rows], by replaced layers, then as the batches came */
    struct bench_prefill *prefills; /* [n_prefills], by replaced layers, then length */
    size_t n_rows, n_prefills;
};

/* Uses the model up. Every configuration is measured in each round, so that a ratio is of
 * neighbours in time, whatever other programs come and go; every other round goes back the way. On
 * a device of its own the attention weights of replaced layers are dropped to make room, and loaded
 * again on the way back. Free the result with bench_free, also after a failure. */
enum status bench_run(struct bench_result *out, struct model *model,
                      const struct bench_settings *settings) STATUS_CHECKED;
void bench_free(struct bench_result *result);

/* Half of what lies between the least and the most, as a share of the middle. */
double bench_spread(const struct bench_value *value);

/* Rows whose numbers are not to be relied on. A hybrid that gains more than the bytes and
 * operations that it saves is compared with a transformer that reached less of its own roofline. */
struct bench_doubts {
    double wide;                 /* what counts as much */
    int varied, widest_replaced; /* rows whose rounds lie that far apart, and the widest */
    double widest;
    int impossible;               /* rows faster than their roofline */
    int too_good;                 /* rows whose ratio is above the rooflines' */
    const struct bench_row *best; /* the one that is most; NULL: none */
};
struct bench_doubts bench_doubts(const struct bench_result *result);

#endif
