#include "convert/convert.h"

#include <stdlib.h>

#include "base/memory.h"
#include "convert/convert_internal.h"
#include "convert/fold.h"
#include "mixers/attention/attention.h"

static bool is_new(const struct convert_job *job, int layer) {
    for (size_t i = 0; i < job->added.count; i++)
        if (job->added.values[i] == layer) return true;
    return false;
}

static const struct checkpoint_tensor *attention_of(const struct convert_job *job, int layer,
                                                    enum attention_tensor tensor) {
    return checkpoint_find_mixer(job->options.base, layer, &attention_kind, tensor);
}

static enum dtype attention_dtype(const struct convert_job *job, int layer) {
    const struct checkpoint_tensor *query = attention_of(job, layer, ATTENTION_Q);
    return query ? query->stored : job->config->dtype;
}

/* Where each tensor of the result comes from, and its type. */
static enum status plan_tensors(struct convert_job *job) {
    struct tensor_spec *specs;
    enum status status = tensor_spec_list(&specs, &job->count, job->config);
    if (status) return status;
    job->tensors = memory_calloc(job->count, sizeof *job->tensors);
    if (!job->tensors) status = STATUS_FAILED;
    for (size_t i = 0; i < job->count && !status; i++) {
        struct convert_tensor *tensor = &job->tensors[i];
        tensor->spec = specs[i];
        tensor->made = specs[i].row && is_new(job, specs[i].layer) &&
                       (job->options.library ||
                        !mixer_is_copy(job->config->layers[specs[i].layer].mixer.kind));
        if (!tensor->made)
            tensor->source =
                checkpoint_find(job->options.base, specs[i].layer, (enum tensor_role)specs[i].role);
        tensor->dtype = tensor->source
                            ? tensor->source->stored
                            : hybrid_dtype(&specs[i], attention_dtype(job, specs[i].layer));
        if (specs[i].row && specs[i].less_one && job->rounded_norms) tensor->dtype = DTYPE_F32;
    }
    free(specs);
    return status;
}

/* Mixers that are there already must have the sizes that the format gives them. */
static enum status check_library(const struct convert_job *job) {
    for (size_t i = 0; job->options.library && i < job->added.count; i++) {
        int layer = job->added.values[i];
        const struct checkpoint_placed *placed = library_layout_find(job->options.library, layer);
        if (!mixer_same(&placed->sizes, &job->config->layers[layer].mixer))
            return status_fail("the library's %s of layer %d has other sizes than %s needs there: "
                               "use another --format",
                               placed->sizes.kind->singular, layer,
                               format_name(job->options.format));
    }
    return STATUS_OK;
}

enum status convert_prepare(struct convert_job *job, const struct convert_options *options) {
    *job = (struct convert_job){.options = *options};
    struct hybrid hybrid;
    enum status status =
        format_hybrid(&hybrid, options->format, checkpoint_config(options->base), &options->layers,
                      &options->choices, options->kinds, checkpoint_directory(options->base));
    if (status) return status;
    job->config = hybrid.config;
    job->mixer = hybrid.mixer;
    job->added = hybrid.added;
    status = check_library(job);
    if (!status) status = fold_prepare(job);
    if (!status) status = plan_tensors(job);
    if (!status) status = convert_list_stored(job);
    if (status) convert_free(job);
    return status;
}

void convert_free(struct convert_job *job) {
    config_free(job->config);
    list_free(&job->added);
    free(job->tensors);
    free(job->stored);
    *job = (struct convert_job){0};
}

const struct mixer_sizes *convert_new_mixer(struct mixer_choices *choices,
                                            const struct convert_job *job, int layer) {
    const struct mixer_sizes *mixer = &job->config->layers[layer].mixer;
    mixer_choices_for(choices, &job->options.choices, mixer);
    choices->fit = calibration_find(job->options.fits, job->options.n_fits, layer, choices->seed);
    return mixer;
}

enum status convert_list_fits(struct calibration_task **out, size_t *count,
                              const struct convert_job *job) {
    *count = 0;
    *out = memory_calloc(job->added.count, sizeof **out);
    if (!*out) return STATUS_FAILED;
    for (size_t i = 0; i < job->added.count; i++) {
        struct calibration_task *task = &(*out)[*count];
        task->layer = job->added.values[i];
        (void)convert_new_mixer(&task->choices, job, task->layer);
        *count += mixer_choices_fits(&task->choices);
    }
    return STATUS_OK;
}

char *convert_tensor_origin(const struct convert_job *job, const struct convert_tensor *tensor) {
    if (tensor->source) return memory_copy_string(tensor->source->name);
    if (!tensor->made) return memory_copy_string("zeros");
    if (job->options.library) return memory_copy_string("the library");
    struct replacement_source source;
    struct mixer_choices choices;
    const struct mixer_sizes *mixer = convert_new_mixer(&choices, job, tensor->spec.layer);
    if (replacement_source_open(&source, job->options.base, tensor->spec.layer)) return NULL;
    return mixer_origin(tensor->spec.role - TENSOR_OF_MIXER, mixer, &choices, &source.attention);
}
