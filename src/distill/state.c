#define _GNU_SOURCE
#include "distill/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/text.h"

#define ABOUT "distill.json"
#define COMPLETE "complete"
#define TRAINING "training.bin"
#define WHERE "state.json"
#define UNFINISHED "unfinished"
static const char *const not_of_checkpoint[] = {COMPLETE, TRAINING, WHERE, NULL};

enum { PART = 16 << 20 }; /* bytes of a state on their way at a time */

static bool is_dot(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static char *state_path(const char *path, int64_t step) {
    return text_format("%s/step-%06lld", path, (long long)step);
}

/* ---- the directory */

/* Whether nothing but what a distillation puts there is in it. */
static enum status check_ours(const char *path) {
    DIR *directory = opendir(path);
    bool empty = true, ours = false;
    if (!directory) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (is_dot(entry->d_name)) continue;
        empty = false;
        ours |= strcmp(entry->d_name, ABOUT) == 0;
    }
    closedir(directory);
    if (empty || ours) return STATUS_OK;
    return status_fail("\"%s\" is not empty and was not begun by distill: name another directory",
                       path);
}

static enum status remove_state(const char *path, const char *name) {
    char *state = file_join(path, name);
    enum status status = state ? file_remove_directory(state) : STATUS_FAILED;
    free(state);
    return status;
}

enum status distill_folder_open(struct distill_folder *out, const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    *out = (struct distill_folder){.path = memory_copy_bytes(path, length), .lock = -1};
    if (!out->path) return STATUS_FAILED;
    if (!*path) return status_set(STATUS_USAGE, "\"\" is no name for a directory");
    bool made = mkdir(out->path, 0777) == 0;
    if (!made && errno != EEXIST)
        return status_fail("cannot make \"%s\": %s", path, strerror(errno));
    out->lock = open(out->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out->lock < 0) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    if (flock(out->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return status_fail("\"%s\" is being written to by another run of distill", path);
    enum status status = made ? STATUS_OK : check_ours(out->path);
    return status ? status : remove_state(out->path, UNFINISHED);
}

void distill_folder_close(struct distill_folder *folder) {
    if (folder->path && folder->lock >= 0) close(folder->lock);
    free(folder->path);
    *folder = (struct distill_folder){.lock = -1};
}

enum status distill_folder_read(struct json **out, const char *path) {
    char *about = file_join(path, ABOUT);
    enum status status = about ? STATUS_OK : STATUS_FAILED;
    *out = NULL;
    if (!status && file_exists(about)) status = js_read_names(out, about);
    if (!status && *out && !js_is_object(*out))
        status = status_fail("\"%s\" is no JSON object", about);
    free(about);
    return status;
}

enum status distill_folder_write(const struct distill_folder *folder, const struct json *about) {
    return output_write_json(folder->path, ABOUT, about, 2);
}

/* ---- which states there are */

static int ascending(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* "step-000120" with its `complete` in it. */
static bool is_state(int *step, const char *path, const char *name) {
    char *end;
    if (strncmp(name, "step-", 5) != 0 || strlen(name + 5) < 6) return false;
    if (name[5] < '0' || name[5] > '9') return false;
    errno = 0;
    long value = strtol(name + 5, &end, 10);
    if (*end || errno || value > INT32_MAX) return false;
    *step = (int)value;
    char *complete = text_format("%s/%s/" COMPLETE, path, name);
    bool there = complete && file_exists(complete);
    free(complete);
    return there;
}

enum status distill_states_list(struct int_list *out, const char *path) {
    *out = (struct int_list){0};
    DIR *directory = opendir(path);
    if (!directory) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    enum status status = STATUS_OK;
    for (struct dirent *entry; !status && (entry = readdir(directory));) {
        int step;
        if (!is_state(&step, path, entry->d_name)) continue;
        int *more = memory_resize(out->values, out->count + 1, sizeof *more);
        status = more ? STATUS_OK : STATUS_FAILED;
        if (status) break;
        out->values = more;
        out->values[out->count++] = step;
    }
    closedir(directory);
    if (out->count) qsort(out->values, out->count, sizeof *out->values, ascending);
    if (status) list_free(out);
    return status;
}

/* ---- writing */

static enum status write_training(const char *directory, const struct parameters *parameters) {
    size_t bytes = state_bytes(parameters);
    char *path = file_join(directory, TRAINING), *part = memory_aligned(PART);
    enum status status = path && part ? STATUS_OK : STATUS_FAILED;
    int file = status ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (!status && file < 0) status = status_fail("cannot make \"%s\": %s", path, strerror(errno));
    for (size_t from = 0; !status && from < bytes;) {
        size_t size = bytes - from < PART ? bytes - from : PART, done = 0;
        state_save(parameters, part, from, size);
        while (!status && done < size) {
            ssize_t wrote = write(file, part + done, size - done);
            if (wrote < 0 && errno != EINTR)
                status = status_fail("cannot write \"%s\": %s", path, strerror(errno));
            done += wrote > 0 ? (size_t)wrote : 0;
        }
        (void)interrupt_requested(); /* it is noticed: the state is finished first */
        from += size;
    }
    if (!status && fsync(file) != 0)
        status = status_fail("cannot write \"%s\": %s", path, strerror(errno));
    if (file >= 0 && close(file) != 0 && !status)
        status = status_fail("cannot write \"%s\": %s", path, strerror(errno));
    free(part);
    free(path);
    return status;
}

static struct json *state_to_json(const struct distill_state *state) {
    struct json *json = js_new_object();
    js_set_string(json, "format", "apriel-tool/training-state");
    js_set_integer(json, "version", 1);
    js_set_integer(json, "step", state->step);
    js_set(json, "guard", guard_to_json(&state->guard));
    js_set_integer(json, "measured", state->measured);
    js_set_integer(json, "best", state->best);
    js_set_number(json, "best_value", state->best_value);
    js_set_integer(json, "worse", state->worse);
    js_set_number(json, "seconds", state->seconds);
    return json;
}

/* The files of a directory with their sizes. */
static enum status measure_files(struct json **out, const char *path) {
    struct json *files = js_new_object();
    DIR *directory = opendir(path);
    enum status status = STATUS_OK;
    if (!directory) status = status_fail("cannot open \"%s\": %s", path, strerror(errno));
    for (struct dirent *entry; !status && (entry = readdir(directory));) {
        struct stat about;
        if (is_dot(entry->d_name)) continue;
        if (fstatat(dirfd(directory), entry->d_name, &about, 0) != 0)
            status = status_fail("cannot read \"%s/%s\": %s", path, entry->d_name, strerror(errno));
        else
            js_set_integer(files, entry->d_name, (int64_t)about.st_size);
    }
    if (directory) closedir(directory);
    if (status)
        js_free(files);
    else
        *out = files;
    return status;
}

static enum status write_complete(const char *directory) {
    struct json *files = NULL;
    enum status status = file_sync_directory(directory);
    if (!status) status = measure_files(&files, directory);
    if (!status) status = output_write_json(directory, COMPLETE, files, 2);
    js_free(files);
    return status ? status : file_sync_directory(directory);
}

/* Everything of a state into a directory of its own. */
static enum status fill_state(const char *directory, const struct distill_state *state,
                              const struct model *student, const struct parameters *parameters,
                              const struct json *provenance) {
    struct json *where = state_to_json(state);
    enum status status = distill_weights_write(directory, student, parameters);
    if (!status) status = write_training(directory, parameters);
    if (!status) status = output_write_json(directory, "apriel-tool.json", provenance, 2);
    if (!status) status = output_write_json(directory, WHERE, where, 2);
    js_free(where);
    return status ? status : write_complete(directory);
}

/* What stands under this name, if anything, is no state that anybody continues from. */
static enum status put_in_place(const struct distill_folder *folder, const char *from,
                                int64_t step) {
    char *to = state_path(folder->path, step);
    enum status status = to ? file_remove_directory(to) : STATUS_FAILED;
    if (!status && rename(from, to) != 0)
        status = status_fail("cannot rename \"%s\" to \"%s\": %s", from, to, strerror(errno));
    free(to);
    return status ? status : file_sync_directory(folder->path);
}

enum status distill_state_write(const struct distill_folder *folder,
                                const struct distill_state *state, const struct model *student,
                                const struct parameters *parameters,
                                const struct json *provenance) {
    char *directory = file_join(folder->path, UNFINISHED);
    enum status status = directory ? file_remove_directory(directory) : STATUS_FAILED;
    if (!status && mkdir(directory, 0777) != 0)
        status = status_fail("cannot make \"%s\": %s", directory, strerror(errno));
    if (!status) status = fill_state(directory, state, student, parameters, provenance);
    if (!status) status = put_in_place(folder, directory, state->step);
    if (status && directory) {
        char *why = memory_copy_string(status_message());
        (void)!file_remove_directory(directory);
        status = status_fail("the training state of step %lld cannot be saved: %s",
                             (long long)state->step, why ? why : "");
        free(why);
    }
    free(directory);
    return status;
}

/* ---- reading */

/* Every file as long as `complete` says. */
static enum status check_complete(const char *directory) {
    char *path = file_join(directory, COMPLETE);
    struct json *files = NULL;
    enum status status = path ? js_read_names(&files, path) : STATUS_FAILED;
    for (void *i = js_first(files); !status && i; i = js_next(files, i)) {
        struct stat about;
        int64_t expected = js_integer_or(js_value(i), -1);
        char *file = file_join(directory, js_key(i));
        if (!file)
            status = STATUS_FAILED;
        else if (stat(file, &about) != 0)
            status = status_fail("\"%s\" is missing, and the state was complete: remove its "
                                 "directory to continue from the one before",
                                 file);
        else if ((int64_t)about.st_size != expected)
            status = status_fail("\"%s\" has %lld bytes, expected %lld: remove its directory to "
                                 "continue from the state before",
                                 file, (long long)about.st_size, (long long)expected);
        free(file);
    }
    js_free(files);
    free(path);
    return status;
}

static enum status read_where(struct distill_state *out, const char *directory) {
    char *path = file_join(directory, WHERE);
    struct json *json = NULL;
    int64_t version = 0;
    *out = (struct distill_state){0};
    enum status status = path ? js_read(&json, path) : STATUS_FAILED;
    if (!status) status = js_get_integer(&version, json, "version", 1, 1, path);
    if (!status) status = js_get_integer(&out->step, json, "step", 0, INT32_MAX, path);
    if (!status) status = js_get_integer(&out->measured, json, "measured", -1, INT32_MAX, path);
    if (!status) status = js_get_integer(&out->best, json, "best", -1, INT32_MAX, path);
    if (!status) status = js_get_integer(&out->worse, json, "worse", 0, INT64_MAX, path);
    if (!status) status = js_get_number(&out->seconds, json, "seconds", path);
    if (!status) status = guard_from_json(&out->guard, js_member(json, "guard"), path);
    out->best_value = js_number_or(js_member(json, "best_value"), INFINITY);
    js_free(json);
    free(path);
    return status;
}

static enum status read_training(struct parameters *parameters, const char *directory) {
    size_t bytes = state_bytes(parameters);
    char *path = file_join(directory, TRAINING), *part = memory_aligned(PART);
    enum status status = path && part ? STATUS_OK : STATUS_FAILED;
    FILE *file = NULL;
    struct stat about;
    if (!status) status = file_open(&file, path);
    if (!status && (fstat(fileno(file), &about) != 0 || (uint64_t)about.st_size != bytes))
        status = status_fail("\"%s\" has %lld bytes, expected %zu", path, (long long)about.st_size,
                             bytes);
    for (size_t from = 0; !status && from < bytes; from += PART) {
        size_t size = bytes - from < PART ? bytes - from : PART;
        if (fread(part, 1, size, file) != size)
            status = status_fail("cannot read \"%s\": %s", path, strerror(errno));
        else
            state_restore(parameters, part, from, size);
    }
    if (file) (void)fclose(file);
    free(part);
    free(path);
    return status;
}

enum status distill_state_read(struct distill_state *out, struct parameters *parameters,
                               const char *path, int64_t step) {
    char *directory = state_path(path, step);
    enum status status = directory ? check_complete(directory) : STATUS_FAILED;
    if (!status) status = read_where(out, directory);
    if (!status && out->step != step)
        status = status_fail("\"%s/" WHERE "\" is of step %lld", directory, (long long)out->step);
    if (!status && parameters) status = read_training(parameters, directory);
    free(directory);
    return status;
}

/* ---- which stay, and the end */

enum status distill_states_prune(const struct distill_folder *folder, int keep, int64_t best) {
    struct int_list list;
    enum status status = distill_states_list(&list, folder->path);
    for (size_t i = 0; !status && i + (size_t)keep < list.count; i++) {
        if (list.values[i] == best) continue;
        char *directory = state_path(folder->path, list.values[i]);
        char *complete = directory ? file_join(directory, COMPLETE) : NULL;
        if (!complete) status = STATUS_FAILED;
        /* first: what is left of it after a kill is no state */
        else if (unlink(complete) != 0)
            status = status_fail("cannot remove \"%s\": %s", complete, strerror(errno));
        else
            status = file_remove_directory(directory);
        free(complete);
        free(directory);
    }
    if (!status) list_free(&list);
    return status;
}

static bool belongs_to_checkpoint(const char *name) {
    for (int i = 0; not_of_checkpoint[i]; i++)
        if (strcmp(name, not_of_checkpoint[i]) == 0) return false;
    return !is_dot(name);
}

/* The same file under another name, or a copy; what had the name before is replaced at once. */
static enum status put_file(const char *path, const char *state, const char *name) {
    char *from = file_join(state, name), *to = file_join(path, name);
    char *beside = file_join(path, ".link");
    enum status status = from && to && beside ? STATUS_OK : STATUS_FAILED;
    if (!status && unlink(beside) != 0 && errno != ENOENT)
        status = status_fail("cannot remove \"%s\": %s", beside, strerror(errno));
    if (!status && link(from, beside) != 0) status = file_copy(beside, from);
    if (!status && rename(beside, to) != 0)
        status = status_fail("cannot make \"%s\": %s", to, strerror(errno));
    if (!status) (void)unlink(beside); /* rename leaves it where both are one file */
    free(from);
    free(to);
    free(beside);
    return status;
}

enum status distill_folder_finish(const struct distill_folder *folder, int64_t step) {
    char *state = state_path(folder->path, step);
    DIR *directory = state ? opendir(state) : NULL;
    enum status status = STATUS_OK;
    if (!directory)
        status = status_fail("cannot open \"%s\": %s", state ? state : "", strerror(errno));
    for (struct dirent *entry; !status && (entry = readdir(directory));)
        if (belongs_to_checkpoint(entry->d_name) && strcmp(entry->d_name, "config.json") != 0)
            status = put_file(folder->path, state, entry->d_name);
    if (!status) status = put_file(folder->path, state, "config.json");
    if (!status) status = file_sync_directory(folder->path);
    if (directory) closedir(directory);
    free(state);
    return status;
}
