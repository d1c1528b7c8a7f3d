/* plan.json, as `convert`, `chart` and `loo --base` read it. */
#include <stdlib.h>

#include "fuzz.h"
#include "plan/export.h"
#include "plan/plan.h"

/* What was accepted can be exported, and read again as the same plan. */
static void check_accepted(const struct plan *plan) {
    const struct plan_stage *stage;
    struct plan_mixers mixers = {0};
    if (mixer_choices_begin(&mixers.choices, NULL) != STATUS_OK) abort();
    if (plan_find_stage(&stage, plan, 0, "fuzz") != STATUS_OK) abort();
    char *layout = plan_stage_layout(plan, stage);
    if (layout && strlen(layout) != (size_t)plan->layers) abort();
    free(layout);
    for (int format = PLAN_FORMAT_HF; format <= PLAN_FORMAT_CSV; format++) {
        char *text;
        if (plan_export(&text, plan, 1, (enum plan_format)format, &mixers, "fuzz") == STATUS_OK)
            free(text);
    }
    struct json *document = plan_to_json(plan);
    struct plan again;
    if (plan_parse(&again, document, "fuzz") != STATUS_OK) abort();
    char *first = plan_format_text(plan), *second = plan_format_text(&again);
    if (first && second && strcmp(first, second) != 0) abort();
    free(first);
    free(second);
    plan_free(&again);
    js_free(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct json *document = NULL;
    struct plan plan = {0};
    if (js_parse(&document, (const char *)bytes, size, "fuzz") == STATUS_OK &&
        plan_parse(&plan, document, "fuzz") == STATUS_OK)
        check_accepted(&plan);
    plan_free(&plan);
    js_free(document);
    return 0;
}
