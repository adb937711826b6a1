/* Helpers of the C test programs. */
#ifndef CHECK_H
#define CHECK_H

#include <gometa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Sets a key; returns the revision. */
static inline uint64_t set(const gometa_client_t *client, const char *key, const char *value, size_t length)
{
    gometa_written_t written;
    CHECK(gometa_client_set(client, key, strlen(key), value, length, &written, NULL) == GOMETA_OK);
    return written.revision;
}

/* The key has this value; NULL: it does not exist. */
static inline void holds(const gometa_client_t *client, const char *key, const char *expected)
{
    gometa_entry_t *entry = NULL;
    size_t length = 0;
    gometa_status_t status = gometa_client_get(client, key, strlen(key), &entry, NULL);
    CHECK(status == (expected == NULL ? GOMETA_NOT_FOUND : GOMETA_OK));
    if (expected != NULL) {
        const uint8_t *value = gometa_entry_value(entry, &length);
        CHECK(length == strlen(expected) && memcmp(value, expected, length) == 0);
    }
    gometa_entry_free(entry);
}

/* The keys that begin with this. */
static inline gometa_range_t *range_of(const char *prefix)
{
    gometa_range_t *range = NULL;
    CHECK(gometa_range_new(&range, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_prefix(range, prefix, strlen(prefix), NULL) == GOMETA_OK);
    return range;
}

/* Monotonic time in milliseconds. */
static inline uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif
