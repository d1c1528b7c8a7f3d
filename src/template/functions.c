/* Calls of what is built in, and the functions that every template has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "base/memory.h"
#include "template/run.h"

const struct builtin *builtin_find(const struct builtin *table, size_t count, const char *name,
                                   size_t length) {
    for (size_t i = 0; i < count; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

/* The next name of a list of parameters, and whether it may be left out. */
static const char *next_parameter(const char *at, size_t *length, bool *optional) {
    *length = strcspn(at, ",=/");
    at += *length;
    *optional = *at == '=';
    if (*optional) at++;
    if (*at == ',') at++;
    return at;
}

static bool bind(struct run *run, struct value bound[PARAMETERS_MAX],
                 const struct builtin *function, const char *what,
                 const struct arguments *arguments) {
    bool by_position = strchr(function->parameters, '/') != NULL;
    size_t place = 0, named = 0, given = arguments->named ? arguments->named->count : 0;
    for (const char *at = function->parameters; *at && *at != '/'; place++) {
        const char *name = at;
        size_t length;
        bool optional;
        at = next_parameter(at, &length, &optional);
        const struct value *value =
            given && !by_position ? dict_find_text(arguments->named, name, length) : NULL;
        bound[place] = value_of_kind(VALUE_ABSENT);
        if (place < arguments->count && !value) {
            bound[place] = arguments->values[place];
        } else if (value && place >= arguments->count) {
            bound[place] = *value;
            named++;
        } else if (value || !optional) {
            run_fail(run, "the %s %s() %s its argument \"%.*s\"", what, function->name,
                     value ? "is given twice" : "lacks", (int)length, name);
            return false;
        }
    }
    if (arguments->count > place)
        run_fail(run, "the %s %s() takes %zu arguments, not %zu", what, function->name, place,
                 arguments->count);
    else if (named < given)
        run_fail(run, "the %s %s() does not take an argument of that name", what, function->name);
    return !run->status;
}

struct value builtin_call(struct run *run, const struct builtin *function, const char *what,
                          struct value self, const struct arguments *arguments) {
    struct value bound[PARAMETERS_MAX];
    if (!function->call)
        return run_fail(run, "the %s \"%s\" is not understood", what, function->name);
    bool raw = strcmp(function->parameters, "*") == 0;
    if (!run_work(run, 1) || (!raw && !bind(run, bound, function, what, arguments)))
        return value_of_kind(VALUE_UNDEFINED);
    struct value value = function->call(run, self, raw ? NULL : bound, arguments);
    return run->status ? value_of_kind(VALUE_UNDEFINED) : value;
}

static struct value call_range(struct run *run, struct value self, const struct value *arguments,
                               const struct arguments *raw) {
    int64_t bounds[3] = {0, 0, 1};
    if (arguments || raw->count < 1 || raw->count > 3 || (raw->named && raw->named->count))
        return run_fail(run, "range() takes one to three integers");
    for (size_t i = 0; i < raw->count; i++) {
        if (!value_is_integer(raw->values[i]))
            return run_fail(run, "'%s' object cannot be interpreted as an integer",
                            value_type_name(raw->values[i]));
        bounds[raw->count == 1 ? 1 : i] = value_as_integer(raw->values[i]);
    }
    int64_t start = bounds[0], stop = bounds[1], step = bounds[2];
    if (step == 0) return run_fail(run, "range() arg 3 must not be zero");
    uint64_t distance =
        step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t size = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    bool empty = step > 0 ? start >= stop : start <= stop;
    uint64_t count = empty ? 0 : (distance - 1) / size + 1;
    if (count > 100000)
        return run_fail(run, "Range too big. The sandbox blocks ranges larger than MAX_RANGE "
                             "(100000).");
    struct value_range *range = arena_take(&run->arena, sizeof *range);
    if (!range) return run_fail(run, "%s", status_message());
    *range = (struct value_range){start, stop, step, (int64_t)count};
    return (struct value){.kind = VALUE_RANGE, .range = range};
}

/* dict(other, key=value …): also the attributes of a namespace. */
static struct value_dict *build_dict(struct run *run, const struct arguments *raw) {
    struct value_dict *dict = dict_new(run);
    if (raw->count > 1) run_fail(run, "dict() takes one argument beside those with names");
    if (!run->status && raw->count == 1 && raw->values[0].kind == VALUE_DICT) {
        const struct value_dict *other = raw->values[0].dict;
        for (size_t i = 0; !run->status && i < other->count; i++)
            dict_set(run, dict, other->entries[i].key, other->entries[i].value);
    } else if (!run->status && raw->count == 1) {
        const struct value_list *pairs = value_items(run, raw->values[0]);
        for (size_t i = 0; pairs && !run->status && i < pairs->count; i++) {
            const struct value_list *pair = value_items(run, pairs->items[i]);
            if (pair && pair->count == 2)
                dict_set(run, dict, pair->items[0], pair->items[1]);
            else
                run_fail(run, "dict() needs pairs");
        }
    }
    for (size_t i = 0; raw->named && !run->status && i < raw->named->count; i++)
        dict_set(run, dict, raw->named->entries[i].key, raw->named->entries[i].value);
    return run->status ? NULL : dict;
}

static struct value call_dict(struct run *run, struct value self, const struct value *arguments,
                              const struct arguments *raw) {
    return value_of_dict(VALUE_DICT, build_dict(run, raw));
}

static struct value call_namespace(struct run *run, struct value self,
                                   const struct value *arguments, const struct arguments *raw) {
    struct value_dict *dict = build_dict(run, raw);
    for (size_t i = 0; dict && i < dict->count; i++) {
        const struct value *key = &dict->entries[i].key;
        if (key->kind == VALUE_TEXT && key->text.length && key->text.bytes[0] == '_')
            return run_fail(run, "a namespace cannot have the attribute \"%.*s\"",
                            (int)key->text.length, key->text.bytes);
    }
    return value_of_dict(VALUE_NAMESPACE, dict);
}

static struct value call_raise(struct run *run, struct value self, const struct value *arguments,
                               const struct arguments *raw) {
    struct value text = value_str(run, arguments[0]);
    int shown = text.kind == VALUE_TEXT && text.text.length < 400 ? (int)text.text.length : 400;
    if (run->status) return text;
    return run_fail(run, "the template says: %.*s", shown, text.text.bytes);
}

/* strftime, and what Python's datetime adds to it: %f, and no zone for %z and %Z. */
static bool format_time(struct run *run, struct text *out, struct value format) {
    struct timeval now;
    struct tm parts;
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &parts);
    for (size_t at = 0; at < format.text.length; at++) {
        char c = format.text.bytes[at], kind = 0, piece[128], one[4] = "%";
        if (c == '%' && at + 1 < format.text.length) kind = format.text.bytes[++at];
        if (!kind) {
            text_append_bytes(out, &c, 1);
        } else if (kind == 'f') {
            text_append(out, "%06ld", (long)now.tv_usec);
        } else if (strchr("aAbBcCdDeFgGHIjmMnprRStTuUVwWxXyY%hklPs", kind) || kind == '-') {
            one[1] = kind;
            if (kind == '-' && at + 1 < format.text.length) one[2] = format.text.bytes[++at];
            text_append_bytes(out, piece, strftime(piece, sizeof piece, one, &parts));
        } else if (kind != 'z' && kind != 'Z') {
            run_fail(run, "%%%c of strftime_now() is not understood", kind);
            return false;
        }
    }
    return true;
}

static struct value call_strftime_now(struct run *run, struct value self,
                                      const struct value *arguments, const struct arguments *raw) {
    struct text out = {0};
    if (!value_is_text(arguments[0])) return run_fail(run, "strftime_now() needs a text");
    struct value text = value_of_kind(VALUE_UNDEFINED);
    if (format_time(run, &out, arguments[0])) {
        text_append_bytes(&out, "", 0);
        text = value_text_copy(run, out.bytes, out.length);
        free(run->time);
        run->time = memory_copy_bytes(out.bytes, out.length);
        if (out.failed || !run->time) run_fail(run, "out of memory");
    }
    text_free(&out);
    return text;
}

static const struct builtin functions[] = {
    {"range", "*", call_range},
    {"dict", "*", call_dict},
    {"namespace", "*", call_namespace},
    {"raise_exception", "message", call_raise},
    {"strftime_now", "format", call_strftime_now},
    {"lipsum", "*", NULL},
    {"cycler", "*", NULL},
    {"joiner", "*", NULL},
};

const struct builtin *function_find(const char *name, size_t length) {
    return builtin_find(functions, sizeof functions / sizeof *functions, name, length);
}
