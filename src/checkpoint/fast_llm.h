/* A model's decoder in Fast-LLM's terms: a pattern of named blocks. Apriel2's config.json has it
 * (`convert`), and so has Fast-LLM's own configuration (`plan --format fast-llm`). Both are written
 * here, so that they cannot contradict each other. */
#ifndef CHECKPOINT_FAST_LLM_H
#define CHECKPOINT_FAST_LLM_H

#include "checkpoint/config.h"
#include "mixers/sizes.h"

/* The "decoder" of Apriel2's config.json (MIXER_APRIEL2) or of model.base_model of Fast-LLM's
 * configuration (MIXER_FAST_LLM); the caller frees. Fast-LLM's own knows no linear rope scaling,
 * and its yarn always rounds its range: see fast_llm_lacks. */
struct json *fast_llm_decoder(const struct model_config *config, enum mixer_format dialect);

/* {"type": "rms_norm", "epsilon": …} */
struct json *fast_llm_norm(double epsilon);

/* What Fast-LLM's own configuration cannot say of this model, or NULL. Static text. */
const char *fast_llm_lacks(const struct model_config *config);

/* The block of a layer: "attention", "attention_window_4096", "mamba", and "mamba_2", … for further
 * sets of sizes and biases. */
void fast_llm_block_name(char out[MIXER_BLOCK_SIZE], const struct model_config *config, int layer);

#endif
