/* What new mixers begin with, for tests. */
#ifndef TESTS_MIXER_CHOICES_H
#define TESTS_MIXER_CHOICES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mixers/choices.h"
#include "mixers/m2/m2.h"

/* "kind=m2 gate=random d-state=8": options and their words, the kind (or the default) first. */
__attribute__((unused)) static struct mixer_choices choices_of(const char *text) {
    struct mixer_choices choices;
    char words[256];
    snprintf(words, sizeof words, "%s", text);
    char *next = NULL, *word = strtok_r(words, " ", &next);
    bool named = word && strncmp(word, "kind=", 5) == 0;
    enum status status = mixer_choices_begin(&choices, named ? word + 5 : NULL);
    if (named) word = strtok_r(NULL, " ", &next);
    for (; !status && word; word = strtok_r(NULL, " ", &next)) {
        char *value = strchr(word, '=');
        if (value) *value++ = '\0';
        if (!value)
            status = mixer_choices_flag(&choices, word);
        else if (strspn(value, "0123456789") == strlen(value))
            status = mixer_choices_size(&choices, word, atoi(value));
        else
            status = mixer_choices_set(&choices, word, value);
    }
    if (status) {
        fprintf(stderr, "\"%s\": %s\n", text, status_message());
        abort();
    }
    return choices;
}

#endif
