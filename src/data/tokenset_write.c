/* Writing token sets. HDF5 handles a full disk badly (its close fails again and again), so it
 * builds the file in memory and the bytes go out like any other file's. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "data/tokenset_internal.h"

static bool put_string(hid_t file, const char *name, const char *text) {
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, type, &text) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

static bool put_integer(hid_t file, const char *name, uint64_t value) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, name, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return good;
}

static bool put_dataset(hid_t file, const char *name, hid_t stored, hid_t memory_type,
                        const void *values, uint64_t count) {
    hsize_t length = count;
    hid_t space = H5Screate_simple(1, &length, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(creation, false); /* equal content, equal bytes */
    hid_t dataset = H5Dcreate2(file, name, stored, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    bool good =
        dataset >= 0 && H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    if (dataset >= 0) H5Dclose(dataset);
    H5Pclose(creation);
    H5Sclose(space);
    return good;
}

static bool put_everything(hid_t file, const struct tokenset *set, const char *fingerprint) {
    return put_string(file, "format", TOKENSET_FORMAT) &&
           put_integer(file, "version", TOKENSET_VERSION) &&
           put_string(file, "tokenizer_sha256", set->tokenizer_sha256) &&
           put_integer(file, "vocab_size", set->vocab_size) &&
           put_string(file, "sources", set->sources ? set->sources : "") &&
           put_string(file, "fingerprint", fingerprint) &&
           (!set->shuffled || put_integer(file, "shuffle", set->shuffle_seed)) &&
           put_dataset(file, "row_offsets", H5T_STD_U64LE, H5T_NATIVE_UINT64, set->row_offsets,
                       set->rows + 1) &&
           put_dataset(file, "tokens", H5T_STD_U32LE, H5T_NATIVE_UINT32, set->ids, set->tokens) &&
           (!set->loss_mask || put_dataset(file, "loss_mask", H5T_STD_U8LE, H5T_NATIVE_UINT8,
                                           set->loss_mask, set->tokens));
}

/* The file as bytes; the caller frees. */
static enum status build_image(void **out, size_t *size, const char *path,
                               const struct tokenset *set, const char *fingerprint) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    size_t step = 1 << 20;
    while (step < set->tokens) step *= 2; /* few reallocations */
    H5Pset_fapl_core(access, step, false);
    /* nothing is written there, but HDF5 opens what has this name: a FIFO would lose its reader */
    hid_t file = H5Fcreate("/dev/null/in-memory.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    void *image = NULL;
    ssize_t length = -1;
    bool good = file >= 0 && put_everything(file, set, fingerprint) &&
                H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 &&
                (length = H5Fget_file_image(file, NULL, 0)) > 0 &&
                (image = memory_calloc((size_t)length, 1)) != NULL &&
                H5Fget_file_image(file, image, (size_t)length) == length;
    if (file >= 0) H5Fclose(file);
    if (!good) {
        free(image);
        return status_fail("cannot build the HDF5 file \"%s\" (out of memory?)", path);
    }
    *out = image;
    *size = (size_t)length;
    return STATUS_OK;
}

enum status tokenset_write(const char *path, const struct tokenset *set) {
    tokenset_silence_hdf5();
    char fingerprint[SHA256_HEX_SIZE];
    void *image = NULL;
    size_t size = 0;
    enum status status = tokenset_check(set, path);
    if (!status) status = tokenset_fingerprint(fingerprint, set);
    if (!status) status = build_image(&image, &size, path, set, fingerprint);
    if (status) return status;
    status = output_write(path, image, size, OUTPUT_REPLACE);
    free(image);
    return status;
}
