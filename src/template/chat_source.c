/* Which template a model has, and its special tokens. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/locate.h"
#include "base/memory.h"
#include "base/text.h"
#include "template/chat.h"
#include "template/chat_class.h"

/* The files of a directory. */
struct source {
    const char *directory;
    struct json *config; /* tokenizer_config.json, or NULL */
    char *config_path;
};

/* The special tokens, each a text or an object with its "content". */
static void take_tokens(struct json *variables, const struct json *from) {
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json *token = js_member(from, names[i]);
        const char *text = js_string_or(token, js_string_or(js_member(token, "content"), NULL));
        if (text) js_set_string(variables, names[i], text);
    }
    /* those that a model names itself, as image_token; a list has no names */
    const struct json *own = js_member(from, "extra_special_tokens");
    for (void *i = js_first(own); i; i = js_next(own, i)) {
        const char *text =
            js_string_or(js_value(i), js_string_or(js_member(js_value(i), "content"), NULL));
        if (text) js_set_string(variables, js_key(i), text);
    }
}

/* Tokenizers saved long ago have them in a file of their own. */
static enum status read_variables(struct json **out, const struct source *source) {
    char *path = file_join(source->directory, "special_tokens_map.json");
    struct json *map = NULL;
    *out = js_new_object();
    enum status status = path && *out ? STATUS_OK : status_fail("out of memory");
    if (!status) status = chat_class_tokens(*out, source->directory, source->config);
    if (!status) take_tokens(*out, source->config);
    if (!status && !js_member(source->config, "added_tokens_decoder") && file_exists(path)) {
        status = js_read(&map, path);
        if (!status) take_tokens(*out, map);
    }
    js_free(map);
    free(path);
    if (status) js_free(*out);
    return status;
}

static enum status parse_file(struct chat_style *out, const struct source *source, const char *path,
                              enum chat_kind kind) {
    char *text;
    size_t length;
    struct json *variables;
    enum status status = file_read(&text, &length, path);
    if (status) return status;
    status = read_variables(&variables, source);
    if (!status) status = chat_style_parse(out, text, length, path, variables);
    out->kind = kind;
    free(text);
    return status;
}

static enum status parse_config(struct chat_style *out, const struct source *source,
                                const struct json *text, enum chat_kind kind) {
    struct json *variables;
    enum status status = read_variables(&variables, source);
    if (!status)
        status = chat_style_parse(out, js_string_or(text, ""), js_string_length(text),
                                  source->config_path, variables);
    out->kind = kind;
    return status;
}

static void collect_name(struct text *names, const char *name) {
    if (names) text_append(names, "%s\"%.60s\"", names->length ? ", " : "", name);
}

/* One of the named templates of a list or an object, or NULL; `names` (may be NULL) collects what
 * there is. */
static const struct json *find_named(const struct json *all, const char *name, struct text *names) {
    const struct json *found = NULL;
    for (size_t i = 0; js_is_array(all) && i < js_count(all); i++) {
        const struct json *item = js_element(all, i);
        const char *own = js_string_or(js_member(item, "name"), "");
        collect_name(names, own);
        if (strcmp(own, name) == 0) found = js_member(item, "template");
    }
    for (void *i = js_is_object(all) ? js_first(all) : NULL; i; i = js_next(all, i)) {
        collect_name(names, js_key(i));
        if (strcmp(js_key(i), name) == 0) found = js_value(i);
    }
    return js_is_string(found) ? found : NULL;
}

static enum status no_template(const struct source *source, const char *choice) {
    struct text text = {0};
    const struct json *list = js_member(source->config, "chat_template");
    (void)find_named(list, "", &text);
    char *names = text_finish(&text);
    if (!names) return STATUS_FAILED;
    enum status status;
    if (choice)
        status = status_fail("--template \"%s\" is no file, and \"%s\" has no chat template of "
                             "that name%s%s",
                             choice, source->directory, *names ? ": it has " : "", names);
    else if (*names)
        status = status_fail("\"%s\" has no default chat template: choose with --template one of "
                             "%s",
                             source->directory, names);
    else
        status = status_fail("\"%s\" has no chat template (chat_template.jinja, or chat_template "
                             "in tokenizer_config.json): name a file with --template, or pass "
                             "text that is ready with --prompt",
                             source->directory);
    free(names);
    return status;
}

/* The template that `choice` names. */
static enum status open_choice(struct chat_style *out, const struct source *source,
                               const char *choice) {
    const struct json *named = find_named(js_member(source->config, "chat_template"), choice, NULL);
    if (file_exists(choice) && !file_is_directory(choice))
        return parse_file(out, source, choice, CHAT_FILE);
    if (named) return parse_config(out, source, named, CHAT_NAMED);
    char *name = text_format("additional_chat_templates/%s.jinja", choice);
    char *path = name ? file_join(source->directory, name) : NULL;
    enum status status = !path ? STATUS_FAILED
                         : strchr(choice, '/') || !file_exists(path)
                             ? no_template(source, choice)
                             : parse_file(out, source, path, CHAT_NAMED);
    free(name);
    free(path);
    return status;
}

static enum status open_own(struct chat_style *out, const struct source *source) {
    char *path = file_join(source->directory, "chat_template.jinja");
    const struct json *text = js_member(source->config, "chat_template");
    if (!path) return STATUS_FAILED;
    if (!js_is_string(text)) text = find_named(text, "default", NULL);
    enum status status = file_exists(path)    ? parse_file(out, source, path, CHAT_JINJA)
                         : js_is_string(text) ? parse_config(out, source, text, CHAT_CONFIG)
                                              : no_template(source, NULL);
    free(path);
    return status;
}

enum status chat_style_open(struct chat_style *out, const char *directory, const char *choice) {
    char *located = locate_quietly(directory);
    struct source source = {.directory = located};
    *out = (struct chat_style){0};
    if (!located) return STATUS_FAILED;
    source.config_path = file_join(located, "tokenizer_config.json");
    enum status status = source.config_path ? STATUS_OK : STATUS_FAILED;
    if (!status && file_exists(source.config_path))
        status = js_read(&source.config, source.config_path);
    if (!status) status = choice ? open_choice(out, &source, choice) : open_own(out, &source);
    if (status) chat_style_free(out);
    js_free(source.config);
    free(source.config_path);
    free(located);
    return status;
}

enum status chat_style_read(struct chat_style *out, const char *directory) {
    return chat_style_open(out, directory, NULL);
}
