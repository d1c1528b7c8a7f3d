/* What methods and filters of texts share. */
#ifndef TEMPLATE_METHODS_H
#define TEMPLATE_METHODS_H

#include "template/value.h"

/* `count` -1: all. */
struct value text_replace(struct run *run, struct value text, struct value old, struct value new,
                          int64_t count);
struct value_list *text_lines(struct run *run, struct value text, bool keep_ends);

/* Within `width` characters: align '<', '>' or '^'. */
struct value text_justify(struct run *run, struct value text, int64_t width, struct value fill,
                          char align);

const struct builtin *method_find_text(const char *name, size_t length); /* methods_text.c */

#endif
