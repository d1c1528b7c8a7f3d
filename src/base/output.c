#define _GNU_SOURCE
#include "base/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/text.h"

/* ---- where a path leads */

enum place_kind {
    PLACE_NEW,    /* nothing is there yet */
    PLACE_PLAIN,  /* a plain file */
    PLACE_STREAM, /* a character device or a FIFO */
    PLACE_DESCRIPTOR,
};

struct place {
    enum place_kind kind;
    char *path; /* behind all links */
    int descriptor;
    mode_t mode; /* of a plain file */
};

static enum status refuse(const char *path, const char *what) {
    return status_fail("cannot write \"%s\": it is %s", path, what);
}

static enum status cannot_write(const char *path, int reason) {
    return status_fail("cannot write \"%s\": %s", path, strerror(reason));
}

/* What a link says, as a path from here; the caller frees. NULL with errno, or out of memory. */
static char *follow(const char *link, const struct stat *about) {
    size_t size = about->st_size > 0 ? (size_t)about->st_size + 1 : 4096;
    char *target = memory_calloc(size + 1, 1);
    ssize_t length = target ? readlink(link, target, size) : -1;
    if (length < 0) {
        free(target);
        return NULL;
    }
    target[length] = '\0';
    if (*target == '/') return target;
    char *parent = file_parent(link), *path = parent ? file_join(parent, target) : NULL;
    free(parent);
    free(target);
    return path;
}

/* /proc/self/fd/N and what leads there are no links to files but open descriptors. */
static bool is_descriptor(int *descriptor, const char *path) {
    const char *name = file_name(path);
    if (!*name || name[strspn(name, "0123456789")] || strlen(name) > 6) return false;
    char *parent = file_parent(path), *real = parent ? realpath(parent, NULL) : NULL;
    char *own = realpath("/proc/self/fd", NULL);
    bool found = real && own && strcmp(real, own) == 0;
    if (found) *descriptor = atoi(name);
    free(parent);
    free(real);
    free(own);
    return found;
}

static enum status find_place(struct place *place, const char *path) {
    enum { MOST_LINKS = 40 };
    struct stat about;
    *place = (struct place){.path = memory_copy_string(path)};
    if (!place->path) return STATUS_FAILED;
    for (int i = 0; i <= MOST_LINKS; i++) {
        if (lstat(place->path, &about) != 0)
            return errno == ENOENT ? STATUS_OK : cannot_write(path, errno);
        if (!S_ISLNK(about.st_mode)) break;
        if (is_descriptor(&place->descriptor, place->path)) {
            place->kind = PLACE_DESCRIPTOR;
            return STATUS_OK;
        }
        char *next = follow(place->path, &about);
        if (!next) return cannot_write(path, errno);
        free(place->path);
        place->path = next;
    }
    place->mode = about.st_mode;
    place->kind = S_ISREG(about.st_mode) ? PLACE_PLAIN : PLACE_STREAM;
    if (S_ISREG(about.st_mode) || S_ISCHR(about.st_mode) || S_ISFIFO(about.st_mode))
        return STATUS_OK;
    if (S_ISLNK(about.st_mode)) return cannot_write(path, ELOOP);
    return refuse(path, S_ISDIR(about.st_mode)    ? "a directory"
                        : S_ISSOCK(about.st_mode) ? "a socket"
                                                  : "a disk");
}

static enum status fail_existing(const char *path) {
    return status_fail("\"%s\" exists already: give --force to replace it, or choose another name",
                       path);
}

/* Hours of runs, hardly named on purpose; --force stands for results that can be made again. */
static bool is_database(const char *path) {
    static const char magic[] = "SQLite format 3"; /* and its 0 */
    char start[sizeof magic];
    FILE *file = fopen(path, "rb");
    bool found =
        file && fread(start, sizeof start, 1, file) == 1 && memcmp(start, magic, sizeof magic) == 0;
    if (file) fclose(file);
    return found;
}

static enum status check_place(const struct place *place, const char *path,
                               enum output_existing existing) {
    if (place->kind == PLACE_PLAIN && existing == OUTPUT_KEEP) return fail_existing(path);
    if (place->kind == PLACE_STREAM || place->kind == PLACE_DESCRIPTOR) return STATUS_OK;
    if (place->kind == PLACE_PLAIN && is_database(place->path))
        return status_fail(
            "\"%s\" is a score database, which nothing replaces: choose another name", path);
    char *parent = file_parent(place->path);
    if (!parent) return STATUS_FAILED;
    enum status status = STATUS_OK;
    const char *name = file_name(place->path);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        status = status_fail("\"%s\" is not a name for a file", path);
    else if (access(parent, W_OK | X_OK) != 0)
        status = cannot_write(path, errno);
    free(parent);
    return status;
}

enum status output_check(const char *path, enum output_existing existing) {
    struct place place;
    enum status status = find_place(&place, path);
    if (!status) status = check_place(&place, path, existing);
    free(place.path);
    return status;
}

/* ---- inputs */

/* The plain file that is written where `path` leads; false: none is, or a new one. */
static bool find_written(struct stat *out, const char *path) {
    struct place place;
    bool found =
        find_place(&place, path) == STATUS_OK &&
        (place.kind == PLACE_DESCRIPTOR ? fstat(place.descriptor, out) == 0
                                        : place.kind == PLACE_PLAIN && stat(place.path, out) == 0);
    free(place.path);
    return found && S_ISREG(out->st_mode);
}

static bool is_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* What is read of a model's directory: names, and endings. */
static bool is_of_model(const char *name) {
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "model.safetensors.index.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "chat_template.json",
                                        "added_tokens.json",
                                        "special_tokens_map.json",
                                        "apriel-tool.json",
                                        "adapter_config.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "preprocessor_config.json"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return dot && (strcmp(dot, ".safetensors") == 0 || strcmp(dot, ".jinja") == 0);
}

/* Whether a file of the model in this directory, or what one links to, is the file. */
static bool has_file(const char *directory, const struct stat *file) {
    DIR *entries = opendir(directory);
    bool found = false;
    if (!entries) return false;
    for (struct dirent *entry; !found && (entry = readdir(entries));) {
        struct stat about;
        found = is_of_model(entry->d_name) &&
                fstatat(dirfd(entries), entry->d_name, &about, 0) == 0 && is_same(&about, file);
    }
    closedir(entries);
    return found;
}

enum status output_check_inputs(const char *path, const char *const *inputs, size_t count) {
    struct stat written, about;
    if (!find_written(&written, path)) return STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        const char *input = inputs[i];
        if (!input) continue;
        bool piped = strcmp(input, "-") == 0;
        if ((piped ? fstat(STDIN_FILENO, &about) : stat(input, &about)) != 0) continue;
        bool inside = S_ISDIR(about.st_mode) && has_file(input, &written);
        if (!inside && !is_same(&about, &written)) continue;
        if (inside)
            return status_fail("cannot write \"%s\": it is a file of \"%s\", which is read: choose "
                               "another name",
                               path, input);
        if (strcmp(path, input) == 0)
            return status_fail("cannot write \"%s\": it is an input: choose another name", path);
        return status_fail("cannot write \"%s\": it is the same file as %s%s%s, which is read: "
                           "choose another name",
                           path, piped ? "" : "\"", piped ? "standard input" : input,
                           piped ? "" : "\"");
    }
    return STATUS_OK;
}

bool output_is_stdout(const char *path) {
    struct place place;
    struct stat named, own;
    bool same = find_place(&place, path) == STATUS_OK &&
                ((place.kind == PLACE_DESCRIPTOR && place.descriptor == STDOUT_FILENO) ||
                 (place.kind == PLACE_STREAM && stat(path, &named) == 0 &&
                  S_ISFIFO(named.st_mode) && fstat(STDOUT_FILENO, &own) == 0 &&
                  named.st_dev == own.st_dev && named.st_ino == own.st_ino));
    free(place.path);
    return same;
}

/* ---- writing through */

/* Until it can be written; a FIFO that nobody reads must not keep a signal from ending us. */
static int wait_until_writable(int file) {
    struct pollfd about = {.fd = file, .events = POLLOUT};
    for (;;) {
        int ready = poll(&about, 1, 100);
        if (interrupt_requested()) return ECANCELED;
        if (ready > 0) return 0;
        if (ready < 0 && errno != EINTR) return errno;
    }
}

/* 0, or the reason why not all was written. */
static int put_all(int file, const char *bytes, size_t size) {
    while (size) {
        ssize_t put = write(file, bytes, size < (1u << 30) ? size : 1u << 30);
        if (put < 0 && errno == EAGAIN) {
            int reason = wait_until_writable(file);
            if (reason) return reason;
        } else if (put < 0 && errno != EINTR) {
            return errno;
        } else if (put > 0) {
            bytes += put;
            size -= (size_t)put;
        }
    }
    return 0;
}

/* A FIFO has to have a reader first; `*file` is the descriptor. */
static int open_stream(int *file, const char *path) {
    for (;;) {
        *file = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (*file >= 0) return 0;
        if (errno != ENXIO) return errno;
        if (interrupt_requested()) return ECANCELED;
        poll(NULL, 0, 20);
    }
}

static enum status write_through(const struct place *place, const char *path, const void *bytes,
                                 size_t size) {
    int file, reason = 0;
    struct sigaction before, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, &before); /* a reader that has gone is an error, no death */
    if (place->kind == PLACE_DESCRIPTOR) {
        fflush(NULL); /* what was printed there before comes before */
        file = fcntl(place->descriptor, F_DUPFD_CLOEXEC, 3);
        if (file < 0) reason = errno;
    } else {
        reason = open_stream(&file, place->path);
    }
    if (!reason) {
        reason = put_all(file, bytes, size);
        if (close(file) != 0 && !reason) reason = errno;
    }
    sigaction(SIGPIPE, &before, NULL);
    if (reason == ECANCELED) return status_set(STATUS_INTERRUPTED, "interrupted");
    return reason ? cannot_write(path, reason) : STATUS_OK;
}

/* ---- plain files */

/* The name of a file that is not complete: PREFIX, the process, '-', a number. Its process has it
 * locked, whatever process numbers say. */
#define PREFIX ".apriel-tool.tmp-"

static bool is_temporary_name(const char *name) {
    static const char digits[] = "0123456789";
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) return false;
    name += strlen(PREFIX);
    size_t process = strspn(name, digits);
    if (!process || name[process] != '-') return false;
    name += process + 1;
    return *name && !name[strspn(name, digits)];
}

/* Remove a file that a killed run of this user left; whatever cannot be told for sure stays. */
static void remove_if_left(int directory, const char *name) {
    struct stat opened, named;
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return;
    if (fstat(file, &opened) == 0 && S_ISREG(opened.st_mode) && opened.st_uid == geteuid() &&
        opened.st_nlink == 1 && flock(file, LOCK_EX | LOCK_NB) == 0 &&
        fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
        unlinkat(directory, name, 0);
    close(file);
}

static void remove_left(const char *parent) {
    DIR *directory = opendir(parent);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (is_temporary_name(entry->d_name)) remove_if_left(dirfd(directory), entry->d_name);
    closedir(directory);
}

/* A new file in the directory, locked; its name comes out, the caller frees. */
static int open_temporary(int *file, char **name, const char *parent, mode_t mode) {
    enum { TRIES = 1000 };
    static unsigned counter;
    for (int i = 0; i < TRIES; i++) {
        struct stat about;
        char *last = text_format(PREFIX "%ld-%u", (long)getpid(), counter++);
        *name = last ? file_join(parent, last) : NULL;
        free(last);
        if (!*name) return ENOMEM;
        *file = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        int reason = *file < 0 ? errno : 0;
        if (!reason) {
            (void)flock(*file, LOCK_EX | LOCK_NB); /* without locks nobody removes it either */
            if (fstat(*file, &about) == 0 && about.st_nlink > 0) return 0;
            close(*file); /* another run took it for one that was left, before it was locked */
            reason = EEXIST;
        }
        free(*name);
        *name = NULL;
        if (reason != EEXIST) return reason;
    }
    return EEXIST;
}

static int rename_to(const char *from, const char *to, enum output_existing existing) {
    if (existing == OUTPUT_REPLACE) return rename(from, to) == 0 ? 0 : errno;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return errno;
    if (link(from, to) != 0) return errno; /* a file system that cannot */
    unlink(from);
    return 0;
}

struct output_staged {
    struct place place;
    char *path; /* as named */
    enum output_existing existing;
    const void *bytes; /* borrowed: what is written through is written at the end */
    size_t size;
    int file;   /* of a plain file: -1 or locked */
    char *name; /* of its temporary */
};

/* The bytes beside their place, synced. */
static int write_beside(struct output_staged *staged, const char *parent) {
    bool there = staged->place.kind == PLACE_PLAIN;
    mode_t mode = staged->place.mode & 0777;
    int reason = open_temporary(&staged->file, &staged->name, parent, there ? mode : 0666);
    if (reason) {
        staged->file = -1;
        return reason;
    }
    reason = put_all(staged->file, staged->bytes, staged->size);
    if (!reason && there && fchmod(staged->file, mode) != 0) reason = errno;
    if (!reason && fsync(staged->file) != 0) reason = errno;
    return reason;
}

static bool is_plain(const struct place *place) {
    return place->kind != PLACE_STREAM && place->kind != PLACE_DESCRIPTOR;
}

enum status output_stage(struct output_staged **out, const char *path, const void *bytes,
                         size_t size, enum output_existing existing) {
    struct output_staged *staged = memory_calloc(1, sizeof *staged);
    *out = NULL;
    if (!staged) return STATUS_FAILED;
    *staged =
        (struct output_staged){.existing = existing, .bytes = bytes, .size = size, .file = -1};
    enum status status = (staged->path = memory_copy_string(path)) ? STATUS_OK : STATUS_FAILED;
    if (!status) status = find_place(&staged->place, path);
    if (!status) status = check_place(&staged->place, path, existing);
    if (!status && is_plain(&staged->place)) {
        char *parent = file_parent(staged->place.path);
        if (parent) remove_left(parent);
        int reason = parent ? write_beside(staged, parent) : ENOMEM;
        if (reason) status = cannot_write(path, reason);
        free(parent);
    }
    if (status)
        output_discard(staged);
    else
        *out = staged;
    return status;
}

const char *output_staged_name(const struct output_staged *staged) {
    return staged->name ? staged->name : staged->path;
}

static enum status put_in_place(struct output_staged *staged) {
    const char *path = staged->path;
    if (!is_plain(&staged->place))
        return write_through(&staged->place, path, staged->bytes, staged->size);
    int reason = rename_to(staged->name, staged->place.path, staged->existing);
    if (reason == EEXIST) return fail_existing(path); /* since it was looked for */
    if (reason) return cannot_write(path, reason);
    free(staged->name);
    staged->name = NULL;
    reason = close(staged->file) == 0 ? 0 : errno;
    staged->file = -1;
    char *parent = file_parent(staged->place.path);
    if (parent) (void)!file_sync_directory(parent); /* it is there, whatever a crash brings */
    free(parent);
    return reason ? cannot_write(path, reason) : STATUS_OK;
}

enum status output_commit(struct output_staged *staged) {
    enum status status = put_in_place(staged);
    output_discard(staged);
    return status;
}

void output_discard(struct output_staged *staged) {
    if (!staged) return;
    if (staged->name && staged->file >= 0) unlink(staged->name);
    if (staged->file >= 0) close(staged->file);
    free(staged->place.path);
    free(staged->path);
    free(staged->name);
    free(staged);
}

enum status output_write(const char *path, const void *bytes, size_t size,
                         enum output_existing existing) {
    struct output_staged *staged;
    enum status status = output_stage(&staged, path, bytes, size, existing);
    return status ? status : output_commit(staged);
}

enum status output_write_json(const char *directory, const char *name, const struct json *value,
                              int indent) {
    char *path = file_join(directory, name), *text = js_print(value, indent);
    char *line = text ? text_format("%s\n", text) : NULL;
    enum status status = path && line ? STATUS_OK : STATUS_FAILED;
    if (!status) status = output_write(path, line, strlen(line), OUTPUT_REPLACE);
    free(path);
    free(text);
    free(line);
    return status;
}
