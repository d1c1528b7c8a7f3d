#include "cmd/align_options.h"

#include <string.h>

#include "base/file.h"
#include "cli/run_option.h"
#include "cli/train_option.h"

struct command_line align_options_line(struct option table[ALIGN_OPTIONS],
                                       struct align_values *values) {
    enum { OWN = ALIGN_OPTIONS - MIXER_OPTIONS };
    *values = (struct align_values){.device = "auto",
                                    .objective = "both",
                                    .steps = 400,
                                    .batch = 8,
                                    .heldout = 16,
                                    .warmup = -1,
                                    .random_seed = -1,
                                    .lr = 3e-3,
                                    .beta1 = 0.9,
                                    .beta2 = 0.95,
                                    .epsilon = 1e-8,
                                    .block_share = 0.25};
    const struct option rows[OWN] = {
        run_option_data(&values->data),
        {"library", OPTION_STRING, &values->library, "DIR",
         "where the mixers go: a file for each layer and kind, and library.json",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_NO_NUMBER},
        run_option_database(&values->database),
        {"steps", OPTION_COUNT, &values->steps, "N", "training steps of a mixer (400)", .low = 1,
         .high = 1000000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"lr", OPTION_NUMBER, &values->lr, "RATE",
         "largest learning rate, from which a cosine falls to a tenth (0.003)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"warmup", OPTION_COUNT, &values->warmup, "STEPS",
         "linear warm-up (a twentieth of --steps)", .high = 1000000, .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        train_option_batch(&values->batch),
        {"heldout", OPTION_COUNT, &values->heldout, "ROWS",
         "the last rows: never trained on, errors and scores are measured on them (16)", .low = 1,
         .high = INT32_MAX, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &values->layers, "LIST",
         "layers to align, like 0-11,13 (all with attention)", .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"base", OPTION_STRING, &values->base, "HYBRID",
         "align the attention layers that this hybrid has left, inside it: on its own states, with "
         "its own attention as the target; scores stay against MODEL",
         .group = GROUP_SCOPE, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"objective", OPTION_CHOICE, &values->objective, NULL,
         "what is minimised: half the relative error of the attention's output, half that of the "
         "block's update, or both (both)",
         .group = GROUP_TRAINING, .choices = "attention|block|both", .identity = OPTION_RESOLVED},
        {"block-share", OPTION_NUMBER, &values->block_share, "SHARE",
         "of each row's tokens that the block's error is taken over, drawn for every step (0.25)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &values->seed, "SEED",
         "of what is drawn: starts, and which tokens (0)", .high = INT64_MAX, .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"no-start-scores", OPTION_FLAG, &values->no_start, NULL,
         "do not score the mixers as they begin too, which is half of the scoring",
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        train_option_clip(&values->clip),
        train_option_beta1(&values->beta1),
        train_option_beta2(&values->beta2),
        train_option_epsilon(&values->epsilon),
        train_option_limit_steps(&values->limit),
        {"cache-dir", OPTION_STRING, &values->cache, "DIR",
         "keep the inputs of the layer under way in an HDF5 file there, not in memory",
         .group = GROUP_MACHINE, .completes = COMPLETE_DIRECTORY, .identity = OPTION_NO_NUMBER},
        run_option_device(&values->device),
        run_option_device_memory(&values->device_memory),
        run_option_dry_run(&values->dry_run),
        run_option_random_weights(&values->random_seed),
    };
    memcpy(table, rows, sizeof rows);
    size_t count = OWN + (size_t)mixer_option_all(table + OWN, &values->mixer);
    return (struct command_line){
        .command = "align",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --data FILE.h5 --library DIR --db FILE.db [--kind KIND,…] [options]",
        .about = "Train, at each layer, mixers to reproduce the output of its attention and of its "
                 "block, on\nthe model's own states: nothing flows through other layers, so one "
                 "pass over the model serves\nall of them. The mixers go into a library that "
                 "convert, mmr, loo and eval take; each layer's\nreplacement alone is scored on "
                 "held-out rows. The same command continues where it was\nstopped.\n\nSeveral "
                 "kinds, as in --kind m2,window:1024, take one pass; each has a run of its own.",
        .options = table,
        .count = count,
        .epilogue = "example:\n  apriel-tool align recipes/demo-model --data tokens.h5 --library "
                    "library \\\n      --db scores.db --kind m2,window:64",
    };
}

static enum status check(const struct align_values *values) {
    if (!values->data || ((!values->database || !values->library) && !values->dry_run))
        return status_set(STATUS_USAGE, "align: --data, --library and --db are needed");
    if (values->base && !file_is_directory(values->base))
        return status_set(
            STATUS_USAGE,
            "align: --base \"%s\" is no directory: convert the plan into a hybrid first",
            values->base);
    if (!(values->lr > 0) || values->beta1 < 0 || values->beta1 >= 1 || values->beta2 < 0 ||
        values->beta2 >= 1)
        return status_set(STATUS_USAGE, "align: --lr must be positive, --beta1 and --beta2 at "
                                        "least 0 and below 1");
    if (!(values->block_share > 0 && values->block_share <= 1))
        return status_set(STATUS_USAGE,
                          "align: --block-share must be above 0 and at most 1, not %g",
                          values->block_share);
    if (!(values->clip >= 0)) return status_set(STATUS_USAGE, "align: --clip must not be below 0");
    return STATUS_OK;
}

enum status align_options_settings(struct align_settings *settings,
                                   const struct align_values *values, const char *model,
                                   const struct json *identity) {
    enum status status = check(values);
    if (status) return status;
    *settings = (struct align_settings){
        .model = model,
        .hybrid = values->base,
        .data = values->data,
        .database = values->database,
        .library = values->library,
        .device = values->device,
        .layers = values->layers,
        .rows = {.batch = (int)values->batch, .heldout = values->heldout},
        .schedule = {.kind = SCHEDULE_COSINE,
                     .rate = values->lr,
                     .steps = values->steps,
                     .warmup = values->warmup < 0 ? values->steps / 20 : values->warmup,
                     .floor = 0.1},
        .optimizer = {.beta1 = values->beta1,
                      .beta2 = values->beta2,
                      .epsilon = values->epsilon,
                      .clip = values->clip},
        .loss = {.block_share = values->block_share, .seed = (uint64_t)values->seed},
        .scores_start = !values->no_start,
        .limit_steps = values->limit,
        .device_memory = values->device_memory,
        .dry_run = values->dry_run,
        .cache_directory = values->cache,
        .identity = identity};
    settings->checkpoint.random_weights = values->random_seed >= 0;
    settings->checkpoint.seed = (uint64_t)values->random_seed;
    status = alignment_objective_from_name(&settings->loss.objective, values->objective);
    const struct mixer_kind *usual = NULL;
    if (!status) status = mixer_option_usual(&usual, &values->mixer, model, NULL, NULL);
    if (!status)
        status = mixer_option_resolve_list(settings->kinds, &settings->kind_count, ALIGN_MAX_KINDS,
                                           &values->mixer, (uint64_t)values->seed, usual);
    return status;
}
