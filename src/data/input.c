#define _GNU_SOURCE
#include "data/input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/interrupt.h"
#include "base/lines.h"
#include "base/memory.h"
#include "base/path_hint.h"
#include "base/utf8.h"
#include "data/input_type.h"

enum { BLOCK = 1 << 18 };

static enum status refuse_read(const struct input *input) {
    int code = Z_OK;
    const char *reason = gzerror(input->file, &code);
    if (code == Z_ERRNO && errno == EINTR && interrupt_requested())
        return status_set(STATUS_INTERRUPTED, "interrupted: nothing was written");
    if (code == Z_ERRNO) return status_fail("cannot read \"%s\": %s", input->path, strerror(errno));
    if (code == Z_BUF_ERROR)
        return status_fail("\"%s\" is compressed and ends early: damaged or not whole",
                           input->path);
    return status_fail("\"%s\": its compressed data is damaged (%s)", input->path, reason);
}

/* More bytes behind `end`; the ones before `at` are given up. */
static enum status fill(struct input *input) {
    if (input->at) {
        memmove(input->bytes, input->bytes + input->at, input->end - input->at);
        input->end -= input->at;
        input->at = 0;
    }
    if (input->end + BLOCK > input->capacity) {
        size_t capacity = input->capacity ? 2 * input->capacity : 2 * BLOCK;
        char *grown = memory_resize(input->bytes, capacity, 1);
        if (!grown) return STATUS_FAILED;
        input->bytes = grown;
        input->capacity = capacity;
    }
    int got = gzread(input->file, input->bytes + input->end, BLOCK);
    int code = Z_OK;
    gzerror(input->file, &code);
    if (got < 0 || (got < BLOCK && code == Z_BUF_ERROR)) return refuse_read(input);
    input->end += (size_t)got;
    input->ended = got == 0;
    return STATUS_OK;
}

static enum status open_file(struct input *input) {
    bool standard = strcmp(input->path, "-") == 0;
    int descriptor = standard ? dup(STDIN_FILENO) : open(input->path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (descriptor < 0 || fstat(descriptor, &about) != 0) {
        int reason = errno;
        if (descriptor >= 0) close(descriptor);
        return path_fail(input->path, reason);
    }
    if (S_ISDIR(about.st_mode)) {
        close(descriptor);
        return status_fail("cannot read \"%s\": it is a directory", input->path);
    }
    input->file = gzdopen(descriptor, "rb");
    if (!input->file) {
        close(descriptor);
        return status_fail("out of memory");
    }
    gzbuffer(input->file, BLOCK);
    return STATUS_OK;
}

/* A .json file, and what came without a name, show what they are by their first character. */
static void choose_kind(struct input *input) {
    if (input->kind == INPUT_TEXT || input->kind == INPUT_LINES) return;
    size_t at = input->at;
    while (at < input->end && strchr(" \t\r\n", input->bytes[at]) && input->bytes[at]) at++;
    char first = at < input->end ? input->bytes[at] : '\0';
    bool named = input->kind == INPUT_JSON;
    if (first == '[')
        input->kind = INPUT_ARRAY;
    else
        input->kind = named ? INPUT_VALUES : first == '{' ? INPUT_LINES : INPUT_TEXT;
}

static void skip_mark(struct input *input) {
    if (input->end - input->at >= 3 && memcmp(input->bytes + input->at, "\xef\xbb\xbf", 3) == 0)
        input->at += 3;
}

enum status input_open(struct input *out, const char *path, enum input_kind kind) {
    *out = (struct input){.path = path, .kind = kind ? kind : input_kind_of(path)};
    enum status status = open_file(out);
    while (!status && !out->ended && out->end < 512) status = fill(out);
    if (!status) status = input_check_type(path, out->bytes, out->end);
    if (status) return status;
    skip_mark(out);
    choose_kind(out);
    out->unit = out->kind == INPUT_LINES ? "line" : "record";
    return STATUS_OK;
}

static enum status check_utf8(const struct input *input, const char *bytes, size_t length) {
    size_t where;
    if (utf8_valid(bytes, length, &where)) return STATUS_OK;
    if (input->kind == INPUT_TEXT)
        return status_fail("\"%s\": the text is not UTF-8 at byte %zu: convert it first, as with "
                           "iconv -t UTF-8",
                           input->path, where);
    return status_fail("\"%s\": %s %" PRIu64
                       ": the text is not UTF-8 at byte %zu: convert the file first, as with "
                       "iconv -t UTF-8",
                       input->path, input->unit, input->number, where);
}

/* Windows' line ends as newlines, in place. */
static size_t unify_newlines(char *bytes, size_t length) {
    size_t to = 0;
    for (size_t from = 0; from < length; from++)
        if (!(bytes[from] == '\r' && from + 1 < length && bytes[from + 1] == '\n'))
            bytes[to++] = bytes[from];
    return to;
}

static enum status next_text(const char **bytes, size_t *length, struct input *input) {
    enum status status = STATUS_OK;
    if (input->number++) return STATUS_OK;
    size_t mark = input->at;
    input->at = 0;
    while (!status && !input->ended) status = fill(input);
    if (status) return status;
    status = check_utf8(input, input->bytes, input->end);
    *length = unify_newlines(input->bytes + mark, input->end - mark);
    *bytes = input->bytes + mark;
    input->at = input->end;
    return status;
}

static enum status next_line(const char **bytes, size_t *length, struct input *input) {
    enum status status = STATUS_OK;
    size_t searched = 0;
    while (!status && !*bytes) {
        size_t held = input->end - input->at;
        const char *start = input->bytes + input->at;
        const char *stop = held ? memchr(start + searched, '\n', held - searched) : NULL;
        if (!stop && !input->ended) {
            searched = held;
            status = fill(input);
            continue;
        }
        if (!held) return STATUS_OK;
        *length = stop ? (size_t)(stop - start) + 1 : held;
        input->at += *length;
        searched = 0;
        input->number++;
        if (!lines_trim(&start, length, 1)) continue; /* files put together have marks within */
        *bytes = start;
        status = check_utf8(input, start, *length);
    }
    return status;
}

static enum status refuse_part(const struct input *input, const char *reason) {
    return status_fail("\"%s\": after record %" PRIu64 ": %s", input->path, input->number, reason);
}

static enum status refuse_cut(const struct input *input) {
    return refuse_part(input, "the file ends early");
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next byte that is no blank, or -1 at the end; `at` stands on it. */
static enum status peek(int *byte, struct input *input) {
    for (;;) {
        while (input->at < input->end && is_blank(input->bytes[input->at])) input->at++;
        if (input->at < input->end || input->ended) break;
        enum status status = fill(input);
        if (status) return status;
    }
    *byte = input->at < input->end ? (unsigned char)input->bytes[input->at] : -1;
    return STATUS_OK;
}

static bool ends_value(char c) {
    return c == ',' || c == ']' || c == '}' || is_blank(c);
}

/* Bytes of the value at `at`: to where its brackets close, or to what ends a plain value. Whether
 * it is JSON is for its reader to say. */
static enum status measure_value(size_t *length, struct input *input) {
    size_t size = 0, depth = 0;
    bool quoted = false, escaped = false;
    for (;; size++) {
        while (input->at + size == input->end) {
            if (input->ended && depth == 0 && !quoted && input->kind == INPUT_VALUES) goto done;
            if (input->ended) return refuse_cut(input);
            enum status status = fill(input);
            if (status) return status;
        }
        char c = input->bytes[input->at + size];
        if (quoted) {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if (depth == 0 && ends_value(c)) break;
        quoted = c == '"';
        depth += c == '[' || c == '{';
        if ((c == ']' || c == '}') && --depth == 0) {
            size++;
            break;
        }
    }
done:
    *length = size;
    return STATUS_OK;
}

static enum status take_value(const char **bytes, size_t *length, struct input *input) {
    enum status status = measure_value(length, input);
    if (status) return status;
    if (!*length) return refuse_part(input, "a record is expected");
    input->number++;
    *bytes = input->bytes + input->at;
    input->at += *length;
    return check_utf8(input, *bytes, *length);
}

static enum status next_value(const char **bytes, size_t *length, struct input *input) {
    int byte;
    enum status status = peek(&byte, input);
    return status || byte < 0 ? status : take_value(bytes, length, input);
}

static enum status end_array(struct input *input) {
    int byte;
    input->at++;
    input->closed = true;
    enum status status = peek(&byte, input);
    if (!status && byte != -1) status = refuse_part(input, "more follows the end of the array");
    return status;
}

static enum status next_element(const char **bytes, size_t *length, struct input *input) {
    int byte;
    if (input->closed) return STATUS_OK;
    enum status status = peek(&byte, input);
    if (status) return status;
    bool first = !input->opened;
    if (first) { /* choose_kind has seen the bracket */
        input->opened = true;
        input->at++;
        status = peek(&byte, input);
        if (!status && byte == ']') return end_array(input);
    } else if (byte == ']') {
        return end_array(input);
    } else if (byte == ',') {
        input->at++;
        status = peek(&byte, input);
    } else if (byte < 0) {
        return refuse_cut(input);
    } else {
        return refuse_part(input, "a comma or the end of the array is expected");
    }
    return status ? status : take_value(bytes, length, input);
}

enum status input_next(const char **bytes, size_t *length, struct input *input) {
    *bytes = NULL;
    *length = 0;
    enum status status = input->kind == INPUT_TEXT     ? next_text(bytes, length, input)
                         : input->kind == INPUT_ARRAY  ? next_element(bytes, length, input)
                         : input->kind == INPUT_VALUES ? next_value(bytes, length, input)
                                                       : next_line(bytes, length, input);
    if (status) *bytes = NULL;
    return status;
}

uint64_t input_read_bytes(const struct input *input) {
    z_off_t offset = input->file ? gzoffset(input->file) : 0;
    return offset > 0 ? (uint64_t)offset : 0;
}

void input_close(struct input *input) {
    if (input->file) gzclose_r(input->file);
    free(input->bytes);
    *input = (struct input){0};
}

const char *input_library_version(void) {
    return zlibVersion();
}
