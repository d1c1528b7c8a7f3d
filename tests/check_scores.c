/* check_scores GOLDEN.json SECTION <JSON: what `loo --json` or `eval --json` printed against golden
 * values: ce, kl and rkl within 1e-4 relative, top1 within one position. SECTION is a list of
 * layers as in demo-llama-2.6m.json ("loo_mixer") or one object of metrics, each a number or an
 * object with "value"; "top1_agreement" is another name of "top1". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

static int compared, wrong;

static void compare(double found, const struct json *value, const char *metric, double positions,
                    const char *where) {
    double expected = js_number_or(js_is_object(value) ? js_member(value, "value") : value, NAN);
    bool share = strncmp(metric, "top1", 4) == 0;
    double limit = share ? 1.001 / positions : 1e-4 * fabs(expected);
    compared++;
    if (fabs(found - expected) <= limit) return; /* NAN does not pass */
    fprintf(stderr, "%s: %s is %.9g, expected %.9g\n", where, metric, found, expected);
    wrong++;
}

/* The value of a layer's metric in loo's list; the trunk has no "layer". */
static double find_score(const struct json *scores, int64_t layer, const char *metric) {
    for (size_t i = 0; i < js_count(scores); i++) {
        const struct json *item = js_element(scores, i);
        if (js_integer_or(js_member(item, "layer"), -1) == layer &&
            strcmp(js_string_or(js_member(item, "metric"), ""), metric) == 0)
            return js_number_or(js_member(item, "value"), NAN);
    }
    return NAN;
}

static const char *const names[][2] = {{"ce", "ce"},     {"kl", "kl"},
                                       {"rkl", "rkl"},   {"teacher_ce", "teacher_ce"},
                                       {"top1", "top1"}, {"top1_agreement", "top1"}};
enum { NAMES = sizeof names / sizeof *names };

static void compare_layers(const struct json *found, const struct json *golden) {
    double positions = js_number_or(js_member(found, "tokens"), NAN);
    for (size_t i = 0; i < js_count(golden); i++) {
        const struct json *layer = js_element(golden, i);
        int64_t number = js_integer_or(js_member(layer, "layer"), -1);
        char where[32];
        snprintf(where, sizeof where, "layer %d", (int)number);
        for (int n = 0; n < NAMES; n++) {
            const struct json *value = js_member(layer, names[n][0]);
            double score = find_score(js_member(found, "scores"), number, names[n][1]);
            if (value) compare(score, value, names[n][1], positions, where);
        }
    }
}

static void compare_metrics(const struct json *found, const struct json *golden) {
    double positions = js_number_or(js_member(found, "tokens"), NAN);
    for (int n = 0; n < NAMES; n++) {
        const struct json *value = js_member(golden, names[n][0]);
        const struct json *item = js_member(found, names[n][1]);
        double score = js_number_or(js_member(item, "value"), NAN);
        if (js_member(found, "scores")) /* the trunk of loo has ce only */
            score = find_score(js_member(found, "scores"), -1, names[n][1]);
        if (value && (!js_member(found, "scores") || n == 0))
            compare(score, value, names[n][1], positions, "whole set");
    }
}

static char *read_all(size_t *length) {
    struct text text = {0};
    char buffer[4096];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, stdin)) > 0)
        text_append_bytes(&text, buffer, count);
    *length = text.length;
    return text_finish(&text);
}

int main(int argc, char **argv) {
    struct json *golden = NULL, *found = NULL;
    size_t length = 0;
    if (argc != 3) {
        fputs("usage: check_scores GOLDEN.json SECTION <JSON\n", stderr);
        return STATUS_USAGE;
    }
    char *text = read_all(&length);
    enum status status = text ? js_read(&golden, argv[1]) : STATUS_FAILED;
    if (!status) status = js_parse(&found, text, length, "standard input");
    if (!status) {
        const struct json *section = js_member(golden, argv[2]);
        if (js_is_array(section))
            compare_layers(found, section);
        else
            compare_metrics(found, section);
        if (!compared) status = status_fail("nothing to compare in \"%s\"", argv[2]);
    }
    if (status) fprintf(stderr, "check_scores: %s\n", status_message());
    free(text);
    js_free(golden);
    js_free(found);
    return status || wrong ? 1 : 0;
}
