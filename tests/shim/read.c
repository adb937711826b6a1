/*
 * Makes reads of files hang in one thread of one process.
 *
 * Preloaded (LD_PRELOAD) into a server under test. GOMETA_READ_FAULT names a file: while it exists, every pread of
 * the driver's thread waits until it is removed. Each read that had to wait adds one byte to the file of
 * that name and ".hits".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "note.h"

typedef ssize_t pread_function(int, void *, size_t, off_t);

/* Waits while the file exists. */
static void hang(void)
{
    const char *path = getenv("GOMETA_READ_FAULT");
    char name[16] = "";
    if (path == NULL || prctl(PR_GET_NAME, name) != 0 || strcmp(name, "gometa-driver") != 0)
        return;
    int saved = errno;
    if (access(path, F_OK) == 0) {
        note(path);
        while (access(path, F_OK) == 0) {
            struct timespec pause = { 0, 5 * 1000 * 1000 };
            nanosleep(&pause, NULL);
        }
    }
    errno = saved;
}

static ssize_t delayed(const char *name, int file, void *buffer, size_t length, off_t offset)
{
    pread_function *real;
    hang();
    *(void **)&real = dlsym(RTLD_NEXT, name);
    if (real == NULL)
        _exit(98);
    return real(file, buffer, length, offset);
}

ssize_t pread(int file, void *buffer, size_t length, off_t offset)
{
    return delayed("pread", file, buffer, length, offset);
}

ssize_t pread64(int file, void *buffer, size_t length, off_t offset)
{
    return delayed("pread64", file, buffer, length, offset);
}
