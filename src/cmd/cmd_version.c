#include "cmd/commands.h"

#include <stdio.h>

#include "base/version.h"
#include "cmd/document.h"
#include "cmd/options.h"

static enum status print_json(void) {
    struct json *document = document_begin("version");
    js_set_string(document, "release", VERSION);
    return document_print(document);
}

enum status cmd_version(int argc, char **argv) {
    struct command_line line = {
        .command = "version", .usage = "[--json]", .about = "Print the version of apriel-tool."};
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (status || arguments.help) goto done;
    if (arguments.positional.count > 0) {
        status = status_set(STATUS_USAGE, "version: unexpected argument \"%s\"",
                            arguments.positional.values[0]);
        goto done;
    }
    if (arguments.json)
        status = print_json();
    else
        printf("apriel-tool %s\n", VERSION);
done:
    options_free(&arguments, &line);
    return status;
}
