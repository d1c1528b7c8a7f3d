#include "analysis/memory_plan.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

void memory_plan_add(struct memory_plan *plan, const char *name, uint64_t device, uint64_t host) {
    plan->device += device;
    plan->host += host;
    if ((device || host) && plan->count < MEMORY_PARTS)
        plan->parts[plan->count++] = (struct memory_part){name, device, host};
}

static void append_parts(struct text *text, const struct memory_plan *plan, bool host) {
    char size[32];
    const char *comma = "";
    for (int i = 0; i < plan->count; i++) {
        uint64_t bytes = host ? plan->parts[i].host : plan->parts[i].device;
        if (!bytes) continue;
        text_append(text, "%s%s %s", comma, plan->parts[i].name, memory_format(size, bytes));
        comma = ", ";
    }
    text_append(text, "; in all %s", memory_format(size, host ? plan->host : plan->device));
}

char *memory_plan_line(const struct memory_plan *plan) {
    struct text text = {0};
    append_parts(&text, plan, false);
    if (plan->host) {
        text_append(&text, "; pinned on the host: ");
        append_parts(&text, plan, true);
    }
    return text_finish(&text);
}

uint64_t memory_plan_own(const struct backend *backend) {
    return backend->discrete ? (uint64_t)160 << 20 : 0;
}

void memory_plan_begin(struct memory_plan *plan, struct backend *backend, uint64_t limit) {
    uint64_t free = backend->memory_free(backend) / 100 * (backend->discrete ? 97 : 90);
    *plan = (struct memory_plan){.room = limit && limit < free ? limit : free};
    snprintf(plan->where, sizeof plan->where, "%s", backend->name);
    plan->host_room = memory_available(plan->host_bound) / 10 * 9;
    if (plan->room == limit)
        strcpy(plan->bound, "--device-memory");
    else if (!backend->discrete)
        memcpy(plan->bound, plan->host_bound, sizeof plan->bound);
}

bool memory_plan_fits(const struct memory_plan *plan) {
    return plan->device <= plan->room && plan->host <= plan->host_room;
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
        bool held = *plan->bound != '\0';
        return status_fail("%s needs %s and %s has %s free%s%s%s: %s", what, needed, backend->name,
                           there, held ? " (" : "", plan->bound, held ? ")" : "", hint);
    }
    bool held = *plan->host_bound != '\0';
    if (plan->host > plan->host_room)
        return status_fail("%s needs %s of host memory and %s are free%s%s%s: %s", what,
                           memory_format(needed, plan->host), memory_format(there, plan->host_room),
                           held ? " (" : "", plan->host_bound, held ? ")" : "", hint);
    if (plan->cache - plan->cache_there > plan->cache_free)
        return status_fail(
            "%s needs %s more in \"%s\", which has %s free: name another --cache-dir "
            "or use fewer --steps",
            what, memory_format(needed, plan->cache - plan->cache_there), plan->cache_directory,
            memory_format(there, plan->cache_free));
    return STATUS_OK;
}
