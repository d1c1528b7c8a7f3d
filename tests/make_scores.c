/* make_scores FILE: a small score database for the tests of the command line. Eight layers, six
 * rows of 10, 20, … 60 counted positions. Run 1 is a finished loo, run 2 a finished mmr on a base
 * that replaces layers 3 and 5, run 3 a loo with another seed that stopped after two rows, run 4 a
 * finished loo of another model. */
#include <stdio.h>
#include <string.h>

#include "scores/store.h"

enum { LAYERS = 8, ROWS = 6 };

static const char shape[] =
    "{\"num_hidden_layers\": 8, \"hidden_size\": 64, \"num_attention_heads\": 4,"
    " \"num_key_value_heads\": 2, \"head_dim\": 16, \"intermediate_size\": 128}";

/* What a layer is worth; 3 and 5, and 0 and 7, differ by less than the rows scatter. */
static const double worth[LAYERS] = {0.9, 0.6, 0.5, 0.1, 0.4, 0.101, 0.3, 0.901};

/* Scatter of a row, partly the layer's own. */
static double value_of(int layer, int row) {
    return worth[layer] + 0.01 * row + ((layer / 2 + row) % 2 ? 0.002 : -0.002);
}

static enum status put_rows(struct store *store, int64_t run, const char *metric, int rows,
                            const char *base) {
    enum status status = STATUS_OK;
    for (int layer = 0; layer < LAYERS; layer++)
        for (int row = 0; !status && row < rows; row++)
            if (!*base || base[layer] == 't')
                status = store_put_sequence_score(store, run, layer, row, metric,
                                                  value_of(layer, row), 10 * (row + 1));
    return status;
}

static enum status add_run(struct store *store, struct store_run_key key, const char *metric,
                           int rows, bool finish) {
    int64_t run;
    enum store_run_state state;
    enum status status = store_begin_run(&run, &state, store, &key);
    if (!status) status = put_rows(store, run, metric, rows, key.base);
    if (!status && !finish) return store_finish_run(store, run, STORE_STATUS_INTERRUPTED);
    if (!status && strcmp(key.kind, "mmr") == 0) {
        for (int step = 0; !status && step < 3; step++)
            status = store_put_probe_step(store, run, 4, key.seed, step, 1.0 / (step + 1));
    }
    if (!status && strcmp(key.kind, "loo") == 0)
        status = store_put_sequence_score(store, run, STORE_TRUNK, 0, "ce", 2.5, 10);
    if (!status) status = store_summarise_run(store, run);
    return status ? status : store_finish_run(store, run, STORE_STATUS_DONE);
}

static enum status fill(struct store *store) {
    struct store_run_key key = {.kind = "loo",
                                .base = "",
                                .parameters = "{\"ablate\":\"mixer\"}",
                                .device = "cpu",
                                .numbers = 1};
    int64_t other = 0;
    enum status status = store_add_model(&key.model, store, "aa11", "model-a", shape);
    if (!status) status = store_add_model(&other, store, "bb22", "model-b", shape);
    if (!status) status = store_add_dataset(&key.dataset, store, "cc33", "tokens.h5", ROWS, 210);
    if (!status) status = add_run(store, key, "kl", ROWS, true);
    key.kind = "mmr";
    key.base = "tttmtmtt";
    key.seed = 7;
    if (!status) status = add_run(store, key, "heldout_rkl_after", ROWS, true);
    key.kind = "loo";
    key.base = "";
    if (!status) status = add_run(store, key, "kl", 2, false);
    key.model = other;
    return status ? status : add_run(store, key, "kl", ROWS, true);
}

int main(int argc, char **argv) {
    struct store *store = NULL;
    if (argc != 2) return STATUS_USAGE;
    enum status status = store_open(&store, argv[1], STORE_WRITE);
    if (!status) status = fill(store);
    if (status) fprintf(stderr, "make_scores: %s\n", status_message());
    store_close(store);
    return (int)status;
}
