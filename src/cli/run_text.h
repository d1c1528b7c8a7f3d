/* A run of the database in a few words: what `scores` lists and what stands over its tables. */
#ifndef CLI_RUN_TEXT_H
#define CLI_RUN_TEXT_H

#include "base/json.h"
#include "base/text.h"
#include "scores/store.h"

/* Layers that the run's base has replaced; 0: it starts from the unmodified model. */
int run_replaced(const struct store_run *run);

/* Seconds that it has taken; NAN: not known. */
double run_seconds(const struct store_run *run);
/* "4.5 s", "3:20 min", "2.1 h"; "-" for NAN. `out` is returned. */
const char *run_format_seconds(char out[32], double seconds);

/* What differs from the defaults of its kind of run, as "steps 30, batch 4, seed 7", and what of
 * the defaults is not known here; "" when nothing does. The caller frees. */
char *run_differences(const struct store_run *run);

/* Everything about the run. The base is its layout, null where that is the unmodified model. */
struct json *run_to_json(const struct store_run *run);

#endif
