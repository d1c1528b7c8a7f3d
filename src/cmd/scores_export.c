#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/quote.h"
#include "cli/run_text.h"
#include "cmd/scores.h"

/* Prints a row, a text without its newline, and empties it. */
static enum status print_row(struct text *row) {
    char *line = text_finish(row);
    if (line) puts(line);
    free(line);
    return line ? STATUS_OK : STATUS_FAILED;
}

static enum status export_layers(struct store *store, int64_t run) {
    char number[NUMBER_SIZE];
    struct store_score_list list;
    enum status status = store_get_scores(&list, store, run);
    for (size_t i = 0; !status && i < list.count; i++) {
        const struct store_score *score = &list.scores[i];
        struct text row = {0};
        text_append(&row, "%lld,%d,", (long long)run, score->layer);
        quote_csv(&row, score->metric);
        text_append(&row, ",%s,", number_format(number, score->value));
        if (isfinite(score->stderr_value))
            text_append(&row, "%s", number_format(number, score->stderr_value));
        text_append(&row, ",%lld", (long long)score->n);
        status = print_row(&row);
    }
    store_score_list_free(&list);
    return status;
}

static enum status export_sequences(struct store *store, int64_t run) {
    char number[NUMBER_SIZE];
    struct store_score_list list;
    enum status status = store_get_scores(&list, store, run);
    for (size_t i = 0; !status && i < list.count; i++) {
        struct store_sequence_list values;
        status = store_get_sequence_scores(&values, store, run, list.scores[i].layer,
                                           list.scores[i].metric);
        for (size_t k = 0; !status && k < values.count; k++) {
            struct text row = {0};
            text_append(&row, "%lld,%d,%lld,", (long long)run, list.scores[i].layer,
                        (long long)values.values[k].row);
            quote_csv(&row, list.scores[i].metric);
            text_append(&row, ",%s,%lld", number_format(number, values.values[k].value),
                        (long long)values.values[k].count);
            status = print_row(&row);
        }
        store_sequence_list_free(&values);
    }
    store_score_list_free(&list);
    return status;
}

/* Layers of probe steps need not have scores yet. */
static enum status export_steps(struct store *store, int64_t run) {
    char number[NUMBER_SIZE];
    struct store_row_list layers;
    enum status status = store_get_probe_layers(&layers, store, run);
    for (size_t i = 0; !status && i < layers.count; i++) {
        struct store_step_list list;
        status = store_get_probe_steps(&list, store, run, (int)layers.rows[i]);
        for (size_t k = 0; !status && k < list.count; k++)
            printf("%lld,%lld,%lld,%lld,%s\n", (long long)run, (long long)layers.rows[i],
                   (long long)list.steps[k].seed, (long long)list.steps[k].step,
                   number_format(number, list.steps[k].loss));
        store_step_list_free(&list);
    }
    store_row_list_free(&layers);
    return status;
}

/* The values of one item by every metric. */
static enum status export_item(struct store *store, int64_t run,
                               const struct store_item_list *items,
                               const struct store_score *score) {
    char number[NUMBER_SIZE];
    struct store_sequence_list values;
    enum status status =
        store_get_sequence_scores(&values, store, run, score->layer, score->metric);
    size_t i = 0;
    for (size_t k = 0; !status && k < values.count; k++) {
        while (i < items->count && items->items[i].row < values.values[k].row) i++;
        if (i == items->count || items->items[i].row != values.values[k].row) continue;
        struct text row = {0};
        text_append(&row, "%lld,%lld,", (long long)run, (long long)values.values[k].row);
        quote_csv(&row, items->items[i].category ? items->items[i].category : "");
        text_append(&row, ",");
        quote_csv(&row, items->items[i].gold);
        text_append(&row, ",");
        quote_csv(&row, score->metric);
        text_append(&row, ",%s", number_format(number, values.values[k].value));
        status = print_row(&row);
    }
    store_sequence_list_free(&values);
    return status;
}

static enum status export_items(struct store *store, int64_t run) {
    struct store_item_list items;
    struct store_score_list scores = {0};
    enum status status = store_get_items(&items, store, run);
    if (!status && items.count) status = store_get_scores(&scores, store, run);
    for (size_t i = 0; !status && i < scores.count; i++)
        status = export_item(store, run, &items, &scores.scores[i]);
    store_score_list_free(&scores);
    store_item_list_free(&items);
    return status;
}

static enum status export_choices(struct store *store, int64_t run) {
    char number[NUMBER_SIZE];
    struct store_choice_list list;
    enum status status = store_get_choices(&list, store, run);
    for (size_t i = 0; !status && i < list.count; i++) {
        const struct store_choice *choice = &list.choices[i];
        printf("%lld,%lld,%lld,%s,%lld,%lld,%lld\n", (long long)run, (long long)choice->row,
               (long long)choice->choice, number_format(number, choice->loglikelihood),
               (long long)choice->tokens, (long long)choice->characters, (long long)choice->greedy);
    }
    store_choice_list_free(&list);
    return status;
}

static enum status export_answers(struct store *store, int64_t run) {
    struct store_answer_list list;
    enum status status = store_get_answers(&list, store, run);
    for (size_t i = 0; !status && i < list.count; i++) {
        const struct store_answer *answer = &list.answers[i];
        struct text row = {0};
        text_append(&row, "%lld,%lld,%lld,%d,%lld,", (long long)run, (long long)answer->row,
                    (long long)answer->sample, answer->correct, (long long)answer->tokens);
        quote_csv(&row, answer->answer ? answer->answer : "");
        text_append(&row, ",");
        quote_csv(&row, answer->text);
        status = print_row(&row);
    }
    store_answer_list_free(&list);
    return status;
}

/* ---- curves of a training */

/* Nothing where it is not finite. */
static const char *number_or_nothing(char out[NUMBER_SIZE], double value) {
    return isfinite(value) ? number_format(out, value) : "";
}

static enum status export_training(struct store *store, int64_t run) {
    char number[4][NUMBER_SIZE];
    struct store_training training;
    enum status status = store_get_training(&training, store, run);
    for (size_t i = 0; !status && i < training.step_count; i++) {
        const struct store_training_step *step = &training.steps[i];
        printf("%lld,%lld,%s,%s,%s,%lld,%s,%d\n", (long long)run, (long long)step->step,
               number_or_nothing(number[0], step->loss), number_format(number[1], step->rate),
               number_or_nothing(number[2], step->norm), (long long)step->tokens,
               number_format(number[3], step->seconds), step->taken);
    }
    store_training_free(&training);
    return status;
}

static enum status export_measurements(struct store *store, int64_t run) {
    char number[2][NUMBER_SIZE];
    struct store_training training;
    enum status status = store_get_training(&training, store, run);
    for (size_t i = 0; !status && i < training.value_count; i++) {
        const struct store_training_value *value = &training.values[i];
        struct text row = {0};
        text_append(&row, "%lld,%lld,", (long long)run, (long long)value->step);
        quote_csv(&row, value->metric);
        text_append(&row, ",%s,%s,%lld", number_format(number[0], value->value),
                    number_or_nothing(number[1], value->stderr_value), (long long)value->n);
        status = print_row(&row);
    }
    store_training_free(&training);
    return status;
}

/* ---- the list itself */

static enum status export_run(struct store *store, int64_t id) {
    struct store_run run;
    struct text row = {0};
    enum status status = store_get_run(&run, store, id);
    if (status) return status;
    const char *texts[] = {
        run.kind,       run.model_name, run.dataset_path, run_replaced(&run) ? run.base : "",
        run.parameters, run.device,     run.version,      run.status,
        run.started,    run.finished,   run.note};
    char number[NUMBER_SIZE];
    double seconds = run_seconds(&run);
    text_append(&row, "%lld", (long long)run.id);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        text_append(&row, ",");
        quote_csv(&row, texts[i] ? texts[i] : "");
    }
    text_append(&row, ",%lld,", (long long)run.seed);
    if (isfinite(seconds)) text_append(&row, "%s", number_format(number, seconds));
    text_append(&row, ",%lld,%lld", (long long)run.layers, (long long)run.rows);
    store_run_free(&run);
    return print_row(&row);
}

/* Throughput rows are of no run. */
static enum status export_bench(struct store *store) {
    struct store_bench_list list;
    enum status status = store_list_bench(&list, store);
    for (size_t i = 0; !status && i < list.count; i++) {
        const struct store_bench *bench = &list.rows[i];
        struct text row = {0};
        const char *texts[] = {bench->model_name, bench->created, bench->device, bench->version,
                               bench->settings};
        const double numbers[] = {
            bench->tokens_per_second, bench->step_seconds, bench->first_token_seconds,
            bench->bytes_per_token,   bench->roofline,     bench->spread};
        text_append(&row, "%lld,%lld", (long long)bench->series, (long long)bench->id);
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            text_append(&row, ",");
            quote_csv(&row, texts[k]);
        }
        text_append(&row, ",%lld,%lld,%d,%lld", (long long)bench->replaced, (long long)bench->batch,
                    bench->automatic, (long long)bench->memory);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            char number[NUMBER_SIZE];
            text_append(&row, ",%s", isnan(numbers[k]) ? "" : number_format(number, numbers[k]));
        }
        status = print_row(&row);
    }
    store_bench_list_free(&list);
    return status;
}

static const struct {
    const char *name, *heading;
    enum status (*export)(struct store *store, int64_t run); /* NULL: bench */
} exports[] = {
    {"csv", "run,layer,metric,value,stderr,n", export_layers},
    {"sequences", "run,layer,row,metric,value,count", export_sequences},
    {"steps", "run,layer,seed,step,loss", export_steps},
    {"items", "run,row,category,gold,metric,value", export_items},
    {"choices", "run,row,choice,loglikelihood,tokens,characters,greedy", export_choices},
    {"answers", "run,row,sample,correct,tokens,answer,text", export_answers},
    {"curve", "run,step,loss,rate,norm,tokens,seconds,taken", export_training},
    {"heldout", "run,step,metric,value,stderr,n", export_measurements},
    {"runs",
     "run,kind,model,dataset,base,parameters,device,tool,status,started,finished,note,seed,seconds,"
     "layers,rows",
     export_run},
    {"bench",
     "series,id,model,created,device,tool,settings,replaced,batch,automatic,memory,"
     "tokens_per_second,step_seconds,first_token_seconds,bytes_per_token,roofline,spread",
     NULL},
};

enum status export_scores(struct store *store, const struct scores_choice *choice,
                          const char *what) {
    size_t kind = 0;
    while (strcmp(exports[kind].name, what) != 0) kind++; /* one of the option's choices */
    struct store_run_list all = {0};
    enum status status = STATUS_OK;
    if (!exports[kind].export && choice->runs.count)
        return status_set(STATUS_USAGE, "scores: --export bench is of no run: leave --run out");
    if (!choice->runs.count) status = store_list_runs(&all, store);
    if (!status) puts(exports[kind].heading);
    if (!status && !exports[kind].export) status = export_bench(store);
    for (size_t i = 0; !status && exports[kind].export && i < all.count; i++)
        status = exports[kind].export(store, all.runs[i].id);
    for (size_t i = 0; !status && i < choice->runs.count; i++) {
        struct store_run run;
        status = store_get_run(&run, store, choice->runs.items[i].run);
        store_run_free(&run);
        if (!status) status = exports[kind].export(store, choice->runs.items[i].run);
    }
    store_run_list_free(&all);
    return status;
}
