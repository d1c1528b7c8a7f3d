/* Benchmark files as multiple-choice items, with the prompts of lm-evaluation-harness.
 *
 *   arc, arc_easy, arc_challenge, piqa   "Question: …\nAnswer:" and " choice"
 *   hellaswag    "activity: context" and " ending", both cleaned as there
 *   winogrande   the sentence up to the gap with each option in it, and " rest of the sentence"
 *   mmlu         a line on the subject, the question with lettered choices, "Answer:" and " A" …
 *   choice       the record's context and " choice", for files of one's own
 *
 * A file has one JSON record a line. Fields are found under the names of the original data sets and
 * of this project: context | question | goal | sentence | ctx; choices (strings, or {text, label})
 * | endings | sol1, sol2 | option1, option2; answer | label | answerKey (an index from 0, a letter,
 * a label; of option1 and option2 from 1); subject; split. */
#ifndef DATA_TASK_H
#define DATA_TASK_H

#include "data/choices.h"

struct task_options {
    const char *name, *path;
    const char *shots_path;       /* file of the examples, or NULL: see task_read */
    int shots;                    /* examples before each question */
    int64_t limit;                /* 0: every item; else so many, evenly spread over the file */
    int64_t max_tokens;           /* of a row; 0: no limit */
    enum tokenizer_around around; /* what stands before a prompt: TOKENIZER_BEGIN or _PLAIN */
};

/* Read, put the prompts together and encode them. The first `shots` records of shots_path (of the
 * item's own subject where records have one) stand before each question; without shots_path they
 * are the file's own records of split "dev" or "train", and where it has none its first ones, which
 * are then not items. Messages name the file and the line. Free with choice_set_free. */
enum status task_read(struct choice_set **out, const struct tokenizer *tokenizer,
                      const struct task_options *options) STATUS_CHECKED;

#endif
