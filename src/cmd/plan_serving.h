/* What `plan` shows of serving its stages. */
#ifndef CMD_PLAN_SERVING_H
#define CMD_PLAN_SERVING_H

#include "plan/serving.h"

/* A table of the estimates (none when the plan's shape is incomplete) and the warnings of every
 * stage, in order. */
enum status plan_serving_print(const struct plan *plan, const struct plan_mixers *mixers,
                               const struct serving_device *device) STATUS_CHECKED;

#endif
