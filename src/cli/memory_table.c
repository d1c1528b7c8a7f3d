#include "cli/memory_table.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/table.h"

static enum status print_json(const struct memory_plan *plan, const char *command) {
    struct json *document = document_begin(command), *parts = js_new_array();
    js_set_bool(document, "dry_run", true);
    js_set_string(document, "device", plan->where);
    js_set_string(document, "work", plan->work);
    js_set_integer(document, "room_bytes", (int64_t)plan->room);
    js_set_string(document, "room_bound", plan->bound);
    if (plan->seconds > 0) js_set_number(document, "seconds", plan->seconds);
    js_set_integer(document, "host_room_bytes", (int64_t)plan->host_room);
    js_set_string(document, "host_room_bound", plan->host_bound);
    js_set_integer(document, "device_bytes", (int64_t)plan->device);
    js_set_integer(document, "pinned_bytes", (int64_t)plan->host);
    for (int i = 0; i < plan->count; i++) {
        struct json *part = js_new_object();
        js_set_string(part, "name", plan->parts[i].name);
        js_set_integer(part, "device_bytes", (int64_t)plan->parts[i].device);
        js_set_integer(part, "pinned_bytes", (int64_t)plan->parts[i].host);
        js_append(parts, part);
    }
    js_set(document, "parts", parts);
    if (plan->cache_directory) {
        js_set_string(document, "cache_directory", plan->cache_directory);
        js_set_integer(document, "cache_bytes", (int64_t)plan->cache);
        js_set_integer(document, "cache_bytes_there", (int64_t)plan->cache_there);
        js_set_integer(document, "cache_bytes_free", (int64_t)plan->cache_free);
    }
    return document_print(document);
}

static void cells(struct table *table, const char *name, uint64_t device, uint64_t host,
                  bool pinned) {
    char text[32];
    table_cell(table, "%s", name);
    table_cell(table, "%" PRIu64, device);
    table_cell(table, "%s", memory_format(text, device));
    if (!pinned) return;
    table_cell(table, "%" PRIu64, host);
    table_cell(table, "%s", memory_format(text, host));
}

static enum status print_text(const struct memory_plan *plan) {
    struct table table;
    bool pinned = plan->host > 0;
    char room[32], text[3][32];
    table_begin(&table, pinned ? "lrrrr" : "lrr");
    table_cell(&table, "part");
    table_cell(&table, "bytes on %s", plan->where);
    table_cell(&table, "%s", "");
    if (pinned) {
        table_cell(&table, "pinned on the host");
        table_cell(&table, "%s", "");
    }
    for (int i = 0; i < plan->count; i++)
        cells(&table, plan->parts[i].name, plan->parts[i].device, plan->parts[i].host, pinned);
    cells(&table, "in all", plan->device, plan->host, pinned);
    enum status status = table_print(&table, stdout);
    if (!status)
        quote_print(stdout, "%s; %s may be used on %s%s%s%s", plan->work,
                    memory_format(room, plan->room), plan->where, *plan->bound ? " (" : "",
                    plan->bound, *plan->bound ? ")" : "");
    if (!status && pinned)
        printf("%s may be used on the host%s%s%s\n", memory_format(room, plan->host_room),
               *plan->host_bound ? " (" : "", plan->host_bound, *plan->host_bound ? ")" : "");
    if (!status && plan->seconds > 0)
        printf("about %s at the speed measured now\n", log_format_duration(room, plan->seconds));
    if (!status && plan->cache_directory)
        quote_print(stdout, "cache in \"%s\": %s, of which %s are there; %s free",
                    plan->cache_directory, memory_format(text[0], plan->cache),
                    memory_format(text[1], plan->cache_there),
                    memory_format(text[2], plan->cache_free));
    return status;
}

enum status memory_table_print(const struct memory_plan *plan, const char *command, bool json) {
    return json ? print_json(plan, command) : print_text(plan);
}
