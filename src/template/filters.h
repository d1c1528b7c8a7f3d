/* The filters, by kind: each file has its table. */
#ifndef TEMPLATE_FILTERS_H
#define TEMPLATE_FILTERS_H

#include "template/value.h"

const struct builtin *filter_find_text(const char *name, size_t length); /* filters_text.c */
const struct builtin *filter_find_list(const char *name, size_t length); /* filters_list.c */

/* jinja2's soft_str: a text as it is, anything else as str(). */
struct value filter_text(struct run *run, struct value value);

/* item.a.b, item[0]: what the `attribute` of a filter names; with `fallback` (may be absent) where
 * that is undefined. None: the item itself. */
struct value filter_attribute(struct run *run, struct value item, struct value attribute,
                              struct value fallback);

/* Without its case when it is a text, for sorting. */
struct value filter_ignore_case(struct run *run, struct value value);

/* An argument as an integer; false fails the run. */
bool filter_integer(struct run *run, int64_t *out, struct value value, int64_t absent);

#endif
