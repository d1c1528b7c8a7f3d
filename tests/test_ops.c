/* One case for every op of the op table, on any device: `test_ops [cpu|cuda|cuda:N] [op]`. Each
 * case runs twice and must give the same bits; on the CPU with another number of threads. A member
 * of struct backend without an entry here fails the test. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops/attention.h"
#include "kernels/ops/conv.h"
#include "kernels/ops/delta.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/gated_norm.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/products.h"
#include "kernels/ops/rows.h"
#include "kernels/ops/scan.h"
#include "kernels/ops/ssd.h"
#include "tests/ops/ops.h"

/* Where a function stands: in struct backend itself, or in the table of a family. */
struct entry {
    const char *name;
    size_t table;  /* offset of the family's pointer in struct backend; 0: no family */
    size_t offset; /* of the member in the family's table, or in struct backend */
    size_t size;   /* of the family's table */
    void (*run)(struct ops *ops);
    struct limit limit;
};

#define OP(family, type, member, f64, f32, bf16)                                                   \
    {                                                                                              \
        .name = #member, .table = offsetof(struct backend, family),                                \
        .offset = offsetof(struct type, member), .size = sizeof(struct type),                      \
        .run = case_##member, .limit = {                                                           \
            f64,                                                                                   \
            f32,                                                                                   \
            bf16                                                                                   \
        }                                                                                          \
    }
#define CORE(member, function)                                                                     \
    { .name = #member, .offset = offsetof(struct backend, member), .run = function }
#define MEMORY(member) CORE(member, case_memory)
#define GRAPH(member) CORE(member, case_graph)
#define EMBEDDING(...) OP(embedding, embedding_ops, __VA_ARGS__)
#define PRODUCT(...) OP(products, product_ops, __VA_ARGS__)
#define NORM(...) OP(norm, norm_ops, __VA_ARGS__)
#define ATTENTION(...) OP(attention, attention_ops, __VA_ARGS__)
#define MLP(...) OP(mlp, mlp_ops, __VA_ARGS__)
#define CONV(...) OP(conv, conv_ops, __VA_ARGS__)
#define SCAN(...) OP(scan, scan_ops, __VA_ARGS__)
#define SSD(...) OP(ssd, ssd_ops, __VA_ARGS__)
#define DELTA(...) OP(delta, delta_ops, __VA_ARGS__)
#define GATED_NORM(...) OP(gated_norm, gated_norm_ops, __VA_ARGS__)
#define LOSS(...) OP(loss, loss_ops, __VA_ARGS__)
#define OPTIMIZER(...) OP(optimizer, optimizer_ops, __VA_ARGS__)
#define ROWS(...) OP(rows, row_ops, __VA_ARGS__)

/* In the order of struct backend and of the families' tables. The largest error that each element
 * type may show: float64 and float32 from the length of the sums and the finite differences, BF16
 * from its own rounding (2^-9) and, in attention and its gradient, from probabilities rounded to
 * BF16. The float32 of distill_loss is the rounding of the teacher's log-sum-exp, about 10, against
 * differences of probabilities; that of scan_step includes the states that CUDA's scan leaves in
 * float32, whose dt comes from an approximate logarithm (within 4e-5). CUDA's ssd and delta also
 * round what their products take (states, decayed scores, what is written at a token) to BF16. */
static const struct entry entries[] = {
    MEMORY(alloc),
    MEMORY(free),
    MEMORY(upload),
    MEMORY(download),
    MEMORY(upload_bytes),
    MEMORY(download_bytes),
    MEMORY(copy),
    MEMORY(zero),
    MEMORY(cast),
    MEMORY(sync),
    MEMORY(memory_free),
    MEMORY(memory_peak),
    MEMORY(close),
    MEMORY(host_alloc),
    MEMORY(host_free),
    MEMORY(queue_upload),
    MEMORY(queue_download),
    MEMORY(event_open),
    MEMORY(event_close),
    MEMORY(event_record),
    MEMORY(event_wait),
    MEMORY(event_sync),
    GRAPH(record),
    GRAPH(record_end),
    GRAPH(replay),
    GRAPH(graph_free),
    EMBEDDING(embed, 0, 0, 0),
    EMBEDDING(embed_backward, 1e-14, 1e-6, 0),
    PRODUCT(matmul, 1e-13, 1e-5, 4e-3),
    PRODUCT(matmul_backward_input, 1e-13, 1e-5, 4e-3),
    PRODUCT(matmul_backward_weight, 1e-13, 1e-5, 0),
    PRODUCT(matmul_backward_bias, 1e-13, 1e-5, 0),
    NORM(rmsnorm, 1e-13, 1e-6, 4e-3),
    NORM(rmsnorm_backward, 1e-9, 1e-5, 4e-3),
    NORM(head_norm, 1e-13, 1e-6, 4e-3),
    NORM(head_norm_backward, 1e-9, 1e-5, 4e-3),
    ATTENTION(rope, 1e-13, 1e-6, 4e-3),
    ATTENTION(attention, 1e-12, 1e-5, 1e-2),
    ATTENTION(attention_backward, 1e-12, 2e-5, 2e-2),
    ATTENTION(kv_store, 0, 0, 0),
    ATTENTION(attention_decode, 1e-12, 1e-5, 4e-3),
    MLP(swiglu, 1e-13, 2e-6, 4e-3),
    MLP(swiglu_backward, 1e-9, 5e-6, 4e-3),
    CONV(conv_silu, 1e-13, 2e-6, 4e-3),
    CONV(conv_silu_backward, 1e-9, 1e-5, 4e-3),
    CONV(conv_store, 0, 0, 0),
    CONV(conv_step, 1e-13, 2e-6, 4e-3),
    SCAN(scan_checkpoint_bytes, 1e-12, 2e-5, 4e-3),
    SCAN(scan, 1e-12, 2e-5, 4e-3),
    SCAN(scan_backward, 1e-9, 5e-5, 4e-3),
    SCAN(scan_step, 1e-12, 5e-5, 4e-3),
    SSD(ssd_checkpoint_bytes, 0, 0, 0),
    SSD(ssd, 1e-12, 2e-5, 2e-2),
    SSD(ssd_backward, 1e-9, 5e-5, 3e-2),
    SSD(ssd_step, 1e-12, 1e-5, 4e-3),
    DELTA(delta_checkpoint_bytes, 0, 0, 0),
    DELTA(delta, 1e-12, 2e-5, 4e-2),
    DELTA(delta_backward, 1e-9, 5e-5, 4e-2),
    DELTA(delta_step, 1e-12, 1e-5, 4e-3),
    GATED_NORM(gated_norm, 1e-13, 2e-6, 4e-3),
    GATED_NORM(gated_norm_backward, 1e-9, 2e-5, 4e-3),
    LOSS(logit_summary, 1e-13, 1e-6, 0),
    LOSS(compare_logits, 1e-12, 1e-5, 0),
    LOSS(distill_loss, 1e-12, 3e-5, 4e-3),
    OPTIMIZER(adamw, 1e-13, 2e-6, 4e-3),
    OPTIMIZER(sum_squares, 1e-13, 1e-5, 0),
    ROWS(distance, 1e-13, 1e-5, 0),
    ROWS(add_difference, 1e-13, 2e-6, 0),
};
/* In float32 and BF16 the golden parameters are rounded too. Exact arithmetic on parameters, inputs
 * and activations rounded to BF16 is off by 5.6e-2 in a mixer of Gated DeltaNet. */
#define GOLDEN_MIXER(title, family, function, bf16)                                                \
    {                                                                                              \
        .name = title, .table = offsetof(struct backend, family), .run = function, .limit = {      \
            1e-10,                                                                                 \
            1e-5,                                                                                  \
            bf16                                                                                   \
        }                                                                                          \
    }
static const struct entry golden_mixers[] = {
    GOLDEN_MIXER("mixer of the golden file", scan, case_golden_mixer, 3e-2),
    GOLDEN_MIXER("golden mixers of Mamba-2", ssd, case_golden_mamba2, 3e-2),
    GOLDEN_MIXER("golden mixers of Gated DeltaNet", delta, case_golden_gdn, 6e-2),
};
enum {
    GOLDEN = sizeof golden_mixers / sizeof *golden_mixers,
    ENTRIES = sizeof entries / sizeof *entries,
    POINTER = sizeof(void (*)(void)),
};

static bool present(const struct backend *backend, const struct entry *entry) {
    const char *table = (const char *)backend;
    void (*function)(void);
    if (entry->table) memcpy(&table, table + entry->table, sizeof table);
    if (!table) return false;
    memcpy(&function, table + entry->offset, sizeof function);
    return function != NULL;
}

/* Every function of struct backend and of every family's table has an entry, in its place: one
 * entry follows another by one pointer, and a family ends where its table ends. */
static bool complete(void) {
    size_t core = offsetof(struct backend, alloc), table = 0, offset = 0, size = 0;
    bool ok = true;
    for (size_t i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &entries[i];
        if (!entry->table) {
            ok = ok && entry->offset == core && !table;
            core += POINTER;
            continue;
        }
        if (entry->table != table) { /* a family begins, behind what stood there before */
            ok = ok && offset == size && entry->table == (table ? table + POINTER : core);
            table = entry->table;
            offset = 0;
            size = entry->size;
        }
        ok = ok && entry->offset == offset;
        offset += POINTER;
    }
    ok = ok && offset == size && table + POINTER == sizeof(struct backend);
    printf("%s 1 - every op of the table has a case (%d entries)\n", ok ? "ok" : "not ok",
           (int)ENTRIES);
    return ok;
}

static bool run_entry(struct backend *backend, const struct entry *entry, int number) {
    if (!present(backend, entry)) {
        printf("not ok %d - %s: %s has no such op\n", number, entry->name, backend->name);
        return false;
    }
    struct ops first, second;
    int threads = omp_get_max_threads();
    ops_begin(&first, backend, entry->limit, true);
    entry->run(&first);
    ops_end(&first);
    ops_begin(&second, backend, entry->limit, false);
    omp_set_num_threads(threads == 1 ? 2 : 1);
    entry->run(&second);
    omp_set_num_threads(threads);
    if (second.digest != first.digest) ops_fail(&first, "a second call gave other bits");
    ops_end(&second);
    printf("%s %d - %s: error f64 %.1e f32 %.1e bf16 %.1e%s%s\n", first.faults ? "not ok" : "ok",
           number, entry->name, first.worst[0], first.worst[1], first.worst[2],
           first.faults ? ": " : "", first.message);
    fflush(stdout);
    return first.faults == 0;
}

int main(int count, char **arguments) {
    struct backend *backend;
    bool ok = complete();
    if (backend_open(&backend, count > 1 ? arguments[1] : "cpu")) {
        printf("Bail out! %s\n", status_message());
        return EXIT_FAILURE;
    }
    int number = 1;
    for (size_t i = 0; i < ENTRIES; i++)
        if (count < 3 || strcmp(arguments[2], entries[i].name) == 0)
            if (!run_entry(backend, &entries[i], ++number)) ok = false;
    for (int i = 0; i < GOLDEN && count < 3; i++)
        if (!run_entry(backend, &golden_mixers[i], ++number)) ok = false;
    printf("1..%d\n", number);
    backend->close(backend);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
