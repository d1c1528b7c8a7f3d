/* The tables of the CPU ops by family, which backend.c puts in place, and what the ops share.
 * Shapes and formulas: kernels/ops/. */
#ifndef KERNELS_CPU_OPS_H
#define KERNELS_CPU_OPS_H

#include "kernels/backend.h"

extern const struct embedding_ops cpu_embedding_ops; /* embed.c */
extern const struct product_ops cpu_product_ops;     /* matmul.c */
extern const struct norm_ops cpu_norm_ops;           /* norm.c */
extern const struct attention_ops cpu_attention_ops; /* attention*.c, rope.c, decode_attention.c */
extern const struct mlp_ops cpu_mlp_ops;             /* mlp.c */
extern const struct conv_ops cpu_conv_ops;           /* conv.c, decode.c */
extern const struct scan_ops cpu_scan_ops;           /* scan*.c, decode.c */
extern const struct ssd_ops cpu_ssd_ops;             /* ssd*.c */
extern const struct delta_ops cpu_delta_ops;         /* delta*.c */
extern const struct gated_norm_ops cpu_gated_norm_ops; /* gated_norm.c */
extern const struct loss_ops cpu_loss_ops;             /* loss.c */
extern const struct optimizer_ops cpu_optimizer_ops;   /* optimizer.c */
extern const struct row_ops cpu_row_ops;               /* rows.c */

/* check.c: whether products come out whole, with as many threads as there are and with one.
 * Whatever state the OpenMP and oneDNN libraries are in, none may give wrong numbers without a
 * word. */
enum status cpu_check_products(struct backend *backend) STATUS_CHECKED;

/* Whether so much work, in multiply-adds or what takes as long, is worth waking a team of threads
 * for: a step of decoding consists of hundreds of small ops, and beside other programs a thread
 * that wakes may have to wait for a processor. */
static inline bool cpu_worth_team(int64_t work) {
    enum { LEAST = 1 << 17 };
    return work >= LEAST;
}

/* Working memory of one call: the caller frees. NULL is recorded as the fault that sync() reports;
 * the op then returns without a result. */
void *cpu_scratch(struct backend *backend, size_t bytes, const char *what);

/* Records a fault for sync() to report; the first one stands. From any thread. */
void cpu_fail(struct backend *backend, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
