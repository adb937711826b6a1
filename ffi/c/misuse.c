/*
 * Whatever a caller may do wrong gets an error of the right kind, within the deadline: never a crash or a hang.
 *
 *     misuse PEERS NOBODY      addresses of an ensemble, and one where nobody listens
 */
#include <gometa.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(holds)                                                              \
    do {                                                                          \
        if (!(holds)) {                                                           \
            fprintf(stderr, "misuse.c:%d: %s does not hold\n", __LINE__, #holds); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

/* An error of that kind, with a message. Asked for by its place, since a call may come behind its other arguments. */
static void fails(gometa_status_t status, gometa_error_t **error, gometa_status_t expected)
{
    if (status != expected || gometa_error_status(*error) != expected || *gometa_error_message(*error) == '\0') {
        fprintf(stderr, "expected %s, not %s: %s\n", gometa_status_name(expected), gometa_status_name(status),
                gometa_error_message(*error));
        exit(1);
    }
    gometa_error_free(*error);
    *error = NULL;
}

static void arguments(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_options_t *options = NULL;
    const char *nonsense[] = {"", ",", "no port", "a:b", "a:99999", "a:1,,b", "\xff:1"};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        gometa_status_t status = gometa_client_new(nonsense[i], NULL, &client, &error);
        if (status == GOMETA_OK) {
            /* Empty places in a list are passed over. */
            gometa_client_free(client);
            CHECK(strcmp(nonsense[i], "a:1,,b") != 0);
        } else {
            fails(status, &error, GOMETA_INVALID_ARGUMENT);
        }
    }
    fails(gometa_client_new(NULL, NULL, &client, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_new(peers, NULL, NULL, &error), &error, GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_new(NULL, NULL, &client, NULL) == GOMETA_INVALID_ARGUMENT);
    fails(gometa_options_new(NULL, &error), &error, GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_options_new(&options, &error) == GOMETA_OK && error == NULL);
    fails(gometa_options_set_timeout_ms(options, 0, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_options_set_timeout_ms(NULL, 1, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_options_set_name(options, NULL, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_options_set_name(options, "\xff", &error), &error, GOMETA_INVALID_ARGUMENT);
    gometa_options_free(options);

    CHECK(gometa_client_new(peers, NULL, &client, &error) == GOMETA_OK);
    gometa_written_t written = {42, 42};
    gometa_entry_t *entry = NULL;
    gometa_future_t *future = NULL;
    fails(gometa_client_set(NULL, "k", 1, "v", 1, &written, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_set(client, NULL, 1, "v", 1, &written, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_set(client, "k", 1, NULL, 1, &written, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_set(client, NULL, 0, "v", 1, &written, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_get(client, "k", 1, NULL, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_get_with(client, "k", 1, 9, 0, &entry, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_get_async(client, "k", 1, NULL, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_future_wait(NULL, 1, &error), &error, GOMETA_INVALID_ARGUMENT);
    CHECK(written.revision == 42 && written.version == 42 && entry == NULL);

    /* Sizes at and beyond the limits, and bytes of all kinds. */
    static char large[(1 << 20) + 1];
    CHECK(gometa_client_set(client, "large", 5, large, 1 << 20, &written, &error) == GOMETA_OK);
    fails(gometa_client_set(client, "large", 5, large, sizeof large, NULL, &error), &error, GOMETA_TOO_LARGE);
    fails(gometa_client_set(client, large, 4097, "v", 1, NULL, &error), &error, GOMETA_TOO_LARGE);
    CHECK(gometa_client_set(client, "a\0b", 3, NULL, 0, NULL, &error) == GOMETA_OK);
    size_t length = 9;
    CHECK(gometa_client_get(client, "a\0b", 3, &entry, &error) == GOMETA_OK);
    CHECK(gometa_entry_value(entry, &length) != NULL && length == 0);
    CHECK(memcmp(gometa_entry_key(entry, &length), "a\0b", 3) == 0 && length == 3);
    gometa_entry_free(entry);
    entry = NULL;
    fails(gometa_client_get(client, "a", 1, &entry, &error), &error, GOMETA_NOT_FOUND);
    CHECK(entry == NULL);

    /* A future asked too soon, for the wrong thing, twice, and cancelled. */
    gometa_deleted_t deleted;
    written.revision = 0;
    CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 5000, &error) == GOMETA_OK && gometa_future_is_ready(future));
    fails(gometa_future_deleted(future, &deleted, &error), &error, GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_future_written(future, &written, &error) == GOMETA_OK && written.revision > 0);
    CHECK(gometa_future_written(future, NULL, &error) == GOMETA_OK);
    gometa_future_cancel(future);
    CHECK(gometa_future_written(future, NULL, &error) == GOMETA_OK);
    fails(gometa_future_on_ready(future, NULL, NULL, &error), &error, GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);

    /* Use after closing. */
    gometa_client_close(client);
    gometa_client_close(client);
    fails(gometa_client_get(client, "k", 1, &entry, &error), &error, GOMETA_CLOSED);
    gometa_client_free(client);

    gometa_error_free(NULL);
    gometa_client_free(NULL);
    gometa_client_close(NULL);
    gometa_entry_free(NULL);
    gometa_future_free(NULL);
    gometa_queue_free(NULL);
    gometa_node_status_free(NULL);
    gometa_members_free(NULL);
    CHECK(gometa_entry_version(NULL) == 0 && gometa_entry_value(NULL, &length) == NULL && length == 0);
    CHECK(gometa_error_status(NULL) == GOMETA_OK && *gometa_error_message(NULL) == '\0');
}

static void table(void)
{
    /* 0 is Ok, 1 to 20 have names, and there are no others. */
    for (uint32_t status = 0; status <= 20; status++) {
        CHECK(strcmp(gometa_status_name(status), "Unknown") != 0);
    }
    CHECK(strcmp(gometa_status_name(GOMETA_OK), "Ok") == 0);
    CHECK(strcmp(gometa_status_name(GOMETA_CAS_MISMATCH), "CasMismatch") == 0);
    CHECK(strcmp(gometa_status_name(GOMETA_FORGOTTEN), "Forgotten") == 0);
    CHECK(strcmp(gometa_status_name(21), "Unknown") == 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", GOMETA_VERSION_MAJOR, GOMETA_VERSION_MINOR, GOMETA_VERSION_PATCH);
    CHECK(strcmp(version, gometa_version()) == 0);
}

static void nobody(const char *address)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_client_t *hasty = NULL;
    CHECK(gometa_client_new(address, NULL, &client, &error) == GOMETA_OK);
    CHECK(gometa_client_with_timeout(client, 200, &hasty, &error) == GOMETA_OK);
    gometa_status_t status = gometa_client_set(hasty, "k", 1, "v", 1, NULL, &error);
    CHECK(gometa_error_is_retryable(error) && gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED);
    fails(status, &error, GOMETA_DEADLINE_EXCEEDED);

    /* A queue, and a future that is cancelled while it waits. */
    gometa_queue_t *queue = NULL;
    gometa_future_t *future = NULL;
    uint64_t tag = 0;
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    struct pollfd look = {gometa_queue_fd(queue), POLLIN, 0};
    CHECK(gometa_client_get_async(client, "k", 1, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_enqueue(future, queue, 99, &error) == GOMETA_OK);
    fails(gometa_future_enqueue(future, queue, 98, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_queue_next(queue, 10, &tag, &error), &error, GOMETA_DEADLINE_EXCEEDED);
    fails(gometa_future_wait(future, 0, &error), &error, GOMETA_DEADLINE_EXCEEDED);
    gometa_entry_t *entry = NULL;
    fails(gometa_future_entry(future, &entry, &error), &error, GOMETA_UNAVAILABLE);
    CHECK(poll(&look, 1, 0) == 0);
    gometa_future_cancel(future);
    CHECK(poll(&look, 1, 5000) == 1);
    CHECK(gometa_queue_next(queue, 5000, &tag, &error) == GOMETA_OK && tag == 99);
    CHECK(poll(&look, 1, 0) == 0);
    fails(gometa_future_entry(future, &entry, &error), &error, GOMETA_CANCELLED);
    gometa_future_free(future);
    gometa_queue_close(queue);
    CHECK(poll(&look, 1, 0) == 1);
    fails(gometa_queue_next(queue, 5000, &tag, &error), &error, GOMETA_CLOSED);
    gometa_queue_free(queue);
    gometa_client_free(client);
    gometa_client_free(hasty);
}

/* Futures that call back: each once, one after the other, with its context, where calls are allowed. */
#define CALLS 100
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int called, running;
static gometa_client_t *shared;

static void ready(void *context, gometa_future_t *future)
{
    pthread_mutex_lock(&lock);
    CHECK(running++ == 0);
    pthread_mutex_unlock(&lock);
    CHECK(gometa_future_is_ready(future));
    CHECK(gometa_future_written(future, NULL, NULL) == GOMETA_OK);
    CHECK(gometa_client_set(shared, "within", 6, "v", 1, NULL, NULL) == GOMETA_OK);
    gometa_future_free(future);
    pthread_mutex_lock(&lock);
    running--;
    (*(int *)context)++;
    called++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void callbacks(const char *peers)
{
    static int counts[CALLS];
    CHECK(gometa_client_new(peers, NULL, &shared, NULL) == GOMETA_OK);
    for (int i = 0; i < CALLS; i++) {
        gometa_future_t *future = NULL;
        CHECK(gometa_client_set_async(shared, "k", 1, "v", 1, &future, NULL) == GOMETA_OK);
        CHECK(gometa_future_on_ready(future, &counts[i], ready, NULL) == GOMETA_OK);
    }
    pthread_mutex_lock(&lock);
    while (called < CALLS) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < CALLS; i++) {
        CHECK(counts[i] == 1);
    }
    gometa_client_free(shared);
}

/* A child of a process that has a client: what it inherited is of no use and does no harm; its own works. */
static void forked(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_future_t *future = NULL;
    gometa_queue_t *queue = NULL;
    CHECK(gometa_client_new(peers, NULL, &client, &error) == GOMETA_OK);
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    CHECK(gometa_client_set(client, "parent", 6, "1", 1, NULL, &error) == GOMETA_OK);
    CHECK(gometa_client_get_async(client, "parent", 6, &future, &error) == GOMETA_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        gometa_entry_t *entry = NULL;
        uint64_t tag = 0;
        fails(gometa_client_get(client, "parent", 6, &entry, &error), &error, GOMETA_FORKED);
        fails(gometa_future_wait(future, 1000, &error), &error, GOMETA_FORKED);
        fails(gometa_queue_next(queue, 1000, &tag, &error), &error, GOMETA_FORKED);
        CHECK(!gometa_future_is_ready(future));
        gometa_future_free(future);
        gometa_queue_free(queue);
        gometa_client_close(client);
        gometa_client_free(client);
        CHECK(gometa_client_new(peers, NULL, &client, &error) == GOMETA_OK);
        CHECK(gometa_client_set(client, "child", 5, "1", 1, NULL, &error) == GOMETA_OK);
        gometa_client_free(client);
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    gometa_entry_t *entry = NULL;
    CHECK(gometa_future_wait(future, 5000, &error) == GOMETA_OK);
    CHECK(gometa_future_entry(future, &entry, &error) == GOMETA_OK);
    gometa_entry_free(entry);
    CHECK(gometa_client_get(client, "child", 5, &entry, &error) == GOMETA_OK);
    gometa_entry_free(entry);
    gometa_future_free(future);
    gometa_queue_free(queue);
    gometa_client_free(client);
}

static void about(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_members_t *members = NULL;
    gometa_node_status_t *status = NULL;
    uint64_t requests = 0;
    CHECK(gometa_client_new(peers, NULL, &client, &error) == GOMETA_OK);
    CHECK(gometa_client_members(client, &members, &error) == GOMETA_OK);
    CHECK(gometa_members_count(members) == 3 && *gometa_members_leader(members) != '\0');
    CHECK(*gometa_members_request_address(members, 2) != '\0' && *gometa_members_request_address(members, 3) == '\0');
    CHECK(gometa_client_status(client, gometa_members_leader(members), &status, &error) == GOMETA_OK);
    CHECK(gometa_node_status_role(status) == GOMETA_ROLE_LEADING && gometa_node_status_votes(status));
    CHECK(gometa_node_status_peers(status) == 2 && *gometa_node_status_peer_message_address(status, 1) != '\0');
    size_t length = 0;
    CHECK(gometa_node_status_state_hash(status, &length) != NULL && length == 16);
    CHECK(gometa_client_counter(client, GOMETA_COUNTER_REQUESTS, &requests, &error) == GOMETA_OK && requests == 2);
    fails(gometa_client_counter(client, 77, &requests, &error), &error, GOMETA_INVALID_ARGUMENT);
    fails(gometa_client_status(client, "nonsense", &status, &error), &error, GOMETA_INVALID_ARGUMENT);
    gometa_node_status_free(status);
    gometa_members_free(members);
    gometa_client_free(client);
}

int main(int count, char **given)
{
    CHECK(count == 3);
    table();
    arguments(given[1]);
    about(given[1]);
    nobody(given[2]);
    callbacks(given[1]);
    forked(given[1]);
    puts("all is well");
    return 0;
}
