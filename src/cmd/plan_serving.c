#include "cmd/plan_serving.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/table.h"
#include "model/formats.h"
#include "plan/export.h"

static void add_row(struct table *table, size_t number, const struct serving_estimate *row) {
    char a[32], b[32], c[32];
    if (number)
        table_cell(table, "%zu", number);
    else
        table_cell(table, "none");
    table_cell(table, "%d", row->replaced);
    table_cell(table, "%s", memory_format(a, row->weights));
    table_cell(table, "%s", memory_format(b, row->kv_per_token));
    table_cell(table, "%s", memory_format(c, row->state));
    table_cell(table, "%" PRId64, row->batch);
    if (row->batch)
        table_cell(table, "%.0f", row->tokens_per_second);
    else
        table_cell(table, "-");
    if (isfinite(row->ratio))
        table_cell(table, "%.2f", row->ratio);
    else
        table_cell(table, "-");
}

static enum status print_estimates(const struct serving_estimate *rows, size_t count,
                                   const struct serving_device *device) {
    static const char *const heading[] = {"stage",       "replaced",  "weights",  "cache / token",
                                          "state / seq", "sequences", "tokens/s", "ratio"};
    char memory[32], bandwidth[32];
    struct table table;
    printf("\nserving, estimated for %s of memory at %s/s: %" PRId64 " token%s in, %" PRId64
           " out (bench measures)\n",
           memory_format(memory, device->memory),
           memory_format(bandwidth, (uint64_t)device->speed.bandwidth), device->prompt,
           device->prompt == 1 ? "" : "s", device->output);
    table_begin(&table, "rrrrrrrr");
    for (size_t i = 0; i < sizeof heading / sizeof *heading; i++)
        table_cell(&table, "%s", heading[i]);
    for (size_t i = 0; i < count; i++) add_row(&table, i, &rows[i]);
    return table_print(&table, stdout);
}

static enum status print_warnings(const struct plan *plan, const struct plan_mixers *mixers) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < plan->n_stages; i++) {
        char *lines = NULL;
        status = serving_warnings(&lines, plan, &plan->stages[i], mixers);
        for (char *line = lines; line && *line;) {
            char *end = strchr(line, '\n');
            *end = '\0';
            printf("stage %zu: %s\n", i + 1, line);
            line = end + 1;
        }
        free(lines);
    }
    return status;
}

/* Which formats can hold the last stage's hybrid, and what the others lack. */
static enum status print_formats(const struct plan *plan, const struct plan_mixers *mixers) {
    struct plan_hybrid last;
    if (!plan->n_stages) return STATUS_OK;
    enum status status =
        plan_hybrid_open(&last, plan, &plan->stages[plan->n_stages - 1], mixers, "plan");
    if (status) return status;
    puts("\nthe last stage can be written as");
    for (int i = 0; i < FORMAT_COUNT; i++) {
        const char *lacks = format_lacks((enum hybrid_format)i, last.hybrid.config);
        const char *name = format_name((enum hybrid_format)i);
        if (lacks)
            printf("  %-14s  no: it cannot express %s\n", name, lacks);
        else
            printf("  %s\n", name);
    }
    plan_hybrid_close(&last);
    return STATUS_OK;
}

enum status plan_serving_print(const struct plan *plan, const struct plan_mixers *mixers,
                               const struct serving_device *device) {
    struct serving_estimate *rows = memory_calloc(plan->n_stages + 1, sizeof *rows);
    bool complete = false;
    enum status status = rows ? STATUS_OK : STATUS_FAILED;
    if (!status) status = serving_predict(rows, &complete, plan, device, mixers);
    if (!status && complete) status = print_estimates(rows, plan->n_stages + 1, device);
    if (!status && complete) status = print_formats(plan, mixers);
    if (!status) status = print_warnings(plan, mixers);
    free(rows);
    return status;
}
