#include "cli/document.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

enum { DOCUMENT_VERSION = 1 }; /* of all of them, so far */

struct json *document_begin(const char *command) {
    struct json *document = js_new_object();
    char *format = text_format("apriel-tool/%s", command);
    js_set_string(document, "format", format);
    js_set_integer(document, "version", DOCUMENT_VERSION);
    free(format);
    return document;
}

enum status document_print(struct json *document) {
    char *text = js_print(document, 2);
    js_free(document);
    if (!text) return STATUS_FAILED;
    puts(text);
    free(text);
    return STATUS_OK;
}
