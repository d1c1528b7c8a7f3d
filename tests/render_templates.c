/* render_templates CASES.json: renders [{"template", "variables"}, …] and prints what came of each:
 * [{"text"} or {"error"}, …]. For tests/oracle/fuzz_templates.py, which knows what should. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "template/template.h"

static struct json *render(const struct json *item) {
    struct template *parsed = NULL;
    struct template_output output = {0};
    struct json *result = js_new_object();
    const struct json *text = js_member(item, "template");
    enum status status =
        template_parse(&parsed, js_string_or(text, ""), js_string_length(text), "template");
    if (!status) status = template_render(&output, parsed, js_member(item, "variables"));
    if (status)
        js_set_string(result, "error", status_message());
    else
        js_set(result, "text", js_new_bytes(output.text, output.length));
    template_output_free(&output);
    template_free(parsed);
    return result;
}

int main(int argc, char **argv) {
    struct json *cases = NULL;
    if (argc != 2 || js_read(&cases, argv[1])) {
        fprintf(stderr, "render_templates: %s\n", argc == 2 ? status_message() : "CASES.json");
        return 1;
    }
    struct json *results = js_new_array();
    for (size_t i = 0; i < js_count(cases); i++) js_append(results, render(js_element(cases, i)));
    char *text = js_print(results, 0);
    if (text) puts(text);
    free(text);
    js_free(results);
    js_free(cases);
    return !text;
}
