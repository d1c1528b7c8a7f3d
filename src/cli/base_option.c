#include "cli/base_option.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "plan/plan.h"

static enum status check_model(const struct plan *plan, const char *path, const char *model,
                               const struct checkpoint_options *options) {
    struct checkpoint *checkpoint = NULL;
    enum status status = checkpoint_open(&checkpoint, model, options);
    if (!status) status = plan_check_model(plan, path, checkpoint);
    checkpoint_close(checkpoint);
    return status;
}

enum status base_option_resolve(const char **hybrid, struct int_list *layers, const char *text,
                                const char *model, const struct checkpoint_options *options) {
    struct plan plan = {0};
    const struct plan_stage *stage;
    char *path = NULL;
    int number = 0;
    if (file_is_directory(text)) {
        *hybrid = text;
        return STATUS_OK;
    }
    enum status status = plan_split_reference(&path, &number, text);
    if (!status) status = plan_read(&plan, path);
    if (!status) status = plan_find_stage(&stage, &plan, number, path);
    if (!status) status = check_model(&plan, path, model, options);
    if (!status) {
        layers->values = memory_calloc(stage->layers.count, sizeof *layers->values);
        status = layers->values ? STATUS_OK : STATUS_FAILED;
    }
    if (!status) {
        memcpy(layers->values, stage->layers.values, stage->layers.count * sizeof *layers->values);
        layers->count = stage->layers.count;
    }
    plan_free(&plan);
    free(path);
    return status;
}
