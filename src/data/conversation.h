/* Conversations as records: {"messages": [{"role", "content"}, …]} (OpenAI's form) and
 * {"conversations": [{"from", "value"}, …]} (ShareGPT's), which may be mixed.
 *
 * The row is what the chat template writes of the whole conversation, encoded at once, and the loss
 * is on the assistant's answers:
 *
 * - A template with {% generation %} says itself what an answer is: every token that a block wrote
 * a part of counts.
 * - For others, an answer is what the conversation up to it adds to the prompt before it: from the
 *   prompt's end (or, where a prompt begins an answer otherwise than answers are written, as with
 *   <think>, from where the two part) to the end of the text of the conversation so far. For an
 *   answer that the template writes otherwise once more messages follow, as it leaves out earlier
 *   thoughts, the end is what the template puts after answers ("<|im_end|>\n"). Where that is not
 *   found either, the answer does not count, and is counted as lost; the last one must be found.
 *
 * An assistant's message with "weight": 0 does not count. Messages of tools, calls of tools and the
 * list of tools are left out. */
#ifndef DATA_CONVERSATION_H
#define DATA_CONVERSATION_H

#include "base/json.h"
#include "data/record.h" /* circle: one form of records, made of its parts */

/* `list` is the record's member with the messages. A conversation without an answer, or with a text
 * that is null, is no text. */
enum status conversation_read(struct record *out, const struct record_rules *rules,
                              const struct json *object, const struct json *list) STATUS_CHECKED;

/* The messages of two lists, of which the second is the completion of the first: the row is what
 * the template writes of both, and all that follows the prompt counts (see completion.h). Without
 * an answer in the completion it is no text. */
enum status conversation_complete(struct record *out, const struct record_rules *rules,
                                  const struct json *object, const struct json *prompt,
                                  const struct json *completion) STATUS_CHECKED;

#endif
