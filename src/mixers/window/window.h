/* Attention over a window, as a replacement; see kind.c. */
#ifndef MIXERS_WINDOW_WINDOW_H
#define MIXERS_WINDOW_WINDOW_H

#include "mixers/mixer.h"

extern const struct mixer_kind window_kind;

#endif
