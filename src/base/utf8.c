#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* Length of the valid character at `text`, or 0; then *wrong counts the bytes that could have begun
 * one (at least 1). */
static size_t check_one(const unsigned char *text, size_t left, size_t *wrong) {
    *wrong = 1;
    unsigned char first = text[0];
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < length; i++) {
        if (i >= left || text[i] < low || text[i] > high) return 0;
        *wrong = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

bool utf8_valid(const char *text, size_t length, size_t *where) {
    size_t i = 0, wrong;
    while (i < length) {
        uint64_t word;
        if (length - i >= sizeof word) {
            memcpy(&word, text + i, sizeof word);
            if (!(word & UINT64_C(0x8080808080808080))) {
                i += sizeof word;
                continue;
            }
        }
        size_t step = check_one((const unsigned char *)text + i, length - i, &wrong);
        if (!step) {
            *where = i;
            return false;
        }
        i += step;
    }
    return true;
}

uint32_t utf8_decode(const char *text) {
    const unsigned char *t = (const unsigned char *)text;
    if (t[0] < 0x80) return t[0];
    if (t[0] < 0xe0) return (t[0] & 0x1fu) << 6 | (t[1] & 0x3fu);
    if (t[0] < 0xf0) return (t[0] & 0x0fu) << 12 | (t[1] & 0x3fu) << 6 | (t[2] & 0x3fu);
    return (t[0] & 0x07u) << 18 | (t[1] & 0x3fu) << 12 | (t[2] & 0x3fu) << 6 | (t[3] & 0x3fu);
}

size_t utf8_check(const char *text, size_t left) {
    size_t wrong;
    return check_one((const unsigned char *)text, left, &wrong);
}

size_t utf8_before(const char *text, size_t end) {
    do end--;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80);
    return end;
}

void utf8_append_lossy(struct text *out, const char *bytes, size_t length) {
    size_t good = 0; /* bytes before `i` that are not appended yet */
    for (size_t i = 0, wrong; i < length;) {
        size_t step = check_one((const unsigned char *)bytes + i, length - i, &wrong);
        if (step) {
            good += step;
            i += step;
            continue;
        }
        text_append_bytes(out, bytes + i - good, good);
        text_append_bytes(out, "\xef\xbf\xbd", 3);
        good = 0;
        i += wrong;
    }
    if (good) text_append_bytes(out, bytes + length - good, good);
}

bool utf8_is_space(uint32_t c) {
    return (c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

struct range {
    uint32_t first, last;
};

static bool is_within(uint32_t c, const struct range *ranges, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (c >= ranges[i].first && c <= ranges[i].last) return true;
    return false;
}

/* What came since Unicode 15, which utf8proc 2.8 has, and the tokenizers library knows. */
static const struct range newer_words[] = {
    {0x897, 0x897},     {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},
    {0x105c0, 0x105f3}, {0x10d40, 0x10d65}, {0x10d69, 0x10d6d}, {0x10d6f, 0x10d85},
    {0x10ec2, 0x10ec4}, {0x10efc, 0x10efc}, {0x11380, 0x11389}, {0x1138b, 0x1138b},
    {0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113c0}, {0x113c2, 0x113c2},
    {0x113c5, 0x113c5}, {0x113c7, 0x113ca}, {0x113cc, 0x113d3}, {0x113e1, 0x113e2},
    {0x116d0, 0x116e3}, {0x11bc0, 0x11be0}, {0x11bf0, 0x11bf9}, {0x11f5a, 0x11f5a},
    {0x13460, 0x143fa}, {0x16100, 0x16139}, {0x16d40, 0x16d6c}, {0x16d70, 0x16d79},
    {0x18cff, 0x18cff}, {0x1ccf0, 0x1ccf9}, {0x1e5d0, 0x1e5fa}, {0x2ebf0, 0x2ee5d},
};
static const struct range newer_numbers[] = {
    {0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9},
    {0x11de0, 0x11de9}, {0x16130, 0x16139}, {0x16d70, 0x16d79},
    {0x16ff4, 0x16ff6}, {0x1ccf0, 0x1ccf9}, {0x1e5f1, 0x1e5fa},
};

bool utf8_is_word(uint32_t c) {
    if (is_within(c, newer_words, sizeof newer_words / sizeof *newer_words)) return true;
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
        (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c ||
        c == 0x200d)
        return true;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

bool utf8_is_numeric(uint32_t c) {
    if (c >= newer_numbers[0].first &&
        is_within(c, newer_numbers, sizeof newer_numbers / sizeof *newer_numbers))
        return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

const char *utf8_library_version(void) {
    return utf8proc_version();
}
