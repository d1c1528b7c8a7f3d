/* Between the files that carry statements out. */
#ifndef TEMPLATE_EXECUTE_H
#define TEMPLATE_EXECUTE_H

#include "template/run.h"

/* Unpacks `value` where the target is several names. */
void execute_assign(struct run *run, struct scope *scope, const struct node *target,
                    struct value value);

/* The text that `body` writes, instead of writing it. */
struct value execute_captured(struct run *run, struct scope *scope, const struct node *body,
                              enum flow *flow);
enum flow execute_for(struct run *run, struct scope *scope, const struct node *node);

#endif
