/* What control groups allow, read from trees of files as systems have them. */
#define _GNU_SOURCE
#include "base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/threads.h"
#include "check_main.h"

static char root[64];

static void begin_tree(void) {
    strcpy(root, "/tmp/cgroup-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void end_tree(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* A file of the tree, with the directories above it. */
static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    FILE *file = fopen(whole, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                                                  \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                                   \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"         \
    "33 31 0:30 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"                   \
    "34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

static void bounds(uint64_t memory, const char *memory_group, double cpus, const char *cpu_group) {
    struct cgroup_limits limits;
    cgroup_read(&limits, root);
    ck_assert_uint_eq(limits.memory, memory);
    ck_assert_str_eq(limits.memory_group, memory_group);
    ck_assert_double_eq_tol(limits.cpus, cpus, 1e-9);
    ck_assert_str_eq(limits.cpu_group, cpu_group);
    end_tree();
}

START_TEST(nothing_is_no_limit) {
    begin_tree();
    bounds(UINT64_MAX, "", 0, "");
    begin_tree();
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", "");
    bounds(UINT64_MAX, "", 0, "");
    begin_tree(); /* a mount without files, as a tmpfs that hides it has */
    put("/proc/self/cgroup", "0::/job\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    bounds(UINT64_MAX, "", 0, "");
    begin_tree();
    put("/proc/self/cgroup", "garbage\n\n:::\n0:\n0::/job");
    put("/proc/self/mountinfo", " - \n - cgroup2\n1 2 3 - cgroup2 x y\n" V2_MOUNT);
    put("/sys/fs/cgroup/job/memory.max", "rubbish\n");
    put("/sys/fs/cgroup/job/cpu.max", "");
    bounds(UINT64_MAX, "", 0, "");
}
END_TEST

START_TEST(version_2) {
    begin_tree();
    put("/proc/self/cgroup", "0::/system.slice/job\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/system.slice/job/memory.max", "209715200\n");
    put("/sys/fs/cgroup/system.slice/job/memory.current", "104857600\n");
    put("/sys/fs/cgroup/system.slice/job/memory.stat",
        "anon 1\nfile 2\ninactive_anon 7\nactive_file 9\ninactive_file 4857600\n");
    put("/sys/fs/cgroup/system.slice/job/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    put("/sys/fs/cgroup/system.slice/memory.current", "999999999\n");
    put("/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
    bounds(209715200 - 104857600 + 4857600, "/system.slice/job", 1.5, "/system.slice/job");
    begin_tree(); /* more cached than used, and used more than allowed */
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/a/memory.max", "1000\n");
    put("/sys/fs/cgroup/a/memory.current", "50\n");
    put("/sys/fs/cgroup/a/memory.stat", "inactive_file 80\n");
    bounds(1000, "/a", 0, "");
    begin_tree();
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/a/memory.max", "1000\n");
    put("/sys/fs/cgroup/a/memory.current", "5000\n");
    bounds(0, "/a", 0, "");
    begin_tree(); /* what slows down a group before its limit */
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/a/memory.max", "1000\n");
    put("/sys/fs/cgroup/a/memory.high", "800\n");
    put("/sys/fs/cgroup/a/memory.current", "100\n");
    bounds(700, "/a", 0, "");
}
END_TEST

START_TEST(parents_bound) {
    begin_tree();
    put("/proc/self/cgroup", "0::/a/b/c/d\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/a/b/c/d/memory.max", "5000000\n");
    put("/sys/fs/cgroup/a/b/c/d/cpu.max", "400000 100000\n");
    put("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.max", "3000000\n"); /* c has no files of its own for cpu */
    put("/sys/fs/cgroup/a/b/memory.current", "100000\n");
    put("/sys/fs/cgroup/a/cpu.max", "200000 50000\n");
    put("/sys/fs/cgroup/a/memory.max", "4000000\n");
    put("/sys/fs/cgroup/cpu.max", "250000 100000\n");
    bounds(2900000, "/a/b", 2.5, "/");
}
END_TEST

START_TEST(version_1) {
    begin_tree();
    put("/proc/self/cgroup",
        "12:pids:/x\n9:memory:/slurm/uid_5/job_7\n3:cpu,cpuacct:/slurm\n0::/x\n");
    put("/proc/self/mountinfo", V1_MOUNTS);
    put("/sys/fs/cgroup/memory/slurm/uid_5/job_7/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/slurm/uid_5/memory.limit_in_bytes", "4000000\n");
    put("/sys/fs/cgroup/memory/slurm/uid_5/memory.usage_in_bytes", "1500000\n");
    put("/sys/fs/cgroup/memory/slurm/uid_5/memory.stat",
        "inactive_file 3\ntotal_inactive_file 500000\nhierarchical_memory_limit 4000000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us", "300000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    bounds(3000000, "/slurm/uid_5", 3, "/slurm");
    begin_tree(); /* a parent that a container cannot see, told by memory.stat */
    put("/proc/self/cgroup", "9:memory:/docker/123\n");
    put("/proc/self/mountinfo",
        "33 31 0:30 /docker/123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 7000\n");
    bounds(6000, "/docker/123", 0, "");
    begin_tree(); /* groups that once did not count for their parents */
    put("/proc/self/cgroup", "9:memory:/a/b\n");
    put("/proc/self/mountinfo", V1_MOUNTS);
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9000\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "10\n");
    put("/sys/fs/cgroup/memory/a/memory.use_hierarchy", "0\n");
    bounds(9000, "/a/b", 0, "");
}
END_TEST

START_TEST(hybrid) {
    begin_tree(); /* version 1 bounds, version 2 only names the groups */
    put("/proc/self/cgroup", "4:memory:/job\n1:name=systemd:/job\n0::/job\n");
    put("/proc/self/mountinfo", V1_MOUNTS);
    put("/sys/fs/cgroup/unified/job/cgroup.procs", "1\n");
    put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8000\n");
    put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1000\n");
    bounds(7000, "/job", 0, "");
}
END_TEST

START_TEST(containers) {
    begin_tree(); /* a namespace of its own: the group is the top */
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/memory.max", "6000\n");
    put("/sys/fs/cgroup/memory.current", "2000\n");
    put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
    bounds(4000, "/", 0.5, "/");
    begin_tree(); /* the host's names, and the group mounted as the top */
    put("/proc/self/cgroup", "0::/docker/77\n");
    put("/proc/self/mountinfo", "9 8 0:26 /docker/77 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/memory.max", "6000\n");
    bounds(6000, "/docker/77", 0, "");
    begin_tree(); /* names that do not fit what is mounted: the top that is seen */
    put("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
    put("/proc/self/mountinfo", "9 8 0:26 /other /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/memory.max", "5000\n");
    bounds(5000, "/kubepods/pod1/c1", 0, "");
    begin_tree(); /* a process that was moved out of its namespace */
    put("/proc/self/cgroup", "0::/../b\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/memory.max", "5000\n");
    put("/sys/fs/cgroup/b/memory.max", "1\n");
    bounds(5000, "/../b", 0, "");
}
END_TEST

START_TEST(mounts) {
    begin_tree(); /* a bind of the parent elsewhere shows more than the one in the usual place */
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/self/mountinfo", "9 8 0:26 /a/b /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
                                "10 8 0:26 /a /mnt/my\\040groups\\134x ro - cgroup2 cgroup rw\n"
                                "11 8 0:26 /abc /mnt/other ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/memory.max", "8000\n");
    put("/mnt/my groups\\x/memory.max", "3000\n");
    put("/mnt/other/memory.max", "1\n");
    bounds(3000, "/a", 0, "");
    begin_tree(); /* a name that only begins like the mount's root */
    put("/proc/self/cgroup", "0::/abc\n");
    put("/proc/self/mountinfo", "9 8 0:26 /ab /mnt/ab ro - cgroup2 cgroup rw\n" V2_MOUNT);
    put("/mnt/ab/c/memory.max", "1\n");
    put("/mnt/ab/memory.max", "1\n");
    put("/sys/fs/cgroup/abc/memory.max", "7\n");
    bounds(7, "/abc", 0, "");
    begin_tree(); /* groups whose names have colons and blanks */
    put("/proc/self/cgroup", "0::/a:b/c d\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/a:b/c d/memory.max", "70\n");
    bounds(70, "/a:b/c d", 0, "");
}
END_TEST

START_TEST(least_of_machine_and_group) {
    char bound[MEMORY_BOUND];
    begin_tree();
    put("/proc/meminfo", "MemTotal: 9000 kB\nMemFree:  10 kB\nMemAvailable:    5000 kB\n");
    ck_assert_uint_eq(memory_available_below(bound, root), 5000 * 1024);
    ck_assert_str_eq(bound, "");
    put("/proc/self/cgroup", "0::/job\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/job/memory.max", "6000000\n");
    ck_assert_uint_eq(memory_available_below(bound, root), 5000 * 1024);
    ck_assert_str_eq(bound, "");
    put("/sys/fs/cgroup/job/memory.current", "2000000\n");
    ck_assert_uint_eq(memory_available_below(bound, root), 4000000);
    ck_assert_str_eq(bound, "cgroup limit of /job");
    put("/sys/fs/cgroup/job/memory.current", "7000000\n");
    ck_assert_uint_eq(memory_available_below(NULL, root), 1); /* 0 would be unknown */
    put("/proc/meminfo", "");
    put("/sys/fs/cgroup/job/memory.current", "0\n");
    ck_assert_uint_eq(memory_available_below(bound, root), 6000000);
    end_tree();
}
END_TEST

START_TEST(processors_are_at_least_one) {
    ck_assert_int_ge(threads_processors(), 1);
    ck_assert_int_le(threads_processors(), (int)sysconf(_SC_NPROCESSORS_CONF));
}
END_TEST

CHECK_MAIN("cgroup", nothing_is_no_limit, version_2, parents_bound, version_1, hybrid, containers,
           mounts, least_of_machine_and_group, processors_are_at_least_one)
