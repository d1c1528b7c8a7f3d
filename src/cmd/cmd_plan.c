/* apriel-tool plan: from scores to an order of replacement. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "checkpoint/shape.h"
#include "cli/next.h"
#include "cli/output_option.h"
#include "cmd/commands.h"
#include "cmd/plan_command.h"
#include "cmd/plan_schedule.h"
#include "cmd/plan_serving.h"
#include "cmd/plan_summary.h"
#include "model/formats.h"
#include "plan/build.h"
#include "plan/export.h"
#include "plan/plan.h"
#include "scores/kinds.h"
#include "scores/ranking.h"
#include "scores/store.h"

/* ---- which runs */

/* "NAME[@FROM]" taken apart; `name` holds NAME. */
static enum status split_from(char *name, size_t size, int *from, const char *text,
                              const char *option) {
    size_t length = strcspn(text, "@");
    const char *number = text + length;
    *from = 0;
    bool good = length && length < size;
    if (good && *number) {
        size_t digits = strspn(++number, "0123456789");
        good = digits && digits < 7 && !number[digits];
        if (good) *from = atoi(number);
    }
    if (!good)
        return status_set(STATUS_USAGE, "plan: %s: \"%s\" is not like %s", option, text,
                          strcmp(option, "--run") == 0 ? "1, last or 2@25" : "loo or mmr@25");
    memcpy(name, text, length);
    name[length] = '\0';
    return STATUS_OK;
}

static enum status append_choice(struct plan_choices *choices, int64_t run, int from) {
    struct plan_choice *more = memory_resize(choices->runs, choices->count + 1, sizeof *more);
    if (!more) return STATUS_FAILED;
    choices->runs = more;
    choices->runs[choices->count++] = (struct plan_choice){.run = run, .from = from};
    return STATUS_OK;
}

static enum status add_run(struct plan_choices *choices, const struct store_run_list *list,
                           const char *text) {
    char name[20];
    int from;
    enum status status = split_from(name, sizeof name, &from, text, "--run");
    if (status) return status;
    if (strcmp(name, "last") == 0 && list->count)
        return append_choice(choices, list->runs[list->count - 1].id, from);
    if (name[strspn(name, "0123456789")] || strlen(name) > 18)
        return status_set(STATUS_USAGE, "plan: --run: \"%s\" is not like 1, last or 2@25", text);
    return append_choice(choices, atoll(name), from);
}

/* The latest run of a kind that counts; "" stands for any kind. */
static enum status find_signal(int64_t *out, const struct store_run_list *list, const char *kind,
                               bool unfinished, const char *db) {
    const struct store_run *found = NULL;
    int candidates = 0, others = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct store_run *run = &list->runs[i];
        if (*kind ? strcmp(run->kind, kind) != 0 : !ranking_default_metric(run->kind)) continue;
        if (!unfinished && strcmp(run->status, STORE_STATUS_DONE) != 0) {
            others++;
            continue;
        }
        if (found && run->model != found->model)
            return status_fail("\"%s\" has runs of different models (%lld and %lld); choose with "
                               "--run",
                               db, (long long)found->id, (long long)run->id);
        if (!*kind && found)
            return status_set(STATUS_USAGE,
                              "plan: \"%s\" has several runs; choose with --run or "
                              "--signal (apriel-tool scores --db lists them)",
                              db);
        found = run;
        candidates++;
    }
    if (!found)
        return status_fail("\"%s\" has no finished %s%srun%s", db, kind, *kind ? " " : "",
                           others ? "; --unfinished takes one as it is" : "");
    if (candidates > 1)
        log_note("run %lld is the latest of %d %s runs", (long long)found->id, candidates, kind);
    *out = found->id;
    return STATUS_OK;
}

static enum status add_signal(struct plan_choices *choices, const struct store_run_list *list,
                              const struct plan_command *command, const char *text) {
    char kind[64] = "";
    int from = 0;
    int64_t run = 0;
    enum status status = STATUS_OK;
    if (*text) status = split_from(kind, sizeof kind, &from, text, "--signal");
    if (!status) status = find_signal(&run, list, kind, command->unfinished, command->db);
    return status ? status : append_choice(choices, run, from);
}

/* Hands out "kl,rkl" in the order of the runs. Cuts `text`, which the choices then point into. */
static enum status set_metrics(struct plan_choices *choices, char *text) {
    size_t count = 0;
    char *name = text;
    for (; name; count++) {
        char *next = strchr(name, ',');
        if (next) *next++ = '\0';
        if (count < choices->count) choices->runs[count].metric = name;
        name = next;
    }
    for (size_t i = count; count == 1 && i < choices->count; i++) choices->runs[i].metric = text;
    if (count != 1 && count != choices->count)
        return status_set(STATUS_USAGE, "plan: %zu metrics for %zu runs; give one, or one a run",
                          count, choices->count);
    return STATUS_OK;
}

static enum status choose(struct plan_choices *choices, struct store *store,
                          const struct plan_command *command) {
    struct store_run_list list;
    enum status status = store_list_runs(&list, store);
    for (size_t i = 0; !status && i < command->runs.count; i++)
        status = add_run(choices, &list, command->runs.values[i]);
    for (size_t i = 0; !status && i < command->signals.count; i++)
        status = add_signal(choices, &list, command, command->signals.values[i]);
    if (!status && !choices->count) status = add_signal(choices, &list, command, "");
    store_run_list_free(&list);
    choices->keep = command->keep;
    choices->stages = command->stages;
    choices->unfinished = command->unfinished;
    choices->kind = command->mixer.words[0];
    return status;
}

static enum status plan_from_scores(struct plan *out, int64_t *model,
                                    const struct plan_command *command) {
    struct store *store = NULL;
    struct plan_choices choices = {0};
    char *metrics = NULL;
    enum status status = store_open(&store, command->db, STORE_READ);
    if (!status) status = choose(&choices, store, command);
    if (!status && command->metric) {
        metrics = memory_copy_string(command->metric);
        status = metrics ? set_metrics(&choices, metrics) : STATUS_FAILED;
    }
    if (!status) status = plan_from_store(out, model, store, &choices);
    free(metrics);
    free(choices.runs);
    store_close(store);
    return status;
}

/* ---- what is printed and written */

/* After a plan that is kept, conversion; else the same command with -o. */
static void print_next(const struct plan *plan, const struct plan_command *command) {
    struct text line;
    const char *path = command->output ? command->output : command->plan;
    if (path) {
        next_begin(&line, "convert");
        next_path(&line, NULL, plan->model);
        next_path(&line, "--plan", path);
        if (plan->n_stages > 1) next_words(&line, "--stage 1");
        next_words(&line, "-o hybrid");
    } else {
        next_begin(&line, "plan");
        next_path(&line, "--db", command->db);
        next_words(&line, "… -o plan.json   (the same, kept)");
    }
    next_print(&line, false);
}

/* The first thing in which a model is not that of the plan, as far as the plan says; NULL: none. A
 * hybrid without attention need not say what heads it had. */
static const char *find_other(const struct plan *plan, const struct model_config *config) {
    const struct {
        const char *key;
        double value;
        bool of_attention;
    } rows[] = {{"num_hidden_layers", config->n_layers, false},
                {"hidden_size", config->hidden_size, false},
                {"vocab_size", config->vocab_size, false},
                {"intermediate_size", config->intermediate_size, false},
                {"rms_norm_eps", config->rms_norm_eps, false},
                {"num_attention_heads", config->n_heads, true},
                {"num_key_value_heads", config->n_kv_heads, true},
                {"head_dim", config->head_dim, true},
                {"rope_theta", config->rope.theta, true}};
    bool attention = config_attention_layers(config) > 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct json *known = js_member(plan->shape, rows[i].key);
        if (!js_is_number(known) || (rows[i].of_attention && !attention)) continue;
        if (js_number_or(known, 0) != rows[i].value) return rows[i].key;
    }
    return NULL;
}

/* The configuration of --model, which the plan must be about. */
static enum status read_model(struct model_config **out, const struct plan *plan,
                              const char *directory) {
    struct model_config *config = NULL;
    enum status status = checkpoint_read_config(&config, directory);
    if (status) return status;
    const char *other = find_other(plan, config);
    if (other) {
        config_free(config);
        return status_fail(
            "\"%s\" is not the model of the plan, nor a hybrid of it: they differ in "
            "%s",
            directory, other);
    }
    *out = config;
    return STATUS_OK;
}

static struct serving_device device_of(const struct plan_command *command) {
    struct serving_device device = serving_defaults();
    if (command->memory != PLAN_NO_SIZE) device.memory = command->memory;
    if (command->bandwidth != PLAN_NO_SIZE) device.speed.bandwidth = (double)command->bandwidth;
    return device;
}

/* The text that is asked for, then what is shown beside it. */
static enum status show(const struct plan *plan, const struct plan_command *command,
                        const struct plan_mixers *mixers, bool json) {
    enum plan_format format = PLAN_FORMAT_PLAN;
    const struct serving_device device = device_of(command);
    const char *source = command->plan ? command->plan : "plan";
    char *text = NULL;
    enum status status = STATUS_OK;
    if (command->format) status = plan_format_from_name(&format, command->format);
    if (!status) status = plan_export(&text, plan, (int)command->stage, format, mixers, source);
    if (!status && command->output) {
        status = output_write(command->output, text, strlen(text),
                              output_option_existing(command->force));
        output_option_report(command->output);
    }
    if (!status && json) {
        char *document = plan_format_text(plan);
        status = document ? STATUS_OK : STATUS_FAILED;
        if (document) fputs(document, stdout);
        free(document);
    } else if (!status && command->format && !command->output) {
        fputs(text, stdout);
    } else if (!status) {
        status = plan_summary_print(plan);
        if (!status) status = plan_serving_print(plan, mixers, &device);
        if (!status && command->output) quote_print(stdout, "written to %s", command->output);
    }
    free(text);
    return status;
}

/* Where neither plan nor options say what layers are replaced by: what convert would take, and for
 * the formats of trainers the kind that they know. */
static enum status find_usual_kind(const struct mixer_kind **out, const struct plan *plan,
                                   const struct plan_command *command) {
    static const char *const own[] = {"plan", "csv"};
    struct model_config *config = NULL;
    bool complete, trainer = command->format != NULL;
    *out = NULL;
    for (size_t i = 0; trainer && i < sizeof own / sizeof *own; i++)
        trainer = strcmp(command->format, own[i]) != 0;
    if (trainer) return STATUS_OK;
    enum status status = shape_read(&config, &complete, plan->shape, "plan");
    if (status) return status;
    *out = format_usual_kind(config, FORMAT_COUNT);
    config_free(config);
    return STATUS_OK;
}

static enum status deliver(const struct plan *plan, const struct plan_command *command, bool json) {
    struct plan_mixers mixers = {.model_name = command->model};
    struct model_config *config = NULL;
    const struct plan_stage *stage;
    const struct mixer_kind *usual;
    enum status status = find_usual_kind(&usual, plan, command);
    if (!status) status = mixer_option_resolve(&mixers.choices, &command->mixer, 0, usual);
    if (!status && command->plan) {
        status = plan_find_stage(&stage, plan, (int)command->stage, command->plan);
        if (!status) status = plan_check_kind(plan, stage, command->mixer.words[0], command->plan);
    }
    if (!status && command->model) status = read_model(&config, plan, command->model);
    mixers.model = config;
    if (!status) status = show(plan, command, &mixers, json);
    config_free(config);
    return status;
}

static enum status run_plan(const struct plan_command *command,
                            const struct command_arguments *arguments) {
    bool json = arguments->json;
    struct plan plan = {0};
    int64_t model = 0;
    const char *inputs[] = {command->plan, command->model};
    enum status status =
        command->output ? output_check_inputs(command->output, inputs, 2) : STATUS_OK;
    if (!status)
        status = command->plan ? plan_read(&plan, command->plan)
                               : plan_from_scores(&plan, &model, command);
    if (!status && js_count(arguments->identity)) {
        js_free(plan.options);
        plan.options = js_copy(arguments->identity);
        if (!plan.options) status = STATUS_FAILED;
    }
    if (!status) status = deliver(&plan, command, json);
    if (!status && command->output && !command->plan) plan_record(&plan, model, command->db);
    if (!status && (!command->format || strcmp(command->format, "plan") == 0))
        print_next(&plan, command);
    plan_free(&plan);
    return status;
}

enum { OWN_OPTIONS = 24 };

enum status cmd_plan(int argc, char **argv) {
    struct plan_command command = {.memory = PLAN_NO_SIZE, .bandwidth = PLAN_NO_SIZE};
    struct option options[OWN_OPTIONS + MIXER_OPTIONS] = {
        {"db", OPTION_STRING, &command.db, "FILE.db", "the score database", .group = GROUP_FILES,
         .completes = "*.db", .identity = OPTION_RESOLVED},
        {"run", OPTION_LIST, &command.runs, "N[@K]|last",
         "rank by run N; with @K from K replaced layers on (may be repeated)",
         .group = GROUP_CHOICE, .identity = OPTION_RESOLVED},
        {"signal", OPTION_LIST, &command.signals, "KIND[@K]",
         "the same by kind, loo, mmr, estimate-fisher …: its latest finished run",
         .group = GROUP_CHOICE, .choices = RUN_SIGNALS, .identity = OPTION_RESOLVED},
        {"metric", OPTION_STRING, &command.metric, "NAME",
         "rank by this metric (default: kl for loo, heldout_rkl_after for mmr); one a run: A,B",
         .group = GROUP_CHOICE, .identity = OPTION_RESOLVED},
        {"stages", OPTION_STRING, &command.stages, "LIST",
         "layers replaced after each stage, as in 25,27,30 (default: half of the layers)",
         .group = GROUP_CHOICE, .identity = OPTION_RESOLVED},
        {"keep", OPTION_STRING, &command.keep, "LIST",
         "layers that are never replaced, as in first,last,3-5", .group = GROUP_CHOICE,
         .choices = "first|last", .identity = OPTION_RESOLVED},
        {"unfinished", OPTION_FLAG, &command.unfinished, NULL,
         "take unfinished runs with the rows they have", .group = GROUP_CHOICE},
        {"output", OPTION_STRING, &command.output, "FILE",
         "write the plan (or --format) to this file", .group = GROUP_FILES, .completes = "*.json",
         .letter = 'o', .identity = OPTION_NO_NUMBER},
        FORCE_OPTION(&command.force),
        {"format", OPTION_CHOICE, &command.format, NULL,
         "the plan itself, what trainers take of one stage, or a table (plan)",
         .group = GROUP_FILES, .choices = "plan|hf|fast-llm|surgery|csv",
         .identity = OPTION_RESOLVED},
        {"stage", OPTION_INTEGER, &command.stage, "K",
         "the stage that hf, fast-llm and surgery show (default: the last)", .low = 1,
         .high = PLAN_MAX_LAYERS, .group = GROUP_FILES, .identity = OPTION_RESOLVED},
        {"plan", OPTION_STRING, &command.plan, "FILE", "read this plan instead of making one",
         .group = GROUP_FILES, .completes = "*.json", .identity = OPTION_RESOLVED},
        {"memory", OPTION_SIZE, &command.memory, "SIZE",
         "of the device that serving is estimated for (80G)", .group = GROUP_SERVING,
         .identity = OPTION_NO_NUMBER},
        {"bandwidth", OPTION_SIZE, &command.bandwidth, "BYTES",
         "that it moves a second, like 3T (3e12)", .group = GROUP_SERVING,
         .identity = OPTION_NO_NUMBER},
        {"schedule", OPTION_STRING, &command.schedule.counts, "LIST",
         "print the commands of Apriel-H1's schedule, as in 25,27,30,34,37,40 (see below)",
         .group = GROUP_SCHEDULE, .identity = OPTION_RESOLVED},
        {"auto", OPTION_FLAG, &command.schedule.automatic, NULL,
         "run the commands of --schedule; the same command continues", .group = GROUP_SCHEDULE,
         .identity = OPTION_RESOLVED},
        {"model", OPTION_STRING, &command.model, "MODEL",
         "the transformer of --schedule; or the model, or a hybrid of it, that fast-llm, surgery "
         "and the estimate describe (as the plan has it)",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"data", OPTION_STRING, &command.schedule.data, "FILE.h5", "its token set",
         .group = GROUP_SCHEDULE, .completes = "*.h5", .identity = OPTION_RESOLVED},
        {"work", OPTION_STRING, &command.schedule.work, "DIR", "where its plans and hybrids go",
         .group = GROUP_SCHEDULE, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"group", OPTION_COUNT, &command.schedule.group, "K",
         "layers that one mmr run of it decides at most (5)", .low = 1, .high = PLAN_MAX_LAYERS,
         .group = GROUP_SCHEDULE, .identity = OPTION_RESOLVED},
        {"device", OPTION_STRING, &command.schedule.device, "auto|cpu|cuda[:N]",
         "where its runs compute", .group = GROUP_SCHEDULE, .choices = "auto|cpu|cuda",
         .identity = OPTION_RESOLVED},
        {"loo-options", OPTION_STRING, &command.schedule.loo, "\"OPTIONS\"",
         "more options of its loo command", .group = GROUP_SCHEDULE, .identity = OPTION_RESOLVED},
        {"mmr-options", OPTION_STRING, &command.schedule.mmr, "\"OPTIONS\"",
         "more options of its mmr commands", .group = GROUP_SCHEDULE, .identity = OPTION_RESOLVED},
        {"convert-options", OPTION_STRING, &command.schedule.convert, "\"OPTIONS\"",
         "more options of its convert commands", .group = GROUP_SCHEDULE,
         .identity = OPTION_RESOLVED},
    };
    struct command_line line = {
        .command = "plan",
        .usage = "--db FILE.db [--run N[@K]] [--stages LIST] [-o plan.json] [options]\n"
                 "--schedule LIST --model MODEL --data FILE.h5 --db FILE.db --work DIR [--auto] "
                 "[options]",
        .about = "Order the layers by their scores, least important first, and cut the order into "
                 "stages. Without -o the plan is only shown.\n\n"
                 "--schedule goes the way of Apriel-H1: the first stage by leave-one-out, then, up "
                 "to each further stage, mmr on top of the hybrid that exists so far, a plan of at "
                 "most --group layers more, and their conversion. It prints these commands as a "
                 "shell script, or runs them with --auto, without distillation in between; "
                 "DIR/hybrid-N-distilled, when it is there, is taken in the place of DIR/hybrid-N. "
                 "What DIR has is not made again; what it has of another schedule is an error.",
        .options = options,
        .epilogue = "examples:\n"
                    "  apriel-tool plan --db scores.db --signal loo --stages 25 -o plan.json\n"
                    "  apriel-tool plan --db scores.db --run 1 --run 2@25 --stages 25,27,30 \\\n"
                    "      -o plan.json\n"
                    "  apriel-tool plan --plan plan.json --format fast-llm --stage 1\n"
                    "  apriel-tool plan --schedule 25,27,30 --model MODEL --data tokens.h5 \\\n"
                    "      --db scores.db --work steps",
    };
    struct command_arguments arguments;
    line.count = OWN_OPTIONS + (size_t)mixer_option_all(options + OWN_OPTIONS, &command.mixer);
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) {
        status = plan_check_command(&command, &arguments);
        if (!status && command.schedule.counts)
            status = plan_schedule(&command, &arguments);
        else if (!status)
            status = run_plan(&command, &arguments);
    }
    options_free(&arguments, &line);
    return status;
}
