/* Steps that must not be taken: a loss or a gradient's norm that is not finite, or one that lies
 * far above what the last steps had. Such a step changes nothing and is counted; too many in a row
 * end the run. */
#ifndef DISTILL_GUARD_H
#define DISTILL_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"

enum { GUARD_WINDOW = 128, GUARD_DEVIATIONS = 6, GUARD_IN_A_ROW = 10 };

struct guard {
    double losses[GUARD_WINDOW], norms[GUARD_WINDOW]; /* of the last steps that were taken */
    int count;                   /* of them; nothing is far out before there are GUARD_WINDOW */
    int next;                    /* the place of the next */
    int in_a_row;                /* skipped, up to the last step */
    int64_t not_finite, far_out; /* steps skipped so far */
    char why[128];               /* of the last one that was skipped */
};

/* Whether a step with this loss and norm is to be taken; it counts from now on. */
bool guard_accepts(struct guard *guard, double loss, double norm);

/* A failure with the reason when too many steps in a row were skipped. `step` is the last. */
enum status guard_check(const struct guard *guard, int64_t step) STATUS_CHECKED;

/* Other weights train from now on: earlier steps say nothing of later ones. */
void guard_forget_window(struct guard *guard);

/* For a training state; bit for bit. The caller frees. */
struct json *guard_to_json(const struct guard *guard);
enum status guard_from_json(struct guard *out, const struct json *json,
                            const char *source) STATUS_CHECKED;

#endif
