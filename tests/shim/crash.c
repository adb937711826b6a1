/*
 * Kills the process at one of its file operations.
 *
 * Preloaded (LD_PRELOAD) into a server under test. GOMETA_CRASH_FAULT names a file; while it does not exist, nothing
 * happens. Its text is "KINDS PATHS NUMBER". It selects the operations of these kinds on paths that contain one of the
 * parts in PATHS, which are separated by commas:
 *
 *   w   writes
 *   s   syncs
 *   n   new names: of directories, links, and files that are renamed
 *   r   removals, and files that are shortened
 *   2   no kind: nothing is counted before the second write at the beginning of such a file
 *
 * The process kills itself, as by SIGKILL, at point NUMBER, where 0 is before the first operation, 1 behind it, 2 before the
 * second one, and so on. They are counted as long as the file exists; each adds one byte to the file of that name and
 * ".hits".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "note.h"

#define PATH_BYTES (2 * PATH_MAX)

static atomic_long points;
static atomic_int beginnings;

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        _exit(98);
    return found;
}

/* Whether a path contains one of these parts. */
static int has_part(const char *path, char *parts)
{
    char *state = NULL;
    for (char *part = strtok_r(parts, ",", &state); part != NULL; part = strtok_r(NULL, ",", &state))
        if (strstr(path, part) != NULL)
            return 1;
    return 0;
}

/* Passes a point before or behind an operation; the process may end here. */
static void pass(char kind, const char *path, int at_the_beginning)
{
    char text[512], kinds[16], parts[256];
    long number;
    int saved = errno;
    const char *file_name = getenv("GOMETA_CRASH_FAULT");
    if (read_text(file_name, text, sizeof text)
        && sscanf(text, "%15s %255s %ld", kinds, parts, &number) == 3 && strchr(kinds, kind) != NULL
        && has_part(path, parts)) {
        int begun = at_the_beginning ? atomic_fetch_add(&beginnings, 1) + 1 : beginnings;
        if (begun >= 2 || strchr(kinds, '2') == NULL) {
            note(file_name);
            if (atomic_fetch_add(&points, 1) == number) {
                kill(getpid(), SIGKILL);
                pause();
            }
        }
    }
    errno = saved;
}

/* Finds the path of a descriptor. */
static const char *path_of(int file, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = '\0';
    return path;
}

/* Finds the path of a name in a directory. */
static const char *path_in(int directory, const char *name, char *path)
{
    if (name[0] == '/' || directory == AT_FDCWD)
        return name;
    path_of(directory, path);
    size_t length = strlen(path);
    snprintf(path + length, PATH_BYTES - length, "/%s", name);
    return path;
}

#define AROUND(kind, path, at_the_beginning, call)                                                                     \
    do {                                                                                                               \
        pass(kind, path, at_the_beginning);                                                                            \
        __typeof__(call) result = call;                                                                                \
        pass(kind, path, 0);                                                                                           \
        return result;                                                                                                 \
    } while (0)

ssize_t write(int file, const void *bytes, size_t length)
{
    ssize_t (*function)(int, const void *, size_t) = real("write");
    struct stat status;
    char path[PATH_BYTES];
    /* Not of sockets, pipes and the like. */
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
        return function(file, bytes, length);
    AROUND('w', path_of(file, path), 0, function(file, bytes, length));
}

static ssize_t write_at(const char *name, int file, const void *bytes, size_t length, off_t offset)
{
    ssize_t (*function)(int, const void *, size_t, off_t) = real(name);
    char path[PATH_BYTES];
    AROUND('w', path_of(file, path), offset == 0, function(file, bytes, length, offset));
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset)
{
    return write_at("pwrite", file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset)
{
    return write_at("pwrite64", file, bytes, length, offset);
}

int fsync(int file)
{
    int (*function)(int) = real("fsync");
    char path[PATH_BYTES];
    AROUND('s', path_of(file, path), 0, function(file));
}

int fdatasync(int file)
{
    int (*function)(int) = real("fdatasync");
    char path[PATH_BYTES];
    AROUND('s', path_of(file, path), 0, function(file));
}

int rename(const char *from, const char *to)
{
    int (*function)(const char *, const char *) = real("rename");
    AROUND('n', to, 0, function(from, to));
}

int link(const char *from, const char *to)
{
    int (*function)(const char *, const char *) = real("link");
    AROUND('n', to, 0, function(from, to));
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    int (*function)(int, const char *, int, const char *, int) = real("linkat");
    char path[PATH_BYTES];
    AROUND('n', path_in(to_directory, to, path), 0, function(from_directory, from, to_directory, to, flags));
}

int mkdir(const char *name, mode_t mode)
{
    int (*function)(const char *, mode_t) = real("mkdir");
    AROUND('n', name, 0, function(name, mode));
}

int unlink(const char *name)
{
    int (*function)(const char *) = real("unlink");
    AROUND('r', name, 0, function(name));
}

int unlinkat(int directory, const char *name, int flags)
{
    int (*function)(int, const char *, int) = real("unlinkat");
    char path[PATH_BYTES];
    AROUND('r', path_in(directory, name, path), 0, function(directory, name, flags));
}

int rmdir(const char *name)
{
    int (*function)(const char *) = real("rmdir");
    AROUND('r', name, 0, function(name));
}

int ftruncate(int file, off_t length)
{
    int (*function)(int, off_t) = real("ftruncate");
    char path[PATH_BYTES];
    AROUND('r', path_of(file, path), 0, function(file, length));
}

int ftruncate64(int file, off_t length)
{
    int (*function)(int, off_t) = real("ftruncate64");
    char path[PATH_BYTES];
    AROUND('r', path_of(file, path), 0, function(file, length));
}
