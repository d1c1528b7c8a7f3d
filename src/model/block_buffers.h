/* How the buffers of a block and of its mixer lie in a trace and in what the backward pass needs;
 * shared by block.c and backward.c. */
#ifndef MODEL_BLOCK_BUFFERS_H
#define MODEL_BLOCK_BUFFERS_H

#include "model/block.h" /* circle: private to it and to backward.c */

/* The block's own buffers, as buffers_lay_out has it. */
size_t block_lay_out(void **out, char *base, const struct model *model,
                     const struct buffer_room *room, bool backward);

/* What a mixer's pass over `sequences` needs, with the buffers of the forward pass in `trace`. */
struct mixer_pass block_pass(const struct model *model, const struct mixer *mixer,
                             const struct trace *trace, const struct sequences *sequences);

#endif
