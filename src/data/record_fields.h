/* Which members of a record hold what: their usual names, or those of --fields. */
#ifndef DATA_RECORD_FIELDS_H
#define DATA_RECORD_FIELDS_H

#include <stdbool.h>

#include "base/json.h"

enum record_role {
    ROLE_TEXT,
    ROLE_PROMPT,
    ROLE_RESPONSE,
    ROLE_COMPLETION,
    ROLE_CHOSEN,
    ROLE_REJECTED,
    ROLE_INSTRUCTION,
    ROLE_INPUT,
    ROLE_OUTPUT,
    ROLE_IDS,
    ROLE_LOSS_MASK,
    ROLE_MESSAGES,
    ROLE_CONVERSATIONS,
    RECORD_ROLES,
};

/* Zeroed: every role has its own name. */
struct record_fields {
    char *names[RECORD_ROLES]; /* owned; NULL: the usual name */
    bool named;                /* --fields was given: only what it names counts */
};

const char *record_role_name(enum record_role role); /* "prompt" */

/* The name of the member that holds `role`; NULL when --fields leaves it out. */
const char *record_field(const struct record_fields *fields, enum record_role role);

/* "prompt=question,response=answer" */
enum status record_fields_parse(struct record_fields *out, const char *text) STATUS_CHECKED;
void record_fields_free(struct record_fields *fields); /* accepts a zeroed struct */

/* The member that holds `role`; NULL where it is absent, null or NaN. */
const struct json *record_member(const struct json *object, const struct record_fields *fields,
                                 enum record_role role);

/* Sets the message that no form fits: the fields found, and --fields as it may have been meant. */
enum status record_fields_refuse(const struct json *object, const struct record_fields *fields,
                                 const char *forms) STATUS_CHECKED;

#endif
