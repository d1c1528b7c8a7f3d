/* A child that reads a hostile file may be taken over: what is left to it then, and what its parent
 * believes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "check_main.h"
#include "data/contain.h"
#include "data/tokenset_internal.h"

#define FILE_READ TEST_DATA "/golden/ids.jsonl"

/* What a child tries, one errno each (0: it was let). */
enum {
    TRY_WRITE,
    TRY_CREATE,
    TRY_TRUNCATE_OPEN,
    TRY_UNLINK,
    TRY_SOCKET,
    TRY_FORK,
    TRY_EXEC,
    TRY_KILL,
    TRY_SIGNAL_THREAD,
    TRY_CODE,
    TRY_CODE_LATER,
    TRY_INHERITED,
    TRY_STDERR,
    TRY_ALARM,
    TRY_PTRACE,
    TRIES,
};

struct tries {
    int found[TRIES];
    int filtered; /* the kernel took the filter */
    int reads;    /* and reading goes on */
    int inherited;
    pid_t parent;
};

static int outcome(long result) {
    return result == -1 ? errno : 0;
}

static enum status try_all(void *context) {
    struct tries *tries = context;
    char letter, *arguments[] = {NULL};
    tries->filtered = prctl(PR_GET_SECCOMP) != 0;
    tries->found[TRY_INHERITED] = outcome(read(tries->inherited, &letter, 1));
    int file = open(FILE_READ, O_RDONLY);
    tries->reads = file >= 0 && read(file, &letter, 1) == 1;
    if (!tries->filtered) return STATUS_OK;
    tries->found[TRY_WRITE] = outcome(open(FILE_READ, O_RDWR));
    tries->found[TRY_CREATE] = outcome(open("/tmp/test-contain-new", O_RDONLY | O_CREAT, 0600));
    tries->found[TRY_TRUNCATE_OPEN] = outcome(open("/tmp/test-contain-new", O_WRONLY | O_TRUNC));
    tries->found[TRY_UNLINK] = outcome(unlink("/tmp/test-contain-new"));
    tries->found[TRY_SOCKET] = outcome(socket(AF_UNIX, SOCK_STREAM, 0));
    tries->found[TRY_FORK] = outcome(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    tries->found[TRY_EXEC] = outcome(execve("/bin/true", arguments, arguments));
    tries->found[TRY_KILL] = outcome(kill(tries->parent, 0));
    tries->found[TRY_SIGNAL_THREAD] = outcome(syscall(SYS_tgkill, tries->parent, tries->parent, 0));
    void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tries->found[TRY_CODE] = code == MAP_FAILED ? errno : 0;
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tries->found[TRY_CODE_LATER] = outcome(mprotect(code, 4096, PROT_READ | PROT_EXEC));
    tries->found[TRY_STDERR] = outcome(write(STDERR_FILENO, "a", 1));
    errno = 0;
    tries->found[TRY_ALARM] = outcome(syscall(SYS_setitimer, 0, NULL, NULL));
    tries->found[TRY_PTRACE] = outcome(syscall(SYS_ptrace, 0, 0, 0, 0));
    return STATUS_OK;
}

static bool send_tries(int pipe, void *context) {
    return contain_send(pipe, context, sizeof(struct tries));
}

static enum status receive_tries(bool *broken, int pipe, void *context) {
    *broken = !contain_receive(pipe, context, sizeof(struct tries));
    return STATUS_OK;
}

START_TEST(a_child_that_reads_can_do_nothing_else) {
    int inherited = open(FILE_READ, O_RDONLY);
    struct tries tries = {.inherited = inherited, .parent = getpid()};
    struct contain_task task = {FILE_READ, false, try_all, send_tries, receive_tries, &tries};
    ck_assert_int_ge(inherited, 0);
    ck_assert_int_eq(contain_run(&task), STATUS_OK);
    close(inherited);
    ck_assert_int_eq(tries.reads, 1);
    ck_assert_int_eq(tries.found[TRY_INHERITED], EBADF);
    for (int i = 0; tries.filtered && i < TRIES; i++)
        if (i != TRY_INHERITED) ck_assert_msg(tries.found[i] == EPERM, "%d: %d", i, tries.found[i]);
    ck_assert(!file_exists("/tmp/test-contain-new"));
}
END_TEST

static enum status take_memory(void *context) {
    uint64_t *taken = context;
    for (size_t part = 64 << 20; *taken < UINT64_C(4) << 30; *taken += part) {
        char *memory = mmap(NULL, part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) break;
    }
    return STATUS_OK;
}

static bool send_taken(int pipe, void *context) {
    return contain_send(pipe, context, sizeof(uint64_t));
}

static enum status receive_taken(bool *broken, int pipe, void *context) {
    *broken = !contain_receive(pipe, context, sizeof(uint64_t));
    return STATUS_OK;
}

START_TEST(a_child_gets_memory_for_its_file_only) {
    uint64_t taken = 0;
    struct contain_task task = {FILE_READ, false, take_memory, send_taken, receive_taken, &taken};
    ck_assert_int_eq(contain_run(&task), STATUS_OK);
    ck_assert_uint_le(taken, contain_bytes(FILE_READ));
    ck_assert_uint_gt(taken, 0);
}
END_TEST

static enum status crash(void *context) {
    raise(*(int *)context);
    return STATUS_OK;
}

START_TEST(a_child_that_dies_says_how) {
    static const int signals[] = {SIGABRT, SIGXCPU, SIGALRM, SIGKILL, SIGTERM};
    static const char *const words[] = {"Aborted", "CPU time limit exceeded", "Alarm clock",
                                        "Killed", "Terminated"};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        int number = signals[i];
        struct contain_task task = {FILE_READ, false, crash, send_taken, receive_taken, &number};
        ck_assert_msg(contain_run(&task) == STATUS_FAILED, "%s", words[i]);
        ck_assert_msg(strstr(status_message(), words[i]) != NULL, "%s", status_message());
    }
}
END_TEST

/* A child that was taken over writes what it likes; only `words` of it, then the end. */
static enum status receive(struct tokenset **out, const void *bytes, size_t size) {
    int ends[2];
    *out = NULL;
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], bytes, size), (ssize_t)size);
    close(ends[1]);
    enum status status = tokenset_receive(out, ends[0], FILE_READ);
    close(ends[0]);
    return status;
}

/* What such a child of an honest file sends: a set of 2 rows, of 2 and 1 tokens. */
struct sent {
    uint32_t failed, message_bytes;
    uint64_t rows, tokens, vocab_size, shuffle_seed, sources_bytes;
    uint8_t has_mask, shuffled;
    char tokenizer_sha256[65], fingerprint[65];
    char rest[4 + 24 + 12 + 3 + 2];
};

static struct sent honest(void) {
    struct sent sent = {
        .rows = 2, .tokens = 3, .vocab_size = 10, .sources_bytes = 2, .has_mask = 1};
    const uint64_t offsets[] = {0, 2, 3};
    const uint32_t ids[] = {9, 0, 4};
    char *at = sent.rest + 4; /* the header ends with padding to 8 bytes */
    memcpy(at, offsets, sizeof offsets);
    memcpy(at + sizeof offsets, ids, sizeof ids);
    memcpy(at + sizeof offsets + sizeof ids,
           "\0\1\1"
           "a",
           5);
    return sent;
}

START_TEST(nothing_that_a_child_hands_over_is_believed) {
    struct tokenset *set;
    struct sent sent = honest();
    const size_t size = offsetof(struct sent, rest) + sizeof sent.rest;
    ck_assert_int_eq(receive(&set, &sent, size), STATUS_OK);
    ck_assert_uint_eq(set->rows, 2);
    ck_assert_uint_eq(set->ids[0], 9);
    ck_assert_str_eq(set->sources, "a");
    tokenset_free(set);
    for (size_t cut = 0; cut < size; cut++)
        ck_assert_int_eq(receive(&set, &sent, cut), STATUS_FAILED);
#define WRONG(change)                                                                              \
    sent = honest();                                                                               \
    change;                                                                                        \
    ck_assert_msg(receive(&set, &sent, size) == STATUS_FAILED, "%s", #change)
    WRONG(sent.failed = 2);
    WRONG(sent.failed = 1);
    WRONG(sent.failed = 1; sent.message_bytes = UINT32_MAX);
    WRONG(sent.failed = 1; sent.message_bytes = 8);
    WRONG(sent.rows = UINT64_MAX);
    WRONG(sent.rows = UINT64_MAX / 8 + 2);
    WRONG(sent.rows = 0);
    WRONG(sent.tokens = UINT64_C(1) << 62);
    WRONG(sent.tokens = 0);
    WRONG(sent.tokens = 2);
    WRONG(sent.vocab_size = 0);
    WRONG(sent.vocab_size = 9);
    WRONG(sent.sources_bytes = 0);
    WRONG(sent.sources_bytes = UINT64_MAX);
    WRONG(sent.has_mask = 2);
    WRONG(sent.shuffled = 255);
    WRONG(memset(sent.tokenizer_sha256, 'a', 65));
    WRONG(strcpy(sent.tokenizer_sha256, "abc"));
    WRONG(memset(sent.fingerprint, '0', 64));
    WRONG(sent.rest[4] = 1);            /* an offset */
    WRONG(sent.rest[12] = 3);           /* one that does not ascend */
    WRONG(sent.rest[4 + 24] = 10);      /* an id */
    WRONG(sent.rest[4 + 36] = 2);       /* the mask */
    WRONG(sent.rest[4 + 39 + 1] = 'b'); /* no terminator */
    WRONG(sent.rest[4 + 39] = '\0');    /* one too early */
}
END_TEST

CHECK_MAIN("contain", a_child_that_reads_can_do_nothing_else, a_child_gets_memory_for_its_file_only,
           a_child_that_dies_says_how, nothing_that_a_child_hands_over_is_believed)
