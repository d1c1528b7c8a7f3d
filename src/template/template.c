#include "template/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "template/lexer.h"
#include "template/parser.h"
#include "template/run.h"

/* \r\n and \r become \n, and one newline at the end goes, as jinja2 reads templates. */
static enum status take_text(struct template *parsed, const char *text, size_t length) {
    size_t wrong, count = 0;
    if (length > TEMPLATE_TEXT_LIMIT)
        return status_fail("\"%s\": the template is longer than %d MB", parsed->source,
                           TEMPLATE_TEXT_LIMIT >> 20);
    if (!utf8_valid(text, length, &wrong))
        return status_fail("\"%s\": the template is not UTF-8 at byte %zu", parsed->source, wrong);
    char *to = arena_take_text(&parsed->arena, length + 1);
    if (!to) return STATUS_FAILED;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') continue;
        to[count++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (count && to[count - 1] == '\n') count--;
    parsed->text = to;
    parsed->length = count;
    return STATUS_OK;
}

enum status template_parse(struct template **out, const char *text, size_t length,
                           const char *source) {
    struct token *tokens = NULL;
    struct template *parsed = memory_calloc(1, sizeof *parsed);
    if (!parsed) return STATUS_FAILED;
    parsed->arena.limit = TEMPLATE_MEMORY_LIMIT;
    parsed->source = memory_copy_string(source);
    enum status status = parsed->source ? take_text(parsed, text, length) : STATUS_FAILED;
    if (!status) status = lexer_read(&tokens, parsed);
    if (!status) {
        struct parser parser = {.parsed = parsed, .tokens = tokens, .current = tokens};
        while (tokens[parser.count++].kind != TOKEN_END) continue;
        parsed->body = syntax_parse_template(&parser);
        status = parser.status ? parser.status : syntax_analyze(parsed);
    }
    free(tokens);
    if (status)
        template_free(parsed);
    else
        *out = parsed;
    return status;
}

void template_free(struct template *parsed) {
    if (!parsed) return;
    free(parsed->source);
    arena_free(&parsed->arena);
    free(parsed);
}

bool template_has_generation(const struct template *parsed) {
    return parsed->has_generation;
}

struct value run_fail(struct run *run, const char *format, ...) {
    if (run->status) return value_of_kind(VALUE_UNDEFINED);
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    run->status = template_fail(run->parsed, run->line, "%s", reason);
    return value_of_kind(VALUE_UNDEFINED);
}

bool run_work(struct run *run, uint64_t steps) {
    run->steps += steps;
    if (run->steps > TEMPLATE_STEP_LIMIT)
        run_fail(run, "more than %d steps are needed", TEMPLATE_STEP_LIMIT);
    return !run->status;
}

struct value run_take_output(struct run *run, size_t mark) {
    if (run->status || run->out.length < mark) return value_of_kind(VALUE_UNDEFINED);
    struct value text = value_text_copy(run, run->out.bytes + mark, run->out.length - mark);
    run->out.length = mark;
    return text;
}

enum status template_render(struct template_output *out, const struct template *parsed,
                            const struct json *variables) {
    struct run run = {.parsed = parsed, .arena = {.limit = TEMPLATE_MEMORY_LIMIT}, .line = 1};
    *out = (struct template_output){0};
    text_append_bytes(&run.out, "", 0);
    struct value context = value_from_json(&run, variables);
    if (!run.status && context.kind != VALUE_DICT)
        run_fail(&run, "the variables of a template must be an object");
    run.variables = context.dict;
    run.root = run.status ? NULL : scope_new(&run, NULL, parsed->hidden);
    if (!run.status) execute(&run, run.root, parsed->body);
    if (!run.status && run.out.failed) run.status = status_fail("out of memory");
    arena_free(&run.arena);
    if (run.status) {
        text_free(&run.out);
        free(run.spans);
        free(run.time);
        return run.status;
    }
    *out = (struct template_output){.length = run.out.length,
                                    .spans = run.spans,
                                    .span_count = run.span_count,
                                    .spans_lost = run.spans_lost,
                                    .shown_list = run.shown_list,
                                    .time = run.time};
    out->text = text_finish(&run.out);
    return out->text ? STATUS_OK : STATUS_FAILED;
}

void template_output_free(struct template_output *output) {
    free(output->text);
    free(output->spans);
    free(output->time);
    *output = (struct template_output){0};
}
