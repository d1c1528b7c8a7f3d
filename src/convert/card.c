/* The model card of a hybrid: README.md, for people and for the hub's programs, and the licence
 * files of what it was made from. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/quote.h"
#include "convert/card.h"
#include "convert/convert_internal.h"
#include "mixers/sizes.h"

/* ---- licences */

static bool is_licence(const char *name) {
    static const char *const stems[] = {"LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY"};
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++)
        if (strncasecmp(name, stems[i], strlen(stems[i])) == 0) return true;
    return false;
}

static int is_licence_entry(const struct dirent *entry) {
    return is_licence(entry->d_name);
}

/* Copies them; `names` lists what there was, for the card. */
static enum status copy_licences(struct text *names, const char *to, const char *from) {
    struct dirent **entries = NULL;
    enum status status = STATUS_OK;
    int count = scandir(from, &entries, is_licence_entry, alphasort);
    if (count < 0) return status_fail("cannot read \"%s\": %s", from, strerror(errno));
    for (int i = 0; i < count; i++) {
        char *source = file_join(from, entries[i]->d_name);
        char *target = file_join(to, entries[i]->d_name);
        if (!source || !target) status = STATUS_FAILED;
        if (!status && file_exists(source)) {
            status = file_copy(target, source);
            text_append(names, "%s`", names->length ? ", " : "");
            quote_xml(names, entries[i]->d_name);
            text_append(names, "`");
        }
        free(source);
        free(target);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* `*out` is the line "license: …" at the top of another card, which the caller frees; NULL: there
 * is none. */
static enum status licence_of_card(char **out, const char *directory) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    char *path = file_join(directory, "README.md"), *text = NULL;
    size_t size = 0;
    enum status status = path ? STATUS_OK : STATUS_FAILED;
    *out = NULL;
    if (!status && file_exists(path)) status = file_read(&text, &size, path);
    char *end = text && strncmp(text, "---\n", 4) == 0 ? strstr(text + 4, "\n---") : NULL;
    if (end) *end = 0;
    char *line = end ? strstr(text, "\nlicense: ") : NULL;
    if (line) line += strlen("\nlicense: ");
    size_t length = line ? strspn(line, allowed) : 0;
    if (length && !(*out = memory_copy_bytes(line, length))) status = STATUS_FAILED;
    free(path);
    free(text);
    return status;
}

/* ---- words */

/* "org/name" of a directory in the hub's cache (models--org--name/snapshots/…), else its own name.
 * The caller frees. */
static char *name_of_model(const char *directory) {
    static const char mark[] = "models--";
    const char *at = strstr(directory, mark);
    const char *middle = at ? strstr(at + strlen(mark), "--") : NULL;
    const char *end = at ? strchr(at, '/') : NULL;
    if (!middle || !end || middle > end) return memory_copy_string(file_name(directory));
    at += strlen(mark);
    return text_format("%.*s/%.*s", (int)(middle - at), at, (int)(end - middle - 2), middle + 2);
}

/* What distillation makes untrue. */
static const char untrained[] = " and **not trained yet**",
                  trained[] = ", then trained by `apriel-tool distill`";

static const struct json *model_of(const struct json *provenance) {
    return js_member(provenance, "model");
}

/* Runs of layers with the same mixer. */
static void append_layout(struct text *text, const struct model_config *config) {
    text_append(text, "## Layout\n\n| layers | mixer |\n| --- | --- |\n");
    for (int first = 0, end; first < config->n_layers; first = end) {
        const struct mixer_sizes *mixer = &config->layers[first].mixer;
        char name[MIXER_TEXT_SIZE];
        for (end = first + 1; end < config->n_layers; end++)
            if (!mixer_same(&config->layers[end].mixer, mixer)) break;
        text_append(text, "| %d", first);
        if (end - first > 1) text_append(text, " to %d", end - 1);
        text_append(text, " | %s |\n", mixer_text(name, mixer));
    }
    text_append(text, "\n");
}

static void append_origin(struct text *text, const struct convert_job *job,
                          const struct json *provenance) {
    const struct json *model = model_of(provenance), *from = js_member(provenance, "from");
    char *layers = list_format(job->added.values, job->added.count);
    text_append(text, "## How it was made\n\nBy `apriel-tool convert` (version %s) from a %s",
                js_string_or(js_member(provenance, "tool_version"), ""),
                js_string_or(js_member(model, "architecture"), "transformer"));
    text_append(text, " with fingerprint `%s`", js_string_or(js_member(model, "fingerprint"), ""));
    if (js_is_object(from))
        text_append(text, ", on top of an earlier hybrid with fingerprint `%s`",
                    js_string_or(js_member(from, "fingerprint"), ""));
    if (layers && *layers)
        text_append(text, ". New mixers, initialised from the attention weights%s: layers %s",
                    untrained, layers);
    text_append(text, ". All other weights are copied. `apriel-tool.json` has every setting.\n\n");
    free(layers);
}

static void append_needs(struct text *text, const struct convert_job *job) {
    static const char *const needs[FORMAT_COUNT] = {
        [FORMAT_GRANITE_HYBRID] = "transformers 5.23 or later, without custom code",
        [FORMAT_QWEN35] = "transformers 5.23 or later, without custom code",
        [FORMAT_NATIVE] = "transformers 5 or later, without custom code",
        [FORMAT_APRIEL_H1] = "transformers with `trust_remote_code=True`",
        [FORMAT_APRIEL2] = "transformers with `trust_remote_code=True`",
    };
    const char *remark;
    bool warns, attends = config_any_attends(job->config);
    text_append(text, "## Use\n\nNeeds %s.\n\n", needs[job->options.format]);
    text_append(text, "    from transformers import AutoModelForCausalLM\n"
                      "    model = AutoModelForCausalLM.from_pretrained(\".\"");
    if (job->options.format >= FORMAT_APRIEL_H1) text_append(text, ", trust_remote_code=True");
    text_append(text, ", dtype=\"auto\"");
    if (!attends) text_append(text, ")\n    model.config.use_cache = False");
    text_append(text, "%s\n\n", attends ? ")" : "");
    for (size_t i = 0; (remark = convert_remark(&warns, job, i)); i++)
        text_append(text, "- %s%s.\n", warns ? "**Mind**: " : "", remark);
    text_append(text, "\n");
}

static void append_scores(struct text *text, const struct json *scores) {
    if (!js_count(scores)) return;
    text_append(text, "## Scores of the replaced layers\n\nBefore they were replaced, each alone: "
                      "what the plan ordered them by.\n\n| layer | mixer | metric | score | "
                      "standard error |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < js_count(scores); i++) {
        const struct json *row = js_element(scores, i);
        double error = js_number_or(js_member(row, "stderr"), -1);
        text_append(text, "| %lld | %s | %s | %.6g | ",
                    (long long)js_integer_or(js_member(row, "layer"), 0),
                    js_string_or(js_member(row, "mixer"), ""),
                    js_string_or(js_member(row, "metric"), ""),
                    js_number_or(js_member(row, "score"), 0));
        text_append(text, error < 0 ? "|\n" : "%.2g |\n", error);
    }
    text_append(text, "\n");
}

/* What the hub's programs read. */
static void append_head(struct text *text, const char *base, const char *licence) {
    text_append(text,
                "---\nlibrary_name: transformers\npipeline_tag: text-generation\nbase_model: ");
    quote_yaml(text, base);
    if (licence) text_append(text, "\nlicense: %s", licence);
    text_append(text, "\ntags:\n- hybrid\n- apriel-tool\n---\n\n");
}

enum status card_write(const char *directory, const struct convert_job *job,
                       const struct json *provenance, const char *model) {
    struct text text = {0}, licences = {0};
    char *base = name_of_model(model), *licence = NULL, *names = NULL;
    char *all = NULL, *path = file_join(directory, "README.md");
    int replaced = job->config->n_layers - config_attention_layers(job->config);
    enum status status = base && path ? licence_of_card(&licence, model) : STATUS_FAILED;
    if (!status) status = copy_licences(&licences, directory, model);
    if (status) goto done;
    names = licences.length ? text_finish(&licences) : NULL;
    append_head(&text, base, licence);
    text_append(&text, "# A hybrid of ");
    quote_xml(&text, base);
    text_append(&text, "\n\n%d of %d layers have another mixer than attention; %s.\n\n", replaced,
                job->config->n_layers, config_architecture(job->config));
    text_append(&text, "The base model's licence applies: %s.\n\n",
                names ? names : "its directory has no licence file, see where it comes from");
    append_layout(&text, job->config);
    append_needs(&text, job);
    append_origin(&text, job, provenance);
    append_scores(&text, job->options.scores);
    all = text_finish(&text);
    status = all ? output_write(path, all, strlen(all) - 1, OUTPUT_REPLACE) : STATUS_FAILED;
done:
    text_free(&text);
    text_free(&licences);
    free(base);
    free(licence);
    free(names);
    free(all);
    free(path);
    return status;
}

enum status card_pass_on(const char *to, const char *from) {
    struct text card = {0}, licences = {0};
    char *source = file_join(from, "README.md"), *target = file_join(to, "README.md");
    char *text = NULL, *all = NULL;
    size_t size = 0;
    enum status status = source && target ? copy_licences(&licences, to, from) : STATUS_FAILED;
    if (status || !file_exists(source)) goto done;
    status = file_read(&text, &size, source);
    if (status) goto done;
    const char *rest = strstr(text, untrained);
    if (rest) {
        text_append_bytes(&card, text, (size_t)(rest - text));
        text_append(&card, "%s", trained);
        rest += strlen(untrained);
    }
    text_append(&card, "%s", rest ? rest : text);
    all = text_finish(&card);
    status = all ? output_write(target, all, strlen(all), OUTPUT_REPLACE) : STATUS_FAILED;
done:
    text_free(&card);
    text_free(&licences);
    free(source);
    free(target);
    free(text);
    free(all);
    return status;
}
