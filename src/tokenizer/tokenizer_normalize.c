/* Normalizers: Unicode normal forms (UAX #15, tables of utf8proc, held to the Unicode of the
 * tokenizers library), Prepend, Replace. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

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

struct range {
    uint32_t first, last;
};

/* The tokenizers library has the normal forms of Unicode 9: what came later neither decomposes nor
 * moves nor combines there. These are the later characters that do, up to Unicode 16
 * (tests/oracle/normal_forms.py). */
static const struct range later[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1aff},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},
    {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x105c0, 0x105f3}, {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10efa, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11380, 0x113e2}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16100, 0x16139}, {0x16d40, 0x16d79}, {0x16ff0, 0x16ff1},
    {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1f16c, 0x1f16c},
    {0x1fbf0, 0x1fbf9}};

static int compare_range(const void *key, const void *element) {
    uint32_t c = *(const uint32_t *)key;
    const struct range *range = element;
    return c < range->first ? -1 : c > range->last;
}

/* Begins such a character here? */
static bool is_later(const char *bytes) {
    uint32_t c = utf8_decode(bytes);
    return c >= later[0].first &&
           bsearch(&c, later, sizeof later / sizeof *later, sizeof *later, compare_range) != NULL;
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
        while (to < in.length && (unsigned char)in.bytes[to] >= 0x80 && !is_later(in.bytes + to))
            to += utf8_length(in.bytes[to]);
        enum status status = append_form(out, form, in.bytes + from, to - from);
        if (status) return status;
        for (i = to; i < in.length && (unsigned char)in.bytes[i] >= 0x80 && is_later(in.bytes + i);)
            i += utf8_length(in.bytes[i]);
        text_append_bytes(out, in.bytes + to, i - to);
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
