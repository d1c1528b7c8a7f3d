/* Continuing prompts: batches of different lengths, greedy or sampled, with stop tokens and stop
 * strings. decoder.h has the layer below for callers that choose tokens themselves.
 *
 *     struct generate_settings settings = generate_defaults();
 *     settings.tokenizer = tokenizer;            (for text; NULL gives ids only)
 *     struct generate_prompt prompt = {.ids = ids, .count = count, .stream = item};
 *     status = generate_run(outputs, model, &prompt, 1, &settings);
 *     … outputs[0].text …
 *     generate_free(outputs, 1); */
#ifndef GENERATE_GENERATE_H
#define GENERATE_GENERATE_H

#include "generate/decoder.h"
#include "generate/sample.h"
#include "tokenizer/tokenizer.h"

struct generate_prompt {
    const uint32_t *ids; /* [count], at least one; borrowed */
    size_t count;
    uint64_t stream; /* which random numbers: (seed, stream, token) decide, not the batch */
};

enum generate_stop {
    GENERATE_LENGTH,      /* max_tokens reached */
    GENERATE_STOP_TOKEN,  /* a stop token came (the last of ids, it is not in text) */
    GENERATE_STOP_STRING, /* a stop string came (its tokens are among ids, it is not in text) */
};

struct generate_output {
    uint32_t *ids; /* [count]: the new tokens, as transformers' generate returns them */
    size_t count;
    char *text; /* what the new tokens add to the prompt's text, terminated; without special tokens;
                   may hold NUL; NULL without tokenizer */
    size_t length;
    enum generate_stop stop;
};

/* New text of prompt `index` (may be empty), never a part of a character or of a stop string;
 * `finished` with its last piece. Called in the order in which tokens come, prompts interleaved. */
typedef void generate_listener(void *context, size_t index, const char *text, size_t length,
                               bool finished);

struct generate_settings {
    int64_t max_tokens; /* a prompt, at least 1 */
    struct sampling sampling;
    int batch; /* sequences at a time, at least 1; fewer when memory does not suffice */
    const struct tokenizer *tokenizer; /* borrowed; needed for text and stop strings */
    const uint32_t *stop_ids;          /* [stop_id_count], borrowed */
    size_t stop_id_count;              /* besides the model's own, see use_model_stops */
    bool use_model_stops;              /* the model's and the tokenizer's ends: tokenizer_end_ids */
    const char *const *stop_strings;   /* [stop_string_count], borrowed */
    size_t stop_string_count;
    const struct mixer *const *mixers; /* as decoder_options has them */
    const bool *ablated;
    generate_listener *listener; /* or NULL */
    void *context;
};

struct generate_statistics {
    int64_t prompt_tokens, new_tokens;
    double prefill_seconds, decode_seconds;
    int batch; /* sequences at a time in the end */
};

/* max_tokens 256, greedy, top_p 1, seed 0, batch 8, use_model_stops. */
struct generate_settings generate_defaults(void);

/* Continue prompts [count] in their order, a new one in every slot that becomes free; outputs
 * [count] are the caller's (generate_free), zeroed on failure. `statistics` may be NULL. The model
 * keeps its layers loaded. On the CPU an output depends on its prompt, the seed and the stream only
 * (for batches up to 32); on CUDA matrix products of another batch size round differently, which
 * can turn a near tie. */
enum status generate_run(struct generate_output *outputs, struct model *model,
                         const struct generate_prompt *prompts, size_t count,
                         const struct generate_settings *settings,
                         struct generate_statistics *statistics) STATUS_CHECKED;
void generate_free(struct generate_output *outputs, size_t count); /* of zeroed ones too */

/* The ids of the tokens that end a text under these settings, ascending, each once. The caller
 * frees. */
enum status generate_stop_ids(uint32_t **out, size_t *count, const struct model *model,
                              const struct generate_settings *settings) STATUS_CHECKED;

const char *generate_stop_name(enum generate_stop stop); /* "length", "stop token", "stop string" */

#endif
