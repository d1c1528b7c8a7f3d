/* What `plan` shows of a plan. */
#ifndef CMD_PLAN_SUMMARY_H
#define CMD_PLAN_SUMMARY_H

#include "plan/plan.h"

/* Where its order comes from, and a table of its stages. */
enum status plan_summary_print(const struct plan *plan) STATUS_CHECKED;

#endif
