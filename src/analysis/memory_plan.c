#include "analysis/memory_plan.h"

#include "base/memory.h"

void memory_plan_add(struct memory_plan *plan, const char *name, uint64_t device, uint64_t host) {
    plan->device += device;
    plan->host += host;
    if ((device || host) && plan->count < MEMORY_PARTS)
        plan->parts[plan->count++] = (struct memory_part){name, device, host};
}

uint64_t memory_plan_own(const struct backend *backend) {
    return backend->discrete ? (uint64_t)160 << 20 : 0;
}

uint64_t memory_plan_room(struct backend *backend, uint64_t limit) {
    uint64_t free = backend->memory_free(backend) / 100 * (backend->discrete ? 97 : 90);
    return limit && limit < free ? limit : free;
}

/* What is free on the host, less a reserve. */
static uint64_t host_room(void) {
    return memory_available() / 10 * 9;
}

bool memory_plan_fits(const struct memory_plan *plan) {
    return plan->device <= plan->room && plan->host <= host_room();
}

enum status memory_plan_check(const struct memory_plan *plan, const struct backend *backend,
                              const char *what, uint64_t limit, const char *hint) {
    char needed[32], there[32];
    if (plan->device > plan->room) {
        memory_format(needed, plan->device);
        memory_format(there, plan->room);
        if (plan->room == limit)
            return status_fail("%s needs %s and --device-memory allows %s: %s", what, needed, there,
                               hint);
        return status_fail("%s needs %s and %s has %s free: %s", what, needed, backend->name, there,
                           hint);
    }
    uint64_t host = host_room();
    if (plan->host > host)
        return status_fail("%s needs %s of host memory and %s are free: %s", what,
                           memory_format(needed, plan->host), memory_format(there, host), hint);
    if (plan->cache - plan->cache_there > plan->cache_free)
        return status_fail(
            "%s needs %s more in \"%s\", which has %s free: name another --cache-dir "
            "or use fewer --steps",
            what, memory_format(needed, plan->cache - plan->cache_there), plan->cache_directory,
            memory_format(there, plan->cache_free));
    return STATUS_OK;
}
