#include "cmd/convert_options.h"

#include <string.h>

#include "cli/run_option.h"

struct command_line convert_options_line(struct option table[CONVERT_OPTIONS],
                                         struct convert_values *values) {
    enum { OWN = CONVERT_OPTIONS - MIXER_OPTIONS };
    *values = (struct convert_values){.device = "auto", .random_weights = -1};
    const struct option rows[OWN] = {
        {"plan", OPTION_STRING, &values->plan, "PLAN.json", "which layers to replace",
         .group = GROUP_FILES, .completes = "*.json", .identity = OPTION_RESOLVED},
        {"stage", OPTION_INTEGER, &values->stage, "K", "stage of the plan, from 1 (the last)",
         .low = 1, .high = 1000, .group = GROUP_FILES, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &values->layers, "LIST",
         "layers to be replaced, instead of a plan; \"none\": only another format",
         .group = GROUP_FILES, .identity = OPTION_RESOLVED},
        {"from", OPTION_STRING, &values->from, "HYBRID",
         "earlier hybrid of MODEL: take every weight from it, initialise new layers only",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"library", OPTION_STRING, &values->library, "DIR",
         "take the new mixers from this library (see align), of the plan's kinds, that of --kind, "
         "or the only one that a layer has there",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"output", OPTION_STRING, &values->output, "DIR", "the new checkpoint; must not exist",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .letter = 'o',
         .identity = OPTION_NO_NUMBER},
        {"format", OPTION_CHOICE, &values->format, NULL,
         "whose code loads it (that of HYBRID, else the first that can hold MODEL)",
         .group = GROUP_FILES, .choices = "granite-hybrid|qwen3.5|native|apriel-h1|apriel2",
         .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &values->seed, "N", "of the random parts of new mixers (0)",
         .high = INT64_MAX, .group = GROUP_MIXERS, .identity = OPTION_RESOLVED},
        {"max-shard-size", OPTION_SIZE, &values->max_shard, "SIZE", "largest file of weights (5G)",
         .group = GROUP_FILES, .identity = OPTION_NO_NUMBER},
        {"random-weights", OPTION_INTEGER, &values->random_weights, "SEED",
         "make MODEL's weights up from its config.json", .high = INT64_MAX, .group = GROUP_FILES,
         .identity = OPTION_RESOLVED},
        {"dry-run", OPTION_FLAG, &values->dry_run, NULL,
         "write nothing; print what each tensor would come from", .group = GROUP_FILES,
         .identity = OPTION_NO_NUMBER},
        run_option_device(&values->device),
    };
    memcpy(table, rows, sizeof rows);
    size_t count = OWN + (size_t)mixer_option_all(table + OWN, &values->mixer);
    return (struct command_line){
        .command = "convert",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --plan PLAN.json [--stage K] -o DIR [options]",
        .about = "Write a hybrid checkpoint: MODEL with new mixers, initialised from the attention "
                 "weights, in\nthe layers of a plan. Weights that stay are copied bit for bit; the "
                 "directory "
                 "appears under its name\nonly when it is complete and has been read back.",
        .options = table,
        .count = count,
        .epilogue =
            "example:\n  apriel-tool convert Llama-3.1-8B --plan plan.json --stage 1 -o hybrid-1",
    };
}

enum status convert_options_settings(struct conversion_settings *out,
                                     const struct convert_values *values, const char *model,
                                     const struct json *identity) {
    *out = (struct conversion_settings){
        .model = model,
        .from = values->from,
        .plan = values->plan,
        .stage = (int)values->stage,
        .layers = values->layers,
        .output = values->output,
        .format = values->format,
        .library = values->library,
        .device = values->device,
        .max_shard_bytes = values->max_shard,
        .checkpoint = {.random_weights = values->random_weights >= 0,
                       .seed = (uint64_t)values->random_weights},
        .identity = identity,
        .asked = values->mixer.words[0],
    };
    const char *detail = mixer_option_detail(&values->mixer);
    if (values->library && detail)
        return status_set(STATUS_USAGE,
                          "convert: --%s says nothing about mixers that --library has", detail);
    const struct mixer_kind *usual;
    enum status status =
        mixer_option_usual(&usual, &values->mixer, model, values->from, values->format);
    if (!status)
        status = mixer_option_resolve(&out->choices, &values->mixer, (uint64_t)values->seed, usual);
    if (values->library && mixer_option_word(&values->mixer, "kind"))
        out->kind = &out->choices.sizes;
    return status;
}
