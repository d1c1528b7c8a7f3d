#include "data/task.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/task_record.h"
#include "data/task_select.h"

struct records {
    struct task_record *records; /* [count] */
    size_t count;
};

static void records_free(struct records *list) {
    for (size_t i = 0; i < list->count; i++) task_record_free(&list->records[i]);
    free(list->records);
    *list = (struct records){0};
}

static enum status add_record(struct records *list, size_t *capacity, const char *name,
                              const struct json *object) {
    if (list->count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 64;
        struct task_record *grown = memory_resize(list->records, more, sizeof *grown);
        if (!grown) return STATUS_FAILED;
        list->records = grown;
        *capacity = more;
    }
    enum status status = task_record_parse(&list->records[list->count], name, object);
    if (!status) list->count++;
    return status;
}

static enum status read_records(struct records *list, const char *name, const char *path) {
    char *text = NULL;
    const char *line;
    size_t size, length, capacity = 0;
    enum status status = file_read_stream(&text, &size, path);
    if (status) return status;
    struct lines lines = lines_begin(text, size);
    while (!status && lines_next(&lines, &line, &length)) {
        struct json *object = NULL;
        status = js_parse_line(&object, line, length, path, lines.number);
        if (!status && add_record(list, &capacity, name, object))
            status =
                status_fail("\"%s\": line %" PRIu64 ": %s", path, lines.number, status_message());
        if (!status) list->records[list->count - 1].line = lines.number;
        js_free(object);
    }
    free(text);
    if (!status && list->count == 0) status = status_fail("\"%s\" has no records", path);
    return status;
}

/* ---- examples and items */

/* What is read, and which of it is what. */
struct job {
    const struct task_options *options;
    const struct tokenizer *tokenizer;
    struct records file, shots_file;
    const struct task_record **examples; /* [examples_count] */
    size_t examples_count;
    const struct task_record **items; /* [items_count] */
    size_t items_count;
};

static enum status choose(struct job *job) {
    const struct task_options *options = job->options;
    const struct records *file = &job->file;
    bool elsewhere = options->shots_path != NULL;
    struct task_selection chosen = {0};
    bool *example = memory_calloc(file->count, sizeof *example);
    if (!example) return STATUS_FAILED;
    for (size_t i = 0; i < file->count; i++) example[i] = file->records[i].example;
    enum status status = task_select(&chosen, example, file->count, options->shots, elsewhere,
                                     options->limit, options->path);
    job->items_count = chosen.items_count;
    job->examples_count = elsewhere ? job->shots_file.count : chosen.examples_count;
    job->items = memory_calloc(job->items_count, sizeof(void *));
    job->examples = memory_calloc(job->examples_count, sizeof(void *));
    if (!job->items || !job->examples) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < job->items_count; i++)
        job->items[i] = &file->records[chosen.items[i]];
    for (size_t i = 0; !status && i < job->examples_count; i++)
        job->examples[i] =
            elsewhere ? &job->shots_file.records[i] : &file->records[chosen.examples[i]];
    task_selection_free(&chosen);
    free(example);
    return status;
}

static bool same_category(const struct task_record *a, const struct task_record *b) {
    if (!a->category || !b->category) return !a->category && !b->category;
    return strcmp(a->category, b->category) == 0;
}

/* What stands before an item's own context; the caller frees. */
static enum status write_preamble(char **out, const struct job *job,
                                  const struct task_record *record) {
    struct text text = {0};
    int found = 0;
    text_append(&text, "%s", record->preamble ? record->preamble : "");
    for (size_t i = 0; i < job->examples_count && found < job->options->shots; i++) {
        const struct task_record *example = job->examples[i];
        if (!same_category(example, record)) continue;
        text_append(&text, "%s %s\n\n", example->contexts[example->gold],
                    example->continuations[example->gold]);
        found++;
    }
    *out = text_finish(&text);
    if (!*out) return STATUS_FAILED;
    if (found == job->options->shots) return STATUS_OK;
    free(*out);
    *out = NULL;
    return status_fail("there are %d examples%s%s for --shots %d", found,
                       record->category ? " of " : "", record->category ? record->category : "",
                       job->options->shots);
}

static enum status encode_choice(struct choice_ids *out, const struct job *job,
                                 const char *preamble, const struct task_record *record,
                                 int index) {
    char *context = text_format("%s%s", preamble, record->contexts[index]);
    char *continuation = text_format(" %s", record->continuations[index]);
    enum status status = STATUS_FAILED;
    if (context && continuation)
        status =
            choice_ids_encode(out, job->tokenizer, context, continuation, job->options->around);
    if (!status)
        for (const char *c = record->continuations[index]; *c; c++)
            out->characters += ((unsigned char)*c & 0xc0) != 0x80;
    free(context);
    free(continuation);
    return status;
}

static enum status encode_item(struct choice_source *out, const struct job *job,
                               const struct task_record *record) {
    char *preamble = NULL;
    *out = (struct choice_source){.count = record->count, .gold = record->gold};
    out->choices = memory_calloc((size_t)record->count, sizeof *out->choices);
    if (record->category) out->category = memory_copy_string(record->category);
    bool failed = !out->choices || (record->category && !out->category);
    enum status status = failed ? STATUS_FAILED : write_preamble(&preamble, job, record);
    for (int i = 0; !status && i < record->count; i++)
        status = encode_choice(&out->choices[i], job, preamble, record, i);
    free(preamble);
    return status;
}

/* Encode the items on all cores; the first error counts. */
static enum status encode_items(struct choice_source *sources, const struct job *job) {
    char **errors = memory_calloc(job->items_count, sizeof *errors);
    if (!errors) return STATUS_FAILED;
    threads_settle();
#pragma omp parallel for schedule(dynamic, 4)
    for (size_t i = 0; i < job->items_count; i++)
        if (encode_item(&sources[i], job, job->items[i]))
            errors[i] = text_format("\"%s\": line %" PRIu64 ": %s", job->options->path,
                                    job->items[i]->line, status_message());
    enum status status = STATUS_OK;
    for (size_t i = 0; i < job->items_count; i++) {
        if (!status && errors[i]) status = status_fail("%s", errors[i]);
        free(errors[i]);
    }
    free(errors);
    return status;
}

enum status task_read(struct choice_set **out, const struct tokenizer *tokenizer,
                      const struct task_options *options) {
    struct job job = {.options = options, .tokenizer = tokenizer};
    struct choice_source *sources = NULL;
    if (!task_is_choice(options->name))
        return status_set(STATUS_USAGE, "no task \"%s\": there are %s", options->name,
                          task_choice_names);
    enum status status = read_records(&job.file, options->name, options->path);
    if (!status && options->shots_path)
        status = read_records(&job.shots_file, options->name, options->shots_path);
    if (!status) status = choose(&job);
    if (!status) {
        sources = memory_calloc(job.items_count, sizeof *sources);
        status = sources ? encode_items(sources, &job) : STATUS_FAILED;
    }
    if (!status) status = choice_set_build(out, sources, job.items_count, options->max_tokens);
    for (size_t i = 0; sources && i < job.items_count; i++) choice_source_free(&sources[i]);
    free(sources);
    free(job.examples);
    free(job.items);
    records_free(&job.file);
    records_free(&job.shots_file);
    return status;
}
