/* Special tokens that a tokenizer has by its class in transformers, where its files name none. */
#ifndef TEMPLATE_CHAT_CLASS_H
#define TEMPLATE_CHAT_CLASS_H

#include "base/json.h"
#include "base/status.h"

/* Sets in `variables` the defaults of the class that AutoTokenizer would take for the directory,
 * for tokens that tokenizer_config.json (`config`, may be NULL) does not name, not even as null. */
enum status chat_class_tokens(struct json *variables, const char *directory,
                              const struct json *config) STATUS_CHECKED;

#endif
