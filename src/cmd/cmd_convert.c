#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "base/version.h"
#include "cli/document.h"
#include "cli/mixer_option.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cmd/commands.h"
#include "convert/convert.h"
#include "plan/plan.h"

/* What the command line says. */
struct settings {
    const char *model, *plan, *layers, *from, *output, *format;
    int64_t stage, seed, random_weights;
    uint64_t max_shard;
    struct mixer_values mixer;
    bool dry_run;
    const struct json *identity; /* options that the hybrid's provenance records as they are */
};

/* What the command opens. */
struct inputs {
    struct checkpoint *model;
    struct checkpoint *from; /* NULL: the model itself is the base */
    struct plan plan;
    bool has_plan;
    int stage; /* of the plan, from 1 */
    char model_fingerprint[SHA256_HEX_SIZE], from_fingerprint[SHA256_HEX_SIZE];
    char plan_hash[SHA256_HEX_SIZE];
    struct int_list layers;
};

static void close_inputs(struct inputs *inputs) {
    checkpoint_close(inputs->model);
    checkpoint_close(inputs->from);
    plan_free(&inputs->plan);
    list_free(&inputs->layers);
}

/* The layers of the chosen stage of a plan that was made for this model. */
static enum status layers_of_plan(struct inputs *inputs, const struct settings *settings) {
    const struct plan_stage *stage;
    enum status status = plan_read(&inputs->plan, settings->plan);
    if (status) return status;
    inputs->has_plan = true;
    status = plan_check_model(&inputs->plan, settings->plan, inputs->model);
    if (!status)
        status = plan_find_stage(&stage, &inputs->plan, (int)settings->stage, settings->plan);
    if (!status) status = sha256_file(inputs->plan_hash, settings->plan);
    if (status) return status;
    inputs->stage = (int)(stage - inputs->plan.stages) + 1;
    inputs->layers.values = memory_calloc(stage->layers.count, sizeof *inputs->layers.values);
    if (!inputs->layers.values) return STATUS_FAILED;
    inputs->layers.count = stage->layers.count;
    memcpy(inputs->layers.values, stage->layers.values, stage->layers.count * sizeof(int));
    return STATUS_OK;
}

static enum status open_inputs(struct inputs *inputs, const struct settings *settings) {
    struct checkpoint_options how = {.random_weights = settings->random_weights >= 0,
                                     .seed = (uint64_t)settings->random_weights};
    enum status status = checkpoint_open(&inputs->model, settings->model, &how);
    if (!status) status = checkpoint_fingerprint(inputs->model, inputs->model_fingerprint);
    if (!status && settings->from) {
        status = checkpoint_open(&inputs->from, settings->from, NULL);
        if (!status) status = checkpoint_check_hybrid(inputs->from, inputs->model);
        if (!status) status = checkpoint_fingerprint(inputs->from, inputs->from_fingerprint);
    }
    if (status) return status;
    if (settings->plan) return layers_of_plan(inputs, settings);
    int last = checkpoint_config(inputs->model)->n_layers - 1;
    return list_parse(&inputs->layers, settings->layers, 0, last, "--layers");
}

static struct json *list_json(const struct int_list *list) {
    struct json *array = js_new_array();
    for (size_t i = 0; i < list->count; i++) js_append(array, js_new_integer(list->values[i]));
    return array;
}

static struct json *model_json(const struct checkpoint *checkpoint, const char *fingerprint) {
    struct json *object = js_new_object();
    js_set_string(object, "path", checkpoint_directory(checkpoint));
    js_set_string(object, "architecture", config_architecture(checkpoint_config(checkpoint)));
    js_set_string(object, "fingerprint", fingerprint);
    js_set_integer(object, "fingerprint_kind", CHECKPOINT_FINGERPRINT);
    return object;
}

/* Everything needed to make the same checkpoint again. */
static struct json *provenance_json(const struct inputs *inputs, const struct settings *settings,
                                    const struct convert_job *job) {
    struct json *object = js_new_object();
    js_set_string(object, "format", "apriel-tool/hybrid");
    js_set_integer(object, "version", 1);
    js_set_string(object, "tool_version", VERSION);
    js_set_string(object, "tool_commit", version_commit());
    js_set(object, "model", model_json(inputs->model, inputs->model_fingerprint));
    js_set(object, "from",
           inputs->from ? model_json(inputs->from, inputs->from_fingerprint) : NULL);
    struct json *plan = NULL;
    if (inputs->has_plan) {
        plan = js_new_object();
        js_set_string(plan, "path", settings->plan);
        js_set_string(plan, "sha256", inputs->plan_hash);
        js_set_integer(plan, "stage", inputs->stage);
    }
    js_set(object, "plan", plan);
    js_set(object, "mamba_layers", list_json(&inputs->layers));
    js_set(object, "new_layers", list_json(&job->added));
    js_set_string(object, "architecture", config_architecture(job->config));
    js_set_integer(object, "seed", settings->seed);
    if (js_count(settings->identity)) js_set(object, "options", js_copy(settings->identity));
    js_set(object, "init",
           job->added.count ? mil_options_to_json(&job->options.mil, &job->mamba) : NULL);
    return object;
}

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

static enum status print_json(const struct convert_job *job, const struct settings *settings,
                              const struct json *provenance) {
    struct json *config = NULL;
    enum status status = convert_config_json(&config, job);
    if (status) return status;
    struct json *object = document_begin("convert");
    js_set_string(object, "output", settings->output);
    js_set_bool(object, "dry_run", settings->dry_run);
    js_set_integer(object, "bytes", (int64_t)job->bytes);
    js_set(object, "provenance", js_copy(provenance));
    js_set(object, "config", config);
    js_set(object, "remarks", remarks_json(job));
    if (settings->dry_run) js_set(object, "tensors", tensors_json(job));
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

static enum status print_text(const struct convert_job *job, const struct inputs *inputs,
                              const struct settings *settings) {
    char size[32];
    if (settings->dry_run) {
        enum status status = print_tensors(job);
        if (status) return status;
    }
    char *added = list_format(job->added.values, job->added.count);
    char *all = list_format(inputs->layers.values, inputs->layers.count);
    if (!added || !all) {
        free(added);
        free(all);
        return STATUS_FAILED;
    }
    quote_print(stdout, "%s %s: %s, %zu of %d layers Mamba (%s), new: %s; %s",
                settings->dry_run ? "would write" : "wrote",
                settings->output ? settings->output : "a checkpoint",
                config_architecture(job->config), inputs->layers.count, job->config->n_layers,
                *all ? all : "none", *added ? added : "none", memory_format(size, job->bytes));
    if (job->added.count) {
        const struct mamba_config *mamba = &job->mamba;
        struct json *choices = mil_options_to_json(&job->options.mil, mamba);
        printf("new mixers: d_inner %d, d_xb %d, d_state %d, dt_rank %d, d_conv %d; align %s, "
               "conv-init %s, dt-bias %s, gate %s, skip %s, c-scale %s; seed %lld\n",
               mamba->d_inner, mamba->d_xb, mamba->d_state, mamba->dt_rank, mamba->d_conv,
               js_string_or(js_member(choices, "align"), ""),
               js_string_or(js_member(choices, "conv_init"), ""),
               js_string_or(js_member(choices, "dt_bias"), ""),
               js_string_or(js_member(choices, "gate"), ""),
               js_string_or(js_member(choices, "skip"), ""),
               js_string_or(js_member(choices, "c_scale"), ""), (long long)settings->seed);
        if (job->options.mil.a_init != MIL_A_S4D || job->options.mil.dt_min > 0) {
            double low, high;
            mil_dt_range(&low, &high, &job->options.mil);
            printf("new mixers: A %s, dt from %g to %g\n",
                   job->options.mil.a_init == MIL_A_ONE ? "-1" : "-1 to -N", low, high);
        }
        js_free(choices);
    }
    bool warns;
    const char *remark;
    for (size_t i = 0; (remark = convert_remark(&warns, job, i)); i++)
        if (!warns) printf("note: %s\n", remark);
    free(added);
    free(all);
    return STATUS_OK;
}

/* An explicit --format, else what the base is, else the first that can hold the model. */
static enum status choose_format(enum config_family *out, const struct settings *settings,
                                 const struct checkpoint *base) {
    if (settings->format) return convert_format_from_name(out, settings->format);
    const struct model_config *config = checkpoint_config(base);
    *out = config->family == FAMILY_APRIEL_H1 ? FAMILY_APRIEL_H1 : convert_format_for(config);
    return STATUS_OK;
}

static void print_next(const struct settings *settings) {
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

/* What says how new mixers start, when there are none. */
static enum status check_choices(const struct settings *settings, const struct convert_job *job) {
    const char *option = mixer_option_given(&settings->mixer);
    if (job->added.count || !option) return STATUS_OK;
    return status_set(STATUS_USAGE,
                      "convert: no layer gets a new mixer: there is nothing for --%s to say",
                      option);
}

static void warn(const struct convert_job *job) {
    bool warns;
    const char *remark;
    for (size_t i = 0; (remark = convert_remark(&warns, job, i)); i++)
        if (warns) log_warn("%s", remark);
}

/* Whether the directory of the output is what this command would write. */
static enum status compare_output(char **differs, const struct settings *settings,
                                  const struct json *provenance) {
    static const char *const ignored[] = {"tool_version", "tool_commit", "path", NULL};
    struct json *there = NULL;
    char *path = file_join(settings->output, "apriel-tool.json");
    enum status status = path ? js_read_names(&there, path) : STATUS_FAILED;
    if (!status) status = js_difference(differs, there, provenance, ignored);
    js_free(there);
    free(path);
    return status;
}

static enum status convert(struct command_use *use, const struct settings *settings, bool json) {
    struct inputs inputs = {0};
    struct convert_job job = {0};
    struct json *provenance = NULL;
    struct convert_options options = {.mil.seed = (uint64_t)settings->seed,
                                      .max_shard_bytes = settings->max_shard};
    enum status status = mixer_option_resolve(&options.mil, &settings->mixer);
    if (!status) status = open_inputs(&inputs, settings);
    if (status) goto done;
    options.base = inputs.from ? inputs.from : inputs.model;
    options.layers = inputs.layers;
    status = choose_format(&options.format, settings, options.base);
    if (!status) status = convert_prepare(&job, &options);
    if (!status) status = check_choices(settings, &job);
    if (status) goto done;
    provenance = provenance_json(&inputs, settings, &job);
    if (use->compare) {
        status = compare_output(&use->differs, settings, provenance);
        goto done;
    }
    warn(&job);
    if (!settings->dry_run)
        status = convert_write(&job, settings->output, provenance, settings->model);
    if (!status)
        status =
            json ? print_json(&job, settings, provenance) : print_text(&job, &inputs, settings);
    if (!status && !settings->dry_run) print_next(settings);
done:
    js_free(provenance);
    convert_free(&job);
    close_inputs(&inputs);
    return status;
}

static enum status check_usage(const struct settings *settings) {
    if (!settings->plan == !settings->layers)
        return status_set(STATUS_USAGE, "convert: give either --plan or --layers");
    if (settings->stage && !settings->plan)
        return status_set(STATUS_USAGE, "convert: --stage needs --plan");
    if (!settings->output && !settings->dry_run)
        return status_set(STATUS_USAGE, "convert: -o DIR is missing");
    return STATUS_OK;
}

enum { OWN_OPTIONS = 10 };

enum status convert_command(struct command_use *use, int argc, char **argv) {
    struct settings s = {.random_weights = -1};
    struct option options[OWN_OPTIONS + MIXER_CHOICES + MIXER_SIZES] = {
        {"plan", OPTION_STRING, &s.plan, "PLAN.json", "which layers to replace",
         .group = GROUP_FILES, .completes = "*.json", .identity = OPTION_RESOLVED},
        {"stage", OPTION_INTEGER, &s.stage, "K", "stage of the plan, from 1 (the last)", .low = 1,
         .high = 1000, .group = GROUP_FILES, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &s.layers, "LIST", "layers to be Mamba, instead of a plan",
         .group = GROUP_FILES, .identity = OPTION_RESOLVED},
        {"from", OPTION_STRING, &s.from, "HYBRID",
         "earlier hybrid of MODEL: take every weight from it, initialise new layers only",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"output", OPTION_STRING, &s.output, "DIR", "the new checkpoint; must not exist",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .letter = 'o',
         .identity = OPTION_NO_NUMBER},
        {"format", OPTION_CHOICE, &s.format, NULL,
         "whose code loads it (that of HYBRID, else the first that can hold MODEL)",
         .group = GROUP_FILES, .choices = "apriel-h1|apriel2", .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &s.seed, "N", "of the random parts of new mixers (0)",
         .high = INT64_MAX, .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"max-shard-size", OPTION_SIZE, &s.max_shard, "SIZE", "largest file of weights (5G)",
         .group = GROUP_FILES, .identity = OPTION_NO_NUMBER},
        {"random-weights", OPTION_INTEGER, &s.random_weights, "SEED",
         "make MODEL's weights up from its config.json", .high = INT64_MAX, .group = GROUP_FILES,
         .identity = OPTION_RESOLVED},
        {"dry-run", OPTION_FLAG, &s.dry_run, NULL,
         "write nothing; print what each tensor would come from", .group = GROUP_FILES,
         .identity = OPTION_NO_NUMBER},
    };
    struct command_line line = {
        .command = "convert",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --plan PLAN.json [--stage K] -o DIR [options]",
        .about =
            "Write a hybrid checkpoint: MODEL with Mamba mixers, initialised from the attention "
            "weights, in\nthe layers of a plan. Weights are copied bit for bit; the directory "
            "appears under its name\nonly when it is complete and has been read back.",
        .options = options,
        .count = sizeof options / sizeof *options,
        .epilogue =
            "example:\n  apriel-tool convert Llama-3.1-8B --plan plan.json --stage 1 -o hybrid-1",
    };
    struct command_arguments arguments;
    mixer_option_choices(options + OWN_OPTIONS, &s.mixer);
    mixer_option_sizes(options + OWN_OPTIONS + MIXER_CHOICES, &s.mixer);
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) {
        status = check_usage(&s);
        if (!status) {
            s.model = arguments.positional.values[0];
            s.identity = arguments.identity;
            status = convert(use, &s, arguments.json);
        }
    }
    options_free(&arguments, &line);
    return status;
}

enum status cmd_convert(int argc, char **argv) {
    struct command_use use = {0};
    return convert_command(&use, argc, argv);
}
