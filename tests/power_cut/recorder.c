// Preloaded into a process (LD_PRELOAD): writes down, in order, each call that changes or flushes what lies below the
// folder JUNTO_RECORD_ROOT, into the file JUNTO_RECORD_LOG. disk.rs reads it.
//
// One call at a time: a mutex is held over the call and its record, so that the order of the records is one in which
// the calls were made. A call that is not modelled is recorded under its name, and the reader refuses the log.
//
// JUNTO_RECORD_STOP=n ends the process right after its nth record, as kill -9 would.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, LENGTH, WRITE, SYNC, SYNC_DIR, RENAME, UNLINK, MKDIR, RMDIR, SYNC_RANGE, UNKNOWN };

struct record {
    uint8_t op;
    uint64_t inode, at, path_bytes, data_bytes;
} __attribute__((packed));

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static int out = -1;
static long stop_after = -1;

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("JUNTO_RECORD_ROOT"), *log = getenv("JUNTO_RECORD_LOG");
    const char *stop = getenv("JUNTO_RECORD_STOP");
    if (!folder || !log) return;
    snprintf(root, sizeof root, "%s/", folder);
    root_bytes = strlen(root);
    out = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0) abort();
    if (stop) stop_after = atol(stop);
    // What this process starts is not recorded.
    unsetenv("LD_PRELOAD");
}

static int is_below(const char *path) {
    return out >= 0 && (strncmp(path, root, root_bytes) == 0 || strlen(path) + 1 == root_bytes);
}

// Where a path leads, without following links: nothing below the root is one.
static int resolve(int folder, const char *path, char *to) {
    char begin[PATH_MAX];
    if (out < 0 || !path) return 0;
    if (path[0] == '/') return snprintf(to, PATH_MAX, "%s", path) < PATH_MAX && is_below(to);
    if (folder == AT_FDCWD) {
        if (!getcwd(begin, sizeof begin)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, begin, sizeof begin - 1);
        if (n < 0) return 0;
        begin[n] = 0;
    }
    return snprintf(to, PATH_MAX, "%s/%s", begin, path) < PATH_MAX && is_below(to);
}

// Whether a descriptor is of something below the root, and of what.
static int is_ours(int fd, struct stat *what, char *path) {
    if (out < 0 || fd == out) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_below(path) && fstat(fd, what) == 0;
}

static void put(const void *bytes, size_t left) {
    const char *at = bytes;
    while (left) {
        ssize_t n = syscall(SYS_write, out, at, left);
        if (n <= 0) abort();
        at += n, left -= (size_t)n;
    }
}

static void note(uint8_t op, uint64_t inode, uint64_t at, const char *path, const void *data, size_t data_bytes) {
    int before = errno;
    struct record record = {op, inode, at, path ? strlen(path) : 0, data_bytes};
    put(&record, sizeof record);
    if (path) put(path, strlen(path));
    put(data, data_bytes);
    if (stop_after > 0 && --stop_after == 0) _exit(0);
    errno = before;
}

static void unknown(const char *name) { note(UNKNOWN, 0, 0, name, 0, 0); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define LOCK pthread_mutex_lock(&one)
#define UNLOCK pthread_mutex_unlock(&one)

// --- Opening

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!(flags & (O_CREAT | O_TRUNC)) || !resolve(folder, path, whole))
        return (int)syscall(SYS_openat, folder, path, flags, mode);
    LOCK;
    struct stat what;
    int was_there = stat(whole, &what) == 0;
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && fstat(fd, &what) == 0) {
        if ((flags & O_TMPFILE) == O_TMPFILE) unknown("O_TMPFILE");
        else if (!was_there) note(CREATE, what.st_ino, 0, whole, 0, 0);
        else if (flags & O_TRUNC) note(LENGTH, what.st_ino, 0, 0, 0, 0);
    }
    UNLOCK;
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list rest;                                  \
        va_start(rest, flags);                         \
        mode_t mode = mode_of(flags, rest);            \
        va_end(rest);                                  \
        return opened(AT_FDCWD, path, flags, mode);    \
    }
#define OPENAT(name)                                           \
    int name(int folder, const char *path, int flags, ...) {   \
        va_list rest;                                          \
        va_start(rest, flags);                                 \
        mode_t mode = mode_of(flags, rest);                    \
        va_end(rest);                                          \
        return opened(folder, path, flags, mode);              \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

// --- Contents

static ssize_t wrote(int fd, const void *bytes, size_t count, off_t at) {
    struct stat what;
    char path[PATH_MAX];
    int is_placed = at >= 0;
    if (!is_ours(fd, &what, path))
        return is_placed ? syscall(SYS_pwrite64, fd, bytes, count, at) : syscall(SYS_write, fd, bytes, count);
    LOCK;
    if (fcntl(fd, F_GETFL) & O_APPEND) {
        fstat(fd, &what);
        at = what.st_size;
    } else if (!is_placed) {
        at = lseek(fd, 0, SEEK_CUR);
    }
    ssize_t n = is_placed ? syscall(SYS_pwrite64, fd, bytes, count, at) : syscall(SYS_write, fd, bytes, count);
    if (n > 0) note(WRITE, what.st_ino, (uint64_t)at, 0, bytes, (size_t)n);
    UNLOCK;
    return n;
}

ssize_t write(int fd, const void *bytes, size_t count) { return wrote(fd, bytes, count, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return wrote(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return wrote(fd, bytes, count, at); }

// A copy is recorded as what it writes.
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t count, unsigned flags) {
    struct stat what;
    char path[PATH_MAX];
    if (!is_ours(to, &what, path)) return syscall(SYS_copy_file_range, from, a, to, b, count, flags);
    char bytes[65536];
    if (count > sizeof bytes) count = sizeof bytes;
    ssize_t n = a ? pread(from, bytes, count, *a) : read(from, bytes, count);
    if (n <= 0) return n;
    ssize_t written = wrote(to, bytes, (size_t)n, b ? *b : -1);
    if (written != n) return -1;
    if (a) *a += n;
    if (b) *b += n;
    return n;
}

static int resized(int fd, off_t length) {
    struct stat what;
    char path[PATH_MAX];
    if (!is_ours(fd, &what, path)) return (int)syscall(SYS_ftruncate, fd, length);
    LOCK;
    int outcome = (int)syscall(SYS_ftruncate, fd, length);
    if (outcome == 0) note(LENGTH, what.st_ino, (uint64_t)length, 0, 0, 0);
    UNLOCK;
    return outcome;
}

int ftruncate(int fd, off_t length) { return resized(fd, length); }
int ftruncate64(int fd, off64_t length) { return resized(fd, length); }

static int allocated(int fd, int mode, off_t at, off_t bytes) {
    struct stat what;
    char path[PATH_MAX];
    if (!is_ours(fd, &what, path)) return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
    LOCK;
    int outcome = (int)syscall(SYS_fallocate, fd, mode, at, bytes);
    if (outcome == 0 && mode == 0) {
        fstat(fd, &what);
        note(LENGTH, what.st_ino, (uint64_t)what.st_size, 0, 0, 0);
    } else if (outcome == 0 && mode != FALLOC_FL_KEEP_SIZE) {
        unknown("fallocate with a mode");
    }
    UNLOCK;
    return outcome;
}

int fallocate(int fd, int mode, off_t at, off_t bytes) { return allocated(fd, mode, at, bytes); }
int fallocate64(int fd, int mode, off64_t at, off64_t bytes) { return allocated(fd, mode, at, bytes); }
int posix_fallocate(int fd, off_t at, off_t bytes) { return allocated(fd, 0, at, bytes) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t at, off64_t bytes) { return allocated(fd, 0, at, bytes) == 0 ? 0 : errno; }

// --- Flushing

static int flushed(int fd, long call) {
    struct stat what;
    char path[PATH_MAX];
    if (!is_ours(fd, &what, path)) return (int)syscall(call, fd);
    LOCK;
    int outcome = (int)syscall(call, fd);
    if (outcome == 0 && S_ISDIR(what.st_mode)) note(SYNC_DIR, what.st_ino, 0, path, 0, 0);
    else if (outcome == 0) note(SYNC, what.st_ino, 0, 0, 0, 0);
    UNLOCK;
    return outcome;
}

int fsync(int fd) { return flushed(fd, SYS_fsync); }
int fdatasync(int fd) { return flushed(fd, SYS_fdatasync); }

int sync_file_range(int fd, off64_t at, off64_t bytes, unsigned flags) {
    struct stat what;
    char path[PATH_MAX];
    if (!is_ours(fd, &what, path)) return REAL(sync_file_range)(fd, at, bytes, flags);
    LOCK;
    int outcome = REAL(sync_file_range)(fd, at, bytes, flags);
    if (outcome == 0) note(SYNC_RANGE, what.st_ino, (uint64_t)at, 0, 0, 0);
    UNLOCK;
    return outcome;
}

// --- Names

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    int is_from = resolve(from_folder, from, a), is_to = resolve(to_folder, to, b);
    if (!is_from && !is_to) return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    LOCK;
    int outcome = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (outcome == 0 && (!is_from || !is_to || flags & RENAME_EXCHANGE)) unknown("rename into or out of the root");
    else if (outcome == 0) note(RENAME, 0, 0, a, b, strlen(b));
    UNLOCK;
    return outcome;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int removed(int folder, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!resolve(folder, path, whole)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    LOCK;
    int outcome = (int)syscall(SYS_unlinkat, folder, path, flags);
    if (outcome == 0) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, whole, 0, 0);
    UNLOCK;
    return outcome;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int outcome = unlink(path);
    return outcome != 0 && errno == EISDIR ? rmdir(path) : outcome;
}

static int made(int folder, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    if (!resolve(folder, path, whole)) return (int)syscall(SYS_mkdirat, folder, path, mode);
    LOCK;
    int outcome = (int)syscall(SYS_mkdirat, folder, path, mode);
    if (outcome == 0) note(MKDIR, 0, 0, whole, 0, 0);
    UNLOCK;
    return outcome;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

// --- What the store does not do: if it begins to, the test says so.

#define ON_FD(result, name, fd, types, values)              \
    result name types {                                     \
        struct stat what;                                   \
        char path[PATH_MAX];                                \
        if (is_ours(fd, &what, path)) unknown(#name);       \
        return REAL(name) values;                           \
    }
ON_FD(ssize_t, writev, fd, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD(ssize_t, pwritev, fd, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
ON_FD(ssize_t, sendfile, to, (int to, int from, off_t *at, size_t n), (to, from, at, n))
ON_FD(ssize_t, sendfile64, to, (int to, int from, off64_t *at, size_t n), (to, from, at, n))
ON_FD(ssize_t, splice, to, (int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags),
      (from, a, to, b, n, flags))

#define ON_PATH(name, types, path, values)                  \
    int name types {                                        \
        char whole[PATH_MAX];                               \
        if (resolve(AT_FDCWD, path, whole)) unknown(#name); \
        return REAL(name) values;                           \
    }
ON_PATH(truncate, (const char *path, off_t length), path, (path, length))
ON_PATH(truncate64, (const char *path, off64_t length), path, (path, length))
ON_PATH(link, (const char *from, const char *to), to, (from, to))
ON_PATH(symlink, (const char *from, const char *to), to, (from, to))
