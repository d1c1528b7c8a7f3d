#include "cli/memory_table.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/table.h"

static enum status print_json(const struct memory_budget *budget, const char *command) {
    struct json *document = document_begin(command), *parts = js_new_array();
    js_set_bool(document, "dry_run", true);
    js_set_string(document, "device", budget->where);
    js_set_string(document, "work", budget->work);
    js_set_integer(document, "room_bytes", (int64_t)budget->room);
    js_set_string(document, "room_bound", budget->bound);
    if (budget->seconds > 0) js_set_number(document, "seconds", budget->seconds);
    js_set_integer(document, "host_room_bytes", (int64_t)budget->host_room);
    js_set_string(document, "host_room_bound", budget->host_bound);
    js_set_integer(document, "device_bytes", (int64_t)budget->device);
    js_set_integer(document, "pinned_bytes", (int64_t)budget->host);
    for (int i = 0; i < budget->count; i++) {
        struct json *part = js_new_object();
        js_set_string(part, "name", budget->parts[i].name);
        js_set_integer(part, "device_bytes", (int64_t)budget->parts[i].device);
        js_set_integer(part, "pinned_bytes", (int64_t)budget->parts[i].host);
        js_append(parts, part);
    }
    js_set(document, "parts", parts);
    if (budget->cache_directory) {
        js_set_string(document, "cache_directory", budget->cache_directory);
        js_set_integer(document, "cache_bytes", (int64_t)budget->cache);
        js_set_integer(document, "cache_bytes_there", (int64_t)budget->cache_there);
        js_set_integer(document, "cache_bytes_free", (int64_t)budget->cache_free);
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

static enum status print_text(const struct memory_budget *budget) {
    struct table table;
    bool pinned = budget->host > 0;
    char room[32], text[3][32];
    table_begin(&table, pinned ? "lrrrr" : "lrr");
    table_cell(&table, "part");
    table_cell(&table, "bytes on %s", budget->where);
    table_cell(&table, "%s", "");
    if (pinned) {
        table_cell(&table, "pinned on the host");
        table_cell(&table, "%s", "");
    }
    for (int i = 0; i < budget->count; i++)
        cells(&table, budget->parts[i].name, budget->parts[i].device, budget->parts[i].host,
              pinned);
    cells(&table, "in all", budget->device, budget->host, pinned);
    enum status status = table_print(&table, stdout);
    if (!status)
        quote_print(stdout, "%s; %s may be used on %s%s%s%s", budget->work,
                    memory_format(room, budget->room), budget->where, *budget->bound ? " (" : "",
                    budget->bound, *budget->bound ? ")" : "");
    if (!status && pinned)
        printf("%s may be used on the host%s%s%s\n", memory_format(room, budget->host_room),
               *budget->host_bound ? " (" : "", budget->host_bound, *budget->host_bound ? ")" : "");
    if (!status && budget->seconds > 0)
        printf("about %s at the speed measured now\n", log_format_duration(room, budget->seconds));
    if (!status && budget->cache_directory)
        quote_print(stdout, "cache in \"%s\": %s, of which %s are there; %s free",
                    budget->cache_directory, memory_format(text[0], budget->cache),
                    memory_format(text[1], budget->cache_there),
                    memory_format(text[2], budget->cache_free));
    return status;
}

enum status memory_table_print(const struct memory_budget *budget, const char *command, bool json) {
    return json ? print_json(budget, command) : print_text(budget);
}
