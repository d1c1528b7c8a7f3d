/* Prompts with completions, as TRL's trainers take them:
 *
 *   {"prompt": …, "completion": …}               texts, or lists of messages
 *   {"prompt": …, "chosen": …, "rejected": …}    preferences, of which the chosen one is taken
 *   {"chosen": …, "rejected": …}                 their shared beginning is the prompt
 *
 * Prompt and completion are encoded at once, and what is beyond the number of the prompt's own
 * tokens counts in the loss. Where the prompt's last token becomes another one before the
 * completion the record is said to be joined (TRL warns of it). Messages go through the chat
 * template: the prompt is what it writes of the prompt's for an answer; where it writes the whole
 * otherwise, the completion begins where the two part. */
#ifndef DATA_COMPLETION_H
#define DATA_COMPLETION_H

#include "base/json.h"
#include "data/record.h" /* circle: one form of records, made of its parts */

enum status completion_read(struct record *out, const struct record_rules *rules,
                            const struct json *object) STATUS_CHECKED;
enum status completion_read_chosen(struct record *out, const struct record_rules *rules,
                                   const struct json *object) STATUS_CHECKED;

#endif
