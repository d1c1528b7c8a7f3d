/* The frame of every Check program: test_NAME.c defines its tests with START_TEST and ends with
 * CHECK_MAIN("name", first_test, second_test, …). Results are printed as TAP. Each test is a case
 * of its own name and has it as a tag: Check's environment variable CK_RUN_CASE runs it alone,
 * CK_EXCLUDE_TAGS leaves it out. */
#ifndef TESTS_CHECK_MAIN_H
#define TESTS_CHECK_MAIN_H

#include <check.h>
#include <stdlib.h>

#define CHECK_MAIN(program, ...)                                                                   \
    int main(void) {                                                                               \
        const TTest *const table[] = {__VA_ARGS__};                                                \
        Suite *suite = suite_create(program);                                                      \
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {                                \
            TCase *tcase = tcase_create(table[i]->name);                                           \
            tcase_set_timeout(tcase, 900);                                                         \
            tcase_set_tags(tcase, table[i]->name);                                                 \
            tcase_add_test(tcase, table[i]);                                                       \
            suite_add_tcase(suite, tcase);                                                         \
        }                                                                                          \
        SRunner *runner = srunner_create(suite);                                                   \
        srunner_set_tap(runner, "-");                                                              \
        srunner_run_all(runner, CK_SILENT);                                                        \
        int failed = srunner_ntests_failed(runner);                                                \
        srunner_free(runner);                                                                      \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;                                               \
    }

#endif
