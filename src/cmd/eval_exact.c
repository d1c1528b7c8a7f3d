/* Tasks of `eval --task` whose answers are generated. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/record.h"
#include "base/quote.h"
#include "cli/table.h"
#include "cmd/eval_task.h"
#include "eval/exact_run.h"

void eval_sampling_table(struct option table[EVAL_SAMPLING_OPTIONS],
                         struct eval_sampling *sampling) {
    const struct option rows[EVAL_SAMPLING_OPTIONS] = {
        {"samples", OPTION_COUNT, &sampling->samples, "N", "samples of each problem (1)", .low = 1,
         .high = 10000, .group = GROUP_ANSWERS, .identity = OPTION_RESOLVED},
        {"max-tokens", OPTION_COUNT, &sampling->max_tokens, "N", "tokens of a sample (512)",
         .low = 1, .high = INT32_MAX, .group = GROUP_ANSWERS, .identity = OPTION_RESOLVED},
        {"temperature", OPTION_NUMBER, &sampling->temperature, "T",
         "sample at this temperature; 0: the most likely token (0)", .group = GROUP_ANSWERS,
         .identity = OPTION_RESOLVED},
        {"top-p", OPTION_NUMBER, &sampling->top_p, "P",
         "from the fewest tokens with this probability (1)", .group = GROUP_ANSWERS,
         .identity = OPTION_RESOLVED},
        {"top-k", OPTION_COUNT, &sampling->top_k, "K", "from the K most likely tokens; 0: all (0)",
         .high = INT32_MAX, .group = GROUP_ANSWERS, .identity = OPTION_RESOLVED},
        {"batch", OPTION_COUNT, &sampling->batch, "N", "sequences at a time (8)", .low = 1,
         .high = 4096, .group = GROUP_ANSWERS, .identity = OPTION_NO_NUMBER},
        {"chat", OPTION_FLAG, &sampling->chat, NULL,
         "ask as a user, in the model's own chat format", .group = GROUP_ANSWERS,
         .identity = OPTION_RESOLVED},
        {"template", OPTION_STRING, &sampling->template, "FILE|NAME",
         "the same with this Jinja template, or the model's of this name", .group = GROUP_ANSWERS,
         .completes = "*.jinja", .identity = OPTION_RESOLVED},
    };
    memcpy(table, rows, sizeof rows);
}

/* What a task's run holds. */
struct job {
    const struct eval_task_options *options;
    const char *name, *path;
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_style style;
    bool chats, has_chat_end;
    uint32_t chat_end;
    struct problem_set set;
    struct json *parameters;
    struct exact_result result;
};

static enum status read_problems(struct job *job) {
    const struct eval_sampling *sampling = job->options->sampling;
    const struct task_values *values = job->options->values;
    enum status status = task_option_check(values);
    if (!status) status = tokenizer_read(&job->tokenizer, job->options->model);
    job->chats = sampling->chat || sampling->template;
    if (!status && job->chats)
        status = chat_style_open(&job->style, job->options->model, sampling->template);
    struct prompt_rules rules = {job->tokenizer, job->chats ? &job->style : NULL,
                                 task_option_around(values)};
    struct problem_options options = {.name = job->name,
                                      .path = job->path,
                                      .shots_path = values->shots_from,
                                      .shots = (int)values->shots,
                                      .limit = values->limit};
    job->has_chat_end = !status && job->chats && prompts_end_id(&job->chat_end, &rules);
    if (!status) status = problems_read(&job->set, &rules, &options);
    return status;
}

static enum status set_parameters(struct job *job) {
    const struct eval_sampling *sampling = job->options->sampling;
    job->parameters = js_new_object();
    if (!job->parameters) return STATUS_FAILED;
    js_set_string(job->parameters, "task", job->name);
    js_set_integer(job->parameters, "shots", job->options->values->shots);
    if (job->options->values->limit)
        js_set_integer(job->parameters, "limit", job->options->values->limit);
    js_set_integer(job->parameters, "samples", sampling->samples);
    js_set_integer(job->parameters, "max_tokens", sampling->max_tokens);
    js_set_number(job->parameters, "temperature", sampling->temperature);
    if (sampling->temperature > 0) {
        js_set_number(job->parameters, "top_p", sampling->top_p);
        js_set_integer(job->parameters, "top_k", sampling->top_k);
    }
    if (!job->chats) js_set_bool(job->parameters, "special", !job->options->values->no_special);
    /* The text of the template decides, and the day where it tells the date. */
    if (job->chats) js_set_string(job->parameters, "template", job->style.sha256);
    if (job->chats && job->style.time)
        js_set_string(job->parameters, "template_time", job->style.time);
    if (js_count(job->options->identity))
        js_set(job->parameters, "options", js_copy(job->options->identity));
    return STATUS_OK;
}

static enum status run(struct job *job) {
    const struct eval_sampling *sampling = job->options->sampling;
    struct generate_settings generate = generate_defaults();
    generate.max_tokens = sampling->max_tokens;
    generate.batch = (int)sampling->batch;
    generate.tokenizer = job->tokenizer;
    generate.sampling = (struct sampling){.temperature = sampling->temperature,
                                          .top_p = sampling->top_p,
                                          .top_k = (int)sampling->top_k,
                                          .seed = (uint64_t)sampling->seed};
    if (job->has_chat_end) {
        generate.stop_ids = &job->chat_end;
        generate.stop_id_count = 1;
    }
    struct exact_settings settings = {.model = job->model,
                                      .set = &job->set,
                                      .name = job->name,
                                      .path = job->path,
                                      .parameters = job->parameters,
                                      .database = job->options->database,
                                      .generate = &generate,
                                      .samples = (int)sampling->samples};
    enum status status = sampling_check(&generate.sampling);
    if (!status) status = exact_run(&job->result, &settings);
    status =
        record_tell_interrupt(status, "problems", job->result.run ? job->options->database : NULL);
    return status;
}

static enum status print_text(const struct job *job) {
    const struct exact_result *result = &job->result;
    if (result->problems_found == result->problems)
        printf("run %" PRId64 " was complete: nothing computed\n", result->run);
    else
        quote_print(
            stdout,
            "%s: %s, %" PRId64 " problems, %" PRId64 " sample%s each, %" PRId64
            " new tokens in %.1f s",
            job->options->model, job->name, result->problems, job->options->sampling->samples,
            job->options->sampling->samples == 1 ? "" : "s", result->new_tokens, result->seconds);
    struct table table;
    table_begin(&table, "lrrrrrrr");
    static const char *const headings[] = {"task", "problems"};
    for (int i = 0; i < 2; i++) table_cell(&table, "%s", headings[i]);
    for (int m = 0; m < EXACT_METRICS; m++) {
        table_cell(&table, "%s", exact_metric_name((enum exact_metric)m));
        if (m == EXACT_PASS) table_cell(&table, "+-");
    }
    table_cell(&table, "%s", job->name);
    table_cell(&table, "%" PRId64, result->problems);
    for (int m = 0; m < EXACT_METRICS; m++) {
        const struct statistics *metric = &result->metrics[m];
        table_cell(&table, m == EXACT_TOKENS ? "%.1f" : "%.4f", metric->mean);
        if (m == EXACT_PASS && isfinite(metric->stderr_mean))
            table_cell(&table, "%.4f", metric->stderr_mean);
        else if (m == EXACT_PASS)
            table_cell(&table, "-");
    }
    return table_print(&table, stdout);
}

static struct json *to_json(const struct job *job) {
    const struct exact_result *result = &job->result;
    struct json *object = js_new_object();
    js_set_string(object, "task", job->name);
    js_set_string(object, "file", job->path);
    js_set(object, "parameters", js_copy(job->parameters));
    if (result->run) js_set_integer(object, "run", result->run);
    js_set_integer(object, "problems", result->problems);
    js_set_integer(object, "problems_found", result->problems_found);
    js_set_integer(object, "new_tokens", result->new_tokens);
    js_set_number(object, "seconds", result->seconds);
    for (int m = 0; m < EXACT_METRICS; m++)
        js_set(object, exact_metric_name((enum exact_metric)m),
               statistics_to_json(&result->metrics[m]));
    return object;
}

enum status eval_exact(struct json *array, const struct eval_task_options *options,
                       struct model *model, const char *name, const char *path) {
    struct job job = {.options = options, .name = name, .path = path, .model = model};
    enum status status = read_problems(&job);
    if (!status) status = set_parameters(&job);
    if (!status) status = run(&job);
    if (!status && options->json)
        js_append(array, to_json(&job));
    else if (!status)
        status = print_text(&job);
    js_free(job.parameters);
    problems_free(&job.set);
    chat_style_free(&job.style);
    tokenizer_free(job.tokenizer);
    return status;
}
