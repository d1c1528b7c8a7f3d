#include "eval/problems.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/task_field.h"
#include "data/task_select.h"
#include "eval/answers.h"

struct record {
    char *question, *gold;
    char *solution; /* as an example shows it */
    bool example;
    uint64_t line;
};

struct records {
    struct record *records; /* [count] */
    size_t count;
};

/* ---- the tasks */

static const char *const question_stops[] = {"Question:"};
static const char *const problem_stops[] = {"Problem:"};

static const struct form {
    const char *name, *before, *after;
    const char *const *stops; /* one */
} forms[] = {
    {"gsm8k", "Question: ", "\nAnswer:", question_stops},
    {"math500", "Problem:\n", "\n\nSolution:", problem_stops},
    {"aime", "Problem:\n", "\n\nSolution:", problem_stops},
    {"amc", "Problem:\n", "\n\nSolution:", problem_stops},
};

const char problems_names[] = "gsm8k, math500, aime, amc";

static const struct form *find_form(const char *name) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(forms[i].name, name) == 0) return &forms[i];
    return NULL;
}

bool problems_is_task(const char *name) {
    return find_form(name) != NULL;
}

/* ---- records */

static void record_free(struct record *record) {
    free(record->question);
    free(record->gold);
    free(record->solution);
}

static void records_free(struct records *list) {
    for (size_t i = 0; i < list->count; i++) record_free(&list->records[i]);
    free(list->records);
}

/* What stands after the last "####" of GSM8K's answers. */
static char *after_mark(const char *answer) {
    const char *at = NULL;
    for (const char *next = answer; (next = strstr(next, "####")); next += 4) at = next + 4;
    if (!at) return NULL;
    at += strspn(at, " ");
    size_t length = strcspn(at, "\n");
    while (length && at[length - 1] == ' ') length--;
    return memory_copy_bytes(at, length);
}

/* The answer that a record gives: a text, a number, a list with one of them, or what its solution
 * puts in a box (the MATH data set). NULL with a message. */
static char *read_answer(const struct json *object, const char *solution) {
    static const char *const finals[] = {"final", "final_answer", NULL};
    static const char *const names[] = {"answer", NULL};
    const struct json *value = task_field(object, finals);
    if (js_is_array(value) && js_count(value) == 1) value = js_element(value, 0);
    if (!value) value = task_field(object, names);
    if (value || !solution) return task_field_text(value, "answer");
    char *boxed = NULL;
    if (strstr(solution, "\\boxed") && answer_extract(&boxed, solution)) return NULL;
    if (!boxed) (void)!status_fail("\"answer\" is missing, and \"solution\" has no \\boxed{}");
    return boxed;
}

/* How an example shows its record: the publisher's solution, or the answer. */
static char *write_solution(const char *answer, const char *solution, const char *gold) {
    if (strstr(answer, "####")) return memory_copy_string(answer);
    if (solution) return memory_copy_string(solution);
    return text_format("The final answer is $%s$.", gold);
}

static enum status parse(struct record *out, const struct json *object) {
    static const char *const questions[] = {"problem", "question", NULL};
    static const char *const answers[] = {"answer", NULL};
    static const char *const solutions[] = {"solution", NULL};
    *out = (struct record){0};
    if (!js_is_object(object)) return status_fail("a record must be a JSON object");
    const struct json *explained = task_field(object, solutions);
    char *solution = explained ? task_field_text(explained, "solution") : NULL, *worked = NULL;
    char *answer = explained && !solution ? NULL : read_answer(object, solution);
    if (answer) out->question = task_field_text(task_field(object, questions), "problem");
    if (out->question) /* GSM8K's own field, of which "final" is the end */
        worked = js_is_string(task_field(object, answers))
                     ? task_field_text(task_field(object, answers), "answer")
                     : memory_copy_string(answer);
    if (worked)
        out->gold = strstr(answer, "####") ? after_mark(answer) : memory_copy_string(answer);
    if (out->gold) out->solution = write_solution(worked, solution, out->gold);
    free(answer);
    free(worked);
    free(solution);
    out->example = task_field_is_example(object);
    if (out->solution) {
        if (*out->gold) return STATUS_OK;
        (void)!status_fail("\"answer\" holds no answer");
    }
    record_free(out);
    return STATUS_FAILED;
}

static enum status read_records(struct records *list, const char *path) {
    char *text = NULL;
    const char *line;
    size_t size, length;
    enum status status = file_read_stream(&text, &size, path);
    if (status) return status;
    struct lines lines = lines_begin(text, size);
    while (!status && lines_next(&lines, &line, &length)) {
        struct json *object = NULL;
        status = js_parse_line(&object, line, length, path, lines.number);
        struct record *more =
            status ? NULL : memory_resize(list->records, list->count + 1, sizeof *more);
        if (more) list->records = more;
        if (!status && !more) status = STATUS_FAILED;
        if (!status && parse(&more[list->count], object))
            status =
                status_fail("\"%s\": line %" PRIu64 ": %s", path, lines.number, status_message());
        if (!status) more[list->count++].line = lines.number;
        js_free(object);
    }
    free(text);
    if (!status && list->count == 0) status = status_fail("\"%s\" has no records", path);
    return status;
}

/* ---- prompts */

static enum status add_prompt(struct problem_set *out, const struct prompt_rules *rules,
                              const struct form *form, const char *examples,
                              const struct record *record) {
    char *text =
        rules->style
            ? text_format("%s\n\nReason step by step, and put your final answer within "
                          "\\boxed{}.",
                          record->question)
            : text_format("%s%s%s%s", examples, form->before, record->question, form->after);
    enum status status = text ? prompts_add(&out->prompts, rules, text) : STATUS_FAILED;
    free(text);
    if (status) return status;
    size_t index = out->prompts.count - 1;
    out->golds[index] = memory_copy_string(record->gold);
    return out->golds[index] ? STATUS_OK : STATUS_FAILED;
}

static enum status write_examples(char **out, const struct form *form,
                                  const struct problem_options *options,
                                  const struct record *const *examples, size_t count) {
    struct text text = {0};
    if (count < (size_t)options->shots)
        return status_fail("\"%s\" has %zu examples for --shots %d",
                           options->shots_path ? options->shots_path : options->path, count,
                           options->shots);
    text_append(&text, "%s", "");
    for (int i = 0; i < options->shots; i++)
        text_append(&text, "%s%s%s %s\n\n", form->before, examples[i]->question, form->after,
                    examples[i]->solution);
    *out = text_finish(&text);
    return *out ? STATUS_OK : STATUS_FAILED;
}

static enum status set_fingerprint(struct problem_set *set) {
    struct sha256 *sha = NULL;
    enum status status = sha256_begin(&sha);
    if (status) return status;
    for (size_t i = 0; i < set->prompts.count; i++) {
        const struct generate_prompt *prompt = &set->prompts.prompts[i];
        uint64_t length = prompt->count;
        sha256_update(sha, &length, sizeof length);
        sha256_update(sha, prompt->ids, prompt->count * sizeof *prompt->ids);
        sha256_update(sha, set->golds[i], strlen(set->golds[i]) + 1);
    }
    for (size_t i = 0; i < set->stop_count; i++)
        sha256_update(sha, set->stops[i], strlen(set->stops[i]) + 1);
    sha256_finish(sha, set->fingerprint);
    return STATUS_OK;
}

static enum status add_all(struct problem_set *out, const struct prompt_rules *rules,
                           const struct problem_options *options, const struct records *file,
                           const struct records *shots) {
    const struct form *form = find_form(options->name);
    bool elsewhere = options->shots_path != NULL;
    struct task_selection chosen = {0};
    const struct record **examples = NULL;
    char *head = NULL;
    bool *example = memory_calloc(file->count, sizeof *example);
    if (!example) return STATUS_FAILED;
    for (size_t i = 0; i < file->count; i++) example[i] = file->records[i].example;
    enum status status = task_select(&chosen, example, file->count, options->shots, elsewhere,
                                     options->limit, options->path);
    size_t count = elsewhere ? shots->count : chosen.examples_count;
    if (!status) {
        examples = memory_calloc(count, sizeof *examples);
        out->golds = memory_calloc(chosen.items_count, sizeof *out->golds);
        status = examples && out->golds ? STATUS_OK : STATUS_FAILED;
    }
    for (size_t i = 0; !status && i < count; i++)
        examples[i] = elsewhere ? &shots->records[i] : &file->records[chosen.examples[i]];
    if (!status) status = write_examples(&head, form, options, examples, count);
    for (size_t i = 0; !status && i < chosen.items_count; i++) {
        const struct record *record = &file->records[chosen.items[i]];
        status = add_prompt(out, rules, form, head, record);
        if (status)
            status = status_fail("\"%s\": line %" PRIu64 ": %s", options->path, record->line,
                                 status_message());
    }
    out->stops = form->stops;
    out->stop_count = rules->style ? 0 : 1;
    free(head);
    free(examples);
    free(example);
    task_selection_free(&chosen);
    return status;
}

enum status problems_read(struct problem_set *out, const struct prompt_rules *rules,
                          const struct problem_options *options) {
    struct records file = {0}, shots = {0};
    *out = (struct problem_set){0};
    if (!problems_is_task(options->name))
        return status_set(STATUS_USAGE, "no task \"%s\": there are %s", options->name,
                          problems_names);
    if (rules->style && options->shots)
        return status_set(STATUS_USAGE, "--shots goes without a chat format");
    enum status status = read_records(&file, options->path);
    if (!status && options->shots_path) status = read_records(&shots, options->shots_path);
    if (!status) status = add_all(out, rules, options, &file, &shots);
    if (!status) status = set_fingerprint(out);
    records_free(&file);
    records_free(&shots);
    if (status) problems_free(out);
    return status;
}

void problems_free(struct problem_set *set) {
    for (size_t i = 0; set->golds && i < set->prompts.count; i++) free(set->golds[i]);
    free(set->golds);
    prompts_free(&set->prompts);
    *set = (struct problem_set){0};
}
