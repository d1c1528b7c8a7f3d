/* JSON to values, and transformers' tojson: Python's json.dumps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/python_text.h"
#include "template/run.h"

static struct value convert(struct run *run, const struct json *json, int depth) {
    if (depth > TEMPLATE_DEPTH_LIMIT)
        return run_fail(run, "values are nested more than %d deep", TEMPLATE_DEPTH_LIMIT);
    if (js_is_string(json))
        return value_text_copy(run, js_string_or(json, ""), js_string_length(json));
    if (js_is_bool(json)) return value_bool(js_bool_or(json, false));
    if (js_is_integer(json)) return value_integer(js_integer_or(json, 0));
    if (js_is_number(json)) return value_float(js_number_or(json, 0));
    if (js_is_array(json)) {
        struct value_list *list = list_new(run);
        for (size_t i = 0; !run->status && i < js_count(json); i++)
            list_append(run, list, convert(run, js_element(json, i), depth + 1));
        return value_of_list(VALUE_LIST, list);
    }
    if (!js_is_object(json)) return value_none();
    struct value_dict *dict = dict_new(run);
    for (void *i = js_first(json); !run->status && i; i = js_next(json, i)) {
        struct value key = value_text_copy(run, js_key(i), strlen(js_key(i)));
        dict_set(run, dict, key, convert(run, js_value(i), depth + 1));
    }
    return value_of_dict(VALUE_DICT, dict);
}

struct value value_from_json(struct run *run, const struct json *json) {
    return convert(run, json, 0);
}

struct writer {
    struct run *run;
    const struct json_style *style;
    struct text out;
    int depth;
};

static void put(struct writer *writer, const char *bytes, size_t length) {
    if (!run_work_text(writer->run, length)) return;
    if (length > TEMPLATE_OUTPUT_LIMIT || writer->out.length > TEMPLATE_OUTPUT_LIMIT - length)
        run_fail(writer->run, "a text grows beyond %d MB", TEMPLATE_OUTPUT_LIMIT >> 20);
    else
        text_append_bytes(&writer->out, bytes, length);
}

static void put_literal(struct writer *writer, const char *text) {
    put(writer, text, strlen(text));
}

static void put_text(struct writer *writer, const char *text, size_t length) {
    put_literal(writer, "\"");
    for (size_t at = 0, step; !writer->run->status && at < length; at += step) {
        static const char plain[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
        char escape[16];
        step = utf8_length(text[at]);
        uint32_t c = utf8_decode(text + at);
        const char *known = c && c < 0x80 ? strchr(plain, (int)c) : NULL;
        if (known)
            snprintf(escape, sizeof escape, "\\%c", letters[known - plain]);
        else if (c < 0x20 || (writer->style->ascii && c > 0x7e && c < 0x10000))
            snprintf(escape, sizeof escape, "\\u%04x", c);
        else if (writer->style->ascii && c >= 0x10000)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                     0xdc00 + ((c - 0x10000) & 0x3ff));
        else
            snprintf(escape, sizeof escape, "%.*s", (int)step, text + at);
        if (c)
            put_literal(writer, escape);
        else
            put_literal(writer, "\\u0000");
    }
    put_literal(writer, "\"");
}

static void put_line(struct writer *writer) {
    if (writer->style->indent.kind != VALUE_TEXT) return;
    put_literal(writer, "\n");
    for (int i = 0; !writer->run->status && i < writer->depth; i++)
        put(writer, writer->style->indent.text.bytes, writer->style->indent.text.length);
}

static void put_value(struct writer *writer, struct value value);

static void begin_item(struct writer *writer, bool first) {
    const struct value *separator = &writer->style->item_separator;
    if (!first) put(writer, separator->text.bytes, separator->text.length);
    put_line(writer);
}

static void put_list(struct writer *writer, const struct value_list *list) {
    put_literal(writer, "[");
    writer->depth++;
    for (size_t i = 0; !writer->run->status && i < list->count; i++) {
        begin_item(writer, i == 0);
        put_value(writer, list->items[i]);
    }
    writer->depth--;
    if (list->count) put_line(writer);
    put_literal(writer, "]");
}

static void put_scalar(struct writer *writer, struct value value) {
    char text[32];
    if (value.kind == VALUE_NONE) {
        put_literal(writer, "null");
    } else if (value.kind == VALUE_BOOL) {
        put_literal(writer, value.boolean ? "true" : "false");
    } else if (value.kind == VALUE_INTEGER) {
        snprintf(text, sizeof text, "%lld", (long long)value.integer);
        put_literal(writer, text);
    } else if (isfinite(value.number)) {
        python_number(text, value.number);
        put_literal(writer, text);
    } else {
        put_literal(writer, isnan(value.number) ? "NaN"
                            : value.number < 0  ? "-Infinity"
                                                : "Infinity");
    }
}

static void put_key(struct writer *writer, struct value key) {
    if (key.kind == VALUE_TEXT) {
        put_text(writer, key.text.bytes, key.text.length);
    } else if (value_is_number(key) || key.kind == VALUE_NONE) {
        put_literal(writer, "\"");
        put_scalar(writer, key);
        put_literal(writer, "\"");
    } else {
        run_fail(writer->run, "keys of JSON cannot be %s", value_type_name(key));
    }
}

/* The entries in the order of their keys. */
static struct value_dict *sort_entries(struct run *run, const struct value_dict *dict) {
    struct value_dict *sorted = dict_new(run);
    for (size_t i = 0; sorted && !run->status && i < dict->count; i++) {
        dict_set(run, sorted, dict->entries[i].key, dict->entries[i].value);
        for (size_t j = sorted->count - 1; !run->status && j > 0; j--) {
            struct value_entry *entry = &sorted->entries[j], last = *entry;
            if (value_order(run, entry[-1].key, last.key) <= 0) break;
            *entry = entry[-1];
            entry[-1] = last;
        }
    }
    return sorted;
}

static void put_dict(struct writer *writer, const struct value_dict *dict) {
    if (writer->style->sorted) dict = sort_entries(writer->run, dict);
    put_literal(writer, "{");
    writer->depth++;
    for (size_t i = 0; !writer->run->status && i < dict->count; i++) {
        begin_item(writer, i == 0);
        put_key(writer, dict->entries[i].key);
        put(writer, writer->style->separator.text.bytes, writer->style->separator.text.length);
        put_value(writer, dict->entries[i].value);
    }
    writer->depth--;
    if (!writer->run->status && dict->count) put_line(writer);
    put_literal(writer, "}");
}

static void put_value(struct writer *writer, struct value value) {
    struct run *run = writer->run;
    if (run->depth >= TEMPLATE_DEPTH_LIMIT)
        run_fail(run, "values are nested more than %d deep", TEMPLATE_DEPTH_LIMIT);
    if (!run_work(run, 1)) return;
    run->depth++;
    if (value.kind == VALUE_TEXT)
        put_text(writer, value.text.bytes, value.text.length);
    else if (value.kind == VALUE_LIST || value.kind == VALUE_TUPLE)
        put_list(writer, value.list);
    else if (value.kind == VALUE_DICT)
        put_dict(writer, value.dict);
    else if (value.kind == VALUE_NONE || value_is_number(value))
        put_scalar(writer, value);
    else
        run_fail(run, "Object of type %s is not JSON serializable", value_type_name(value));
    run->depth--;
}

struct value value_to_json(struct run *run, struct value value, const struct json_style *style) {
    struct writer writer = {.run = run, .style = style};
    put_value(&writer, value);
    if (writer.out.failed) run_fail(run, "out of memory");
    struct value text = run->status ? value_of_kind(VALUE_UNDEFINED)
                                    : value_text_copy(run, writer.out.bytes, writer.out.length);
    text_free(&writer.out);
    return text;
}
