#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

enum status pattern_next(bool *found, size_t *start, size_t *end, struct pattern_state *state,
                         const struct pattern *pattern, struct worker *worker, const char *text,
                         size_t length) {
    *found = false;
    if (pattern->literal) {
        const char *at = pattern->length && state->from < length
                             ? memmem(text + state->from, length - state->from, pattern->literal,
                                      pattern->length)
                             : NULL;
        if (!at) return STATUS_OK;
        *found = true;
        *start = (size_t)(at - text);
        *end = state->from = *start + pattern->length;
        return STATUS_OK;
    }
    while (state->from <= length) {
        enum status status =
            regex_find(found, start, end, pattern->regex, worker->regex, text, length, state->from);
        if (status || !*found) return status;
        if (*start < *end || !state->any || state->last_end != *end) {
            state->from = state->last_end = *end;
            state->any = true;
            return STATUS_OK;
        }
        *found = false;
        state->from += state->from < length ? utf8_length(text[state->from]) : 1;
    }
    return STATUS_OK;
}

enum status pattern_replace(struct text *out, const struct pattern *pattern, struct worker *worker,
                            const char *text, size_t length, const char *content,
                            size_t content_length) {
    struct pattern_state state = {0};
    size_t done = 0, start = 0, end = 0;
    bool found;
    for (;;) {
        enum status status =
            pattern_next(&found, &start, &end, &state, pattern, worker, text, length);
        if (status) return status;
        if (!found) break;
        text_append_bytes(out, text + done, start - done);
        text_append_bytes(out, content, content_length);
        done = end;
    }
    if (done < length) text_append_bytes(out, text + done, length - done);
    return text_check(out);
}

void pattern_free(struct pattern *pattern) {
    free(pattern->literal);
    regex_free(pattern->regex);
    *pattern = (struct pattern){0};
}
