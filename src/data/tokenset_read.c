/* Reading token sets. The file may come from anywhere: nothing is believed before it is checked,
 * and no other file is opened (no external links, external storage or virtual datasets). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/path_hint.h"
#include "data/tokenset_internal.h"

struct source {
    hid_t file;
    const char *path;
    uint64_t bytes; /* of the whole file */
};

static enum status open_file(struct source *source, const char *path) {
    *source = (struct source){.file = H5I_INVALID_HID, .path = path};
    int probe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO does not wait */
    struct stat about;
    if (probe < 0 || fstat(probe, &about) != 0) {
        int reason = errno;
        if (probe >= 0) close(probe);
        return path_fail(path, reason);
    }
    close(probe);
    if (!S_ISREG(about.st_mode)) return status_fail("\"%s\" is not a file", path);
    source->bytes = (uint64_t)about.st_size;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, false, true); /* network file systems often cannot lock */
#endif
    source->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (source->file < 0)
        return status_fail("\"%s\" is not an HDF5 file that can be read (make one with apriel-tool "
                           "data)",
                           path);
    return STATUS_OK;
}

/* Element kind that a dataset must have, in any byte order. */
static bool is_unsigned(hid_t type, size_t size) {
    return H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == size &&
           H5Tget_sign(type) == H5T_SGN_NONE;
}

/* A small file may claim any number of elements: what it claims must fit in what it holds. Deflate
 * makes data at most 1032 times smaller. */
static bool is_plausible(const struct source *source, hid_t dataset, uint64_t bytes) {
    hid_t creation = H5Dget_create_plist(dataset);
    H5D_layout_t layout = H5Pget_layout(creation);
    bool outside = H5Pget_external_count(creation) != 0;
    H5Pclose(creation);
    if (outside) return false;
    uint64_t stored = H5Dget_storage_size(dataset);
    if (layout == H5D_CONTIGUOUS || layout == H5D_COMPACT)
        return stored == bytes && bytes <= source->bytes;
    return layout == H5D_CHUNKED && stored > 0 && stored <= source->bytes && bytes / 1032 <= stored;
}

/* Filters that HDF5 files are often written with, of which libhdf5 has only some. */
static const char *filter_name(H5Z_filter_t filter) {
    static const struct {
        H5Z_filter_t filter;
        const char *name;
    } names[] = {
        {H5Z_FILTER_SZIP, "szip"},
        {307, "bzip2"},
        {32000, "lzf"},
        {32001, "blosc"},
        {32004, "lz4"},
        {32008, "bitshuffle"},
        {32013, "zfp"},
        {32015, "zstd"},
        {32017, "sz"},
        {32026, "blosc2"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].filter == filter) return names[i].name;
    return NULL;
}

/* Is it that a filter of the dataset is missing here? */
static enum status check_filters(const struct source *source, hid_t dataset,
                                 const char *dataset_name) {
    hid_t creation = H5Dget_create_plist(dataset);
    int count = H5Pget_nfilters(creation);
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < count; i++) {
        char stored[64] = "";
        unsigned flags;
        size_t values = 0;
        H5Z_filter_t filter = H5Pget_filter2(creation, (unsigned)i, &flags, &values, NULL,
                                             sizeof stored, stored, NULL);
        if (filter < 0 || H5Zfilter_avail(filter) > 0) continue;
        stored[sizeof stored - 1] = '\0';
        const char *name = filter_name(filter);
        status = status_fail("\"%s\": \"/%s\" is written with the HDF5 filter \"%s\" (number %d), "
                             "which this program does not have: write it with gzip or without "
                             "a filter",
                             source->path, dataset_name,
                             name      ? name
                             : *stored ? stored
                                       : "unnamed",
                             (int)filter);
    }
    H5Pclose(creation);
    return status;
}

/* Reads dataset "/name" with one axis of unsigned `size`-byte elements. */
static enum status read_dataset(void **out, uint64_t *count, const struct source *source,
                                const char *name, size_t size, hid_t memory_type) {
    enum status status = STATUS_OK;
    hid_t dataset = H5I_INVALID_HID, type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    void *values = NULL;
    H5L_info_t link;
    if (H5Lexists(source->file, name, H5P_DEFAULT) <= 0) {
        status = status_fail("\"%s\": \"/%s\" is missing", source->path, name);
        goto done;
    }
    if (H5Lget_info(source->file, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD ||
        (dataset = H5Dopen2(source->file, name, H5P_DEFAULT)) < 0) {
        status = status_fail("\"%s\": \"/%s\" is not a dataset in this file", source->path, name);
        goto done;
    }
    type = H5Dget_type(dataset);
    space = H5Dget_space(dataset);
    if (!is_unsigned(type, size)) {
        status = status_fail("\"%s\": \"/%s\" must hold unsigned %zu-bit integers", source->path,
                             name, size * 8);
        goto done;
    }
    hsize_t length;
    if (H5Sget_simple_extent_type(space) != H5S_SIMPLE || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &length, NULL) != 1) {
        status = status_fail("\"%s\": \"/%s\" must have one dimension", source->path, name);
        goto done;
    }
    if (length == 0) {
        status = status_fail("\"%s\": \"/%s\" is empty", source->path, name);
        goto done;
    }
    if (length > SIZE_MAX / 2 / size || !is_plausible(source, dataset, length * size)) {
        status = status_fail("\"%s\": \"/%s\" claims %" PRIu64 " elements, but its data is not in "
                             "the file",
                             source->path, name, (uint64_t)length);
        goto done;
    }
    values = memory_calloc(length, size);
    if (!values) {
        status = STATUS_FAILED;
        goto done;
    }
    if (H5Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        status = check_filters(source, dataset, name);
        if (!status)
            status = status_fail("\"%s\": cannot read \"/%s\": damaged or truncated", source->path,
                                 name);
        goto done;
    }
    *out = values;
    *count = length;
    values = NULL;
done:
    free(values);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (dataset >= 0) H5Dclose(dataset);
    return status;
}

/* Opens the scalar attribute `name` of class `wanted`. */
static enum status open_attribute(hid_t *out, const struct source *source, const char *name,
                                  H5T_class_t wanted, const char *kind) {
    if (H5Aexists(source->file, name) <= 0)
        return status_fail("\"%s\": attribute \"%s\" is missing (not a token set made by "
                           "apriel-tool data?)",
                           source->path, name);
    hid_t attribute = H5Aopen(source->file, name, H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool good =
        attribute >= 0 && H5Tget_class(type) == wanted && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (!good) {
        if (attribute >= 0) H5Aclose(attribute);
        return status_fail("\"%s\": attribute \"%s\" must be %s", source->path, name, kind);
    }
    *out = attribute;
    return STATUS_OK;
}

static enum status read_integer(uint64_t *out, const struct source *source, const char *name) {
    hid_t attribute = H5I_INVALID_HID;
    enum status status = open_attribute(&attribute, source, name, H5T_INTEGER, "an integer");
    if (status) return status;
    int64_t value = -1;
    if (H5Aread(attribute, H5T_NATIVE_INT64, &value) < 0 || value < 0)
        status =
            status_fail("\"%s\": attribute \"%s\" must be a positive integer", source->path, name);
    H5Aclose(attribute);
    *out = (uint64_t)value;
    return status;
}

/* A string attribute of fixed or variable length; the caller frees. */
static enum status read_string(char **out, const struct source *source, const char *name) {
    hid_t attribute = H5I_INVALID_HID;
    enum status status = open_attribute(&attribute, source, name, H5T_STRING, "a string");
    if (status) return status;
    hid_t stored = H5Aget_type(attribute);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_cset(type, H5Tget_cset(stored));
    char *text = NULL;
    bool variable = H5Tis_variable_str(stored) > 0;
    size_t size = H5Tget_size(stored);
    if (variable) {
        char *borrowed = NULL;
        H5Tset_size(type, H5T_VARIABLE);
        if (H5Aread(attribute, type, &borrowed) >= 0)
            text = memory_copy_string(borrowed ? borrowed : "");
        else
            status = status_fail("\"%s\": cannot read attribute \"%s\"", source->path, name);
        if (borrowed) H5free_memory(borrowed);
    } else if (size > source->bytes) {
        status = status_fail("\"%s\": cannot read attribute \"%s\"", source->path, name);
    } else {
        text = memory_calloc(size + 1, 1);
        H5Tset_size(type, size + 1);
        if (text && H5Aread(attribute, type, text) < 0)
            status = status_fail("\"%s\": cannot read attribute \"%s\"", source->path, name);
    }
    H5Tclose(type);
    H5Tclose(stored);
    H5Aclose(attribute);
    if (!status && !text) status = STATUS_FAILED;
    if (status)
        free(text);
    else
        *out = text;
    return status;
}

/* A string attribute that is a SHA-256 in hexadecimal, or empty. */
static enum status read_digest(char hex[SHA256_HEX_SIZE], const struct source *source,
                               const char *name) {
    char *text;
    enum status status = read_string(&text, source, name);
    if (status) return status;
    size_t length = strlen(text);
    if ((length != 0 && length != SHA256_HEX_SIZE - 1) ||
        strspn(text, "0123456789abcdef") != length)
        status = status_fail("\"%s\": attribute \"%s\" must be a SHA-256 in hexadecimal or \"\"",
                             source->path, name);
    else
        memcpy(hex, text, length + 1);
    free(text);
    return status;
}

static enum status read_attributes(struct tokenset *set, const struct source *source) {
    char *format;
    enum status status = read_string(&format, source, "format");
    if (status) return status;
    if (strcmp(format, TOKENSET_FORMAT) != 0)
        status = status_fail("\"%s\": attribute \"format\" is \"%.80s\", not \"%s\"", source->path,
                             format, TOKENSET_FORMAT);
    free(format);
    uint64_t version = 0;
    if (!status) status = read_integer(&version, source, "version");
    if (!status && version > TOKENSET_VERSION)
        status = status_fail("\"%s\": token set version %" PRIu64
                             " is newer than this program knows (%d)",
                             source->path, version, TOKENSET_VERSION);
    if (!status && version == 0)
        status =
            status_fail("\"%s\": attribute \"version\" must be a positive integer", source->path);
    if (!status) status = read_integer(&set->vocab_size, source, "vocab_size");
    if (!status) status = read_digest(set->tokenizer_sha256, source, "tokenizer_sha256");
    if (!status) status = read_string(&set->sources, source, "sources");
    set->shuffled = !status && H5Aexists(source->file, "shuffle") > 0;
    if (set->shuffled) status = read_integer(&set->shuffle_seed, source, "shuffle");
    return status;
}

static enum status read_datasets(struct tokenset *set, const struct source *source) {
    void *values;
    uint64_t count;
    enum status status =
        read_dataset(&values, &count, source, "row_offsets", sizeof(uint64_t), H5T_NATIVE_UINT64);
    if (status) return status;
    set->row_offsets = values;
    set->rows = count - 1;
    status =
        read_dataset(&values, &set->tokens, source, "tokens", sizeof(uint32_t), H5T_NATIVE_UINT32);
    if (status) return status;
    set->ids = values;
    if (H5Lexists(source->file, "loss_mask", H5P_DEFAULT) <= 0) return STATUS_OK;
    status = read_dataset(&values, &count, source, "loss_mask", 1, H5T_NATIVE_UINT8);
    if (status) return status;
    set->loss_mask = values;
    if (count != set->tokens)
        return status_fail("\"%s\": \"/loss_mask\" has %" PRIu64
                           " elements, but \"/tokens\" has %" PRIu64,
                           source->path, count, set->tokens);
    return STATUS_OK;
}

enum status tokenset_read_here(struct tokenset **out, const char *path) {
    tokenset_silence_hdf5();
    H5PLset_loading_state(0); /* no filters from libraries that the environment names */
    struct source source;
    struct tokenset *set = NULL;
    enum status status = open_file(&source, path);
    if (status) goto done;
    set = memory_calloc(1, sizeof *set);
    if (!set) {
        status = STATUS_FAILED;
        goto done;
    }
    status = read_attributes(set, &source);
    if (!status) status = read_datasets(set, &source);
    if (!status && H5Aexists(source.file, "fingerprint") > 0)
        status = read_digest(set->fingerprint, &source, "fingerprint");
    if (status) goto done;
    *out = set;
    set = NULL;
done:
    tokenset_free(set);
    if (source.file >= 0) H5Fclose(source.file);
    return status;
}
