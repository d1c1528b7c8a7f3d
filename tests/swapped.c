/* Calls as they should be, but for the pair of arguments that the command line swaps:
 * tests/swapped.sh checks that the compiler refuses each. */
#include "kernels/backend.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/products.h"
#include "kernels/ops/scan.h"
#include "mixers/linear.h"
#include "model/block.h"

struct operands {
    struct act *x, *y;
    struct acc *u, *v;
    const int32_t *ids;
    const struct attention_inputs *attention;
    const struct attention_shape *heads;
    const struct scan_inputs *scan;
    const struct mamba_shape *channels;
    const struct sequences *sequences;
    const struct adamw_settings *adamw;
    const struct model *model;
};

/* The command line says what PAIR_1, PAIR_2, … are. */
#define PAIR(number, left, right) PAIR_##number(left, right)
#define KEPT(left, right) left, right
#define SWAPPED(left, right) right, left

void calls(struct backend *b, const struct operands *o);
void calls(struct backend *b, const struct operands *o) {
    b->cast(b, PAIR(1, o->x, o->u), 1);
    b->embedding->embed(b, PAIR(2, o->u, o->ids), o->x, 1, 1);
    b->products->matmul(b, into_act(o->x), o->y, 1, PAIR(3, o->x, o->u), 1, 1, 1);
    b->products->matmul_backward_weight(b, PAIR(4, o->u, o->x), o->y, 1, 1, 1, 1);
    b->norm->rmsnorm(b, PAIR(5, o->x, o->u), o->v, o->v, 1, 1, 1);
    b->norm->rmsnorm_backward(b, o->u, PAIR(6, NULL, o->x), o->v, o->v, o->v, 1, 1);
    b->attention->attention(b, PAIR(7, o->x, o->u), o->attention, o->sequences, o->heads);
    b->scan->scan(b, PAIR(8, o->x, o->u), NULL, o->ids, o->scan, o->sequences, o->channels);
    b->loss->distill_loss(b, PAIR(9, o->u, o->x), LOSS_CROSS_ENTROPY, 1, o->v, NULL, NULL, o->ids,
                          o->v, 1, 1);
    b->optimizer->adamw(b, PAIR(10, o->u, o->x), o->v, o->v, o->v, o->adamw, 1);
    linear_backward(b, PAIR(11, o->x, o->u), NULL, o->y, o->y, 1, o->y, 1, 1, 1);
    model_logits(o->model, PAIR(12, o->u, o->x), o->v, o->v, 1);
}
