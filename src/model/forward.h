/* The whole model over a batch of rows, layer by layer, without gradients. */
#ifndef MODEL_FORWARD_H
#define MODEL_FORWARD_H

#include "model/block.h"
#include "model/sequences.h"

struct forward;

/* Buffers for batches of up to `rows` rows with `tokens` tokens, `longest` in one row. */
enum status forward_open(struct forward **out, struct model *model, int rows, int64_t tokens,
                         int longest) STATUS_CHECKED;
void forward_close(struct forward *forward); /* accepts NULL */

/* hidden acc [tokens, D]: what the last block leaves, before the final norm. */
enum status forward_run(struct forward *forward, struct acc *hidden,
                        const struct token_batch *batch) STATUS_CHECKED;

#endif
