/* One record of a file as a row of ids. A record is a JSON object of one of these forms; other
 * members are passed over, and --fields (record_fields.h) gives the members other names:
 *
 *   {"text": …}
 *   {"prompt": …, "response": …}                  the response counts in the loss
 *   {"prompt": …, "completion": …}                the completion counts (completion.h)
 *   {"prompt": …, "chosen": …, "rejected": …}     the same of the chosen one
 *   {"instruction": …, "input": …, "output": …}   the same of instruction, a newline and input
 * (which may be empty or absent), and output
 *   {"messages": […]}, {"conversations": […]}     through the chat template (conversation.h)
 *   {"ids": […], "loss_mask": […]}                as they are; the mask may be absent
 *
 * A record whose text, prompt, response … is null holds no text. */
#ifndef DATA_RECORD_H
#define DATA_RECORD_H

#include "data/record_fields.h"
#include "template/chat.h"
#include "tokenizer/tokenizer.h"

/* How records become ids. */
struct record_rules {
    const struct tokenizer *tokenizer;
    enum tokenizer_around around; /* what the template adds: at the beginning and end of a record */
    const char *separator; /* between prompt and response, belongs to the prompt; NULL: nothing */
    bool end;              /* end text and prompt+response with end_id */
    uint32_t end_id;
    const struct record_fields *fields; /* NULL: the usual names */
    const struct chat_style *style;     /* of conversations, or NULL: */
    const char *no_style;               /* why there is none */
    bool end_chats;                     /* end conversations, too: the template has ended them */
};

struct record {
    uint32_t *ids;         /* [count]; the caller frees with record_free */
    uint8_t *mask;         /* [count], or NULL when the record has none */
    size_t count;          /* 0: the record holds no text */
    bool as_is;            /* came as ids: a row of its own */
    bool tools;            /* a conversation in which something of tools was left out */
    bool joined;           /* the prompt's last token is another one before the completion */
    uint32_t lost_answers; /* of a conversation, whose place is not known: not in the loss */
};

/* `text` is one JSON value. Messages begin with "source": `unit` `number`, as in "a.jsonl": line 3.
 */
enum status record_parse(struct record *out, const struct record_rules *rules, const char *text,
                         size_t length, const char *source, const char *unit,
                         uint64_t number) STATUS_CHECKED;

/* A plain text as a record. */
enum status record_from_text(struct record *out, const struct record_rules *rules, const char *text,
                             size_t length) STATUS_CHECKED;
void record_free(struct record *record);

/* Adds the record's end token, unless the ids end with it; the mask follows the last one's. */
enum status record_append_end(struct record *record,
                              const struct record_rules *rules) STATUS_CHECKED;

#endif
