/* Seconds a step of distillation probes, on random tokens with the teacher's logits kept:
 * `bench_probe MODEL DEVICE ROWS LENGTH STEPS LAYERS [turns]`. The median is that of the steps
 * after the first two. With `turns` it says "ready" before each step, waits for a line and prints
 * what the step took, so that another program can be timed in turn (tests/oracle/in_turn.py).
 * `meson test --benchmark` runs it on the demo model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/probe.h"
#include "base/list.h"
#include "base/log.h"
#include "base/random.h"
#include "mixer_choices.h"

enum { BATCHES = 2, PLAIN_STEPS = 2, MOST_STEPS = 1000 };

static void must(enum status status) {
    if (!status) return;
    fprintf(stderr, "bench_probe: %s\n", status_message());
    exit(EXIT_FAILURE);
}

static int number(const char *text, const char *what, int most) {
    struct int_list list;
    must(list_parse(&list, text, 1, most, what));
    int value = list.values[0];
    list_free(&list);
    return value;
}

/* Rows for the batches and one that is held out. */
static void draw_rows(struct tokenset *set, int rows, int length, int vocabulary) {
    struct random_stream random = random_stream_for(1, 0, "bench_probe");
    *set = (struct tokenset){.rows = (uint64_t)rows, .vocab_size = (uint64_t)vocabulary};
    set->tokens = (uint64_t)rows * (uint64_t)length;
    set->row_offsets = calloc(set->rows + 1, sizeof *set->row_offsets);
    set->ids = calloc(set->tokens, sizeof *set->ids);
    if (!set->row_offsets || !set->ids) exit(EXIT_FAILURE);
    for (uint64_t r = 0; r <= set->rows; r++) set->row_offsets[r] = r * (uint64_t)length;
    for (uint64_t t = 0; t < set->tokens; t++)
        set->ids[t] = (uint32_t)(random_uniform(&random, t) * (vocabulary - 1));
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double take_step(struct probe_group *group, int step, bool turns) {
    const bool alone = true;
    char line[16];
    double loss;
    if (turns) {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) exit(EXIT_SUCCESS);
    }
    double start = log_seconds();
    must(probe_group_step(group, &alone, step, &loss));
    double took = log_seconds() - start;
    if (turns) {
        printf("took %.6f\n", took);
        fflush(stdout);
    }
    return took;
}

/* A probe's steps; without `turns` and `print` they only fill the teacher's logits. */
static void run(struct probe_engine *engine, int layer, int steps, bool turns, bool print) {
    const struct probe_choice choice = {.layer = layer};
    struct probe_group *group;
    double seconds[MOST_STEPS];
    must(probe_group_begin(&group, engine, &choice, 1));
    for (int step = 0; step < steps; step++) seconds[step] = take_step(group, step, turns);
    probe_group_end(group);
    int timed = steps - PLAIN_STEPS;
    qsort(seconds + PLAIN_STEPS, (size_t)timed, sizeof *seconds, compare);
    if (print) printf("layer %d: %.4f s a step\n", layer, seconds[PLAIN_STEPS + timed / 2]);
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count < 7 || count > 8 || (count == 8 && strcmp(arguments[7], "turns") != 0)) {
        fprintf(stderr, "usage: bench_probe MODEL DEVICE ROWS LENGTH STEPS LAYERS [turns]\n");
        return 2;
    }
    bool turns = count == 8;
    int rows = number(arguments[3], "rows", 4096), length = number(arguments[4], "length", 1 << 20);
    int steps = PLAIN_STEPS + number(arguments[5], "steps", MOST_STEPS - PLAIN_STEPS);
    struct backend *backend;
    struct model *model;
    struct tokenset set;
    struct int_list layers;
    struct probe_engine *engine;
    must(backend_open(&backend, arguments[2]));
    must(model_open(&model, backend, arguments[1], NULL));
    int last = model->config->n_layers - 1;
    must(list_parse(&layers, arguments[6], 0, last, "layers"));
    draw_rows(&set, BATCHES * rows + 1, length, model->config->vocab_size);
    struct probe_settings settings = {.data = {.batch = rows, .heldout = 1},
                                      .schedule = {.steps = steps, .rate = 1e-3},
                                      .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                                      .loss = {LOSS_REVERSE_KL, 1}};
    const struct probe_arrangement way = {.memory = {.keep_logits = true}, .together = 1};
    must(probe_parts_from_name(&settings.parts, "mixer", 0));
    settings.choices = choices_of("d-state=16 d-conv=4");
    must(probe_engine_open(&engine, model, model, &set, &settings, &way, NULL));
    must(probe_engine_load(engine, 0, steps));
    for (size_t i = 0; i < layers.count; i++) {
        if (i == 0) run(engine, layers.values[0], PLAIN_STEPS + 1, false, false);
        run(engine, layers.values[i], steps, turns, !turns);
    }
    probe_engine_close(engine);
    list_free(&layers);
    free(set.ids);
    free(set.row_offsets);
    model_close(model);
    backend->close(backend);
    return EXIT_SUCCESS;
}
