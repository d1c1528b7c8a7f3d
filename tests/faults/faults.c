/* A preload that makes one call of a program fail (tests/faults/campaign.sh). By the environment:
 *   FAULT_OPS    which calls count: open read write fsync truncate rename make remove map lock stat
 * malloc FAULT_AT     which of them fails, from 1; 0: none FAULT_ERROR  an error number, "short"
 * (half of a read or write) or "kill" FAULT_COUNT  a file that gets the number of such calls when
 * the program ends Only calls on files of the working directory's tree count ("in it" by
 * FAULT_TREE), and only allocations of the program and of the C libraries that it reads files with:
 * others end a program by design (C++), or are not its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { FAIL, SHORT, KILL };

static const char *ops, *tree, *count_path;
static long at, calls;
static int error_number;
static enum kind kind;

static void write_count(void) {
    char text[32];
    if (!count_path) return;
    int file = (int)syscall(SYS_openat, AT_FDCWD, count_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int length = snprintf(text, sizeof text, "%ld\n", calls);
    syscall(SYS_write, file, text, length);
    syscall(SYS_close, file);
}

__attribute__((constructor)) static void begin(void) {
    const char *error = getenv("FAULT_ERROR"), *number = getenv("FAULT_AT");
    ops = getenv("FAULT_OPS");
    tree = getenv("FAULT_TREE");
    count_path = getenv("FAULT_COUNT");
    at = number ? atol(number) : 0;
    error_number = error ? atoi(error) : EIO;
    kind = error && strcmp(error, "short") == 0  ? SHORT
           : error && strcmp(error, "kill") == 0 ? KILL
                                                 : FAIL;
    if (ops && count_path) atexit(write_count);
}

/* Is it this call's turn? */
static bool hit(const char *op) {
    size_t length = strlen(op);
    const char *found = ops ? strstr(ops, op) : NULL;
    if (!found || (found > ops && found[-1] != ' ') || (found[length] && found[length] != ' '))
        return false;
    bool turn = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == at;
    if (turn && kind == KILL) kill(getpid(), SIGKILL);
    return turn;
}

static bool path_counts(const char *path) {
    return path && (*path != '/' || (tree && strncmp(path, tree, strlen(tree)) == 0));
}

static bool file_counts(int file) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return false;
    path[length] = '\0';
    return *path == '/' && tree && strncmp(path, tree, strlen(tree)) == 0;
}

#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAILS(op) (hit(op) && kind == FAIL)

#define TRANSFER(name, op, parameters, whole, half)                                                \
    ssize_t name parameters {                                                                      \
        REAL(name);                                                                                \
        if (file_counts(file) && hit(op)) {                                                        \
            if (kind == SHORT && size > 1) return half;                                            \
            errno = error_number;                                                                  \
            if (kind == FAIL) return -1;                                                           \
        }                                                                                          \
        return whole;                                                                              \
    }
TRANSFER(read, "read", (int file, void *to, size_t size), real(file, to, size),
         real(file, to, size / 2))
TRANSFER(write, "write", (int file, const void *from, size_t size), real(file, from, size),
         real(file, from, size / 2))
TRANSFER(pread, "read", (int file, void *to, size_t size, off_t where), real(file, to, size, where),
         real(file, to, size / 2, where))
TRANSFER(pread64, "read", (int file, void *to, size_t size, off64_t where),
         real(file, to, size, where), real(file, to, size / 2, where))
TRANSFER(pwrite, "write", (int file, const void *from, size_t size, off_t where),
         real(file, from, size, where), real(file, from, size / 2, where))
TRANSFER(pwrite64, "write", (int file, const void *from, size_t size, off64_t where),
         real(file, from, size, where), real(file, from, size / 2, where))

#define SIMPLE(type, name, op, counts, parameters, call, failure)                                  \
    type name parameters {                                                                         \
        REAL(name);                                                                                \
        if (counts && FAILS(op)) {                                                                 \
            errno = error_number;                                                                  \
            return failure;                                                                        \
        }                                                                                          \
        return call;                                                                               \
    }
SIMPLE(int, fsync, "fsync", file_counts(file), (int file), real(file), -1)
SIMPLE(int, fdatasync, "fsync", file_counts(file), (int file), real(file), -1)
SIMPLE(int, ftruncate, "truncate", file_counts(file), (int file, off_t size), real(file, size), -1)
SIMPLE(int, ftruncate64, "truncate", file_counts(file), (int file, off64_t size), real(file, size),
       -1)
SIMPLE(int, posix_fallocate, "truncate", file_counts(file), (int file, off_t from, off_t size),
       real(file, from, size), error_number)
SIMPLE(int, posix_fallocate64, "truncate", file_counts(file),
       (int file, off64_t from, off64_t size), real(file, from, size), error_number)
SIMPLE(int, rename, "rename", path_counts(from), (const char *from, const char *to), real(from, to),
       -1)
SIMPLE(int, renameat2, "rename", path_counts(from),
       (int a, const char *from, int b, const char *to, unsigned flags),
       real(a, from, b, to, flags), -1)
SIMPLE(int, link, "rename", path_counts(from), (const char *from, const char *to), real(from, to),
       -1)
SIMPLE(int, mkdir, "make", path_counts(path), (const char *path, mode_t mode), real(path, mode), -1)
SIMPLE(int, unlink, "remove", path_counts(path), (const char *path), real(path), -1)
SIMPLE(int, unlinkat, "remove", path_counts(path), (int directory, const char *path, int flags),
       real(directory, path, flags), -1)
SIMPLE(int, flock, "lock", file_counts(file), (int file, int operation), real(file, operation), -1)
SIMPLE(void *, mmap, "map", file >= 0 && file_counts(file),
       (void *where, size_t size, int protection, int flags, int file, off_t from),
       real(where, size, protection, flags, file, from), MAP_FAILED)
SIMPLE(void *, mmap64, "map", file >= 0 && file_counts(file),
       (void *where, size_t size, int protection, int flags, int file, off64_t from),
       real(where, size, protection, flags, file, from), MAP_FAILED)
SIMPLE(FILE *, fopen, "open", path_counts(path), (const char *path, const char *mode),
       real(path, mode), NULL)
SIMPLE(FILE *, fopen64, "open", path_counts(path), (const char *path, const char *mode),
       real(path, mode), NULL)
SIMPLE(int, fflush, "write", file &&fileno(file) > 2 && file_counts(fileno(file)), (FILE * file),
       real(file), EOF)

size_t fwrite(const void *from, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    if (fileno(file) > 2 && file_counts(fileno(file)) && hit("write") && kind != KILL) {
        size_t put = kind == SHORT ? real(from, size, count / 2, file) : 0;
        errno = kind == SHORT ? ENOSPC : error_number;
        return put;
    }
    return real(from, size, count, file);
}

int fclose(FILE *file) {
    REAL(fclose);
    bool fails = fileno(file) > 2 && file_counts(fileno(file)) && FAILS("write");
    int code = real(file);
    if (!fails) return code;
    errno = error_number;
    return EOF;
}

#define OPEN(name, first, counts, call)                                                            \
    int name first {                                                                               \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        REAL(name);                                                                                \
        if (counts && FAILS("open")) {                                                             \
            errno = error_number;                                                                  \
            return -1;                                                                             \
        }                                                                                          \
        return call;                                                                               \
    }
OPEN(open, (const char *path, int flags, ...), path_counts(path), real(path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), path_counts(path), real(path, flags, mode))
OPEN(openat, (int directory, const char *path, int flags, ...), path_counts(path),
     real(directory, path, flags, mode))
OPEN(openat64, (int directory, const char *path, int flags, ...), path_counts(path),
     real(directory, path, flags, mode))

/* ---- allocations */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct { uintptr_t first, last; } own[16];
static int own_count = -1;

static int note_object(struct dl_phdr_info *object, size_t size, void *context) {
    static const char *const libraries[] = {"jansson", "sqlite3", "hdf5", "pcre2", "utf8proc"};
    (void)size;
    bool counts = context && !*(int *)context; /* the program itself comes first */
    ++*(int *)context;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        counts = counts || strstr(object->dlpi_name, libraries[i]);
    for (int i = 0; counts && i < object->dlpi_phnum && own_count < 16; i++)
        if (object->dlpi_phdr[i].p_type == PT_LOAD && (object->dlpi_phdr[i].p_flags & PF_X)) {
            own[own_count].first = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
            own[own_count].last = own[own_count].first + object->dlpi_phdr[i].p_memsz;
            own_count++;
        }
    return 0;
}

static bool fails_to_allocate(void *caller) {
    static bool looking;
    if (!ops || !strstr(ops, "malloc") || looking) return false;
    if (own_count < 0) {
        int seen = 0;
        looking = true;
        own_count = 0;
        dl_iterate_phdr(note_object, &seen);
        looking = false;
    }
    for (int i = 0; i < own_count; i++)
        if ((uintptr_t)caller >= own[i].first && (uintptr_t)caller < own[i].last)
            return FAILS("malloc");
    return false;
}

#define ALLOCATION(declaration, call)                                                              \
    declaration {                                                                                  \
        if (fails_to_allocate(__builtin_return_address(0))) {                                      \
            errno = ENOMEM;                                                                        \
            return NULL;                                                                           \
        }                                                                                          \
        return call;                                                                               \
    }
ALLOCATION(void *malloc(size_t size), __libc_malloc(size))
ALLOCATION(void *calloc(size_t count, size_t size), __libc_calloc(count, size))
ALLOCATION(void *realloc(void *old, size_t size), __libc_realloc(old, size))
ALLOCATION(void *aligned_alloc(size_t alignment, size_t size), __libc_memalign(alignment, size))
