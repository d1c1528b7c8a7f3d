#include "convert/conversion.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/threads.h"
#include "base/version.h"
#include "mixers/sizes.h"

/* The layers of the chosen stage of a plan that was made for this model. */
static enum status layers_of_plan(struct conversion *out) {
    const struct conversion_settings *settings = out->settings;
    const struct plan_stage *stage;
    enum status status = plan_read(&out->plan, settings->plan);
    if (!status) status = plan_check_model(&out->plan, settings->plan, out->model);
    if (!status) status = plan_find_stage(&stage, &out->plan, settings->stage, settings->plan);
    if (!status) status = plan_check_kind(&out->plan, stage, settings->asked, settings->plan);
    if (!status) status = sha256_file(out->plan_hash, settings->plan);
    if (status) return status;
    out->stage = (int)(stage - out->plan.stages) + 1;
    out->layers.values = memory_calloc(stage->layers.count, sizeof *out->layers.values);
    if (!out->layers.values) return STATUS_FAILED;
    out->layers.count = stage->layers.count;
    memcpy(out->layers.values, stage->layers.values, stage->layers.count * sizeof(int));
    out->kinds = memory_calloc(stage->layers.count, sizeof *out->kinds);
    if (!out->kinds) return STATUS_FAILED;
    for (size_t i = 0; i < out->layers.count; i++)
        out->kinds[i] = plan_mixer_of(&out->plan, out->layers.values[i]);
    return STATUS_OK;
}

static enum status open_inputs(struct conversion *out) {
    const struct conversion_settings *settings = out->settings;
    enum status status = checkpoint_open(&out->model, settings->model, &settings->checkpoint);
    if (!status) status = checkpoint_fingerprint(out->model, out->model_fingerprint);
    if (!status && settings->from) {
        status = checkpoint_open(&out->from, settings->from, NULL);
        if (!status) status = checkpoint_check_hybrid(out->from, out->model);
        if (!status) status = checkpoint_fingerprint(out->from, out->from_fingerprint);
    }
    if (status) return status;
    if (settings->plan) return layers_of_plan(out);
    int last = checkpoint_config(out->model)->n_layers - 1;
    if (strcmp(settings->layers, "none") == 0) return STATUS_OK;
    return list_parse(&out->layers, settings->layers, 0, last, "--layers");
}

/* The one that is asked for, else the first that holds what this makes. */
static enum status choose_format(enum hybrid_format *out, const char *name,
                                 const struct convert_options *options) {
    struct hybrid hybrid;
    if (name) return format_from_name(out, name);
    enum status status =
        hybrid_make(&hybrid, checkpoint_config(options->base), &options->layers, &options->choices,
                    options->kinds, checkpoint_directory(options->base));
    if (status) return status;
    *out = format_for(hybrid.config);
    if (*out == FORMAT_COUNT) *out = FORMAT_APRIEL2; /* which says what it is that none can hold */
    hybrid_free(&hybrid);
    return STATUS_OK;
}

static struct json *list_json(const struct int_list *list) {
    struct json *array = js_new_array();
    for (size_t i = 0; i < list->count; i++) js_append(array, js_new_integer(list->values[i]));
    return array;
}

/* {"m2": [1, 2], "window:64": [3]}: the layers of each kind but attention itself. */
static struct json *kinds_json(const struct model_config *config) {
    struct json *object = js_new_object();
    for (int i = 0; i < config->n_layers; i++) {
        char text[MIXER_TEXT_SIZE], other[MIXER_TEXT_SIZE];
        mixer_text(text, &config->layers[i].mixer);
        if (config_is_attention(config, i) || js_member(object, text)) continue;
        struct json *array = js_new_array();
        for (int j = i; j < config->n_layers; j++)
            if (strcmp(mixer_text(other, &config->layers[j].mixer), text) == 0)
                js_append(array, js_new_integer(j));
        js_set(object, text, array);
    }
    return object;
}

static struct json *model_json(const struct checkpoint *checkpoint, const char *fingerprint) {
    struct json *object = js_new_object();
    js_set_string(object, "path", checkpoint_directory(checkpoint));
    js_set_string(object, "architecture", config_architecture(checkpoint_config(checkpoint)));
    js_set_string(object, "fingerprint", fingerprint);
    js_set_integer(object, "fingerprint_kind", CHECKPOINT_FINGERPRINT);
    return object;
}

static struct json *plan_json(const struct conversion *conversion) {
    if (!conversion->stage) return NULL;
    struct json *plan = js_new_object();
    js_set_string(plan, "path", conversion->settings->plan);
    js_set_string(plan, "sha256", conversion->plan_hash);
    js_set_integer(plan, "stage", conversion->stage);
    return plan;
}

/* What decided a ranked layer. */
static const char *metric_of(const struct plan *plan, int64_t run) {
    for (size_t i = 0; i < plan->n_signals; i++)
        if (plan->signals[i].run == run) return plan->signals[i].metric;
    return "";
}

/* Of the layers that a plan ranks and that are replaced here. */
static struct json *scores_json(const struct conversion *conversion) {
    const struct plan *plan = &conversion->plan;
    struct json *scores = js_new_array();
    for (size_t i = 0; i < plan->n_ranked; i++) {
        const struct plan_entry *entry = &plan->ranking[i];
        const struct model_config *config = conversion->job.config;
        char name[MIXER_TEXT_SIZE];
        if (config_is_attention(config, entry->layer)) continue;
        struct json *row = js_new_object();
        js_set_integer(row, "layer", entry->layer);
        js_set_string(row, "mixer", mixer_text(name, &config->layers[entry->layer].mixer));
        js_set_string(row, "metric", metric_of(plan, entry->run));
        js_set_number(row, "score", entry->score);
        if (!isnan(entry->stderr_score)) js_set_number(row, "stderr", entry->stderr_score);
        js_append(scores, row);
    }
    return scores;
}

static struct json *provenance_json(const struct conversion *conversion) {
    const struct conversion_settings *settings = conversion->settings;
    const struct convert_job *job = &conversion->job;
    struct json *object = js_new_object();
    js_set_string(object, "format", "apriel-tool/hybrid");
    js_set_integer(object, "version", 1);
    js_set_string(object, "tool_version", VERSION);
    js_set_string(object, "tool_commit", version_commit());
    js_set(object, "model", model_json(conversion->model, conversion->model_fingerprint));
    js_set(object, "from",
           conversion->from ? model_json(conversion->from, conversion->from_fingerprint) : NULL);
    js_set(object, "plan", plan_json(conversion));
    js_set(object, "replaced_layers", kinds_json(job->config));
    js_set(object, "new_layers", list_json(&job->added));
    js_set_string(object, "architecture", config_architecture(job->config));
    js_set_integer(object, "seed", (int64_t)settings->choices.seed);
    if (js_count(settings->identity)) js_set(object, "options", js_copy(settings->identity));
    struct mixer_choices choices = job->options.choices;
    if (job->added.count) mixer_choices_for(&choices, &job->options.choices, &job->mixer);
    struct json *init = job->added.count ? mixer_choices_to_json(&choices, &job->mixer) : NULL;
    if (init) calibration_describe(init, &conversion->calibration, conversion->backend);
    if (settings->library && init) {
        struct json *library = js_new_object();
        js_set_string(library, "path", settings->library);
        js_set_string(library, "digest", conversion->mixers.digest);
        js_set(object, "library", library);
        js_free(init); /* how they began is told there */
        init = NULL;
    }
    js_set(object, "init", init);
    return object;
}

/* Which layers are new, and of what kind their mixers are to be. */
static enum status choose_mixers(struct int_list *layers, const struct mixer_sizes ***kinds,
                                 const struct conversion *conversion) {
    const struct conversion_settings *settings = conversion->settings;
    const struct checkpoint *base = conversion->from ? conversion->from : conversion->model;
    const struct int_list *all = &conversion->layers;
    *layers = (struct int_list){.values = memory_calloc(all->count + 1, sizeof *layers->values)};
    *kinds = memory_calloc(all->count + 1, sizeof **kinds);
    if (!layers->values || !*kinds) return STATUS_FAILED;
    for (size_t i = 0; i < all->count; i++) {
        const struct mixer_sizes *planned = conversion->kinds ? conversion->kinds[i] : NULL;
        if (!config_is_attention(checkpoint_config(base), all->values[i])) continue;
        (*kinds)[layers->count] = planned ? planned : settings->kind;
        layers->values[layers->count++] = all->values[i];
    }
    return STATUS_OK;
}

/* The mixers of the library, and of what kind they are. */
static enum status open_library(struct conversion *out, struct convert_options *options) {
    struct library *library = NULL;
    struct int_list layers = {0};
    const struct mixer_sizes **kinds = NULL;
    enum status status = choose_mixers(&layers, &kinds, out);
    if (!status) status = library_open(&library, out->settings->library, out->model, LIBRARY_READ);
    if (!status)
        status = library_lay_out(&out->mixers, library, &layers,
                                 (const struct mixer_sizes *const *)kinds);
    if (!status && !out->kinds) {
        out->kinds = memory_calloc(out->layers.count + 1, sizeof *out->kinds);
        if (!out->kinds) status = STATUS_FAILED;
    }
    for (size_t i = 0; !status && i < out->layers.count; i++) {
        const struct checkpoint_placed *placed =
            library_layout_find(&out->mixers, out->layers.values[i]);
        if (placed) out->kinds[i] = &placed->sizes;
    }
    /* Sizes that options would have to say are the mixers' own. */
    if (!status && out->mixers.count) {
        options->choices = (struct mixer_choices){.sizes.kind = out->mixers.placed[0].sizes.kind};
        mixer_choices_for(&options->choices, &out->settings->choices, &out->mixers.placed[0].sizes);
        options->choices.sizes = out->mixers.placed[0].sizes;
    }
    options->library = &out->mixers;
    options->kinds = (const struct mixer_sizes *const *)out->kinds;
    library_close(library);
    list_free(&layers);
    free(kinds);
    return status;
}

enum status conversion_open(struct conversion *out, const struct conversion_settings *settings) {
    *out = (struct conversion){.settings = settings};
    threads_settle();
    enum status status = open_inputs(out);
    if (status) return status;
    struct convert_options options = {.base = out->from ? out->from : out->model,
                                      .layers = out->layers,
                                      .kinds = (const struct mixer_sizes *const *)out->kinds,
                                      .choices = settings->choices,
                                      .max_shard_bytes = settings->max_shard_bytes};
    if (settings->library) status = open_library(out, &options);
    if (!status) status = choose_format(&options.format, settings->format, &options);
    if (!status) status = convert_prepare(&out->job, &options);
    if (!status && settings->choices.data.path && out->job.added.count) {
        status = calibration_open(&out->calibration, &settings->choices.data, NULL, 0);
        if (!status) status = backend_open(&out->backend, settings->device);
    }
    if (status) return status;
    out->job.options.scores = out->scores = scores_json(out);
    out->provenance = provenance_json(out);
    return out->provenance ? STATUS_OK : STATUS_FAILED;
}

/* Before there were other kinds a hybrid listed its "mamba_layers". */
static void rename_layers(struct json *there, const struct conversion *conversion) {
    struct json *layers = list_json(&conversion->layers);
    char *differs = NULL;
    if (js_member(there, "mamba_layers") &&
        js_difference(&differs, js_member(there, "mamba_layers"), layers, NULL) == STATUS_OK &&
        !differs) {
        js_remove(there, "mamba_layers");
        js_set(there, "replaced_layers",
               js_copy(js_member(conversion->provenance, "replaced_layers")));
    }
    free(differs);
    js_free(layers);
}

enum status conversion_compare(char **differs, const struct conversion *conversion) {
    static const char *const ignored[] = {"tool_version", "tool_commit", "path", NULL};
    struct json *there = NULL;
    char *path = file_join(conversion->settings->output, "apriel-tool.json");
    enum status status = path ? js_read_names(&there, path) : STATUS_FAILED;
    if (!status) rename_layers(there, conversion);
    if (!status) status = js_difference(differs, there, conversion->provenance, ignored);
    js_free(there);
    free(path);
    return status;
}

void conversion_warn(const struct conversion *conversion) {
    const char *remark;
    bool warns;
    for (size_t i = 0; (remark = convert_remark(&warns, &conversion->job, i)); i++)
        if (warns) log_warn("%s", remark);
}

/* On the model that the new mixers are put into. */
static enum status calibrate(struct conversion *conversion) {
    const struct conversion_settings *settings = conversion->settings;
    struct convert_options *options = &conversion->job.options;
    struct model *model = NULL;
    enum status status =
        convert_list_fits(&conversion->fits, &conversion->n_fits, &conversion->job);
    if (status || !conversion->n_fits) return status;
    status =
        model_open(&model, conversion->backend, settings->from ? settings->from : settings->model,
                   settings->from ? NULL : &settings->checkpoint);
    if (!status)
        status =
            calibration_run(conversion->fits, conversion->n_fits, model, &conversion->calibration);
    model_close(model);
    options->fits = conversion->fits;
    options->n_fits = conversion->n_fits;
    return status;
}

enum status conversion_write(struct conversion *conversion) {
    const struct conversion_settings *settings = conversion->settings;
    enum status status = conversion->calibration.set ? calibrate(conversion) : STATUS_OK;
    if (status) return status;
    return convert_write(&conversion->job, settings->output, conversion->provenance,
                         settings->model);
}

void conversion_close(struct conversion *conversion) {
    js_free(conversion->provenance);
    js_free(conversion->scores);
    convert_free(&conversion->job);
    calibration_tasks_free(conversion->fits, conversion->n_fits);
    calibration_close(&conversion->calibration);
    if (conversion->backend) conversion->backend->close(conversion->backend);
    checkpoint_close(conversion->model);
    checkpoint_close(conversion->from);
    plan_free(&conversion->plan);
    list_free(&conversion->layers);
    free(conversion->kinds);
    library_layout_free(&conversion->mixers);
}
