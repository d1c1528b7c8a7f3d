/* --task NAME=FILE | recall, and the options that go with it, shared by eval and loo. */
#ifndef CLI_TASK_OPTION_H
#define CLI_TASK_OPTION_H

#include "base/json.h"
#include "cli/options.h"
#include "data/choices.h"

struct task_values {
    const char *shots_from, *lengths, *depths;
    int64_t shots, limit, items, seed;
    bool special, no_special; /* the first is what happens without either */
};

/* What may stand after --task, for completion: the tasks of data/task.h and eval/problems.h. */
#define TASK_CHOICES                                                                               \
    "recall|arc=|arc_easy=|arc_challenge=|piqa=|hellaswag=|winogrande=|mmlu=|choice="
#define TASK_ANSWERS "gsm8k=|math500=|aime=|amc="

/* The rows of an option table for everything but --task and --seed; `values` holds the defaults. */
enum { TASK_OPTIONS = 8 };
#define TASK_DEFAULTS                                                                              \
    { .lengths = "128,256,512", .depths = "0,0.5,1", .items = 8 }
void task_option_table(struct option table[TASK_OPTIONS], struct task_values *values);

/* Options that contradict each other. */
enum status task_option_check(const struct task_values *values) STATUS_CHECKED;

/* What stands before every prompt: what lm-evaluation-harness (0.4.10 and later) puts there too. */
enum tokenizer_around task_option_around(const struct task_values *values);

/* One --task, put into items. */
struct task_items {
    char *name;              /* "arc_easy", "recall"; owned */
    const char *path;        /* of the file; "recall" for the probe; borrowed */
    struct choice_set *set;  /* owned */
    struct json *parameters; /* what items and prompts depend on; owned */
    int64_t seed;            /* of the probe; 0 elsewhere */
};

/* Cut "NAME=FILE" or "recall". A name without a file, or the other way, is a usage error. The
 * caller frees `*name`; `*path` is borrowed from `text`. */
enum status task_option_split(char **name, const char **path, const char *text) STATUS_CHECKED;

/* STATUS_USAGE: no task of this name; `others` are tasks there are besides recall and those of
 * data/task.h ("gsm8k, …"), or "". */
enum status task_option_unknown(const char *name, const char *others);

/* The items of a multiple-choice task or of the probe. The tokenizer is that of the directory
 * `model`; `max_tokens` is what the model takes (0: no limit). Free with task_items_free. */
enum status task_option_build(struct task_items *out, const char *text,
                              const struct task_values *values, const char *model,
                              int64_t max_tokens) STATUS_CHECKED;

/* The same where the model is not open: `max_tokens` from its config.json. */
enum status task_option_build_for(struct task_items *out, const char *text,
                                  const struct task_values *values,
                                  const char *model) STATUS_CHECKED;
void task_items_free(struct task_items *items); /* accepts a zeroed struct */

#endif
