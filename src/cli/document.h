/* The documents of --json. Each begins with "format": "apriel-tool/COMMAND" and "version": N, which
 * is raised when a member goes away or changes its meaning; doc/apriel-tool.1, JSON DOCUMENTS, says
 * what they hold, and tests/cli/json.sh compares. Plans (plan/plan.h) are documents of their own.
 */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include "base/json.h"

/* A new object that begins so; `command` may be more than a command's name ("plan-schedule"). */
struct json *document_begin(const char *command);

/* Print it on stdout, two blanks a level, and free it. */
enum status document_print(struct json *document) STATUS_CHECKED;

#endif
