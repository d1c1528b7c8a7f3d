#include "base/version.h"

#include "base/commit.h"

const char *version_commit(void) {
    return COMMIT;
}
