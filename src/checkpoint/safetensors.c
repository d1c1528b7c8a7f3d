#define _GNU_SOURCE
#include "checkpoint/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/path_hint.h"
#include "checkpoint/tensors.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100 * 1000 * 1000 };

struct safetensors {
    char *path;
    void *map;
    size_t size;
    struct file_identity identity;
    struct json *header;                /* owns the names */
    struct safetensors_entry *entries;  /* [count], by offset */
    struct safetensors_entry **by_name; /* [count], by name */
    size_t count;
};

/* Bits per element of every type in the safetensors specification. */
static const struct {
    const char *name;
    int bits;
} known_types[] = {
    {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F4", 4},      {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"I16", 16},        {"U16", 16},        {"F16", 16},    {"BF16", 16},
    {"I32", 32},    {"U32", 32},        {"F32", 32},        {"C64", 64},    {"F64", 64},
    {"I64", 64},    {"U64", 64},
};

/* 0 when the type is not in the specification: its size cannot be checked, only its range. */
static int type_bits(const char *name) {
    for (size_t i = 0; i < sizeof known_types / sizeof *known_types; i++)
        if (strcmp(known_types[i].name, name) == 0) return known_types[i].bits;
    return 0;
}

static enum status map_file(struct safetensors *file) {
    enum status status = STATUS_OK;
    struct stat about;
    int descriptor = open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return path_fail(file->path, errno);
    if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) {
        status = status_fail("\"%s\" is not a regular file", file->path);
        goto done;
    }
    file->size = (size_t)about.st_size;
    file->identity = file_identity_from(&about);
    if (file->size < LENGTH_BYTES) {
        status =
            status_fail("\"%s\" has %zu bytes, too short for safetensors", file->path, file->size);
        goto done;
    }
    file->map = mmap(NULL, file->size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (file->map == MAP_FAILED) {
        file->map = NULL;
        status = status_fail("cannot map \"%s\": %s", file->path, strerror(errno));
    }
done:
    close(descriptor);
    return status;
}

static enum status parse_header(struct safetensors *file) {
    const unsigned char *bytes = file->map;
    uint64_t length = 0;
    if (path_is_lfs_pointer(file->map, file->size)) return path_fail_lfs(file->path);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | bytes[i];
    size_t rest = file->size - LENGTH_BYTES;
    if (length > MAX_HEADER && length <= rest)
        return status_fail("\"%s\": the header claims %" PRIu64 " bytes, more than the format's "
                           "limit of 100 MB",
                           file->path, length);
    if (length > rest)
        return status_fail("\"%s\": the header claims %" PRIu64 " bytes, but only %zu follow: "
                           "truncated, or not safetensors",
                           file->path, length, rest);
    enum status status = js_parse_unique(&file->header, (const char *)bytes + LENGTH_BYTES,
                                         (size_t)length, file->path);
    if (status) return status;
    if (!js_is_object(file->header))
        return status_fail("\"%s\": the header is not a JSON object", file->path);
    return STATUS_OK;
}

static enum status parse_shape(struct safetensors_entry *entry, const struct json *shape,
                               const char *path) {
    if (!js_is_array(shape) || js_count(shape) > SAFETENSORS_MAX_RANK)
        return status_fail("\"%s\": tensor \"%s\": \"shape\" must be a list of at most %d sizes",
                           path, entry->name, SAFETENSORS_MAX_RANK);
    entry->rank = (int)js_count(shape);
    entry->count = 1;
    for (int i = 0; i < entry->rank; i++) {
        entry->shape[i] = js_integer_or(js_element(shape, (size_t)i), -1);
        if (entry->shape[i] < 0)
            return status_fail("\"%s\": tensor \"%s\": \"shape\" must hold integers from 0 on",
                               path, entry->name);
        if (__builtin_mul_overflow(entry->count, entry->shape[i], &entry->count))
            return status_fail("\"%s\": tensor \"%s\": the shape's product overflows", path,
                               entry->name);
    }
    return STATUS_OK;
}

/* The byte range, inside the data, and its agreement with shape and dtype. */
static enum status parse_range(struct safetensors_entry *entry, const struct json *offsets,
                               const struct safetensors *file, size_t data_start) {
    size_t data_size = file->size - data_start;
    int64_t begin = js_integer_or(js_element(offsets, 0), -1);
    int64_t end = js_integer_or(js_element(offsets, 1), -1);
    if (!js_is_array(offsets) || js_count(offsets) != 2 || begin < 0 || end < begin)
        return status_fail("\"%s\": tensor \"%s\": \"data_offsets\" must be [begin, end]",
                           file->path, entry->name);
    if ((uint64_t)end > data_size)
        return status_fail("\"%s\": tensor \"%s\" ends at byte %" PRId64 " of %zu: truncated file "
                           "or wrong offsets",
                           file->path, entry->name, end, data_size);
    entry->bytes = (size_t)(end - begin);
    entry->data = (const char *)file->map + data_start + begin;
    int bits = type_bits(entry->dtype_name);
    int64_t total;
    if (!bits) return STATUS_OK;
    if (__builtin_mul_overflow(entry->count, (int64_t)bits, &total) || total % 8 ||
        total / 8 != end - begin) {
        char shape[TENSOR_SHAPE_SIZE];
        return status_fail("\"%s\": tensor \"%s\": %s %s does not fill %zu bytes", file->path,
                           entry->name, entry->dtype_name,
                           tensor_shape_format(shape, entry->rank, entry->shape), entry->bytes);
    }
    return STATUS_OK;
}

static enum status parse_entry(struct safetensors_entry *entry, const char *name,
                               const struct json *value, const struct safetensors *file,
                               size_t data_start) {
    entry->name = name;
    if (!js_is_object(value))
        return status_fail("\"%s\": tensor \"%s\" is not described by an object", file->path, name);
    entry->dtype_name = js_string_or(js_member(value, "dtype"), NULL);
    if (!entry->dtype_name)
        return status_fail("\"%s\": tensor \"%s\": \"dtype\" is missing", file->path, name);
    if (!dtype_from_name(&entry->dtype, entry->dtype_name)) entry->dtype = DTYPE_COUNT;
    enum status status = parse_shape(entry, js_member(value, "shape"), file->path);
    if (status) return status;
    return parse_range(entry, js_member(value, "data_offsets"), file, data_start);
}

static int compare_offsets(const void *a, const void *b) {
    const struct safetensors_entry *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int compare_names(const void *a, const void *b) {
    const struct safetensors_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Sorted by offset, the ranges must tile the data exactly. */
static enum status check_tiling(const struct safetensors *file, size_t data_start) {
    const char *expected = (const char *)file->map + data_start;
    const char *end = (const char *)file->map + file->size;
    const char *before = "the header";
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_entry *entry = &file->entries[i];
        const char *begin = entry->data;
        if (begin < expected)
            return status_fail("\"%s\": tensors \"%s\" and \"%s\" overlap", file->path, before,
                               entry->name);
        if (begin > expected)
            return status_fail("\"%s\": %td bytes before tensor \"%s\" belong to no tensor",
                               file->path, begin - expected, entry->name);
        expected = begin + entry->bytes;
        before = entry->name;
    }
    if (expected != end)
        return status_fail("\"%s\": the last %td bytes belong to no tensor", file->path,
                           end - expected);
    return STATUS_OK;
}

static enum status parse_entries(struct safetensors *file) {
    const unsigned char *bytes = file->map;
    size_t data_start = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) data_start = data_start << 8 | bytes[i];
    data_start += LENGTH_BYTES;
    size_t most = js_count(file->header);
    file->entries = memory_calloc(most, sizeof *file->entries);
    file->by_name = memory_calloc(most, sizeof *file->by_name);
    if (!file->entries || !file->by_name) return STATUS_FAILED;
    for (void *i = js_first(file->header); i; i = js_next(file->header, i)) {
        if (strcmp(js_key(i), "__metadata__") == 0) continue;
        enum status status =
            parse_entry(&file->entries[file->count], js_key(i), js_value(i), file, data_start);
        if (status) return status;
        file->count++;
    }
    qsort(file->entries, file->count, sizeof *file->entries, compare_offsets);
    for (size_t i = 0; i < file->count; i++) file->by_name[i] = &file->entries[i];
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
    return check_tiling(file, data_start);
}

enum status safetensors_open(struct safetensors **out, const char *path) {
    struct safetensors *file = memory_calloc(1, sizeof *file);
    if (!file) return STATUS_FAILED;
    file->path = memory_copy_string(path);
    enum status status = file->path ? STATUS_OK : STATUS_FAILED;
    if (!status) status = map_file(file);
    if (!status) status = parse_header(file);
    if (!status) status = parse_entries(file);
    if (status) {
        safetensors_close(file);
        return status;
    }
    *out = file;
    return STATUS_OK;
}

void safetensors_close(struct safetensors *file) {
    if (!file) return;
    if (file->map) munmap(file->map, file->size);
    js_free(file->header);
    free(file->entries);
    free(file->by_name);
    free(file->path);
    free(file);
}

const char *safetensors_path(const struct safetensors *file) {
    return file->path;
}

const struct file_identity *safetensors_identity(const struct safetensors *file) {
    return &file->identity;
}

size_t safetensors_count(const struct safetensors *file) {
    return file->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *file, size_t index) {
    return &file->entries[index];
}

const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name) {
    const struct safetensors_entry key = {.name = name}, *key_address = &key;
    struct safetensors_entry **found =
        bsearch(&key_address, file->by_name, file->count, sizeof *file->by_name, compare_names);
    return found ? *found : NULL;
}

const struct json *safetensors_metadata(const struct safetensors *file) {
    return js_member(file->header, "__metadata__");
}

static void advise(const void *data, size_t bytes, bool inside, int advice) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)data, end = begin + bytes;
    /* dropping takes whole pages inside only: the neighbours' pages are still in use */
    begin = inside ? (begin + page - 1) / page * page : begin / page * page;
    if (inside) end = end / page * page;
    if (begin < end) (void)madvise((void *)begin, end - begin, advice);
}

void mapping_prefetch(const void *data, size_t bytes) {
    advise(data, bytes, false, MADV_WILLNEED);
}

void mapping_drop(const void *data, size_t bytes) {
    advise(data, bytes, true, MADV_DONTNEED);
}
