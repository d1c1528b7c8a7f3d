/* A JSON value as YAML that readers of YAML 1.1 (PyYAML) and 1.2 take for the same value. */
#ifndef PLAN_YAML_H
#define PLAN_YAML_H

#include "base/json.h"
#include "base/text.h"

/* Appends an object's members, one a line, in block style. Words stand bare, other strings quoted;
 * a real number has a point and a signed exponent, without which YAML 1.1 reads a string. The items
 * of a list are numbered in comments, from 0. */
void yaml_append(struct text *out, const struct json *object);

#endif
