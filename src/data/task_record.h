/* One record of a benchmark file, put into words; between task.c and task_record.c. */
#ifndef DATA_TASK_RECORD_H
#define DATA_TASK_RECORD_H

#include "base/json.h"

/* Whether there is such a multiple-choice task. */
bool task_is_choice(const char *name);
/* "arc, …": the names, for messages and help. */
extern const char task_choice_names[];

enum { TASK_MAX_CHOICES = 64 };

struct task_record {
    int count, gold;
    /* [count]: texts whose end is scored after their beginning; the blank between the two is not in
     * either. Contexts are equal except in winogrande. */
    char *contexts[TASK_MAX_CHOICES], *continuations[TASK_MAX_CHOICES];
    char *category; /* NULL: none */
    char *preamble; /* before the examples; NULL: nothing */
    bool example;   /* of a split to take examples from */
    uint64_t line;
};

/* `name` is one of task_choice_names. Failures say what is wrong with the record. */
enum status task_record_parse(struct task_record *out, const char *name,
                              const struct json *object) STATUS_CHECKED;
void task_record_free(struct task_record *record); /* accepts a zeroed struct */

#endif
