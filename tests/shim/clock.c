/*
 * Makes the wall clock of one process jump, and the driver's thread hang. The monotonic clock is unchanged.
 *
 * Preloaded (LD_PRELOAD) into a server under test. GOMETA_CLOCK_FAULT names a file of four 64-bit numbers, which is
 * mapped when the process starts: the error of the wall clock in nanoseconds, the number of its reads while
 * there was an error, whether the driver's thread is to hang when it reads a clock (0 or 1), and how often it has hung.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

struct fault {
    _Atomic int64_t wrong_by_ns;
    _Atomic uint64_t reads;
    _Atomic uint64_t driver_hangs;
    _Atomic uint64_t hung;
};

static struct fault *fault;

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("GOMETA_CLOCK_FAULT");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct fault), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED)
        _exit(96);
    fault = mapped;
}

static int is_wall(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

static void shift(struct timespec *time)
{
    int64_t wrong_by_ns = fault == NULL ? 0 : atomic_load(&fault->wrong_by_ns);
    if (wrong_by_ns == 0)
        return;
    atomic_fetch_add(&fault->reads, 1);
    int64_t nanoseconds = time->tv_nsec + wrong_by_ns % SECOND;
    time->tv_sec += wrong_by_ns / SECOND;
    if (nanoseconds < 0) {
        nanoseconds += SECOND;
        time->tv_sec--;
    } else if (nanoseconds >= SECOND) {
        nanoseconds -= SECOND;
        time->tv_sec++;
    }
    time->tv_nsec = nanoseconds;
}

/* Waits while the driver's thread, if it is the calling one, is to hang. */
static void hang(void)
{
    char name[16] = "";
    if (fault == NULL || atomic_load(&fault->driver_hangs) == 0)
        return;
    if (prctl(PR_GET_NAME, name) != 0 || strcmp(name, "gometa-driver") != 0)
        return;
    atomic_fetch_add(&fault->hung, 1);
    while (atomic_load(&fault->driver_hangs) != 0) {
        struct timespec pause = { 0, 5 * 1000 * 1000 };
        nanosleep(&pause, NULL);
    }
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    hang();
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && is_wall(clock))
        shift(time);
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    if (result == 0) {
        time->tv_sec = now.tv_sec;
        time->tv_usec = now.tv_nsec / 1000;
    }
    return result;
}

time_t time(time_t *at)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}
