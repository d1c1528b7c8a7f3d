#define _GNU_SOURCE
#include "base/path_hint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"

char *path_of_tilde(const char *path) {
    const char *home = getenv("HOME");
    if (!home || path[0] != '~' || (path[1] && path[1] != '/')) return NULL;
    return text_format("%s%s", home, path + 1);
}

/* A link whose target is gone, as in a cache that was cleaned or copied in part. */
static bool is_dangling(char *target, size_t size, const char *path) {
    ssize_t length = readlink(path, target, size - 1);
    if (length < 0) return false;
    target[length] = '\0';
    return true;
}

enum status path_fail(const char *path, int reason) {
    char *meant = reason == ENOENT ? path_of_tilde(path) : NULL, target[4096];
    enum status status;
    if (reason == ENOENT && is_dangling(target, sizeof target, path))
        status = status_fail("cannot open \"%s\": it is a link to \"%s\", which is not there", path,
                             target);
    else if (meant)
        status =
            status_fail("cannot open \"%s\": %s; a shell replaces ~ outside quotes only (it "
                        "is \"%s\", which %s there)",
                        path, strerror(reason), meant, access(meant, F_OK) == 0 ? "is" : "is not");
    else
        status = status_fail("cannot open \"%s\": %s", path, strerror(reason));
    free(meant);
    return status;
}

bool path_is_lfs_pointer(const char *bytes, size_t size) {
    static const char head[] = "version https://git-lfs";
    return size >= sizeof head - 1 && memcmp(bytes, head, sizeof head - 1) == 0;
}

enum status path_fail_lfs(const char *path) {
    return status_fail("\"%s\" is a git-lfs pointer, not the file itself: fetch it with git lfs "
                       "pull",
                       path);
}
