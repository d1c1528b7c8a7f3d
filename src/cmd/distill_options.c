#include "cmd/distill_options.h"

#include <stdio.h>
#include <string.h>

#include "cli/run_option.h"
#include "cli/train_option.h"
#include "train/loss.h"

static const struct distill_values defaults = {.device = "auto",
                                               .loss = "rkl",
                                               .schedule = "cosine",
                                               .steps = 500,
                                               .batch = 8,
                                               .heldout = 16,
                                               .warmup = -1,
                                               .cooldown = -1,
                                               .validate = 50,
                                               .keep = 2,
                                               .lr = 3e-4,
                                               .floor = 0.1,
                                               .beta1 = 0.9,
                                               .beta2 = 0.95,
                                               .epsilon = 1e-8,
                                               .clip = 1,
                                               .temperature = 1};

enum { FILES = 6, TRAINING = 18, SCOPE = 5 };

static void list_files(struct option rows[FILES], struct distill_values *values) {
    const struct option own[FILES] = {
        {"teacher", OPTION_STRING, &values->teacher, "MODEL",
         "the transformer that the hybrid was made from", .group = GROUP_FILES,
         .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        run_option_data(&values->data),
        {"output", OPTION_STRING, &values->output, "DIR",
         "states while it trains, the finished checkpoint then; the same command goes on from the "
         "last state",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_NO_NUMBER,
         .letter = 'o'},
        {"db", OPTION_STRING, &values->database, "FILE.db",
         "score database for the curves (training.db in the output)", .group = GROUP_FILES,
         .completes = "*.db", .identity = OPTION_NO_NUMBER},
        {"status", OPTION_FLAG, &values->status, NULL, "say how far the run in -o is, and stop",
         .group = GROUP_FILES, .identity = OPTION_NO_NUMBER},
        {"keep", OPTION_COUNT, &values->keep, "N", "states that stay, besides the best one (2)",
         .low = 1, .high = 1000000, .group = GROUP_FILES, .identity = OPTION_NO_NUMBER},
    };
    memcpy(rows, own, sizeof own);
}

static void list_training(struct option rows[TRAINING], struct distill_values *values) {
    const struct option own[TRAINING] = {
        {"steps", OPTION_COUNT, &values->steps, "N", "steps, when no --phase says them (500)",
         .low = 1, .high = 1000000000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"phase", OPTION_STRING, &values->phases, "LIST",
         "what trains one after another, like mixers:200,all:300: the new mixers alone; every "
         "group by its factor (all). Each phase has a schedule and an optimizer of its own",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"factors", OPTION_STRING, &values->factors, "LIST",
         "shares of the learning rate, like mlp=0.1,head=0; 0: frozen (mixer 1, norm 0.1, mlp 0.1, "
         "attention 0.1, embedding 0, head 0.1)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"lr", OPTION_NUMBER, &values->lr, "RATE", "learning rate (0.0003)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"batch", OPTION_COUNT, &values->batch, "ROWS", "rows a step (8)", .low = 1, .high = 65536,
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"loss", OPTION_CHOICE, &values->loss, NULL, "what is minimised (rkl)",
         .group = GROUP_TRAINING, .choices = "rkl|fkl|ce", .identity = OPTION_RESOLVED},
        {"ce", OPTION_NUMBER, &values->ce, "SHARE",
         "of the cross-entropy in the loss, from 0 to 1; the rest is --loss (0)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        train_option_temperature(&values->temperature),
        {"schedule", OPTION_CHOICE, &values->schedule, NULL,
         "learning rate after the warm-up (cosine)", .group = GROUP_TRAINING,
         .choices = "constant|cosine|wsd", .identity = OPTION_RESOLVED},
        {"warmup", OPTION_COUNT, &values->warmup, "STEPS",
         "linear warm-up of each phase (a twentieth of it)", .high = 1000000000,
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"cooldown", OPTION_COUNT, &values->cooldown, "STEPS",
         "linear fall at the end of a phase, of --schedule wsd (a fifth of it)", .high = 1000000000,
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"floor", OPTION_NUMBER, &values->floor, "SHARE",
         "of the learning rate that a falling one ends with (0.1)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        {"clip", OPTION_NUMBER, &values->clip, "NORM", "limit of the gradient's norm, 0: none (1)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        train_option_weight_decay(&values->decay),
        train_option_beta1(&values->beta1),
        train_option_beta2(&values->beta2),
        train_option_epsilon(&values->epsilon),
        {"patience", OPTION_COUNT, &values->patience, "N",
         "stop after N measurements without a better one (0: never)", .high = 1000000,
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
    };
    memcpy(rows, own, sizeof own);
}

static void list_scope(struct option rows[SCOPE], struct distill_values *values) {
    const struct option own[SCOPE] = {
        {"heldout", OPTION_COUNT, &values->heldout, "ROWS",
         "the last rows: never trained on, measured (16)", .high = INT32_MAX, .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"validate-every", OPTION_COUNT, &values->validate, "STEPS",
         "measure them so often, and before the first and after the last step (50)", .low = 1,
         .high = 1000000000, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"save-every", OPTION_COUNT, &values->save, "STEPS",
         "save a state so often, and at every measurement that is the best (at each)",
         .high = 1000000000, .group = GROUP_SCOPE, .identity = OPTION_NO_NUMBER},
        {"seed", OPTION_INTEGER, &values->seed, "SEED", "of the order of rows in each epoch (0)",
         .high = INT64_MAX, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"in-order", OPTION_FLAG, &values->in_order, NULL, "rows as the file has them",
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
    };
    memcpy(rows, own, sizeof own);
}

struct command_line distill_options_line(struct option table[DISTILL_OPTIONS],
                                         struct distill_values *values) {
    *values = defaults;
    list_files(table, values);
    list_training(table + FILES, values);
    list_scope(table + FILES + TRAINING, values);
    const struct option machine[] = {
        {"micro-batch", OPTION_COUNT, &values->micro, "ROWS",
         "rows that pass at a time (as many of a step's as fit)", .low = 1, .high = 65536,
         .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        train_option_recompute(&values->recompute),
        train_option_limit_steps(&values->limit),
        run_option_device(&values->device),
    };
    size_t count = FILES + TRAINING + SCOPE;
    memcpy(table + count, machine, sizeof machine);
    count += sizeof machine / sizeof *machine;
    table[count++] = run_option_device_memory(&values->device_memory);
    table[count++] = run_option_dry_run(&values->dry_run);
    return (struct command_line){
        .command = "distill",
        .completes = COMPLETE_DIRECTORY,
        .usage = "HYBRID --teacher MODEL --data FILE.h5 -o DIR [options]",
        .about = "Train a hybrid against its teacher, end to end, until it works again. DIR holds "
                 "a state for each measurement and, at the end, the checkpoint of the best one; "
                 "the same command continues where it was stopped.",
        .options = table,
        .count = count,
        .epilogue = "example:\n  apriel-tool distill h6 --teacher recipes/demo-model --data "
                    "tokens.h5 -o d6",
    };
}

static enum status check_numbers(const struct distill_values *values) {
    if (values->lr <= 0 || values->temperature <= 0 || values->beta1 < 0 || values->beta1 >= 1 ||
        values->beta2 < 0 || values->beta2 >= 1 || values->epsilon <= 0)
        return status_set(STATUS_USAGE, "distill: --lr, --temperature and --epsilon must be "
                                        "positive, --beta1 and --beta2 at least 0 and below 1");
    if (values->ce < 0 || values->ce > 1 || values->floor < 0 || values->floor > 1 ||
        values->clip < 0 || values->decay < 0)
        return status_set(STATUS_USAGE, "distill: --ce and --floor lie between 0 and 1, --clip and "
                                        "--weight-decay are at least 0");
    if (values->phases && values->steps != defaults.steps)
        return status_set(STATUS_USAGE, "distill: --phase says the steps: leave --steps out");
    if (values->patience && !values->heldout)
        return status_set(STATUS_USAGE, "distill: --patience needs rows that are held out");
    return STATUS_OK;
}

static enum status to_training(struct distill_training *training,
                               const struct distill_values *values) {
    double factors[DISTILL_GROUPS];
    char phases[48];
    *training =
        (struct distill_training){.data = {.batch = (int)values->batch, .heldout = values->heldout},
                                  .in_order = values->in_order,
                                  .seed = (uint64_t)values->seed,
                                  .schedule = {.rate = values->lr,
                                               .warmup = values->warmup,
                                               .cooldown = values->cooldown,
                                               .floor = values->floor},
                                  .optimizer = {.beta1 = values->beta1,
                                                .beta2 = values->beta2,
                                                .epsilon = values->epsilon,
                                                .clip = values->clip},
                                  .loss = {.temperature = values->temperature, .ce = values->ce}};
    distill_factors_default(factors);
    snprintf(phases, sizeof phases, "all:%lld", (long long)values->steps);
    enum status status = loss_from_name(&training->loss.kind, values->loss);
    if (!status) status = train_schedule_from_name(&training->schedule.kind, values->schedule);
    if (!status && values->factors) status = distill_factors_parse(factors, values->factors);
    if (!status)
        status = distill_phases_parse(&training->phases, values->phases ? values->phases : phases,
                                      factors, values->decay);
    return status;
}

enum status distill_options_settings(struct distill_settings *settings,
                                     const struct distill_values *values, const char *hybrid,
                                     const struct json *identity) {
    if (!values->teacher || !values->data || (!values->output && !values->dry_run))
        return status_set(STATUS_USAGE, "distill: --teacher, --data and -o are needed");
    *settings = (struct distill_settings){.hybrid = hybrid,
                                          .teacher = values->teacher,
                                          .data = values->data,
                                          .device = values->device,
                                          .output = values->output ? values->output : "",
                                          .database = values->database,
                                          .micro = (int)values->micro,
                                          .validate_every = values->validate,
                                          .save_every = values->save,
                                          .keep = (int)values->keep,
                                          .patience = values->patience,
                                          .limit_steps = values->limit,
                                          .recompute = values->recompute,
                                          .dry_run = values->dry_run,
                                          .device_memory = values->device_memory,
                                          .identity = identity};
    enum status status = check_numbers(values);
    return status ? status : to_training(&settings->training, values);
}
