#include "analysis/loo/loo_library.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/sizes.h"

static void drop(struct loo_library *library) {
    if (library->model) mixer_free(&library->mixer, library->model->backend);
}

static enum status load(const struct mixer **out, void *context, int branch) {
    struct loo_library *library = context;
    drop(library);
    *out = &library->mixer;
    return library_load(&library->mixer, library->library, library->entries[branch],
                        library->model);
}

/* The mixer of a layer; `*out` NULL where the layer may go without. */
static enum status find(const struct library_entry **out, const struct loo_library *library,
                        int layer, bool named, const struct mixer_sizes *kind) {
    if (kind && named) return library_need(out, library->library, layer, kind);
    *out = kind ? library_find(library->library, layer, kind) : NULL;
    if (kind) return STATUS_OK;
    if (!named && !library_has(library->library, layer)) return STATUS_OK;
    return library_only(out, library->library, layer);
}

static enum status choose(struct loo_library *out, struct int_list *layers, bool named,
                          const struct mixer_sizes *kind, const char *directory) {
    size_t count = layers->count;
    enum status status = STATUS_OK;
    out->entries = memory_calloc(count, sizeof *out->entries);
    out->sizes = memory_calloc(count, sizeof *out->sizes);
    if (!out->entries || !out->sizes) return STATUS_FAILED;
    layers->count = 0;
    for (size_t i = 0; !status && i < count; i++) {
        const struct library_entry *entry;
        int layer = layers->values[i];
        status = find(&entry, out, layer, named, kind);
        if (status || !entry) continue;
        out->entries[layers->count] = entry;
        out->sizes[layers->count] = entry->sizes;
        layers->values[layers->count++] = layer;
    }
    if (status || layers->count) return status;
    return status_fail("\"%s\" has no mixer of an attention layer", directory);
}

enum status loo_library_open(struct loo_library *out, struct int_list *layers, struct model *trunk,
                             bool hybrid, bool named, const struct loo_library_settings *settings) {
    struct mixer_sizes kind;
    enum status status = STATUS_OK;
    *out = (struct loo_library){.model = trunk};
    if (settings->kind) status = mixer_from_text(&kind, settings->kind, "--kind");
    if (!status && hybrid)
        status = checkpoint_open(&out->origin, settings->model, settings->options);
    if (!status)
        status = library_open(&out->library, settings->directory,
                              hybrid ? out->origin : trunk->checkpoint, LIBRARY_READ);
    if (!status)
        status = choose(out, layers, named, settings->kind ? &kind : NULL, settings->directory);
    if (!status)
        out->placed = (struct sweep_placed){
            .load = load, .context = out, .sizes = out->sizes, .sizes_count = (int)layers->count};
    return status;
}

void loo_library_close(struct loo_library *library) {
    drop(library);
    library_close(library->library);
    checkpoint_close(library->origin);
    free(library->entries);
    free(library->sizes);
    *library = (struct loo_library){0};
}

enum status loo_library_digest(char hex[SHA256_HEX_SIZE], const struct loo_library *library) {
    struct text text = {0};
    for (int i = 0; i < library->placed.sizes_count; i++)
        text_append(&text, "%d %s\n", library->entries[i]->layer, library->entries[i]->digest);
    char *all = text_finish(&text);
    enum status status = all ? sha256_bytes(hex, all, strlen(all)) : STATUS_FAILED;
    free(all);
    return status;
}
