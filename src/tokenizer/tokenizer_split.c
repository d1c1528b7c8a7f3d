/* Pre-tokenizer steps. Each hands the parts it makes straight to the next step, and the last one to
 * BPE, so a long text needs no list of its parts. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

/* Cuts one text into matches and the parts between, and joins them as the behavior says. */
struct splitter {
    const struct tokenizer *tokenizer;
    struct worker *worker;
    size_t next_step;
    enum split_behavior behavior;
    struct span text;
    size_t start, end; /* the part that may still grow; empty when start == end */
    bool was_match;    /* the last part that came in */
    bool open;         /* MERGED_WITH_NEXT: the part waits for what follows */
};

static enum status flush(struct splitter *splitter) {
    if (splitter->start == splitter->end) return STATUS_OK;
    struct span part = {splitter->text.bytes + splitter->start, splitter->end - splitter->start,
                        splitter->text.first && splitter->start == 0};
    splitter->start = splitter->end;
    return tokenizer_run_steps(splitter->tokenizer, splitter->worker, splitter->next_step, part);
}

/* The next part, in order and without gaps; an empty match only separates. */
static enum status take(struct splitter *splitter, size_t start, size_t end, bool match) {
    bool extends = false;
    switch (splitter->behavior) {
    case SPLIT_ISOLATED:
    case SPLIT_REMOVED:
        break;
    case SPLIT_CONTIGUOUS:
        extends = match == splitter->was_match;
        break;
    case SPLIT_MERGED_WITH_PREVIOUS:
        extends = match && !splitter->was_match;
        break;
    case SPLIT_MERGED_WITH_NEXT:
        extends = !match && splitter->open;
        break;
    }
    enum status status = STATUS_OK;
    if (!extends) {
        status = flush(splitter);
        splitter->start = start;
    }
    splitter->end = end;
    splitter->was_match = match;
    splitter->open = match;
    if (splitter->behavior == SPLIT_REMOVED && match) splitter->start = end;
    return status;
}

static enum status split_at_pattern(struct splitter *splitter, const struct step *step) {
    struct pattern_state state = {0};
    size_t done = 0, start = 0, end = 0;
    bool found;
    for (;;) {
        enum status status =
            pattern_next(&found, &start, &end, &state, &step->pattern, splitter->worker,
                         splitter->text.bytes, splitter->text.length);
        if (!status && !found) break;
        if (!status && start > done) status = take(splitter, done, start, step->invert);
        if (!status) status = take(splitter, start, end, !step->invert);
        if (status) return status;
        done = end;
    }
    if (done < splitter->text.length) {
        enum status status = take(splitter, done, splitter->text.length, step->invert);
        if (status) return status;
    }
    return flush(splitter);
}

static enum status split_at_digits(struct splitter *splitter) {
    const char *bytes = splitter->text.bytes;
    size_t done = 0, i = 0;
    while (i < splitter->text.length) {
        size_t size = utf8_length(bytes[i]);
        bool numeric = size == 1 ? bytes[i] >= '0' && bytes[i] <= '9'
                                 : utf8_is_numeric(utf8_decode(bytes + i));
        if (numeric) {
            enum status status = STATUS_OK;
            if (i > done) status = take(splitter, done, i, false);
            if (!status) status = take(splitter, i, i + size, true);
            if (status) return status;
            done = i + size;
        }
        i += size;
    }
    if (done < i) {
        enum status status = take(splitter, done, i, false);
        if (status) return status;
    }
    return flush(splitter);
}

static void append_byte_text(struct text *out, const char *bytes, size_t length) {
    char block[256];
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        uint32_t character = tokenizer_character_of((unsigned char)bytes[i]);
        if (character < 0x80) {
            block[used++] = (char)character;
        } else {
            block[used++] = (char)(0xc0 | character >> 6);
            block[used++] = (char)(0x80 | (character & 0x3f));
        }
        if (used > sizeof block - 2) {
            text_append_bytes(out, block, used);
            used = 0;
        }
    }
    text_append_bytes(out, block, used);
}

static bool starts_with(const struct span *text, const char *prefix) {
    size_t length = strlen(prefix);
    return text->length >= length && memcmp(text->bytes, prefix, length) == 0;
}

static void append_metaspace(struct text *out, const struct step *step, const struct span *text) {
    size_t width = strlen(step->replacement);
    bool prepend = step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && text->first);
    if (prepend && !starts_with(text, " ") && !starts_with(text, step->replacement))
        text_append_bytes(out, step->replacement, width);
    size_t done = 0;
    for (size_t i = 0; i < text->length; i++) {
        if (text->bytes[i] != ' ') continue;
        text_append_bytes(out, text->bytes + done, i - done);
        text_append_bytes(out, step->replacement, width);
        done = i + 1;
    }
    text_append_bytes(out, text->bytes + done, text->length - done);
}

/* A step that writes a new text: into its own buffer, which lives while the later steps run. */
static enum status rewrite(const struct tokenizer *tokenizer, struct worker *worker, size_t index,
                           struct span text) {
    const struct step *step = &tokenizer->steps[index];
    struct text *buffer = &worker->step_text[index];
    text_clear(buffer);
    switch (step->kind) {
    case STEP_PREFIX_SPACE:
        if (starts_with(&text, " ")) return tokenizer_run_steps(tokenizer, worker, index + 1, text);
        text_append_bytes(buffer, " ", 1);
        text_append_bytes(buffer, text.bytes, text.length);
        break;
    case STEP_BYTES:
        append_byte_text(buffer, text.bytes, text.length);
        break;
    default:
        append_metaspace(buffer, step, &text);
        break;
    }
    enum status status = text_check(buffer);
    if (status) return status;
    return tokenizer_run_steps(tokenizer, worker, index + 1,
                               (struct span){buffer->bytes, buffer->length, text.first});
}

enum status tokenizer_run_steps(const struct tokenizer *tokenizer, struct worker *worker,
                                size_t index, struct span text) {
    if (text.length == 0) return STATUS_OK;
    if (index == tokenizer->step_count)
        return bpe_encode_word(&tokenizer->bpe, worker, text.bytes, text.length);
    const struct step *step = &tokenizer->steps[index];
    struct splitter splitter = {.tokenizer = tokenizer,
                                .worker = worker,
                                .next_step = index + 1,
                                .behavior = step->behavior,
                                .text = text};
    switch (step->kind) {
    case STEP_SPLIT:
        return split_at_pattern(&splitter, step);
    case STEP_DIGITS:
        return split_at_digits(&splitter);
    default:
        return rewrite(tokenizer, worker, index, text);
    }
}
