#include "mixers/choices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "mixers/sizes.h"

enum { PUBLISHED, IMPROVED };

/* ---- by options */

static const char *const init_words[] = {"published", "improved"};

/* STATUS_USAGE names the option. */
static enum status choose(int *out, const char *word, const char *option,
                          const char *const words[2]) {
    for (int i = 0; i < 2; i++)
        if (strcmp(word, words[i]) == 0) {
            *out = i;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "--%s must be %s or %s, not \"%s\"", option, words[0], words[1],
                      word);
}

static void set_init(struct mixer_choices *choices, int init) {
    const struct mixer_kind *kind = choices->sizes.kind;
    for (int i = 0; i < kind->n_choices; i++)
        if (kind->choices[i].of_init) choices->word[i] = init;
}

static void set_usual(struct mixer_choices *out) {
    const struct mixer_kind *kind = out->sizes.kind;
    for (int i = 0; i < kind->n_choices; i++)
        out->word[i] =
            out->data.path && kind->choices[i].usual_of_data ? 1 : kind->choices[i].usual;
    set_init(out, IMPROVED);
}

enum status mixer_choices_begin(struct mixer_choices *out, const char *text) {
    *out = (struct mixer_choices){.sizes.kind = mixer_kinds[1]};
    enum status status = text ? mixer_from_text(&out->sizes, text, "--kind") : STATUS_OK;
    if (status) return status;
    if (mixer_is_attention(&out->sizes))
        return status_set(STATUS_USAGE, "--kind: \"%s\" is what other mixers replace", text);
    set_usual(out);
    return STATUS_OK;
}

void mixer_choices_for(struct mixer_choices *out, const struct mixer_choices *choices,
                       const struct mixer_sizes *kind) {
    int parameter = kind->kind->parameter;
    *out = *choices;
    if (choices->sizes.kind == kind->kind &&
        (parameter < 0 || choices->sizes.value[parameter] == kind->value[parameter]))
        return;
    *out = (struct mixer_choices){
        .sizes = {.kind = kind->kind}, .data = choices->data, .seed = choices->seed};
    if (parameter >= 0) out->sizes.value[parameter] = kind->value[parameter];
    set_usual(out);
}

/* "0.01,0.3" */
static enum status parse_range(struct mixer_choices *choices, int index, const char *text) {
    const struct choice_row *row = &choices->sizes.kind->choices[index];
    char *comma, *end = NULL;
    double low = strtod(text, &comma), high = 0;
    bool good = comma != text && *comma == ',';
    if (good) high = strtod(comma + 1, &end);
    if (!good || end == comma + 1 || *end || !(low >= row->least) || !(high >= low) ||
        !(high <= row->most))
        return status_set(STATUS_USAGE,
                          "--%s must be two numbers from %g to %g like %g,%g, not \"%s\"",
                          row->option, row->least, row->most, row->low, row->high, text);
    choices->low[index] = low;
    choices->high[index] = high;
    return STATUS_OK;
}

static int find_choice(const struct mixer_kind *kind, const char *option) {
    for (int i = 0; i < kind->n_choices; i++)
        if (strcmp(kind->choices[i].option, option) == 0) return i;
    return -1;
}

static int find_size(const struct mixer_kind *kind, const char *option) {
    for (int i = 0; i < kind->n_sizes; i++)
        if (kind->sizes[i].option && strcmp(kind->sizes[i].option, option) == 0) return i;
    return -1;
}

static bool has_init(const struct mixer_kind *kind) {
    for (int i = 0; i < kind->n_choices; i++)
        if (kind->choices[i].of_init) return true;
    return false;
}

/* Whether anything of a kind can be fitted to data. */
static bool has_fit(const struct mixer_kind *kind) {
    return kind->fitting != NULL;
}

bool mixer_has_option(const struct mixer_kind *kind, const char *option) {
    if (strcmp(option, MIXER_CALIBRATE) == 0 || strcmp(option, MIXER_CALIBRATE_TOKENS) == 0)
        return has_fit(kind);
    if (strcmp(option, MIXER_INIT) == 0) return has_init(kind);
    return find_choice(kind, option) >= 0 || find_size(kind, option) >= 0;
}

static enum status no_option(const struct mixer_kind *kind, const char *option) {
    return status_set(STATUS_USAGE, "--%s says nothing about %s", option, kind->plural);
}

enum status mixer_choices_calibrate(struct mixer_choices *choices, const struct mixer_data *data) {
    if (!has_fit(choices->sizes.kind)) return no_option(choices->sizes.kind, MIXER_CALIBRATE);
    choices->data = *data;
    set_usual(choices);
    return STATUS_OK;
}

enum status mixer_choices_check(const struct mixer_choices *choices) {
    const struct mixer_kind *kind = choices->sizes.kind;
    for (int i = 0; i < kind->n_choices && !choices->data.path; i++) {
        const struct choice_row *row = &kind->choices[i];
        if (row->needs_data && choices->word[i])
            return status_set(STATUS_USAGE,
                              "--%s%s%s needs data: give --" MIXER_CALIBRATE " FILE.h5",
                              row->option, row->flag ? "" : " ", row->flag ? "" : row->words[1]);
    }
    return STATUS_OK;
}

bool mixer_choices_fits(const struct mixer_choices *choices) {
    const struct mixer_kind *kind = choices->sizes.kind;
    bool fits = false;
    for (int i = 0; i < kind->n_choices; i++)
        fits = fits || (kind->choices[i].needs_data && choices->word[i]);
    return fits;
}

void mixer_choices_forget_data(struct mixer_choices *choices) {
    const struct mixer_kind *kind = choices->sizes.kind;
    for (int i = 0; i < kind->n_choices; i++)
        if (kind->choices[i].needs_data) choices->word[i] = 0;
    choices->data = (struct mixer_data){0};
    choices->fit = NULL;
}

enum status mixer_choices_set(struct mixer_choices *choices, const char *option, const char *word) {
    const struct mixer_kind *kind = choices->sizes.kind;
    if (!mixer_has_option(kind, option)) return no_option(kind, option);
    if (strcmp(option, MIXER_INIT) == 0) {
        int init = IMPROVED;
        enum status status = choose(&init, word, option, init_words);
        if (!status) set_init(choices, init);
        return status;
    }
    int index = find_choice(kind, option);
    const struct choice_row *row = &kind->choices[index];
    if (!row->words[0]) return parse_range(choices, index, word);
    return choose(&choices->word[index], word, option, row->words);
}

enum status mixer_choices_flag(struct mixer_choices *choices, const char *option) {
    const struct mixer_kind *kind = choices->sizes.kind;
    int index = find_choice(kind, option);
    if (index < 0) return no_option(kind, option);
    choices->word[index] = 1;
    return STATUS_OK;
}

enum status mixer_choices_size(struct mixer_choices *choices, const char *option, int64_t value) {
    int index = find_size(choices->sizes.kind, option);
    if (index < 0) return no_option(choices->sizes.kind, option);
    choices->sizes.value[index] = value;
    return STATUS_OK;
}

void mixer_choices_range(double *low, double *high, const struct mixer_choices *choices, int row) {
    const struct choice_row *about = &choices->sizes.kind->choices[row];
    *low = choices->low[row] > 0 ? choices->low[row] : about->low;
    *high = choices->high[row] > 0 ? choices->high[row] : about->high;
}

/* ---- in JSON and for people */

static void set_choice(struct json *object, const struct mixer_choices *choices, int index) {
    const struct choice_row *row = &choices->sizes.kind->choices[index];
    if (row->words[0]) {
        if (!row->quiet || choices->word[index] != row->usual)
            js_set_string(object, row->name, row->words[choices->word[index]]);
    } else if (choices->low[index] > 0) {
        js_set_number(object, row->low_name, choices->low[index]);
        js_set_number(object, row->high_name, choices->high[index]);
    }
}

static bool is_said(const struct mixer_sizes *sizes, int index) {
    const struct size_row *row = &sizes->kind->sizes[index];
    return row->option && !(row->like && sizes->value[index] == sizes->value[row->like - 1]);
}

struct json *mixer_choices_to_json(const struct mixer_choices *choices,
                                   const struct mixer_sizes *sizes) {
    const struct mixer_kind *kind = sizes->kind;
    struct json *object = js_new_object();
    char text[MIXER_TEXT_SIZE];
    /* Runs of before there were several kinds have parameters without one. */
    if (!kind->former) js_set_string(object, "kind", mixer_text(text, sizes));
    for (int i = 0; i < kind->n_choices; i++) set_choice(object, choices, i);
    for (int i = 0; i < kind->n_sizes; i++)
        if (is_said(sizes, i)) mixer_sizes_set(object, sizes, i);
    return object;
}

void mixer_choices_append(struct text *text, const struct mixer_choices *choices) {
    const struct mixer_kind *kind = choices->sizes.kind;
    bool first = true;
    for (int i = 0; i < kind->n_choices; i++) {
        const struct choice_row *row = &kind->choices[i];
        if (!row->of_init) continue;
        text_append(text, "%s %s %s", first ? ";" : ",", row->option, row->words[choices->word[i]]);
        first = false;
    }
}

static bool is_usual_of(const struct mixer_kind *kind, const char *key, const struct json *value,
                        const struct mixer_host *host) {
    for (int i = 0; i < kind->n_choices; i++) {
        const struct choice_row *row = &kind->choices[i];
        int usual = row->of_init ? IMPROVED : row->usual;
        if (strcmp(row->name, key) == 0 && row->words[0])
            return strcmp(js_string_or(value, ""), row->words[usual]) == 0;
    }
    for (int i = 0; i < kind->n_sizes; i++) {
        const struct size_row *row = &kind->sizes[i];
        if (row->option && strcmp(row->name, key) == 0)
            return row->otherwise && js_is_number(value) &&
                   js_number_or(value, NAN) == (double)row->otherwise(host);
    }
    return false;
}

bool mixer_choice_is_usual(const char *key, const struct json *value,
                           const struct mixer_host *host) {
    for (int i = 1; mixer_kinds[i]; i++)
        if (is_usual_of(mixer_kinds[i], key, value, host)) return true;
    return false;
}

/* ---- values */

void mixer_freeze(struct mixer *mixer, const struct mixer_choices *choices) {
    const struct mixer_kind *kind = mixer->sizes.kind;
    for (int w = 0; w < kind->n_weights; w++)
        mixer->frozen[w] = kind->frozen && kind->frozen(choices, w);
}

bool mixer_trains(const struct mixer_choices *choices) {
    const struct mixer_kind *kind = choices->sizes.kind;
    bool trains = false;
    for (int w = 0; w < kind->n_weights; w++)
        trains = trains || !kind->frozen || !kind->frozen(choices, w);
    return trains;
}

bool mixer_is_copy(const struct mixer_kind *kind) {
    return kind->tensors == mixer_kinds[0]->tensors;
}

enum status mixer_init(float *out, int tensor, const struct mixer_sizes *sizes,
                       const struct mixer_choices *choices, const struct attention_source *source) {
    const struct mixer_kind *kind = sizes->kind;
    if (!choices->fit && mixer_choices_fits(choices))
        return status_fail("layer %d: a new %s was not fitted to data", source->layer,
                           kind->singular);
    if (!mixer_is_copy(kind)) return kind->init(out, tensor, sizes, choices, source);
    struct tensor_shape shape = mixer_tensor_shape(sizes, source->host, tensor);
    return source->read(source->context, tensor, 0, tensor_shape_count(&shape), out);
}

enum status mixer_make_weight(struct mixer *mixer, struct backend *backend,
                              const struct mixer_choices *choices,
                              const struct attention_source *source, int weight) {
    const struct mixer_kind *kind = mixer->sizes.kind;
    struct weight_shape shape = mixer_weight_shape(&mixer->sizes, source->host, weight);
    if (!shape.count) return STATUS_OK;
    float *values = memory_calloc((size_t)shape.count, sizeof *values), *to = values;
    enum status status = values ? STATUS_OK : STATUS_FAILED;
    for (int t = 0; !status && t < kind->n_tensors; t++) {
        if (kind->tensors[t].weight != weight) continue;
        struct tensor_shape part = mixer_tensor_shape(&mixer->sizes, source->host, t);
        if (part.present) status = mixer_init(to, t, &mixer->sizes, choices, source);
        to += tensor_shape_count(&part);
    }
    if (!status) mixer_set(mixer, backend, source->host, weight, values);
    free(values);
    return status;
}

char *mixer_origin(int tensor, const struct mixer_sizes *sizes, const struct mixer_choices *choices,
                   const struct attention_source *source) {
    const struct mixer_kind *kind = sizes->kind;
    if (!mixer_is_copy(kind)) return kind->origin(tensor, sizes, choices, source);
    const char *name = source->name(source->context, tensor);
    return memory_copy_string(name ? name : "zeros");
}
