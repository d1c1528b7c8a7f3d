#define _GNU_SOURCE
#include "base/cgroup.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A hierarchy that this process is in. */
struct hierarchy {
    const char *controller;   /* of version 1: "memory", "cpu"; NULL: version 2 */
    char group[PATH_MAX];     /* the process's, as /proc/self/cgroup has it; "": in none */
    char mount[PATH_MAX];     /* where a part of the hierarchy is mounted; "": nowhere */
    char directory[PATH_MAX]; /* the process's group below it */
};

/* ---- files */

static FILE *open_file(const char *root, const char *directory, const char *name) {
    char path[2 * PATH_MAX + 64];
    if (snprintf(path, sizeof path, "%s%s/%s", root, directory, name) >= (int)sizeof path)
        return NULL;
    return fopen(path, "re");
}

/* The first line of a file without its end; false: there is none. */
static bool read_line(char *line, size_t size, const char *root, const char *directory,
                      const char *name) {
    FILE *file = open_file(root, directory, name);
    if (!file) return false;
    bool good = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (good) line[strcspn(line, "\n")] = '\0';
    return good;
}

/* A whole number that fills the text: "max" and "-1" are none. */
static bool parse_number(uint64_t *out, const char *text) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0' || *end == ' ' || *end == '\n';
}

static bool read_number(uint64_t *out, const char *root, const char *directory, const char *name) {
    char line[64];
    return read_line(line, sizeof line, root, directory, name) && parse_number(out, line);
}

/* The value of a key in a file of lines "key value". */
static bool read_key(uint64_t *out, const char *root, const char *directory, const char *name,
                     const char *key) {
    FILE *file = open_file(root, directory, name);
    char line[256];
    bool found = false;
    size_t length = strlen(key);
    while (file && !found && fgets(line, sizeof line, file))
        found = strncmp(line, key, length) == 0 && line[length] == ' ' &&
                parse_number(out, line + length + 1);
    if (file) fclose(file);
    return found;
}

/* ---- where the process's groups are */

/* Whether `word` is one of the words of `list`, which commas part. */
static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ','))
        if (strcspn(at, ",\n") == length && strncmp(at, word, length) == 0) return true;
    return false;
}

static void find_group(struct hierarchy *hierarchy, const char *root) {
    FILE *file = open_file(root, "/proc/self", "cgroup");
    char *line = NULL;
    size_t size = 0;
    while (file && getline(&line, &size, file) > 0) {
        char *controllers = strchr(line, ':'),
             *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        path[strcspn(path, "\n")] = '\0';
        bool ours = hierarchy->controller ? has_word(controllers, hierarchy->controller)
                                          : strncmp(line, "0:", 2) == 0 && !*controllers;
        if (ours && strlen(path) < sizeof hierarchy->group) strcpy(hierarchy->group, path);
    }
    free(line);
    if (file) fclose(file);
}

/* mountinfo writes blanks, tabs, line ends and backslashes as three octal digits. */
static void unescape(char *text) {
    char *to = text;
    for (; *text; text++) {
        bool octal = text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
                     text[2] <= '7' && text[3] >= '0' && text[3] <= '7';
        *to++ = octal ? (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0') : *text;
        if (octal) text += 3;
    }
    *to = '\0';
}

/* The part of `group` below `top`; NULL when it does not lie there. */
static const char *below(const char *group, const char *top) {
    size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    if (strncmp(group, top, length) != 0) return NULL;
    return group[length] == '/' || !group[length] ? group + length : NULL;
}

/* ---- limits */

/* The name of the group in a directory: the process's own, less as many parts at its end as the
 * directory lies above it. */
static void name_group(char name[CGROUP_NAME], const struct hierarchy *hierarchy,
                       const char *directory) {
    size_t above = strlen(hierarchy->directory) - strlen(directory);
    size_t length = strlen(hierarchy->group);
    length = above < length ? length - above : 0;
    if (length >= CGROUP_NAME) length = CGROUP_NAME - 1;
    snprintf(name, CGROUP_NAME, "%.*s", (int)length, hierarchy->group);
    if (!length) strcpy(name, "/");
}

static void bound_memory(struct cgroup_limits *out, const struct hierarchy *hierarchy,
                         const char *root, const char *directory) {
    static const char *const limits[] = {"memory.max", "memory.high"};
    bool old = hierarchy->controller != NULL;
    uint64_t limit = UINT64_MAX, number, use = 0, cached = 0;
    for (int i = 0; i < 2 && !old; i++)
        if (read_number(&number, root, directory, limits[i]) && number < limit) limit = number;
    if (old && read_number(&number, root, directory, "memory.limit_in_bytes")) limit = number;
    /* The least of the parents' too, also where a container cannot see them. */
    if (old && read_key(&number, root, directory, "memory.stat", "hierarchical_memory_limit") &&
        number < limit)
        limit = number;
    if (limit >= (uint64_t)1 << 62) return; /* version 1's "unlimited" is the largest page count */
    read_number(&use, root, directory, old ? "memory.usage_in_bytes" : "memory.current");
    read_key(&cached, root, directory, "memory.stat",
             old ? "total_inactive_file" : "inactive_file");
    use -= cached < use ? cached : use; /* given up where memory is needed */
    uint64_t left = use < limit ? limit - use : 0;
    if (left >= out->memory) return;
    out->memory = left;
    name_group(out->memory_group, hierarchy, directory);
}

static void bound_cpus(struct cgroup_limits *out, const struct hierarchy *hierarchy,
                       const char *root, const char *directory) {
    char line[64];
    uint64_t quota = 0, period = 100000;
    if (hierarchy->controller) {
        if (!read_number(&quota, root, directory, "cpu.cfs_quota_us")) return;
        read_number(&period, root, directory, "cpu.cfs_period_us");
    } else {
        if (!read_line(line, sizeof line, root, directory, "cpu.max")) return;
        if (!parse_number(&quota, line)) return;
        char *blank = strchr(line, ' ');
        if (blank) parse_number(&period, blank + 1);
    }
    double cpus = period ? (double)quota / (double)period : 0;
    if (cpus <= 0 || (out->cpus > 0 && cpus >= out->cpus)) return;
    out->cpus = cpus;
    name_group(out->cpu_group, hierarchy, directory);
}

/* The process's group and every parent that is mounted. */
static void bound_groups(struct cgroup_limits *out, const struct hierarchy *hierarchy,
                         const char *root, bool memory, bool cpus) {
    char directory[PATH_MAX];
    size_t top = strlen(hierarchy->mount);
    strcpy(directory, hierarchy->directory);
    for (bool inherits = true; inherits;) {
        uint64_t flag;
        if (memory) bound_memory(out, hierarchy, root, directory);
        if (cpus) bound_cpus(out, hierarchy, root, directory);
        size_t length = strlen(directory);
        while (length > top && directory[length - 1] != '/') length--;
        if (length <= top) break;
        directory[length - 1] = '\0';
        /* Version 1 once had groups that did not count for their parents. */
        inherits = !(memory && hierarchy->controller &&
                     read_number(&flag, root, directory, "memory.use_hierarchy") && flag == 0);
    }
}

/* ---- where they are mounted */

enum match { MATCH_NONE, MATCH_OUTSIDE, MATCH_WITHIN };

/* A line of mountinfo: "36 35 98:0 /root /mount/point options [tags] - type source options". The
 * hierarchy's mount and directory are set unless it is another one's. */
static enum match match_mount(struct hierarchy *hierarchy, char *line) {
    char type[32], options[4096] = "", *fields = strstr(line, " - ");
    int at[4];
    if (!fields) return MATCH_NONE;
    *fields = '\0';
    if (sscanf(fields + 3, "%31s %*s %4095s", type, options) < 1) return MATCH_NONE;
    if (sscanf(line, "%*s %*s %*s %n%*s%n %n%*s%n", &at[0], &at[1], &at[2], &at[3]) < 0)
        return MATCH_NONE;
    bool ours = hierarchy->controller
                    ? strcmp(type, "cgroup") == 0 && has_word(options, hierarchy->controller)
                    : strcmp(type, "cgroup2") == 0;
    if (!ours) return MATCH_NONE;
    line[at[1]] = line[at[3]] = '\0';
    char *top = line + at[0], *point = line + at[2];
    unescape(top);
    unescape(point);
    /* "/.." leads out of a namespace. */
    bool outside = strncmp(hierarchy->group, "/..", 3) == 0;
    const char *rest = outside ? NULL : below(hierarchy->group, top);
    const char *inside = rest && strcmp(rest, "/") != 0 ? rest : "";
    if (strlen(point) + strlen(inside) >= sizeof hierarchy->directory) return MATCH_NONE;
    strcpy(hierarchy->mount, point);
    sprintf(hierarchy->directory, "%s%s", point, inside);
    return rest ? MATCH_WITHIN : MATCH_OUTSIDE;
}

/* Every mount that shows the process's group bounds; where none does (a container's group, seen
 * from inside), the tops that can be seen. */
static void bound_mounts(struct cgroup_limits *out, struct hierarchy *hierarchy, const char *root,
                         bool memory, bool cpus) {
    enum match best = MATCH_OUTSIDE;
    for (int pass = 0; pass < 2; pass++) {
        FILE *file = open_file(root, "/proc/self", "mountinfo");
        char *line = NULL;
        size_t size = 0;
        while (file && getline(&line, &size, file) > 0) {
            enum match match = match_mount(hierarchy, line);
            if (pass == 0 && match > best) best = match;
            if (pass == 1 && match == best) bound_groups(out, hierarchy, root, memory, cpus);
        }
        free(line);
        if (file) fclose(file);
    }
}

void cgroup_read(struct cgroup_limits *out, const char *root) {
    static const struct {
        const char *controller;
        bool memory, cpus;
    } kinds[] = {{NULL, true, true}, {"memory", true, false}, {"cpu", false, true}};
    *out = (struct cgroup_limits){.memory = UINT64_MAX};
    struct hierarchy *hierarchy = malloc(sizeof *hierarchy);
    for (size_t i = 0; hierarchy && i < sizeof kinds / sizeof *kinds; i++) {
        *hierarchy = (struct hierarchy){.controller = kinds[i].controller};
        find_group(hierarchy, root);
        if (*hierarchy->group) bound_mounts(out, hierarchy, root, kinds[i].memory, kinds[i].cpus);
    }
    free(hierarchy);
}
