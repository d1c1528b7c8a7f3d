#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "check_main.h"
#include "mixer_choices.h"
#include "plan/build.h"
#include "plan/export.h"
#include "plan/plan.h"
#include "plan/yaml.h"

enum { LAYERS = 50 };

static const char shape[] =
    "{\"num_hidden_layers\": 50, \"hidden_size\": 5120, \"num_attention_heads\": 32,"
    " \"num_key_value_heads\": 8, \"head_dim\": 128, \"intermediate_size\": 14336,"
    " \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0}";

/* The published facts: the order, and the layers that MMR added to the first 25. */
static int loo_order[LAYERS - 1];
static const int mmr_choice[] = {3, 5, 6, 7, 8};

static void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static void read_published(void) {
    struct json *facts;
    ok(js_read(&facts, TEST_DATA "/apriel-h1.json"));
    const struct json *order = js_member(facts, "loo_order_least_important_first");
    ck_assert_uint_eq(js_count(order), LAYERS - 1);
    for (int i = 0; i < LAYERS - 1; i++)
        loo_order[i] = (int)js_integer_or(js_element(order, (size_t)i), -1);
    js_free(facts);
}

/* A database with a LOO run that gives the published order and, on top of its first 25 layers, an
 * MMR run that prefers `mmr_choice`, in that order. The layer that the published list leaves out is
 * the most important one. */
static char published_path[64];

static void close_published(struct store *store) {
    store_close(store);
    unlink(published_path);
}

static struct store *published_store(int64_t runs[2]) {
    read_published();
    struct store *store;
    strcpy(published_path, "/tmp/test_plan.XXXXXX");
    int file = mkstemp(published_path); /* an empty file is a new database */
    ck_assert_int_ge(file, 0);
    close(file);
    ok(store_open(&store, published_path, STORE_WRITE));
    struct store_run_key key = {.kind = "loo", .base = "", .parameters = "{}", .device = "cpu"};
    ok(store_add_model(&key.model, store, "f00d", "Apriel-Nemotron-15B-Thinker", shape));
    ok(store_add_dataset(&key.dataset, store, "da7a", "tokens.h5", 16, 16384));
    enum store_run_state state;
    ok(store_begin_run(&runs[0], &state, store, &key));
    for (int i = 0; i < LAYERS - 1; i++)
        ok(store_put_score(store, runs[0], loo_order[i], "kl", 0.01 * (i + 1), 1e-4, 16));
    ok(store_put_score(store, runs[0], 2, "kl", 3, 1e-4, 16));
    ok(store_finish_run(store, runs[0], STORE_STATUS_DONE));

    char base[LAYERS + 1];
    memset(base, 't', LAYERS);
    base[LAYERS] = '\0';
    for (int i = 0; i < 25; i++) base[loo_order[i]] = 'm';
    key.kind = "mmr";
    key.base = base;
    ok(store_begin_run(&runs[1], &state, store, &key));
    for (int layer = 0; layer < LAYERS; layer++)
        if (base[layer] == 't')
            ok(store_put_score(store, runs[1], layer, "heldout_rkl_after", 1 + 0.1 * layer, 1e-3,
                               4));
    for (int i = 0; i < 5; i++)
        ok(store_put_score(store, runs[1], mmr_choice[i], "heldout_rkl_after", 0.1 * (i + 1), 1e-3,
                           4));
    ok(store_finish_run(store, runs[1], STORE_STATUS_DONE));
    return store;
}

static void check_stage(const struct plan *plan, int number, size_t count, bool with_mmr) {
    const struct plan_stage *stage;
    ok(plan_find_stage(&stage, plan, number, "plan"));
    ck_assert_uint_eq(stage->layers.count, count);
    char expected[LAYERS + 1];
    memset(expected, 't', LAYERS);
    expected[LAYERS] = '\0';
    for (int i = 0; i < 25; i++) expected[loo_order[i]] = 'm';
    for (int i = 0; with_mmr && i < 5; i++) expected[mmr_choice[i]] = 'm';
    char *layout = plan_stage_layout(plan, stage);
    ck_assert_str_eq(layout, expected);
    free(layout);
    ck_assert_uint_eq(stage->tie_inside.count, 0);
}

START_TEST(the_published_stages) {
    int64_t runs[2], model;
    struct store *store = published_store(runs);
    /* In any order: `from` decides. */
    struct plan_choice choice[] = {{runs[1], 25, NULL}, {runs[0], 0, NULL}};
    struct plan plan;
    ok(plan_from_store(&plan, &model, store,
                       &(struct plan_choices){choice, 2, NULL, "25,27,30", false}));
    check_stage(&plan, 1, 25, false);
    check_stage(&plan, 3, 30, true);
    check_stage(&plan, 0, 30, true);
    ck_assert_str_eq(plan.signal, "loo+mmr");
    ck_assert_uint_eq(plan.n_ranked, LAYERS);
    for (int i = 0; i < 25; i++) ck_assert_int_eq(plan.ranking[i].layer, loo_order[i]);
    for (int i = 0; i < 5; i++) ck_assert_int_eq(plan.ranking[25 + i].layer, mmr_choice[i]);
    ck_assert_int_eq(plan.stages[1].layers.values[0], 3);
    ck_assert_int_eq(plan.stages[1].layers.values[1], 5);

    /* The text of the file gives the same plan again. */
    char *text = plan_format_text(&plan);
    struct json *document;
    ok(js_parse(&document, text, strlen(text), "x"));
    struct plan again;
    ok(plan_parse(&again, document, "x"));
    char *second = plan_format_text(&again);
    ck_assert_str_eq(text, second);
    check_stage(&again, 3, 30, true);
    free(text);
    free(second);
    js_free(document);
    plan_free(&again);
    plan_free(&plan);
    close_published(store);
}
END_TEST

START_TEST(mmr_alone_goes_on_from_its_base) {
    int64_t runs[2], model;
    struct store *store = published_store(runs);
    struct plan_choice choice[] = {{runs[1], 0, NULL}};
    struct plan_choices choices = {choice, 1, NULL, "27,30", false};
    struct plan plan;
    ok(plan_from_store(&plan, &model, store, &choices));
    check_stage(&plan, 2, 30, true);
    ck_assert_uint_eq(plan.base.count, 25);
    ck_assert_uint_eq(plan.n_ranked, 25);
    plan_free(&plan);
    choices.stages = "25,30";
    ck_assert_int_eq(plan_from_store(&plan, &model, store, &choices), STATUS_USAGE);
    ck_assert_str_eq(status_message(),
                     "a stage of 25 layers: the base of run 2 has 25 replaced already");
    close_published(store);
}
END_TEST

static void refuse(struct store *store, struct plan_choices choices, enum status expected,
                   const char *message) {
    struct plan plan;
    int64_t model;
    ck_assert_int_eq(plan_from_store(&plan, &model, store, &choices), expected);
    ck_assert_str_eq(status_message(), message);
    ck_assert_ptr_null(plan.ranking);
}

START_TEST(impossible_wishes) {
    int64_t runs[2];
    struct store *store = published_store(runs);
    struct plan_choice loo[] = {{1, 0, NULL}, {2, 25, NULL}};
    refuse(store, (struct plan_choices){loo, 1, NULL, "25,60", false}, STATUS_USAGE,
           "a stage of 60 layers: the model has 50");
    refuse(store, (struct plan_choices){loo, 1, NULL, "25,25", false}, STATUS_USAGE,
           "--stages: must ascend, but 25 follows 25");
    refuse(store, (struct plan_choices){loo, 1, NULL, "27,25", false}, STATUS_USAGE,
           "--stages: must ascend, but 25 follows 27");
    refuse(store, (struct plan_choices){loo, 1, NULL, "0", false}, STATUS_USAGE,
           "--stages: must ascend, but 0 follows 0");
    const char *malformed[] = {"", ",", "25,", "2x", "-3", "25;27", "99999999"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        struct int_list list;
        ck_assert_int_eq(plan_parse_stages(&list, malformed[i], "--stages"), STATUS_USAGE);
    }
    refuse(store, (struct plan_choices){loo, 1, "first,last", "25,49", false}, STATUS_USAGE,
           "a stage of 49 layers: only 48 can be replaced (50 layers in the model, 2 kept, the "
           "others without a score in run 1)");
    refuse(store, (struct plan_choices){loo, 1, "50", "25", false}, STATUS_USAGE,
           "--keep: \"50\" goes outside 0 to 49");
    refuse(store, (struct plan_choices){loo + 1, 1, "47", "30", false}, STATUS_USAGE,
           "no run decides the first 25 layers; name one before run 2@25");
    struct plan_choice mmr[] = {{2, 0, NULL}};
    refuse(store, (struct plan_choices){mmr, 1, "47", "30", false}, STATUS_USAGE,
           "layer 47 is to be kept, but the base of run 2 replaces it");
    struct plan_choice same[] = {{1, 0, NULL}, {2, 0, NULL}};
    refuse(
        store, (struct plan_choices){same, 2, NULL, "25", false}, STATUS_USAGE,
        "runs 1 and 2 would both decide from 0 layers on; give the later one a larger number, as "
        "in 2@25");
    refuse(store, (struct plan_choices){loo, 2, NULL, "20,25", false}, STATUS_USAGE,
           "run 2 decides from 25 layers on, but the last stage replaces 25");
    struct plan_choice absent[] = {{7, 0, NULL}};
    char message[128];
    snprintf(message, sizeof message, "\"%s\" has no run 7", published_path);
    refuse(store, (struct plan_choices){absent, 1, NULL, "20", false}, STATUS_FAILED, message);
    struct plan_choice metric[] = {{1, 0, "rkl"}};
    refuse(store, (struct plan_choices){metric, 1, NULL, "20", false}, STATUS_FAILED,
           "run 1 (loo) has no metric \"rkl\"; it has: kl");
    ok(store_finish_run(store, 1, STORE_STATUS_INTERRUPTED));
    refuse(
        store, (struct plan_choices){loo, 1, NULL, "20", false}, STATUS_FAILED,
        "run 1 is not finished (interrupted, 0 rows, 50 layers): finish it with the command that "
        "began it, or add --unfinished to plan from what it has");
    struct plan plan;
    int64_t model;
    ok(plan_from_store(&plan, &model, store, &(struct plan_choices){loo, 1, NULL, "20", true}));
    plan_free(&plan);

    struct store_run_key other = {
        .kind = "loo", .base = "", .parameters = "{}", .dataset = 1, .device = "cpu"};
    enum store_run_state state;
    int64_t run;
    ok(store_add_model(&other.model, store, "beef", "another", shape));
    ok(store_begin_run(&run, &state, store, &other));
    ok(store_finish_run(store, run, STORE_STATUS_DONE));
    ok(store_finish_run(store, 1, STORE_STATUS_DONE));
    struct plan_choice mixed[] = {{1, 0, NULL}, {run, 10, NULL}};
    refuse(store, (struct plan_choices){mixed, 2, NULL, "20", false}, STATUS_FAILED,
           "runs 1 and 3 score different models (\"Apriel-Nemotron-15B-Thinker\" and \"another\")");
    close_published(store);
}
END_TEST

/* Six layers: 0 and 1 tie, 2, 3 and 4 tie, 5 stands alone. */
static struct plan_source tied_source(void) {
    static const double values[] = {1.00, 1.01, 2.00, 2.01, 2.02, 3.00};
    struct plan_source source = {.run = 1, .kind = "loo", .metric = "kl", .base = ""};
    source.ranking = (struct ranking){calloc(6, sizeof(struct ranking_entry)), 6, true};
    for (int i = 0; i < 6; i++)
        source.ranking.entries[i] =
            (struct ranking_entry){.layer = i, .value = values[i], .stderr_value = 0.02, .n = 4};
    return source;
}

START_TEST(borders_through_tie_groups) {
    struct plan_source source = tied_source();
    int counts[] = {1, 2, 4, 5}, keep[] = {5};
    struct plan_request request = {.fingerprint = "f",
                                   .model = "m",
                                   .shape = "{\"num_hidden_layers\": 6}",
                                   .sources = &source,
                                   .n_sources = 1,
                                   .keep = {keep, 1},
                                   .counts = {counts, 4}};
    struct plan plan;
    ok(plan_build(&plan, &request));
    ck_assert_uint_eq(plan.n_stages, 4);
    const size_t inside[] = {1, 0, 2, 0}, outside[] = {1, 0, 1, 0};
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(plan.stages[i].tie_inside.count, inside[i]);
        ck_assert_uint_eq(plan.stages[i].tie_outside.count, outside[i]);
    }
    ck_assert_int_eq(plan.stages[2].tie_inside.values[1], 3);
    ck_assert_int_eq(plan.stages[2].tie_outside.values[0], 4);
    const int groups[] = {1, 1, 2, 2, 2};
    ck_assert_uint_eq(plan.n_ranked, 5);
    for (int i = 0; i < 5; i++) ck_assert_int_eq(plan.ranking[i].tie_group, groups[i]);
    char *csv;
    ok(plan_export(&csv, &plan, 0, PLAN_FORMAT_CSV,
                   &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                   "p"));
    ck_assert_ptr_nonnull(strstr(csv, "\n4,3,1,2.01,0.02,2,3\n"));
    free(csv);
    char *yaml;
    ck_assert_int_eq(
        plan_export(&yaml, &plan, 0, PLAN_FORMAT_SURGERY,
                    &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                    "p"),
        STATUS_FAILED);
    ck_assert_str_eq(status_message(), "\"p\": \"hidden_size\" is missing");
    plan_free(&plan);
    ranking_free(&source.ranking);
}
END_TEST

START_TEST(a_second_run_decides_within_a_tie_of_the_first) {
    /* The first run ends inside its second group: the border at 3 is a tie of that run. */
    struct plan_source sources[] = {tied_source(), tied_source()};
    sources[1].run = 2;
    sources[1].from = 3;
    for (int i = 0; i < 6; i++) sources[1].ranking.entries[i].value = 10 - i;
    int counts[] = {3, 4};
    struct plan_request request = {.fingerprint = "f",
                                   .model = "m",
                                   .shape = "{\"num_hidden_layers\": 6}",
                                   .sources = sources,
                                   .n_sources = 2,
                                   .counts = {counts, 2}};
    struct plan plan;
    ok(plan_build(&plan, &request));
    const int order[] = {0, 1, 2, 5, 4, 3}, groups[] = {1, 1, 2, 3, 4, 5};
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(plan.ranking[i].layer, order[i]);
        ck_assert_int_eq(plan.ranking[i].tie_group, groups[i]);
    }
    ck_assert_uint_eq(plan.stages[0].tie_inside.count, 1);
    ck_assert_uint_eq(plan.stages[0].tie_outside.count, 2);
    ck_assert_uint_eq(plan.stages[1].tie_inside.count, 0);
    plan_free(&plan);
    ranking_free(&sources[0].ranking);
    ranking_free(&sources[1].ranking);
}
END_TEST

/* A small plan with one text replaced by another must be refused with this message. */
static const char small[] =
    "{\"format\": \"apriel-tool/plan\", \"version\": 1, \"model\": {\"fingerprint\": \"f\", "
    "\"path\": "
    "\"m\", \"shape\": {\"num_hidden_layers\": 4}}, \"signal\": \"loo\", \"runs\": [{\"run\": 1, "
    "\"kind\": \"loo\", \"metric\": \"kl\", \"from\": 0}], \"base\": [], \"keep\": [0], "
    "\"ranking\": "
    "[{\"layer\": 2, \"run\": 1, \"score\": 0.5, \"stderr\": null, \"tie_group\": 1}, {\"layer\": "
    "1, "
    "\"run\": 1, \"score\": 0.75, \"stderr\": 0.1, \"tie_group\": 2}], \"stages\": [{\"count\": 1, "
    "\"layers\": [2], \"layout\": \"ttmt\", \"tie\": {\"inside\": [2], \"outside\": [1]}}, "
    "{\"count\": "
    "2, \"layers\": [1, 2], \"layout\": \"tmmt\", \"tie\": null}]}";

static const struct {
    const char *from, *to, *message;
} damages[] = {
    {"apriel-tool/plan", "other", "\"p\" is not a plan (\"format\" is not \"apriel-tool/plan\")"},
    {"\"version\": 1", "\"version\": 3",
     "\"p\" is a plan of version 3, this program knows 2; use a newer apriel-tool"},
    {"\"version\": 1", "\"version\": 1.5", "\"p\": \"version\" must be an integer, found 1.5"},
    {"\"model\": {", "\"model\": 3, \"x\": {", "\"p\": \"model\" must be an object"},
    {"\"fingerprint\": \"f\"", "\"fingerprint\": \"\"",
     "\"p\": \"fingerprint\" must be a text that is not empty"},
    {"num_hidden_layers\": 4", "num_hidden_layers\": 4000000000000", NULL},
    {"num_hidden_layers\": 4", "num_hidden_layers\": 0", NULL},
    {"\"ranking\": [", "\"ranking\": 1, \"y\": [", "\"p\": \"ranking\" must be an array"},
    {"\"layer\": 1", "\"layer\": 4", NULL},
    {"\"layer\": 1", "\"layer\": -1", NULL},
    {"\"layer\": 1", "\"layer\": 2",
     "\"p\": layer 2 is ranked, but it is kept, in the base or ranked before"},
    {"\"layer\": 1", "\"layer\": 0",
     "\"p\": layer 0 is ranked, but it is kept, in the base or ranked before"},
    {"\"score\": 0.5", "\"score\": \"x\"", NULL},
    {"\"stderr\": 0.1", "\"stderr\": -0.1",
     "\"p\": \"stderr\" of layer 1 must be null or a number from 0 on"},
    {"\"stderr\": 0.1", "\"stderr\": []",
     "\"p\": \"stderr\" of layer 1 must be null or a number from 0 on"},
    {"\"tie_group\": 1", "\"tie_group\": 3", "\"p\": \"tie_group\" falls at layer 1"},
    {"\"from\": 0", "\"from\": -2", NULL},
    {"\"count\": 1", "\"count\": 2", "\"p\": \"count\" is 2, but \"layers\" has 1"},
    {"\"layers\": [2]", "\"layers\": [\"2\"]",
     "\"p\": \"layers\" must hold layer numbers from 0 to 3"},
    {"\"layers\": [1, 2]", "\"layers\": [2, 1]",
     "\"p\": \"layers\" must ascend, but 2 stands before 1"},
    {"\"layers\": [1, 2]", "\"layers\": [1, 1]",
     "\"p\": \"layers\" must ascend, but 1 stands before 1"},
    {"\"layers\": [1, 2]", "\"layers\": [1, 3]",
     "\"p\": the stage of 2 layers lacks layer 2, which was replaced before it"},
    {"\"layers\": [1, 2]", "\"layers\": [0, 2]",
     "\"p\": layer 0 is kept, but the stage of 2 layers replaces it"},
    {"\"ttmt\"", "\"tttm\"",
     "\"p\": \"layout\" of the stage of 1 layers contradicts its \"layers\" (a letter a layer: t "
     "attention, m mamba)"},
    {"\"ttmt\"", "\"ttmtt\"", NULL},
    {"\"inside\": [2]", "\"inside\": [3]",
     "\"p\": \"inside\" of a tie names layer 3, which is not in the stage"},
    {"\"outside\": [1]", "\"outside\": [2]",
     "\"p\": \"outside\" of a tie names layer 2, which is in the stage"},
    {"\"outside\": [1]", "\"outside\": []",
     "\"p\": a tie needs layers on both sides of the border"},
    {"\"base\": []", "\"base\": [3]", "\"p\": a stage of 1 layers cannot follow 1 layers"},
    {"\"stages\": [", "\"stages\": [], \"z\": [",
     "\"p\": \"stages\" has 0 stages, expected 1 to 4"},
};

static enum status parse_damaged(struct plan *plan, const char *from, const char *to) {
    char text[4096];
    const char *at = strstr(small, from);
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - small), small, to, at + strlen(from));
    struct json *document;
    ok(js_parse(&document, text, strlen(text), "p"));
    enum status status = plan_parse(plan, document, "p");
    js_free(document);
    return status;
}

START_TEST(damaged_plans_are_refused) {
    struct plan plan;
    ok(parse_damaged(&plan, "format", "format"));
    ck_assert_uint_eq(plan.n_stages, 2);
    ck_assert(isnan(plan.ranking[0].stderr_score));
    plan_free(&plan);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        ck_assert_msg(parse_damaged(&plan, damages[i].from, damages[i].to) == STATUS_FAILED,
                      "accepted: %s", damages[i].to);
        ck_assert_ptr_null(plan.fingerprint);
        if (damages[i].message) ck_assert_str_eq(status_message(), damages[i].message);
        ck_assert_int_eq(strncmp(status_message(), "\"p\"", 3), 0);
    }
}
END_TEST

START_TEST(references_to_stages) {
    static const struct {
        const char *text, *path;
        int stage;
    } cases[] = {{"plan.json", "plan.json", 0}, {"plan.json:2", "plan.json", 2},
                 {"a:b.json", "a:b.json", 0},   {"plan.json:", "plan.json:", 0},
                 {"a:b:12", "a:b", 12},         {"plan.json:x1", "plan.json:x1", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path;
        int stage;
        ok(plan_split_reference(&path, &stage, cases[i].text));
        ck_assert_str_eq(path, cases[i].path);
        ck_assert_int_eq(stage, cases[i].stage);
        free(path);
    }
    char *path;
    int stage;
    ck_assert_int_eq(plan_split_reference(&path, &stage, "plan.json:0"), STATUS_USAGE);
    ck_assert_int_eq(plan_split_reference(&path, &stage, "plan.json:99999999999"), STATUS_USAGE);
}
END_TEST

START_TEST(formats_for_others) {
    int64_t runs[2], model;
    struct store *store = published_store(runs);
    struct plan_choice choice[] = {{runs[0], 0, NULL}};
    struct plan plan;
    ok(plan_from_store(&plan, &model, store,
                       &(struct plan_choices){choice, 1, NULL, "2,25", false}));
    char *text;
    ok(plan_export(&text, &plan, 2, PLAN_FORMAT_HF,
                   &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                   "p"));
    struct json *document;
    ok(js_parse(&document, text, strlen(text), "hf"));
    const struct json *layout = js_member(document, "hybrid_block_layout");
    ck_assert_uint_eq(js_count(layout), LAYERS);
    ck_assert_str_eq(js_string_or(js_element(layout, 47), ""), "m2");
    ck_assert_str_eq(js_string_or(js_element(layout, 0), ""), "t");
    js_free(document);
    free(text);
    ok(plan_export(
        &text, &plan, 1, PLAN_FORMAT_SURGERY,
        &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop d-state=32")},
        "p"));
    ck_assert_ptr_nonnull(strstr(text, "    - mamba  # 39\n"));
    ck_assert_ptr_nonnull(strstr(text, "    - attention  # 24\n"));
    ck_assert_ptr_nonnull(strstr(text,
                                 "        d_inner: 4096\n        d_xb: 1024\n        d_state: 32\n"
                                 "        d_conv: 4\n        dt_rank: 320\n"));
    free(text);
    ck_assert_int_eq(
        plan_export(
            &text, &plan, 1, PLAN_FORMAT_SURGERY,
            &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop d-state=48")},
            "p"),
        STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--d-state 48 must divide the head size 128");
    ok(plan_export(&text, &plan, 0, PLAN_FORMAT_FAST_LLM,
                   &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                   "p"));
    ck_assert_ptr_nonnull(strstr(text, "        state_size: 16\n"));
    ck_assert_ptr_nonnull(strstr(text, "          theta: 1000000.0\n"));
    ck_assert_ptr_nonnull(strstr(text, "        epsilon: 1.0e-05\n"));
    free(text);
    /* Rope scaling that an older plan does not describe is not guessed. */
    js_set_string(plan.shape, "rope_type", "yarn");
    ck_assert_int_eq(
        plan_export(&text, &plan, 0, PLAN_FORMAT_FAST_LLM,
                    &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                    "p"),
        STATUS_FAILED);
    ck_assert_str_eq(status_message(), "\"p\" is of an older version, which did not record rope "
                                       "scaling: name the model as --model");
    js_set_bool(plan.shape, "qk_norm", true);
    ck_assert_int_eq(
        plan_export(&text, &plan, 0, PLAN_FORMAT_SURGERY,
                    &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                    "p"),
        STATUS_FAILED);
    ck_assert_str_eq(status_message(), "\"p\": the model normalises queries and keys, which "
                                       "Apriel2's code does not");
    ck_assert_int_eq(
        plan_export(&text, &plan, 3, PLAN_FORMAT_HF,
                    &(struct plan_mixers){.choices = choices_of("init=published qkv-bias=drop")},
                    "p"),
        STATUS_USAGE);
    ck_assert_str_eq(status_message(), "\"p\" has 2 stages, there is no stage 3");
    plan_free(&plan);
    close_published(store);
}
END_TEST

/* Every kind of number and string as PyYAML reads it (it follows YAML 1.1). */
START_TEST(yaml_scalars) {
    static const struct {
        const char *json, *yaml;
    } cases[] = {
        {"1e-5", "1.0e-05"},
        {"1e-05", "1.0e-05"},
        {"0.001", "0.001"},
        {"1e30", "1.0e+30"},
        {"10000.0", "10000.0"},
        {"1000000.0", "1000000.0"},
        {"500000.0", "500000.0"},
        {"1.5e-7", "1.5e-07"},
        {"-2.5", "-2.5"},
        {"0.1", "0.1"},
        {"12", "12"},
        {"-7", "-7"},
        {"123456789.5", "123456789.5"},
        {"true", "true"},
        {"null", "null"},
        {"\"mamba\"", "mamba"},
        {"\"true\"", "\"true\""},
        {"\"no\"", "\"no\""},
        {"\"1e5\"", "\"1e5\""},
        {"\"a: b\"", "\"a: b\""},
        {"\"\"", "\"\""},
        {"\"y\"", "\"y\""},
        {"\"x\\n# y\"", "\"x\\n# y\""},
        {"\"Loo\"", "\"Loo\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char document[64], expected[64];
        struct json *value;
        struct text text = {0};
        snprintf(document, sizeof document, "{\"key\": %s}", cases[i].json);
        snprintf(expected, sizeof expected, "key: %s\n", cases[i].yaml);
        ok(js_parse(&value, document, strlen(document), "x"));
        yaml_append(&text, value);
        char *found = text_finish(&text);
        ck_assert_str_eq(found, expected);
        free(found);
        js_free(value);
    }
}
END_TEST

CHECK_MAIN("plan", yaml_scalars, the_published_stages, mmr_alone_goes_on_from_its_base,
           impossible_wishes, borders_through_tie_groups,
           a_second_run_decides_within_a_tie_of_the_first, damaged_plans_are_refused,
           references_to_stages, formats_for_others)
