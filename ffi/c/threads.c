/*
 * Threads and processes: callbacks, closing and cancelling during calls, a shared queue, forking.
 *
 *     threads PATIENCE PEERS DEAD [nofork]
 *
 * PEERS are the addresses of an ensemble. Nothing listens at DEAD. Timeouts are multiplied by PATIENCE, 1 unless
 * something slows the program down. `nofork` leaves out forking: to a memory checker, a child leaks what it inherits.
 */
#include "check.h"
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS 100
#define THREADS 8
#define ROUNDS 10

static uint64_t patience;

/* Callbacks: each runs once, one at a time, with its context, and may call the library. */
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

static void never(void *context, gometa_future_t *future)
{
    (void)context;
    (void)future;
    CHECK(!"the callback of a freed future is not called");
}

static void callbacks(const char *peers, const char *dead)
{
    static int counts[CALLS];
    gometa_client_t *waiting = NULL;
    gometa_future_t *future = NULL;
    waiting = open_client(dead, 20000 * patience);
    CHECK(gometa_client_get_async(waiting, "k", 1, &future, NULL) == GOMETA_OK);
    CHECK(gometa_future_on_ready(future, NULL, never, NULL) == GOMETA_OK);
    gometa_future_free(future);

    shared = open_client(peers, 20000 * patience);
    for (int i = 0; i < CALLS; i++) {
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
    gometa_client_free(waiting);
}

/* A thread that calls until its client is closed. */
static void *call_until_closed(void *context)
{
    const gometa_client_t *client = context;
    for (;;) {
        gometa_entry_t *entry = NULL;
        gometa_error_t *error = NULL;
        gometa_status_t status = gometa_client_get(client, "k", 1, &entry, &error);
        gometa_entry_free(entry);
        if (status != GOMETA_OK) {
            FAILS(status, GOMETA_CLOSED);
            return NULL;
        }
    }
}

static void wait_for_calls(const gometa_client_t *client, uint64_t calls)
{
    uint64_t made = 0;
    for (uint64_t begun = now_ms(); made < calls;) {
        CHECK(gometa_client_counter(client, GOMETA_COUNTER_REQUESTS, &made, NULL) == GOMETA_OK);
        CHECK(now_ms() - begun < 30000 * patience);
        /* A memory checker runs one thread at a time, often the one that spins. */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void close_among_calls(const char *peers)
{
    for (int round = 0; round < ROUNDS; round++) {
        gometa_client_t *client = NULL;
        pthread_t threads[THREADS];
        client = open_client(peers, 20000 * patience);
        CHECK(gometa_client_set(client, "k", 1, "v", 1, NULL, NULL) == GOMETA_OK);
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_create(&threads[i], NULL, call_until_closed, client) == 0);
        }
        wait_for_calls(client, (uint64_t)(1 + 10 * round));
        gometa_client_close(client);
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
        gometa_client_free(client);
    }
}

/* One thread waits for a future that another cancels; one waits for a queue that another closes. */
static void *wait_for_future(void *context)
{
    CHECK(gometa_future_wait(context, 60000 * patience, NULL) == GOMETA_OK);
    return NULL;
}

static void *wait_for_queue(void *context)
{
    uint64_t tag = 0;
    gometa_error_t *error = NULL;
    FAILS(gometa_queue_next(context, 60000 * patience, &tag, &error), GOMETA_CLOSED);
    return NULL;
}

static void wake_waiters(const char *dead)
{
    gometa_client_t *client = NULL;
    gometa_options_t *options = NULL;
    gometa_future_t *future = NULL;
    gometa_error_t *error = NULL;
    gometa_queue_t *queue = NULL;
    pthread_t threads[2];
    uint64_t begun = now_ms();
    CHECK(gometa_options_new(&options, NULL) == GOMETA_OK);
    CHECK(gometa_options_set_timeout_ms(options, 60000 * patience, NULL) == GOMETA_OK);
    CHECK(gometa_client_new(dead, options, &client, NULL) == GOMETA_OK);
    gometa_options_free(options);
    CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &future, NULL) == GOMETA_OK);
    CHECK(gometa_queue_new(&queue, NULL) == GOMETA_OK);
    CHECK(pthread_create(&threads[0], NULL, wait_for_future, future) == 0);
    CHECK(pthread_create(&threads[1], NULL, wait_for_queue, queue) == 0);
    gometa_future_cancel(future);
    gometa_future_cancel(future);
    gometa_queue_close(queue);
    CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    gometa_status_t status = gometa_future_written(future, NULL, &error);
    CHECK(gometa_error_outcome(error) == GOMETA_OUTCOME_UNKNOWN);
    FAILS(status, GOMETA_CANCELLED);
    gometa_future_free(future);
    gometa_queue_free(queue);

    /* Closing a client ends its future, which can be read after the client is freed. */
    CHECK(gometa_client_get_async(client, "k", 1, &future, NULL) == GOMETA_OK);
    gometa_client_close(client);
    CHECK(gometa_future_wait(future, 5000 * patience, NULL) == GOMETA_OK);
    gometa_entry_t *entry = NULL;
    gometa_client_free(client);
    FAILS(gometa_future_entry(future, &entry, &error), GOMETA_CLOSED);
    gometa_future_free(future);
    CHECK(now_ms() - begun < 30000 * patience);
}

/* Several threads share a queue: each tag is taken once. */
static gometa_queue_t *common;
static int taken[CALLS];

static void *take_tags(void *context)
{
    uint64_t tag = 0;
    (void)context;
    while (gometa_queue_next(common, 60000 * patience, &tag, NULL) == GOMETA_OK) {
        CHECK(tag < CALLS);
        pthread_mutex_lock(&lock);
        taken[tag]++;
        called++;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void share_a_queue(const char *peers)
{
    gometa_client_t *client = NULL;
    gometa_future_t *futures[CALLS];
    pthread_t threads[THREADS];
    called = 0;
    CHECK(gometa_queue_new(&common, NULL) == GOMETA_OK);
    client = open_client(peers, 20000 * patience);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, take_tags, NULL) == 0);
    }
    for (uint64_t i = 0; i < CALLS; i++) {
        CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &futures[i], NULL) == GOMETA_OK);
        CHECK(gometa_future_enqueue(futures[i], common, i, NULL) == GOMETA_OK);
    }
    pthread_mutex_lock(&lock);
    while (called < CALLS) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    gometa_queue_close(common);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    for (int i = 0; i < CALLS; i++) {
        CHECK(taken[i] == 1);
        CHECK(gometa_future_written(futures[i], NULL, NULL) == GOMETA_OK);
        gometa_future_free(futures[i]);
    }
    gometa_queue_free(common);
    gometa_client_free(client);
}

/* A child: calls on inherited objects fail, calls on a client of its own succeed. */
static void run_child(const char *peers, gometa_client_t *client, gometa_future_t *future, gometa_queue_t *queue,
                      gometa_scan_t *scan, gometa_transaction_t *transaction)
{
    gometa_error_t *error = NULL;
    gometa_entry_t *entry = NULL;
    gometa_client_t *other = NULL;
    gometa_client_t *guarded = NULL;
    gometa_settings_t *settings = NULL;
    gometa_future_t *started = NULL;
    gometa_range_t *range = NULL;
    gometa_scan_t *begun = NULL;
    gometa_page_t *page = NULL;
    gometa_txn_t *txn = NULL;
    gometa_txn_result_t *result = NULL;
    gometa_transaction_t *own = NULL;
    gometa_value_t *value = NULL;
    bool committed = false;
    uint64_t tag = 0;
    /* A child that hangs is killed, which the parent detects. */
    alarm((unsigned)(30 * patience));
    FAILS(gometa_client_get(client, "parent", 6, &entry, &error), GOMETA_FORKED);
    FAILS(gometa_client_set(client, "parent", 6, "2", 1, NULL, &error), GOMETA_FORKED);
    FAILS(gometa_client_set_async(client, "parent", 6, "2", 1, &started, &error), GOMETA_FORKED);
    FAILS(gometa_client_counter(client, GOMETA_COUNTER_REQUESTS, &tag, &error), GOMETA_FORKED);
    FAILS(gometa_client_history_id(client, &tag, &error), GOMETA_FORKED);
    FAILS(gometa_future_wait(future, 1000, &error), GOMETA_FORKED);
    FAILS(gometa_future_entry(future, &entry, &error), GOMETA_FORKED);
    FAILS(gometa_queue_next(queue, 1000, &tag, &error), GOMETA_FORKED);
    FAILS(gometa_scan_next(scan, &page, &error), GOMETA_FORKED);
    FAILS(gometa_scan_next_async(scan, &started, &error), GOMETA_FORKED);
    gometa_scan_free(scan);
    FAILS(gometa_transaction_get(transaction, "parent", 6, &value, &error), GOMETA_FORKED);
    FAILS(gometa_transaction_set(transaction, "parent", 6, "2", 1, &error), GOMETA_FORKED);
    FAILS(gometa_transaction_delete(transaction, "parent", 6, &error), GOMETA_FORKED);
    FAILS(gometa_transaction_commit(transaction, &committed, &error), GOMETA_FORKED);
    FAILS(gometa_transaction_commit_async(transaction, &started, &error), GOMETA_FORKED);
    gometa_transaction_free(transaction);
    CHECK(gometa_txn_new(&txn, &error) == GOMETA_OK);
    FAILS(gometa_client_commit(client, txn, &result, &error), GOMETA_FORKED);
    FAILS(gometa_client_transaction(client, &own, &error), GOMETA_FORKED);
    gometa_txn_free(txn);
    CHECK(value == NULL && !committed && result == NULL && own == NULL);
    CHECK(gometa_range_new(&range, &error) == GOMETA_OK);
    FAILS(gometa_client_range(client, range, &page, &error), GOMETA_FORKED);
    FAILS(gometa_client_scan(client, range, &begun, &error), GOMETA_FORKED);
    gometa_range_free(range);
    CHECK(!gometa_future_is_ready(future) && started == NULL && entry == NULL && page == NULL && begun == NULL);
    gometa_future_cancel(future);
    gometa_future_free(future);
    gometa_queue_close(queue);
    gometa_queue_free(queue);
    FAILS(gometa_client_with_timeout(client, 1000, &other, &error), GOMETA_FORKED);
    FAILS(gometa_client_with_guard(client, "parent", 6, 1, &guarded, &error), GOMETA_FORKED);
    CHECK(other == NULL && guarded == NULL);
    FAILS(gometa_client_settings(client, &settings, &error), GOMETA_FORKED);
    FAILS(gometa_client_set_setting(client, "HistoryAgeMinutes", NULL, NULL, &error), GOMETA_FORKED);
    CHECK(settings == NULL);
    gometa_client_close(client);
    gometa_client_free(client);
    client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_set(client, "child", 5, "1", 1, NULL, &error) == GOMETA_OK);
    gometa_client_free(client);
    exit(0);
}

/* A scan with a page that is read ahead: a page holds one of these values. */
static gometa_scan_t *begin_scan(const gometa_client_t *client)
{
    static char value[700000];
    gometa_range_t *range = NULL;
    gometa_scan_t *scan = NULL;
    gometa_page_t *page = NULL;
    CHECK(gometa_client_set(client, "large/1", 7, value, sizeof value, NULL, NULL) == GOMETA_OK);
    CHECK(gometa_client_set(client, "large/2", 7, value, sizeof value, NULL, NULL) == GOMETA_OK);
    CHECK(gometa_range_new(&range, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_prefix(range, "large/", 6, NULL) == GOMETA_OK);
    CHECK(gometa_client_scan(client, range, &scan, NULL) == GOMETA_OK);
    gometa_range_free(range);
    CHECK(gometa_scan_next(scan, &page, NULL) == GOMETA_OK);
    gometa_page_free(page);
    return scan;
}

static void forked(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_future_t *future = NULL;
    gometa_queue_t *queue = NULL;
    gometa_entry_t *entry = NULL;
    gometa_page_t *page = NULL;
    gometa_transaction_t *transaction = NULL;
    gometa_value_t *value = NULL;
    bool committed = false;
    pthread_t threads[THREADS];
    client = open_client(peers, 20000 * patience);
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    CHECK(gometa_client_set(client, "parent", 6, "1", 1, NULL, &error) == GOMETA_OK);
    CHECK(gometa_client_set(client, "k", 1, "v", 1, NULL, &error) == GOMETA_OK);
    CHECK(gometa_client_get_async(client, "parent", 6, &future, &error) == GOMETA_OK);
    gometa_scan_t *scan = begin_scan(client);
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    CHECK(gometa_transaction_get(transaction, "parent", 6, &value, &error) == GOMETA_OK && value != NULL);
    gometa_value_free(value);
    /* The child inherits the locks of these threads in whatever state they are. */
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, call_until_closed, client) == 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        wait_for_calls(client, (uint64_t)(100 * round));
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            run_child(peers, client, future, queue, scan, transaction);
        }
        int status = 0;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    /* The parent is not affected. */
    CHECK(gometa_scan_next(scan, &page, &error) == GOMETA_OK && gometa_page_count(page) == 1);
    gometa_page_free(page);
    gometa_scan_free(scan);
    CHECK(gometa_transaction_set(transaction, "transaction", 11, "1", 1, &error) == GOMETA_OK);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && committed);
    gometa_transaction_free(transaction);
    CHECK(gometa_future_wait(future, 5000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_entry(future, &entry, &error) == GOMETA_OK);
    gometa_entry_free(entry);
    CHECK(gometa_client_get(client, "child", 5, &entry, &error) == GOMETA_OK);
    gometa_entry_free(entry);
    gometa_client_close(client);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    gometa_future_free(future);
    gometa_queue_free(queue);
    gometa_client_free(client);
}

int main(int count, char **given)
{
    CHECK(count == 4 || (count == 5 && strcmp(given[4], "nofork") == 0));
    patience = strtoull(given[1], NULL, 10);
    CHECK(patience > 0);
    callbacks(given[2], given[3]);
    close_among_calls(given[2]);
    wake_waiters(given[3]);
    share_a_queue(given[2]);
    if (count == 4) {
        forked(given[2]);
    }
    puts("passed");
    return 0;
}
