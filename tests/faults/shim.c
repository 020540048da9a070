/* Counts the file operations below one directory, and fails, tears or kills at a chosen one.
 *
 * Preloaded into a Python that is then forked for each try: the state is shared with the processes that it starts, so
 * an operation has one number whichever of them makes it. What lies elsewhere (libraries, data, /tmp) is left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, FAIL, KILL, TEAR };              /* what happens at the chosen operation */
enum { CREATE = 1, WRITE = 2, NAME = 4, SYNC = 8, READ = 16 }; /* kinds of operations, as a mask */

struct state {
    char prefix[PATH_MAX];
    long count, at;
    int armed, action, error, kinds, failing, sticky, log;
};
static struct state *state;

void fault_arm(const char *prefix, int action, long at, int error, int kinds, int failing, int sticky, int log) {
    if (!state)
        state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strncpy(state->prefix, prefix, PATH_MAX - 1);
    state->action = action, state->at = at, state->error = error, state->kinds = kinds, state->failing = failing;
    state->sticky = sticky, state->log = log, state->count = 0, state->armed = 1;
}

static int below(const char *path) {
    size_t length = strlen(state->prefix);
    return !strncmp(path, state->prefix, length) && (path[length] == '/' || !path[length]);
}

static int locate(int folder, const char *path, char *found) { /* the absolute path, as it was typed */
    char link[64], base[PATH_MAX / 2];
    ssize_t n;
    if (path[0] == '/') {
        snprintf(found, PATH_MAX, "%s", path);
        return 1;
    }
    if (folder == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    if ((n = readlink(link, base, sizeof base - 1)) < 0)
        return 0;
    base[n] = 0;
    snprintf(found, PATH_MAX, "%s%s%.*s", base, *path ? "/" : "", PATH_MAX / 2 - 2, path);
    return 1;
}

/* 0: go on; 1: fail with errno set; 2: write a half, then die or fail */
static int meet(int kind, const char *name, int folder, const char *path) {
    char where[PATH_MAX], line[PATH_MAX + 64];
    int saved = errno;
    if (!state || !state->armed || !(state->kinds & kind) || !locate(folder, path, where) || !below(where)) {
        errno = saved;
        return 0;
    }
    errno = saved;
    long number = __sync_add_and_fetch(&state->count, 1);
    if (state->log >= 0) {
        int n = snprintf(line, sizeof line, "%ld %d %s %s\n", number, kind, name, where);
        syscall(SYS_write, state->log, line, n);
    }
    if (state->action == COUNT || number < state->at || (number > state->at && !state->sticky))
        return 0;
    if (number > state->at && !(state->failing & kind))
        return 0;
    if (state->action == KILL)
        _exit(137);
    if (state->action == TEAR)
        return kind == WRITE ? 2 : 0;
    errno = state->error;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define MEET(kind, name, folder, path) if (meet(kind, name, folder, path)) return -1

static int kind_of(int flags) {
    return flags & (O_CREAT | O_TRUNC) ? CREATE : (flags & O_ACCMODE) == O_RDONLY ? READ : WRITE;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(name);                                                                                                    \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode_t mode = va_arg(list, mode_t);                                                                            \
        va_end(list);                                                                                                  \
        if (meet(flags & O_CREAT ? CREATE : READ, kind_of(flags) == READ ? "open" : "create", AT_FDCWD, path))         \
            return -1;                                                                                                 \
        return real(path, flags, mode);                                                                                \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        REAL(name);                                                                                                    \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode_t mode = va_arg(list, mode_t);                                                                            \
        va_end(list);                                                                                                  \
        if (meet(flags & O_CREAT ? CREATE : READ, kind_of(flags) == READ ? "open" : "create", folder, path))           \
            return -1;                                                                                                 \
        return real(folder, path, flags, mode);                                                                        \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                                                    \
    FILE *name(const char *path, const char *mode) {                                                                   \
        REAL(name);                                                                                                    \
        if (meet(mode[0] == 'r' ? READ : CREATE, mode[0] == 'r' ? "open" : "create", AT_FDCWD, path))                  \
            return NULL;                                                                                               \
        return real(path, mode);                                                                                       \
    }
FOPEN(fopen)
FOPEN(fopen64)

static int meet_write(int file, const void *content, size_t size) {
    int found = meet(WRITE, "write", file, "");
    if (found == 2) {
        syscall(SYS_write, file, content, size / 2);
        _exit(137);
    }
    return found;
}

ssize_t write(int file, const void *content, size_t size) {
    REAL(write);
    return meet_write(file, content, size) ? -1 : real(file, content, size);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    return meet_write(file, parts[0].iov_base, parts[0].iov_len) ? -1 : real(file, parts, count);
}

#define WRITES(name, parameters, arguments)                                                                            \
    ssize_t name parameters {                                                                                          \
        REAL(name);                                                                                                    \
        MEET(WRITE, #name, file, "");                                                                                  \
        return real arguments;                                                                                         \
    }
WRITES(pwrite, (int file, const void *c, size_t n, off_t at), (file, c, n, at))
WRITES(pwrite64, (int file, const void *c, size_t n, off64_t at), (file, c, n, at))
ssize_t sendfile64(int file, int from, off64_t *at, size_t n) {
    ssize_t (*real)(int, int, off64_t *, size_t) = dlsym(RTLD_NEXT, "sendfile64");
    MEET(WRITE, "sendfile", file, "");
    return real(file, from, at, n);
}

#define READS(name, parameters, arguments)                                                                             \
    ssize_t name parameters {                                                                                          \
        REAL(name);                                                                                                    \
        MEET(READ, #name, file, "");                                                                                   \
        return real arguments;                                                                                         \
    }
READS(read, (int file, void *c, size_t n), (file, c, n))
READS(pread, (int file, void *c, size_t n, off_t at), (file, c, n, at))
READS(pread64, (int file, void *c, size_t n, off64_t at), (file, c, n, at))

#define OTHER(kind, name, parameters, arguments, folder, path)                                                         \
    int name parameters {                                                                                              \
        REAL(name);                                                                                                    \
        MEET(kind, #name, folder, path);                                                                               \
        return real arguments;                                                                                         \
    }
OTHER(SYNC, fsync, (int file), (file), file, "")
OTHER(SYNC, fdatasync, (int file), (file), file, "")
OTHER(WRITE, ftruncate, (int file, off_t n), (file, n), file, "")
OTHER(WRITE, ftruncate64, (int file, off64_t n), (file, n), file, "")
OTHER(CREATE, mkdir, (const char *path, mode_t m), (path, m), AT_FDCWD, path)
OTHER(CREATE, mkdirat, (int folder, const char *path, mode_t m), (folder, path, m), folder, path)
OTHER(NAME, unlink, (const char *path), (path), AT_FDCWD, path)
OTHER(NAME, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path)
OTHER(NAME, rmdir, (const char *path), (path), AT_FDCWD, path)
OTHER(NAME, rename, (const char *from, const char *path), (from, path), AT_FDCWD, path)
OTHER(NAME, renameat, (int a, const char *from, int b, const char *path), (a, from, b, path), b, path)
OTHER(NAME, link, (const char *from, const char *path), (from, path), AT_FDCWD, path)
OTHER(NAME, symlink, (const char *from, const char *path), (from, path), AT_FDCWD, path)
