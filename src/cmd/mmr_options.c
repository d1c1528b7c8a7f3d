#include "cmd/mmr_options.h"

#include <string.h>

#include "base/file.h"
#include "cli/run_file.h"
#include "cli/run_option.h"
#include "cli/train_option.h"
#include "train/loss.h"

struct command_line mmr_options_line(struct option table[MMR_OPTIONS], struct mmr_values *values) {
    enum { OWN = MMR_OPTIONS - MIXER_OPTIONS };
    *values = (struct mmr_values){.device = "auto",
                                  .loss = "rkl",
                                  .schedule = "constant",
                                  .train = "mixer",
                                  .steps = 100,
                                  .batch = 8,
                                  .heldout = 16,
                                  .seeds = 1,
                                  .group = 5,
                                  .random_seed = -1,
                                  .lr = 1e-3,
                                  .beta1 = 0.9,
                                  .beta2 = 0.95,
                                  .epsilon = 1e-8,
                                  .temperature = 1};
    const struct option rows[OWN] = {
        run_option_data(&values->data),
        run_option_database(&values->database),
        RUN_FILE_OPTION(&values->run_file),
        {"library", OPTION_STRING, &values->library, "DIR",
         "probes begin with the mixers of this library (see align)", .group = GROUP_FILES,
         .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"keep", OPTION_STRING, &values->keep, "DIR",
         "keep the mixers of the first seed as their probes end, in this library",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_NO_NUMBER},
        {"steps", OPTION_COUNT, &values->steps, "N", "training steps of a probe (100)", .low = 1,
         .high = 1000000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"lr", OPTION_NUMBER, &values->lr, "RATE", "learning rate (0.001)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        train_option_batch(&values->batch),
        {"heldout", OPTION_COUNT, &values->heldout, "ROWS",
         "the last rows: never trained on, measured before and after (16)", .low = 1,
         .high = INT32_MAX, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"seeds", OPTION_COUNT, &values->seeds, "N", "initialisations per layer (1)", .low = 1,
         .high = 1000, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &values->seed, "SEED", "the first of them (0)", .high = INT64_MAX,
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &values->layers, "LIST",
         "layers to probe, like 0-11,13 (all with attention)", .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"base", OPTION_STRING, &values->base, "HYBRID",
         "probes start from this hybrid; the teacher stays MODEL", .group = GROUP_SCOPE,
         .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"loss", OPTION_CHOICE, &values->loss, NULL, "what a probe minimises (rkl)",
         .group = GROUP_TRAINING, .choices = "rkl|fkl|ce", .identity = OPTION_RESOLVED},
        train_option_temperature(&values->temperature),
        {"train", OPTION_CHOICE, &values->train, NULL,
         "what trains: the new mixer; its layer's MLP and norms too; or all from that layer on, "
         "with the final norm and an untied head (mixer)",
         .group = GROUP_TRAINING, .choices = "mixer|layer|all", .identity = OPTION_RESOLVED},
        {"schedule", OPTION_CHOICE, &values->schedule, NULL,
         "learning rate after the warm-up (constant)", .group = GROUP_TRAINING,
         .choices = "constant|cosine", .identity = OPTION_RESOLVED},
        {"warmup", OPTION_COUNT, &values->warmup, "STEPS", "linear warm-up (0)", .high = 1000000,
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        train_option_clip(&values->clip),
        train_option_weight_decay(&values->decay),
        train_option_beta1(&values->beta1),
        train_option_beta2(&values->beta2),
        train_option_epsilon(&values->epsilon),
        {"stop-when-stable", OPTION_COUNT, &values->stable, "STEPS",
         "advance all probes together and stop when the best --group layers stay the same so long",
         .low = 1, .high = 1000000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"group", OPTION_COUNT, &values->group, "K", "how many layers that set has (5)", .low = 1,
         .high = 10000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        train_option_limit_steps(&values->limit),
        {"together", OPTION_COUNT, &values->together, "K",
         "train K probes in lock step, in each round too: a layer that must be loaded is loaded "
         "once for all of them (as many as fit when layers are not kept, else 1)",
         .low = 1, .high = 100000, .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        train_option_recompute(&values->recompute),
        {"cache-dir", OPTION_STRING, &values->cache, "DIR",
         "keep the shared inputs and the teacher's states in HDF5 files there, not in memory; the "
         "teacher's stay for other runs: delete apriel-tool-*.h5 when none needs them",
         .group = GROUP_MACHINE, .completes = COMPLETE_DIRECTORY, .identity = OPTION_NO_NUMBER},
        run_option_device(&values->device),
        run_option_device_memory(&values->device_memory),
        run_option_dry_run(&values->dry_run),
        run_option_random_weights(&values->random_seed),
    };
    memcpy(table, rows, sizeof rows);
    size_t count = OWN + (size_t)mixer_option_all(table + OWN, &values->mixer);
    return (struct command_line){
        .command = "mmr",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --data FILE.h5 --db FILE.db [options]",
        .about = "Score layers by short distillation probes: a new mixer, initialised from a "
                 "layer's\nattention, takes its place and trains for some steps against the "
                 "unmodified model. The\nlower the held-out reverse KL after training, the easier "
                 "the layer is to replace. The\nsame command continues where it was stopped.",
        .options = table,
        .count = count,
        .epilogue = "example:\n  apriel-tool mmr recipes/demo-model --data tokens.h5 --db "
                    "scores.db",
    };
}

static enum status to_probe(struct probe_settings *probe, const struct mmr_values *values,
                            const char *model) {
    *probe = (struct probe_settings){
        .data = {.batch = (int)values->batch, .heldout = values->heldout},
        .schedule = {.rate = values->lr, .steps = values->steps, .warmup = values->warmup},
        .optimizer = {.beta1 = values->beta1,
                      .beta2 = values->beta2,
                      .epsilon = values->epsilon,
                      .clip = values->clip},
        .loss = {.temperature = values->temperature}};
    enum status status = loss_from_name(&probe->loss.kind, values->loss);
    if (!status) status = train_schedule_from_name(&probe->schedule.kind, values->schedule);
    if (!status) status = probe_parts_from_name(&probe->parts, values->train, values->decay);
    if (status) return status;
    if (values->lr <= 0 || values->temperature <= 0 || values->beta1 < 0 || values->beta1 >= 1 ||
        values->beta2 < 0 || values->beta2 >= 1)
        return status_set(STATUS_USAGE, "mmr: --lr and --temperature must be positive, --beta1 and "
                                        "--beta2 at least 0 and below 1");
    const struct mixer_kind *usual;
    status = mixer_option_usual(&usual, &values->mixer, model, values->base, NULL);
    if (!status) status = mixer_option_resolve(&probe->choices, &values->mixer, 0, usual);
    bool trains = status || probe->parts.count > PROBE_MIXER + 1 || mixer_trains(&probe->choices);
    if (!trains) probe->schedule.steps = 0;
    return status;
}

enum status mmr_options_settings(struct mmr_settings *settings, const struct mmr_values *values,
                                 const char *model, const struct json *identity) {
    if (!values->data || (!values->database && !values->dry_run))
        return status_set(STATUS_USAGE, "mmr: --data and --db are needed");
    if (values->base && !file_is_directory(values->base))
        return status_set(
            STATUS_USAGE,
            "mmr: --base \"%s\" is no directory: convert the plan into a hybrid first",
            values->base);
    *settings = (struct mmr_settings){.model = model,
                                      .hybrid = values->base,
                                      .data = values->data,
                                      .database = values->database,
                                      .device = values->device,
                                      .layers = values->layers,
                                      .library = values->library,
                                      .keep = values->keep,
                                      .seeds = (int)values->seeds,
                                      .seed = (uint64_t)values->seed,
                                      .stable_steps = values->stable,
                                      .group = (int)values->group,
                                      .together = (int)values->together,
                                      .limit_steps = values->limit,
                                      .recompute = values->recompute,
                                      .device_memory = values->device_memory,
                                      .dry_run = values->dry_run,
                                      .cache_directory = values->cache,
                                      .identity = identity};
    settings->checkpoint.random_weights = values->random_seed >= 0;
    settings->checkpoint.seed = (uint64_t)values->random_seed;
    enum status status = to_probe(&settings->probe, values, model);
    if (!status && values->library && settings->probe.choices.data.path)
        status = status_set(STATUS_USAGE, "mmr: --calibrate says nothing about mixers that "
                                          "--library has");
    if (!status && values->keep && values->stable)
        status = status_set(STATUS_USAGE, "mmr: --keep goes without --stop-when-stable");
    if (!status && values->together > 1 && settings->probe.parts.count > PROBE_MIXER + 1)
        status = status_set(STATUS_USAGE,
                            "mmr: --together %lld needs --train mixer: what else "
                            "trains is every probe's own",
                            (long long)values->together);
    return status;
}
