/* Final answers: what a model wrote, and (after the first NUL or newline) a right answer. */
#include <stdlib.h>
#include <string.h>

#include "eval/answers.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = malloc(size + 1), *found;
    if (!text) abort();
    if (size) memcpy(text, bytes, size);
    text[size] = '\0';
    size_t length = strcspn(text, "\n");
    const char *gold = length < size ? text + length + 1 : "";
    bool equal;
    if (answer_extract(&found, text)) abort();
    if (found && !*found) abort(); /* nothing is NULL */
    free(found);
    text[length] = '\0';
    if (answer_extract(&found, text)) abort();
    if (answer_equal(&equal, found ? found : text, gold)) abort();
    if (answer_equal(&equal, gold, gold)) abort();
    if (!equal && strlen(gold) > 0 && strspn(gold, "abcdefgh0123456789") == strlen(gold)) abort();
    free(found);
    free(text);
    return 0;
}
