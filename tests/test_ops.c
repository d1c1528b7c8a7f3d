/* One case for every op of the op table, on any device: `test_ops [cpu|cuda|cuda:N] [op]`. Each
 * case runs twice and must give the same bits; on the CPU with another number of threads. A member
 * of struct backend without an entry here fails the test. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ops/ops.h"

struct entry {
    const char *name;
    size_t offset; /* of the member in struct backend */
    void (*run)(struct ops *ops);
    struct limit limit;
};

#define OP(member, f64, f32, bf16)                                                                 \
    {                                                                                              \
#member, offsetof(struct backend, member), case_##member, {                                \
            f64, f32, bf16                                                                         \
        }                                                                                          \
    }
#define MEMORY(member)                                                                             \
    {                                                                                              \
#member, offsetof(struct backend, member), case_memory, {                                  \
            0, 0, 0                                                                                \
        }                                                                                          \
    }
#define GRAPH(member)                                                                              \
    {                                                                                              \
#member, offsetof(struct backend, member), case_graph, {                                   \
            0, 0, 0                                                                                \
        }                                                                                          \
    }

/* In the order of struct backend. The largest error that each element type may show: float64 and
 * float32 from the length of the sums and the finite differences, BF16 from its own rounding
 * (2^-9) and, in attention and its gradient, from probabilities rounded to BF16. The float32 of
 * distill_loss is the rounding of the teacher's log-sum-exp, about 10, against differences of
 * probabilities; that of scan_step includes the states that CUDA's scan leaves in float32, whose dt
 * comes from an approximate logarithm (within 4e-5). */
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
    OP(embed, 0, 0, 0),
    OP(embed_backward, 1e-14, 1e-6, 0),
    OP(matmul, 1e-13, 1e-5, 4e-3),
    OP(matmul_backward_input, 1e-13, 1e-5, 4e-3),
    OP(matmul_backward_weight, 1e-13, 1e-5, 0),
    OP(matmul_backward_bias, 1e-13, 1e-5, 0),
    OP(rmsnorm, 1e-13, 1e-6, 4e-3),
    OP(rmsnorm_backward, 1e-9, 1e-5, 4e-3),
    OP(head_norm, 1e-13, 1e-6, 4e-3),
    OP(head_norm_backward, 1e-9, 1e-5, 4e-3),
    OP(rope, 1e-13, 1e-6, 4e-3),
    OP(attention, 1e-12, 1e-5, 1e-2),
    OP(attention_backward, 1e-12, 2e-5, 2e-2),
    OP(swiglu, 1e-13, 2e-6, 4e-3),
    OP(swiglu_backward, 1e-9, 5e-6, 4e-3),
    OP(conv_silu, 1e-13, 2e-6, 4e-3),
    OP(conv_silu_backward, 1e-9, 1e-5, 4e-3),
    OP(scan_checkpoint_bytes, 1e-12, 2e-5, 4e-3),
    OP(scan, 1e-12, 2e-5, 4e-3),
    OP(scan_backward, 1e-9, 5e-5, 4e-3),
    OP(ssd_checkpoint_bytes, 0, 0, 0),
    OP(ssd, 1e-12, 2e-5, 1e-2),
    OP(ssd_backward, 1e-9, 5e-5, 2e-2),
    OP(ssd_step, 1e-12, 1e-5, 4e-3),
    OP(delta_checkpoint_bytes, 0, 0, 0),
    OP(delta, 1e-12, 2e-5, 1e-2),
    OP(delta_backward, 1e-9, 5e-5, 2e-2),
    OP(delta_step, 1e-12, 1e-5, 4e-3),
    OP(gated_norm, 1e-13, 2e-6, 4e-3),
    OP(gated_norm_backward, 1e-9, 2e-5, 4e-3),
    OP(kv_store, 0, 0, 0),
    OP(attention_decode, 1e-12, 1e-5, 4e-3),
    OP(conv_store, 0, 0, 0),
    OP(conv_step, 1e-13, 2e-6, 4e-3),
    OP(scan_step, 1e-12, 5e-5, 4e-3),
    OP(logit_summary, 1e-13, 1e-6, 0),
    OP(compare_logits, 1e-12, 1e-5, 0),
    OP(distill_loss, 1e-12, 3e-5, 4e-3),
    OP(adamw, 1e-13, 2e-6, 4e-3),
    OP(sum_squares, 1e-13, 1e-5, 0),
};
/* In float32 and BF16 the golden parameters are rounded too. */
static const struct entry golden_mixers[] = {
    {"mixer of the golden file",
     offsetof(struct backend, scan),
     case_golden_mixer,
     {1e-10, 1e-5, 3e-2}},
    {"golden mixers of Mamba-2",
     offsetof(struct backend, ssd),
     case_golden_mamba2,
     {1e-10, 1e-5, 3e-2}},
    {"golden mixers of Gated DeltaNet",
     offsetof(struct backend, delta),
     case_golden_gdn,
     {1e-10, 1e-5, 3e-2}},
};
enum {
    GOLDEN = sizeof golden_mixers / sizeof *golden_mixers,
    ENTRIES = sizeof entries / sizeof *entries,
    MEMBERS = (sizeof(struct backend) - offsetof(struct backend, alloc)) / sizeof(void (*)(void)),
};

static bool present(const struct backend *backend, const struct entry *entry) {
    void (*function)(void);
    memcpy(&function, (const char *)backend + entry->offset, sizeof function);
    return function != NULL;
}

/* Every function of the table has an entry, in its place. */
static bool complete(void) {
    bool ok = ENTRIES == MEMBERS;
    for (size_t i = 0; i < ENTRIES && ok; i++)
        ok = entries[i].offset == offsetof(struct backend, alloc) + i * sizeof(void (*)(void));
    printf("%s 1 - every op of the table has a case (%d entries, %d members)\n",
           ok ? "ok" : "not ok", (int)ENTRIES, (int)MEMBERS);
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
