#include "generate/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { LONGEST_WAIT = 256 };

/* How far back the search for stop strings must begin: they may span tokens. */
static size_t longest_stop(const struct stream *stream) {
    size_t longest = 0;
    for (size_t i = 0; i < stream->stop_count; i++) {
        size_t length = strlen(stream->stops[i]);
        if (length > longest) longest = length;
    }
    return longest;
}

/* The first stop string in the text from `from` on ends it. */
static void find_stop(struct stream *stream, size_t from) {
    struct text *text = &stream->text;
    size_t end = text->length;
    for (size_t i = 0; i < stream->stop_count; i++) {
        size_t length = strlen(stream->stops[i]);
        if (length == 0 || text->length < length) continue;
        for (size_t at = from; at + length <= text->length; at++)
            if (at < end && memcmp(text->bytes + at, stream->stops[i], length) == 0) {
                end = at;
                stream->stopped = true;
            }
    }
    if (!stream->stopped) return;
    text->length = end;
    text->bytes[end] = '\0';
}

static bool ends_open(const char *text, size_t length) {
    return length >= 3 && memcmp(text + length - 3, "\xef\xbf\xbd", 3) == 0;
}

static bool any_shown(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (tokenizer_shows(tokenizer, ids[i])) return true;
    return false;
}

/* What the ids that are not settled add behind other text: decoders take the first blank off a
 * whole text, so they see a plain token before them, which is taken off again. It also parts a run
 * of byte tokens, of which one that is not UTF-8 changes how all the others are decoded: what was
 * settled stays as it was. */
static enum status decode_rest(char **out, size_t *length, const struct stream *stream) {
    const uint32_t *rest = stream->ids + stream->settled;
    size_t count = stream->count - stream->settled, before_length = 0;
    uint32_t plain;
    char *before = NULL, *after = NULL;
    if (!stream->begun || !tokenizer_plain_id(stream->tokenizer, &plain))
        return tokenizer_decode(stream->tokenizer, rest, count, true, out, length);
    uint32_t *ids = memory_calloc(count + 1, sizeof *ids);
    if (!ids) return STATUS_FAILED;
    ids[0] = plain;
    memcpy(ids + 1, rest, count * sizeof *ids);
    enum status status = tokenizer_decode(stream->tokenizer, ids, 1, true, &before, &before_length);
    if (!status) status = tokenizer_decode(stream->tokenizer, ids, count + 1, true, &after, length);
    free(ids);
    if (!status && (*length < before_length || memcmp(before, after, before_length) != 0)) {
        free(after); /* an unusual decoder */
        status = tokenizer_decode(stream->tokenizer, rest, count, true, &after, length);
        before_length = 0;
    }
    free(before);
    if (status) return status;
    *length -= before_length;
    memmove(after, after + before_length, *length + 1);
    *out = after;
    return STATUS_OK;
}

/* Settle the text of the new ids. An end in U+FFFD may be the first part of a character and waits,
 * unless nothing follows or it has waited for long. */
static enum status settle(struct stream *stream, bool last) {
    char *rest = NULL;
    size_t length = 0;
    if (stream->settled == stream->count || stream->stopped) return STATUS_OK;
    enum status status = decode_rest(&rest, &length, stream);
    if (status) return status;
    last |= stream->count - stream->settled >= LONGEST_WAIT;
    if (last || !ends_open(rest, length)) {
        size_t keep = longest_stop(stream), from = stream->text.length;
        text_append_bytes(&stream->text, rest, length);
        if (stream->text.failed) status = status_fail("out of memory for generated text");
        stream->begun = stream->begun || any_shown(stream->tokenizer, stream->ids + stream->settled,
                                                   stream->count - stream->settled);
        stream->settled = stream->count;
        if (!status) find_stop(stream, from > keep ? from - keep : 0);
    }
    free(rest);
    return status;
}

void stream_begin(struct stream *stream, const uint32_t *prompt, size_t count) {
    stream->begun = stream->tokenizer && any_shown(stream->tokenizer, prompt, count);
}

enum status stream_add(struct stream *stream, uint32_t id) {
    if (stream->count == stream->capacity) {
        size_t capacity = stream->capacity ? 2 * stream->capacity : 64;
        uint32_t *ids = memory_resize(stream->ids, capacity, sizeof *ids);
        if (!ids) return STATUS_FAILED;
        stream->ids = ids;
        stream->capacity = capacity;
    }
    stream->ids[stream->count++] = id;
    return stream->tokenizer ? settle(stream, false) : STATUS_OK;
}

enum status stream_finish(struct stream *stream) {
    return stream->tokenizer ? settle(stream, true) : STATUS_OK;
}

/* Bytes at the end of the text that a stop string may begin with. */
static size_t open_stop(const struct stream *stream) {
    size_t open = 0;
    const struct text *text = &stream->text;
    for (size_t i = 0; i < stream->stop_count; i++) {
        size_t length = strlen(stream->stops[i]);
        for (size_t part = length > text->length ? text->length + 1 : length; part-- > open + 1;)
            if (memcmp(text->bytes + text->length - part, stream->stops[i], part) == 0) open = part;
    }
    return open;
}

const char *stream_next(struct stream *stream, bool finished, size_t *length) {
    size_t end = stream->text.length;
    if (!finished && !stream->stopped) end -= open_stop(stream);
    const char *text = stream->text.bytes ? stream->text.bytes + stream->released : "";
    *length = end > stream->released ? end - stream->released : 0;
    stream->released += *length;
    return text;
}

void stream_free(struct stream *stream) {
    free(stream->ids);
    text_free(&stream->text);
    *stream = (struct stream){0};
}
