#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/quote.h"
#include "checkpoint/checkpoint.h"
#include "cli/document.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cmd/commands.h"
#include "convert/convert.h"
#include "mixers/attention/attention.h"
#include "mixers/past.h"
#include "mixers/sizes.h"
#include "model/cost.h"

enum { CONTEXT = 16384 }; /* tokens in the last column: a long reasoning answer */

/* Sizes of a model with some layers replaced. */
struct totals {
    int replaced;
    int64_t parameters[PART_COUNT], all_parameters;
    uint64_t bytes[PART_COUNT], all_bytes;
    uint64_t cache_per_token;    /* keys and values, BF16 */
    uint64_t cache_at_context;   /* for CONTEXT tokens, windows considered */
    uint64_t state_per_sequence; /* scan state in F32, convolution inputs in BF16 */
    struct mixer_sizes mixer;    /* of a new one; without a kind where there is none */
};

static void count_memory(struct totals *totals, const struct model_config *config) {
    struct cost_model cost = {.config = config, .act_bytes = 2, .acc_bytes = 4};
    struct cost_parts parts;
    cost_measure(&parts, &cost);
    totals->cache_per_token = parts.kv_per_token;
    totals->cache_at_context = cost_kv_bytes(&cost, CONTEXT);
    totals->state_per_sequence = parts.state;
}

/* A tensor's type as the checkpoint has it; new mixers take that of their layer's query weight. */
static size_t element_size(const struct checkpoint *checkpoint, const struct tensor_spec *spec) {
    const struct mixer_kind *now =
        spec->row ? checkpoint_config(checkpoint)->layers[spec->layer].mixer.kind : NULL;
    bool kept = !now || spec->part == PART_MIXER + mixer_kind_index(now);
    const struct checkpoint_tensor *there =
        checkpoint_find(checkpoint, spec->layer, (enum tensor_role)spec->role);
    if (kept && there) return dtype_size(there->stored);
    return dtype_size(hybrid_dtype(
        spec,
        checkpoint_find_mixer(checkpoint, spec->layer, &attention_kind, ATTENTION_Q)->stored));
}

static enum status count(struct totals *totals, const struct checkpoint *checkpoint,
                         const struct model_config *config) {
    struct tensor_spec *specs;
    size_t n;
    enum status status = tensor_spec_list(&specs, &n, config);
    if (status) return status;
    for (size_t i = 0; i < n; i++) {
        int64_t elements = tensor_spec_stored(&specs[i]);
        uint64_t bytes = (uint64_t)elements * element_size(checkpoint, &specs[i]);
        totals->parameters[specs[i].part] += elements;
        totals->bytes[specs[i].part] += bytes;
        totals->all_parameters += elements;
        totals->all_bytes += bytes;
    }
    count_memory(totals, config);
    free(specs);
    return STATUS_OK;
}

/* Everything that is printed, as text or JSON. */
struct report {
    struct checkpoint *checkpoint;
    const struct model_config *config;
    char fingerprint[SHA256_HEX_SIZE];
    struct mixer_choices choices; /* convert's defaults */
    struct mixer_sizes mixer;     /* a replacement's sizes */
    int replaceable;              /* attention layers */
    char reason[256]; /* why none of them can be replaced with the default sizes, or "" */
    struct totals now;
    struct totals *hybrids; /* [n_hybrids] */
    size_t n_hybrids;
};

/* The model with its first `replaced` attention layers made Mamba, as convert makes them: which
 * ones does not matter for sizes, except under sliding windows. */
static enum status count_hybrid(struct totals *totals, const struct report *report, int replaced) {
    const struct model_config *config = report->config;
    struct int_list layers = {memory_calloc((size_t)config->n_layers, sizeof(int)), 0};
    struct convert_job job = {0};
    struct hybrid hybrid = {0};
    int left = replaced;
    enum status status = layers.values ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; i < config->n_layers && !status; i++)
        if (!config_is_attention(config, i) || left-- > 0) layers.values[layers.count++] = i;
    if (!status)
        status = hybrid_make(&hybrid, config, &layers, &report->choices, NULL,
                             checkpoint_directory(report->checkpoint));
    struct convert_options options = {
        .base = report->checkpoint, .layers = layers, .choices = report->choices};
    options.format = status ? FORMAT_COUNT : format_for(hybrid.config);
    bool written = options.format != FORMAT_COUNT;
    if (!status && written) status = convert_prepare(&job, &options);
    totals->replaced = replaced;
    if (!status) status = count(totals, report->checkpoint, written ? job.config : hybrid.config);
    totals->mixer = written ? job.mixer : hybrid.mixer;
    if (written) totals->all_bytes = job.bytes; /* with what the format needs beside it */
    convert_free(&job);
    hybrid_free(&hybrid);
    list_free(&layers);
    return status;
}

/* Numbers of layers for the table: as asked for, else quarters. */
static enum status choose_counts(struct int_list *out, const char *asked, int replaceable) {
    if (asked) return list_parse(out, asked, 0, replaceable, "--layers-replaced");
    out->values = memory_calloc(5, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    for (int i = 0; i <= 4; i++) {
        int k = (replaceable * i + 2) / 4;
        if (!out->count || out->values[out->count - 1] != k) out->values[out->count++] = k;
    }
    return STATUS_OK;
}

static enum status build_report(struct report *report, const char *asked) {
    const struct model_config *config = checkpoint_config(report->checkpoint);
    struct int_list counts = {0};
    report->config = config;
    report->replaceable = config_attention_layers(config);
    enum status status = checkpoint_fingerprint(report->checkpoint, report->fingerprint);
    if (!status) status = count(&report->now, report->checkpoint, config);
    if (status) return status;
    const struct mixer_kind *kind = format_usual_kind(config, FORMAT_COUNT);
    status = mixer_choices_begin(&report->choices, kind->name);
    if (status) return status;
    if (replacement_sizes(&report->mixer, config, &report->choices))
        snprintf(report->reason, sizeof report->reason, "%s", status_message());
    if (*report->reason) return STATUS_OK;
    status = choose_counts(&counts, asked, report->replaceable);
    if (status) return status;
    report->hybrids = memory_calloc(counts.count, sizeof *report->hybrids);
    if (!report->hybrids) status = STATUS_FAILED;
    for (; report->n_hybrids < counts.count && !status; report->n_hybrids++)
        status = count_hybrid(&report->hybrids[report->n_hybrids], report,
                              counts.values[report->n_hybrids]);
    for (size_t i = 0; i < report->n_hybrids && !status; i++) /* as the format has it */
        if (report->hybrids[i].mixer.kind) report->mixer = report->hybrids[i].mixer;
    list_free(&counts);
    return status;
}

static const char *rope_name(enum rope_kind kind) {
    static const char *const names[] = {[ROPE_DEFAULT] = "default",
                                        [ROPE_LINEAR] = "linear",
                                        [ROPE_LLAMA3] = "llama3",
                                        [ROPE_YARN] = "yarn"};
    return names[kind];
}

/* "attention, window 4096": a mixer with the sizes that can be chosen. */
static void describe(char out[96], const struct mixer_sizes *mixer) {
    const struct mixer_kind *kind = mixer->kind;
    char text[MIXER_TEXT_SIZE];
    size_t used =
        (size_t)snprintf(out, 96, "%s", kind->former ? kind->former : mixer_text(text, mixer));
    for (int i = 0; i < kind->n_sizes && used < 96; i++) {
        const struct size_row *row = &kind->sizes[i];
        if (row->option || (row->block_word && mixer->value[i]))
            used +=
                (size_t)snprintf(out + used, 96 - used, ", %s %" PRId64,
                                 row->block_word ? row->block_word : row->name, mixer->value[i]);
    }
}

/* Runs of equal layers on one line each. */
static void print_layers(const struct report *report) {
    const struct model_config *config = report->config;
    puts("\nlayers");
    for (int i = 0; i < config->n_layers;) {
        char text[96], other[96], range[32];
        int end = i + 1;
        describe(text, &config->layers[i].mixer);
        for (; end < config->n_layers; end++) {
            describe(other, &config->layers[end].mixer);
            if (strcmp(text, other) != 0) break;
        }
        if (end == i + 1)
            snprintf(range, sizeof range, "%d", i);
        else
            snprintf(range, sizeof range, "%d-%d", i, end - 1);
        bool attention = config_is_attention(config, i);
        printf("  %-9s %s: %s\n", range, text,
               !attention        ? "no attention to replace"
               : *report->reason ? report->reason
                                 : "can be replaced");
        i = end;
    }
}

static void print_shape(const struct report *report) {
    const struct model_config *config = report->config;
    char size[32];
    double millions = (double)report->now.all_parameters / 1e6;
    bool large = millions >= 1000;
    quote_print(stdout, "%s: %s, %.4g %s parameters, %s%s",
                checkpoint_directory(report->checkpoint), config_architecture(config),
                large ? millions / 1000 : millions, large ? "B" : "M",
                memory_format(size, report->now.all_bytes),
                checkpoint_is_random(report->checkpoint) ? ", made-up weights" : "");
    printf("%d layers, hidden %d, MLP %d, vocabulary %d, ", config->n_layers, config->hidden_size,
           config->intermediate_size, config->vocab_size);
    printf("%d query and %d key/value heads of %d\n", config->n_heads, config->n_kv_heads,
           config->head_dim);
    printf("rope %s, theta %g; context %d; %s head", rope_name(config->rope.kind),
           config->rope.theta, config->max_position_embeddings,
           config->tie_word_embeddings ? "tied" : "separate");
    if (config->q_bias || config->k_bias || config->v_bias)
        printf("; biases on %s%s%s%s", config->q_bias ? "q" : "", config->k_bias ? "k" : "",
               config->v_bias ? "v" : "", config->o_bias ? "o" : "");
    printf("%s%s\n", config->mlp_bias ? "; MLP biases" : "",
           config->qk_norm ? "; query and key norms" : "");
    printf("fingerprint %s\n", report->fingerprint);
}

static void print_parts(const struct report *report) {
    const struct totals *now = &report->now;
    char size[32];
    printf("\n%-12s %16s %10s %7s\n", "part", "parameters", "bytes", "share");
    for (int part = 0; part < PART_COUNT; part++) {
        if (!now->parameters[part]) continue;
        printf("%-12s %16" PRId64 " %10s %6.1f%%\n", tensor_part_name(part), now->parameters[part],
               memory_format(size, now->bytes[part]),
               100 * (double)now->bytes[part] / (double)now->all_bytes);
    }
    printf("%-12s %16" PRId64 " %10s %6.1f%%\n", "all", now->all_parameters,
           memory_format(size, now->all_bytes), 100.0);
}

/* The sizes of a replacement, and what it keeps of a sequence. */
static void print_mixer(const struct report *report) {
    const struct mixer_sizes *mixer = &report->mixer;
    const struct mixer_host host = config_host(report->config);
    char state[32];
    printf("a %s here:", mixer->kind->singular);
    for (int i = 0, shown = 0; i < mixer->kind->n_sizes; i++)
        if (mixer->kind->sizes[i].inspected && mixer->kind->sizes[i].type == SIZE_WHOLE)
            printf("%s %s %" PRId64, shown++ ? "," : "", mixer->kind->sizes[i].name,
                   mixer->value[i]);
    printf("; state %s per sequence\n",
           memory_format(state, past_bytes(mixer, &host, CONTEXT, 2, 4)));
}

static void print_hybrids(const struct report *report) {
    char a[32], b[32], c[32], d[32];
    printf("\nkey/value cache: %s per token (BF16)\n",
           memory_format(a, report->now.cache_per_token));
    if (*report->reason || !report->replaceable) return;
    print_mixer(report);
    printf("\n%-10s %10s %14s %12s %16s %8s\n", "replaced", "weights", "cache / token",
           "state / seq", "memory at 16k", "saved");
    double before = (double)(report->now.cache_at_context + report->now.state_per_sequence);
    for (size_t i = 0; i < report->n_hybrids; i++) {
        const struct totals *t = &report->hybrids[i];
        uint64_t memory = t->cache_at_context + t->state_per_sequence;
        printf("%3d of %-3d %10s %14s %12s %16s %7.1f%%\n", t->replaced, report->replaceable,
               memory_format(a, t->all_bytes), memory_format(b, t->cache_per_token),
               memory_format(c, t->state_per_sequence), memory_format(d, memory),
               before > 0 ? 100 * (1 - (double)memory / before) : 0);
    }
    puts("(memory at 16k: cache and state of one sequence of 16384 tokens)");
}

/* Which formats can hold hybrids of this model, of which kinds, and why others cannot. */
static void print_formats(const struct report *report) {
    char list[FORMAT_KINDS_SIZE];
    if (*report->reason || !report->replaceable) return;
    puts("hybrids can be written as");
    for (int i = 0; i < FORMAT_COUNT; i++) {
        enum hybrid_format format = (enum hybrid_format)i;
        const char *lacks = format_lacks(format, report->config);
        printf("  %-14s  ", format_name(format));
        if (lacks)
            printf("no: it cannot express %s\n", lacks);
        else
            printf("with %s\n", format_kinds(list, format));
    }
}

static struct json *formats_json(const struct report *report) {
    struct json *formats = js_new_array();
    for (int i = 0; i < FORMAT_COUNT; i++) {
        enum hybrid_format format = (enum hybrid_format)i;
        char list[FORMAT_KINDS_SIZE];
        const char *lacks = format_lacks(format, report->config);
        struct json *entry = js_new_object();
        js_set_string(entry, "name", format_name(format));
        js_set_bool(entry, "holds_hybrids", !lacks);
        js_set_string(entry, "kinds", format_kinds(list, format));
        if (lacks) js_set_string(entry, "lacks", lacks);
        js_append(formats, entry);
    }
    return formats;
}

static struct json *totals_json(const struct totals *totals) {
    struct json *object = js_new_object(), *parts = js_new_object();
    js_set_integer(object, "replaced", totals->replaced);
    js_set_integer(object, "parameters", totals->all_parameters);
    js_set_integer(object, "bytes", (int64_t)totals->all_bytes);
    js_set_integer(object, "cache_bytes_per_token", (int64_t)totals->cache_per_token);
    js_set_integer(object, "state_bytes_per_sequence", (int64_t)totals->state_per_sequence);
    js_set_integer(object, "memory_bytes_at_16384_tokens",
                   (int64_t)(totals->cache_at_context + totals->state_per_sequence));
    for (int part = 0; part < PART_COUNT; part++) {
        if (!totals->parameters[part]) continue;
        struct json *entry = js_new_object();
        js_set_integer(entry, "parameters", totals->parameters[part]);
        js_set_integer(entry, "bytes", (int64_t)totals->bytes[part]);
        js_set(parts, tensor_part_name(part), entry);
    }
    js_set(object, "parts", parts);
    return object;
}

static struct json *mixer_json(const struct mixer_sizes *mixer) {
    struct json *object = js_new_object();
    for (int i = 0; i < mixer->kind->n_sizes; i++)
        if (mixer->kind->sizes[i].inspected) mixer_sizes_set(object, mixer, i);
    return object;
}

static struct json *layers_json(const struct report *report) {
    struct json *layers = js_new_array();
    for (int i = 0; i < report->config->n_layers; i++) {
        const struct mixer_sizes *mixer = &report->config->layers[i].mixer;
        const char *word = mixer->kind->former ? mixer->kind->former : mixer->kind->name;
        bool attention = mixer_is_attention(mixer);
        struct json *entry = js_new_object();
        js_set_integer(entry, "layer", i);
        js_set_string(entry, "mixer", word);
        if (attention && mixer->value[ATTENTION_WINDOW])
            mixer_sizes_set(entry, mixer, ATTENTION_WINDOW);
        if (!attention) js_set(entry, word, mixer_json(mixer));
        js_set_bool(entry, "replaceable", attention && !*report->reason);
        if (attention && *report->reason) js_set_string(entry, "reason", report->reason);
        js_append(layers, entry);
    }
    return layers;
}

static struct json *shape_json(const struct report *report) {
    const struct model_config *config = report->config;
    struct json *object = document_begin("inspect");
    js_set_string(object, "model", checkpoint_directory(report->checkpoint));
    js_set_string(object, "architecture", config_architecture(config));
    js_set_string(object, "fingerprint", report->fingerprint);
    js_set_bool(object, "random_weights", checkpoint_is_random(report->checkpoint));
    js_set_integer(object, "num_hidden_layers", config->n_layers);
    js_set_integer(object, "hidden_size", config->hidden_size);
    js_set_integer(object, "intermediate_size", config->intermediate_size);
    js_set_integer(object, "vocab_size", config->vocab_size);
    js_set_integer(object, "num_attention_heads", config->n_heads);
    js_set_integer(object, "num_key_value_heads", config->n_kv_heads);
    js_set_integer(object, "head_dim", config->head_dim);
    js_set_integer(object, "max_position_embeddings", config->max_position_embeddings);
    js_set_number(object, "rms_norm_eps", config->rms_norm_eps);
    js_set_string(object, "rope_type", rope_name(config->rope.kind));
    js_set_number(object, "rope_theta", config->rope.theta);
    js_set_bool(object, "tie_word_embeddings", config->tie_word_embeddings);
    return object;
}

static enum status print_json(const struct report *report) {
    struct json *object = shape_json(report);
    js_set(object, "now", totals_json(&report->now));
    js_set(object, "layers", layers_json(report));
    js_set_integer(object, "replaceable_layers", *report->reason ? 0 : report->replaceable);
    struct json *hybrids = js_new_array(), *warnings = js_new_array();
    js_set(object, "formats", formats_json(report));
    const struct mixer_kind *kind = report->mixer.kind;
    if (report->n_hybrids)
        js_set(object, kind->former ? kind->former : kind->name, mixer_json(&report->mixer));
    for (size_t i = 0; i < report->n_hybrids; i++)
        js_append(hybrids, totals_json(&report->hybrids[i]));
    js_set(object, "hybrids", hybrids);
    for (size_t i = 0; i < checkpoint_warning_count(report->checkpoint); i++)
        js_append(warnings, js_new_string(checkpoint_warning(report->checkpoint, i)));
    js_set(object, "warnings", warnings);
    return document_print(object);
}

static void print_next(const char *model) {
    struct text line;
    next_begin(&line, "data");
    next_path(&line, "--tokenizer", model);
    next_words(&line, "--seq-len 1Ki -o tokens.h5 TEXTS.jsonl");
    next_print(&line, false);
}

static enum status inspect(const char *model, int64_t seed, const char *asked, bool json) {
    struct report report = {0};
    struct checkpoint_options how = {.random_weights = seed >= 0, .seed = (uint64_t)seed};
    enum status status = checkpoint_open(&report.checkpoint, model, &how);
    if (!status) status = build_report(&report, asked);
    if (!status && json) {
        status = print_json(&report);
    } else if (!status) {
        print_shape(&report);
        print_parts(&report);
        print_layers(&report);
        print_formats(&report);
        print_hybrids(&report);
    }
    if (!status && report.replaceable && !*report.reason) print_next(model);
    free(report.hybrids);
    checkpoint_close(report.checkpoint);
    return status;
}

enum status cmd_inspect(int argc, char **argv) {
    const char *asked = NULL;
    int64_t seed = -1;
    struct option options[] = {
        {"layers-replaced", OPTION_STRING, &asked, "LIST",
         "numbers of layers for the table of hybrids (quarters)", .group = GROUP_SHOW},
        {"random-weights", OPTION_INTEGER, &seed, "SEED",
         "make the weights up: MODEL needs only a config.json", .high = INT64_MAX,
         .group = GROUP_FILES},
    };
    struct command_line line = {
        .command = "inspect",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL [options]",
        .about = "Print what a checkpoint is: its architecture and layers, which mixers can be "
                 "replaced,\nparameters and bytes by part, key/value cache per token, and what "
                 "hybrids would save.",
        .options = options,
        .count = sizeof options / sizeof *options,
        .epilogue = "example:\n  apriel-tool inspect Apriel-Nemotron-15b-Thinker --layers-replaced "
                    "25,30,40",
    };
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) {
        status = options_one_model(&arguments, &line);
        if (!status) status = inspect(arguments.positional.values[0], seed, asked, arguments.json);
    }
    options_free(&arguments, &line);
    return status;
}
