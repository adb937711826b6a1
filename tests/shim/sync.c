/*
 * Makes fsync and fdatasync of one process fail, wait, or succeed without an effect.
 *
 * Preloaded (LD_PRELOAD) into a server under test. GOMETA_SYNC_FAULT names a file. While it does not exist, every sync
 * is the system's. Its content is "fail" (the sync fails with EIO and nothing is synced), "slow N" (the sync waits N
 * milliseconds first), "lie" (the sync does nothing and succeeds) or "lie-log" (the same, for the log and its mark
 * only). Each affected sync adds one byte to the file of that name and
 * ".hits".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "note.h"

typedef int sync_function(int);

/* Whether a descriptor is of a segment of the log, or of the mark. */
static int of_the_log(int file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, "/log-") != NULL;
}

enum fate { SYNC, FAIL, LIE };

/* Returns the fault of this sync, after the wait of a slow one. */
static enum fate fate(int synced)
{
    const char *path = getenv("GOMETA_SYNC_FAULT");
    char text[32] = "";
    enum fate fate = SYNC;
    int saved = errno;
    if (read_text(path, text, sizeof text)) {
        if (strcmp(text, "fail") == 0) {
            fate = FAIL;
            note(path);
        } else if (strcmp(text, "lie") == 0 || (strcmp(text, "lie-log") == 0 && of_the_log(synced))) {
            fate = LIE;
            note(path);
        } else if (strncmp(text, "slow ", 5) == 0) {
            long milliseconds = strtol(text + 5, NULL, 10);
            struct timespec pause = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
            note(path);
            nanosleep(&pause, NULL);
        }
    }
    errno = saved;
    return fate;
}

static int synced(const char *name, int file)
{
    sync_function *real;
    switch (fate(file)) {
    case FAIL:
        errno = EIO;
        return -1;
    case LIE:
        return 0;
    case SYNC:
        break;
    }
    *(void **)&real = dlsym(RTLD_NEXT, name);
    if (real == NULL)
        _exit(98);
    return real(file);
}

/* Writes past the page cache would reach the disk without a sync: a disk has a cache of its own, which this file has not. */
int open64(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...);
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    *(void **)&real = dlsym(RTLD_NEXT, "open64");
    if (real == NULL)
        _exit(98);
    return real(path, getenv("GOMETA_SYNC_FAULT") == NULL ? flags : flags & ~O_DIRECT, mode);
}

int fsync(int file)
{
    return synced("fsync", file);
}

int fdatasync(int file)
{
    return synced("fdatasync", file);
}
