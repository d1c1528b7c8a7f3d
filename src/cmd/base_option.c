#include "cmd/base_option.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "plan/plan.h"

/* The layers of a plan mean something only in the model that was scored for it. */
static enum status check_model(const struct plan *plan, const char *path, const char *model,
                               const struct checkpoint_options *options) {
    struct checkpoint *checkpoint = NULL;
    char fingerprint[SHA256_HEX_SIZE];
    enum status status = checkpoint_open(&checkpoint, model, options);
    if (!status) status = checkpoint_fingerprint(checkpoint, fingerprint);
    if (!status && strcmp(fingerprint, plan->fingerprint) != 0)
        status =
            status_fail("\"%s\" was made for another model than \"%s\" (fingerprints %.12s and "
                        "%.12s)",
                        path, model, plan->fingerprint, fingerprint);
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
