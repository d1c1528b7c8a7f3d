/* What identifies a model: its function and every byte of its weights, however the files are cut.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/checkpoint_internal.h"
#include "mixers/sizes.h"

/* A tensor of a file, with its digest. */
struct content {
    const struct safetensors_entry *entry;
    const unsigned char *digest;
};

/* A field more in these means another size: give it a place in append_config below (or say why it
 * cannot change what is computed), then set the size here. */
_Static_assert(sizeof(struct rope_config) == 80, "see append_config");
_Static_assert(sizeof(struct layer_config) == sizeof(struct mixer_sizes), "see mixer_identity");
_Static_assert(sizeof(struct model_config) == 208, "see append_config");

static void append_rope(struct text *text, const struct rope_config *rope) {
    text_append(text, "rope %d %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %d\n",
                (int)rope->kind, rope->theta, rope->factor, rope->low_freq_factor,
                rope->high_freq_factor, rope->original_max_position, rope->beta_fast,
                rope->beta_slow, rope->attention_factor, rope->truncate);
}

/* Everything that decides what is computed. Not here: the stated dtype (tensors say their own),
 * what the step sizes of m2 mixers started as (dt_min, dt_max), the longest position (it only
 * bounds what is asked) and the tokens that begin and end a text (they belong to the runs that use
 * them). */
static void append_config(struct text *text, const struct model_config *config) {
    text_append(text, "%s\n", config_architecture(config));
    text_append(text, "layers %d hidden %d mlp %d vocabulary %d heads %d %d %d\n", config->n_layers,
                config->hidden_size, config->intermediate_size, config->vocab_size, config->n_heads,
                config->n_kv_heads, config->head_dim);
    text_append(text, "eps %.17g %.17g %.17g tied %d biases %d %d %d %d %d norms %d\n",
                config->rms_norm_eps, config->q_norm_eps, config->k_norm_eps,
                config->tie_word_embeddings, config->q_bias, config->k_bias, config->v_bias,
                config->o_bias, config->mlp_bias, config->qk_norm);
    append_rope(text, &config->rope);
    for (int i = 0; i < config->n_layers; i++) {
        char mixer[MIXER_IDENTITY_SIZE];
        text_append(text, "layer %d: %s\n", i,
                    mixer_identity(mixer, &config->layers[i].mixer, false));
    }
}

static int compare_contents(const void *a, const void *b) {
    const struct content *x = a, *y = b;
    return strcmp(x->entry->name, y->entry->name);
}

static int compare_texts(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void append_content(struct text *text, const struct content *content) {
    const struct safetensors_entry *entry = content->entry;
    char shape[TENSOR_SHAPE_SIZE], hex[SHA256_HEX_SIZE];
    sha256_format(hex, content->digest);
    text_append(text, "%s %s %s %s\n", entry->name, entry->dtype_name,
                tensor_shape_format(shape, entry->rank, entry->shape), hex);
}

/* The tensors of all files by name. */
static enum status append_contents(struct text *text, const struct checkpoint *checkpoint) {
    size_t count = 0, at = 0;
    for (size_t f = 0; f < checkpoint->n_files; f++)
        count += safetensors_count(checkpoint->files[f]);
    unsigned char(**digests)[SHA256_SIZE] = memory_calloc(checkpoint->n_files, sizeof *digests);
    struct content *contents = memory_calloc(count, sizeof *contents);
    enum status status = digests && contents ? STATUS_OK : STATUS_FAILED;
    for (size_t f = 0; !status && f < checkpoint->n_files; f++) {
        const struct safetensors *file = checkpoint->files[f];
        status = content_digests(&digests[f], file);
        for (size_t i = 0; !status && i < safetensors_count(file); i++)
            contents[at++] = (struct content){safetensors_at(file, i), digests[f][i]};
    }
    if (!status) {
        qsort(contents, count, sizeof *contents, compare_contents);
        for (size_t i = 0; i < count; i++) append_content(text, &contents[i]);
    }
    for (size_t f = 0; digests && f < checkpoint->n_files; f++) free(digests[f]);
    free(digests);
    free(contents);
    return status;
}

/* What the headers say beside the tensors, each pair once: shards repeat it. */
static enum status append_metadata(struct text *text, const struct checkpoint *checkpoint) {
    size_t most = 0, count = 0;
    for (size_t f = 0; f < checkpoint->n_files; f++)
        most += js_count(safetensors_metadata(checkpoint->files[f]));
    char **lines = memory_calloc(most, sizeof *lines);
    enum status status = lines ? STATUS_OK : STATUS_FAILED;
    for (size_t f = 0; !status && f < checkpoint->n_files; f++) {
        const struct json *pairs = safetensors_metadata(checkpoint->files[f]);
        for (void *i = js_first(pairs); !status && i; i = js_next(pairs, i)) {
            char *value = js_print(js_value(i), 0);
            lines[count] = value ? text_format("metadata %s %s\n", js_key(i), value) : NULL;
            status = lines[count] ? STATUS_OK : STATUS_FAILED;
            if (!status) count++;
            free(value);
        }
    }
    if (!status) qsort(lines, count, sizeof *lines, compare_texts);
    for (size_t i = 0; !status && i < count; i++)
        if (i == 0 || strcmp(lines[i], lines[i - 1]) != 0) text_append(text, "%s", lines[i]);
    for (size_t i = 0; lines && i < count; i++) free(lines[i]);
    free(lines);
    return status;
}

enum status checkpoint_file_digest(char hex[SHA256_HEX_SIZE], const struct safetensors *file) {
    struct text text = {0};
    unsigned char(*digests)[SHA256_SIZE] = NULL;
    size_t count = safetensors_count(file);
    struct content *contents = memory_calloc(count, sizeof *contents);
    enum status status = contents ? content_digests(&digests, file) : STATUS_FAILED;
    for (size_t i = 0; !status && i < count; i++)
        contents[i] = (struct content){safetensors_at(file, i), digests[i]};
    if (!status) {
        qsort(contents, count, sizeof *contents, compare_contents);
        for (size_t i = 0; i < count; i++) append_content(&text, &contents[i]);
    }
    char *metadata = js_print_sorted(safetensors_metadata(file));
    text_append(&text, "metadata %s\n", metadata ? metadata : "");
    char *all = text_finish(&text);
    if (!status && (!all || !metadata)) status = STATUS_FAILED;
    if (!status) status = sha256_bytes(hex, all, strlen(all));
    free(metadata);
    free(all);
    free(digests);
    free(contents);
    return status;
}

/* Mixers from other files. */
static enum status append_placed(struct text *text, const struct checkpoint *checkpoint) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < checkpoint->n_placed; i++) {
        char hex[SHA256_HEX_SIZE];
        status = checkpoint_file_digest(hex, checkpoint->placed[i].file);
        if (!status) text_append(text, "placed %d %s\n", checkpoint->placed[i].layer, hex);
    }
    return status;
}

enum status checkpoint_fingerprint(struct checkpoint *checkpoint, char hex[SHA256_HEX_SIZE]) {
    struct text text = {0};
    enum status status = STATUS_OK;
    if (!checkpoint->fingerprint[0]) {
        text_append(&text, "apriel-tool model %d\n", CHECKPOINT_FINGERPRINT);
        append_config(&text, checkpoint->config);
        if (checkpoint->random_weights)
            text_append(&text, "random weights %" PRIu64 "\n", checkpoint->seed);
        status = append_contents(&text, checkpoint);
        if (!status) status = append_metadata(&text, checkpoint);
        if (!status) status = append_placed(&text, checkpoint);
        char *all = text_finish(&text);
        if (!status && !all) status = STATUS_FAILED;
        if (!status) status = sha256_bytes(checkpoint->fingerprint, all, strlen(all));
        free(all);
    }
    if (!status) memcpy(hex, checkpoint->fingerprint, SHA256_HEX_SIZE);
    return status;
}
