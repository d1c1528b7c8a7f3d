#include "cli/layout_option.h"

#include <stdlib.h>

#include "base/memory.h"
#include "mixers/sizes.h"

enum status layout_option_open(struct layout_use *out, const char *directory,
                               const struct checkpoint_options *options, const char *plan,
                               const char *library, const char *kind) {
    *out = (struct layout_use){.path = plan, .named = kind != NULL};
    enum status status = kind ? mixer_from_text(&out->kind, kind, "--kind") : STATUS_OK;
    if (!status) status = plan_read(&out->plan, plan);
    if (!status) status = checkpoint_open(&out->model, directory, options);
    if (!status) status = plan_check_model(&out->plan, plan, out->model);
    if (!status) status = library_open(&out->library, library, out->model, LIBRARY_READ);
    return status;
}

void layout_option_close(struct layout_use *use) {
    library_layout_free(&use->layout);
    library_close(use->library);
    checkpoint_close(use->model);
    plan_free(&use->plan);
    *use = (struct layout_use){0};
}

enum status layout_option_take(struct checkpoint_options *options, struct layout_use *use,
                               int stage) {
    const struct plan_stage *found;
    library_layout_free(&use->layout);
    enum status status = plan_find_stage(&found, &use->plan, stage, use->path);
    if (status) return status;
    const struct mixer_sizes **kinds = memory_calloc(found->layers.count + 1, sizeof *kinds);
    if (!kinds) return STATUS_FAILED;
    for (size_t i = 0; i < found->layers.count; i++) {
        kinds[i] = plan_mixer_of(&use->plan, found->layers.values[i]);
        if (!kinds[i] && use->named) kinds[i] = &use->kind;
    }
    status = library_lay_out(&use->layout, use->library, &found->layers,
                             (const struct mixer_sizes *const *)kinds);
    options->placed = use->layout.placed;
    options->n_placed = use->layout.count;
    free(kinds);
    return status;
}
