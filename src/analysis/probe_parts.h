/* What of the student trains with a probe, as `mmr --train` says:
 *
 *   part                                           mixer   layer   all
 *   the new mixer                                    x       x      x
 *   MLP and norms of its layer                               x      x
 *   every later layer: mixer, MLP, norms                            x
 *   the final norm, and a head of its own                           x
 *
 * The embedding, a head tied to it and the layers before are not reached by a probe's pass and stay
 * as they are. */
#ifndef ANALYSIS_PROBE_PARTS_H
#define ANALYSIS_PROBE_PARTS_H

#include "train/parameters.h"

enum probe_part {
    PROBE_MIXER,
    PROBE_BLOCK,
    PROBE_LATER,
    PROBE_OUTSIDE,
    PROBE_PARTS,
};

/* The first `count` parts train, each as its group says. */
struct probe_parts {
    int count;
    struct parameter_group groups[PROBE_PARTS];
};

/* All parts of "mixer", "layer" or "all", at the schedule's rate and with the same weight decay. */
enum status probe_parts_from_name(struct probe_parts *out, const char *name,
                                  double decay) STATUS_CHECKED;
const char *probe_parts_name(const struct probe_parts *parts);

/* Add the parts of `student` with `mixer` in the place of layer `layer`'s own, layer by layer from
 * there on. With `loaded` what is more than the mixer is the student's kept layers, else nothing
 * but sizes. */
enum status probe_parts_add(struct parameters *parameters, const struct probe_parts *parts,
                            struct model *student, int layer, const struct mixer *mixer,
                            bool loaded) STATUS_CHECKED;

/* Behind the last layer that is trained. */
int probe_parts_end(const struct probe_parts *parts, const struct model *student, int layer);

#endif
