/* The demo model's tokenizer, for tests of chats and conversations. */
#ifndef TESTS_DEMO_TOKENIZER_H
#define TESTS_DEMO_TOKENIZER_H

#include "check_main.h"
#include "tokenizer/tokenizer.h"

#define DEMO TEST_DATA "/../../recipes/demo-model"

static void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static struct tokenizer *demo_tokenizer(void) {
    struct tokenizer *tokenizer;
    ok(tokenizer_read(&tokenizer, DEMO));
    return tokenizer;
}

#endif
