#include "analysis/memory_budget.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

void memory_budget_add(struct memory_budget *budget, const char *name, uint64_t device,
                       uint64_t host) {
    budget->device += device;
    budget->host += host;
    if ((device || host) && budget->count < MEMORY_PARTS)
        budget->parts[budget->count++] = (struct memory_part){name, device, host};
}

static void append_parts(struct text *text, const struct memory_budget *budget, bool host) {
    char size[32];
    const char *comma = "";
    for (int i = 0; i < budget->count; i++) {
        uint64_t bytes = host ? budget->parts[i].host : budget->parts[i].device;
        if (!bytes) continue;
        text_append(text, "%s%s %s", comma, budget->parts[i].name, memory_format(size, bytes));
        comma = ", ";
    }
    text_append(text, "; in all %s", memory_format(size, host ? budget->host : budget->device));
}

char *memory_budget_line(const struct memory_budget *budget) {
    struct text text = {0};
    append_parts(&text, budget, false);
    if (budget->host) {
        text_append(&text, "; pinned on the host: ");
        append_parts(&text, budget, true);
    }
    return text_finish(&text);
}

uint64_t memory_budget_own(const struct backend *backend) {
    return backend->discrete ? (uint64_t)160 << 20 : 0;
}

void memory_budget_begin(struct memory_budget *budget, struct backend *backend, uint64_t limit) {
    uint64_t free = backend->memory_free(backend) / 100 * (backend->discrete ? 97 : 90);
    *budget = (struct memory_budget){.room = limit && limit < free ? limit : free};
    snprintf(budget->where, sizeof budget->where, "%s", backend->name);
    budget->host_room = memory_available(budget->host_bound) / 10 * 9;
    if (budget->room == limit)
        strcpy(budget->bound, "--device-memory");
    else if (!backend->discrete)
        memcpy(budget->bound, budget->host_bound, sizeof budget->bound);
}

bool memory_budget_fits(const struct memory_budget *budget) {
    return budget->device <= budget->room && budget->host <= budget->host_room;
}

enum status memory_budget_check(const struct memory_budget *budget, const struct backend *backend,
                                const char *what, uint64_t limit, const char *hint) {
    char needed[32], there[32];
    if (budget->device > budget->room) {
        memory_format(needed, budget->device);
        memory_format(there, budget->room);
        if (budget->room == limit)
            return status_fail("%s needs %s and --device-memory allows %s: %s", what, needed, there,
                               hint);
        bool held = *budget->bound != '\0';
        return status_fail("%s needs %s and %s has %s free%s%s%s: %s", what, needed, backend->name,
                           there, held ? " (" : "", budget->bound, held ? ")" : "", hint);
    }
    bool held = *budget->host_bound != '\0';
    if (budget->host > budget->host_room)
        return status_fail("%s needs %s of host memory and %s are free%s%s%s: %s", what,
                           memory_format(needed, budget->host),
                           memory_format(there, budget->host_room), held ? " (" : "",
                           budget->host_bound, held ? ")" : "", hint);
    if (budget->cache - budget->cache_there > budget->cache_free)
        return status_fail(
            "%s needs %s more in \"%s\", which has %s free: name another --cache-dir "
            "or use fewer --steps",
            what, memory_format(needed, budget->cache - budget->cache_there),
            budget->cache_directory, memory_format(there, budget->cache_free));
    return STATUS_OK;
}
