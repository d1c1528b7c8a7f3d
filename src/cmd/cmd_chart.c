#include "cli/document.h"
#include "cmd/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/options.h"
#include "cli/output_option.h"
#include "cli/run_choice.h"
#include "plan/plan.h"
#include "reports/importance.h"
#include "reports/picture.h"
#include "reports/probes.h"
#include "reports/ranks.h"
#include "reports/throughput.h"
#include "reports/training.h"
#include "scores/store.h"

struct chart_options {
    const char *kind, *database, *output, *metric, *plan;
    struct string_list runs;
    bool force;
};

static enum status print_json(const struct picture *picture) {
    struct json *document = document_begin("chart");
    js_set_string(document, "picture", picture->path);
    js_set_string(document, "data", picture->data_path);
    js_set_string(document, "script", picture->script_path);
    return document_print(document);
}

/* Fill the picture of a kind; `*drawing` names its script. */
static enum status fill(struct picture *picture, const char **drawing, const char *kind,
                        struct store *store, const struct figure_request *request) {
    *drawing = kind;
    if (strcmp(kind, "importance") == 0) return importance_fill(picture, store, request);
    if (strcmp(kind, "ranks") == 0) return ranks_fill(picture, store, request);
    if (strcmp(kind, "throughput") == 0) {
        if (request->run_count > 1 || request->plan || request->metric)
            return status_set(STATUS_USAGE, "chart: throughput is of one series (--run), without "
                                            "--plan and --metric");
        return throughput_fill(picture, store, request->run_count ? request->runs[0].run : 0);
    }
    if (strcmp(kind, "training") == 0) return training_fill(picture, store, request);
    if (strcmp(kind, "probes") == 0) return probes_fill(picture, drawing, store, request);
    return status_set(STATUS_USAGE,
                      "chart: --kind is importance, ranks, probes, throughput or training, not "
                      "\"%s\"",
                      kind);
}

static enum status draw(const struct chart_options *options, bool json) {
    struct figure_request request = {.metric = options->metric};
    const char *drawing;
    struct picture picture = {0};
    struct plan plan = {0};
    struct store *store = NULL;
    struct run_choices runs = {0};
    enum status status = picture_begin(&picture, options->output);
    if (status) goto done;
    picture.existing = output_option_existing(options->force);
    const char *inputs[] = {options->plan, options->database};
    if ((status = picture_check(&picture, inputs, 2))) goto done;
    for (size_t i = 0; i < options->runs.count; i++)
        if ((status = run_choices_add(&runs, options->runs.values[i], "chart: --run"))) goto done;
    if (options->plan) {
        if ((status = plan_read(&plan, options->plan))) goto done;
        request.plan = &plan;
    }
    if ((status = store_open(&store, options->database, STORE_READ))) goto done;
    /* The last series of bench has its own way of being found. */
    if (strcmp(options->kind, "throughput") != 0) status = run_choices_resolve(&runs, store);
    if (status) goto done;
    request.runs = runs.items;
    request.run_count = runs.count;
    if ((status = fill(&picture, &drawing, options->kind, store, &request))) goto done;
    if ((status = picture_draw(&picture, drawing))) goto done;
    if (json)
        status = print_json(&picture);
    else
        quote_print(stdout, "wrote %s (data: %s, script: %s)", picture.path, picture.data_path,
                    picture.script_path);
done:
    store_close(store);
    plan_free(&plan);
    picture_free(&picture);
    run_choices_free(&runs);
    return status;
}

enum status cmd_chart(int argc, char **argv) {
    struct chart_options chart = {.kind = "importance"};
    struct option options[] = {
        {"db", OPTION_STRING, &chart.database, "FILE.db", "the score database",
         .group = GROUP_FILES, .completes = "*.db"},
        {"output", OPTION_STRING, &chart.output, "FILE",
         "the picture: FILE.svg, FILE.png or FILE.pdf", .group = GROUP_FILES, .completes = "*.svg",
         .letter = 'o'},
        FORCE_OPTION(&chart.force),
        {"kind", OPTION_CHOICE, &chart.kind, NULL,
         "the importance of layers, their ranks by several runs, the losses of mmr's probes or "
         "align's mixers, the speed that bench measured, or the curves of distill (importance)",
         .group = GROUP_SHOW, .choices = "importance|ranks|probes|throughput|training"},
        {"run", OPTION_LIST, &chart.runs, "N[:METRIC]|last",
         "a run to show, also 1,3-5; may be repeated (default: all finished); a series of bench",
         .group = GROUP_SHOW},
        {"metric", OPTION_STRING, &chart.metric, "NAME",
         "ce, kl, rkl, top1 … (default: what the runs are ranked by)", .group = GROUP_SHOW},
        {"plan", OPTION_STRING, &chart.plan, "FILE",
         "mark the order of replacement and the stages of this plan.json", .group = GROUP_SHOW,
         .completes = "*.json"},
    };
    struct command_line line = {
        .command = "chart",
        .usage = "--db FILE.db -o FILE.svg|png|pdf [options]",
        .about =
            "Draw the scores of a model's layers: the importance of each, with error bars, for one "
            "or\n"
            "more runs; the ranks that several runs give; or the losses of mmr's probes or "
            "align's\nmixers. gnuplot "
            "draws; FILE.dat and the script FILE.gp stay beside the picture. Without gnuplot "
            "these\n"
            "two are written, the message says how to draw them, and the exit status is 1.",
        .options = options,
        .count = sizeof options / sizeof *options,
        .epilogue =
            "example:\n  apriel-tool chart --db scores.db --run 1,2 --plan plan.json -o layers.svg",
    };
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (status || arguments.help) goto done;
    if (arguments.positional.count)
        status = status_set(STATUS_USAGE, "chart: unexpected argument \"%s\"",
                            arguments.positional.values[0]);
    else if (!chart.database || !chart.output)
        status = status_set(STATUS_USAGE, "chart: needs %s (see apriel-tool chart --help)",
                            chart.database ? "-o FILE.svg" : "--db FILE.db");
    else
        status = draw(&chart, arguments.json);
done:
    options_free(&arguments, &line);
    return status;
}
