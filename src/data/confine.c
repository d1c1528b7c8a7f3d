#define _GNU_SOURCE
#include "data/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

enum { PIPE = 3, DESCRIPTORS = 16 };

int confine_descriptors(int pipe) {
    if (pipe != PIPE && dup2(pipe, PIPE) != PIPE) return pipe;
#ifdef __NR_close_range
    if (syscall(__NR_close_range, PIPE + 1, ~0u, 0) == 0) return PIPE;
#endif
    long most = sysconf(_SC_OPEN_MAX);
    for (int descriptor = PIPE + 1; descriptor < most && descriptor < 65536; descriptor++)
        close(descriptor);
    return PIPE;
}

static void limit(int resource, uint64_t value, uint64_t more) {
    struct rlimit now;
    if (getrlimit(resource, &now) != 0) return;
    if (now.rlim_max == RLIM_INFINITY || now.rlim_max > value + more) now.rlim_max = value + more;
    now.rlim_cur = now.rlim_max < value ? now.rlim_max : value;
    setrlimit(resource, &now);
}

/* Address space that the process has: reserved by its parent, much of it for a GPU or a sanitizer.
 */
static uint64_t address_space(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%llu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Signals end the process, whatever its parent does with them. */
static void release_signals(void) {
    static const int numbers[] = {SIGALRM, SIGXCPU, SIGTERM, SIGINT, SIGPIPE};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) signal(numbers[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void set_limits(const struct confine_limits *limits) {
    uint64_t space = address_space();
    if (space) limit(RLIMIT_AS, space + limits->bytes, 0);
    limit(RLIMIT_CORE, 0, 0);
    limit(RLIMIT_FSIZE, 0, 0);
    limit(RLIMIT_NOFILE, DESCRIPTORS, 0);
    limit(RLIMIT_NPROC, 0, 0);
    limit(RLIMIT_CPU, limits->seconds, 1);       /* first the signal that says so */
    alarm((unsigned)(60 + 4 * limits->seconds)); /* for what waits without end; cannot be undone */
}

#ifdef ARCHITECTURE

/* Arguments are compared by their low halves: all of these are ints, or flags of few bits. */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARGUMENT(n) LOAD(args[n])
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define REFUSE RETURN(SECCOMP_RET_ERRNO | EPERM)
#define ALLOW RETURN(SECCOMP_RET_ALLOW)
/* The call with number `nr` passes. */
#define PASS(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), ALLOW
/* It passes when argument `n` is `value`. */
#define PASS_IF(nr, n, value)                                                                      \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4), LOAD_ARGUMENT(n),                               \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1), ALLOW, REFUSE
/* It passes when argument `n` has none of `bits`. */
#define PASS_WITHOUT(nr, n, bits)                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4), LOAD_ARGUMENT(n),                               \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0), ALLOW, REFUSE

#define WRITING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)

static bool set_filter(void) {
    const uint32_t self = (uint32_t)getpid();
    struct sock_filter filter[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        RETURN(SECCOMP_RET_KILL),
        LOAD(nr),
        /* files, for reading */
        PASS(__NR_read),
        PASS(__NR_pread64),
        PASS(__NR_lseek),
        PASS(__NR_close),
        PASS(__NR_fstat),
        PASS_WITHOUT(__NR_openat, 2, WRITING),
        PASS(__NR_newfstatat),
#ifdef __NR_statx
        PASS(__NR_statx),
#endif
#ifdef __NR_open
        PASS_WITHOUT(__NR_open, 1, WRITING),
        PASS(__NR_stat),
        PASS(__NR_lstat),
        PASS(__NR_access),
        PASS(__NR_readlink),
#endif
        PASS(__NR_faccessat),
        PASS(__NR_readlinkat),
        PASS(__NR_getcwd),
        PASS(__NR_flock),
        PASS_IF(__NR_fcntl, 1, F_GETFD),
        /* the result */
        PASS_IF(__NR_write, 0, PIPE),
        /* memory, none of it to be carried out */
        PASS(__NR_brk),
        PASS(__NR_munmap),
        PASS(__NR_mremap),
        PASS(__NR_madvise),
        PASS_WITHOUT(__NR_mmap, 2, PROT_EXEC),
        PASS_WITHOUT(__NR_mprotect, 2, PROT_EXEC),
        /* itself */
        PASS(__NR_exit),
        PASS(__NR_exit_group),
        PASS(__NR_rt_sigreturn),
        PASS(__NR_rt_sigprocmask),
        PASS(__NR_rt_sigaction),
        PASS(__NR_sigaltstack),
        PASS(__NR_getpid),
        PASS(__NR_gettid),
        PASS_IF(__NR_tgkill, 0, self), /* abort() */
        PASS(__NR_futex),
        PASS(__NR_sched_yield),
        PASS(__NR_getrandom),
        PASS(__NR_clock_gettime),
        PASS(__NR_gettimeofday),
        PASS(__NR_getrusage),
        PASS(__NR_restart_syscall),
        REFUSE,
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#else

static bool set_filter(void) {
    return false;
}

#endif

bool confine_process(int pipe, const struct confine_limits *limits) {
    release_signals();
    set_limits(limits);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return pipe == PIPE && set_filter();
}
