#include "mixers/attention/attention.h"
#include "mixers/gdn/gdn.h"
#include "mixers/m2/m2.h"
#include "mixers/mamba2/mamba2.h"
#include "mixers/window/window.h"

const struct mixer_kind *const mixer_kinds[MIXER_MAX_KINDS + 1] = {
    &attention_kind, &m2_kind, &window_kind, &mamba2_kind, &gdn_kind,
};
