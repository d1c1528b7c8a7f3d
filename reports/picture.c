#define _GNU_SOURCE
#include "reports/picture.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/paths.h"
#include "base/quote.h"
#include "reports/gnuplot.h"

/* Terminals measure fonts and marks differently; these make the three formats look alike. */
static const struct {
    const char *ending, *font;
    int font_size;
    double mark_scale;
    const char *terminal;
} formats[] = {
    [PICTURE_SVG] = {".svg", "sans-serif", 17, 0.68,
                     "svg noenhanced dynamic size width, height background 'white'"},
    [PICTURE_PNG] = {".png", "Sans", 14, 1.5,
                     "pngcairo noenhanced size 2 * width, 2 * height fontscale 2 linewidth 2 "
                     "pointscale 2 background 'white'"},
    [PICTURE_PDF] = {".pdf", "Sans", 14, 0.5,
                     "pdfcairo noenhanced size width / 96.0, height / 96.0 background 'white'"},
};

enum { FORMATS = sizeof formats / sizeof *formats };

static char *replace_ending(const char *path, const char *ending) {
    return text_format("%.*s%s", (int)(strlen(path) - strlen(".svg")), path, ending);
}

enum status picture_begin(struct picture *out, const char *path) {
    *out = (struct picture){.existing = OUTPUT_KEEP};
    const char *name = file_name(path);
    size_t length = strlen(name);
    int format = 0;
    while (format < FORMATS &&
           (length <= 4 || strcmp(name + length - 4, formats[format].ending) != 0))
        format++;
    if (format == FORMATS)
        return status_set(STATUS_USAGE, "\"%s\" must end in .svg, .png or .pdf", path);
    out->format = (enum picture_format)format;
    out->path = memory_copy_string(path);
    out->data_path = replace_ending(path, ".dat");
    out->script_path = replace_ending(path, ".gp");
    if (out->path && out->data_path && out->script_path) return STATUS_OK;
    picture_free(out);
    return STATUS_FAILED;
}

enum status picture_check(const struct picture *picture, const char *const *inputs, size_t count) {
    const char *paths[] = {picture->path, picture->data_path, picture->script_path};
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < 3; i++) {
        status = output_check(paths[i], picture->existing);
        if (!status) status = output_check_inputs(paths[i], inputs, count);
    }
    return status;
}

void picture_free(struct picture *picture) {
    free(picture->path);
    free(picture->data_path);
    free(picture->script_path);
    free(picture->title);
    text_free(&picture->description);
    text_free(&picture->settings);
    text_free(&picture->data);
    *picture = (struct picture){0};
}

static void append_number(struct text *text, double value) {
    if (isfinite(value))
        text_append(text, "%.9g", value);
    else
        text_append(text, "NaN");
}

/* Text that is drawn: nothing in it that could not be seen. */
static void append_shown(struct text *text, const char *value) {
    char *shown = quote_shown(value);
    if (shown)
        quote_gnuplot(text, shown);
    else
        text->failed = true;
    free(shown);
}

void picture_set_number(struct picture *picture, const char *name, double value) {
    text_append(&picture->settings, "%s = ", name);
    append_number(&picture->settings, value);
    text_append(&picture->settings, "\n");
}

void picture_set_string(struct picture *picture, const char *name, const char *value) {
    text_append(&picture->settings, "%s = ", name);
    append_shown(&picture->settings, value);
    text_append(&picture->settings, "\n");
}

void picture_set_numbers(struct picture *picture, const char *name, const double *values,
                         int count) {
    text_append(&picture->settings, "array %s[%d] = [", name, count);
    for (int i = 0; i < count; i++) {
        text_append(&picture->settings, "%s", i ? ", " : "");
        append_number(&picture->settings, values[i]);
    }
    text_append(&picture->settings, "]\n");
}

void picture_set_strings(struct picture *picture, const char *name, char *const *values,
                         int count) {
    text_append(&picture->settings, "array %s[%d] = [", name, count);
    for (int i = 0; i < count; i++) {
        text_append(&picture->settings, "%s", i ? ", " : "");
        append_shown(&picture->settings, values[i]);
    }
    text_append(&picture->settings, "]\n");
}

enum status picture_set_titles(struct picture *picture, const char *title, const char *subtitle,
                               char *const *labels, int count) {
    picture_set_string(picture, "title", title);
    picture_set_string(picture, "subtitle", subtitle);
    picture_set_strings(picture, "label", labels, count);
    text_append(&picture->description, "%s", subtitle);
    for (int i = 0; i < count; i++) text_append(&picture->description, "; %s", labels[i]);
    free(picture->title);
    picture->title = memory_copy_string(title);
    return picture->title ? STATUS_OK : STATUS_FAILED;
}

/* Append a file of this folder. */
static enum status append_file(struct text *text, const char *name) {
    char *relative = text_format("reports/%s.gp", name), *path = NULL, *bytes = NULL;
    size_t size = 0;
    enum status status = relative ? paths_find_data(&path, relative) : STATUS_FAILED;
    if (!status) status = file_read(&bytes, &size, path);
    if (!status) text_append_bytes(text, bytes, size);
    free(relative);
    free(path);
    free(bytes);
    return status;
}

/* The whole script: where things are, the settings, the terminal, the look, then the drawing. Files
 * are named as "./NAME" because gnuplot takes a leading '<' or '|' for a command. */
static char *script_text(struct picture *picture, const char *name) {
    enum status status = STATUS_FAILED;
    char *data_name = text_format("./%s", file_name(picture->data_path));
    char *output_name = text_format("./%s", file_name(picture->path)), *text = NULL;
    struct text script = {0}, command = {0};
    quote_shell_path(&command, file_name(picture->script_path));
    char *word = text_finish(&command);
    if (!output_name || !data_name || !word) goto done;
    text_append(&script, "# Draw again, in this directory: gnuplot ");
    quote_terminal(&script, word);
    text_append(&script, "\nif (!exists('data')) data = ");
    quote_gnuplot(&script, data_name);
    text_append(&script, "\nif (!exists('output')) output = ");
    quote_gnuplot(&script, output_name);
    text_append(&script, "\nwidth = %d\nheight = %d\n", picture->width, picture->height);
    text_append(&script, "font = '%s'\nfont_size = %d\nmark_scale = %g\n",
                formats[picture->format].font, formats[picture->format].font_size,
                formats[picture->format].mark_scale);
    text_append_bytes(&script, picture->settings.bytes, picture->settings.length);
    text_append(&script,
                "set terminal %s font sprintf('%%s,%%d', font, font_size)\n"
                "if (exists('to_pipe')) { set output } else { set output output }\n\n",
                formats[picture->format].terminal);
    if ((status = append_file(&script, "style"))) goto done;
    text_append(&script, "\n");
    status = append_file(&script, name);
done:
    if (!status) text = text_finish(&script);
    text_free(&script);
    free(word);
    free(data_name);
    free(output_name);
    return text;
}

/* ---- what gnuplot drew */

/* The beginning and the end of a whole picture of each format. */
static bool is_whole(enum picture_format format, const struct text *drawn) {
    static const struct {
        const char *head, *tail;
        size_t head_size, tail_size;
    } frames[] = {
        [PICTURE_SVG] = {"<?xml", "</svg>", 5, 6},
        [PICTURE_PNG] = {"\x89PNG\r\n\x1a\n", "\0\0\0\0IEND\xae\x42\x60\x82", 8, 12},
        [PICTURE_PDF] = {"%PDF-", "%%EOF", 5, 5},
    };
    size_t length = drawn->length, head = frames[format].head_size, tail = frames[format].tail_size;
    while (format != PICTURE_PNG && length && isspace((unsigned char)drawn->bytes[length - 1]))
        length--;
    return length >= head + tail && memcmp(drawn->bytes, frames[format].head, head) == 0 &&
           memcmp(drawn->bytes + length - tail, frames[format].tail, tail) == 0;
}

/* gnuplot's own title says "Gnuplot" and its tooltips "gnuplot_plot_1": the chart's title, what
 * stands in its key, and the values of points take their places. Hypertexts are made by our
 * scripts, of numbers and plain words. */
static void append_svg(struct text *out, const struct picture *picture, const char *from) {
    static const char title[] = "<title>Gnuplot</title>", plot[] = "<g id=\"gnuplot_plot_",
                      hover[] = "<g onmousemove=\"gnuplot_svg.showHypertext(evt,'",
                      leave[] = "')\" onmouseout=\"gnuplot_svg.hideHypertext()\"><title> </title>";
    for (const char *at; (at = strchr(from, '<')); from = at + 1) {
        text_append_bytes(out, from, (size_t)(at - from));
        const char *end = NULL;
        if (strncmp(at, title, strlen(title)) == 0 && (end = strstr(at, "</desc>"))) {
            text_append(out, "<title>");
            quote_xml(out, picture->title ? picture->title : "");
            text_append(out, "</title>\n<desc>");
            quote_xml(out, picture->description.bytes ? picture->description.bytes : "");
            text_append(out, "</desc>");
            at = end + strlen("</desc>") - 1;
        } else if (strncmp(at, plot, strlen(plot)) == 0 && (end = strstr(at, "</title>"))) {
            text_append(out, "<g>"); /* and not the statement that drew it, as its title */
            at = end + strlen("</title>") - 1;
        } else if (strncmp(at, hover, strlen(hover)) == 0 && (end = strstr(at, leave))) {
            text_append(out, "<g><title>");
            text_append_bytes(out, at + strlen(hover), (size_t)(end - at) - strlen(hover));
            text_append(out, "</title>");
            at = end + strlen(leave) - 1;
        } else {
            text_append(out, "<");
        }
    }
    text_append(out, "%s", from);
}

static enum status finish_picture(const struct picture *picture, struct text *drawn) {
    if (!is_whole(picture->format, drawn))
        return status_fail("gnuplot drew no whole picture (%zu bytes) from \"%s\"", drawn->length,
                           picture->script_path);
    if (picture->format != PICTURE_SVG) return STATUS_OK;
    struct text svg = {0};
    append_svg(&svg, picture, drawn->bytes);
    if (svg.failed || picture->description.failed) {
        text_free(&svg);
        return status_fail("out of memory while drawing a chart");
    }
    text_free(drawn);
    *drawn = svg;
    return STATUS_OK;
}

/* The two files beside the picture. */
struct sources {
    struct output_staged *data, *script;
};

static enum status commit_sources(struct sources *sources) {
    enum status status = output_commit(sources->data);
    sources->data = NULL;
    if (!status) {
        status = output_commit(sources->script);
        sources->script = NULL;
    }
    return status;
}

/* All three, or none where one cannot be written; the sources alone where gnuplot fails. */
static enum status draw(struct picture *picture, struct sources *sources) {
    struct text drawn = {0};
    struct output_staged *whole = NULL;
    const struct gnuplot_files files = {picture->script_path, picture->data_path,
                                        output_staged_name(sources->script),
                                        output_staged_name(sources->data)};
    enum status status = gnuplot_draw(&drawn, &files);
    if (!status) status = finish_picture(picture, &drawn);
    if (status == STATUS_FAILED) {
        char *message = memory_copy_string(status_message());
        status = commit_sources(sources);
        if (!status) status = status_fail("%s", message ? message : "out of memory");
        free(message);
    } else if (!status) {
        status = output_stage(&whole, picture->path, drawn.bytes, drawn.length, picture->existing);
        if (!status) status = commit_sources(sources);
        if (!status)
            status = output_commit(whole);
        else
            output_discard(whole);
    }
    text_free(&drawn);
    return status;
}

enum status picture_draw(struct picture *picture, const char *name) {
    struct sources sources = {0};
    size_t size = picture->data.length;
    char *data = text_finish(&picture->data), *script = NULL;
    enum status status = STATUS_FAILED;
    if (picture->settings.failed || !data) {
        status = status_fail("out of memory while building a chart");
        goto done;
    }
    if (!(script = script_text(picture, name))) goto done;
    status = output_stage(&sources.data, picture->data_path, data, size, picture->existing);
    if (!status)
        status = output_stage(&sources.script, picture->script_path, script, strlen(script),
                              picture->existing);
    if (!status) status = draw(picture, &sources);
done:
    output_discard(sources.data);
    output_discard(sources.script);
    free(data);
    free(script);
    return status;
}
