#include "cmd/convert_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/quote.h"
#include "base/text.h"
#include "cli/document.h"
#include "cli/next.h"
#include "mixers/sizes.h"

static struct json *remarks_json(const struct convert_job *job) {
    struct json *remarks = js_new_array();
    const char *remark;
    bool warns;
    for (size_t i = 0; (remark = convert_remark(&warns, job, i)); i++)
        js_append(remarks, js_new_string(remark));
    return remarks;
}

static struct json *tensors_json(const struct convert_job *job) {
    struct json *tensors = js_new_array();
    for (size_t i = 0; i < job->count; i++) {
        const struct convert_tensor *tensor = &job->tensors[i];
        struct json *entry = js_new_object(), *shape = js_new_array();
        for (int k = 0; k < tensor->spec.rank; k++)
            js_append(shape, js_new_integer(tensor->spec.shape[k]));
        char *origin = convert_tensor_origin(job, tensor);
        js_set_string(entry, "name", tensor->spec.name);
        js_set_string(entry, "dtype", dtype_name(tensor->dtype));
        js_set(entry, "shape", shape);
        js_set_string(entry, "from", origin);
        js_append(tensors, entry);
        free(origin);
    }
    return tensors;
}

static enum status print_json(const struct conversion *conversion, bool dry_run) {
    const struct convert_job *job = &conversion->job;
    struct json *config = NULL;
    enum status status = convert_config_json(&config, job);
    if (status) return status;
    struct json *object = document_begin("convert");
    js_set_string(object, "output", conversion->settings->output);
    js_set_bool(object, "dry_run", dry_run);
    js_set_integer(object, "bytes", (int64_t)job->bytes);
    js_set(object, "provenance", js_copy(conversion->provenance));
    js_set(object, "config", config);
    js_set(object, "remarks", remarks_json(job));
    if (dry_run) js_set(object, "tensors", tensors_json(job));
    return document_print(object);
}

static enum status print_tensors(const struct convert_job *job) {
    int widest = 0;
    for (size_t i = 0; i < job->count; i++) {
        int width = (int)strlen(job->tensors[i].spec.name);
        if (width > widest) widest = width;
    }
    for (size_t i = 0; i < job->count; i++) {
        const struct convert_tensor *tensor = &job->tensors[i];
        char shape[TENSOR_SHAPE_SIZE];
        char *origin = convert_tensor_origin(job, tensor);
        if (!origin) return STATUS_FAILED;
        printf("%-*s  %-4s  %-16s  <- %s\n", widest, tensor->spec.name, dtype_name(tensor->dtype),
               tensor_shape_format(shape, tensor->spec.rank, tensor->spec.shape), origin);
        free(origin);
    }
    return STATUS_OK;
}

/* The sizes and choices of new mixers, and the rest that is not as usual. */
static void print_mixers(const struct convert_job *job) {
    const struct mixer_sizes *mixer = &job->mixer;
    struct mixer_choices choices;
    mixer_choices_for(&choices, &job->options.choices, mixer);
    struct text text = {0};
    char name[MIXER_TEXT_SIZE];
    text_append(&text, "new mixers:");
    if (!mixer->kind->former) text_append(&text, " %s", mixer_text(name, mixer));
    for (int i = 0, shown = !mixer->kind->former; i < mixer->kind->n_sizes; i++)
        if (mixer->kind->sizes[i].inspected && mixer->kind->sizes[i].type == SIZE_WHOLE &&
            i != mixer->kind->parameter)
            text_append(&text, "%s %s %" PRId64, shown++ ? "," : "", mixer->kind->sizes[i].name,
                        mixer->value[i]);
    mixer_choices_append(&text, &choices);
    text_append(&text, "; seed %lld\n", (long long)choices.seed);
    if (mixer->kind->remark) mixer->kind->remark(&text, &choices);
    char *lines = text_finish(&text);
    if (lines) fputs(lines, stdout);
    free(lines);
}

/* What all layers that are not attention are; "replaced" where they are not of one kind. */
static const char *replaced_word(const struct model_config *config) {
    const struct mixer_kind *only = NULL;
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_kind *kind = config->layers[i].mixer.kind;
        if (config_is_attention(config, i) || kind == only) continue;
        if (only) return "replaced";
        only = kind;
    }
    return only ? only->adjective : mixer_kinds[1]->adjective;
}

static enum status print_text(const struct conversion *conversion, bool dry_run) {
    const struct convert_job *job = &conversion->job;
    const char *output = conversion->settings->output;
    char size[32];
    if (dry_run) {
        enum status status = print_tensors(job);
        if (status) return status;
    }
    char *added = list_format(job->added.values, job->added.count);
    char *all = list_format(conversion->layers.values, conversion->layers.count);
    if (!added || !all) {
        free(added);
        free(all);
        return STATUS_FAILED;
    }
    quote_print(stdout, "%s %s: %s, %zu of %d layers %s (%s), new: %s; %s",
                dry_run ? "would write" : "wrote", output ? output : "a checkpoint",
                config_architecture(job->config), conversion->layers.count, job->config->n_layers,
                replaced_word(job->config), *all ? all : "none", *added ? added : "none",
                memory_format(size, job->bytes));
    if (job->added.count) print_mixers(job);
    bool warns;
    const char *remark;
    for (size_t i = 0; (remark = convert_remark(&warns, job, i)); i++)
        if (!warns) printf("note: %s\n", remark);
    free(added);
    free(all);
    return STATUS_OK;
}

static void print_next(const struct conversion_settings *settings) {
    struct text line;
    next_begin(&line, "eval");
    next_path(&line, NULL, settings->output);
    next_path(&line, "--teacher", settings->model);
    next_words(&line, "--data tokens.h5");
    next_print(&line, false);
    next_begin(&line, "generate");
    next_path(&line, NULL, settings->output);
    next_words(&line, "--prompt TEXT");
    next_print(&line, true);
}

enum status convert_report(const struct conversion *conversion, bool dry_run, bool json) {
    enum status status = json ? print_json(conversion, dry_run) : print_text(conversion, dry_run);
    if (!status && !dry_run) print_next(conversion->settings);
    return status;
}
