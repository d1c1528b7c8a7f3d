#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"
#include "check_main.h"
#include "data/recall.h"
#include "data/task.h"
#include "data/task_record.h"
#include "eval/multiple_choice.h"

#define SOURCE TEST_DATA "/../.."

static void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static struct tokenizer *open_tokenizer(void) {
    struct tokenizer *tokenizer;
    ok(tokenizer_read(&tokenizer, SOURCE "/recipes/demo-model"));
    return tokenizer;
}

/* A file of its own with this text. */
static const char *file_with(const char *text) {
    static char path[64];
    strcpy(path, "/tmp/test_task.XXXXXX");
    int handle = mkstemp(path);
    ck_assert_int_ge(handle, 0);
    FILE *file = fdopen(handle, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

static void check_fails(const char *name, const char *text, int shots, const char *message) {
    struct tokenizer *tokenizer = open_tokenizer();
    struct choice_set *set = NULL;
    const char *path = file_with(text);
    struct task_options options = {.name = name, .path = path, .shots = shots};
    enum status status = task_read(&set, tokenizer, &options);
    remove(path);
    ck_assert_msg(status != STATUS_OK, "accepted: %s", text);
    char *expected = text_format("\"%s\"%s", path, message);
    ck_assert_str_eq(status_message(), expected);
    free(expected);
    tokenizer_free(tokenizer);
}

START_TEST(records_that_cannot_be_items) {
    check_fails("piqa", "", 0, " has no records");
    check_fails("piqa", "{\"goal\":\"a\"}\n", 0,
                ": line 1: a record needs at least two \"choices\"");
    check_fails("piqa", "\n{\"goal\":\"a\",\"sol1\":\"b\",\"sol2\":\"c\"}\n", 0,
                ": line 2: \"answer\" is missing");
    check_fails("piqa", "{\"goal\":\"a\",\"sol1\":\"b\",\"sol2\":\"c\",\"label\":2}", 0,
                ": line 1: \"answer\" names none of the 2 choices");
    check_fails("piqa", "{\"goal\":\"a\",\"sol1\":\"b\",\"sol2\":\"c\",\"label\":-1}", 0,
                ": line 1: \"answer\" names none of the 2 choices");
    check_fails("piqa", "{\"sol1\":\"b\",\"sol2\":\"c\",\"label\":0}", 0,
                ": line 1: \"context\" is missing");
    check_fails("piqa", "{\"goal\":7,\"sol1\":\"b\",\"sol2\":\"c\",\"label\":0}", 0,
                ": line 1: \"context\" must be a string without NUL");
    check_fails("piqa", "{\"goal\":\"a\",\"choices\":[\"b\",3],\"label\":0}", 0,
                ": line 1: a choice must be a string without NUL");
    check_fails("winogrande", "{\"sentence\":\"a\",\"choices\":[\"b\",\"c\"],\"label\":0}", 0,
                ": line 1: the sentence has no gap \"_\"");
    check_fails("choice", "{\"context\":\"\",\"choices\":[\"b\",\"c\"],\"answer\":0}", 0,
                ": line 1: a choice has no context");
    check_fails("choice", "[1]", 0, ": line 1: a record must be a JSON object");
    check_fails("choice", "{\"context\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":0}\n", 1,
                " has 1 records: too few for 1 examples and an item");
    check_fails("mmlu",
                "{\"question\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":0,\"subject\":\"x_y\","
                "\"split\":\"dev\"}\n"
                "{\"question\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":0,\"subject\":\"z\"}\n",
                1, ": line 2: there are 0 examples of z for --shots 1");
}
END_TEST

/* The same item as AI2, Hugging Face and others publish it. */
START_TEST(choices_as_published) {
    static const struct {
        const char *task, *record;
    } records[] = {
        {"arc_easy", "{\"id\":\"x\",\"question\":{\"stem\":\"q\",\"choices\":[{\"text\":\"ice\","
                     "\"label\":\"A\"},"
                     "{\"text\":\"fire\",\"label\":\"B\"}]},\"answerKey\":\"B\"}"},
        {"arc_easy",
         "{\"question\":\"q\",\"choices\":{\"text\":[\"ice\",\"fire\"],\"label\":[\"1\",\"2\"]},"
         "\"answerKey\":\"2\"}"},
        {"arc_easy", "{\"question_stem\":\"q\",\"choices\":{\"text\":[\"ice\",\"fire\"],\"label\":["
                     "\"A\",\"B\"]},"
                     "\"answerKey\":\"B\"}"},
        {"mmlu", "{\"Question\":\"q\",\"A\":\"ice\",\"B\":\"fire\",\"Answer\":\"B\"}"},
        {"mmlu", "{\"question\":\"q\",\"options\":[\"ice\",\"fire\"],\"answer\":\"B\"}"},
        {"mmlu", "{\"question\":\"q\",\"choices\":[\"ice\",\"fire\"],\"answer\":1.0}"},
        {"hellaswag", "{\"ctx\":\"q\",\"endings\":[\"ice\",\"fire\"],\"label\":\"1\"}"},
        {"piqa", "{\"goal\":\"q\",\"sol1\":\"ice\",\"sol2\":\"fire\",\"label\":1}"},
        {"winogrande",
         "{\"sentence\":\"a _ b\",\"option1\":\"ice\",\"option2\":\"fire\",\"answer\":\"2\"}"},
        {"winogrande",
         "{\"sentence\":\"a _ b\",\"option1\":\"ice\",\"option2\":\"fire\",\"answer\":2}"},
        {"winogrande",
         "{\"sentence\":\"a _ b\",\"option1\":\"ice\",\"option2\":\"fire\",\"answer\":2.0}"},
        {"arc_easy",
         "{\"question\":\"q\",\"choices\":{\"text\":[\"ice\",\"fire\"],\"label\":[\"1\",\"2\"]},"
         "\"answerKey\":2}"},
        {"arc_easy",
         "{\"question\":\"q\",\"choices\":{\"text\":[\"ice\",\"fire\"],\"label\":[\"A\",\"B\"]},"
         "\"answerKey\":1}"},
    };
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        struct json *object;
        struct task_record record;
        const char *text = records[i].record;
        ok(js_parse(&object, text, strlen(text), "record"));
        enum status status = task_record_parse(&record, records[i].task, object);
        ck_assert_msg(!status, "%s: %s", text, status_message());
        ck_assert_int_eq(record.count, 2);
        ck_assert_int_eq(record.gold, 1);
        task_record_free(&record);
        js_free(object);
    }
}
END_TEST

/* The text of a choice's row up to where it is scored, and what is scored. */
static void check_choice(const struct tokenizer *tokenizer, const struct choice_set *set,
                         int64_t number, int index, const char *context, const char *scored) {
    size_t i = 0;
    while (i < set->items_count && set->items[i].number != number) i++;
    ck_assert_uint_lt(i, set->items_count);
    ck_assert_int_lt(index, set->items[i].choices);
    const struct choice *choice = &set->choices[set->items[i].first + (size_t)index];
    uint64_t start = set->set.row_offsets[choice->row];
    ck_assert_uint_lt((uint64_t)choice->token, set->set.row_offsets[choice->row + 1]);
    char *text;
    ok(tokenizer_decode(tokenizer, set->set.ids + start, (size_t)choice->token + 1 - start, false,
                        &text, NULL));
    ck_assert_str_eq(text, context);
    free(text);
    ok(tokenizer_decode(tokenizer, set->targets + choice->targets, (size_t)choice->count, false,
                        &text, NULL));
    ck_assert_str_eq(text, scored);
    free(text);
    /* What the model is given between the scored ids are those ids. */
    for (int64_t k = 1; k < choice->count; k++)
        ck_assert_uint_eq(set->set.ids[choice->token + k],
                          set->targets[choice->targets + (size_t)k - 1]);
}

START_TEST(prompts_of_lm_evaluation_harness) {
    struct tokenizer *tokenizer = open_tokenizer();
    struct choice_set *set;
    const char *path = file_with(
        "{\"question\":\" Is it? \",\"choices\":[\"yes\",\"no\"],\"answer\":\"B\",\"subject\":"
        "\"odd_jobs\",\"split\":\"dev\"}\n"
        "{\"question\":\"Why?\",\"choices\":[\"so\",\"thus\"],\"answer\":0,\"subject\":"
        "\"odd_jobs\"}\n");
    struct task_options options = {.name = "mmlu", .path = path, .shots = 1};
    ok(task_read(&set, tokenizer, &options));
    const char *head =
        "The following are multiple choice questions (with answers) about odd jobs.\n\n"
        "Is it?\nA. yes\nB. no\nAnswer: B\n\nWhy?\nA. so\nB. thus\nAnswer:";
    ck_assert_uint_eq(set->items_count, 1);
    ck_assert_uint_eq(set->set.rows, 1); /* both letters from one row */
    check_choice(tokenizer, set, 0, 0, head, " A");
    check_choice(tokenizer, set, 0, 1, head, " B");
    ck_assert_str_eq(set->categories[0], "odd_jobs");
    choice_set_free(set);
    remove(path);

    path = file_with(
        "{\"activity_label\":\"Cooking\",\"ctx_a\":\"[header] How to boil  an egg [title] Take a "
        "pot.\",\"ctx_b\":\"THE cook\",\"endings\":[\"[step] boils it.\",\" goes  home. \"],"
        "\"label\":\"1\"}\n");
    options = (struct task_options){.name = "hellaswag", .path = path};
    ok(task_read(&set, tokenizer, &options));
    head = "Cooking: How to boil an egg. Take a pot. The cook";
    check_choice(tokenizer, set, 0, 0, head, "  boils it.");
    check_choice(tokenizer, set, 0, 1, head, " goes home.");
    ck_assert_int_eq(set->items[0].gold, 1);
    ck_assert_int_eq(set->choices[0].characters, 10); /* " boils it." */
    choice_set_free(set);
    remove(path);

    path = file_with("{\"sentence\":\"Tom saw Ann as _ left.\",\"option1\":\"Tom\",\"option2\":"
                     "\"Ann\",\"answer\":\"2\"}\n");
    options = (struct task_options){.name = "winogrande", .path = path};
    ok(task_read(&set, tokenizer, &options));
    check_choice(tokenizer, set, 0, 0, "Tom saw Ann as Tom", " left.");
    check_choice(tokenizer, set, 0, 1, "Tom saw Ann as Ann", " left.");
    ck_assert_int_eq(set->items[0].gold, 1);
    ck_assert(!item_score_normalised(set));
    choice_set_free(set);
    remove(path);

    path = file_with(
        "{\"question\":\"Which?\",\"choices\":{\"text\":[\"oak\",\"oak tree\",\"\\u00e9\"],"
        "\"label\":[\"1\",\"2\",\"3\"]},\"answerKey\":\"3\"}\n");
    options = (struct task_options){.name = "arc_challenge", .path = path};
    ok(task_read(&set, tokenizer, &options));
    check_choice(tokenizer, set, 0, 0, "Question: Which?\nAnswer:", " oak");
    check_choice(tokenizer, set, 0, 1, "Question: Which?\nAnswer:", " oak tree");
    ck_assert_int_eq(set->items[0].gold, 2);
    ck_assert_int_eq(set->choices[2].characters, 1); /* characters, not bytes */
    ck_assert(item_score_normalised(set));
    choice_set_free(set);
    remove(path);
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(limits_and_long_contexts) {
    struct tokenizer *tokenizer = open_tokenizer();
    struct choice_set *set, *cut;
    struct text lines = {0};
    for (int i = 0; i < 10; i++)
        text_append(&lines,
                    "{\"context\":\"%d is the number of\",\"choices\":[\"it\",\"us all\"],"
                    "\"answer\":0}\n",
                    i);
    char *text = text_finish(&lines);
    const char *path = file_with(text);
    free(text);
    struct task_options options = {.name = "choice", .path = path, .limit = 4};
    ok(task_read(&set, tokenizer, &options));
    ck_assert_uint_eq(set->items_count, 4);
    check_choice(tokenizer, set, 0, 0, "0 is the number of", " it");
    check_choice(tokenizer, set, 1, 0, "2 is the number of", " it");
    check_choice(tokenizer, set, 2, 0, "5 is the number of", " it");
    check_choice(tokenizer, set, 3, 1, "7 is the number of", " us all");
    options.max_tokens = 3;
    ok(task_read(&cut, tokenizer, &options));
    ck_assert_int_gt(cut->cut, 0);
    ck_assert_uint_le(tokenset_longest_row(&cut->set), 3);
    check_choice(tokenizer, cut, 0, 0, " the number of", " it");
    ck_assert_str_ne(set->set.fingerprint, cut->set.fingerprint);
    choice_set_free(set);
    choice_set_free(cut);
    remove(path);
    tokenizer_free(tokenizer);
}
END_TEST

static void check_task(struct model *model, const struct tokenizer *tokenizer, const char *name,
                       const struct json *golden) {
    struct choice_set *set;
    struct multiple_choice_result result;
    char *path = text_format("%s/eval/samples/%s.jsonl", SOURCE, name);
    struct task_options options = {.name = name, .path = path, .shots = 1};
    ok(task_read(&set, tokenizer, &options));
    /* Small groups too: the batch must not matter. */
    for (int64_t group = 64; group <= 4096; group *= 64) {
        struct multiple_choice_settings settings = {
            .model = model, .set = set, .group_tokens = group, .name = name};
        ok(multiple_choice_run(&result, &settings));
        const struct json *items = js_member(golden, "items");
        ck_assert_uint_eq(result.count, js_count(items));
        double acc = 0, acc_norm = 0;
        for (size_t i = 0; i < result.count; i++) {
            const struct json *item = js_element(items, i), *choices = js_member(item, "choices");
            ck_assert_int_eq(result.items[i].item->choices, (int)js_count(choices));
            ck_assert_int_eq(result.items[i].item->gold,
                             js_integer_or(js_member(item, "gold"), -1));
            for (size_t c = 0; c < js_count(choices); c++) {
                double expected = js_number_or(js_element(choices, c), NAN);
                double found = result.items[i].likelihoods[c];
                ck_assert_msg(fabs(found - expected) <= 1e-3, "%s item %zu choice %zu: %g, not %g",
                              name, i, c, found, expected);
            }
            acc += result.items[i].score.values[ITEM_ACC] / (double)result.count;
            acc_norm += result.items[i].score.values[ITEM_ACC_NORM] / (double)result.count;
        }
        ck_assert_double_eq_tol(acc, js_number_or(js_member(golden, "acc"), NAN), 1e-9);
        ck_assert_double_eq_tol(acc_norm, js_number_or(js_member(golden, "acc_norm"), NAN), 1e-9);
        multiple_choice_free(&result);
    }
    choice_set_free(set);
    free(path);
}

START_TEST(golden_log_likelihoods) {
    struct tokenizer *tokenizer = open_tokenizer();
    struct backend *backend;
    struct model *model;
    struct json *golden;
    ok(js_read(&golden, TEST_DATA "/golden/choices.json"));
    ok(backend_open(&backend, "cpu"));
    ok(model_open(&model, backend, SOURCE "/recipes/demo-model", NULL));
    ck_assert_uint_eq(js_count(golden), 6);
    for (void *i = js_first(golden); i; i = js_next(golden, i))
        check_task(model, tokenizer, js_key(i), js_value(i));
    model_close(model);
    backend->close(backend);
    js_free(golden);
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(metrics_of_an_item) {
    struct choice choices[3] = {{.count = 2, .characters = 10},
                                {.count = 1, .characters = 2},
                                {.count = 3, .characters = 40}};
    struct choice_item item = {.choices = 3, .gold = 2};
    struct choice_set set = {
        .items = &item, .items_count = 1, .choices = choices, .choices_count = 3};
    double sums[3][METRIC_COUNT] = {{[METRIC_CE] = 5}, {[METRIC_CE] = 4}, {[METRIC_CE] = 8}};
    int64_t greedy[3] = {2, 1, 2};
    struct item_score score;
    item_score(&score, &set, &item, &sums[0][0], greedy);
    ck_assert_int_eq(score.chosen, 1);
    ck_assert_int_eq(score.chosen_norm, 2); /* -0.5, -2, -0.2 a character */
    ck_assert_double_eq(score.values[ITEM_ACC], 0);
    ck_assert_double_eq(score.values[ITEM_ACC_NORM], 1);
    ck_assert_double_eq(score.values[ITEM_MARGIN], -4);
    ck_assert_double_eq(score.values[ITEM_GREEDY], 0); /* two of its three ids */
    item.gold = 1;
    item_score(&score, &set, &item, &sums[0][0], greedy);
    ck_assert_double_eq(score.values[ITEM_ACC], 1);
    ck_assert_double_eq(score.values[ITEM_MARGIN], 1);
    ck_assert_double_eq(score.values[ITEM_GREEDY], 1);
    sums[0][METRIC_CE] = 4; /* equal: the first is chosen */
    item_score(&score, &set, &item, &sums[0][0], greedy);
    ck_assert_int_eq(score.chosen, 0);
    ck_assert_double_eq(score.values[ITEM_ACC], 0);
    ck_assert_double_eq(score.values[ITEM_MARGIN], 0);
}
END_TEST

/* Every item asks for what its row holds, as far down as the depth says. */
static void check_recall_item(const struct choice_set *set, const struct choice_item *item,
                              int length) {
    const struct choice *choices = set->choices + item->first;
    uint64_t start = set->set.row_offsets[item->first_row];
    const uint32_t *ids = set->set.ids + start;
    ck_assert_int_eq(item->rows, 1);
    ck_assert_int_eq(item->choices, RECALL_CHOICES);
    ck_assert_uint_eq(set->set.row_offsets[item->first_row + 1] - start, (uint64_t)length);
    uint32_t gold = set->targets[choices[item->gold].targets];
    for (int c = 0; c < RECALL_CHOICES; c++) {
        ck_assert_int_eq(choices[c].token, (int64_t)start + length - 1);
        ck_assert_int_eq(choices[c].count, 1);
        ck_assert(c == item->gold || set->targets[choices[c].targets] != gold);
    }
    int kind = item->category / 4, depth = item->category % 2, first = -1, found = 0;
    for (int t = 0; t < length; t++)
        if (ids[t] == gold) {
            if (first < 0) first = t;
            found++;
        }
    ck_assert_msg(found == 1, "%s: the answer stands there %d times",
                  set->categories[item->category], found);
    ck_assert_uint_eq(ids[first - 1], ids[length - 1]); /* what stood before it stands at the end */
    if (kind == RECALL_NEEDLE || kind == RECALL_FACT)
        for (int t = 0; t < length; t++)
            for (int c = 0; c < RECALL_CHOICES; c++)
                ck_assert(c == item->gold || ids[t] != set->targets[choices[c].targets]);
    if (kind != RECALL_KV || length < 200) /* longer rows of pairs begin with filler */
        ck_assert_int_eq(depth, first > length / 2);
}

START_TEST(recall_items) {
    struct tokenizer *tokenizer = open_tokenizer();
    int lengths[] = {32, 100};
    double depths[] = {0, 1};
    struct recall_options options = {
        .lengths = {lengths, 2}, .depths = depths, .depths_count = 2, .items = 12, .seed = 3};
    struct choice_set *set, *again, *other;
    ok(recall_build(&set, tokenizer, &options));
    ok(recall_build(&again, tokenizer, &options));
    options.seed = 4;
    ok(recall_build(&other, tokenizer, &options));
    ck_assert_uint_eq(set->items_count, RECALL_KINDS * 2 * 2 * 12);
    ck_assert_str_eq(set->set.fingerprint, again->set.fingerprint);
    ck_assert_str_ne(set->set.fingerprint, other->set.fingerprint);
    ck_assert_str_eq(set->categories[0], "kv/32/0.00");
    ck_assert_str_eq(set->categories[set->categories_count - 1], "copy/100/1.00");
    int gold[RECALL_CHOICES] = {0};
    for (size_t i = 0; i < set->items_count; i++) {
        const struct choice_item *item = &set->items[i];
        check_recall_item(set, item, lengths[item->category / 2 % 2]);
        gold[item->gold]++;
    }
    for (int c = 0; c < RECALL_CHOICES; c++) ck_assert_int_gt(gold[c], 5); /* of 24 expected */
    choice_set_free(set);
    choice_set_free(again);
    choice_set_free(other);
    options.max_tokens = 99;
    ck_assert_int_eq(recall_build(&set, tokenizer, &options), STATUS_USAGE);
    ck_assert_str_eq(status_message(),
                     "recall: a length of 100 tokens, but the model takes 99; give "
                     "shorter --lengths");
    options.max_tokens = 0;
    depths[1] = NAN;
    ck_assert_int_eq(recall_build(&set, tokenizer, &options), STATUS_USAGE);
    tokenizer_free(tokenizer);
}
END_TEST

CHECK_MAIN("task", choices_as_published, records_that_cannot_be_items,
           prompts_of_lm_evaluation_harness, limits_and_long_contexts, golden_log_likelihoods,
           metrics_of_an_item, recall_items)
