/* One record of a .jsonl file as a row of ids: {"text": …}, {"prompt": …, "response": …} or
 * {"ids": […]} (with "loss_mask": […] if wanted). Other members are passed over. */
#ifndef DATA_RECORD_H
#define DATA_RECORD_H

#include "data/tokenizer.h"

/* How records become ids. */
struct record_rules {
    const struct tokenizer *tokenizer;
    enum tokenizer_around around; /* what the template adds: at the beginning and end of a record */
    const char *separator; /* between prompt and response, belongs to the prompt; NULL: nothing */
    bool end;              /* end text and prompt+response with end_id */
    uint32_t end_id;
};

struct record {
    uint32_t *ids; /* [count]; the caller frees with record_free */
    uint8_t *mask; /* [count], or NULL when the record has none */
    size_t count;  /* 0: the record holds no text */
    bool as_is;    /* came as ids: a row of its own */
};

/* `line` without its newline. Messages begin with "source": line `number`. */
enum status record_parse(struct record *out, const struct record_rules *rules, const char *line,
                         size_t length, const char *source, uint64_t number) STATUS_CHECKED;

/* A plain text as a record. */
enum status record_from_text(struct record *out, const struct record_rules *rules, const char *text,
                             size_t length) STATUS_CHECKED;
void record_free(struct record *record);

#endif
