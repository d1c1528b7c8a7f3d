#include "cmd/loo_options.h"

#include <string.h>

#include "cli/base_option.h"
#include "cli/run_file.h"
#include "cli/run_option.h"

struct command_line loo_options_line(struct option table[LOO_OPTIONS], struct loo_values *values) {
    enum { OWN = LOO_OPTIONS - TASK_OPTIONS };
    *values = (struct loo_values){.device = "auto",
                                  .ablate = "mixer",
                                  .samples = 1,
                                  .random_seed = -1,
                                  .task_values = TASK_DEFAULTS};
    const struct option rows[OWN] = {
        run_option_data(&values->data),
        {"task", OPTION_STRING, &values->task, "NAME=FILE|recall",
         "instead of --data: how much of a task's score each layer carries (see eval)",
         .group = GROUP_FILES, .choices = TASK_CHOICES, .completes = "*.jsonl",
         .identity = OPTION_RESOLVED},
        run_option_database(&values->database),
        RUN_FILE_OPTION(&values->run_file),
        {"ablate", OPTION_CHOICE, &values->ablate, NULL, "what a layer goes without (mixer)",
         .group = GROUP_SCOPE, .choices = "mixer|block", .identity = OPTION_RESOLVED},
        {"estimate", OPTION_CHOICE, &values->estimate, NULL,
         "estimate all layers from one pass instead of ablating each (see below)",
         .group = GROUP_SCOPE, .choices = "first-order|fisher|cosine", .identity = OPTION_RESOLVED},
        {"samples", OPTION_COUNT, &values->samples, "N",
         "of --estimate fisher: backward passes, whose mean is taken (1)", .low = 1, .high = 10000,
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &values->task_values.seed, "SEED",
         "of --estimate fisher's draws, or of --task recall's words (0)", .high = INT64_MAX,
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &values->layers, "LIST",
         "layers to score, like 0-11,13 (all with attention)", .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"base", OPTION_STRING, &values->base, "PLAN[:STAGE]|HYBRID",
         "score on top of a plan (its layers go without their mixer) or of a hybrid checkpoint",
         .group = GROUP_SCOPE, .completes = "*.json", .identity = OPTION_RESOLVED},
        {"library", OPTION_STRING, &values->library, "DIR",
         "put the mixers of this library (see align) in the attention's place instead of nothing",
         .group = GROUP_SCOPE, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"kind", OPTION_STRING, &values->kind, "KIND",
         "of the library's mixers (the only one that a layer has)", .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        run_option_device(&values->device),
        {"group-tokens", OPTION_COUNT, &values->group_tokens, "N",
         "tokens computed and saved at a time (4096, on a GPU 16384, less when memory is short)",
         .low = 1, .high = INT32_MAX, .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        run_option_device_memory(&values->device_memory),
        run_option_dry_run(&values->dry_run),
        run_option_random_weights(&values->random_seed),
    };
    memcpy(table, rows, sizeof rows);
    task_option_table(table + OWN, &values->task_values);
    return (struct command_line){
        .command = "loo",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --data FILE.h5|--task NAME=FILE --db FILE.db [options]",
        .about = "Score layers by leave-one-out ablation: how far the model's predictions move "
                 "when a\nlayer's attention (or the whole layer) is taken away. Scores and "
                 "per-sequence values go\nto the database group by group; the same command "
                 "continues where it was stopped.",
        .options = table,
        .count = LOO_OPTIONS,
        .epilogue =
            "--estimate is stored as a run of its own kind, estimate-NAME, with metrics est_*\n"
            "  first-order  gradient of the cross-entropy times what the layer adds to the\n"
            "               stream: est_ce_abs per sequence without its sign,\n"
            "               est_ce_change with it\n"
            "  fisher       est_kl, the second-order term of the kl, from targets that the\n"
            "               model draws itself (the kl has no first-order term)\n"
            "  cosine       est_cosine, 1 - cos(stream before, stream after): block\n"
            "               influence\n\n"
            "examples:\n  apriel-tool loo recipes/demo-model --data tokens.h5 --db scores.db\n"
            "  apriel-tool loo recipes/demo-model --data tokens.h5 --db scores.db \\\n"
            "      --estimate fisher --samples 4\n"
            "  apriel-tool loo recipes/demo-model --task recall --lengths 32 --db scores.db",
    };
}

enum status loo_options_settings(struct loo_settings *settings, const struct loo_values *values,
                                 const char *model, const struct json *identity) {
    if (values->task && (values->data || values->estimate))
        return status_set(STATUS_USAGE, "loo: --task goes without %s",
                          values->data ? "--data" : "--estimate");
    if ((!values->data && !values->task) || (!values->database && !values->dry_run))
        return status_set(STATUS_USAGE, "loo: --data (or --task) and --db are needed");
    *settings = (struct loo_settings){.model = model,
                                      .data = values->data,
                                      .database = values->database,
                                      .device = values->device,
                                      .layers = values->layers,
                                      .library = values->library,
                                      .library_kind = values->kind,
                                      .group_tokens = values->group_tokens,
                                      .samples = (int)values->samples,
                                      .seed = (uint64_t)values->task_values.seed,
                                      .device_memory = values->device_memory,
                                      .dry_run = values->dry_run,
                                      .identity = identity};
    settings->checkpoint.random_weights = values->random_seed >= 0;
    settings->checkpoint.seed = (uint64_t)values->random_seed;
    if (strcmp(values->ablate, "block") == 0) settings->ablation = ABLATE_BLOCK;
    if (values->estimate) {
        enum status status = estimate_from_name(&settings->estimate, values->estimate);
        if (status) return status;
    }
    if (values->kind && !values->library)
        return status_set(STATUS_USAGE, "loo: --kind says which mixers of --library to take");
    if (values->library && (values->estimate || settings->ablation == ABLATE_BLOCK))
        return status_set(STATUS_USAGE, "loo: --library goes without %s",
                          values->estimate ? "--estimate" : "--ablate block");
    bool seed = values->task_values.seed != 0 && !values->task;
    if (settings->estimate != ESTIMATE_FISHER && (values->samples != 1 || seed))
        return status_set(STATUS_USAGE, "loo: --samples and --seed belong to --estimate fisher%s",
                          seed ? " or --task recall" : "");
    if (!values->base) return STATUS_OK;
    return base_option_resolve(&settings->hybrid, &settings->removed, values->base, settings->model,
                               &settings->checkpoint);
}
