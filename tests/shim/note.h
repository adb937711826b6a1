/* Shared by the preloaded faults. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Records that a fault had an effect. */
static void note(const char *path)
{
    char hits[4096];
    int length = snprintf(hits, sizeof hits, "%s.hits", path);
    if (length < 0 || (size_t)length >= sizeof hits)
        return;
    int file = open(hits, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    if (write(file, "x", 1) != 1)
        _exit(97);
    close(file);
}
