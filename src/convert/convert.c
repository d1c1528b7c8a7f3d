#include "convert/convert.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/fast_llm.h"
#include "checkpoint/writer.h"
#include "convert/convert_internal.h"
#include "mixers/attention/attention.h"
#include "model/hybrid.h"

static bool is_new(const struct convert_job *job, int layer) {
    for (size_t i = 0; i < job->added.count; i++)
        if (job->added.values[i] == layer) return true;
    return false;
}

static const char *const format_names[] = {
    [FAMILY_APRIEL_H1] = "apriel-h1", [FAMILY_APRIEL2] = "apriel2"};

const char *convert_format_name(enum config_family format) {
    return format_names[format];
}

enum status convert_format_from_name(enum config_family *out, const char *name) {
    for (int i = FAMILY_APRIEL_H1; i <= FAMILY_APRIEL2; i++)
        if (strcmp(name, format_names[i]) == 0) {
            *out = (enum config_family)i;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "--format must be apriel-h1 or apriel2, not \"%s\"", name);
}

/* Apriel-H1 has one set of sizes for each kind, Mistral's attention, and one window for all layers.
 */
static const char *apriel_h1_lacks(const struct model_config *config) {
    const struct mixer_sizes *first[MIXER_MAX_KINDS] = {NULL};
    if (config->mlp_bias) return "MLP biases";
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *mixer = &config->layers[i].mixer;
        const struct mixer_sizes **same = &first[mixer_kind_index(mixer->kind)];
        if (!mixer->kind->type[MIXER_APRIEL_H1]) return mixer->kind->plural;
        if (!*same) *same = mixer;
        if (!mixer_same(*same, mixer)) return mixer->kind->unequal;
    }
    if (!config_any_attends(config)) return NULL;
    if (config->q_bias || config->k_bias || config->v_bias || config->o_bias)
        return "attention biases";
    return config->qk_norm ? "query and key norms" : NULL;
}

static const char *apriel2_lacks(const struct model_config *config) {
    const struct mixer_kind *kind = config_kind_without(config, MIXER_APRIEL2);
    return kind ? kind->plural : NULL;
}

const char *convert_format_lacks(enum config_family format, const struct model_config *config) {
    return format == FAMILY_APRIEL_H1 ? apriel_h1_lacks(config) : apriel2_lacks(config);
}

enum config_family convert_format_for(const struct model_config *config) {
    if (config->family == FAMILY_APRIEL2) return FAMILY_APRIEL2;
    return apriel_h1_lacks(config) ? FAMILY_APRIEL2 : FAMILY_APRIEL_H1;
}

static const struct checkpoint_tensor *attention_of(const struct convert_job *job, int layer,
                                                    enum attention_tensor tensor) {
    return checkpoint_find_mixer(job->options.base, layer, &attention_kind, tensor);
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
        bool made = specs[i].row && is_new(job, specs[i].layer) &&
                    !mixer_is_copy(job->config->layers[specs[i].layer].mixer.kind);
        if (made) {
            tensor->dtype =
                hybrid_dtype(&specs[i], attention_of(job, specs[i].layer, ATTENTION_Q)->dtype);
        } else {
            tensor->source =
                checkpoint_find(job->options.base, specs[i].layer, (enum tensor_role)specs[i].role);
            tensor->dtype = tensor->source->dtype;
        }
        uint64_t bytes = dtype_size(tensor->dtype);
        for (int k = 0; k < specs[i].rank; k++) bytes *= (uint64_t)specs[i].shape[k];
        job->bytes += bytes;
    }
    free(specs);
    return status;
}

enum status convert_prepare(struct convert_job *job, const struct convert_options *options) {
    *job = (struct convert_job){.options = *options};
    struct hybrid hybrid;
    enum status status =
        hybrid_make(&hybrid, checkpoint_config(options->base), &options->layers, &options->choices,
                    options->kinds, checkpoint_directory(options->base));
    if (status) return status;
    job->config = hybrid.config;
    job->mixer = hybrid.mixer;
    job->added = hybrid.added;
    job->config->family = options->format;
    const char *lacks = convert_format_lacks(options->format, job->config);
    if (lacks)
        status = status_fail(
            "\"%s\" has %s, which %s cannot express; %s", checkpoint_directory(options->base),
            lacks, convert_format_name(options->format),
            apriel2_lacks(job->config) ? "no format does yet" : "use --format apriel2");
    if (!status) status = plan_tensors(job);
    if (status) convert_free(job);
    return status;
}

void convert_free(struct convert_job *job) {
    config_free(job->config);
    list_free(&job->added);
    free(job->tensors);
    *job = (struct convert_job){0};
}

/* The sizes of the new mixer of a layer, and what it begins with. */
static const struct mixer_sizes *new_mixer(struct mixer_choices *choices,
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
        (void)new_mixer(&task->choices, job, task->layer);
        *count += mixer_choices_fits(&task->choices);
    }
    return STATUS_OK;
}

char *convert_tensor_origin(const struct convert_job *job, const struct convert_tensor *tensor) {
    if (tensor->source) return memory_copy_string(tensor->source->name);
    struct replacement_source source;
    struct mixer_choices choices;
    const struct mixer_sizes *mixer = new_mixer(&choices, job, tensor->spec.layer);
    if (replacement_source_open(&source, job->options.base, tensor->spec.layer)) return NULL;
    return mixer_origin(tensor->spec.role - TENSOR_OF_MIXER, mixer, &choices, &source.attention);
}

const char *convert_remark(bool *warns, const struct convert_job *job, size_t index) {
    const struct model_config *config = job->config;
    const struct mixer_kind *kind = job->added.count ? job->mixer.kind : NULL;
    const struct mixer_host host = config_host(config);
    struct mixer_choices choices = job->options.choices;
    if (kind) mixer_choices_for(&choices, &job->options.choices, &job->mixer);
    const char *norms_dropped =
        kind && kind->drops ? kind->drops(DROPS_NORMS, &choices, &host) : NULL;
    const char *biases_dropped =
        kind && kind->drops ? kind->drops(DROPS_BIASES, &choices, &host) : NULL;
    bool attends = config_any_attends(config);
    bool apriel2 = config->family == FAMILY_APRIEL2;
    const struct {
        bool applies, warns;
        const char *text;
    } remarks[] = {
        {apriel2 && fast_llm_lacks(config), true,
         "neither the Apriel2 code published with Fast-LLM nor Fast-LLM itself knows this "
         "checkpoint's rope scaling: they refuse it, or compute another function"},
        {attends && apriel2 && config->rope.kind != ROPE_DEFAULT && !fast_llm_lacks(config), true,
         "the Apriel2 code published with Fast-LLM reads plain rope only; this checkpoint's rope "
         "scaling is written in Fast-LLM's terms"},
        {attends && apriel2 && config->qk_norm, true,
         "the published Apriel2 code does not apply query and key norms, and Fast-LLM's import of "
         "Apriel2 leaves them out: both compute another function from this checkpoint"},
        {apriel2 && config->mlp_bias, true,
         "the published Apriel2 code has no biases in its MLP: it leaves this checkpoint's out and "
         "computes another function (Fast-LLM reads them)"},
        {norms_dropped, false, norms_dropped},
        {biases_dropped, false, biases_dropped},
    };
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (remarks[i].applies && index-- == 0) {
            *warns = remarks[i].warns;
            return remarks[i].text;
        }
    return NULL;
}

/* The state of one writer_write. */
struct fill {
    const struct convert_job *job;
    struct progress progress;
    double done; /* bytes */
    void *block; /* [BLOCK_BYTES] */
};

enum { BLOCK_BYTES = 8 << 20 };

static enum status copy_tensor(struct fill *fill, const struct checkpoint_tensor *source,
                               struct writer *writer) {
    struct checkpoint *base = fill->job->options.base;
    size_t size = dtype_size(source->dtype);
    int64_t step = BLOCK_BYTES / (int64_t)size;
    enum status status = STATUS_OK;
    for (int64_t first = 0; first < source->count && !status; first += step) {
        int64_t count = source->count - first < step ? source->count - first : step;
        if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
        status = checkpoint_read_raw(base, source, first, count, fill->block);
        if (!status) status = writer_put(writer, fill->block, (size_t)count * size);
        checkpoint_drop_elements(base, source, first, count);
        fill->done += (double)count * (double)size;
        progress_update(&fill->progress, fill->done / 1e6);
    }
    checkpoint_drop(base, source);
    return status;
}

static enum status make_tensor(struct fill *fill, const struct convert_tensor *tensor,
                               struct writer *writer) {
    const struct convert_job *job = fill->job;
    const struct tensor_spec *spec = &tensor->spec;
    size_t count = 1, size = dtype_size(tensor->dtype), step = BLOCK_BYTES / size;
    for (int i = 0; i < spec->rank; i++) count *= (size_t)spec->shape[i];
    float *values = memory_calloc(count, sizeof *values);
    if (!values) return STATUS_FAILED;
    struct replacement_source source;
    struct mixer_choices choices;
    const struct mixer_sizes *mixer = new_mixer(&choices, job, spec->layer);
    enum status status = replacement_source_open(&source, job->options.base, spec->layer);
    if (!status)
        status =
            mixer_init(values, spec->role - TENSOR_OF_MIXER, mixer, &choices, &source.attention);
    if (spec->row->stored != 0)
        for (size_t i = 0; i < count; i++) values[i] *= (float)spec->row->stored;
    for (size_t first = 0; first < count && !status; first += step) {
        size_t n = count - first < step ? count - first : step;
        dtype_from_f32(fill->block, tensor->dtype, values + first, n);
        status = writer_put(writer, fill->block, n * size);
        fill->done += (double)(n * size);
        progress_update(&fill->progress, fill->done / 1e6);
    }
    free(values);
    return status;
}

static void drop_attention(const struct convert_job *job, int layer) {
    for (int i = 0; i < ATTENTION_TENSORS; i++) {
        const struct checkpoint_tensor *tensor = attention_of(job, layer, (enum attention_tensor)i);
        if (tensor) checkpoint_drop(job->options.base, tensor);
    }
}

static enum status fill_tensor(void *context, size_t index, struct writer *writer) {
    struct fill *fill = context;
    const struct convert_tensor *tensor = &fill->job->tensors[index];
    if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
    if (tensor->source) return copy_tensor(fill, tensor->source, writer);
    enum status status = make_tensor(fill, tensor, writer);
    drop_attention(fill->job, tensor->spec.layer);
    return status;
}

enum status convert_write_weights(const struct convert_job *job, const char *directory) {
    enum status status = STATUS_FAILED;
    struct fill fill = {.job = job, .block = memory_aligned(BLOCK_BYTES)};
    struct writer_tensor *tensors = memory_calloc(job->count, sizeof *tensors);
    if (!tensors || !fill.block) goto done;
    for (size_t i = 0; i < job->count; i++) {
        const struct tensor_spec *spec = &job->tensors[i].spec;
        memcpy(tensors[i].name, spec->name, sizeof tensors[i].name);
        memcpy(tensors[i].shape, spec->shape, sizeof tensors[i].shape);
        tensors[i].rank = spec->rank;
        tensors[i].dtype = job->tensors[i].dtype;
    }
    progress_begin(&fill.progress, "convert", "MB", (double)job->bytes / 1e6, 0);
    status = writer_write(directory, tensors, job->count, job->options.max_shard_bytes, fill_tensor,
                          &fill);
    progress_end(&fill.progress);
done:
    free(tensors);
    free(fill.block);
    return status;
}
