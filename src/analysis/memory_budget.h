/* What a run will take, part by part, known before it starts: `--dry-run` prints it, and a run that
 * does not fit is refused with it. */
#ifndef ANALYSIS_MEMORY_BUDGET_H
#define ANALYSIS_MEMORY_BUDGET_H

#include "base/memory.h"
#include "kernels/backend.h"

struct memory_part {
    const char *name;      /* "branches" */
    uint64_t device, host; /* bytes; on the CPU all of it is `device` */
};

enum { MEMORY_PARTS = 16 };

struct memory_budget {
    struct memory_part parts[MEMORY_PARTS];
    int count;
    uint64_t device, host;         /* the sums */
    uint64_t room;                 /* what may be used on the device */
    uint64_t host_room;            /* and of the host's memory, less a reserve */
    char bound[MEMORY_BOUND];      /* what holds room down: "--device-memory", "ulimit -v" */
    char host_bound[MEMORY_BOUND]; /* likewise host_room; "": what the machine has */
    const char *cache_directory;   /* or NULL; borrowed */
    uint64_t cache, cache_there, cache_free; /* bytes of its files, those that exist, free */
    double seconds;                          /* that the run will take; 0: not known */
    char where[32];                          /* its name */
    char work[320];                          /* how the work is cut, in a line */
};

/* Parts of no bytes are left out. */
void memory_budget_add(struct memory_budget *budget, const char *name, uint64_t device,
                       uint64_t host);

/* "weights 10.5 MB, activations 124 MB, …; in all 644 MB": the parts that --dry-run lists. What is
 * pinned on the host stands apart. The caller frees; NULL when out of memory. */
char *memory_budget_line(const struct memory_budget *budget);

/* What the backend itself takes for scratch and transfers. */
uint64_t memory_budget_own(const struct backend *backend);

/* An empty budget, and what it may use: `limit` (0: none), or what is free less a reserve. */
void memory_budget_begin(struct memory_budget *budget, struct backend *backend, uint64_t limit);

/* Whether the budget stays within its room and within what the host has free, less a reserve. */
bool memory_budget_fits(const struct memory_budget *budget);

/* Fails, saying what `what` ("the sweep") needs, when the budget exceeds its room, the host's
 * memory or what is free in its cache directory; `hint` says what helps against the first two. */
enum status memory_budget_check(const struct memory_budget *budget, const struct backend *backend,
                                const char *what, uint64_t limit, const char *hint) STATUS_CHECKED;

#endif
