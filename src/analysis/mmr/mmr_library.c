/* Probes that begin with mixers of a library, and mixers that go into one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mmr/mmr_work.h"
#include "base/memory.h"
#include "base/text.h"
#include "mixers/sizes.h"

static enum status size_of(struct mixer_sizes *out, const struct mmr_work *work) {
    return replacement_sizes(out, work->student->config, &work->settings->probe.choices);
}

/* Every layer must have a mixer of the sizes that probes have buffers for. */
static enum status check(const struct mmr_work *work) {
    struct mixer_sizes sizes;
    char text[MIXER_TEXT_SIZE];
    enum status status = size_of(&sizes, work);
    for (size_t i = 0; !status && i < work->layers.count; i++) {
        const struct library_entry *entry;
        int layer = work->layers.values[i];
        status = library_need(&entry, work->library, layer, &sizes);
        if (!status && !mixer_same(&entry->sizes, &sizes))
            status =
                status_fail("\"%s\": the %s mixer of layer %d has other sizes than the probes: "
                            "give the options that it was made with",
                            library_directory(work->library), mixer_text(text, &sizes), layer);
    }
    return status;
}

enum status mmr_open_libraries(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    struct checkpoint *model = work->teacher->checkpoint;
    enum status status = STATUS_OK;
    if (settings->library)
        status = library_open(&work->library, settings->library, model, LIBRARY_READ);
    if (!status && settings->library) status = check(work);
    if (!status && settings->keep && !settings->dry_run && !settings->compare)
        status = library_open(&work->keep, settings->keep, model, LIBRARY_WRITE);
    return status;
}

enum status mmr_describe_library(struct json *parameters, const struct mmr_work *work) {
    struct text text = {0};
    struct mixer_sizes sizes;
    char digest[SHA256_HEX_SIZE];
    if (!work->library) return STATUS_OK;
    enum status status = size_of(&sizes, work);
    if (status) return status;
    for (size_t i = 0; i < work->layers.count; i++) {
        int layer = work->layers.values[i];
        text_append(&text, "%d %s\n", layer, library_find(work->library, layer, &sizes)->digest);
    }
    char *all = text_finish(&text);
    status = all ? sha256_bytes(digest, all, strlen(all)) : STATUS_FAILED;
    if (!status) js_set_string(parameters, "library", digest);
    free(all);
    return status;
}

enum status mmr_keep(struct mmr_work *work, struct probe *probe, int layer) {
    const struct mmr_settings *settings = work->settings;
    struct json *about = js_new_object(), *data = js_new_object();
    if (!work->keep) {
        js_free(about);
        js_free(data);
        return STATUS_OK;
    }
    js_set_string(about, "by", "mmr");
    js_set_string(about, "database", settings->database);
    js_set_integer(about, "run", work->run);
    js_set_integer(about, "steps", settings->probe.schedule.steps);
    js_set_integer(about, "seed", (int64_t)settings->seed);
    js_set_string(data, "path", settings->data);
    js_set_string(data, "fingerprint", work->set->fingerprint);
    js_set(about, "data", data);
    return library_put(work->keep, layer, probe_mixer(probe), work->student, about);
}

void mmr_warn_of_unkept(const struct mmr_work *work) {
    struct mixer_sizes sizes;
    int missing = 0;
    if (!work->keep || size_of(&sizes, work)) return;
    for (size_t i = 0; i < work->layers.count; i++)
        missing += !library_find(work->keep, work->layers.values[i], &sizes);
    if (missing)
        log_warn(
            "\"%s\" lacks the mixers of %d of %zu layers: their probes diverged, or ended in an "
            "earlier call, without --keep",
            library_directory(work->keep), missing, work->layers.count);
}
