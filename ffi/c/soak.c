/*
 * Many calls of every form and with every result do not grow the process.
 *
 *     soak COUNT GROWTH_KIB PEERS DEAD
 *
 * For each form: COUNT / 5 calls to warm up, then COUNT, after which the resident size may be GROWTH_KIB larger; 0 means
 * that it is not checked. PEERS are the addresses of an ensemble. Nothing listens at DEAD.
 */
#include "check.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define THREADS 16
#define BATCH 64

static const char *peers;
static gometa_client_t *client;
static gometa_read_options_t *local;

/* In KiB. */
static long resident(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%*s %ld", &pages) == 1);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Runs a function, which receives its share of a number of calls, in several threads. */
static void in_threads(void *(*run)(void *), long count)
{
    pthread_t threads[THREADS];
    long each = count / THREADS;
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, run, &each) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

/* Blocking calls that succeed, by several threads. */
static void *block(void *context)
{
    long count = *(long *)context;
    for (long i = 0; i < count; i++) {
        gometa_entry_t *entry = NULL;
        gometa_written_t written;
        gometa_deleted_t deleted;
        switch (i % 8) {
        case 0:
            CHECK(gometa_client_set(client, "k", 1, "some value", 10, &written, NULL) == GOMETA_OK);
            break;
        case 1:
            CHECK(gometa_client_delete(client, "absent", 6, &deleted, NULL) == GOMETA_OK);
            break;
        case 2:
            CHECK(gometa_client_get_with(client, "k", 1, local, &entry, NULL) == GOMETA_OK);
            break;
        default:
            CHECK(gometa_client_get(client, "k", 1, &entry, NULL) == GOMETA_OK);
        }
        gometa_entry_free(entry);
    }
    return NULL;
}

static void blocking(long count)
{
    in_threads(block, count);
}

/* Futures: waited for, cancelled, or freed before they are ready. */
static void futures(long count)
{
    for (long done = 0; done < count; done += BATCH) {
        gometa_future_t *batch[BATCH];
        for (int i = 0; i < BATCH; i++) {
            if (i % 2 == 0) {
                CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &batch[i], NULL) == GOMETA_OK);
            } else {
                CHECK(gometa_client_get_async(client, "k", 1, &batch[i], NULL) == GOMETA_OK);
            }
        }
        for (int i = 0; i < BATCH; i++) {
            gometa_entry_t *entry = NULL;
            if (i % 16 == 14) {
                gometa_future_cancel(batch[i]);
            } else if (i % 16 != 15) {
                CHECK(gometa_future_wait(batch[i], 60000, NULL) == GOMETA_OK);
            }
            if (i % 2 == 0) {
                gometa_status_t status = gometa_future_written(batch[i], NULL, NULL);
                CHECK(status == GOMETA_OK || status == GOMETA_CANCELLED);
            } else if (gometa_future_entry(batch[i], &entry, NULL) == GOMETA_OK) {
                gometa_entry_free(entry);
            }
            gometa_future_free(batch[i]);
        }
    }
}

/* Futures with a queue, several for each. */
static void queued(long count)
{
    gometa_queue_t *queue = NULL;
    gometa_future_t *batch[BATCH];
    CHECK(gometa_queue_new(&queue, NULL) == GOMETA_OK);
    for (long done = 0; done < count; done += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &batch[i], NULL) == GOMETA_OK);
            CHECK(gometa_future_enqueue(batch[i], queue, (uint64_t)i, NULL) == GOMETA_OK);
        }
        for (int i = 0; i < BATCH; i++) {
            uint64_t tag = BATCH;
            CHECK(gometa_queue_next(queue, 60000, &tag, NULL) == GOMETA_OK && tag < BATCH);
            CHECK(gometa_future_written(batch[tag], NULL, NULL) == GOMETA_OK);
            gometa_future_free(batch[tag]);
        }
        if (done % (16 * BATCH) == 0) {
            gometa_queue_free(queue);
            CHECK(gometa_queue_new(&queue, NULL) == GOMETA_OK);
        }
    }
    gometa_queue_free(queue);
}

/* Futures with a callback. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long called;

static void ready(void *context, gometa_future_t *future)
{
    (void)context;
    CHECK(gometa_future_written(future, NULL, NULL) == GOMETA_OK);
    gometa_future_free(future);
    pthread_mutex_lock(&lock);
    called++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_until_called(long times)
{
    pthread_mutex_lock(&lock);
    while (called < times) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void called_back(long count)
{
    called = 0;
    for (long started = 0; started < count; started++) {
        gometa_future_t *future = NULL;
        CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &future, NULL) == GOMETA_OK);
        CHECK(gometa_future_on_ready(future, NULL, ready, NULL) == GOMETA_OK);
        wait_until_called(started + 1 - BATCH);
    }
    wait_until_called(count);
}

/* Calls that fail on the node, in the library, and by their timeout. */
static const char *dead;

static void *fail(void *context)
{
    long count = *(long *)context;
    gometa_client_t *alone = NULL;
    gometa_client_t *limited = NULL;
    alone = open_client(dead, 60000);
    CHECK(gometa_client_with_timeout(alone, 1, &limited, NULL) == GOMETA_OK);
    for (long i = 0; i < count; i++) {
        gometa_error_t *error = NULL;
        gometa_entry_t *entry = NULL;
        gometa_client_t *none = NULL;
        uint64_t actual = 0;
        switch (i % 8) {
        case 0:
            FAILS(gometa_client_get(client, "absent", 6, &entry, &error), GOMETA_NOT_FOUND);
            break;
        case 1:
            FAILS(gometa_client_add(client, "k", 1, "v", 1, NULL, &error), GOMETA_ALREADY_EXISTS);
            break;
        case 2:
            CHECK(gometa_client_cas(client, "k", 1, 1, "v", 1, NULL, &error) == GOMETA_CAS_MISMATCH);
            CHECK(gometa_error_actual_revision(error, &actual) && actual > 1);
            gometa_error_free(error);
            break;
        case 3:
            FAILS(gometa_client_set(client, NULL, 0, "v", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
            break;
        case 4:
            FAILS(gometa_client_new("nonsense", NULL, &none, &error), GOMETA_INVALID_ARGUMENT);
            break;
        case 5:
            if (i % 64 == 5) {
                FAILS(gometa_client_get(limited, "k", 1, &entry, &error), GOMETA_UNAVAILABLE);
            }
            break;
        default:
            /* Without an error output there is nothing to free. */
            CHECK(gometa_client_get(client, "absent", 6, &entry, NULL) == GOMETA_NOT_FOUND);
        }
    }
    gometa_client_free(limited);
    gometa_client_free(alone);
    return NULL;
}

static void failing(long count)
{
    in_threads(fail, count);
}

/* Ranges, scans and counts, by several threads; then scans of several pages, a thousandth as many. */
static const uint64_t future_revision = UINT64_MAX / 2;

static gometa_range_t *local_range_of(const char *prefix)
{
    gometa_range_t *range = range_of(prefix);
    CHECK(gometa_range_set_read_options(range, local, NULL) == GOMETA_OK);
    return range;
}

/* Reads all pages, or some of them. */
static void scan(const gometa_range_t *range, int pages_max)
{
    gometa_scan_t *scan = NULL;
    gometa_page_t *page = NULL;
    CHECK(gometa_client_scan(client, range, &scan, NULL) == GOMETA_OK);
    for (int i = 0; i < pages_max; i++) {
        CHECK(gometa_scan_next(scan, &page, NULL) == GOMETA_OK);
        if (page == NULL) {
            break;
        }
        CHECK(gometa_page_count(page) > 0 && gometa_page_entry(page, 0) != NULL);
        gometa_page_free(page);
    }
    gometa_scan_free(scan);
}

static void *read_ranges(void *context)
{
    long count = *(long *)context;
    gometa_range_t *few = local_range_of("few/");
    gometa_range_t *later = local_range_of("few/");
    /* A local read would wait for the revision. */
    CHECK(gometa_range_set_read_options(later, NULL, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_at_revision(later, future_revision, NULL) == GOMETA_OK);
    for (long i = 0; i < count; i++) {
        gometa_error_t *error = NULL;
        gometa_page_t *page = NULL;
        gometa_entry_t *entry = NULL;
        gometa_future_t *future = NULL;
        gometa_range_t *range = NULL;
        uint64_t number = 0;
        switch (i % 8) {
        case 0:
            CHECK(gometa_client_range(client, few, &page, NULL) == GOMETA_OK && gometa_page_count(page) == 3);
            break;
        case 1:
            scan(few, 2);
            break;
        case 2:
            CHECK(gometa_client_count(client, few, &number, NULL) == GOMETA_OK && number == 3);
            break;
        case 3:
            CHECK(gometa_client_get_at(client, "few/1", 5, 0, &entry, NULL) == GOMETA_OK);
            break;
        case 4:
            CHECK(gometa_client_range_async(client, few, &future, NULL) == GOMETA_OK);
            gometa_future_cancel(future);
            if (gometa_future_page(future, &page, &error) != GOMETA_OK) {
                gometa_error_free(error);
            }
            break;
        case 5:
            if (i % 64 == 5) {
                FAILS(gometa_client_range(client, later, &page, &error), GOMETA_INVALID_ARGUMENT);
                CHECK(gometa_client_delete_prefix(client, "absent/", 7, NULL, NULL) == GOMETA_OK);
            }
            break;
        default:
            range = local_range_of("few/");
            CHECK(gometa_range_set_start(range, "few/1", 5, NULL) == GOMETA_OK);
            CHECK(gometa_range_set_delimiter(range, "/", 1, NULL) == GOMETA_OK);
            CHECK(gometa_client_range_async(client, range, &future, NULL) == GOMETA_OK);
        }
        gometa_page_free(page);
        gometa_entry_free(entry);
        gometa_future_free(future);
        gometa_range_free(range);
    }
    gometa_range_free(few);
    gometa_range_free(later);
    return NULL;
}

static void ranges(long count)
{
    static char value[700000];
    const char *keys[] = {"large/1", "large/2", "large/3", "few/1", "few/2", "few/3"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t length = i < 3 ? sizeof value : 1;
        CHECK(gometa_client_set(client, keys[i], strlen(keys[i]), value, length, NULL, NULL) == GOMETA_OK);
    }
    in_threads(read_ranges, count);
    gometa_range_t *large = local_range_of("large/");
    for (long i = 0; i < 5 + count / 1000; i++) {
        scan(large, (int)(i % 5));
    }
    gometa_range_free(large);
}

/* Transactions, by several threads: committed, cancelled, refused, and repeated; a tenth as many. */
static void *transact(void *context)
{
    long count = *(long *)context;
    for (long i = 0; i < count; i += 10) {
        gometa_error_t *error = NULL;
        gometa_txn_t *txn = NULL;
        gometa_txn_result_t *result = NULL;
        gometa_transaction_t *transaction = NULL;
        gometa_value_t *value = NULL;
        gometa_future_t *future = NULL;
        gometa_range_t *range = local_range_of("few/");
        bool committed = false;
        CHECK(gometa_range_set_read_options(range, NULL, NULL) == GOMETA_OK);
        CHECK(gometa_txn_new(&txn, NULL) == GOMETA_OK);
        CHECK(gometa_txn_when_mod_revision(txn, "few/1", 5, GOMETA_GREATER, 0, NULL) == GOMETA_OK);
        CHECK(gometa_txn_when_value(txn, "few/2", 5, GOMETA_GREATER, "", 0, NULL) == GOMETA_OK);
        CHECK(gometa_txn_get(txn, GOMETA_THEN, "few/1", 5, NULL) == GOMETA_OK);
        CHECK(gometa_txn_range(txn, GOMETA_THEN, range, NULL) == GOMETA_OK);
        gometa_range_free(range);
        CHECK(gometa_client_transaction(client, &transaction, NULL) == GOMETA_OK);
        switch (i / 10 % 4) {
        case 0:
            CHECK(gometa_txn_set(txn, GOMETA_THEN, "txn", 3, "v", 1, NULL) == GOMETA_OK);
            CHECK(gometa_client_commit(client, txn, &result, NULL) == GOMETA_OK);
            CHECK(gometa_txn_result_count(result) == 3 && gometa_txn_result_page(result, 1) != NULL);
            break;
        case 1:
            CHECK(gometa_client_commit_async(client, txn, &future, NULL) == GOMETA_OK);
            gometa_future_cancel(future);
            if (gometa_future_txn_result(future, &result, &error) != GOMETA_OK) {
                gometa_error_free(error);
            }
            break;
        case 2:
            CHECK(gometa_txn_delete(txn, GOMETA_THEN, "", 0, NULL) == GOMETA_OK);
            FAILS(gometa_client_commit(client, txn, &result, &error), GOMETA_INVALID_ARGUMENT);
            CHECK(gometa_transaction_get_async(transaction, "txn", 3, &future, NULL) == GOMETA_OK);
            break;
        default:
            do {
                CHECK(gometa_transaction_get(transaction, "few/1", 5, &value, NULL) == GOMETA_OK && value != NULL);
                gometa_value_free(value);
                CHECK(gometa_transaction_set(transaction, "own", 3, "v", 1, NULL) == GOMETA_OK);
                CHECK(gometa_transaction_delete(transaction, "txn", 3, NULL) == GOMETA_OK);
                CHECK(gometa_transaction_commit(transaction, &committed, NULL) == GOMETA_OK);
            } while (!committed);
        }
        gometa_txn_free(txn);
        gometa_txn_result_free(result);
        gometa_future_free(future);
        gometa_transaction_free(transaction);
    }
    return NULL;
}

static void transactions(long count)
{
    in_threads(transact, count);
}

/* Clients, their status and members; a hundredth as many. */
static void clients(long count)
{
    for (long i = 0; i < count; i += 100) {
        gometa_client_t *other = NULL;
        gometa_node_status_t *status = NULL;
        gometa_members_t *members = NULL;
        gometa_membership_t *membership = NULL;
        gometa_stop_advice_t *advice = NULL;
        gometa_options_t *options = NULL;
        CHECK(gometa_options_new(&options, NULL) == GOMETA_OK);
        CHECK(gometa_options_set_name(options, "soak", NULL) == GOMETA_OK);
        CHECK(gometa_client_new(peers, options, &other, NULL) == GOMETA_OK);
        gometa_options_free(options);
        CHECK(gometa_client_status(other, NULL, &status, NULL) == GOMETA_OK);
        CHECK(gometa_client_members(other, &members, NULL) == GOMETA_OK);
        CHECK(gometa_members_count(members) == 3 && gometa_node_status_peer_count(status) == 2);
        CHECK(gometa_client_membership(other, &membership, NULL) == GOMETA_OK);
        uint64_t node = gometa_membership_node_id(membership, 0);
        CHECK(gometa_client_safe_to_stop(other, &node, 1, &advice, NULL) == GOMETA_OK);
        gometa_membership_free(membership);
        CHECK(gometa_client_remove_member(other, UINT64_MAX, NULL, &membership, NULL) == GOMETA_OK);
        gometa_membership_free(membership);
        gometa_stop_advice_free(advice);
        gometa_node_status_free(status);
        gometa_members_free(members);
        gometa_client_free(other);
    }
}

int main(int count, char **given)
{
    CHECK(count == 5);
    long calls = strtol(given[1], NULL, 10);
    long growth_max = strtol(given[2], NULL, 10);
    peers = given[3];
    dead = given[4];
    CHECK(calls >= 100);
    static const struct {
        const char *name;
        void (*run)(long count);
    } forms[] = {
        {"blocking", blocking}, {"futures", futures}, {"queued", queued},
        {"called back", called_back}, {"failing", failing}, {"ranges", ranges},
        {"transactions", transactions}, {"clients", clients},
    };
    client = open_client(peers, 60000);
    CHECK(gometa_read_options_new(&local, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_set_consistency(local, GOMETA_LOCAL, NULL) == GOMETA_OK);
    CHECK(gometa_client_set(client, "k", 1, "v", 1, NULL, NULL) == GOMETA_OK);
    CHECK(gometa_client_set(client, "k", 1, "v", 1, NULL, NULL) == GOMETA_OK);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        forms[i].run(calls / 5);
        long before = resident();
        uint64_t begun = now_ms();
        forms[i].run(calls);
        long growth = resident() - before;
        printf("%s: %ld calls in %ld ms, %ld KiB, and %ld KiB more\n", forms[i].name, calls,
               (long)(now_ms() - begun), before, growth);
        fflush(stdout);
        CHECK(growth_max == 0 || growth <= growth_max);
    }
    uint64_t in_flight = 1;
    CHECK(gometa_client_counter(client, GOMETA_COUNTER_IN_FLIGHT, &in_flight, NULL) == GOMETA_OK && in_flight == 0);
    gometa_read_options_free(local);
    gometa_client_free(client);
    puts("passed");
    return 0;
}
