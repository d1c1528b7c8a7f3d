#define _GNU_SOURCE
#include "template/python_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "template/run.h" /* circle: a run keeps memory and faults */

bool python_is_space(uint32_t c) {
    return utf8_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

bool python_is_printable(uint32_t c) {
    if (c < 0x7f) return c >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool python_is_line_end(uint32_t c) {
    return (c >= 0xa && c <= 0xd) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

size_t python_count(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

size_t python_offset(const char *text, size_t length, size_t index) {
    size_t at = 0;
    while (index-- && at < length) at += utf8_length(text[at]);
    return at;
}

size_t python_leading_space(const char *text, size_t length) {
    size_t at = 0;
    while (at < length && python_is_space(utf8_decode(text + at))) at += utf8_length(text[at]);
    return at;
}

size_t python_trailing_space(const char *text, size_t length) {
    size_t end = length;
    while (end > 0) {
        size_t before = utf8_before(text, end);
        if (!python_is_space(utf8_decode(text + before))) break;
        end = before;
    }
    return length - end;
}

static bool is_one_of(const char *character, size_t length, struct value chars) {
    const char *bytes = chars.text.bytes;
    for (size_t at = 0; at < chars.text.length; at += utf8_length(bytes[at]))
        if (utf8_length(bytes[at]) == length && memcmp(bytes + at, character, length) == 0)
            return true;
    return false;
}

struct value python_strip(struct value text, const struct value *chars, bool left, bool right) {
    const char *bytes = text.text.bytes;
    size_t start = 0, end = text.text.length;
    while (left && start < end) {
        size_t step = utf8_length(bytes[start]);
        if (chars ? !is_one_of(bytes + start, step, *chars)
                  : !python_is_space(utf8_decode(bytes + start)))
            break;
        start += step;
    }
    while (right && end > start) {
        size_t before = utf8_before(bytes, end);
        if (chars ? !is_one_of(bytes + before, end - before, *chars)
                  : !python_is_space(utf8_decode(bytes + before)))
            break;
        end = before;
    }
    struct value stripped = value_text(bytes + start, end - start);
    stripped.safe = text.safe;
    return stripped;
}

size_t python_find(struct value text, struct value part, size_t from) {
    if (from > text.text.length || part.text.length > text.text.length - from) return SIZE_MAX;
    if (!part.text.length) return from;
    const char *found =
        memmem(text.text.bytes + from, text.text.length - from, part.text.bytes, part.text.length);
    return found ? (size_t)(found - text.text.bytes) : SIZE_MAX;
}

size_t python_find_last(struct value text, struct value part) {
    if (part.text.length > text.text.length) return SIZE_MAX;
    for (size_t at = text.text.length - part.text.length + 1; at-- > 0;)
        if (memcmp(text.text.bytes + at, part.text.bytes, part.text.length) == 0) return at;
    return SIZE_MAX;
}

bool python_is_letter(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return true;
    default:
        return false;
    }
}

bool python_is_upper(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU ||
           (c >= 0x2160 && c <= 0x216f) || (c >= 0x24b6 && c <= 0x24cf) ||
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

bool python_is_lower(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LL || c == 0xaa ||
           c == 0xba || (c >= 0x2170 && c <= 0x217f) || (c >= 0x24d0 && c <= 0x24e9);
}

static bool is_title(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LT;
}

/* Characters whose upper case is several (SpecialCasing.txt), or whose lower case is (U+0130) or
 * depends on what stands around (U+03A3). */
static bool is_special(uint32_t c) {
    return c == 0xdf || c == 0x130 || c == 0x149 || c == 0x1f0 || c == 0x390 || c == 0x3a3 ||
           c == 0x3b0 || c == 0x587 || (c >= 0x1e96 && c <= 0x1e9e) ||
           (c >= 0x1f50 && c <= 0x1ffc) || (c >= 0xfb00 && c <= 0xfb17);
}

static uint32_t change(uint32_t c, enum python_case change, bool starts) {
    if (change == PYTHON_SWAP) change = python_is_upper(c) ? PYTHON_LOWER : PYTHON_UPPER;
    if (change == PYTHON_UPPER) return (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
    if (change != PYTHON_LOWER && starts) return (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

struct value python_change_case(struct run *run, struct value text, enum python_case how) {
    struct text out = {0};
    bool starts = true;
    run_work_text(run, text.text.length);
    for (size_t at = 0; !run->status && at < text.text.length;) {
        uint32_t c = utf8_decode(text.text.bytes + at);
        utf8proc_uint8_t bytes[4];
        if (is_special(c)) run_fail(run, "changing the case of U+%04X is not understood", c);
        utf8proc_ssize_t length =
            utf8proc_encode_char((utf8proc_int32_t)change(c, how, starts), bytes);
        text_append_bytes(&out, (const char *)bytes, (size_t)length);
        if (how == PYTHON_TITLE)
            starts = !python_is_upper(c) && !python_is_lower(c) && !is_title(c);
        else
            starts = false;
        at += utf8_length(text.text.bytes[at]);
    }
    if (out.failed) run_fail(run, "out of memory");
    struct value changed =
        run->status ? value_of_kind(VALUE_UNDEFINED) : value_text_copy(run, out.bytes, out.length);
    changed.safe = text.safe && changed.kind == VALUE_TEXT;
    text_free(&out);
    return changed;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}

bool python_parse_integer(struct run *run, int64_t *out, struct value text, int64_t base) {
    struct value digits = python_strip(text, NULL, true, true);
    const char *at = digits.text.bytes, *end = at + digits.text.length;
    bool negative = at < end && *at == '-', any = false, joined = false;
    if (base != 0 && (base < 2 || base > 36)) return false;
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (end - at > 2 && *at == '0') {
        char mark = (char)(at[1] | 0x20);
        int named = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        if (named && (base == named || base == 0)) {
            base = named;
            at += 2;
            joined = true; /* one '_' may follow the mark */
        }
    }
    bool zeros_only = base == 0 && at < end && *at == '0';
    if (base == 0) base = 10;
    uint64_t number = 0;
    bool large = false;
    for (bool last_joined = !joined; at < end; at++) {
        if (*at == '_' && !last_joined && at + 1 < end) {
            last_joined = true;
            continue;
        }
        int digit = digit_of(*at);
        if (digit >= base || (zeros_only && digit)) return false;
        large |= number > ((uint64_t)INT64_MAX - (unsigned)digit) / (uint64_t)base;
        number = number * (uint64_t)base + (unsigned)digit;
        last_joined = false;
        any = true;
    }
    if (any && large) run_fail(run, "an integer needs more than 64 bits");
    *out = negative ? -(int64_t)number : (int64_t)number;
    return any;
}

bool python_parse_float(double *out, struct value text) {
    static const char *const words[] = {"inf", "infinity", "nan"};
    struct value stripped = python_strip(text, NULL, true, true);
    char copy[512], *end;
    size_t count = 0;
    const char *bytes = stripped.text.bytes;
    if (stripped.text.length >= sizeof copy) return false;
    for (size_t i = 0; i < stripped.text.length; i++) {
        bool between = i > 0 && i + 1 < stripped.text.length && digit_of(bytes[i - 1]) < 10 &&
                       digit_of(bytes[i + 1]) < 10;
        if (bytes[i] == '_' && between) continue;
        copy[count++] = bytes[i];
    }
    copy[count] = '\0';
    const char *sign = copy + (*copy == '-' || *copy == '+');
    bool word = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        word |= strcasecmp(sign, words[i]) == 0;
    /* strtod knows more than Python: hexadecimal, nan(…), other words. */
    if (!word && (!count || strspn(copy, "0123456789+-.eE") != count)) return false;
    *out = strtod(copy, &end);
    return end == copy + count && count;
}
