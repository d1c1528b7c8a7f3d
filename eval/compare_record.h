/* A run of eval --data in the score database: its rows, so that an interrupted one continues. */
#ifndef EVAL_COMPARE_RECORD_H
#define EVAL_COMPARE_RECORD_H

#include "data/tokenset.h"
#include "measure/positions.h"
#include "model/model.h"
#include "scores/store.h"

/* The values of all rows, as they are computed and as they are kept: the model's metrics, without a
 * teacher only ce, and the teacher's own ce. */
struct compare_values {
    struct sequence_value *metrics[METRIC_COUNT]; /* [rows] each */
    struct sequence_value *teacher_ce;            /* [rows] */
    bool *done;                                   /* [rows]: found in the database */
    int64_t rows;
    bool teacher; /* there is one */
};

struct compare_record {
    struct store *store; /* NULL: nothing is kept */
    int64_t run;         /* 0 then */
    int64_t found;       /* rows of an earlier call */
    bool finished;       /* all of them */
};

struct compare_question {
    const char *database, *model, *data;
    const struct model *student, *teacher; /* described; teacher NULL: none */
    const struct tokenset *set;
    int64_t limit_rows;          /* 0: all */
    const struct json *identity; /* see record_run */
};

/* Find or begin the run and fill in the rows it has. Close in any case. */
enum status compare_record_open(struct compare_record *out, struct compare_values *values,
                                const struct compare_question *question) STATUS_CHECKED;

/* Keep rows [first, first + count) in one transaction. */
enum status compare_record_save(const struct compare_record *record,
                                const struct compare_values *values, int64_t first,
                                int64_t count) STATUS_CHECKED;

/* Write how the run ended, and its means; passes the status on. */
enum status compare_record_finish(const struct compare_record *record,
                                  enum status status) STATUS_CHECKED;
void compare_record_close(struct compare_record *record);

#endif
