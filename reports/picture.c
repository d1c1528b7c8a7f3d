#define _GNU_SOURCE
#include "reports/picture.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/paths.h"

/* Terminals measure fonts and marks differently; these make the three formats look alike. */
static const struct {
    const char *ending, *font;
    int font_size;
    double mark_scale;
    const char *terminal;
} formats[] = {
    [PICTURE_SVG] = {".svg", "sans-serif", 17, 0.68,
                     "svg noenhanced dynamic size width, height background 'white'"},
    [PICTURE_PNG] = {".png", "Sans", 14, 1.0,
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
    *out = (struct picture){0};
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

void picture_free(struct picture *picture) {
    free(picture->path);
    free(picture->data_path);
    free(picture->script_path);
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

/* In single quotes gnuplot knows one escape: a quote is doubled. */
static void append_quoted(struct text *text, const char *value) {
    text_append(text, "'");
    for (; *value; value++)
        text_append(text, "%s%c", *value == '\'' ? "'" : "",
                    iscntrl((unsigned char)*value) ? ' ' : *value);
    text_append(text, "'");
}

void picture_set_number(struct picture *picture, const char *name, double value) {
    text_append(&picture->settings, "%s = ", name);
    append_number(&picture->settings, value);
    text_append(&picture->settings, "\n");
}

void picture_set_string(struct picture *picture, const char *name, const char *value) {
    text_append(&picture->settings, "%s = ", name);
    append_quoted(&picture->settings, value);
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
        append_quoted(&picture->settings, values[i]);
    }
    text_append(&picture->settings, "]\n");
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
static enum status write_script(struct picture *picture, const char *name) {
    enum status status = STATUS_FAILED;
    char *data_name = text_format("./%s", file_name(picture->data_path));
    char *output_name = text_format("./%s", file_name(picture->path)), *text = NULL;
    struct text script = {0};
    if (!output_name || !data_name) goto done;
    text_append(&script, "# Draw again, in this directory: gnuplot %s\ndata = ",
                file_name(picture->script_path));
    append_quoted(&script, data_name);
    text_append(&script, "\nif (!exists('output')) output = ");
    append_quoted(&script, output_name);
    text_append(&script, "\nwidth = %d\nheight = %d\n", picture->width, picture->height);
    text_append(&script, "font = '%s'\nfont_size = %d\nmark_scale = %g\n",
                formats[picture->format].font, formats[picture->format].font_size,
                formats[picture->format].mark_scale);
    text_append_bytes(&script, picture->settings.bytes, picture->settings.length);
    text_append(&script,
                "set terminal %s font sprintf('%%s,%%d', font, font_size)\nset output output\n\n",
                formats[picture->format].terminal);
    if ((status = append_file(&script, "style"))) goto done;
    text_append(&script, "\n");
    if ((status = append_file(&script, name))) goto done;
    size_t size = script.length;
    text = text_finish(&script);
    status = text ? file_write_atomic(picture->script_path, text, size) : STATUS_FAILED;
done:
    text_free(&script);
    free(text);
    free(data_name);
    free(output_name);
    return status;
}

/* In the child: never returns. Output and errors of gnuplot go into the pipe. */
static void execute_gnuplot(const char *directory, const char *assignment, const char *script,
                            int pipe_end) {
    if (chdir(directory) != 0 || dup2(pipe_end, STDERR_FILENO) < 0 ||
        dup2(pipe_end, STDOUT_FILENO) < 0)
        _exit(126);
    execlp("gnuplot", "gnuplot", "-e", assignment, script, (char *)NULL);
    _exit(errno == ENOENT ? 127 : 126);
}

/* Run gnuplot on the script. `*exit_status` is 127 when it is not installed; `said` gets the
 * beginning of what it printed. */
static enum status run_gnuplot(int *exit_status, char *said, size_t said_size,
                               const char *directory, const char *assignment, const char *script) {
    int ends[2], wait_status = 0;
    if (pipe(ends) != 0) return status_fail("cannot run gnuplot: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        interrupt_release();
        execute_gnuplot(directory, assignment, script, ends[1]);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return status_fail("cannot run gnuplot: %s", strerror(errno));
    }
    size_t length = 0;
    char rest[512];
    for (;;) {
        bool room = length + 1 < said_size;
        ssize_t got =
            read(ends[0], room ? said + length : rest, room ? said_size - length - 1 : sizeof rest);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (room) length += (size_t)got;
    }
    said[length] = '\0';
    close(ends[0]);
    while (waitpid(child, &wait_status, 0) < 0 && errno == EINTR) continue;
    *exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    return STATUS_OK;
}

/* gnuplot's complaint: its last line; the ones before repeat the statement. */
static const char *last_line(char *said) {
    size_t length = strlen(said);
    while (length && isspace((unsigned char)said[length - 1])) said[--length] = '\0';
    const char *line = strrchr(said, '\n');
    return line ? line + 1 : said;
}

static enum status draw(struct picture *picture) {
    enum status status = STATUS_FAILED;
    char said[1024] = "";
    int code = 0;
    const char *script = file_name(picture->script_path);
    char *directory = file_parent(picture->path);
    char *temporary = text_format("%s.tmp-%ld", picture->path, (long)getpid());
    struct text assignment = {0};
    text_append(&assignment, "output = ");
    char *temporary_name = temporary ? text_format("./%s", file_name(temporary)) : NULL;
    if (temporary_name) append_quoted(&assignment, temporary_name);
    char *expression = text_finish(&assignment);
    char *relative_script = text_format("./%s", script);
    if (!directory || !temporary_name || !expression || !relative_script) goto done;
    status = run_gnuplot(&code, said, sizeof said, directory, expression, relative_script);
    if (status) goto done;
    if (code == 127)
        status =
            status_fail("gnuplot is not installed: wrote \"%s\" and \"%s\" only; install it and "
                        "run: cd \"%s\" && gnuplot %s",
                        picture->data_path, picture->script_path, directory, script);
    else if (code != 0)
        status = status_fail("gnuplot failed on \"%s\": %s", picture->script_path,
                             *said ? last_line(said) : "it said nothing");
    else if (rename(temporary, picture->path) != 0)
        status = status_fail("cannot write \"%s\": %s", picture->path, strerror(errno));
done:
    if (temporary) unlink(temporary);
    free(directory);
    free(temporary);
    free(temporary_name);
    free(expression);
    free(relative_script);
    return status;
}

enum status picture_draw(struct picture *picture, const char *name) {
    enum status status = STATUS_FAILED;
    size_t size = picture->data.length;
    char *data = text_finish(&picture->data);
    if (picture->settings.failed)
        status = status_fail("out of memory while building a chart");
    else if (data)
        status = file_write_atomic(picture->data_path, data, size);
    free(data);
    if (!status) status = write_script(picture, name);
    if (!status) status = draw(picture);
    return status;
}
