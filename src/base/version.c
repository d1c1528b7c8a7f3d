#include "base/version.h"

#include "base/commit.h"
#include "base/release.h"

const char *version_commit(void) {
    return COMMIT;
}

const char *version_release(void) {
    return RELEASE;
}
