/* Prompts from the command line or a file of JSON lines, as ids. */
#ifndef GENERATE_PROMPTS_H
#define GENERATE_PROMPTS_H

#include "generate/chat.h"
#include "generate/generate.h"
#include "tokenizer/tokenizer.h"

struct prompt_list {
    struct generate_prompt *prompts; /* [count], their ids owned by the list */
    char **texts;    /* [count]: what was encoded, terminated; NULL where ids were given; owned */
    size_t *lengths; /* [count], of the texts, which may hold NUL */
    size_t count;
};

/* How text becomes ids: through `style` as a user's message, or (NULL) as it is, after `around`:
 * the tokens that the tokenizer adds at the beginning, or none. */
struct prompt_rules {
    const struct tokenizer *tokenizer;
    const struct chat_style *style;
    enum tokenizer_around around; /* TOKENIZER_BEGIN or TOKENIZER_PLAIN: the text goes on */
};

/* Append one prompt; its stream is its index. */
enum status prompts_add(struct prompt_list *list, const struct prompt_rules *rules,
                        const char *text) STATUS_CHECKED;

/* Append the lines of a file: {"prompt": "…"}, {"messages": [{"role", "content"}, …]} (needs a
 * style, which gets all that the messages hold) or {"ids": […]}; empty lines are passed over.
 * Messages name the line. */
enum status prompts_read(struct prompt_list *list, const struct prompt_rules *rules,
                         const char *path) STATUS_CHECKED;

/* The special token that the style puts after an answer: "<|im_end|>" …; false when there is none.
 */
bool prompts_end_id(uint32_t *id, const struct prompt_rules *rules);

void prompts_free(struct prompt_list *list); /* accepts a zeroed struct */

#endif
