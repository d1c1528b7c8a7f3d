/* loo_budget and mmr_budget for Apriel-15B's shape on devices of several sizes, which need not be
 * there: budgeting asks the backend for nothing but sizes, its types and its free memory. */
#include <stdio.h>
#include <string.h>

#include "analysis/loo/loo_budget.h"
#include "analysis/mmr/mmr_work.h"
#include "base/memory.h"
#include "check_main.h"
#include "mixer_choices.h"

static uint64_t free_bytes;
static int64_t group_tokens; /* of loo; 0: as it likes */

static uint64_t memory_free(struct backend *backend) {
    (void)backend;
    return free_bytes;
}

static struct backend device = {.name = "device",
                                .act = DTYPE_BF16,
                                .acc = DTYPE_F32,
                                .discrete = true,
                                .memory_free = memory_free};

enum { LAYERS = 50, MOST_ROWS = 64 };

/* `rows` rows of `length` tokens on a device of so many bytes, of which `limit` may be used. */
static enum status budget(struct loo_cut *cut, uint64_t bytes, uint64_t limit, int rows,
                          uint64_t length) {
    static int layers[LAYERS];
    uint64_t offsets[MOST_ROWS + 1];
    const struct checkpoint_options random = {.random_weights = true};
    struct model *model = NULL;
    ck_assert_int_le(rows, MOST_ROWS);
    for (int i = 0; i < LAYERS; i++) layers[i] = i;
    for (int i = 0; i <= rows; i++) offsets[i] = (uint64_t)i * length;
    struct tokenset set = {.rows = (uint64_t)rows, .tokens = offsets[rows], .row_offsets = offsets};
    struct sweep_options options = {.layers = layers, .branches = LAYERS};
    free_bytes = bytes;
    enum status status =
        model_describe(&model, &device, TEST_DATA "/../../recipes/apriel-15b", &random);
    ck_assert_msg(!status, "%s", status_message());
    status = loo_budget(cut, model, &set, NULL, &options, NULL, group_tokens, limit);
    model->backend = NULL; /* nothing was allocated */
    checkpoint_close(model->checkpoint);
    free(model);
    uint64_t sum = 0, host = 0;
    for (int i = 0; i < cut->budget.count; i++) {
        sum += cut->budget.parts[i].device;
        host += cut->budget.parts[i].host;
    }
    ck_assert_uint_eq(sum, cut->budget.device);
    ck_assert_uint_eq(host, cut->budget.host);
    if (!status) ck_assert_uint_le(cut->budget.device, cut->budget.room);
    if (!status && limit) ck_assert_uint_le(cut->budget.device, limit);
    return status;
}

static const uint64_t GB = 1000000000;

START_TEST(one_group_where_there_is_room) {
    struct loo_cut cut;
    ck_assert_int_eq(budget(&cut, 80 * GB, 0, 4, 4096), STATUS_OK);
    ck_assert_int_eq(cut.groups, 1);
    ck_assert_int_eq(cut.on_device, 51);
    ck_assert(!cut.keeps_layers);
}
END_TEST

/* Layers that pass through hide behind the arithmetic of large groups, and not of small ones. */
START_TEST(layers_are_kept_for_several_groups) {
    struct loo_cut cut;
    ck_assert_int_eq(budget(&cut, 80 * GB, 0, 16, 4096), STATUS_OK);
    ck_assert_int_ge(cut.groups, 4);
    ck_assert_int_eq(cut.on_device, 51);
    ck_assert(!cut.keeps_layers);
    group_tokens = 256;
    ck_assert_int_eq(budget(&cut, 80 * GB, 0, 16, 256), STATUS_OK);
    ck_assert_int_eq(cut.groups, 16);
    ck_assert(cut.keeps_layers);
    ck_assert_int_eq(budget(&cut, 80 * GB, 30 * GB, 16, 256), STATUS_OK);
    ck_assert_int_eq(cut.groups, 16);
    ck_assert(!cut.keeps_layers); /* 27 GB of them */
    group_tokens = 0;
}
END_TEST

START_TEST(smaller_groups_in_less_memory) {
    struct loo_cut cut;
    ck_assert_int_eq(budget(&cut, 80 * GB, 24 * GB, 4, 4096), STATUS_OK);
    ck_assert_int_gt(cut.groups * (51 - cut.on_device + 1), 1); /* cut in one way or the other */
    ck_assert_int_eq(budget(&cut, 80 * GB, 12 * GB, 4, 4096), STATUS_OK);
    ck_assert(!cut.keeps_layers);
}
END_TEST

/* A row cannot be cut: what does not fit of its branches waits on the host. */
START_TEST(branches_of_a_long_row_are_parked) {
    struct loo_cut cut;
    ck_assert_int_eq(budget(&cut, 80 * GB, 0, 1, 32768), STATUS_OK);
    ck_assert_int_eq(cut.on_device, 51);
    ck_assert_int_eq(budget(&cut, 80 * GB, 42 * GB, 1, 32768), STATUS_OK);
    ck_assert_int_eq(cut.groups, 1);
    ck_assert_int_lt(cut.on_device, 51);
    ck_assert_int_gt(cut.on_device, 30); /* no more than must */
    ck_assert_uint_gt(cut.budget.host, GB);
}
END_TEST

START_TEST(what_cannot_fit_is_refused) {
    struct loo_cut cut;
    ck_assert_int_eq(budget(&cut, 80 * GB, 4 * GB, 4, 4096), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "the sweep needs "));
    ck_assert_ptr_nonnull(strstr(status_message(), " and --device-memory allows 4.00 GB: "));
    ck_assert_ptr_null(strchr(status_message(), '\n'));
    ck_assert_int_eq(budget(&cut, 5 * GB, 0, 4, 4096), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), " and device has 4.85 GB free: "));
    ck_assert_uint_gt(cut.budget.device, 5 * GB);
}
END_TEST

struct mmr_cut {
    struct mmr_outcome outcome;
    struct probe_arrangement probes;
};

/* Probes of all layers, steps of one row of 256 tokens, where so many bytes may be used; `together`
 * as --together. */
static enum status budget_mmr(struct mmr_cut *cut, uint64_t bytes, int together) {
    static uint64_t offsets[MOST_ROWS + 1];
    const struct checkpoint_options random = {.random_weights = true};
    const struct mmr_settings settings = {
        .seeds = 1,
        .together = together,
        .probe = {.data = {.batch = 1, .heldout = 4},
                  .schedule = {.steps = 100},
                  .parts = {.count = PROBE_MIXER + 1},
                  .choices = choices_of("init=published align=paper qkv-bias=drop")}};
    struct mmr_work work = {.settings = &settings, .outcome = &cut->outcome};
    for (int i = 0; i <= 16; i++) offsets[i] = (uint64_t)i * 256;
    struct tokenset set = {.rows = 16, .tokens = offsets[16], .row_offsets = offsets};
    *cut = (struct mmr_cut){0};
    struct backend *cpu;
    ck_assert_int_eq(backend_open_cpu(&cpu), STATUS_OK);
    struct backend discrete = *cpu;
    discrete.act = DTYPE_BF16;
    discrete.discrete = true;
    discrete.memory_free = memory_free;
    free_bytes = bytes;
    work.set = &set;
    work.backend = &discrete;
    ck_assert_int_eq(
        model_describe(&work.teacher, &discrete, TEST_DATA "/../../recipes/apriel-15b", &random),
        STATUS_OK);
    work.student = work.teacher;
    ck_assert_int_eq(list_parse(&work.layers, "0-49", 0, 49, "--layers"), STATUS_OK);
    enum status status = mmr_budget(&work);
    cut->probes = work.arrangement;
    free(work.first_layers);
    list_free(&work.layers);
    work.teacher->backend = cpu; /* nothing was allocated on the other */
    model_close(work.teacher);
    cpu->close(cpu);
    const struct memory_budget *budget = &cut->outcome.memory;
    uint64_t sum = 0, host = 0;
    for (int i = 0; i < budget->count; i++) {
        sum += budget->parts[i].device;
        host += budget->parts[i].host;
    }
    ck_assert_uint_eq(sum, budget->device);
    ck_assert_uint_eq(host, budget->host);
    ck_assert_int_eq(cut->probes.together, cut->outcome.together);
    if (!status) ck_assert_uint_le(budget->device, budget->room);
    return status;
}

START_TEST(probes_go_one_by_one_where_layers_are_kept) {
    struct mmr_cut cut;
    ck_assert_int_eq(budget_mmr(&cut, 80 * GB, 0), STATUS_OK);
    ck_assert(!cut.probes.memory.recompute && !cut.probes.memory.stream_layers &&
              !cut.probes.memory.park);
    ck_assert_int_eq(cut.probes.together, 1);
    ck_assert_ptr_null(strstr(cut.outcome.memory.work, "loads"));
    ck_assert_int_eq(budget_mmr(&cut, 80 * GB, 3), STATUS_OK);
    ck_assert(!cut.probes.memory.stream_layers);
    ck_assert_int_eq(cut.probes.together, 3);
}
END_TEST

/* The more memory, the more probes share what is streamed; groups are of about one size. */
START_TEST(probes_that_stream_layers_share_them) {
    struct mmr_cut cut;
    int before = 1;
    for (uint64_t bytes = 10 * GB; bytes <= 26 * GB; bytes += 4 * GB) {
        ck_assert_int_eq(budget_mmr(&cut, bytes, 0), STATUS_OK);
        int together = cut.probes.together, groups = (LAYERS + together - 1) / together;
        ck_assert(cut.probes.memory.stream_layers && cut.probes.memory.recompute);
        ck_assert_int_gt(together, before);
        ck_assert_int_eq(together, (LAYERS + groups - 1) / groups);
        ck_assert_ptr_nonnull(
            strstr(cut.outcome.memory.work, " probes in lock step; a step of a "));
        before = together;
    }
    ck_assert_int_eq(budget_mmr(&cut, 26 * GB, 2), STATUS_OK);
    ck_assert_int_eq(cut.probes.together, 2);
    ck_assert(!cut.probes.memory.park);
}
END_TEST

/* Inputs of blocks wait in host memory where that makes room, and where nothing else helps. */
START_TEST(inputs_of_blocks_are_parked_for_more_probes) {
    struct mmr_cut cut, tight;
    ck_assert_int_eq(budget_mmr(&cut, 26 * GB, 0), STATUS_OK);
    ck_assert(cut.probes.memory.park);
    ck_assert_uint_gt(cut.outcome.memory.host, (uint64_t)cut.probes.together * 20 * 256 * 5120 * 4);
    uint64_t smallest = 0;
    for (uint64_t bytes = 5 * GB; !smallest; bytes += GB / 50)
        if (budget_mmr(&tight, bytes, 1) == STATUS_OK) smallest = bytes;
    ck_assert(tight.probes.memory.park);
    ck_assert_int_eq(budget_mmr(&cut, smallest + GB / 2, 1), STATUS_OK);
    ck_assert(!cut.probes.memory.park && cut.probes.memory.stream_layers);
    ck_assert_uint_lt(tight.outcome.memory.device, cut.outcome.memory.device);
}
END_TEST

CHECK_MAIN("memory_budget", one_group_where_there_is_room, layers_are_kept_for_several_groups,
           smaller_groups_in_less_memory, branches_of_a_long_row_are_parked,
           what_cannot_fit_is_refused, probes_go_one_by_one_where_layers_are_kept,
           probes_that_stream_layers_share_them, inputs_of_blocks_are_parked_for_more_probes)
