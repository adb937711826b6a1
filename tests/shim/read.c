/*
 * Makes reads of a database's table files slow, or one of them hang.
 *
 * Preloaded (LD_PRELOAD) into a server under test. GOMETA_READ_FAULT names a file; while it does not exist, nothing
 * happens. Its text is one of
 *
 *   slow MILLISECONDS   every read takes so much longer
 *   hang THREAD         one read by a thread of that name, or of a longer one, waits until the file is removed
 *
 * Each read that had to wait adds one byte to the file of that name and ".hits".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "note.h"

typedef ssize_t pread_function(int, void *, size_t, off_t);

static atomic_int hanging;

static void pause_ms(long milliseconds)
{
    struct timespec pause = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    nanosleep(&pause, NULL);
}

/* Whether a file is a table file. */
static int is_table(int file)
{
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name);
    return length > 4 && memcmp(name + length - 4, ".sst", 4) == 0;
}

static void hang(const char *path, const char *thread)
{
    char name[16] = "";
    if (prctl(PR_GET_NAME, name) != 0 || strncmp(name, thread, strlen(thread)) != 0)
        return;
    if (atomic_exchange(&hanging, 1) == 1)
        return;
    note(path);
    while (access(path, F_OK) == 0)
        pause_ms(5);
    atomic_store(&hanging, 0);
}

static void disturb(int file)
{
    const char *path = getenv("GOMETA_READ_FAULT");
    char text[64];
    int saved = errno;
    if (path != NULL && read_text(path, text, sizeof text) && is_table(file)) {
        if (strncmp(text, "slow ", 5) == 0) {
            note(path);
            pause_ms(atol(text + 5));
        } else if (strncmp(text, "hang ", 5) == 0) {
            hang(path, text + 5);
        }
    }
    errno = saved;
}

static ssize_t delayed(const char *name, int file, void *buffer, size_t length, off_t offset)
{
    pread_function *real;
    disturb(file);
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
