/* `eval --task`: the tasks of one model. */
#ifndef CMD_EVAL_TASK_H
#define CMD_EVAL_TASK_H

#include "checkpoint/checkpoint.h"
#include "cli/task_option.h"
#include "model/model.h"

/* How answers are generated. */
struct eval_sampling {
    int64_t samples, max_tokens, batch, top_k, seed;
    double temperature, top_p;
    bool chat;
    const char *template; /* a file, or the name of one of the model's; or NULL */
};

enum { EVAL_SAMPLING_OPTIONS = 8 };
#define EVAL_SAMPLING_DEFAULTS                                                                     \
    { .samples = 1, .max_tokens = 512, .batch = 8, .top_p = 1 }
void eval_sampling_table(struct option table[EVAL_SAMPLING_OPTIONS],
                         struct eval_sampling *sampling);

struct eval_task_options {
    const char *model, *device, *database; /* database NULL: nothing is kept */
    const struct string_list *tasks;       /* as task_option_split takes them */
    const struct task_values *values;
    const struct eval_sampling *sampling;
    int64_t group_tokens;
    struct checkpoint_options checkpoint;
    const struct json *identity; /* options that make another run */
    bool json;
};

/* Run every task and print its result as soon as it is there (with json: one document at the end).
 */
enum status eval_tasks(const struct eval_task_options *options) STATUS_CHECKED;

/* One task whose answer is generated, `name` of problems_names. With json its object is added to
 * `array`. */
enum status eval_exact(struct json *array, const struct eval_task_options *options,
                       struct model *model, const char *name, const char *path) STATUS_CHECKED;

#endif
