/* How a file names its tensors: below "model." as the class with a head saves them, below nothing
 * as the class without one does, or below what a wrapper put before ("module.model."). */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/checkpoint_internal.h"

static const char usual_root[] = "model.", head[] = "lm_head.weight";

static bool ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static bool below(const char *name, const char *root) {
    return strncmp(name, root, strlen(root)) == 0;
}

/* What stands before `tail` in the names that end so: the usual root when a name has it, else the
 * only other one; NULL for none or several. The caller frees. */
static char *root_before(const struct tensor_names *names, const char *tail) {
    const char *found = NULL;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        if (!ends_with(name, tail)) continue;
        size_t length = strlen(name) - strlen(tail);
        if (length == strlen(usual_root) && below(name, usual_root))
            return memory_copy_string(usual_root);
        if (length && name[length - 1] != '.') continue;
        if (found) return NULL;
        found = name;
    }
    return found ? memory_copy_bytes(found, strlen(found) - strlen(tail)) : NULL;
}

/* The head's name: alone at the top, else the only one of its kind below something. */
static const char *find_head(const struct tensor_names *names) {
    const char *found = NULL;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        if (strcmp(name, head) == 0) return head;
        if (!ends_with(name, ".lm_head.weight")) continue;
        if (found) return head;
        found = name;
    }
    return found ? found : head;
}

enum status checkpoint_find_names(struct checkpoint *checkpoint, const struct tensor_names *names) {
    bool apriel2 = checkpoint->config->family == FAMILY_APRIEL2;
    char *root = root_before(names, "embed_tokens.weight");
    if (!root)
        root = root_before(names, apriel2 ? "decoder.blocks.0.input_layernorm.weight"
                                          : "layers.0.input_layernorm.weight");
    if (!root) root = memory_copy_string(usual_root);
    checkpoint->root = root;
    checkpoint->head = memory_copy_string(find_head(names));
    if (!checkpoint->root || !checkpoint->head) return STATUS_FAILED;
    if (*root && strcmp(root, usual_root) != 0)
        return checkpoint_warn(checkpoint, "\"%s\": tensors are named \"%s…\" and read as \"%s…\"",
                               checkpoint->directory, root, usual_root);
    return STATUS_OK;
}

char *checkpoint_stored_name(const struct checkpoint *checkpoint, const char *name) {
    if (strcmp(name, head) == 0) return memory_copy_string(checkpoint->head);
    if (!below(name, usual_root)) return memory_copy_string(name);
    return text_format("%s%s", checkpoint->root, name + strlen(usual_root));
}

char *checkpoint_own_name(const struct checkpoint *checkpoint, const char *stored) {
    if (strcmp(stored, checkpoint->head) == 0) return memory_copy_string(head);
    if (!below(stored, checkpoint->root)) return memory_copy_string(stored);
    return text_format("%s%s", usual_root, stored + strlen(checkpoint->root));
}

/* Values that a model computes for itself, which older programs saved: frequencies and masks. */
bool checkpoint_is_buffer(const char *name) {
    static const char *const buffers[] = {
        ".inv_freq",    ".original_inv_freq", ".cos_cached",   ".sin_cached",
        ".masked_bias", ".causal_mask",       ".position_ids",
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (ends_with(name, buffers[i])) return true;
    return ends_with(name, "self_attn.bias") || ends_with(name, "attn.bias");
}
