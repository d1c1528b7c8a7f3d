/* Sampling of a token: frequencies, and the cuts of what is unlikely. */
#include <math.h>

#include "check_main.h"
#include "generate/sample.h"

static void must(enum status status) {
    ck_assert_msg(!status, "%s", status_message());
}

/* Frequencies of 20000 draws against the probabilities, chi-squared. */
START_TEST(samples_follow_the_cut_distribution) {
    static const float logits[] = {1.0f, 3.0f, 2.0f, 2.0f, -1.0f, 0.5f, 2.9f, -30.0f};
    static const struct {
        struct sampling sampling;
        int kept; /* of the order 1 6 2 3 0 5 4 7 */
    } cases[] = {
        {{1, 1, 0, 5}, 7},   {{0.7, 1, 3, 5}, 3}, {{1, 0.5, 0, 5}, 2}, {{2, 0.999, 0, 5}, 7},
        {{1, 0.6, 4, 5}, 2}, {{1.3, 1, 8, 5}, 7}, {{0.5, 1, 1, 5}, 1}, {{0, 0.1, 2, 5}, 1},
    };
    static const int order[] = {1, 6, 2, 3, 0, 5, 4, 7};
    enum { DRAWS = 20000 };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int counts[8] = {0};
        double expected[8] = {0}, total = 0, chi = 0;
        double temperature = cases[k].sampling.temperature;
        for (int i = 0; i < cases[k].kept; i++)
            total += expected[order[i]] =
                temperature > 0 ? exp((double)logits[order[i]] / temperature) : 1;
        for (uint64_t i = 0; i < DRAWS; i++) {
            uint32_t token;
            must(sample_token(&token, logits, 8, &cases[k].sampling, i % 3, i));
            counts[token]++;
        }
        for (int i = 0; i < 8; i++) {
            double mean = expected[i] / total * DRAWS;
            if (expected[i] <= 0) ck_assert_int_eq(counts[i], 0);
            if (mean > 5) chi += (counts[i] - mean) * (counts[i] - mean) / mean;
        }
        ck_assert_msg(chi < 24, "case %zu: chi-squared %.1f", k, chi); /* 6 degrees: p = 5e-4 */
    }
    struct sampling wrong = {.temperature = -1, .top_p = 1};
    ck_assert_int_eq(sampling_check(&wrong), STATUS_USAGE);
    wrong = (struct sampling){.temperature = NAN, .top_p = 1};
    ck_assert_int_eq(sampling_check(&wrong), STATUS_USAGE);
    wrong = (struct sampling){.temperature = 1, .top_p = 0};
    ck_assert_int_eq(sampling_check(&wrong), STATUS_USAGE);
}
END_TEST

/* A large vocabulary, so that the shortcuts before sorting matter: against sorting everything. */
START_TEST(cuts_equal_those_of_a_full_sort) {
    enum { VOCABULARY = 5000 };
    static float logits[VOCABULARY];
    for (int i = 0; i < VOCABULARY; i++) logits[i] = (float)sin(i * 1.37) * 4 + (float)(i % 7);
    for (int k = 1; k < VOCABULARY; k += 617) {
        struct sampling sampling = {.temperature = 3, .top_p = 1, .top_k = k, .seed = 1};
        for (uint64_t i = 0; i < 200; i++) {
            uint32_t token;
            int larger = 0;
            must(sample_token(&token, logits, VOCABULARY, &sampling, 0, i));
            for (int j = 0; j < VOCABULARY; j++) larger += logits[j] > logits[token];
            ck_assert_int_lt(larger, k);
        }
    }
    for (int tenth = 1; tenth < 10; tenth++) {
        struct sampling sampling = {.temperature = 1, .top_p = tenth / 10.0, .seed = 1};
        double total = 0;
        for (int j = 0; j < VOCABULARY; j++) total += exp((double)logits[j]);
        for (uint64_t i = 0; i < 200; i++) {
            uint32_t token;
            double above = 0; /* mass of what is more likely: less than top_p */
            must(sample_token(&token, logits, VOCABULARY, &sampling, 0, i));
            for (int j = 0; j < VOCABULARY; j++)
                if (logits[j] > logits[token]) above += exp((double)logits[j]);
            ck_assert_double_lt(above / total, sampling.top_p);
        }
    }
}
END_TEST

CHECK_MAIN("sample", samples_follow_the_cut_distribution, cuts_equal_those_of_a_full_sort)
