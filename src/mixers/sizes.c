#include "mixers/sizes.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- defaults */

int64_t size_heads(const struct mixer_host *host) {
    return host->heads;
}

int64_t size_head_dim(const struct mixer_host *host) {
    return host->head_dim;
}

int64_t size_taps(const struct mixer_host *host) {
    return 4;
}

int64_t size_yes(const struct mixer_host *host) {
    return 1;
}

int64_t size_no(const struct mixer_host *host) {
    return 0;
}

/* ---- values of one size */

static struct json *value_json(const struct size_row *row, const struct mixer_sizes *sizes,
                               int size) {
    if (row->type == SIZE_REAL) return js_new_number(sizes->real[size]);
    if (row->type == SIZE_FLAG) return js_new_bool(sizes->value[size]);
    return js_new_integer(sizes->value[size]);
}

static enum status read_flag(int64_t *out, const struct json *object, const char *key,
                             bool fallback, const char *source) {
    const struct json *value = js_member(object, key);
    if (value && !js_is_bool(value))
        return status_fail("\"%s\": \"%s\" must be true or false", source, key);
    *out = js_bool_or(value, fallback);
    return STATUS_OK;
}

static enum status read_positive(double *out, const struct json *object, const char *key,
                                 double fallback, const char *source) {
    *out = fallback;
    if (!js_member(object, key)) return STATUS_OK;
    enum status status = js_get_number(out, object, key, source);
    if (!status && !(*out > 0 && isfinite(*out)))
        status = status_fail("\"%s\": \"%s\" must be greater than 0, found %g", source, key, *out);
    return status;
}

/* ---- JSON of databases and plans */

void mixer_sizes_set(struct json *object, const struct mixer_sizes *sizes, int size) {
    const struct size_row *row = &sizes->kind->sizes[size];
    js_set(object, row->name, value_json(row, sizes, size));
}

struct json *mixer_sizes_to_json(const struct mixer_sizes *sizes) {
    struct json *object = js_new_object();
    for (int i = 0; i < sizes->kind->n_sizes; i++) {
        const struct size_row *row = &sizes->kind->sizes[i];
        if (row->may_be_zero && !sizes->value[i]) continue;
        mixer_sizes_set(object, sizes, i);
    }
    return object;
}

enum status mixer_sizes_read(struct mixer_sizes *out, const struct mixer_kind *kind,
                             const struct json *json, const char *source) {
    enum status status = STATUS_OK;
    *out = (struct mixer_sizes){.kind = kind};
    for (int i = 0; i < kind->n_sizes && !status; i++) {
        const struct size_row *row = &kind->sizes[i];
        if (row->type == SIZE_FLAG)
            status = read_flag(&out->value[i], json, row->name, row->absent(NULL), source);
        else if (row->type == SIZE_REAL)
            status = read_positive(&out->real[i], json, row->name, row->usual, source);
        else if (!row->may_be_zero || js_member(json, row->name))
            status = js_get_integer(&out->value[i], json, row->name, row->low, row->high, source);
    }
    return status;
}

/* ---- config.json */

/* The next key of a path that has more behind it, which the path then begins with. */
enum { PATH_KEY_SIZE = 64 };
static bool next_key(char key[PATH_KEY_SIZE], const char **path) {
    const char *dot = strchr(*path, '.');
    if (!dot) return false;
    snprintf(key, PATH_KEY_SIZE, "%.*s", (int)(dot - *path), *path);
    *path = dot + 1;
    return true;
}

/* The object that a path ends in, made where it is not there, and the key in it. */
static struct json *enter(struct json *object, const char **path) {
    char key[PATH_KEY_SIZE];
    while (next_key(key, path)) {
        if (!js_member(object, key)) js_set(object, key, js_new_object());
        object = (struct json *)(uintptr_t)js_member(object, key);
    }
    return object;
}

void mixer_config_write(struct json *object, const struct mixer_sizes *sizes,
                        const struct mixer_host *host, enum mixer_format format) {
    const struct config_row *row = sizes->kind->config[format];
    for (; row && row->key; row++) {
        const char *key = row->key;
        if (row->when && !sizes->value[row->when - 1]) continue;
        struct json *owner = enter(object, &key);
        switch (row->use) {
        case CONFIG_SIZE:
            js_set(owner, key, value_json(&sizes->kind->sizes[row->size], sizes, row->size));
            break;
        case CONFIG_TRUE:
            js_set_bool(owner, key, true);
            break;
        case CONFIG_WORD:
            js_set_string(owner, key, row->word);
            break;
        case CONFIG_NUMBER:
            js_set_number(owner, key, row->number);
            break;
        case CONFIG_DERIVED:
            js_set_integer(owner, key, row->derive(sizes, host));
            break;
        case CONFIG_NORM_EPS:
            if (host->norm_eps != row->number) js_set_number(owner, key, host->norm_eps);
            break;
        }
    }
}

/* The object that a path ends in (NULL: it is not there), and the key in it. */
static const struct json *follow(const struct json *object, const char **path) {
    char key[PATH_KEY_SIZE];
    while (next_key(key, path)) object = js_member(object, key);
    return object;
}

/* What stands at a path; NULL: nothing. */
static const struct json *find(const struct json *object, const char *path) {
    const struct json *owner = follow(object, &path);
    return js_member(owner, path);
}

/* A size by the key of `row`; where it is absent, as the row of the size says. */
static enum status read_size(struct mixer_sizes *out, const struct config_row *row,
                             const struct json *json, const struct mixer_host *host,
                             const char *source) {
    const struct size_row *size = &out->kind->sizes[row->size];
    const char *key = row->key;
    const struct json *owner = follow(json, &key), *value = js_member(owner, key);
    int64_t *to = &out->value[row->size];
    if (size->type == SIZE_REAL) {
        out->real[row->size] = js_number_or(value, size->usual);
        return STATUS_OK;
    }
    if (size->type == SIZE_FLAG) return read_flag(to, owner, key, size->absent(host), source);
    if (!value && size->may_be_zero) return STATUS_OK;
    bool stands_for_absence = row->word && strcmp(js_string_or(value, ""), row->word) == 0;
    if ((!value || stands_for_absence) && size->absent) {
        *to = size->absent(host);
        return STATUS_OK;
    }
    if (!value) return status_fail("\"%s\": \"%s\" is missing", source, row->key);
    return js_get_integer(to, owner, key, size->low, size->high, source);
}

/* One epsilon serves all norms of a model. */
static enum status check_norm_eps(const struct config_row *row, const struct json *json,
                                  const struct mixer_host *host, const char *source) {
    double value = js_number_or(find(json, row->key), row->number);
    if (value == host->norm_eps) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" %g of a mixer differs from that of the model's norms, %g: "
                       "this is not supported",
                       source, row->key, value, host->norm_eps);
}

/* Whether another key of the same size is to be looked at in place of this row's. */
static bool is_passed_over(const struct config_row *row, const struct config_row *first,
                           const struct json *json) {
    for (const struct config_row *other = first; other->key; other++) {
        if (other == row || other->use != CONFIG_SIZE || other->size != row->size) continue;
        bool before = other < row;
        if (before ? find(json, other->key) != NULL : !find(json, row->key)) return true;
    }
    return false;
}

enum status mixer_config_read(struct mixer_sizes *out, const struct mixer_kind *kind,
                              const struct json *json, const struct mixer_host *host,
                              enum mixer_format format, const char *source) {
    enum status status = STATUS_OK;
    const struct config_row *first = kind->config[format];
    *out = (struct mixer_sizes){.kind = kind};
    for (const struct config_row *row = first; row && row->key && !status; row++) {
        if (row->use == CONFIG_SIZE && !is_passed_over(row, first, json)) {
            status = read_size(out, row, json, host, source);
        } else if (row->use == CONFIG_TRUE) {
            int64_t holds = 1;
            status = read_flag(&holds, json, row->key, true, source);
            if (!status && !holds)
                status = status_fail("\"%s\": \"%s\": false is not supported", source, row->key);
        } else if (row->use == CONFIG_NORM_EPS) {
            status = check_norm_eps(row, json, host, source);
        }
    }
    return status;
}

/* ---- new mixers */

enum status mixer_sizes_new(struct mixer_sizes *out, const struct mixer_sizes *asked,
                            const struct mixer_sizes *usual, const struct mixer_host *host) {
    const struct mixer_kind *kind = asked->kind;
    *out = (struct mixer_sizes){.kind = kind};
    for (int i = 0; i < kind->n_sizes; i++) {
        const struct size_row *row = &kind->sizes[i];
        int64_t value = asked->value[i];
        out->real[i] = row->usual;
        if (row->type == SIZE_WHOLE && value && (value < row->low || value > row->high))
            return status_set(STATUS_USAGE, "--%s %" PRId64 " is outside %" PRId64 " to %" PRId64,
                              row->option ? row->option : row->name, value, row->low, row->high);
        if (!value && usual && row->option) value = usual->value[i];
        if (!value && row->otherwise) value = row->otherwise(host);
        out->value[i] = value;
    }
    return kind->check_new ? kind->check_new(out, host) : STATUS_OK;
}

void mixer_sizes_join(struct mixer_sizes *into, const struct mixer_sizes *other) {
    for (int i = 0; i < into->kind->n_sizes; i++) {
        const struct size_row *row = &into->kind->sizes[i];
        double a = into->real[i], b = other->real[i];
        if (row->type == SIZE_REAL && (row->upper_end ? b > a : b < a)) into->real[i] = b;
    }
}

const char *mixer_identity(char out[MIXER_IDENTITY_SIZE], const struct mixer_sizes *sizes,
                           bool sampled) {
    const struct mixer_kind *kind = sizes->kind;
    if (kind->identify) {
        kind->identify(out, MIXER_IDENTITY_SIZE, sizes, sampled);
        return out;
    }
    size_t used = (size_t)snprintf(out, MIXER_IDENTITY_SIZE, "%s", kind->name);
    for (int i = 0; i < kind->n_sizes && used < MIXER_IDENTITY_SIZE; i++)
        if (kind->sizes[i].type != SIZE_REAL)
            used += (size_t)snprintf(out + used, MIXER_IDENTITY_SIZE - used, " %s %" PRId64,
                                     kind->sizes[i].name, sizes->value[i]);
    return out;
}

/* ---- names */

/* Whether `name` is `stem`, or begins with it and a '_'. */
static bool begins(const char *name, const char *stem) {
    size_t length = strlen(stem);
    return strncmp(name, stem, length) == 0 && (!name[length] || name[length] == '_');
}

const struct mixer_kind *mixer_kind_of_type(enum mixer_format format, const char *type,
                                            const char *name) {
    const struct mixer_kind *first = NULL;
    for (int i = 0; mixer_kinds[i]; i++) {
        const struct mixer_kind *kind = mixer_kinds[i];
        if (!kind->type[format] || strcmp(kind->type[format], type) != 0) continue;
        if (name && begins(name, kind->name)) return kind;
        if (!first) first = kind;
    }
    return first;
}

const struct mixer_kind *mixer_kind_of_letter(char letter) {
    for (int i = 0; mixer_kinds[i]; i++)
        if (mixer_kinds[i]->letter == letter) return mixer_kinds[i];
    return NULL;
}

void mixer_block_name(char out[MIXER_BLOCK_SIZE], const struct mixer_sizes *sizes, int number) {
    const struct mixer_kind *kind = sizes->kind;
    const char *type = kind->parameter < 0 ? kind->type[MIXER_APRIEL2] : NULL;
    size_t used = (size_t)snprintf(out, MIXER_BLOCK_SIZE, "%s", type ? type : kind->name);
    if (kind->parameter >= 0)
        used += (size_t)snprintf(out + used, MIXER_BLOCK_SIZE - used, "_%" PRId64,
                                 sizes->value[kind->parameter]);
    for (int i = 0; i < kind->n_sizes; i++)
        if (kind->sizes[i].block_word && sizes->value[i])
            used += (size_t)snprintf(out + used, MIXER_BLOCK_SIZE - used, "_%s_%" PRId64,
                                     kind->sizes[i].block_word, sizes->value[i]);
    if (number > 1) snprintf(out + used, MIXER_BLOCK_SIZE - used, "_%d", number);
}

const char *mixer_text(char out[MIXER_TEXT_SIZE], const struct mixer_sizes *sizes) {
    const struct mixer_kind *kind = sizes->kind;
    if (kind->parameter < 0)
        snprintf(out, MIXER_TEXT_SIZE, "%s", kind->name);
    else
        snprintf(out, MIXER_TEXT_SIZE, "%s:%" PRId64, kind->name, sizes->value[kind->parameter]);
    return out;
}

const char *mixer_kind_list(char *out, size_t size) {
    size_t used = 0;
    for (int i = 1; mixer_kinds[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s%s", i > 1 ? ", " : "",
                                 mixer_kinds[i]->name, mixer_kinds[i]->parameter < 0 ? "" : ":N");
    return out;
}

enum status mixer_from_text(struct mixer_sizes *out, const char *text, const char *option) {
    size_t stem = strcspn(text, ":");
    char kinds[256], *end = NULL;
    for (int i = 0; mixer_kinds[i]; i++) {
        const struct mixer_kind *kind = mixer_kinds[i];
        bool named = strlen(kind->name) == stem && strncmp(text, kind->name, stem) == 0;
        if (kind->former && strcmp(text, kind->former) == 0) named = true;
        if (!named || (text[stem] == ':') != (kind->parameter >= 0)) continue;
        *out = (struct mixer_sizes){.kind = kind};
        if (kind->parameter < 0) return STATUS_OK;
        const struct size_row *row = &kind->sizes[kind->parameter];
        const char *digits = text + stem + 1;
        long long value = strspn(digits, "0123456789") ? strtoll(digits, &end, 10) : 0;
        if (!end || *end || value < row->low || value > row->high)
            return status_set(STATUS_USAGE,
                              "%s: \"%s\": %s takes a whole number from %" PRId64 " to %" PRId64,
                              option, text, kind->name, row->low, row->high);
        out->value[kind->parameter] = value;
        return STATUS_OK;
    }
    return status_set(STATUS_USAGE, "%s: \"%s\" is no kind of mixer; there are %s", option, text,
                      mixer_kind_list(kinds, sizeof kinds));
}
