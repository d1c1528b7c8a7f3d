/* Normalizers: Unicode normal forms (UAX #15, tables of utf8proc), Prepend, Replace. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "data/tokenizer_internal.h"

/* Puts each run of combining marks in the order of their classes, keeping the order of equals. */
static enum status order_marks(int32_t *characters, size_t count) {
    for (size_t i = 0; i < count;) {
        size_t run = i;
        int previous = 0;
        bool ordered = true;
        for (; run < count; run++) {
            int class = utf8proc_get_property(characters[run])->combining_class;
            if (class == 0) break;
            ordered = ordered && class >= previous;
            previous = class;
        }
        if (!ordered) { /* a counting sort over the 256 classes: the run may be very long */
            size_t length = run - i, starts[257] = {0};
            int32_t *sorted = memory_calloc(length, sizeof *sorted);
            if (!sorted) return STATUS_FAILED;
            for (size_t j = i; j < run; j++)
                starts[(utf8proc_get_property(characters[j])->combining_class & 255) + 1]++;
            for (int c = 0; c < 256; c++) starts[c + 1] += starts[c];
            for (size_t j = i; j < run; j++)
                sorted[starts[utf8proc_get_property(characters[j])->combining_class & 255]++] =
                    characters[j];
            memcpy(characters + i, sorted, length * sizeof *sorted);
            free(sorted);
        }
        i = run + 1;
    }
    return STATUS_OK;
}

/* Appends the normal form of a stretch that no neighbour can combine with. */
static enum status append_form(struct text *out, const struct normalizer *form, const char *bytes,
                               size_t length) {
    enum { MOST = 18 }; /* characters that one can decompose into (U+FDFA) */
    utf8proc_option_t options = UTF8PROC_STABLE |
                                (form->compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                (form->compatible ? UTF8PROC_COMPAT : 0);
    size_t count = 0, capacity = length + MOST;
    int32_t *characters = memory_calloc(capacity, sizeof *characters);
    if (!characters) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < length; i += utf8_length(bytes[i])) {
        if (capacity - count < MOST) {
            void *grown = memory_resize(characters, 2 * capacity, sizeof *characters);
            if (!grown) {
                status = STATUS_FAILED;
                goto done;
            }
            characters = grown;
            capacity *= 2;
        }
        int boundary = 0;
        utf8proc_ssize_t got =
            utf8proc_decompose_char((int32_t)utf8_decode(bytes + i), characters + count,
                                    (utf8proc_ssize_t)(capacity - count), options, &boundary);
        if (got < 0 || (size_t)got > capacity - count) {
            status = status_fail("cannot normalize a text: %s", utf8proc_errmsg(got));
            goto done;
        }
        count += (size_t)got;
    }
    status = order_marks(characters, count);
    if (status) goto done;
    if (form->compose) {
        utf8proc_ssize_t left =
            utf8proc_normalize_utf32(characters, (utf8proc_ssize_t)count, options);
        if (left < 0) {
            status = status_fail("cannot normalize a text: %s", utf8proc_errmsg(left));
            goto done;
        }
        count = (size_t)left;
    }
    for (size_t i = 0; i < count; i++) {
        char encoded[4];
        utf8proc_ssize_t size = utf8proc_encode_char(characters[i], (utf8proc_uint8_t *)encoded);
        text_append_bytes(out, encoded, (size_t)size);
    }
    status = text_check(out);
done:
    free(characters);
    return status;
}

/* ASCII is its own normal form and combines only with what follows, so only stretches of other
 * characters, each with the ASCII character before it, need work. */
static enum status normalize_form(struct text *out, const struct normalizer *form, struct span in) {
    size_t i = 0;
    while (i < in.length) {
        size_t ascii = i;
        while (ascii < in.length && (unsigned char)in.bytes[ascii] < 0x80) ascii++;
        if (ascii == in.length) {
            text_append_bytes(out, in.bytes + i, ascii - i);
            break;
        }
        size_t from = ascii > i ? ascii - 1 : ascii, to = ascii;
        text_append_bytes(out, in.bytes + i, from - i);
        while (to < in.length && (unsigned char)in.bytes[to] >= 0x80) to++;
        enum status status = append_form(out, form, in.bytes + from, to - from);
        if (status) return status;
        i = to;
    }
    return text_check(out);
}

enum status tokenizer_normalize(struct span *out, const struct tokenizer *tokenizer,
                                struct worker *worker, struct span in) {
    for (size_t i = 0; i < tokenizer->normalizer_count; i++) {
        const struct normalizer *normalizer = &tokenizer->normalizers[i];
        struct text *buffer = &worker->normal[i & 1];
        enum status status = STATUS_OK;
        text_clear(buffer);
        switch (normalizer->kind) {
        case NORMALIZE_FORM:
            status = normalize_form(buffer, normalizer, in);
            break;
        case NORMALIZE_PREPEND:
            if (in.length == 0) continue;
            text_append_bytes(buffer, normalizer->content, normalizer->content_length);
            text_append_bytes(buffer, in.bytes, in.length);
            status = text_check(buffer);
            break;
        case NORMALIZE_REPLACE:
            status = pattern_replace(buffer, &normalizer->pattern, worker, in.bytes, in.length,
                                     normalizer->content, normalizer->content_length);
            break;
        }
        if (status) return status;
        in.bytes = buffer->length ? buffer->bytes : "";
        in.length = buffer->length;
    }
    *out = in;
    return STATUS_OK;
}
