#include "eval/exact_run.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "eval/answers.h"
#include "eval/task_record.h"
#include "scores/store.h"

/* Batches that are generated between two transactions: the slots of one batch stay filled while
 * there are more prompts. */
enum { BATCHES = 4 };

struct work {
    const struct exact_settings *settings;
    struct store *store;
    int64_t run;
    bool *done;     /* [problems] */
    double *values; /* [problems][EXACT_METRICS] */
    int64_t new_tokens;
};

const char *exact_metric_name(enum exact_metric metric) {
    static const char *const names[EXACT_METRICS] = {"pass@1", "answered", "not_understood",
                                                     "finished", "tokens"};
    return names[metric];
}

/* ---- the database */

/* What ends and spells the answers: part of the run's key, whoever chose it. */
static enum status add_generation(struct json *parameters, const struct exact_settings *settings) {
    const struct generate_settings *generate = settings->generate;
    uint32_t *ids = NULL;
    size_t count = 0;
    struct json *ends = js_new_array();
    enum status status = generate_stop_ids(&ids, &count, settings->model, generate);
    for (size_t i = 0; !status && i < count; i++) js_append(ends, js_new_integer(ids[i]));
    js_set(parameters, "end_ids", ends);
    js_set_string(parameters, "tokenizer", tokenizer_sha256(generate->tokenizer));
    free(ids);
    return status;
}

static enum status begin(struct work *work, enum store_run_state *state) {
    const struct exact_settings *settings = work->settings;
    const struct prompt_list *prompts = &settings->set->prompts;
    struct tokenset about = {.rows = prompts->count};
    memcpy(about.fingerprint, settings->set->fingerprint, SHA256_HEX_SIZE);
    for (size_t i = 0; i < prompts->count; i++) about.tokens += prompts->prompts[i].count;
    struct json *parameters = js_copy(settings->parameters);
    struct task_record record = {.model = settings->model,
                                 .numbers = "eval-answers",
                                 .parameters = parameters,
                                 .seed = (int64_t)settings->generate->sampling.seed,
                                 .path = settings->path,
                                 .about = &about};
    enum status status = parameters ? add_generation(parameters, settings) : STATUS_FAILED;
    if (!status) status = task_record_begin(&work->run, state, work->store, &record);
    js_free(parameters);
    return status;
}

static enum status load(struct work *work, int64_t *found) {
    size_t problems = work->settings->set->prompts.count;
    enum status status = STATUS_OK;
    for (int m = 0; !status && m < EXACT_METRICS; m++)
        status = task_record_load(found, work->done, work->values + m, EXACT_METRICS, problems,
                                  work->store, work->run, exact_metric_name((enum exact_metric)m));
    return status;
}

/* ---- samples */

/* What a sample is worth, added to its problem's values; kept in the database. */
static enum status judge(struct work *work, size_t problem, int sample,
                         const struct generate_output *output) {
    const char *gold = work->settings->set->golds[problem];
    double share = 1.0 / work->settings->samples;
    double *values = work->values + problem * EXACT_METRICS;
    char *answer = NULL;
    enum answer_verdict verdict = ANSWER_DIFFERENT;
    enum status status = answer_extract(&answer, output->text);
    if (!status && answer) status = answer_compare(&verdict, answer, gold);
    bool correct = verdict == ANSWER_EQUAL;
    if (!status) {
        values[EXACT_PASS] += share * correct;
        values[EXACT_ANSWERED] += share * (answer != NULL);
        values[EXACT_UNCLEAR] += share * (verdict == ANSWER_NOT_UNDERSTOOD);
        values[EXACT_FINISHED] += share * (output->stop != GENERATE_LENGTH);
        values[EXACT_TOKENS] += share * (double)output->count;
        work->new_tokens += (int64_t)output->count;
    }
    if (!status && work->store) {
        struct store_answer row = {.row = (int64_t)problem,
                                   .sample = sample,
                                   .tokens = (int64_t)output->count,
                                   .text = output->text,
                                   .answer = answer,
                                   .correct = correct};
        status = store_put_answer(work->store, work->run, &row);
    }
    free(answer);
    return status;
}

static enum status save_problem(struct work *work, size_t problem) {
    if (!work->store) return STATUS_OK;
    struct store_item item = {.row = (int64_t)problem, .gold = work->settings->set->golds[problem]};
    enum status status = store_put_item(work->store, work->run, &item);
    for (int m = 0; !status && m < EXACT_METRICS; m++)
        status = store_put_sequence_score(work->store, work->run, STORE_TRUNK, (int64_t)problem,
                                          exact_metric_name((enum exact_metric)m),
                                          work->values[problem * EXACT_METRICS + (size_t)m], 1);
    return status;
}

/* The outputs of `count` problems, all samples of one after another. */
static enum status keep(struct work *work, const size_t *problems, size_t count,
                        const struct generate_output *outputs) {
    int samples = work->settings->samples;
    enum status status = work->store ? store_begin(work->store) : STATUS_OK;
    if (status) return status;
    for (size_t i = 0; !status && i < count; i++) {
        for (int s = 0; !status && s < samples; s++)
            status = judge(work, problems[i], s, &outputs[i * (size_t)samples + (size_t)s]);
        if (!status) status = save_problem(work, problems[i]);
    }
    if (!work->store) return status;
    if (!status) return store_commit(work->store);
    store_rollback(work->store);
    return status;
}

static enum status run_some(struct work *work, const size_t *problems, size_t count) {
    const struct exact_settings *settings = work->settings;
    size_t samples = (size_t)settings->samples, all = count * samples;
    struct generate_settings generate = *settings->generate;
    struct generate_prompt *prompts = memory_calloc(all, sizeof *prompts);
    struct generate_output *outputs = memory_calloc(all, sizeof *outputs);
    enum status status = prompts && outputs ? STATUS_OK : STATUS_FAILED;
    generate.stop_strings = settings->set->stops;
    generate.stop_string_count = settings->set->stop_count;
    for (size_t i = 0; !status && i < all; i++) {
        size_t problem = problems[i / samples];
        prompts[i] = settings->set->prompts.prompts[problem];
        prompts[i].stream = problem * samples + i % samples;
    }
    if (!status) status = generate_run(outputs, settings->model, prompts, all, &generate, NULL);
    if (!status) status = keep(work, problems, count, outputs);
    if (outputs) generate_free(outputs, all);
    free(outputs);
    free(prompts);
    return status;
}

static enum status run_all(struct work *work) {
    const struct exact_settings *settings = work->settings;
    size_t problems = settings->set->prompts.count, next = 0, finished = 0;
    size_t most = (size_t)(BATCHES * settings->generate->batch) / (size_t)settings->samples;
    if (most == 0) most = 1;
    size_t *chosen = memory_calloc(most, sizeof *chosen);
    struct progress progress;
    if (!chosen) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < problems; i++) finished += work->done[i];
    progress_begin(&progress, settings->name, "problems", (double)problems, (double)finished);
    while (!status && next < problems) {
        size_t count = 0;
        for (; next < problems && count < most; next++)
            if (!work->done[next]) chosen[count++] = next;
        if (count) status = run_some(work, chosen, count);
        finished += count;
        if (!status) progress_update(&progress, (double)finished);
        if (!status && next < problems && interrupt_requested())
            status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    progress_end(&progress);
    free(chosen);
    return status;
}

static enum status summarise(struct exact_result *out, const struct work *work) {
    size_t problems = work->settings->set->prompts.count;
    struct sequence_value *values = memory_calloc(problems, sizeof *values);
    enum status status = values ? STATUS_OK : STATUS_FAILED;
    for (size_t m = 0; !status && m < EXACT_METRICS; m++) {
        for (size_t i = 0; i < problems; i++)
            values[i] = (struct sequence_value){
                .row = (int64_t)i, .count = 1, .value = work->values[i * EXACT_METRICS + m]};
        status = statistics_mean(&out->metrics[m], values, problems);
    }
    free(values);
    return status;
}

enum status exact_run(struct exact_result *out, const struct exact_settings *settings) {
    size_t problems = settings->set->prompts.count;
    struct work work = {.settings = settings};
    enum store_run_state state = STORE_RUN_NEW;
    double start = log_seconds();
    *out = (struct exact_result){.problems = (int64_t)problems};
    work.done = memory_calloc(problems, sizeof *work.done);
    work.values = memory_calloc(problems * EXACT_METRICS, sizeof *work.values);
    enum status status = work.done && work.values ? STATUS_OK : STATUS_FAILED;
    if (!status && settings->database) {
        status = store_open(&work.store, settings->database, STORE_WRITE);
        if (!status) status = begin(&work, &state);
        out->run = work.run;
        if (!status) status = load(&work, &out->problems_found);
        const struct task_record_state as_found = {work.run, settings->database,
                                                   state == STORE_RUN_FINISHED};
        if (!status) status = task_record_check(&as_found, work.done, problems);
    }
    if (!status && state != STORE_RUN_FINISHED) {
        if (out->problems_found)
            log_note("run %lld continues: %lld of %lld problems are there", (long long)work.run,
                     (long long)out->problems_found, (long long)out->problems);
        status = run_all(&work);
        if (!status && work.store) status = store_summarise_run(work.store, work.run);
        if (work.store) status = record_finish(work.store, work.run, status);
    }
    if (!status) status = summarise(out, &work);
    out->new_tokens = work.new_tokens;
    out->seconds = log_seconds() - start;
    store_close(work.store);
    free(work.done);
    free(work.values);
    return status;
}
