#define _GNU_SOURCE
#include "cli/run_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/number.h"
#include "mixers/choices.h"
#include "scores/kinds.h"

int run_replaced(const struct store_run *run) {
    int count = 0;
    for (const char *letter = run->base; *letter; letter++)
        count += *letter != mixer_kinds[0]->letter;
    return count;
}

/* ---- times */

static bool read_time(time_t *out, const char *text) {
    struct tm parts = {0};
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts) : NULL;
    if (!end || *end) return false;
    *out = timegm(&parts);
    return true;
}

double run_seconds(const struct store_run *run) {
    time_t started, finished;
    if (isfinite(run->seconds)) return run->seconds;
    /* A database of before this was kept. */
    if (!read_time(&started, run->started) || !read_time(&finished, run->finished)) return NAN;
    return finished < started ? NAN : (double)(finished - started);
}

const char *run_format_seconds(char out[32], double seconds) {
    if (!(seconds < 1e9))
        snprintf(out, 32, "-");
    else if (seconds < 9.95)
        snprintf(out, 32, "%.1f s", seconds);
    else if (seconds < 59.5)
        snprintf(out, 32, "%.0f s", seconds);
    else if (seconds < 3599.5)
        snprintf(out, 32, "%d:%02d min", ((int)(seconds + .5)) / 60, ((int)(seconds + .5)) % 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
    return out;
}

/* ---- what differs */

/* Settings as their kinds of runs record them when nothing is said. tests/cli/scores_list.sh makes
 * a run of each kind. */
static const struct {
    const char *kind, *key, *value; /* the kind's beginning; value as JSON */
} defaults[] = {
    {RUN_LOO, "ablate", "\"mixer\""},
    {"estimate", "ablate", "\"mixer\""},
    {RUN_MMR, "steps", "100"},
    {RUN_MMR, "batch", "8"},
    {RUN_MMR, "heldout", "16"},
    {RUN_MMR, "seeds", "1"},
    {RUN_MMR, "lr", "0.001"},
    {RUN_MMR, "beta1", "0.9"},
    {RUN_MMR, "beta2", "0.95"},
    {RUN_MMR, "epsilon", "1e-8"},
    {RUN_MMR, "weight_decay", "0"},
    {RUN_MMR, "clip", "0"},
    {RUN_MMR, "warmup", "0"},
    {RUN_MMR, "schedule", "\"constant\""},
    {RUN_MMR, "loss", "\"rkl\""},
    {RUN_MMR, "temperature", "1"},
    {RUN_MMR, "train", "\"mixer\""},
    {RUN_MMR, "stop_when_stable", "0"},
    {RUN_ALIGN, "steps", "400"},
    {RUN_ALIGN, "batch", "8"},
    {RUN_ALIGN, "heldout", "16"},
    {RUN_ALIGN, "lr", "0.003"},
    {RUN_ALIGN, "schedule", "\"cosine\""},
    {RUN_ALIGN, "floor", "0.1"},
    {RUN_ALIGN, "beta1", "0.9"},
    {RUN_ALIGN, "beta2", "0.95"},
    {RUN_ALIGN, "epsilon", "1e-8"},
    {RUN_ALIGN, "clip", "0"},
    {RUN_ALIGN, "objective", "\"both\""},
    {RUN_ALIGN, "block_share", "0.25"},
    {RUN_ALIGN, "start_scored", "true"},
    {"", "shots", "0"},
    {"", "special", "true"},
    {"", "samples", "1"},
    {"", "max_tokens", "512"},
    {"", "temperature", "0"},
    {"", "lengths", "\"128,256,512\""},
    {"", "depths", "\"0,0.5,1\""},
    {"", "items", "8"},
};

static bool equals(const struct json *value, const char *expected) {
    struct json *list = NULL;
    char *text = text_format("[%s]", expected);
    bool same = false;
    if (text && js_parse(&list, text, strlen(text), "default") == STATUS_OK) {
        const struct json *other = js_element(list, 0);
        if (js_is_string(other))
            same = js_is_string(value) &&
                   strcmp(js_string_or(value, ""), js_string_or(other, "")) == 0;
        else if (js_is_bool(other))
            same = js_is_bool(value) && js_bool_or(value, false) == js_bool_or(other, false);
        else
            same = js_is_number(value) && js_number_or(value, NAN) == js_number_or(other, NAN);
    }
    js_free(list);
    free(text);
    return same;
}

/* A setting that follows from the model: all layers, or what new mixers of it have. */
static bool follows(const struct store_run *run, const char *key, const struct json *value) {
    struct json *shape = NULL;
    char expected[64] = "";
    if (js_parse(&shape, run->model_shape, strlen(run->model_shape), "shape")) return false;
    int64_t layers = js_integer_or(js_member(shape, "num_hidden_layers"), 0);
    const struct mixer_host host = {
        .hidden = js_integer_or(js_member(shape, "hidden_size"), 0),
        .heads = (int)js_integer_or(js_member(shape, "num_attention_heads"), 0),
        .kv_heads = (int)js_integer_or(js_member(shape, "num_key_value_heads"), 0),
        .head_dim = (int)js_integer_or(js_member(shape, "head_dim"), 0)};
    js_free(shape);
    if (strcmp(key, "layers") == 0) {
        snprintf(expected, sizeof expected, layers == 1 ? "\"0\"" : "\"0-%lld\"",
                 (long long)layers - 1);
        return equals(value, expected);
    }
    return strcmp(run->kind, "mmr") == 0 && mixer_choice_is_usual(key, value, &host);
}

static bool is_default(const struct store_run *run, const char *key, const struct json *value) {
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (strcmp(defaults[i].key, key) == 0 &&
            strncmp(run->kind, defaults[i].kind, strlen(defaults[i].kind)) == 0)
            return equals(value, defaults[i].value);
    return follows(run, key, value);
}

static void append(struct text *out, const char *key, const struct json *value) {
    enum { FINGERPRINT = 64 };
    char number[NUMBER_SIZE];
    text_append(out, "%s%s ", out->length ? ", " : "", key);
    const char *word = js_string_or(value, NULL);
    if (word && strlen(word) == FINGERPRINT && !word[strspn(word, "0123456789abcdef")]) {
        text_append(out, "%.12s", word);
    } else if (word) {
        text_append(out, "%s", word);
    } else if (js_is_number(value) && !js_is_integer(value)) {
        text_append(out, "%s", number_format(number, js_number_or(value, NAN)));
    } else {
        char *text = js_print_sorted(value);
        text_append(out, "%s", text ? text : "?");
        free(text);
    }
}

static void append_members(struct text *out, const struct store_run *run,
                           const struct json *object) {
    for (void *i = js_first(object); i; i = js_next(object, i)) {
        const struct json *value = js_value(i);
        const char *key = js_key(i);
        if (strcmp(key, "init") == 0 && js_is_object(value))
            append_members(out, run, value);
        else if (strcmp(key, "task") != 0 && strcmp(key, "base_fingerprint") != 0 &&
                 !is_default(run, key, value))
            append(out, key, value);
    }
}

char *run_differences(const struct store_run *run) {
    struct text out = {0};
    struct json *parameters = NULL;
    const char *task = NULL;
    if (!js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters"))
        task = js_string_or(js_member(parameters, "task"), NULL);
    if (task) text_append(&out, "%s", task);
    int replaced = run_replaced(run);
    if (replaced) text_append(&out, "%sbase %d replaced", out.length ? ", " : "", replaced);
    append_members(&out, run, parameters);
    if (run->seed) text_append(&out, "%sseed %lld", out.length ? ", " : "", (long long)run->seed);
    if (strcmp(run->device, "cpu") != 0)
        text_append(&out, "%s%s", out.length ? ", " : "", run->device);
    if (run->note) text_append(&out, "%s\"%s\"", out.length ? " " : "", run->note);
    js_free(parameters);
    return out.length ? text_finish(&out) : memory_copy_string("");
}

/* ---- JSON */

struct json *run_to_json(const struct store_run *run) {
    struct json *object = js_new_object(), *parameters = NULL;
    js_set_integer(object, "run", run->id);
    js_set_string(object, "kind", run->kind);
    js_set_string(object, "model", run->model_name);
    js_set_string(object, "dataset", run->dataset_path);
    js_set_string(object, "base", run_replaced(run) ? run->base : NULL);
    js_set_integer(object, "replaced", run_replaced(run));
    if (js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters") != STATUS_OK)
        parameters = js_new_string(run->parameters);
    js_set(object, "parameters", parameters);
    char *differences = run_differences(run);
    js_set_string(object, "differs", differences);
    free(differences);
    js_set_integer(object, "seed", run->seed);
    js_set_string(object, "device", run->device);
    js_set_string(object, "tool", run->version);
    js_set_string(object, "commit", run->revision);
    js_set_integer(object, "numbers_version", run->numbers); /* unknown: 0 */
    js_set_bool(object, "older_fingerprint", *store_fingerprint_remark(run->fingerprint_kind));
    js_set_string(object, "status", run->status);
    js_set_string(object, "started", run->started);
    js_set_string(object, "finished", run->finished);
    js_set_number(object, "seconds", run_seconds(run));
    js_set_integer(object, "layers", run->layers);
    js_set_integer(object, "rows", run->rows);
    js_set_string(object, "note", run->note);
    return object;
}
