/* Helpers of the C test programs. */
#ifndef CHECK_H
#define CHECK_H

#include <gometa.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CHECK(holds)                                                                     \
    do {                                                                                 \
        if (!(holds)) {                                                                  \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #holds);    \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

/*
 * The call fails with an error of that kind, with a message. The error is passed by its address, since the call may be
 * evaluated after the other arguments.
 */
#define FAILS(call, expected) check_failure(__FILE__, __LINE__, call, &error, expected)

static inline void check_failure(const char *file, int line, gometa_status_t status, gometa_error_t **error,
                                 gometa_status_t expected)
{
    if (status != expected || gometa_error_status(*error) != expected || *gometa_error_message(*error) == '\0') {
        fprintf(stderr, "%s:%d: expected %s, not %s: %s\n", file, line, gometa_status_name(expected),
                gometa_status_name(status), gometa_error_message(*error));
        exit(1);
    }
    gometa_error_free(*error);
    *error = NULL;
}

/* A client with a timeout for busy machines and slow memory checkers. */
static inline gometa_client_t *open_client(const char *peers, uint64_t timeout_ms)
{
    gometa_options_t *options = NULL;
    gometa_client_t *client = NULL;
    CHECK(gometa_options_new(&options, NULL) == GOMETA_OK);
    CHECK(gometa_options_set_timeout_ms(options, timeout_ms, NULL) == GOMETA_OK);
    CHECK(gometa_client_new(peers, options, &client, NULL) == GOMETA_OK);
    gometa_options_free(options);
    return client;
}

/* Monotonic time in milliseconds. */
static inline uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif
