#include "cmd/plan_summary.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/quote.h"
#include "cli/table.h"
#include "scores/ranking.h"

/* The layers of a stage that the stage before did not have. */
static char *format_new_layers(const struct plan *plan, size_t number) {
    const struct int_list *before = number ? &plan->stages[number - 1].layers : &plan->base;
    const struct int_list *layers = &plan->stages[number].layers;
    int *added = memory_calloc(layers->count, sizeof *added);
    size_t count = 0, old = 0;
    for (size_t i = 0; added && i < layers->count; i++)
        if (old < before->count && before->values[old] == layers->values[i])
            old++;
        else
            added[count++] = layers->values[i];
    char *text = added ? list_format(added, count) : NULL;
    free(added);
    return text;
}

static enum status print_stages(const struct plan *plan) {
    struct table table;
    table_begin(&table, "rrrl");
    table_cell(&table, "stage");
    table_cell(&table, "replaced");
    table_cell(&table, "attention left");
    table_cell(&table, "new layers");
    for (size_t i = 0; i < plan->n_stages; i++) {
        char *added = format_new_layers(plan, i);
        int replaced = (int)plan->stages[i].layers.count;
        table_cell(&table, "%zu", i + 1);
        table_cell(&table, "%d", replaced);
        table_cell(&table, "%d", plan->layers - replaced);
        table_cell(&table, "%s", added ? added : "");
        if (!added) table.status = STATUS_FAILED;
        free(added);
    }
    return table_print(&table, stdout);
}

static enum status print_tie(const struct plan_stage *stage, size_t number) {
    char *inside = list_format(stage->tie_inside.values, stage->tie_inside.count);
    char *outside = list_format(stage->tie_outside.values, stage->tie_outside.count);
    enum status status = inside && outside ? STATUS_OK : STATUS_FAILED;
    if (!status)
        printf("stage %zu ends inside a statistical tie: layers %s (in) and %s (out) are within 2 "
               "standard errors\n",
               number, inside, outside);
    free(inside);
    free(outside);
    return status;
}

enum status plan_summary_print(const struct plan *plan) {
    quote_print(stdout, "plan for %s", plan->model);
    for (size_t i = 0; i < plan->n_signals; i++) {
        const struct plan_signal *signal = &plan->signals[i];
        printf("%s %s, run %lld", signal->kind, signal->metric, (long long)signal->run);
        if (ranking_is_estimate(signal->kind)) printf(" (an estimate)");
        if (i) printf(", from %d replaced layers on", signal->from);
        puts("");
    }
    char *base = list_format(plan->base.values, plan->base.count);
    char *keep = list_format(plan->keep.values, plan->keep.count);
    enum status status = base && keep ? STATUS_OK : STATUS_FAILED;
    if (!status && *base) printf("replaced before: layers %s\n", base);
    if (!status && *keep) printf("kept: layers %s\n", keep);
    free(base);
    free(keep);
    puts("");
    if (!status) status = print_stages(plan);
    for (size_t i = 0; !status && i < plan->n_stages; i++)
        if (plan->stages[i].tie_inside.count) status = print_tie(&plan->stages[i], i + 1);
    return status;
}
