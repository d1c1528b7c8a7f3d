/* Which options make a run another run, from the tables themselves: a new row counts unless it says
 * that it cannot change a number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

static struct json *list_value(const struct string_list *list) {
    struct json *array = js_new_array();
    for (size_t i = 0; i < list->count; i++) js_append(array, js_new_string(list->values[i]));
    return array;
}

/* What the option's target holds. */
static struct json *value_of(const struct option *option) {
    switch (option->kind) {
    case OPTION_FLAG:
        return js_new_bool(*(const bool *)option->target);
    case OPTION_STRING:
    case OPTION_CHOICE: {
        const char *text = *(const char *const *)option->target;
        return text ? js_new_string(text) : NULL;
    }
    case OPTION_INTEGER:
    case OPTION_COUNT:
        return js_new_integer(*(const int64_t *)option->target);
    case OPTION_SIZE:
        return js_new_integer((int64_t) * (const uint64_t *)option->target);
    case OPTION_NUMBER:
        return js_new_number(*(const double *)option->target);
    case OPTION_LIST:
        return list_value(option->target);
    }
    return NULL;
}

enum status options_identity_before(struct json **out, const struct command_line *line) {
    struct json *object = js_new_object();
    if (!object) return STATUS_FAILED;
    for (size_t i = 0; i < line->count; i++)
        if (line->options[i].identity == OPTION_IN_IDENTITY)
            js_set(object, line->options[i].name, value_of(&line->options[i]));
    *out = object;
    return STATUS_OK;
}

enum status options_identity_after(struct json **out, const struct json *before,
                                   const struct command_line *line) {
    struct json *after = NULL;
    enum status status = options_identity_before(&after, line);
    for (size_t i = 0; !status && i < line->count; i++) {
        const char *name = line->options[i].name;
        if (line->options[i].identity != OPTION_IN_IDENTITY) continue;
        char *old = js_print(js_member(before, name), 0),
             *new = js_print(js_member(after, name), 0);
        if (!old || !new)
            status = STATUS_FAILED;
        else if (strcmp(old, new) == 0)
            js_remove(after, name);
        free(old);
        free(new);
    }
    if (status)
        js_free(after);
    else
        *out = after;
    return status;
}

void options_print_identity(const struct command_line *line) {
    static const char *const words[] = {[OPTION_IN_IDENTITY] = "in-identity",
                                        [OPTION_RESOLVED] = "resolved",
                                        [OPTION_NO_NUMBER] = "no-number"};
    struct command_arguments unused;
    struct option common[COMMON_OPTIONS];
    options_common(common, &unused);
    for (size_t i = 0; i < line->count; i++)
        printf("%s %s\n", line->options[i].name, words[line->options[i].identity]);
    for (size_t i = 0; i < COMMON_OPTIONS; i++)
        printf("%s %s\n", common[i].name, words[common[i].identity]);
}
