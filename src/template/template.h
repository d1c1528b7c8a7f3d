/* Jinja chat templates: parsed once, rendered as jinja2 does it in the environment that
 * transformers sets up (trim_blocks, lstrip_blocks, loop controls, {% generation %},
 * raise_exception, strftime_now, its own tojson; nothing can be changed but namespaces).
 *
 * Understood: for (with if, else, recursive, loop.*), if, set (also of blocks and of a namespace's
 * attributes), macro, call, filter, with, print, raw, break, continue, generation; all expressions;
 * the filters, tests, methods and functions in the tables of filters*.c, tests.c, methods.c and
 * functions.c. Anything else is refused by name when it is reached, because a guess would give
 * another text. Integers have 64 bits; more is refused, too.
 *
 * To add a filter, test, method or function: a row of its table, a golden text made by
 * tests/oracle/make_templates.py, and its name in doc/apriel-tool.1. */
#ifndef TEMPLATE_TEMPLATE_H
#define TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "base/status.h"
#include "template/limits.h"

struct template;

/* `source` names the template in messages ("source": line N: …) and is copied. The caller frees. */
enum status template_parse(struct template **out, const char *text, size_t length,
                           const char *source) STATUS_CHECKED;
void template_free(struct template *parsed); /* accepts NULL */

/* Does the template mark what the assistant said with {% generation %}? */
bool template_has_generation(const struct template *parsed);

/* Bytes of the output that a {% generation %} block wrote. */
struct template_span {
    size_t start, end;
};

struct template_output {
    char *text; /* [length], terminated, UTF-8; may hold NUL */
    size_t length;
    struct template_span *spans; /* [span_count], ascending */
    size_t span_count;
    bool spans_lost; /* a block stood where its place in the output is not known (a macro) */
    bool shown_list; /* a list or dict was made a text, as Python prints it */
    char *time; /* what the last strftime_now() gave: the output changes with the date; or NULL */
};

/* `variables` is an object. Several threads may render one template. The caller frees `*out` with
 * template_output_free, which accepts a zeroed struct. */
enum status template_render(struct template_output *out, const struct template *parsed,
                            const struct json *variables) STATUS_CHECKED;
void template_output_free(struct template_output *output);

#endif
