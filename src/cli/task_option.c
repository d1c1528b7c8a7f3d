#define _POSIX_C_SOURCE 200809L
#include "cli/task_option.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/suggest.h"
#include "base/text.h"
#include "checkpoint/config.h"
#include "data/recall.h"
#include "data/task.h"
#include "data/task_record.h"

void task_option_table(struct option table[TASK_OPTIONS], struct task_values *values) {
    const struct option rows[TASK_OPTIONS] = {
        {"shots", OPTION_COUNT, &values->shots, "K",
         "examples before each question: the file's dev or train records, or its first (0)",
         .high = 1000, .group = GROUP_TASKS, .identity = OPTION_RESOLVED},
        {"shots-from", OPTION_STRING, &values->shots_from, "FILE", "take the examples from here",
         .group = GROUP_TASKS, .completes = "*.jsonl", .identity = OPTION_RESOLVED},
        {"limit", OPTION_COUNT, &values->limit, "N",
         "only N items, evenly spread over the file (all)", .low = 1, .high = INT32_MAX,
         .group = GROUP_TASKS, .identity = OPTION_RESOLVED},
        {"no-special", OPTION_FLAG, &values->no_special, NULL,
         "do not begin with what the tokenizer's template adds, such as <s>", .group = GROUP_TASKS,
         .identity = OPTION_RESOLVED},
        {"special", OPTION_FLAG, &values->special, NULL, "begin with it (as without the option)",
         .group = GROUP_TASKS, .identity = OPTION_NO_NUMBER},
        {"lengths", OPTION_STRING, &values->lengths, "LIST",
         "recall: tokens of a row (128,256,512)", .group = GROUP_TASKS,
         .identity = OPTION_RESOLVED},
        {"depths", OPTION_STRING, &values->depths, "LIST",
         "recall: where the answer stands, 0 first, 1 last (0,0.5,1)", .group = GROUP_TASKS,
         .identity = OPTION_RESOLVED},
        {"items", OPTION_COUNT, &values->items, "N",
         "recall: items of each kind, length and depth (8)", .low = 1, .high = 100000,
         .group = GROUP_TASKS, .identity = OPTION_RESOLVED},
    };
    memcpy(table, rows, sizeof rows);
}

enum status task_option_check(const struct task_values *values) {
    if (!values->special || !values->no_special) return STATUS_OK;
    return status_set(STATUS_USAGE, "--special and --no-special contradict each other");
}

enum tokenizer_around task_option_around(const struct task_values *values) {
    return values->no_special ? TOKENIZER_PLAIN : TOKENIZER_BEGIN;
}

enum status task_option_unknown(const char *name, const char *others) {
    enum { MOST_TASKS = 32 };
    const char *names[MOST_TASKS];
    size_t count = 0;
    char *all = text_format("recall, %s%s%s", task_choice_names, *others ? ", " : "", others);
    char *words = all ? memory_copy_string(all) : NULL, *rest = NULL;
    enum status status = STATUS_FAILED;
    for (char *word = words ? strtok_r(words, ", ", &rest) : NULL; word && count < MOST_TASKS;
         word = strtok_r(NULL, ", ", &rest))
        names[count++] = word;
    char *phrase = words ? suggest_phrase(name, names, count, "") : NULL;
    if (phrase)
        status = status_set(STATUS_USAGE, "no task \"%s\": there are %s%s", name, all, phrase);
    free(phrase);
    free(words);
    free(all);
    return status;
}

enum status task_option_split(char **name, const char **path, const char *text) {
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    bool recall = length == 6 && strncmp(text, "recall", 6) == 0;
    if (recall && equals)
        return status_set(STATUS_USAGE, "--task recall makes its own items: it takes no file");
    if (!recall && (!equals || !length || !equals[1]))
        return status_set(STATUS_USAGE, "--task is NAME=FILE or recall, not \"%s\"", text);
    *name = memory_copy_bytes(text, length);
    *path = recall ? "recall" : equals + 1;
    return *name ? STATUS_OK : STATUS_FAILED;
}

/* "0,0.5,1" */
static enum status parse_depths(double **out, size_t *count, const char *text) {
    size_t most = 1;
    for (const char *c = text; *c; c++) most += *c == ',';
    *count = 0;
    *out = memory_calloc(most, sizeof **out);
    if (!*out) return STATUS_FAILED;
    for (const char *at = text;; at++) {
        char *end;
        double depth = strtod(at, &end);
        if (end == at || (*end && *end != ','))
            return status_set(STATUS_USAGE, "--depths: \"%s\" is not a list like 0,0.5,1", text);
        (*out)[(*count)++] = depth;
        at = end;
        if (!*end) return STATUS_OK;
    }
}

static enum status build_recall(struct task_items *out, const struct task_values *values,
                                const struct tokenizer *tokenizer, int64_t max_tokens) {
    struct recall_options options = {.items = (int)values->items,
                                     .seed = (uint64_t)values->seed,
                                     .max_tokens = max_tokens,
                                     .around = task_option_around(values)};
    double *depths = NULL;
    enum status status =
        list_parse(&options.lengths, values->lengths, RECALL_SHORTEST, RECALL_LONGEST, "--lengths");
    if (!status) status = parse_depths(&depths, &options.depths_count, values->depths);
    options.depths = depths;
    if (!status) status = recall_build(&out->set, tokenizer, &options);
    if (!status) {
        js_set_string(out->parameters, "lengths", values->lengths);
        js_set_string(out->parameters, "depths", values->depths);
        js_set_integer(out->parameters, "items", values->items);
        out->seed = values->seed;
    }
    list_free(&options.lengths);
    free(depths);
    return status;
}

static enum status build_task(struct task_items *out, const struct task_values *values,
                              const struct tokenizer *tokenizer, int64_t max_tokens) {
    struct task_options options = {.name = out->name,
                                   .path = out->path,
                                   .shots_path = values->shots_from,
                                   .shots = (int)values->shots,
                                   .limit = values->limit,
                                   .max_tokens = max_tokens,
                                   .around = task_option_around(values)};
    enum status status = task_read(&out->set, tokenizer, &options);
    if (status) return status;
    js_set_integer(out->parameters, "shots", values->shots);
    if (values->limit) js_set_integer(out->parameters, "limit", values->limit);
    if (out->set->cut)
        log_warn("%s: %lld choices are longer than the %lld tokens that the model takes: the "
                 "beginning of their context is cut",
                 out->name, (long long)out->set->cut, (long long)max_tokens);
    return STATUS_OK;
}

enum status task_option_build(struct task_items *out, const char *text,
                              const struct task_values *values, const char *model,
                              int64_t max_tokens) {
    struct tokenizer *tokenizer = NULL;
    *out = (struct task_items){0};
    enum status status = task_option_split(&out->name, &out->path, text);
    if (!status && strcmp(out->name, "recall") != 0 && !task_is_choice(out->name))
        status = task_option_unknown(out->name, "");
    if (!status) status = task_option_check(values);
    if (!status) status = tokenizer_read(&tokenizer, model);
    if (!status) {
        out->parameters = js_new_object();
        status = out->parameters ? STATUS_OK : STATUS_FAILED;
    }
    if (!status) {
        js_set_string(out->parameters, "task", out->name);
        js_set_bool(out->parameters, "special", !values->no_special);
        status = strcmp(out->name, "recall") == 0 ? build_recall(out, values, tokenizer, max_tokens)
                                                  : build_task(out, values, tokenizer, max_tokens);
    }
    tokenizer_free(tokenizer);
    if (status) task_items_free(out);
    return status;
}

enum status task_option_build_for(struct task_items *out, const char *text,
                                  const struct task_values *values, const char *model) {
    struct model_config *config = NULL;
    char *path = file_join(model, "config.json");
    enum status status = path ? config_read(&config, path) : STATUS_FAILED;
    *out = (struct task_items){0};
    if (!status)
        status = task_option_build(out, text, values, model, config->max_position_embeddings);
    if (config) config_free(config);
    free(path);
    return status;
}

void task_items_free(struct task_items *items) {
    free(items->name);
    choice_set_free(items->set);
    js_free(items->parameters);
    *items = (struct task_items){0};
}
