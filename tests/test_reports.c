#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/paths.h"
#include "base/text.h"
#include "check_main.h"
#include "plan/build.h"
#include "reports/importance.h"
#include "reports/picture.h"
#include "reports/probes.h"
#include "reports/ranks.h"
#include "scores/store.h"

static char directory[64];

static char *inside(const char *name) {
    if (!directory[0]) {
        snprintf(directory, sizeof directory, "/tmp/apriel-reports-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
    }
    char *path = file_join(directory, name);
    ck_assert_ptr_nonnull(path);
    return path;
}

static void remove_directory(void) {
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}

/* A database of one model with `layers` layers: run 1 loo of mixers, run 2 loo of blocks, run 3
 * mmr; importance falls by a factor of ten over the layers. Returns the opened store. */
static struct store *make_store(const char *path, int layers) {
    struct store *store = NULL;
    int64_t model = 0, dataset = 0;
    ck_assert_int_eq(store_open(&store, path, STORE_WRITE), STATUS_OK);
    char *shape = text_format("{\"num_hidden_layers\": %d}", layers);
    ck_assert_int_eq(store_add_model(&model, store, "aa", "/models/it's a model", shape),
                     STATUS_OK);
    ck_assert_int_eq(store_add_dataset(&dataset, store, "bb", "/data/text.h5", 4, 4000), STATUS_OK);
    free(shape);
    static const struct {
        const char *kind, *metric, *parameters;
    } runs[] = {
        {"loo", "kl", "{\"ablate\": \"mixer\"}"},
        {"loo", "kl", "{\"ablate\": \"block\"}"},
        {"mmr", "heldout_rkl_after",
         "{\"steps\": 100, \"init\": {\"align\": \"paper\", \"conv_init\": \"random\", "
         "\"dt_bias\": "
         "\"twice\", \"d_state\": 16}}"},
    };
    for (int r = 0; r < 3; r++) {
        struct store_run_key key = {runs[r].kind,       model, dataset, "",
                                    runs[r].parameters, 1,     "cpu",   1};
        enum store_run_state state;
        int64_t run = 0;
        ck_assert_int_eq(store_begin_run(&run, &state, store, &key), STATUS_OK);
        ck_assert_int_eq(store_begin(store), STATUS_OK);
        for (int layer = 0; layer < layers; layer++)
            ck_assert_int_eq(store_put_score(store, run, layer, runs[r].metric,
                                             (r + 1) * pow(10, -2.0 * layer / layers), 0.01, 4),
                             STATUS_OK);
        for (int layer = 0; r == 2 && layer < layers; layer++) /* probes: two seeds, 100 steps */
            for (int step = 0; step < 200; step++) {
                int half = step / 2;
                ck_assert_int_eq(store_put_probe_step(store, run, layer, step % 2, half,
                                                      2.0 / (half + 1) + step % 2),
                                 STATUS_OK);
            }
        ck_assert_int_eq(store_commit(store), STATUS_OK);
        ck_assert_int_eq(store_finish_run(store, run, STORE_STATUS_DONE), STATUS_OK);
    }
    return store;
}

START_TEST(the_program_in_its_build_directory_finds_the_source_tree) {
    char *path = NULL;
    ck_assert_int_eq(paths_find_data(&path, "reports/importance.gp"), STATUS_OK);
    ck_assert(file_exists(path));
    free(path);
    ck_assert_int_eq(paths_find_data(&path, "reports/none.gp"), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "cannot find \"reports/none.gp\""));
}
END_TEST

START_TEST(the_ending_chooses_the_format) {
    struct picture picture;
    ck_assert_int_eq(picture_begin(&picture, "a.b/layers.png"), STATUS_OK);
    ck_assert_int_eq(picture.format, PICTURE_PNG);
    ck_assert_str_eq(picture.data_path, "a.b/layers.dat");
    ck_assert_str_eq(picture.script_path, "a.b/layers.gp");
    picture_free(&picture);
    static const char *const wrong[] = {"layers", "layers.jpg", ".svg", "a.svg/layers", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(picture_begin(&picture, wrong[i]), STATUS_USAGE);
        ck_assert_ptr_nonnull(strstr(status_message(), "must end in .svg, .png or .pdf"));
    }
}
END_TEST

START_TEST(settings_are_quoted) {
    struct picture picture;
    ck_assert_int_eq(picture_begin(&picture, "x.svg"), STATUS_OK);
    picture_set_string(&picture, "title", "it's `rm` \"x\"\\\n$");
    double values[] = {1, 0.5, NAN};
    picture_set_numbers(&picture, "v", values, 3);
    ck_assert_str_eq(picture.settings.bytes,
                     "title = 'it''s `rm` \"x\"\\\\n$'\narray v[3] = [1, 0.5, NaN]\n");
    picture_free(&picture);
}
END_TEST

static const char *line_of(const struct text *text, const char *beginning) {
    const char *line = strstr(text->bytes, beginning);
    ck_assert_msg(line != NULL, "no \"%s\" in:\n%s", beginning, text->bytes);
    return line;
}

START_TEST(runs_with_one_metric_share_a_panel) {
    char *database = inside("scores.db"), *output = inside("layers.svg");
    struct store *store = make_store(database, 12);
    struct picture picture;
    struct plan plan;
    int64_t model;
    struct plan_choice choice = {1, 0, NULL};
    struct plan_choices choices = {&choice, 1, "first", "3,5", false};
    ck_assert_int_eq(plan_from_store(&plan, &model, store, &choices), STATUS_OK);
    ck_assert_int_eq(picture_begin(&picture, output), STATUS_OK);
    struct figure_request request = {.plan = &plan};
    ck_assert_int_eq(importance_fill(&picture, store, &request), STATUS_OK);
    line_of(&picture.settings, "title = 'it''s a model: importance per layer'\n");
    line_of(&picture.settings, "series = 3\n");
    line_of(&picture.settings, "panels = 2\n");
    line_of(&picture.settings, "array from[2] = [1, 3]\n");
    line_of(&picture.settings, "array to[2] = [2, 3]\n");
    line_of(&picture.settings,
            "'run 1: loo, mixer removed (4 sequences)', 'run 2: loo, block removed");
    line_of(&picture.settings, "'run 3: mmr, 100 steps, published init, d_state 16 (4 sequences)'");
    line_of(&picture.settings, "set logscale y; set yrange [");
    line_of(&picture.settings, "array stage_count[3] = [3, 5, 0]\n");
    /* The last layer is the least important: replaced first, in stage 1; layer 0 is kept. */
    ck_assert_ptr_nonnull(strstr(line_of(&picture.data, "# run 1, kl"), "\n11 0.0146779927 "));
    ck_assert_ptr_nonnull(strstr(picture.data.bytes, " 1 1\n"));
    ck_assert_ptr_nonnull(strstr(line_of(&picture.data, "# run 1, kl"), "\n0 1 0.98 1.02 0 0\n"));
    line_of(&picture.data, "\n1 11 0.0146779927 0.0293559854 0.044033978\n2 10 ");
    picture_free(&picture);
    plan_free(&plan);
    store_close(store);
    free(database);
    free(output);
    remove_directory();
}
END_TEST

START_TEST(what_does_not_fit_is_refused) {
    char *database = inside("scores.db");
    struct store *store = make_store(database, 6);
    struct picture picture;
    struct plan plan = {.fingerprint = "cc", .fingerprint_kind = 2, .model = "/models/other"};
    struct ranking_choice runs[] = {{.run = 1}, {.run = 3}, {.run = 9}};
    ck_assert_int_eq(picture_begin(&picture, "x.svg"), STATUS_OK);

    struct figure_request request = {.metric = "kl", .runs = runs, .run_count = 2};
    ck_assert_int_eq(importance_fill(&picture, store, &request), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "heldout_rkl_after"));

    request = (struct figure_request){.runs = runs + 2, .run_count = 1};
    ck_assert_int_eq(importance_fill(&picture, store, &request), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "9"));

    request = (struct figure_request){.plan = &plan};
    ck_assert_int_eq(importance_fill(&picture, store, &request), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "the plan is of \"/models/other\", another model than "
                                       "\"/models/it's a model\" of run 1");
    picture_free(&picture);
    store_close(store);
    free(database);
    remove_directory();
}
END_TEST

START_TEST(ranks_mark_what_crosses_a_border) {
    char *database = inside("scores.db");
    struct store *store = make_store(database, 4);
    struct picture picture;
    /* Run 2 alone puts layer 0 first. */
    ck_assert_int_eq(store_put_score(store, 2, 0, "kl", 1e-4, 0.01, 4), STATUS_OK);
    struct ranking_choice runs[] = {{.run = 1}, {.run = 2}};
    struct figure_request request = {.runs = runs, .run_count = 2};
    ck_assert_int_eq(picture_begin(&picture, "x.svg"), STATUS_OK);
    ck_assert_int_eq(ranks_fill(&picture, store, &request), STATUS_OK);
    /* position, layer, lowest, highest, crossed, ranks; the border is half of four */
    line_of(&picture.data, "\n1 3 1 2 0 1 2\n2 2 2 3 1 2 3\n3 1 3 4 0 3 4\n4 0 1 4 1 4 1\n");
    line_of(&picture.settings, "; tau: Kendall''s, with run 1'");
    line_of(&picture.settings, ": tau 0.00'");
    picture_free(&picture);

    request.run_count = 1;
    ck_assert_int_eq(picture_begin(&picture, "x.svg"), STATUS_OK);
    ck_assert_int_eq(ranks_fill(&picture, store, &request), STATUS_FAILED);
    ck_assert_str_eq(status_message(),
                     "a chart of ranks compares two or more runs, and there is one");
    picture_free(&picture);
    store_close(store);
    free(database);
    remove_directory();
}
END_TEST

START_TEST(probes_are_averaged_over_seeds) {
    char *database = inside("scores.db");
    struct store *store = make_store(database, 3);
    struct picture picture;
    const char *name = NULL;
    struct figure_request request = {0};
    ck_assert_int_eq(picture_begin(&picture, "x.svg"), STATUS_OK);
    ck_assert_int_eq(probes_fill(&picture, &name, store, &request), STATUS_OK);
    ck_assert_str_eq(name, "probes");
    line_of(&picture.data, "# run 3, layer 2: step, mean loss, lowest, highest, layer\n"
                           "0 2.5 2 3 2\n1 1.5 1 2 2\n");
    line_of(&picture.settings, "last_step = 99\n");
    picture_free(&picture);

    struct ranking_choice loo = {.run = 1};
    request = (struct figure_request){.runs = &loo, .run_count = 1};
    ck_assert_int_eq(picture_begin(&picture, "x.svg"), STATUS_OK);
    ck_assert_int_eq(probes_fill(&picture, &name, store, &request), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "run 1 is of loo, not of mmr");
    picture_free(&picture);
    store_close(store);
    free(database);
    remove_directory();
}
END_TEST

/* Fill a picture of a kind from a whole database and draw it. */
static enum status draw_kind(struct picture *picture, const char *kind, struct store *store) {
    struct figure_request request = {0};
    const char *name = kind;
    enum status status = strcmp(kind, "ranks") == 0 ? ranks_fill(picture, store, &request)
                         : strcmp(kind, "probes") == 0
                             ? probes_fill(picture, &name, store, &request)
                             : importance_fill(picture, store, &request);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    return picture_draw(picture, name);
}

/* Draw all formats when gnuplot is there; without it the other two files must be there. */
START_TEST(pictures_are_drawn_whole_or_not_at_all) {
    char *database = inside("scores.db"), *small_database = inside("small.db");
    struct store *store = make_store(database, 50);
    struct store *small = make_store(small_database, 5);
    const struct {
        const char *name, *magic, *kind;
        struct store *store;
    } pictures[] = {{"<a 'b'.svg", "<?xml", "importance", store},
                    {"c.png", "\x89PNG", "importance", small},
                    {"d.pdf", "%PDF", "ranks", store},
                    {"e.svg", "<?xml", "probes", store}, /* a heat map */
                    {"f.svg", "<?xml", "probes", small}};
    bool installed = system("command -v gnuplot >/dev/null") == 0;
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        char *output = inside(pictures[i].name), *bytes = NULL;
        size_t size = 0;
        struct picture picture;
        ck_assert_int_eq(picture_begin(&picture, output), STATUS_OK);
        enum status status = draw_kind(&picture, pictures[i].kind, pictures[i].store);
        ck_assert(file_exists(picture.data_path) && file_exists(picture.script_path));
        if (installed) {
            ck_assert_msg(status == STATUS_OK, "%s", status_message());
            ck_assert_int_eq(file_read(&bytes, &size, output), STATUS_OK);
            ck_assert_uint_gt(size, 1000);
            ck_assert_mem_eq(bytes, pictures[i].magic, strlen(pictures[i].magic));
        } else {
            ck_assert_int_eq(status, STATUS_FAILED);
            ck_assert(!file_exists(output));
        }
        picture_free(&picture);
        free(bytes);
        free(output);
    }
    store_close(store);
    store_close(small);
    free(small_database);
    free(database);
    remove_directory();
}
END_TEST

START_TEST(without_gnuplot_the_message_says_how) {
    char *output = inside("none.svg");
    struct picture picture;
    ck_assert_int_eq(picture_begin(&picture, output), STATUS_OK);
    picture_set_number(&picture, "layers", 1);
    text_append(&picture.data, "0 1\n");
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    ck_assert_int_eq(picture_draw(&picture, "importance"), STATUS_FAILED);
    setenv("PATH", path, 1);
    char *expected =
        text_format("gnuplot is not installed: wrote \"%s/none.dat\" and \"%s/none.gp\" "
                    "only; install it and run: cd %s && gnuplot none.gp",
                    directory, directory, directory);
    ck_assert_str_eq(status_message(), expected);
    ck_assert(file_exists(picture.data_path) && file_exists(picture.script_path));
    ck_assert(!file_exists(output));
    free(expected);
    free(path);
    free(output);
    picture_free(&picture);
    remove_directory();
}
END_TEST

CHECK_MAIN("reports", the_program_in_its_build_directory_finds_the_source_tree,
           the_ending_chooses_the_format, settings_are_quoted, runs_with_one_metric_share_a_panel,
           what_does_not_fit_is_refused, ranks_mark_what_crosses_a_border,
           probes_are_averaged_over_seeds, pictures_are_drawn_whole_or_not_at_all,
           without_gnuplot_the_message_says_how)
