/* Shared by the preloaded faults. */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

/* Reads the text of a fault's file; returns whether there is one. */
static inline int read_text(const char *path, char *text, size_t size)
{
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, size - 1);
    close(file);
    text[length < 0 ? 0 : length] = '\0';
    return length > 0;
}

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
