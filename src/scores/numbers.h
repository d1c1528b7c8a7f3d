/* The numbers version of each kind of run: raised by hand, in numbers.c, by whoever changes what a
 * run of that kind comes out with (more than by rounding), and part of a run's key. So values that
 * another release computed are used where they are what this one would compute, and only there.
 * tests/cli/numbers.sh has golden values of every kind and fails when they change under the same
 * version. The release and the commit are recorded with a run and not compared. */
#ifndef SCORES_NUMBERS_H
#define SCORES_NUMBERS_H

#include <stdint.h>

#include "base/status.h"

/* By name; an unknown one is a failure. Runs of kind "eval" are "eval-choices" or "eval-answers".
 */
enum status numbers_version(int64_t *out, const char *name) STATUS_CHECKED;

/* The rows of the table, for the test: NULL behind the last. */
const char *numbers_name(int index);

#endif
