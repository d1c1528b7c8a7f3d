/* The CPU ops, by family; backend.c puts them into the table. Shapes and formulas: backend.h. */
#ifndef KERNELS_CPU_OPS_H
#define KERNELS_CPU_OPS_H

#include "kernels/backend.h"

/* The table of one family: each fills in its own members. */
void cpu_table_matmul(struct backend *backend);     /* matmul.c: embed, matmul */
void cpu_table_norm(struct backend *backend);       /* norm.c: rmsnorm, head_norm */
void cpu_table_attention(struct backend *backend);  /* attention.c: rope, attention */
void cpu_table_mlp(struct backend *backend);        /* mlp.c: swiglu */
void cpu_table_conv(struct backend *backend);       /* conv.c: conv_silu */
void cpu_table_scan(struct backend *backend);       /* scan.c */
void cpu_table_ssd(struct backend *backend);        /* ssd.c */
void cpu_table_delta(struct backend *backend);      /* delta.c */
void cpu_table_gated_norm(struct backend *backend); /* gated_norm.c */
void cpu_table_decode(struct backend *backend);     /* decode.c: caches and steps */
void cpu_table_loss(struct backend *backend);       /* loss.c */
void cpu_table_optimizer(struct backend *backend);  /* optimizer.c */

/* attention_backward.c; in attention's table. */
void cpu_attention_backward(struct backend *backend, const struct attention_gradients *to,
                            const void *dout, const void *out, const void *lse,
                            const struct attention_inputs *in, const struct sequences *sequences,
                            const struct attention_shape *shape);

/* check.c: whether products come out whole, with as many threads as there are and with one.
 * Whatever state the OpenMP and oneDNN libraries are in, none may give wrong numbers without a
 * word. */
enum status cpu_check_products(struct backend *backend) STATUS_CHECKED;

/* Working memory of one call: the caller frees. NULL is recorded as the fault that sync() reports;
 * the op then returns without a result. */
void *cpu_scratch(struct backend *backend, size_t bytes, const char *what);

/* Records a fault for sync() to report; the first one stands. From any thread. */
void cpu_fail(struct backend *backend, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
