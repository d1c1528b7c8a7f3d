#include "cli/mixer_option.h"

#include <stdio.h>
#include <string.h>

#include "mixers/sizes.h"
#include "model/formats.h"

#define KIND "kind"
enum { DATA = 1, DATA_TOKENS = 2 }; /* rows, behind that of the kind */
#define EVERYTHING (ENTERS_ESTIMATE | ENTERS_FAST_LLM | ENTERS_SURGERY)

/* ---- rows */

static bool has_row(const struct option *table, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0) return true;
    return false;
}

/* The words of a choice with the usual one first, unless they follow --init. */
static const char *list_words(char out[MIXER_WORDS_SIZE], const struct choice_row *row) {
    bool turned = !row->of_init && row->usual;
    snprintf(out, MIXER_WORDS_SIZE, "%s|%s", row->words[turned], row->words[!turned]);
    return out;
}

static struct option choice_option(struct mixer_values *values, int at,
                                   const struct choice_row *row) {
    struct option option = {.name = row->option,
                            .kind = row->flag       ? OPTION_FLAG
                                    : row->words[0] ? OPTION_CHOICE
                                                    : OPTION_STRING,
                            .target =
                                row->flag ? (void *)&values->flags[at] : (void *)&values->words[at],
                            .help = row->help,
                            .group = GROUP_MIXERS,
                            .identity = OPTION_RESOLVED};
    if (option.kind == OPTION_CHOICE)
        option.choices = list_words(values->choices[at], row);
    else if (option.kind == OPTION_STRING)
        option.placeholder = "LOW,HIGH";
    return option;
}

static struct option size_option(struct mixer_values *values, int at, const struct size_row *row) {
    return (struct option){.name = row->option,
                           .kind = OPTION_COUNT,
                           .target = &values->sizes[at],
                           .placeholder = "N",
                           .help = row->help,
                           .low = row->low,
                           .high = row->high,
                           .group = GROUP_MIXERS,
                           .identity = OPTION_RESOLVED};
}

static int add_data(struct option *table, int count, struct mixer_values *values) {
    table[count] = (struct option){
        .name = MIXER_CALIBRATE,
        .kind = OPTION_STRING,
        .target = &values->words[count],
        .placeholder = "FILE.h5",
        .help = "token set on whose first rows new mixers are fitted to their attention: memories, "
                "sizes, gates",
        .group = GROUP_MIXERS,
        .completes = "*.h5",
        .identity = OPTION_RESOLVED};
    table[count + 1] = (struct option){.name = MIXER_CALIBRATE_TOKENS,
                                       .kind = OPTION_COUNT,
                                       .target = &values->sizes[count + 1],
                                       .placeholder = "N",
                                       .help = "tokens of it (4096)",
                                       .low = 16,
                                       .high = 1 << 24,
                                       .group = GROUP_MIXERS,
                                       .identity = OPTION_RESOLVED};
    return count + 2;
}

/* Rows that several kinds have are one option. */
static int add_choices(struct option *table, int count, struct mixer_values *values) {
    table[count] = (struct option){
        .name = MIXER_INIT,
        .kind = OPTION_CHOICE,
        .target = &values->words[count],
        .help = "initialisation (improved): sets the next six, each of which can be set alone",
        .choices = "published|improved",
        .group = GROUP_MIXERS,
        .identity = OPTION_RESOLVED};
    count++;
    for (int k = 1; mixer_kinds[k]; k++)
        for (int i = 0; i < mixer_kinds[k]->n_choices; i++) {
            const struct choice_row *row = &mixer_kinds[k]->choices[i];
            if (has_row(table, count, row->option)) continue;
            table[count] = choice_option(values, count, row);
            count++;
        }
    return count;
}

static int add_sizes(struct option *table, int count, struct mixer_values *values) {
    for (int k = 1; mixer_kinds[k]; k++)
        for (int i = 0; i < mixer_kinds[k]->n_sizes; i++) {
            const struct size_row *row = &mixer_kinds[k]->sizes[i];
            if (!row->option || has_row(table, count, row->option)) continue;
            table[count] = size_option(values, count, row);
            count++;
        }
    return count;
}

static int add_kind(struct option *table, struct mixer_values *values) {
    char kinds[MIXER_WORDS_SIZE - 24];
    snprintf(values->choices[0], MIXER_WORDS_SIZE, "what they are: %s (mamba2; of a Qwen3 gdn)",
             mixer_kind_list(kinds, sizeof kinds));
    table[0] = (struct option){.name = KIND,
                               .kind = OPTION_STRING,
                               .target = &values->words[0],
                               .placeholder = "KIND",
                               .help = values->choices[0],
                               .group = GROUP_MIXERS,
                               .identity = OPTION_RESOLVED};
    return 1;
}

int mixer_option_all(struct option table[MIXER_OPTIONS], struct mixer_values *values) {
    int count = add_data(table, add_kind(table, values), values);
    return add_sizes(table, add_choices(table, count, values), values);
}

int mixer_option_sizes(struct option table[MIXER_OPTIONS], struct mixer_values *values) {
    struct option all[MIXER_OPTIONS];
    int count = mixer_option_all(all, values), used = 0;
    for (int i = 0; i < count; i++)
        if (i == 0 || (all[i].kind == OPTION_COUNT && i != DATA_TOKENS)) table[used++] = all[i];
    return used;
}

/* ---- what was said */

bool mixer_option_is_given(const struct option *row) {
    if (row->kind == OPTION_COUNT) return *(const int64_t *)row->target != 0;
    if (row->kind == OPTION_FLAG) return *(const bool *)row->target;
    return *(const char *const *)row->target != NULL;
}

/* The rows over a copy of the values. */
static int rows_of(struct option *rows, struct mixer_values *copy,
                   const struct mixer_values *values) {
    *copy = *values;
    return mixer_option_all(rows, copy);
}

/* From row `first` on. */
static const char *find_given(const struct mixer_values *values, int first) {
    struct mixer_values copy;
    struct option rows[MIXER_OPTIONS];
    int count = rows_of(rows, &copy, values);
    for (int i = first; i < count; i++)
        if (mixer_option_is_given(&rows[i])) return rows[i].name;
    return NULL;
}

const char *mixer_option_given(const struct mixer_values *values) {
    return find_given(values, 0);
}

const char *mixer_option_detail(const struct mixer_values *values) {
    return find_given(values, 1);
}

const char *mixer_option_word(const struct mixer_values *values, const char *name) {
    struct mixer_values copy;
    struct option rows[MIXER_OPTIONS];
    int count = rows_of(rows, &copy, values);
    for (int i = 0; i < count; i++)
        if (strcmp(rows[i].name, name) == 0) return values->words[i];
    return NULL;
}

unsigned mixer_option_effect(const char *name) {
    if (strncmp(name, MIXER_CALIBRATE, strlen(MIXER_CALIBRATE)) == 0) return 0;
    for (int k = 1; mixer_kinds[k]; k++)
        for (int i = 0; i < mixer_kinds[k]->n_choices; i++)
            if (strcmp(mixer_kinds[k]->choices[i].option, name) == 0)
                return mixer_kinds[k]->choices[i].enters;
    return EVERYTHING;
}

/* Whether a kind has every option that was given. */
static bool has_given(const struct mixer_kind *kind, const struct option *rows, int count) {
    for (int i = 1; i < count; i++)
        if (mixer_option_is_given(&rows[i]) && !mixer_has_option(kind, rows[i].name)) return false;
    return true;
}

static const char *implied_kind(const struct option *rows, int count,
                                const struct mixer_kind *usual) {
    if (!usual) usual = mixer_kinds[1];
    if (has_given(usual, rows, count)) return usual->name;
    for (int k = 1; mixer_kinds[k]; k++)
        if (mixer_kinds[k]->parameter < 0 && has_given(mixer_kinds[k], rows, count))
            return mixer_kinds[k]->name;
    return usual->name;
}

enum status mixer_option_usual(const struct mixer_kind **out, const struct mixer_values *values,
                               const char *model, const char *hybrid, const char *format) {
    struct model_config *config = NULL;
    enum hybrid_format asked = FORMAT_COUNT;
    const char *directory = hybrid ? hybrid : model;
    *out = NULL;
    if (values->words[0] || !directory) return STATUS_OK;
    enum status status = format ? format_from_name(&asked, format) : STATUS_OK;
    if (!status) status = checkpoint_read_config(&config, directory);
    if (status) return status;
    *out = format_usual_kind(config, asked);
    config_free(config);
    return STATUS_OK;
}

/* The rows of add_data come before what they are the usual of. */
static enum status set_data(struct mixer_choices *out, const struct mixer_values *values) {
    const char *path = values->words[DATA];
    int64_t tokens = values->sizes[DATA_TOKENS];
    const struct mixer_data data = {path, tokens ? tokens : MIXER_CALIBRATE_USUAL};
    if (path) return mixer_choices_calibrate(out, &data);
    if (!tokens) return STATUS_OK;
    return status_set(STATUS_USAGE,
                      "--" MIXER_CALIBRATE_TOKENS " needs --" MIXER_CALIBRATE " FILE.h5");
}

static enum status set_row(struct mixer_choices *out, const struct option *row) {
    if (row->kind == OPTION_COUNT)
        return mixer_choices_size(out, row->name, *(const int64_t *)row->target);
    if (row->kind == OPTION_FLAG) return mixer_choices_flag(out, row->name);
    return mixer_choices_set(out, row->name, *(const char *const *)row->target);
}

enum status mixer_option_resolve(struct mixer_choices *out, const struct mixer_values *values,
                                 uint64_t seed, const struct mixer_kind *usual) {
    struct mixer_values copy;
    struct option rows[MIXER_OPTIONS];
    int count = rows_of(rows, &copy, values);
    const char *kind = values->words[0] ? values->words[0] : implied_kind(rows, count, usual);
    enum status status = mixer_choices_begin(out, kind);
    out->seed = seed;
    if (!status) status = set_data(out, values);
    for (int i = DATA_TOKENS + 1; !status && i < count; i++)
        if (mixer_option_is_given(&rows[i])) status = set_row(out, &rows[i]);
    return status ? status : mixer_choices_check(out);
}

/* One kind of a list, with those of the options that it has, which are noted in `used`. */
static enum status resolve_one(struct mixer_choices *out, const char *kind, uint64_t seed,
                               const struct mixer_values *values, const struct option *rows,
                               int count, bool *used) {
    enum status status = mixer_choices_begin(out, kind);
    out->seed = seed;
    /* What is copied has nothing to fit; where other kinds do, the data are theirs. */
    if (!status && !(mixer_is_copy(out->sizes.kind) && strchr(values->words[0], ','))) {
        used[DATA] = used[DATA_TOKENS] = true;
        status = set_data(out, values);
    }
    for (int i = DATA_TOKENS + 1; !status && i < count; i++) {
        if (!mixer_option_is_given(&rows[i]) || !mixer_has_option(out->sizes.kind, rows[i].name))
            continue;
        used[i] = true;
        status = set_row(out, &rows[i]);
    }
    return status ? status : mixer_choices_check(out);
}

static enum status check_kind(const struct mixer_choices *choices, int count, const char *kind) {
    char text[2][MIXER_TEXT_SIZE];
    for (int i = 0; i + 1 < count; i++)
        if (strcmp(mixer_text(text[0], &choices[i].sizes),
                   mixer_text(text[1], &choices[count - 1].sizes)) == 0)
            return status_set(STATUS_USAGE, "--kind: \"%s\" is there twice", kind);
    return STATUS_OK;
}

enum status mixer_option_resolve_list(struct mixer_choices *out, int *count, int most,
                                      const struct mixer_values *values, uint64_t seed,
                                      const struct mixer_kind *usual) {
    struct mixer_values copy;
    struct option rows[MIXER_OPTIONS];
    bool used[MIXER_OPTIONS] = {false};
    int options = rows_of(rows, &copy, values);
    const char *from = values->words[0];
    *count = 0;
    if (!from) {
        *count = 1;
        return mixer_option_resolve(out, values, seed, usual);
    }
    enum status status = STATUS_OK;
    while (!status && *from) {
        char kind[MIXER_TEXT_SIZE];
        size_t length = strcspn(from, ",");
        snprintf(kind, sizeof kind, "%.*s", (int)length, from);
        if (*count == most || length >= sizeof kind)
            return status_set(STATUS_USAGE, "--kind: \"%s\" is more than %d kinds", from, most);
        status = resolve_one(&out[*count], kind, seed, values, rows, options, used);
        if (!status) status = check_kind(out, ++*count, kind);
        from += length;
        from += *from == ',';
    }
    for (int i = 1; !status && i < options; i++)
        if (mixer_option_is_given(&rows[i]) && !used[i])
            status = status_set(STATUS_USAGE, "--%s says nothing about \"%s\"", rows[i].name,
                                values->words[0]);
    if (!status && !*count) status = status_set(STATUS_USAGE, "--kind: no kind is named");
    return status;
}
