#include "data/states_file.h"

#include <hdf5.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "data/contain.h"

#define FORMAT "apriel-tool/hidden-states"

/* Every part begins at a multiple of this. */
enum { ALIGNMENT = 4096 };

struct task {
    const char *path;
    const struct states_shape *shape;
    const char *identity, *fingerprint;
    struct states_place place;
};

static hid_t element(const struct states_shape *shape) {
    return shape->type == DTYPE_F64 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_FLOAT;
}

/* The file belongs to one run by a lock of our own; the library's would be in its way. */
static hid_t open_access(void) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, false, true);
#endif
    H5Pset_alignment(access, 1, ALIGNMENT);
    return access;
}

/* ---- making one */

static bool put_text(hid_t file, const char *name, const char *text) {
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, type, text) >= 0;
    if (attribute >= 0) good = H5Aclose(attribute) >= 0 && good;
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

static bool put_version(hid_t file) {
    uint64_t version = STATES_FILE_VERSION;
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, "version", H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT64, &version) >= 0;
    if (attribute >= 0) good = H5Aclose(attribute) >= 0 && good;
    H5Sclose(space);
    return good;
}

/* A dataset that has its place in the file at once; nothing is written there. */
static bool put_dataset(hid_t file, const char *name, hid_t type, int rank, const hsize_t *shape) {
    hid_t space = H5Screate_simple(rank, shape, NULL), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, false); /* equal content, equal bytes */
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    bool good = dataset >= 0 && H5Dclose(dataset) >= 0;
    H5Pclose(creation);
    H5Sclose(space);
    return good;
}

static enum status create(void *context) {
    const struct task *task = context;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t access = open_access();
    hid_t file = H5Fcreate(task->path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    const hsize_t marks[] = {STATES_FILE_MARKS};
    const hsize_t states[] = {task->shape->tokens, task->shape->width};
    bool good = file >= 0 && put_text(file, "format", FORMAT) && put_version(file) &&
                put_text(file, "fingerprint", task->fingerprint) &&
                put_text(file, "identity", task->identity) &&
                put_dataset(file, "mark", H5T_NATIVE_UINT64, 1, marks) &&
                put_dataset(file, "states", element(task->shape), 2, states) && H5Fclose(file) >= 0;
    return good ? STATUS_OK : status_fail("cannot write \"%s\": is its disk full?", task->path);
}

static bool send_nothing(int pipe, void *context) {
    (void)pipe;
    (void)context;
    return true;
}

static enum status receive_nothing(bool *broken, int pipe, void *context) {
    (void)pipe;
    (void)context;
    *broken = false;
    return STATUS_OK;
}

enum status states_file_create(const char *path, const struct states_shape *shape,
                               const char *identity, const char *fingerprint) {
    struct task work = {path, shape, identity, fingerprint, {0, 0}};
    struct contain_task task = {path, true, create, send_nothing, receive_nothing, &work};
    return contain_run(&task);
}

/* ---- reading one */

/* A text attribute of fixed length that must be `expected`. */
static bool has_text(hid_t file, const char *name, const char *expected) {
    char text[SHA256_HEX_SIZE + 1] = "";
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) return false;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool good = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 &&
                H5Tget_size(type) == strlen(expected) + 1 && H5Tget_size(type) < sizeof text &&
                H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, type, text) >= 0 &&
                strcmp(text, expected) == 0;
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return good;
}

static bool has_version(hid_t file) {
    uint64_t version = 0;
    hid_t attribute = H5Aopen(file, "version", H5P_DEFAULT);
    if (attribute < 0) return false;
    hid_t space = H5Aget_space(attribute);
    bool good = H5Sget_simple_extent_npoints(space) == 1 &&
                H5Aread(attribute, H5T_NATIVE_UINT64, &version) >= 0 &&
                version == STATES_FILE_VERSION;
    H5Sclose(space);
    H5Aclose(attribute);
    return good;
}

/* `bytes` from `place` on lie in the file, where such a dataset may begin. */
static bool lies_within(uint64_t place, uint64_t bytes, uint64_t file_bytes) {
    return place > 0 && place % ALIGNMENT == 0 && place <= file_bytes &&
           bytes <= file_bytes - place;
}

/* The place of a contiguous dataset with this type and shape that lies in the file as a whole. */
static bool find_dataset(uint64_t *place, hid_t file, uint64_t file_bytes, const char *name,
                         hid_t type, int rank, const hsize_t *shape) {
    H5L_info_t link;
    if (H5Lget_info(file, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD) return false;
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return false;
    hid_t stored = H5Dget_type(dataset), space = H5Dget_space(dataset);
    hid_t creation = H5Dget_create_plist(dataset);
    hsize_t found[2] = {0, 0};
    uint64_t bytes = H5Tget_size(type);
    bool good = H5Tequal(stored, type) > 0 && H5Sget_simple_extent_ndims(space) == rank &&
                H5Sget_simple_extent_dims(space, found, NULL) == rank &&
                H5Pget_layout(creation) == H5D_CONTIGUOUS && H5Pget_external_count(creation) == 0;
    for (int i = 0; i < rank; i++) {
        good = good && found[i] == shape[i];
        bytes *= shape[i];
    }
    *place = H5Dget_offset(dataset);
    good = good && *place != HADDR_UNDEF && lies_within(*place, bytes, file_bytes);
    H5Pclose(creation);
    H5Sclose(space);
    H5Tclose(stored);
    H5Dclose(dataset);
    return good;
}

static enum status find(void *context) {
    struct task *task = context;
    struct stat about;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    if (stat(task->path, &about) != 0 || !S_ISREG(about.st_mode))
        return status_fail("\"%s\" is not a file", task->path);
    uint64_t bytes = (uint64_t)about.st_size;
    hid_t access = open_access();
    hid_t file = H5Fopen(task->path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (file < 0)
        return status_fail("\"%s\" is not an HDF5 file, or is truncated or damaged", task->path);
    const hsize_t marks[] = {STATES_FILE_MARKS};
    const hsize_t states[] = {task->shape->tokens, task->shape->width};
    if (!has_text(file, "format", FORMAT) || !has_version(file))
        return status_fail("\"%s\" is not a file of hidden states that this program knows",
                           task->path);
    if (!has_text(file, "fingerprint", task->fingerprint))
        return status_fail("\"%s\" has states of another model, token set or device", task->path);
    if (!find_dataset(&task->place.mark, file, bytes, "mark", H5T_NATIVE_UINT64, 1, marks) ||
        !find_dataset(&task->place.states, file, bytes, "states", element(task->shape), 2, states))
        return status_fail("\"%s\": \"/mark\" or \"/states\" is missing or has another shape",
                           task->path);
    return STATUS_OK;
}

static bool send_place(int pipe, void *context) {
    const struct task *task = context;
    return contain_send(pipe, &task->place, sizeof task->place);
}

/* What the child says of a hostile file is no better than the file. */
static enum status receive_place(bool *broken, int pipe, void *context) {
    struct task *task = context;
    const struct states_shape *shape = task->shape;
    struct stat about;
    *broken = !contain_receive(pipe, &task->place, sizeof task->place) ||
              stat(task->path, &about) != 0 || about.st_size < 0;
    if (*broken) return STATUS_OK;
    uint64_t size = (uint64_t)about.st_size;
    uint64_t states = shape->tokens * shape->width * dtype_size(shape->type);
    *broken = !lies_within(task->place.states, states, size) ||
              !lies_within(task->place.mark, STATES_FILE_MARKS * sizeof(uint64_t), size);
    return STATUS_OK;
}

enum status states_file_find(struct states_place *out, const char *path,
                             const struct states_shape *shape, const char *fingerprint) {
    struct task work = {path, shape, NULL, fingerprint, {0, 0}};
    struct contain_task task = {path, false, find, send_place, receive_place, &work};
    enum status status = contain_run(&task);
    *out = work.place;
    return status;
}
