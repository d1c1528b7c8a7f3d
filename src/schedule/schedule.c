#include "schedule/schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/text.h"
#include "plan/build.h"
#include "schedule/check.h"
#include "scores/kinds.h"

/* ---- paths */

char *schedule_plan_path(const struct schedule *schedule, int count) {
    return text_format("%s/plan-%d.json", schedule->settings.work, count);
}

char *schedule_hybrid_path(const struct schedule *schedule, int count) {
    return text_format("%s/hybrid-%d", schedule->settings.work, count);
}

char *schedule_base_path(const struct schedule *schedule, int count) {
    char *distilled = text_format("%s/hybrid-%d-distilled", schedule->settings.work, count);
    if (distilled && file_is_directory(distilled)) return distilled;
    free(distilled);
    return schedule_hybrid_path(schedule, count);
}

char *schedule_plan_all_path(const struct schedule *schedule) {
    return text_format("%s/plan.json", schedule->settings.work);
}

/* ---- before the work */

/* Cut the stages after the first into steps of `group` layers. */
static enum status make_steps(struct schedule *schedule) {
    struct int_list counts;
    enum status status = plan_parse_stages(&counts, schedule->settings.counts, "--schedule");
    if (status) return status;
    int group = (int)schedule->settings.group, last = counts.values[counts.count - 1];
    schedule->steps = memory_calloc((size_t)last, sizeof *schedule->steps);
    if (!schedule->steps) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < counts.count; i++) {
        int before = i ? counts.values[i - 1] : 0, end = counts.values[i];
        while (before < end) {
            int after = i == 0 || end - before <= group ? end : before + group;
            schedule->steps[schedule->count++] = (struct schedule_step){
                .before = before, .after = after, .ends_stage = after == end};
            before = after;
        }
    }
    list_free(&counts);
    return status;
}

const char *schedule_kind(char out[MIXER_TEXT_SIZE], const struct schedule *schedule) {
    if (!schedule->settings.kind_asked) return NULL;
    return mixer_text(out, &schedule->settings.convert.choices.sizes);
}

/* The layers that are replaced already, and the first that is not. */
static enum status list_one_more(struct int_list *out, const struct model_config *config) {
    bool more = false;
    out->values = memory_calloc((size_t)config->n_layers, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    for (int i = 0; i < config->n_layers; i++) {
        bool attention = config_is_attention(config, i);
        if (!attention || !more) out->values[out->count++] = i;
        more = more || attention;
    }
    return STATUS_OK;
}

/* Before the first run: a format must be able to hold the hybrids, the one that is asked for, or
 * any. */
static enum status check_format(struct schedule *schedule, const struct model_config *config) {
    const struct conversion_settings *convert = &schedule->settings.convert;
    struct int_list layers = {0};
    struct hybrid hybrid = {0};
    enum status status = list_one_more(&layers, config);
    if (!status)
        status = hybrid_make(&hybrid, config, &layers, &convert->choices, NULL, convert->model);
    enum hybrid_format format = status ? FORMAT_COUNT : format_for(hybrid.config);
    bool none = format == FORMAT_COUNT;
    if (none) format = FORMAT_APRIEL2;
    const char *other = none ? NULL : format_name(format);
    if (!status && convert->format) status = format_from_name(&format, convert->format);
    const char *lacks = status ? NULL : format_lacks(format, hybrid.config);
    if (lacks && other)
        status = status_fail("\"%s\" has %s, which %s cannot express; use --convert-options "
                             "\"--format %s\"",
                             convert->model, lacks, format_name(format), other);
    else if (lacks)
        status = status_fail("\"%s\" has %s, which %s cannot express; no format does yet",
                             convert->model, lacks, format_name(format));
    hybrid_free(&hybrid);
    list_free(&layers);
    return status;
}

/* The stages must lie between what the model has replaced already and what may be replaced. */
static enum status check_stages(const struct schedule *schedule,
                                const struct model_config *config) {
    const char *model = schedule->settings.convert.model, *keep_text = schedule->settings.keep;
    struct int_list keep = {0};
    int first = schedule->steps[0].after, last = schedule->steps[schedule->count - 1].after;
    int replaced = config->n_layers - config_attention_layers(config);
    enum status status = STATUS_OK;
    if (keep_text) status = list_parse(&keep, keep_text, 0, config->n_layers - 1, "--keep");
    if (!status && last > config->n_layers - (int)keep.count)
        status = status_set(STATUS_USAGE,
                            "--schedule: a stage of %d layers: \"%s\" has %d, %zu of them kept",
                            last, model, config->n_layers, keep.count);
    if (!status && first <= replaced)
        status = status_set(STATUS_USAGE,
                            "--schedule: a stage of %d layers: \"%s\" has %d replaced already",
                            first, model, replaced);
    list_free(&keep);
    return status;
}

static enum status check_model(struct schedule *schedule) {
    struct model_config *config = NULL;
    enum status status = checkpoint_read_config(&config, schedule->settings.convert.model);
    if (status) return status;
    status = check_format(schedule, config);
    if (!status) status = check_stages(schedule, config);
    config_free(config);
    return status;
}

/* Nothing stands behind a plan that is not there, which other steps made. */
static enum status check_order(const struct schedule *schedule) {
    enum status status = STATUS_OK;
    int missing = 0;
    for (size_t i = 0; !status && i < schedule->count; i++) {
        int after = schedule->steps[i].after;
        char *plan = schedule_plan_path(schedule, after);
        char *hybrid = schedule_hybrid_path(schedule, after);
        if (!plan || !hybrid) {
            status = STATUS_FAILED;
        } else {
            bool planned = file_exists(plan), converted = file_is_directory(hybrid);
            if (!planned && !missing) missing = after;
            if (missing && (planned || converted))
                status = status_fail("\"%s\" is there without plan-%d.json: use another --work "
                                     "directory",
                                     planned ? plan : hybrid, missing);
        }
        free(plan);
        free(hybrid);
    }
    return status;
}

enum status schedule_open(struct schedule *out, const struct schedule_settings *settings) {
    *out = (struct schedule){.settings = *settings};
    enum status status = make_steps(out);
    if (!status) status = check_model(out);
    return status ? status : check_order(out);
}

void schedule_close(struct schedule *schedule) {
    free(schedule->steps);
    *schedule = (struct schedule){0};
}

enum status schedule_make_directory(const struct schedule *schedule) {
    const char *path = schedule->settings.work;
    if (file_is_directory(path) && access(path, W_OK | X_OK) != 0)
        return status_fail("cannot write into \"%s\": %s", path, strerror(errno));
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && file_is_directory(path))) return STATUS_OK;
    return status_fail("cannot make the directory \"%s\": %s", path, strerror(errno));
}

/* ---- the run of a step */

/* The base of a step's run, or NULL for the first. The caller frees. */
static enum status base_of(char **out, const struct schedule *schedule,
                           const struct schedule_step *step) {
    *out = step->before ? schedule_base_path(schedule, step->before) : NULL;
    return step->before && !*out ? STATUS_FAILED : STATUS_OK;
}

/* How the step asks otherwise than a stored run, in words; NULL: it does not. The caller frees. */
static enum status compare_run(char **differs, const struct schedule *schedule,
                               const struct schedule_step *step, int64_t run) {
    struct schedule_outcome outcome = {0};
    char *base;
    enum status status = base_of(&base, schedule, step);
    if (!status && !step->before) {
        struct loo_settings loo = schedule->settings.loo;
        loo.compare = run;
        status = loo_run(&outcome.loo, &loo);
        *differs = outcome.loo.differs;
    } else if (!status) {
        struct mmr_settings mmr = schedule->settings.mmr;
        mmr.hybrid = base;
        mmr.compare = run;
        status = mmr_run(&outcome.mmr, &mmr);
        *differs = outcome.mmr.differs;
    }
    free(base);
    return status;
}

enum status schedule_score(struct schedule_outcome *out, struct schedule *schedule, size_t index) {
    struct schedule_step *step = &schedule->steps[index];
    char *base;
    *out = (struct schedule_outcome){0};
    enum status status = base_of(&base, schedule, step);
    if (!status && !step->before) {
        status = loo_run(&out->loo, &schedule->settings.loo);
        step->run = out->loo.run;
    } else if (!status) {
        struct mmr_settings mmr = schedule->settings.mmr;
        mmr.hybrid = base;
        status = mmr_run(&out->mmr, &mmr);
        step->run = out->mmr.run;
    }
    free(base);
    return status;
}

static const char *kind_of(const struct schedule *schedule, const struct schedule_step *step) {
    if (step->before) return RUN_MMR;
    return estimate_kind(schedule->settings.loo.estimate);
}

enum status schedule_find_run(struct schedule *schedule, size_t index) {
    struct schedule_step *step = &schedule->steps[index];
    const char *kind = kind_of(schedule, step), *database = schedule->settings.loo.database;
    struct store *store = NULL;
    struct store_run_list list = {0};
    if (!file_exists(database) || file_is_directory(database)) return STATUS_OK;
    enum status status = store_open(&store, database, STORE_READ);
    if (!status) status = store_list_runs(&list, store);
    store_close(store);
    for (size_t i = list.count; !status && !step->run && i-- > 0;) {
        char *differs = NULL;
        if (strcmp(list.runs[i].kind, kind) != 0) continue;
        status = compare_run(&differs, schedule, step, list.runs[i].id);
        if (!status && !differs) step->run = list.runs[i].id;
        free(differs);
    }
    store_run_list_free(&list);
    return status == STATUS_INTERRUPTED ? status : STATUS_OK;
}

/* ---- the plan of a step */

static bool has_base(const struct plan *plan, const struct int_list *expected) {
    return plan->base.count == expected->count &&
           (!expected->count || memcmp(plan->base.values, expected->values,
                                       expected->count * sizeof *expected->values) == 0);
}

/* A plan that is there: its run, and whether it goes on from the step before. */
static enum status read_plan(struct schedule *schedule, struct schedule_step *step) {
    struct plan plan = {0}, before = {0};
    struct int_list nothing = {0};
    char *path = schedule_plan_path(schedule, step->after);
    char *path_before = step->before ? schedule_plan_path(schedule, step->before) : NULL;
    enum status status = path && (path_before || !step->before) ? STATUS_OK : STATUS_FAILED;
    if (!status) status = plan_read(&plan, path);
    if (!status && step->before) status = plan_read(&before, path_before);
    if (!status) {
        const struct int_list *base =
            before.n_stages ? &before.stages[before.n_stages - 1].layers : &nothing;
        const struct plan_stage *stage = plan.n_stages ? &plan.stages[plan.n_stages - 1] : NULL;
        if (!stage || stage->layers.count != (size_t)step->after || !plan.n_signals ||
            (step->before && !has_base(&plan, base)))
            status = status_fail("\"%s\" is not the step of %d to %d layers that the schedule has "
                                 "there: use another --work directory",
                                 path, step->before, step->after);
        else
            step->run = plan.signals[0].run;
    }
    plan_free(&plan);
    plan_free(&before);
    free(path);
    free(path_before);
    return status;
}

/* Whether the plan answers today's question: its run, and what was made of that. */
static enum status check_plan(struct schedule *schedule, struct schedule_step *step,
                              const char *path) {
    const struct schedule_settings *settings = &schedule->settings;
    char kind[MIXER_TEXT_SIZE], *base = NULL, *differs = NULL;
    enum status status = read_plan(schedule, step);
    if (!status) status = base_of(&base, schedule, step);
    if (!status && base && !file_is_directory(base))
        status = status_fail("\"%s\", which \"%s\" was made of, is missing: --auto makes it again",
                             base, path);
    free(base);
    if (!status) status = compare_run(&differs, schedule, step, step->run);
    if (!status)
        status = schedule_check_refuse(path, differs);
    else
        free(differs);
    return status ? status
                  : schedule_check_plan(path, settings->loo.database, step->run,
                                        schedule_kind(kind, schedule), step->after, settings->keep);
}

/* Make, write and record. */
static enum status make_plan(struct plan *out, const char *path, const char *database,
                             const struct plan_choices *choices, enum output_existing existing) {
    struct store *store = NULL;
    int64_t model = 0;
    char *text = NULL;
    *out = (struct plan){0};
    enum status status = store_open(&store, database, STORE_READ);
    if (!status) status = plan_from_store(out, &model, store, choices);
    store_close(store);
    if (!status && !(text = plan_format_text(out))) status = STATUS_FAILED;
    if (!status) status = output_write(path, text, strlen(text), existing);
    if (!status) plan_record(out, model, database);
    free(text);
    return status;
}

enum status schedule_plan(struct plan *out, struct schedule *schedule, size_t index) {
    struct schedule_step *step = &schedule->steps[index];
    char kind[MIXER_TEXT_SIZE];
    struct plan_choice choice = {.run = step->run};
    char *path = schedule_plan_path(schedule, step->after);
    char *stages = text_format("%d", step->after);
    struct plan_choices choices = {.runs = &choice,
                                   .count = 1,
                                   .keep = schedule->settings.keep,
                                   .stages = stages,
                                   .kind = schedule_kind(kind, schedule)};
    *out = (struct plan){0};
    enum status status = path && stages ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status = make_plan(out, path, schedule->settings.loo.database, &choices, OUTPUT_KEEP);
    if (!status) status = read_plan(schedule, step); /* goes on from the plan before? */
    free(path);
    free(stages);
    return status;
}

enum status schedule_plan_all(struct plan *out, const struct schedule *schedule) {
    struct plan_choice *runs = memory_calloc(schedule->count, sizeof *runs);
    char kind[MIXER_TEXT_SIZE], *path = schedule_plan_all_path(schedule);
    struct plan_choices choices = {.runs = runs,
                                   .count = schedule->count,
                                   .keep = schedule->settings.keep,
                                   .stages = schedule->settings.counts,
                                   .kind = schedule_kind(kind, schedule)};
    *out = (struct plan){0};
    enum status status = runs && path ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < schedule->count; i++)
        runs[i] =
            (struct plan_choice){.run = schedule->steps[i].run, .from = schedule->steps[i].before};
    if (!status) /* with more stages than that of an earlier call */
        status = make_plan(out, path, schedule->settings.loo.database, &choices, OUTPUT_REPLACE);
    free(path);
    free(runs);
    return status;
}

/* ---- the hybrid of a step */

static enum status open_conversion(struct schedule_conversion *out, const struct schedule *schedule,
                                   const struct schedule_step *step) {
    *out = (struct schedule_conversion){.settings = schedule->settings.convert,
                                        .plan = schedule_plan_path(schedule, step->after),
                                        .output = schedule_hybrid_path(schedule, step->after)};
    enum status status = base_of(&out->from, schedule, step);
    if (!out->plan || !out->output) status = STATUS_FAILED;
    out->settings.plan = out->plan;
    out->settings.from = out->from;
    out->settings.output = out->output;
    return status ? status : conversion_open(&out->made, &out->settings);
}

void schedule_conversion_free(struct schedule_conversion *conversion) {
    conversion_close(&conversion->made);
    free(conversion->plan);
    free(conversion->from);
    free(conversion->output);
    *conversion = (struct schedule_conversion){0};
}

enum status schedule_convert(struct schedule_conversion *out, const struct schedule *schedule,
                             size_t index) {
    enum status status = open_conversion(out, schedule, &schedule->steps[index]);
    if (status) return status;
    conversion_warn(&out->made);
    return conversion_write(&out->made);
}

static enum status check_hybrid(const struct schedule *schedule, const struct schedule_step *step,
                                const char *path) {
    struct schedule_conversion conversion;
    char *differs = NULL;
    enum status status = open_conversion(&conversion, schedule, step);
    if (!status) status = conversion_compare(&differs, &conversion.made);
    if (!status)
        status = schedule_check_refuse(path, differs);
    else
        free(differs);
    schedule_conversion_free(&conversion);
    return status;
}

enum status schedule_look(struct schedule *schedule, size_t index) {
    struct schedule_step *step = &schedule->steps[index];
    char *plan = schedule_plan_path(schedule, step->after);
    char *hybrid = schedule_hybrid_path(schedule, step->after);
    enum status status = plan && hybrid ? STATUS_OK : STATUS_FAILED;
    step->planned = plan && file_exists(plan);
    step->converted = hybrid && file_is_directory(hybrid);
    if (!status && step->planned) status = check_plan(schedule, step, plan);
    if (!status && step->converted) status = check_hybrid(schedule, step, hybrid);
    free(plan);
    free(hybrid);
    return status;
}
