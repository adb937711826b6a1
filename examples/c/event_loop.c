/*
 * Many calls in flight with one thread and an event loop: poll(2) waits for the queue's descriptor and for others, here
 * standard input.
 *
 *     cc -std=c99 event_loop.c $(pkg-config --cflags --libs gometa) -o event_loop
 *     ./event_loop 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
 *
 * It writes a thousand keys and reads each back once it is written. A line on standard input makes it print its
 * progress.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <gometa.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS 1000
#define IN_FLIGHT_MAX 100

/* The state of each key. Its index is the tag of its calls. */
static struct {
    enum { WRITING, READING, DONE } state;
    gometa_future_t *future;
} keys[KEYS];

static gometa_client_t *client;
static gometa_queue_t *queue;
static int started, written, read_back, in_flight, in_flight_most;

static void must(gometa_status_t status, gometa_error_t *error)
{
    if (status != GOMETA_OK) {
        fprintf(stderr, "%s: %s\n", gometa_status_name(status), gometa_error_message(error));
        exit(1);
    }
}

static size_t name(int number, char key[64])
{
    return (size_t)snprintf(key, 64, "event_loop/%d", number);
}

/* Starts to write a key. Nothing in the loop blocks on the network. */
static void start(int number)
{
    char key[64], value[64];
    gometa_error_t *error = NULL;
    size_t key_length = name(number, key);
    size_t value_length = (size_t)snprintf(value, sizeof value, "value %d", number);
    must(gometa_client_set_async(client, key, key_length, value, value_length, &keys[number].future, &error), error);
    must(gometa_future_enqueue(keys[number].future, queue, (uint64_t)number, &error), error);
    keys[number].state = WRITING;
    in_flight++;
    in_flight_most = in_flight > in_flight_most ? in_flight : in_flight_most;
}

/* Reads the result of a completed call, and starts the next one. */
static void proceed(int number)
{
    char key[64];
    gometa_error_t *error = NULL;
    gometa_future_t *future = keys[number].future;
    if (keys[number].state == WRITING) {
        must(gometa_future_written(future, NULL, &error), error);
        gometa_future_free(future);
        written++;
        must(gometa_client_get_async(client, key, name(number, key), &keys[number].future, &error), error);
        must(gometa_future_enqueue(keys[number].future, queue, (uint64_t)number, &error), error);
        keys[number].state = READING;
        return;
    }
    gometa_entry_t *entry = NULL;
    must(gometa_future_entry(future, &entry, &error), error);
    gometa_future_free(future);
    char expected[64];
    size_t length = 0;
    const uint8_t *value = gometa_entry_value(entry, &length);
    int expected_length = snprintf(expected, sizeof expected, "value %d", number);
    if (length != (size_t)expected_length || memcmp(value, expected, length) != 0) {
        fprintf(stderr, "key %d has the wrong value\n", number);
        exit(1);
    }
    gometa_entry_free(entry);
    keys[number].state = DONE;
    read_back++;
    in_flight--;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s PEERS (host:port,...)\n", arguments[0]);
        return 2;
    }
    gometa_error_t *error = NULL;
    must(gometa_client_new(arguments[1], NULL, &client, &error), error);
    must(gometa_queue_new(&queue, &error), error);

    struct pollfd watched[] = {{gometa_queue_fd(queue), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (read_back < KEYS) {
        while (started < KEYS && in_flight < IN_FLIGHT_MAX) {
            start(started++);
        }
        if (poll(watched, 2, -1) < 0 && errno != EINTR) {
            perror("poll");
            return 1;
        }
        if (watched[0].revents & POLLIN) {
            /* With timeout 0 this ends when the queue is empty. */
            uint64_t tag = 0;
            while (gometa_queue_next(queue, 0, &tag, NULL) == GOMETA_OK) {
                proceed((int)tag);
            }
        }
        if (watched[1].revents) {
            char line[256];
            if (read(STDIN_FILENO, line, sizeof line) > 0) {
                printf("so far %d written, %d read back\n", written, read_back);
            } else {
                /* The end of input; poll(2) ignores negative descriptors. */
                watched[1].fd = -1;
            }
        }
    }
    printf("%d keys written, %d read back, %d in flight at most\n", written, read_back, in_flight_most);

    gometa_queue_free(queue);
    gometa_client_free(client);
    return 0;
}
