#include "cli/train_option.h"

static struct option number(const char *name, double *value, const char *word, const char *help) {
    return (struct option){name,
                           OPTION_NUMBER,
                           value,
                           word,
                           help,
                           .group = GROUP_TRAINING,
                           .identity = OPTION_RESOLVED};
}

struct option train_option_batch(int64_t *rows) {
    return (struct option){"batch",
                           OPTION_COUNT,
                           rows,
                           "ROWS",
                           "rows a step, in order, wrapping (8)",
                           .low = 1,
                           .high = 65536,
                           .group = GROUP_TRAINING,
                           .identity = OPTION_RESOLVED};
}

struct option train_option_temperature(double *temperature) {
    return number("temperature", temperature, "T", "of both distributions (1)");
}

struct option train_option_clip(double *norm) {
    return number("clip", norm, "NORM", "limit of the gradient's norm (0: none)");
}

struct option train_option_weight_decay(double *decay) {
    return number("weight-decay", decay, "X", "of matrices (0)");
}

struct option train_option_beta1(double *beta) {
    return number("beta1", beta, "X", "of AdamW (0.9)");
}

struct option train_option_beta2(double *beta) {
    return number("beta2", beta, "X", "of AdamW (0.95)");
}

struct option train_option_epsilon(double *epsilon) {
    return number("epsilon", epsilon, "X", "of AdamW (1e-8)");
}

struct option train_option_limit_steps(int64_t *steps) {
    return (struct option){
        "limit-steps",
        OPTION_COUNT,
        steps,
        "N",
        "stop after N steps in this call, as Ctrl-C would: for jobs of limited time (no limit)",
        .low = 1,
        .high = INT64_MAX,
        .group = GROUP_MACHINE,
        .identity = OPTION_NO_NUMBER};
}

struct option train_option_recompute(bool *recompute) {
    return (struct option){
        "recompute",
        OPTION_FLAG,
        recompute,
        NULL,
        "run each block again in the backward pass instead of keeping its activations (chosen "
        "when these do not fit)",
        .group = GROUP_MACHINE,
        .identity = OPTION_NO_NUMBER};
}
