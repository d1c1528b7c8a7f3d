/* For tests/oracle (stock_formats.py, modeling.py); no test runs it. usage: print_logits MODEL
 * ID... Logits of every position, [ids, V] float32, to stdout. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "model/forward.h"

static enum status print(const char *directory, const uint32_t *ids, int tokens) {
    struct backend *backend = NULL;
    struct model *model = NULL;
    struct forward *forward = NULL;
    struct token_batch batch = {0};
    const uint64_t offsets[] = {0, (uint64_t)tokens};
    size_t n = (size_t)tokens;
    enum status status = backend_open_cpu(&backend);
    if (!status) status = model_open(&model, backend, directory, NULL);
    if (!status) status = token_batch_create(&batch, backend, ids, offsets, 1);
    if (!status) status = forward_open(&forward, model, 1, tokens, tokens);
    if (status) return status;
    size_t width = (size_t)model->config->hidden_size, wide = (size_t)model->config->vocab_size;
    struct acc *hidden = memory_aligned(n * width * sizeof(float));
    struct act *normed = memory_aligned(n * width * sizeof(float));
    float *logits = memory_aligned(n * wide * sizeof *logits);
    struct acc *rstd = memory_aligned(n * sizeof(float));
    if (!hidden || !normed || !logits || !rstd) return STATUS_FAILED;
    status = forward_run(forward, hidden, &batch);
    if (status) return status;
    model_logits(model, (struct acc *)logits, normed, rstd, hidden, tokens);
    return fwrite(logits, sizeof *logits, n * wide, stdout) == n * wide ? STATUS_OK : STATUS_FAILED;
}

int main(int argc, char **argv) {
    uint32_t *ids = memory_calloc((size_t)argc, sizeof *ids);
    for (int i = 2; ids && i < argc; i++) ids[i - 2] = (uint32_t)strtoul(argv[i], NULL, 10);
    enum status status = ids && argc > 2 ? print(argv[1], ids, argc - 2) : STATUS_FAILED;
    if (status) fprintf(stderr, "print_logits: %s\n", status_message());
    free(ids);
    return status ? 1 : 0;
}
