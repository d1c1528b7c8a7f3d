#include "reports/throughput.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "reports/figure.h"

enum { PANEL = 330, WIDE = 820, MOST_LINES = 5 };

/* Rows of one way to choose the batch, as a line. */
struct line {
    bool automatic;
    int64_t batch; /* when set */
    const struct store_bench *teacher;
};

static bool belongs(const struct store_bench *row, const struct line *line) {
    return row->automatic == line->automatic && (row->automatic || row->batch == line->batch);
}

/* The lines that have a row with nothing replaced, in the order of their rows. */
static int find_lines(struct line lines[MOST_LINES], const struct store_bench_list *list) {
    int count = 0;
    for (size_t i = 0; i < list->count && count < MOST_LINES; i++) {
        const struct store_bench *row = &list->rows[i];
        if (row->replaced == 0 && row->tokens_per_second > 0)
            lines[count++] = (struct line){row->automatic, row->batch, row};
    }
    return count;
}

/* Column 1 the share of layers in percent, then for each line speed-up and roofline's speed-up. */
static void append_rows(struct text *data, const struct store_bench_list *list,
                        const struct line *lines, int count, double layers) {
    text_append(data, "# share of layers replaced (%%), line, speed-up, that of the roofline, "
                      "layers, tokens per second, batch\n");
    for (int l = 0; l < count; l++)
        for (size_t i = 0; i < list->count; i++) {
            const struct store_bench *row = &list->rows[i];
            if (!belongs(row, &lines[l])) continue;
            text_append(data, "%.4f %d %.6g %.6g %lld %.6g %lld\n",
                        100 * (double)row->replaced / layers, l + 1,
                        row->tokens_per_second / lines[l].teacher->tokens_per_second,
                        row->roofline / lines[l].teacher->roofline, (long long)row->replaced,
                        row->tokens_per_second, (long long)row->batch);
        }
}

static enum status set_titles(struct picture *picture, const struct store_bench *row,
                              const struct json *settings, char *const *labels, int count) {
    char memory[32];
    char *title = text_format("%s: decoding speed of hybrids", file_name(row->model_name));
    char *subtitle = text_format(
        "%lld token%s in, %lld out, %s, %s; hollow: the roofline",
        (long long)js_integer_or(js_member(settings, "prompt"), 0),
        js_integer_or(js_member(settings, "prompt"), 0) == 1 ? "" : "s",
        (long long)js_integer_or(js_member(settings, "output"), 0),
        memory_format(memory, (uint64_t)js_integer_or(js_member(settings, "memory"), 0)),
        row->device);
    enum status status = title && subtitle ? STATUS_OK : STATUS_FAILED;
    if (!status) status = picture_set_titles(picture, title, subtitle, labels, count);
    free(title);
    free(subtitle);
    return status;
}

static enum status label_lines(struct picture *picture, const struct line *lines, int count,
                               const struct store_bench *row, const struct json *settings) {
    char *labels[MOST_LINES] = {NULL};
    enum status status = STATUS_OK;
    for (int l = 0; !status && l < count; l++) {
        labels[l] = lines[l].automatic
                        ? text_format("as many sequences as fit (%lld with nothing replaced)",
                                      (long long)lines[l].batch)
                        : text_format("%lld sequence%s at a time", (long long)lines[l].batch,
                                      lines[l].batch == 1 ? "" : "s");
        if (!labels[l]) status = STATUS_FAILED;
    }
    if (!status) status = set_titles(picture, row, settings, labels, count);
    for (int l = 0; l < count; l++) free(labels[l]);
    return status;
}

enum status throughput_fill(struct picture *picture, struct store *store, int64_t series) {
    struct store_bench_list list;
    struct json *settings = NULL;
    struct line lines[MOST_LINES];
    enum status status = store_get_bench(&list, store, series);
    if (status) return status;
    const char *text = list.rows[0].settings;
    status = js_parse(&settings, text, strlen(text), "the series' settings");
    int64_t layers = js_integer_or(js_member(settings, "layers"), 0);
    int count = find_lines(lines, &list);
    if (!status && layers < 1) status = status_fail("the series does not say how many layers");
    if (!status && !count)
        status = status_fail("series %lld has no row without replaced layers to compare with",
                             (long long)list.rows[0].series);
    if (!status) {
        append_rows(&picture->data, &list, lines, count, (double)layers);
        picture->width = WIDE;
        picture->height =
            FIGURE_HEADER + FIGURE_HEADER_LINE * (count + 1) + PANEL + FIGURE_FOOTER + 14;
        picture_set_number(picture, "series", count);
        picture_set_number(picture, "panel_height", PANEL - 30);
        picture_set_number(picture, "layers", (double)layers);
        status = label_lines(picture, lines, count, &list.rows[0], settings);
    }
    js_free(settings);
    store_bench_list_free(&list);
    return status;
}
