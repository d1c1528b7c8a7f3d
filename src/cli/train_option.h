/* Options of training that mmr, align and distill have in the same words. */
#ifndef CLI_TRAIN_OPTION_H
#define CLI_TRAIN_OPTION_H

#include "cli/options.h"

struct option train_option_batch(int64_t *rows);
struct option train_option_temperature(double *temperature);
struct option train_option_clip(double *norm);
struct option train_option_weight_decay(double *decay);
struct option train_option_beta1(double *beta);
struct option train_option_beta2(double *beta);
struct option train_option_epsilon(double *epsilon);
struct option train_option_limit_steps(int64_t *steps);
struct option train_option_recompute(bool *recompute);

#endif
