#include "analysis/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/version.h"
#include "checkpoint/shape.h"
#include "scores/numbers.h"

char *record_layout(const struct model_config *config, const bool *removed) {
    char *layout = memory_calloc((size_t)config->n_layers + 1, 1);
    for (int l = 0; layout && l < config->n_layers; l++)
        layout[l] = removed && removed[l] && config_is_attention(config, l)
                        ? mixer_kinds[1]->letter
                        : config->layers[l].mixer.kind->letter;
    return layout;
}

char *record_shape(const struct checkpoint *checkpoint) {
    struct json *shape = shape_of(checkpoint);
    char *text = js_print(shape, 0);
    js_free(shape);
    return text;
}

/* The transformer of the run: the trunk itself, or (with a hybrid) `opened` for a moment, which the
 * caller closes. */
static enum status find_transformer(struct checkpoint **out, struct checkpoint **opened,
                                    const struct record_run *record) {
    *opened = NULL;
    *out = record->trunk->checkpoint;
    if (!record->base) return STATUS_OK;
    enum status status = checkpoint_open(opened, record->model, record->options);
    *out = *opened;
    return status;
}

/* `sampled` is how older releases knew the model. */
static enum status add_model(int64_t *id, char sampled[SHA256_HEX_SIZE], struct store *store,
                             const struct record_run *record) {
    struct checkpoint *opened, *checkpoint;
    enum status status = find_transformer(&checkpoint, &opened, record);
    char fingerprint[SHA256_HEX_SIZE];
    char *shape = NULL;
    if (!status) status = checkpoint_fingerprint(checkpoint, fingerprint);
    if (!status) status = checkpoint_sampled_fingerprint(checkpoint, sampled);
    if (!status) {
        shape = record_shape(checkpoint);
        status =
            shape ? store_add_model(id, store, fingerprint, record->model, shape) : STATUS_FAILED;
    }
    free(shape);
    checkpoint_close(opened);
    return status;
}

/* Values of the same question that other releases have left, which are not taken. */
static enum status tell_of_others(struct store *store, const struct store_run_key *key,
                                  const char *sampled) {
    struct store_other other;
    enum status status = store_find_other(&other, store, key, sampled);
    if (status || !other.run) return status;
    if (other.older_model || !other.numbers)
        log_note("run %lld, by apriel-tool %s, may be of another model: its fingerprint reads "
                 "samples of the weights. It is kept, and not used",
                 (long long)other.run, other.version);
    else
        log_note("run %lld asked the same of apriel-tool %s, whose numbers are others (version "
                 "%lld, now %lld): it is kept, and not used",
                 (long long)other.run, other.version, (long long)other.numbers,
                 (long long)key->numbers);
    store_other_free(&other);
    return STATUS_OK;
}

/* A run that another release has computed, whole or in part, with the same numbers. */
static enum status tell_of_release(struct store *store, int64_t run) {
    char *version;
    enum status status = store_find_version(&version, store, run);
    if (!status && strcmp(version, VERSION) != 0)
        log_note("run %lld is by apriel-tool %s, with the same numbers version", (long long)run,
                 version);
    free(version);
    return status;
}

static enum status begin_run(int64_t *run, enum store_run_state *state, struct store *store,
                             const struct store_run_key *key, const char *sampled) {
    enum status status = store_begin_run(run, state, store, key);
    if (status) return status;
    return *state == STORE_RUN_NEW ? tell_of_others(store, key, sampled)
                                   : tell_of_release(store, *run);
}

/* What every kind of run has among its parameters. */
static enum status complete_parameters(const struct record_run *record) {
    char fingerprint[SHA256_HEX_SIZE];
    if (record->base) {
        enum status status = checkpoint_fingerprint(record->base->checkpoint, fingerprint);
        if (status) return status;
        js_set_string(record->parameters, "base_fingerprint", fingerprint);
    }
    if (js_count(record->identity))
        js_set(record->parameters, "options", js_copy(record->identity));
    return STATUS_OK;
}

enum status record_begin(int64_t *run, enum store_run_state *state, struct store *store,
                         const struct record_run *record) {
    struct store_run_key key = {.kind = record->kind,
                                .base = record->base_layout,
                                .seed = record->seed,
                                .device = record->device};
    char sampled[SHA256_HEX_SIZE];
    char *parameters = NULL;
    enum status status =
        numbers_version(&key.numbers, record->numbers ? record->numbers : record->kind);
    if (!status) status = add_model(&key.model, sampled, store, record);
    if (!status)
        status = store_add_dataset(&key.dataset, store, record->set->fingerprint, record->data,
                                   (int64_t)record->set->rows, (int64_t)record->set->tokens);
    if (!status) status = complete_parameters(record);
    if (!status) {
        parameters = js_print_sorted(record->parameters);
        key.parameters = parameters;
        status = parameters ? begin_run(run, state, store, &key, sampled) : STATUS_FAILED;
    }
    free(parameters);
    return status;
}

static bool same_device(const char *a, const char *b) { /* the kind of it, before ":" */
    size_t length = strcspn(a, ":");
    return length == strcspn(b, ":") && strncmp(a, b, length) == 0;
}

/* The same for what is among the parameters. */
static enum status compare_parameters(char **differs, const struct store_run *run,
                                      const struct record_run *record) {
    static const char *const ignored[] = {NULL};
    struct json *parameters = NULL;
    enum status status = complete_parameters(record);
    if (!status)
        status = js_parse_names(&parameters, run->parameters, strlen(run->parameters),
                                "parameters of the run");
    if (!status) status = js_difference(differs, parameters, record->parameters, ignored);
    js_free(parameters);
    return status;
}

enum status record_compare(char **differs, struct store *store, int64_t run,
                           const struct record_run *record) {
    struct checkpoint *opened = NULL, *checkpoint;
    struct store_run stored = {0};
    char fingerprint[SHA256_HEX_SIZE];
    int64_t numbers;
    const char *word = NULL;
    *differs = NULL;
    enum status status =
        numbers_version(&numbers, record->numbers ? record->numbers : record->kind);
    if (!status) status = find_transformer(&checkpoint, &opened, record);
    if (!status) status = checkpoint_fingerprint(checkpoint, fingerprint);
    if (!status) status = store_get_run(&stored, store, run);
    if (status) goto done;
    if (strcmp(stored.kind, record->kind) != 0)
        word = "kind of run";
    else if (strcmp(stored.model_fingerprint, fingerprint) != 0)
        word = "model";
    else if (strcmp(stored.dataset_fingerprint, record->set->fingerprint) != 0)
        word = "token set";
    else if (strcmp(stored.base, record->base_layout) != 0)
        word = "layout to start from";
    else if (stored.seed != record->seed)
        word = "seed";
    else if (!same_device(stored.device, record->device))
        word = "kind of device";
    else if (stored.numbers != numbers)
        word = "numbers version";
    if (word)
        status = (*differs = memory_copy_string(word)) ? STATUS_OK : STATUS_FAILED;
    else
        status = compare_parameters(differs, &stored, record);
done:
    store_run_free(&stored);
    checkpoint_close(opened);
    return status;
}

enum status record_item(struct store *store, int64_t run, const struct choice_set *set,
                        const struct choice_item *item) {
    char gold[16];
    snprintf(gold, sizeof gold, "%d", item->gold);
    struct store_item about = {.row = item->number,
                               .category =
                                   item->category < 0 ? NULL : set->categories[item->category],
                               .gold = gold};
    return store_put_item(store, run, &about);
}

enum status record_finish(struct store *store, int64_t run, enum status status) {
    if (status == STATUS_OK) return store_finish_run(store, run, STORE_STATUS_DONE);
    /* The first fault is the one to report. */
    char *message = memory_copy_string(status_message());
    const char *ended =
        status == STATUS_INTERRUPTED ? STORE_STATUS_INTERRUPTED : STORE_STATUS_FAILED;
    (void)!store_finish_run(store, run, ended);
    status = status_set(status, "%s", message ? message : "out of memory");
    free(message);
    return status;
}

enum status record_tell_interrupt(enum status status, const char *done, const char *database) {
    if (status != STATUS_INTERRUPTED || !database) return status;
    return status_set(
        status, "interrupted; finished %s are saved in \"%s\": run the same command to continue",
        done, database);
}

enum status record_check_vocabulary(const struct model *model, const struct tokenset *set,
                                    const char *path) {
    uint32_t largest = 0;
    for (uint64_t t = 0; t < set->tokens; t++)
        if (set->ids[t] > largest) largest = set->ids[t];
    if (largest >= (uint32_t)model->config->vocab_size)
        return status_fail("\"%s\" has token id %u, but the model's vocabulary has %d: was it made "
                           "with another tokenizer?",
                           path, largest, model->config->vocab_size);
    return STATUS_OK;
}

enum status record_check_items(const struct model *model, const struct choice_set *set) {
    if (set->set.vocab_size <= (uint64_t)model->config->vocab_size) return STATUS_OK;
    return status_fail("the tokenizer of \"%s\" gives token id %llu, but the model's vocabulary "
                       "has %d",
                       checkpoint_directory(model->checkpoint),
                       (unsigned long long)set->set.vocab_size - 1, model->config->vocab_size);
}

enum status record_check_mask(const struct tokenset *set, const char *path) {
    if (!set->loss_mask) return STATUS_OK;
    for (uint64_t row = 0; row < set->rows; row++)
        for (uint64_t t = set->row_offsets[row] + 1; t < set->row_offsets[row + 1]; t++)
            if (set->loss_mask[t]) return STATUS_OK;
    return status_fail("\"%s\": the loss mask leaves no token to predict", path);
}

enum status record_check_hybrid(const struct model *hybrid, const char *transformer,
                                const struct checkpoint_options *options) {
    struct checkpoint *checkpoint;
    enum status status = checkpoint_open(&checkpoint, transformer, options);
    if (status) return status;
    status = checkpoint_check_hybrid(hybrid->checkpoint, checkpoint);
    checkpoint_close(checkpoint);
    return status;
}
