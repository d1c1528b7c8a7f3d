/* A small score database with something in every table, and a reader of everything in one: what
 * scores, plan, chart, loo, mmr and eval take from a database. */
#ifndef TESTS_SAMPLE_SCORES_H
#define TESTS_SAMPLE_SCORES_H

#include "base/status.h"

/* Runs 1 loo, 2 mmr, 3 eval, 4 mmr that stopped in the middle, 5 loo of a hybrid; bench series 1;
 * one plan. The model has four layers. */
enum status sample_scores_make(const char *path) STATUS_CHECKED;

/* Read it all, and go on after a failure; the first one is returned, with its message. */
enum status sample_scores_read(const char *path);

#endif
