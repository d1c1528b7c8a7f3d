/* The text of tokens as they come: whole UTF-8 characters only, and an end at stop strings. */
#ifndef GENERATE_STREAM_H
#define GENERATE_STREAM_H

#include <stdbool.h>

#include "base/text.h"
#include "tokenizer/tokenizer.h"

struct stream {
    const struct tokenizer *tokenizer; /* borrowed */
    const char *const *stops;          /* [stop_count] strings that end the text, borrowed */
    size_t stop_count;
    uint32_t *ids; /* [count] */
    size_t count, capacity;
    size_t settled;   /* ids before it are in `text` */
    bool begun;       /* some token before those shows as text, be it one of the prompt */
    struct text text; /* all settled text, without a stop string */
    size_t released;  /* bytes of it that stream_next has given out */
    bool stopped;     /* a stop string has come: `text` ends before it */
};

/* `stream` holds the borrowed members; the rest is zero. The text is what the new ids add to that
 * of the prompt [count]: a word that follows one begins with a blank. */
void stream_begin(struct stream *stream, const uint32_t *prompt, size_t count);
enum status stream_add(struct stream *stream, uint32_t id) STATUS_CHECKED;

/* No more tokens: what was held back (an unfinished character as U+FFFD) is settled. */
enum status stream_finish(struct stream *stream) STATUS_CHECKED;

/* Text not given out yet that cannot be part of a stop string: *length bytes, borrowed until the
 * next call; after stream_finish all of it. */
const char *stream_next(struct stream *stream, bool finished, size_t *length);

void stream_free(struct stream *stream);

#endif
