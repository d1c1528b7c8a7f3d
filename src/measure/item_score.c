#include "measure/item_score.h"

#include <math.h>

const char *item_metric_name(enum item_metric metric) {
    static const char *const names[ITEM_METRICS] = {"acc", "acc_norm", "margin", "greedy"};
    return names[metric];
}

void item_score(struct item_score *out, const struct choice_set *set,
                const struct choice_item *item, const double *sums, const int64_t *greedy) {
    const struct choice *choices = set->choices + item->first;
    double best = -INFINITY, best_norm = -INFINITY, best_other = -INFINITY;
    *out = (struct item_score){0};
    for (int c = 0; c < item->choices; c++) {
        double likelihood = -sums[(size_t)c * METRIC_COUNT + METRIC_CE];
        double norm = likelihood / (double)(choices[c].characters ? choices[c].characters : 1);
        if (likelihood > best) {
            best = likelihood;
            out->chosen = c;
        }
        if (norm > best_norm) {
            best_norm = norm;
            out->chosen_norm = c;
        }
        if (c != item->gold && likelihood > best_other) best_other = likelihood;
    }
    double gold = -sums[(size_t)item->gold * METRIC_COUNT + METRIC_CE];
    out->values[ITEM_ACC] = out->chosen == item->gold;
    out->values[ITEM_ACC_NORM] = out->chosen_norm == item->gold;
    out->values[ITEM_MARGIN] = gold - best_other;
    out->values[ITEM_GREEDY] = greedy[item->gold] == choices[item->gold].count;
}

bool item_score_normalised(const struct choice_set *set) {
    for (size_t i = 0; i < set->items_count; i++) {
        const struct choice *choices = set->choices + set->items[i].first;
        for (int c = 1; c < set->items[i].choices; c++)
            if (choices[c].characters != choices[0].characters) return true;
    }
    return false;
}
