#define _GNU_SOURCE
#include "data/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path_hint.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/input.h"
#include "data/rows.h"

enum { BATCH_LINES = 4096, BATCH_BYTES = 1 << 22 };

struct build {
    const struct dataset_options *options;
    struct record_rules rules;
    struct chat_style style;
    char *no_style; /* why the model has none */
    struct rows rows;
    struct dataset_report *report;
    struct progress progress;
    double done; /* MB of input */
};

/* A record of a file on its way through a batch. */
struct line {
    char *bytes; /* [length] */
    size_t length;
    uint64_t number;
    struct record record;
    char *error; /* NULL: parsed */
};

struct batch {
    struct line lines[BATCH_LINES];
    size_t count, bytes;
};

static enum status add_record(struct build *build, const struct record *record) {
    build->report->records++;
    if (record->count == 0) build->report->empty_records++;
    build->report->tool_records += record->tools;
    build->report->lost_answers += record->lost_answers;
    build->report->joined_records += record->joined;
    return rows_add(&build->rows, record);
}

/* Parses and tokenizes the records of a batch, then takes them in order; the first error counts. */
static enum status finish_batch(struct build *build, struct batch *batch,
                                const struct input *input) {
    threads_settle();
#pragma omp parallel for schedule(dynamic, 4)
    for (size_t i = 0; i < batch->count; i++) {
        struct line *line = &batch->lines[i];
        if (record_parse(&line->record, &build->rules, line->bytes, line->length, input->path,
                         input->unit, line->number))
            line->error = memory_copy_string(status_message());
    }
    enum status status = STATUS_OK;
    for (size_t i = 0; i < batch->count; i++) {
        struct line *line = &batch->lines[i];
        if (!status && !build->rows.full)
            status =
                line->error ? status_fail("%s", line->error) : add_record(build, &line->record);
        record_free(&line->record);
        free(line->bytes);
        free(line->error);
        *line = (struct line){0};
    }
    batch->count = batch->bytes = 0;
    progress_update(&build->progress, build->done + (double)input_read_bytes(input) / 1e6);
    return status;
}

static enum status add_line(struct batch *batch, const char *bytes, size_t length,
                            uint64_t number) {
    struct line *line = &batch->lines[batch->count];
    *line = (struct line){.length = length, .number = number};
    line->bytes = memory_copy_bytes(bytes, length);
    if (!line->bytes) return STATUS_FAILED;
    batch->bytes += length;
    batch->count++;
    return STATUS_OK;
}

static enum status read_records(struct build *build, struct batch *batch, struct input *input) {
    enum status status = STATUS_OK;
    while (!status && !build->rows.full) {
        const char *bytes;
        size_t length;
        status = input_next(&bytes, &length, input);
        if (status == STATUS_FAILED && batch->count) { /* a record before may be the first wrong */
            char *message = memory_copy_string(status_message());
            if (message && !finish_batch(build, batch, input)) (void)status_fail("%s", message);
            free(message);
        }
        if (status || !bytes) break;
        status = add_line(batch, bytes, length, input->number);
        if (!status && (batch->count == BATCH_LINES || batch->bytes >= BATCH_BYTES))
            status = finish_batch(build, batch, input);
        if (!status && interrupt_requested())
            status = status_set(STATUS_INTERRUPTED, "interrupted: nothing was written");
    }
    return status ? status : finish_batch(build, batch, input);
}

static enum status add_records(struct build *build, struct input *input) {
    struct batch *batch = memory_calloc(1, sizeof *batch);
    enum status status = batch ? read_records(build, batch, input) : STATUS_FAILED;
    for (size_t i = 0; batch && i < batch->count; i++) free(batch->lines[i].bytes);
    free(batch);
    return status;
}

static enum status add_text(struct build *build, struct input *input) {
    const char *text;
    size_t length;
    struct record record = {0};
    enum status status = input_next(&text, &length, input);
    if (status) return status;
    if (record_from_text(&record, &build->rules, text, length))
        status = status_fail("\"%s\": %s", input->path, status_message());
    if (!status) status = add_record(build, &record);
    record_free(&record);
    return status;
}

static enum status add_input(struct build *build, const char *path) {
    struct input input;
    enum status status = input_open(&input, path, build->options->kind);
    if (!status)
        status = input.kind == INPUT_TEXT ? add_text(build, &input) : add_records(build, &input);
    build->done += (double)input_read_bytes(&input) / 1e6;
    progress_update(&build->progress, build->done);
    input_close(&input);
    return status;
}

/* Which token ends a text, if any: asked for by name (then instead of what the template puts
 * there), or the model's own between packed texts that the template does not end. */
static enum status choose_end(struct record_rules *rules, const struct dataset_options *options) {
    if (!options->end) {
        rules->end = options->seq_len && !options->separate &&
                     !tokenizer_adds(rules->tokenizer, rules->around & TOKENIZER_END) &&
                     tokenizer_end_id(rules->tokenizer, &rules->end_id);
        return STATUS_OK;
    }
    rules->around &= TOKENIZER_BEGIN;
    if (strcmp(options->end, "none") == 0) return STATUS_OK;
    rules->end = tokenizer_token_id(rules->tokenizer, options->end, &rules->end_id);
    rules->end_chats = rules->end;
    if (rules->end) return STATUS_OK;
    return status_fail("the tokenizer of \"%s\" has no token \"%s\"", options->tokenizer,
                       options->end);
}

static enum status check_inputs(double *megabytes, const struct dataset_options *options) {
    *megabytes = 0;
    if (options->input_count == 0) return status_set(STATUS_USAGE, "no input files");
    for (size_t i = 0; i < options->input_count; i++) {
        const char *path = options->inputs[i];
        struct stat about;
        if (strcmp(path, "-") == 0) continue;
        if (!options->kind && !input_kind_of(path))
            return status_set(STATUS_USAGE,
                              "input \"%s\" is not named .txt, .jsonl or .json (with .gz or "
                              "without): say what it is with --format",
                              path);
        if (stat(path, &about) != 0) return path_fail(path, errno);
        if (S_ISREG(about.st_mode)) *megabytes += (double)about.st_size / 1e6;
    }
    return STATUS_OK;
}

static enum status check_rows(const struct build *build) {
    const struct rows *rows = &build->rows;
    if (rows->count) return STATUS_OK;
    if (rows->pack && rows->limit < rows->seq_len)
        return status_fail("--limit-tokens %" PRIu64 " is less than one row of --seq-len %" PRIu64,
                           rows->limit, rows->seq_len);
    if (rows->full)
        return status_fail("the first row has more than --limit-tokens %" PRIu64 " tokens",
                           rows->limit);
    if (rows->pending)
        return status_fail("the input has %" PRIu64
                           " tokens, less than one row of --seq-len %" PRIu64,
                           rows->pending, rows->seq_len);
    return status_fail("the input holds no text");
}

static enum status write_rows(struct build *build) {
    const struct dataset_options *options = build->options;
    struct dataset_report *report = build->report;
    const struct rows *rows = &build->rows;
    struct text sources = {0};
    for (size_t i = 0; i < options->input_count; i++)
        text_append(&sources, "%s%s", i ? "\n" : "", file_name(options->inputs[i]));
    struct tokenset set = {.rows = rows->count,
                           .tokens = rows->tokens,
                           .row_offsets = rows->offsets,
                           .ids = rows->ids,
                           .loss_mask = rows->has_mask ? rows->mask : NULL,
                           .vocab_size = report->vocab_size,
                           .shuffled = options->shuffled,
                           .shuffle_seed = options->shuffle_seed,
                           .sources = text_finish(&sources)};
    memcpy(set.tokenizer_sha256, report->tokenizer_sha256, SHA256_HEX_SIZE);
    enum status status = set.sources ? tokenset_write(options->output, &set) : STATUS_FAILED;
    if (!status) status = tokenset_fingerprint(report->fingerprint, &set);
    report->longest_row = tokenset_longest_row(&set);
    free(set.sources);
    return status;
}

static void count_rows(struct dataset_report *report, const struct rows *rows, uint64_t context) {
    report->rows = rows->count;
    report->tokens = rows->tokens;
    report->has_mask = rows->has_mask;
    for (uint64_t i = 0; i < rows->tokens; i++)
        report->masked_tokens += rows->has_mask ? rows->mask[i] : 1;
    report->limited = rows->full;
    report->dropped_tokens = rows->full ? 0 : rows->pending;
    report->cut_rows = rows->cut;
    report->context = context;
    for (uint64_t r = 0; context && r < rows->count; r++)
        report->long_rows += rows->offsets[r + 1] - rows->offsets[r] > context;
}

/* The template of conversations. A model may have none as long as there are none; one that is asked
 * for must be there. */
static enum status open_style(struct build *build) {
    const struct dataset_options *options = build->options;
    bool directory = file_is_directory(options->tokenizer);
    char *parent =
        directory ? memory_copy_string(options->tokenizer) : file_parent(options->tokenizer);
    if (!parent) return STATUS_FAILED;
    enum status status = chat_style_open(&build->style, parent, options->template);
    free(parent);
    if (!status) build->rules.style = &build->style;
    if (!status || options->template) return status;
    build->no_style = memory_copy_string(status_message());
    build->rules.no_style = build->no_style;
    return build->no_style ? STATUS_OK : STATUS_FAILED;
}

enum status dataset_build(struct dataset_report *report, const struct dataset_options *options) {
    struct build build = {.options = options, .report = report};
    struct tokenizer *tokenizer = NULL;
    double megabytes, start = log_seconds();
    *report = (struct dataset_report){0};
    enum status status = check_inputs(&megabytes, options);
    if (!status) status = tokenizer_read(&tokenizer, options->tokenizer);
    if (status) goto done;
    build.rules =
        (struct record_rules){.tokenizer = tokenizer,
                              .around = options->no_special ? TOKENIZER_PLAIN : TOKENIZER_WHOLE,
                              .separator = options->separator,
                              .fields = options->fields};
    report->vocab_size = tokenizer_vocab_size(tokenizer);
    memcpy(report->tokenizer_sha256, tokenizer_sha256(tokenizer), SHA256_HEX_SIZE);
    status = open_style(&build);
    if (!status) status = choose_end(&build.rules, options);
    uint64_t limit =
        options->limit_tokens && !options->shuffled ? options->limit_tokens : UINT64_MAX;
    if (!status)
        status = rows_begin(&build.rows, options->seq_len, limit,
                            options->seq_len && !options->separate);
    progress_begin(&build.progress, "data", "MB", megabytes, 0);
    for (size_t i = 0; !status && !build.rows.full && i < options->input_count; i++)
        status = add_input(&build, options->inputs[i]);
    progress_end(&build.progress);
    if (!status && options->shuffled)
        status = rows_shuffle(&build.rows, options->shuffle_seed, options->limit_tokens);
    if (!status) status = check_rows(&build);
    if (status) goto done;
    count_rows(report, &build.rows, tokenizer_context(tokenizer));
    status = write_rows(&build);
    report->seconds = log_seconds() - start;
done:
    chat_style_free(&build.style);
    free(build.no_style);
    rows_free(&build.rows);
    tokenizer_free(tokenizer);
    return status;
}
