/*
 * The calls of libgometa, with their errors.
 *
 *     cc -std=c99 tour.c $(pkg-config --cflags --libs gometa) -o tour
 *     ./tour 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
 */
#include <gometa.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exits with the message of the error, if there is one. */
static void must(gometa_status_t status, gometa_error_t **error)
{
    if (status == GOMETA_OK) {
        return;
    }
    fprintf(stderr, "%s: %s\n", gometa_status_name(status), gometa_error_message(*error));
    gometa_error_free(*error);
    exit(1);
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s PEERS (host:port,...)\n", arguments[0]);
        return 2;
    }
    gometa_client_t *client = NULL;
    gometa_error_t *error = NULL;
    must(gometa_client_new(arguments[1], NULL, &client, &error), &error);

    /* A write. */
    const char *key = "tour/colour";
    gometa_written_t written;
    must(gometa_client_set(client, key, strlen(key), "red", 3, &written, &error), &error);
    printf("set at revision %" PRIu64 "\n", written.revision);

    /* A linearizable read: it sees every write that was acknowledged before it began. */
    gometa_entry_t *entry = NULL;
    must(gometa_client_get(client, key, strlen(key), &entry, &error), &error);
    size_t length = 0;
    const uint8_t *value = gometa_entry_value(entry, &length);
    printf("value %.*s, version %" PRIu64 "\n", (int)length, (const char *)value, gometa_entry_version(entry));
    gometa_entry_free(entry);

    /* The keys with a prefix, in order, all at one revision; each page is requested while the one before is used. */
    gometa_range_t *range = NULL;
    gometa_scan_t *scan = NULL;
    gometa_page_t *page = NULL;
    must(gometa_range_new(&range, &error), &error);
    must(gometa_range_set_prefix(range, "tour/", 5, &error), &error);
    must(gometa_client_scan(client, range, &scan, &error), &error);
    gometa_range_free(range);
    for (;;) {
        must(gometa_scan_next(scan, &page, &error), &error);
        if (page == NULL) {
            break;
        }
        for (size_t i = 0; i < gometa_page_count(page); i++) {
            const uint8_t *found = gometa_entry_key(gometa_page_entry(page, i), &length);
            printf("key %.*s\n", (int)length, (const char *)found);
        }
        gometa_page_free(page);
    }
    gometa_scan_free(scan);

    /* Compare and set: writes only if the key still has this revision. */
    must(gometa_client_cas(client, key, strlen(key), written.revision, "green", 5, NULL, &error), &error);
    gometa_status_t status =
        gometa_client_cas(client, key, strlen(key), written.revision, "blue", 4, NULL, &error);
    uint64_t actual = 0;
    if (status == GOMETA_CAS_MISMATCH && gometa_error_actual_revision(error, &actual)) {
        printf("the key was changed: revision %" PRIu64 "\n", actual - written.revision);
    }
    gometa_error_free(error);

    /* A transaction: several operations as one, if the comparisons hold. */
    gometa_txn_t *txn = NULL;
    gometa_txn_result_t *result = NULL;
    must(gometa_txn_new(&txn, &error), &error);
    must(gometa_txn_when_value(txn, key, strlen(key), GOMETA_EQUAL, "green", 5, &error), &error);
    must(gometa_txn_set(txn, GOMETA_THEN, key, strlen(key), "red", 3, &error), &error);
    must(gometa_txn_set(txn, GOMETA_THEN, "tour/count", 10, "1", 1, &error), &error);
    must(gometa_client_commit(client, txn, &result, &error), &error);
    printf("both keys were written: %d\n", gometa_txn_result_succeeded(result));
    gometa_txn_result_free(result);
    gometa_txn_free(txn);

    /* Reads and writes that take effect as one: tried again if another client has changed what was read. */
    gometa_transaction_t *transaction = NULL;
    bool committed = false;
    int attempts = 0;
    must(gometa_client_transaction(client, &transaction, &error), &error);
    while (!committed) {
        gometa_value_t *colour = NULL;
        must(gometa_transaction_get(transaction, key, strlen(key), &colour, &error), &error);
        value = gometa_value_bytes(colour, &length);
        must(gometa_transaction_set(transaction, "tour/copy", 9, value, length, &error), &error);
        must(gometa_transaction_set(transaction, "tour/count", 10, "2", 1, &error), &error);
        gometa_value_free(colour);
        must(gometa_transaction_commit(transaction, &committed, &error), &error);
        attempts++;
    }
    gometa_transaction_free(transaction);
    printf("copied by attempt %d\n", attempts);
    must(gometa_client_delete(client, "tour/copy", 9, NULL, &error), &error);
    must(gometa_client_delete(client, "tour/count", 10, NULL, &error), &error);

    /* A guard: writes through this handle are executed only while a key exists that was created at that revision. */
    gometa_client_t *owner = NULL;
    must(gometa_client_add(client, "tour/lock", 9, "me", 2, &written, &error), &error);
    must(gometa_client_with_guard(client, "tour/lock", 9, written.revision, &owner, &error), &error);
    must(gometa_client_set(owner, key, strlen(key), "blue", 4, NULL, &error), &error);
    must(gometa_client_delete(client, "tour/lock", 9, NULL, &error), &error);
    status = gometa_client_set(owner, key, strlen(key), "late", 4, NULL, &error);
    printf("a write without its lock: %s\n", gometa_status_name(status));
    gometa_error_free(error);
    gometa_client_free(owner);

    /* Without blocking: a future, and a queue that receives its tag when it is ready. */
    gometa_queue_t *queue = NULL;
    gometa_future_t *future = NULL;
    uint64_t tag = 0;
    must(gometa_queue_new(&queue, &error), &error);
    must(gometa_client_delete_async(client, key, strlen(key), &future, &error), &error);
    must(gometa_future_enqueue(future, queue, 7, &error), &error);
    must(gometa_queue_next(queue, 5000, &tag, &error), &error);
    gometa_deleted_t deleted;
    must(gometa_future_deleted(future, &deleted, &error), &error);
    printf("future %" PRIu64 " is ready: deleted %s\n", tag, deleted.existed ? "it" : "nothing");
    gometa_future_free(future);
    gometa_queue_free(queue);

    /* A key that does not exist is an error of its own kind. */
    status = gometa_client_get(client, key, strlen(key), &entry, &error);
    printf("%s: %s\n", gometa_status_name(status), gometa_error_message(error));
    gometa_error_free(error);

    gometa_client_free(client);
    return 0;
}
