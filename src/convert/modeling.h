/* The modelling code that stands beside the weights of an Apriel-H1 or Apriel2 hybrid, so that
 * transformers loads it (`trust_remote_code`): src/convert/modeling, part of the program. */
#ifndef CONVERT_MODELING_H
#define CONVERT_MODELING_H

#include "checkpoint/config.h"

/* Which formats need it: those that transformers has no classes of its own for. */
bool modeling_needed(enum config_family format);

/* config.json's "auto_map"; the caller frees. */
struct json *modeling_auto_map(enum config_family format);

enum status modeling_write(const char *directory) STATUS_CHECKED;

#endif
