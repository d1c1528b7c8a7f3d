#include "generate/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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

/* Settle the text of the new ids: what decoding them after the last settled ones adds. An end in
 * U+FFFD may be the first part of a character and waits, unless nothing follows. */
static enum status settle(struct stream *stream, bool last) {
    char *before = NULL, *after = NULL;
    size_t before_length = 0, after_length = 0;
    const uint32_t *ids = stream->ids + stream->context;
    enum status status = STATUS_OK;
    if (stream->settled == stream->count || stream->stopped) return STATUS_OK;
    status = tokenizer_decode(stream->tokenizer, ids, stream->settled - stream->context, true,
                              &before, &before_length);
    if (!status)
        status = tokenizer_decode(stream->tokenizer, ids, stream->count - stream->context, true,
                                  &after, &after_length);
    if (!status && (last || !ends_open(after, after_length)) && after_length >= before_length) {
        size_t keep = longest_stop(stream), from = stream->text.length;
        text_append_bytes(&stream->text, after + before_length, after_length - before_length);
        if (stream->text.failed) status = status_fail("out of memory for generated text");
        stream->context = stream->settled;
        stream->settled = stream->count;
        if (!status) find_stop(stream, from > keep ? from - keep : 0);
    }
    free(before);
    free(after);
    return status;
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
