/* Benchmarks whose answer is generated and compared: problems as prompts.
 *
 *   gsm8k                  "Question: …\nAnswer:"; examples show the record's own solution
 *   math500, aime, amc     "Problem:\n…\n\nSolution:"; examples end "The final answer is $…$."
 *
 * With a chat format the problem is a user's message that asks for the answer in \boxed{}, without
 * examples. A file has one JSON record a line: problem | question; answer (of GSM8K with its
 * "####"), final or final_answer, a text or a number; solution (for examples, and for the answer in
 * its \boxed{} where there is no other); split. Names may begin with a capital. */
#ifndef EVAL_PROBLEMS_H
#define EVAL_PROBLEMS_H

#include "base/hash.h"
#include "generate/prompts.h"

struct problem_options {
    const char *name, *path;
    const char *shots_path; /* file of the examples, or NULL: as task_read */
    int shots;
    int64_t limit; /* 0: every problem; else so many, evenly spread */
};

struct problem_set {
    struct prompt_list prompts; /* its prompts are the problems, in their order */
    char **golds;               /* [prompts.count] right answers */
    const char *const *stops;   /* [stop_count] texts that begin another problem */
    size_t stop_count;
    char fingerprint[SHA256_HEX_SIZE]; /* of prompts, answers and stops */
};

bool problems_is_task(const char *name);
extern const char problems_names[]; /* "gsm8k, …" */

/* Read a file and encode its prompts by `rules`. Free with problems_free, which accepts a zeroed
 * struct. */
enum status problems_read(struct problem_set *out, const struct prompt_rules *rules,
                          const struct problem_options *options) STATUS_CHECKED;
void problems_free(struct problem_set *set);

#endif
