#include "data/input_type.h"

#include <string.h>

#include "base/text.h"

static const struct {
    const char *end;
    enum input_kind kind;
} names[] = {
    {".txt", INPUT_TEXT},
    {".jsonl", INPUT_LINES},
    {".ndjson", INPUT_LINES},
    {".json", INPUT_JSON},
};

/* Formats that data sets are published in, by the bytes that they begin with. */
static const struct {
    const char *bytes;
    size_t at, length;
    const char *what, *advice;
} formats[] = {
    {"PAR1\x15", 0, 5, "a Parquet file",
     "write it as JSON lines, in Python with pandas.read_parquet(FILE).to_json(\"rows.jsonl\", "
     "orient=\"records\", lines=True)"},
    {"ARROW1\0", 0, 7, "an Arrow file",
     "write it as JSON lines, in Python with "
     "datasets.Dataset.from_file(FILE).to_json(\"rows.jsonl\")"},
    {"\x28\xb5\x2f\xfd", 0, 4, "compressed with zstd",
     "pipe it in: zstd -dc FILE | apriel-tool data ... -"},
    {"\xfd"
     "7zXZ",
     0, 5, "compressed with xz", "pipe it in: xz -dc FILE | apriel-tool data ... -"},
    {"1AY&SY", 4, 6, "compressed with bzip2",
     "pipe it in: bzip2 -dc FILE | apriel-tool data ... -"},
    {"PK\x03\x04", 0, 4, "a ZIP archive", "unpack it first"},
    {"\x1f\x8b", 0, 2, "compressed twice", "pipe it in: gzip -dc FILE | apriel-tool data ... -"},
    {"\x89HDF", 0, 4, "an HDF5 file", "a token set is not made from another"},
    {"SQLite format 3", 0, 16, "a SQLite database", "export its texts as JSON lines first"},
};

static bool ends_with(const char *text, size_t length, const char *end) {
    size_t end_length = strlen(end);
    return length > end_length && memcmp(text + length - end_length, end, end_length) == 0;
}

enum input_kind input_kind_of(const char *path) {
    size_t length = strlen(path);
    if (ends_with(path, length, ".gz")) length -= 3;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ends_with(path, length, names[i].end)) return names[i].kind;
    return INPUT_BY_NAME;
}

enum status input_kind_parse(enum input_kind *out, const char *text) {
    *out = strcmp(text, "text") == 0    ? INPUT_TEXT
           : strcmp(text, "lines") == 0 ? INPUT_LINES
           : strcmp(text, "json") == 0  ? INPUT_JSON
                                        : INPUT_BY_NAME;
    if (*out) return STATUS_OK;
    return status_set(STATUS_USAGE, "--format cannot be \"%s\" (text, lines or json)", text);
}

/* UTF-16 without a mark: every second byte of plain text is zero. */
static bool looks_wide(const char *bytes, size_t length, size_t zero) {
    if (length > 64) length = 64;
    if (length < 4) return false;
    for (size_t i = 0; i + 1 < length; i += 2)
        if (bytes[i + zero] != '\0' || bytes[i + 1 - zero] == '\0') return false;
    return true;
}

static const char *encoding_of(const char *bytes, size_t length) {
    if (length >= 4 && memcmp(bytes, "\xff\xfe\0\0", 4) == 0) return "UTF-32";
    if (length >= 4 && memcmp(bytes, "\0\0\xfe\xff", 4) == 0) return "UTF-32";
    if (length >= 2 && memcmp(bytes, "\xff\xfe", 2) == 0) return "UTF-16";
    if (length >= 2 && memcmp(bytes, "\xfe\xff", 2) == 0) return "UTF-16";
    if (looks_wide(bytes, length, 1)) return "UTF-16LE";
    return looks_wide(bytes, length, 0) ? "UTF-16BE" : NULL;
}

enum status input_check_type(const char *path, const char *bytes, size_t length) {
    const char *encoding = encoding_of(bytes, length);
    if (encoding)
        return status_fail("\"%s\" is %s, not UTF-8: convert it first, with iconv -f %s -t UTF-8",
                           path, encoding, encoding);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (length >= formats[i].at + formats[i].length &&
            memcmp(bytes + formats[i].at, formats[i].bytes, formats[i].length) == 0)
            return status_fail("\"%s\" is %s: %s", path, formats[i].what, formats[i].advice);
    return STATUS_OK;
}
