/* The student as a checkpoint: everything as in the hybrid that training began with, and in the
 * types that it has there, but what trains with the values that it has now. */
#ifndef DISTILL_WEIGHTS_H
#define DISTILL_WEIGHTS_H

#include "train/parameters.h"

/* Weights (and their index) and the hybrid's other files but apriel-tool.json into `directory`,
 * which must exist and be empty, config.json last. Everything is on the disk when this returns;
 * after a failure there are partial files for the caller to remove. */
enum status distill_weights_write(const char *directory, const struct model *student,
                                  const struct parameters *parameters) STATUS_CHECKED;

#endif
