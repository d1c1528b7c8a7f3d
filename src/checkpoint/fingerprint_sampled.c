/* What identified a model up to release 0.1.0: its function, and samples of its weights. Kept as it
 * was, to recognise what older files say about the models that are here. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "checkpoint/checkpoint_internal.h"
#include "mixers/sizes.h"

enum { WHOLE = 64 << 10, BLOCK = 4 << 10, BLOCKS = 16 };

static void append_rope(struct text *text, const struct rope_config *rope) {
    text_append(text, "rope %d %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %d\n",
                (int)rope->kind, rope->theta, rope->factor, rope->low_freq_factor,
                rope->high_freq_factor, rope->original_max_position, rope->beta_fast,
                rope->beta_slow, rope->attention_factor, rope->truncate);
}

/* Everything that decides what is computed. */
static void append_config(struct text *text, const struct model_config *config) {
    text_append(text, "%s\n", config_architecture(config));
    text_append(text, "layers %d hidden %d mlp %d vocabulary %d heads %d %d %d\n", config->n_layers,
                config->hidden_size, config->intermediate_size, config->vocab_size, config->n_heads,
                config->n_kv_heads, config->head_dim);
    text_append(text, "eps %.17g tied %d\n", config->rms_norm_eps, config->tie_word_embeddings);
    append_rope(text, &config->rope);
    for (int i = 0; i < config->n_layers; i++) {
        char mixer[MIXER_IDENTITY_SIZE];
        text_append(text, "layer %d: %s\n", i,
                    mixer_identity(mixer, &config->layers[i].mixer, true));
    }
}

static void hash_content(struct sha256 *sha, const struct checkpoint_tensor *tensor) {
    const char *data = tensor->data;
    if (!data) return; /* of a format that is younger than this */
    if (tensor->bytes <= WHOLE) {
        sha256_update(sha, data, tensor->bytes);
        return;
    }
    for (size_t i = 0; i < BLOCKS; i++)
        sha256_update(sha, data + (tensor->bytes - BLOCK) / (BLOCKS - 1) * i, BLOCK);
    sha256_update(sha, data + tensor->bytes - BLOCK, BLOCK);
}

enum status checkpoint_sampled_fingerprint(const struct checkpoint *checkpoint,
                                           char hex[SHA256_HEX_SIZE]) {
    struct text text = {0};
    struct sha256 *sha = NULL;
    text_append(&text, "apriel-tool model 1\n");
    append_config(&text, checkpoint->config);
    if (checkpoint->random_weights)
        text_append(&text, "random weights %" PRIu64 "\n", checkpoint->seed);
    for (size_t i = 0; i < checkpoint->count; i++) {
        const struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
        char shape[TENSOR_SHAPE_SIZE];
        text_append(&text, "%s %s %s\n", tensor->name, dtype_name(tensor->dtype),
                    tensor_shape_format(shape, tensor->rank, tensor->shape));
    }
    char *head = text_finish(&text);
    enum status status = head ? sha256_begin(&sha) : STATUS_FAILED;
    if (!status) {
        sha256_update(sha, head, strlen(head));
        for (size_t i = 0; i < checkpoint->count && !checkpoint->random_weights; i++) {
            hash_content(sha, &checkpoint->tensors[i]);
            checkpoint_drop(checkpoint, &checkpoint->tensors[i]);
        }
        sha256_finish(sha, hex);
    }
    free(head);
    return status;
}
