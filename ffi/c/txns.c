/*
 * Transactions: branches, comparisons and results; by futures and a queue; repeated on conflict; with invalid arguments,
 * after cancellations, and after their client is closed or freed.
 *
 *     txns PATIENCE PEERS
 *
 * PEERS are the addresses of an ensemble. Timeouts are multiplied by PATIENCE, 1 unless something slows the program
 * down.
 */
#include "check.h"
#include <pthread.h>
#include <string.h>

static uint64_t patience;

static char large[1 << 20];

static gometa_txn_t *txn_new(void)
{
    gometa_txn_t *txn = NULL;
    gometa_error_t *error = NULL;
    CHECK(gometa_txn_new(&txn, &error) == GOMETA_OK && txn != NULL && error == NULL);
    return txn;
}

/* Executes it, which must succeed, and frees it. */
static gometa_txn_result_t *commit(const gometa_client_t *client, gometa_txn_t *txn)
{
    gometa_txn_result_t *result = NULL;
    gometa_error_t *error = NULL;
    if (gometa_client_commit(client, txn, &result, &error) != GOMETA_OK) {
        fprintf(stderr, "%s\n", gometa_error_message(error));
        exit(1);
    }
    gometa_txn_free(txn);
    CHECK(result != NULL && error == NULL);
    return result;
}

/* The result is of one kind, and not of another. */
static void is(const gometa_txn_result_t *result, size_t index, gometa_result_kind_t kind)
{
    gometa_written_t written = {42, 42};
    gometa_deleted_t deleted = {42, true};
    gometa_deleted_range_t range = {42, 0};
    CHECK(gometa_txn_result_deleted_range(result, index, NULL) == (kind == GOMETA_RESULT_DELETED_RANGE));
    CHECK(gometa_txn_result_deleted_range(result, index, &range) == (kind == GOMETA_RESULT_DELETED_RANGE));
    CHECK((range.revision == 42) == (kind != GOMETA_RESULT_DELETED_RANGE));
    CHECK(gometa_txn_result_kind(result, index) == kind);
    CHECK(gometa_txn_result_written(result, index, NULL) == (kind == GOMETA_RESULT_WRITTEN));
    CHECK(gometa_txn_result_written(result, index, &written) == (kind == GOMETA_RESULT_WRITTEN));
    CHECK(gometa_txn_result_deleted(result, index, NULL) == (kind == GOMETA_RESULT_DELETED));
    CHECK(gometa_txn_result_deleted(result, index, &deleted) == (kind == GOMETA_RESULT_DELETED));
    CHECK((gometa_txn_result_entry(result, index) != NULL) == (kind == GOMETA_RESULT_ENTRY));
    CHECK((gometa_txn_result_page(result, index) != NULL) == (kind == GOMETA_RESULT_PAGE));
    CHECK((gometa_txn_result_error(result, index) != NULL) == (kind == GOMETA_RESULT_ERROR));
    CHECK((written.version == 42) == (kind != GOMETA_RESULT_WRITTEN));
    CHECK((deleted.revision == 42) == (kind != GOMETA_RESULT_DELETED));
}

/* Takes a job: the same transaction, committed twice. */
static void branches(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_txn_t *txn = txn_new();
    gometa_range_t *range = NULL;
    gometa_txn_result_t *taken = NULL;
    gometa_txn_result_t *late = NULL;
    gometa_written_t written = {0, 0};
    gometa_deleted_t deleted = {0, false};
    size_t length = 0;
    set(client, "jobs/waiting/7", "sort", 4);
    uint64_t before = set(client, "jobs/waiting/7", "sort", 4);
    CHECK(gometa_range_new(&range, &error) == GOMETA_OK);
    CHECK(gometa_range_set_prefix(range, "jobs/", 5, &error) == GOMETA_OK);
    CHECK(gometa_txn_when_mod_revision(txn, "jobs/waiting/7", 14, GOMETA_GREATER, 0, &error) == GOMETA_OK);
    CHECK(gometa_txn_when_mod_revision(txn, "jobs/running/7", 14, GOMETA_EQUAL, 0, &error) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_THEN, "jobs/waiting/7", 14, &error) == GOMETA_OK);
    CHECK(gometa_txn_delete(txn, GOMETA_THEN, "jobs/waiting/7", 14, &error) == GOMETA_OK);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "jobs/running/7", 14, "me", 2, &error) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_THEN, "jobs/waiting/7", 14, &error) == GOMETA_OK);
    CHECK(gometa_txn_range(txn, GOMETA_THEN, range, &error) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_OTHERWISE, "jobs/running/7", 14, &error) == GOMETA_OK);
    gometa_range_free(range);
    CHECK(gometa_client_commit(client, txn, &taken, &error) == GOMETA_OK && error == NULL);
    CHECK(gometa_client_commit(client, txn, &late, &error) == GOMETA_OK);
    gometa_txn_free(txn);

    uint64_t revision = gometa_txn_result_revision(taken);
    CHECK(gometa_txn_result_succeeded(taken) && revision > before && gometa_txn_result_count(taken) == 5);
    is(taken, 0, GOMETA_RESULT_ENTRY);
    is(taken, 1, GOMETA_RESULT_DELETED);
    is(taken, 2, GOMETA_RESULT_WRITTEN);
    is(taken, 3, GOMETA_RESULT_ABSENT);
    is(taken, 4, GOMETA_RESULT_PAGE);
    is(taken, 5, GOMETA_RESULT_NONE);
    is(taken, SIZE_MAX, GOMETA_RESULT_NONE);
    const gometa_entry_t *entry = gometa_txn_result_entry(taken, 0);
    CHECK(memcmp(gometa_entry_key(entry, &length), "jobs/waiting/7", 14) == 0 && length == 14);
    CHECK(memcmp(gometa_entry_value(entry, &length), "sort", 4) == 0 && length == 4);
    CHECK(gometa_entry_mod_revision(entry) == before && gometa_entry_version(entry) == 2);
    CHECK(gometa_txn_result_deleted(taken, 1, &deleted) && deleted.existed && deleted.revision == revision);
    CHECK(gometa_txn_result_written(taken, 2, &written) && written.version == 1 && written.revision == revision);
    const gometa_page_t *page = gometa_txn_result_page(taken, 4);
    CHECK(gometa_page_count(page) == 1 && gometa_page_next(page, NULL) == NULL);
    CHECK(memcmp(gometa_entry_key(gometa_page_entry(page, 0), NULL), "jobs/running/7", 14) == 0);

    CHECK(!gometa_txn_result_succeeded(late) && gometa_txn_result_count(late) == 1);
    is(late, 0, GOMETA_RESULT_ENTRY);
    CHECK(gometa_entry_mod_revision(gometa_txn_result_entry(late, 0)) == revision);
    gometa_txn_result_free(taken);
    gometa_txn_result_free(late);
    holds(client, "jobs/waiting/7", NULL);
    holds(client, "jobs/running/7", "me");
}

static void set_number(gometa_transaction_t *transaction, const char *key, int number);

/* Ranges are compared with what was found, deleted as one, and read by attempts. */
static void ranges(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_txn_result_t *result = NULL;
    gometa_deleted_range_t deleted = {0, 0};
    gometa_range_t *range = range_of("ranges/");
    set(client, "ranges/1", "a", 1);
    uint64_t last = set(client, "ranges/2", "b", 1);
    for (int i = 0; i < 3; i++) {
        gometa_txn_t *txn = txn_new();
        CHECK(gometa_txn_when_range(txn, range, i == 0 ? 3 : 2, i == 1 ? last - 1 : last, &error) == GOMETA_OK);
        CHECK(gometa_txn_delete_range(txn, GOMETA_THEN, range, &error) == GOMETA_OK);
        CHECK(gometa_txn_get(txn, GOMETA_THEN, "ranges/1", 8, &error) == GOMETA_OK);
        result = commit(client, txn);
        CHECK(gometa_txn_result_succeeded(result) == (i == 2));
        if (i < 2) {
            gometa_txn_result_free(result);
        }
    }
    is(result, 0, GOMETA_RESULT_DELETED_RANGE);
    is(result, 1, GOMETA_RESULT_ABSENT);
    CHECK(gometa_txn_result_deleted_range(result, 0, &deleted) && deleted.count == 2);
    CHECK(deleted.revision == gometa_txn_result_revision(result));
    gometa_txn_result_free(result);

    /* A key that appears is a conflict. An attempt sees what it has set. */
    gometa_transaction_t *transaction = NULL;
    gometa_future_t *future = NULL;
    gometa_page_t *page = NULL;
    bool committed = true;
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    CHECK(gometa_transaction_range(transaction, range, &page, &error) == GOMETA_OK && gometa_page_count(page) == 0);
    gometa_page_free(page);
    set(client, "ranges/3", "c", 1);
    set_number(transaction, "ranges/4", 4);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && !committed);
    set_number(transaction, "ranges/4", 4);
    CHECK(gometa_transaction_range_async(transaction, range, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_page(future, &page, &error) == GOMETA_OK && gometa_page_count(page) == 2);
    CHECK(gometa_entry_mod_revision(gometa_page_entry(page, 0)) > 0);
    CHECK(gometa_entry_mod_revision(gometa_page_entry(page, 1)) == 0 && gometa_page_next(page, NULL) == NULL);
    gometa_page_free(page);
    gometa_future_free(future);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && committed);
    gometa_transaction_free(transaction);
    holds(client, "ranges/4", "4");

    /* A range to compare, to delete or to read in an attempt has no limit. */
    CHECK(gometa_range_set_limit(range, 1, &error) == GOMETA_OK);
    for (int i = 0; i < 2; i++) {
        gometa_txn_t *txn = txn_new();
        CHECK((i == 0 ? gometa_txn_when_range(txn, range, 1, 1, &error)
                      : gometa_txn_delete_range(txn, GOMETA_OTHERWISE, range, &error)) == GOMETA_OK);
        FAILS(gometa_client_commit(client, txn, &result, &error), GOMETA_INVALID_ARGUMENT);
        gometa_txn_free(txn);
    }
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    FAILS(gometa_transaction_range(transaction, range, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_range(transaction, NULL, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_range(transaction, range, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_range(NULL, range, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_range_async(transaction, NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    gometa_transaction_free(transaction);
    gometa_range_free(range);
}

static void comparisons(const gometa_client_t *client)
{
    enum { MOD, CREATE };
    uint64_t created = set(client, "c", "a", 1);
    uint64_t changed = set(client, "c", "b", 1);
    const struct {
        int fact;
        const char *key;
        gometa_relation_t relation;
        uint64_t revision;
        bool holds;
    } revisions[] = {
        {MOD, "c", GOMETA_EQUAL, changed, true},     {MOD, "c", GOMETA_EQUAL, created, false},
        {MOD, "c", GOMETA_NOT_EQUAL, created, true}, {MOD, "c", GOMETA_LESS, changed, false},
        {MOD, "c", GOMETA_GREATER, created, true},   {MOD, "absent", GOMETA_EQUAL, 0, true},
        {CREATE, "c", GOMETA_EQUAL, created, true},  {CREATE, "c", GOMETA_LESS, changed, true},
        {CREATE, "c", GOMETA_GREATER, created, false}, {CREATE, "absent", GOMETA_GREATER, 0, false},
    };
    for (size_t i = 0; i < sizeof revisions / sizeof *revisions; i++) {
        gometa_txn_t *txn = txn_new();
        size_t length = strlen(revisions[i].key);
        CHECK((revisions[i].fact == MOD ? gometa_txn_when_mod_revision : gometa_txn_when_create_revision)(
                  txn, revisions[i].key, length, revisions[i].relation, revisions[i].revision, NULL) == GOMETA_OK);
        gometa_txn_result_t *result = commit(client, txn);
        CHECK(gometa_txn_result_succeeded(result) == revisions[i].holds && gometa_txn_result_count(result) == 0);
        CHECK(gometa_txn_result_revision(result) >= changed);
        gometa_txn_result_free(result);
    }
    const struct {
        const char *key;
        gometa_relation_t relation;
        const char *value;
        bool holds;
    } values[] = {
        {"c", GOMETA_EQUAL, "b", true},     {"c", GOMETA_NOT_EQUAL, "b", false},  {"c", GOMETA_LESS, "ba", true},
        {"c", GOMETA_GREATER, "", true},    {"absent", GOMETA_NOT_EQUAL, "", false},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        gometa_txn_t *txn = txn_new();
        CHECK(gometa_txn_when_value(txn, values[i].key, strlen(values[i].key), values[i].relation, values[i].value,
                                    strlen(values[i].value), NULL) == GOMETA_OK);
        /* One comparison that does not hold is enough. */
        CHECK(gometa_txn_when_value(txn, "c", 1, GOMETA_EQUAL, "b", 1, NULL) == GOMETA_OK);
        gometa_txn_result_t *result = commit(client, txn);
        CHECK(gometa_txn_result_succeeded(result) == values[i].holds);
        gometa_txn_result_free(result);
    }
}

/* Reads of several keys at one revision, and what has no room in a response. */
static void reads(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_read_options_t *local = NULL;
    gometa_txn_t *txn = txn_new();
    gometa_entry_t *rest = NULL;
    uint64_t actual = 0;
    set(client, "r/large", large, sizeof large);
    uint64_t revision = set(client, "r/small", "v", 1);
    CHECK(gometa_read_options_new(&local, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_set_consistency(local, GOMETA_LOCAL, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_set_min_revision(local, revision, NULL) == GOMETA_OK);
    CHECK(gometa_txn_set_read_options(txn, local, &error) == GOMETA_OK);
    gometa_read_options_free(local);
    CHECK(gometa_txn_get(txn, GOMETA_THEN, "r/large", 7, &error) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_THEN, "r/small", 7, &error) == GOMETA_OK);
    gometa_txn_result_t *result = commit(client, txn);
    CHECK(gometa_txn_result_revision(result) >= revision);
    is(result, 0, GOMETA_RESULT_ENTRY);
    is(result, 1, GOMETA_RESULT_ERROR);
    const gometa_error_t *left = gometa_txn_result_error(result, 1);
    CHECK(gometa_error_status(left) == GOMETA_TOO_LARGE && *gometa_error_message(left) != '\0');
    CHECK(gometa_error_actual_revision(left, &actual) && actual == gometa_txn_result_revision(result));
    CHECK(gometa_client_get_at(client, "r/small", 7, actual, &rest, &error) == GOMETA_OK);
    gometa_entry_free(rest);
    gometa_txn_result_free(result);

    /* Without options again; and a read whose condition is written by compare and set of two keys. */
    txn = txn_new();
    CHECK(gometa_txn_set_read_options(txn, NULL, &error) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_THEN, "r/small", 7, &error) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_THEN, "r/absent", 8, &error) == GOMETA_OK);
    result = commit(client, txn);
    txn = txn_new();
    uint64_t read = gometa_entry_mod_revision(gometa_txn_result_entry(result, 0));
    CHECK(read == revision && gometa_txn_result_kind(result, 1) == GOMETA_RESULT_ABSENT);
    gometa_txn_result_free(result);
    CHECK(gometa_txn_when_mod_revision(txn, "r/small", 7, GOMETA_EQUAL, read, &error) == GOMETA_OK);
    CHECK(gometa_txn_when_mod_revision(txn, "r/absent", 8, GOMETA_EQUAL, 0, &error) == GOMETA_OK);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "r/small", 7, "w", 1, &error) == GOMETA_OK);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "r/absent", 8, NULL, 0, &error) == GOMETA_OK);
    result = commit(client, txn);
    CHECK(gometa_txn_result_succeeded(result));
    gometa_txn_result_free(result);
    holds(client, "r/small", "w");
    holds(client, "r/absent", "");
}

/* Futures: waited for, through a queue, cancelled; the transaction is freed before. */
static void futures(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_queue_t *queue = NULL;
    gometa_future_t *future = NULL;
    gometa_txn_result_t *result = NULL;
    gometa_txn_result_t *again = NULL;
    gometa_value_t *value = NULL;
    bool committed = false;
    uint64_t tag = 0;
    gometa_txn_t *txn = txn_new();
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "f", 1, "1", 1, &error) == GOMETA_OK);
    CHECK(gometa_client_commit_async(client, txn, &future, &error) == GOMETA_OK);
    gometa_txn_free(txn);
    CHECK(gometa_future_enqueue(future, queue, 5, &error) == GOMETA_OK);
    CHECK(gometa_queue_next(queue, 20000 * patience, &tag, &error) == GOMETA_OK && tag == 5);
    FAILS(gometa_future_written(future, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_value(future, &value, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_committed(future, &committed, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_future_txn_result(future, &result, &error) == GOMETA_OK);
    CHECK(gometa_future_txn_result(future, &again, &error) == GOMETA_OK && again != result);
    gometa_future_free(future);
    is(result, 0, GOMETA_RESULT_WRITTEN);
    gometa_txn_result_free(result);
    is(again, 0, GOMETA_RESULT_WRITTEN);
    gometa_txn_result_free(again);

    /* A write that is cancelled may be applied, a read not. */
    for (int i = 0; i < 2; i++) {
        txn = txn_new();
        CHECK((i == 0 ? gometa_txn_get(txn, GOMETA_OTHERWISE, "f", 1, &error)
                      : gometa_txn_set(txn, GOMETA_OTHERWISE, "f", 1, "2", 1, &error)) == GOMETA_OK);
        CHECK(gometa_client_commit_async(client, txn, &future, &error) == GOMETA_OK);
        gometa_txn_free(txn);
        gometa_future_cancel(future);
        result = NULL;
        gometa_status_t status = gometa_future_txn_result(future, &result, &error);
        if (status == GOMETA_OK) {
            gometa_txn_result_free(result);
        } else {
            CHECK(gometa_error_outcome(error) == (i == 0 ? GOMETA_OUTCOME_NOT_APPLIED : GOMETA_OUTCOME_UNKNOWN));
            FAILS(status, GOMETA_CANCELLED);
        }
        gometa_future_free(future);
    }
    gometa_queue_free(queue);
}

/* Limits, and what a transaction must not have. All of it is refused without effect. */
static void refused(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_txn_result_t *result = NULL;
    gometa_future_t *future = NULL;
    gometa_range_t *range = NULL;
    for (int i = 0; i < 9; i++) {
        gometa_status_t expected = GOMETA_TOO_LARGE;
        gometa_txn_t *txn = txn_new();
        CHECK(gometa_txn_set(txn, GOMETA_THEN, "no", 2, "v", 1, &error) == GOMETA_OK);
        switch (i) {
        case 0:
        case 1:
            for (int j = 0; j < 129; j++) {
                CHECK((i == 0 ? gometa_txn_when_mod_revision(txn, "k", 1, GOMETA_EQUAL, 0, &error)
                              : gometa_txn_get(txn, GOMETA_THEN, "k", 1, &error)) == GOMETA_OK);
            }
            break;
        case 2:
            CHECK(gometa_txn_set(txn, GOMETA_OTHERWISE, "l", 1, large, sizeof large, &error) == GOMETA_OK);
            CHECK(gometa_txn_set(txn, GOMETA_OTHERWISE, "m", 1, large, 8192, &error) == GOMETA_OK);
            break;
        case 3:
            CHECK(gometa_txn_get(txn, GOMETA_THEN, large, 4097, &error) == GOMETA_OK);
            break;
        case 4:
            CHECK(gometa_txn_get(txn, GOMETA_THEN, NULL, 0, &error) == GOMETA_OK);
            expected = GOMETA_INVALID_ARGUMENT;
            break;
        case 5:
            CHECK(gometa_txn_when_value(txn, "", 0, GOMETA_EQUAL, "v", 1, &error) == GOMETA_OK);
            expected = GOMETA_INVALID_ARGUMENT;
            break;
        case 6:
            CHECK(gometa_txn_delete(txn, GOMETA_THEN, "no", 2, &error) == GOMETA_OK);
            expected = GOMETA_INVALID_ARGUMENT;
            break;
        default:
            /* A range between two writes to its keys, and one with a revision. */
            CHECK(gometa_range_new(&range, &error) == GOMETA_OK);
            CHECK(gometa_range_set_at_revision(range, i == 7 ? 0 : 1, &error) == GOMETA_OK);
            CHECK(gometa_txn_range(txn, GOMETA_THEN, range, &error) == GOMETA_OK);
            gometa_range_free(range);
            CHECK(gometa_txn_set(txn, i == 7 ? GOMETA_THEN : GOMETA_OTHERWISE, "l", 1, "", 0, &error) == GOMETA_OK);
            expected = GOMETA_INVALID_ARGUMENT;
        }
        gometa_status_t status = gometa_client_commit(client, txn, &result, &error);
        CHECK(gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED && !gometa_error_is_retryable(error));
        FAILS(status, expected);
        CHECK(gometa_client_commit_async(client, txn, &future, &error) == GOMETA_OK);
        CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
        FAILS(gometa_future_txn_result(future, &result, &error), expected);
        gometa_future_free(future);
        gometa_txn_free(txn);
    }
    CHECK(result == NULL);
    holds(client, "no", NULL);
}

/* Reads a number; 0 if the key does not exist. */
static int number_of(gometa_transaction_t *transaction, const char *key)
{
    gometa_value_t *value = NULL;
    char text[16] = "";
    size_t length = 9;
    CHECK(gometa_transaction_get(transaction, key, strlen(key), &value, NULL) == GOMETA_OK);
    const uint8_t *bytes = gometa_value_bytes(value, &length);
    CHECK(length < sizeof text && (bytes != NULL || length == 0) && (bytes == NULL) == (value == NULL));
    if (bytes != NULL) {
        memcpy(text, bytes, length);
    }
    gometa_value_free(value);
    return atoi(text);
}

static void set_number(gometa_transaction_t *transaction, const char *key, int number)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%d", number);
    CHECK(gometa_transaction_set(transaction, key, strlen(key), text, (size_t)length, NULL) == GOMETA_OK);
}

#define THREADS 4
#define MOVES 25
#define ACCOUNT 1000

static void *move(void *context)
{
    const gometa_client_t *client = context;
    for (int i = 0; i < MOVES; i++) {
        gometa_transaction_t *transaction = NULL;
        gometa_error_t *error = NULL;
        bool committed = false;
        gometa_status_t status = gometa_client_transaction(client, &transaction, &error);
        while (status == GOMETA_OK && !committed) {
            int from = number_of(transaction, "account/1"), to = number_of(transaction, "account/2");
            CHECK(from + to == ACCOUNT);
            set_number(transaction, "account/1", from - 1);
            set_number(transaction, "account/2", to + 1);
            CHECK(number_of(transaction, "account/1") == from - 1);
            CHECK(gometa_transaction_delete(transaction, "account/3", 9, &error) == GOMETA_OK);
            status = gometa_transaction_commit(transaction, &committed, &error);
        }
        CHECK(status == GOMETA_OK && error == NULL);
        gometa_transaction_free(transaction);
    }
    return NULL;
}

/* Several threads change the same keys: nothing is lost. */
static void conflicts(const gometa_client_t *client)
{
    pthread_t threads[THREADS];
    char text[16];
    set(client, "account/1", "1000", 4);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, move, (void *)client) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    snprintf(text, sizeof text, "%d", ACCOUNT - THREADS * MOVES);
    holds(client, "account/1", text);
    snprintf(text, sizeof text, "%d", THREADS * MOVES);
    holds(client, "account/2", text);
}

static void attempts(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_client_t *brief = NULL;
    gometa_transaction_t *transaction = NULL;
    gometa_future_t *future = NULL;
    gometa_value_t *value = NULL;
    bool committed = true;
    set(client, "t", "1", 1);

    /* Another write comes between: the second attempt reads it. All reads of an attempt are at one revision. */
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    CHECK(number_of(transaction, "t") == 1);
    set(client, "t", "5", 1);
    set(client, "u", "5", 1);
    CHECK(number_of(transaction, "t") == 1 && number_of(transaction, "u") == 0);
    set_number(transaction, "t", 2);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && !committed);
    holds(client, "t", "5");
    CHECK(number_of(transaction, "t") == 5 && number_of(transaction, "u") == 5);
    set_number(transaction, "t", 6);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && committed);
    holds(client, "t", "6");
    /* It has ended. */
    CHECK(gometa_transaction_set(transaction, "t", 1, "7", 1, &error) == GOMETA_OK);
    FAILS(gometa_transaction_commit(transaction, &committed, &error), GOMETA_INVALID_ARGUMENT);
    gometa_transaction_free(transaction);
    holds(client, "t", "6");

    /* By futures; a deletion; an empty value, and a key that is not there. */
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    CHECK(gometa_transaction_delete(transaction, "t", 1, &error) == GOMETA_OK);
    CHECK(gometa_transaction_set(transaction, "u", 1, NULL, 0, &error) == GOMETA_OK);
    for (int i = 0; i < 3; i++) {
        CHECK(gometa_transaction_get_async(transaction, i == 0 ? "t" : i == 1 ? "u" : "v", 1, &future, &error) ==
              GOMETA_OK);
        CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
        FAILS(gometa_future_committed(future, &committed, &error), GOMETA_INVALID_ARGUMENT);
        CHECK(gometa_future_value(future, &value, &error) == GOMETA_OK && (value != NULL) == (i == 1));
        CHECK((gometa_value_bytes(value, NULL) != NULL) == (i == 1));
        gometa_value_free(value);
        gometa_future_free(future);
    }
    value = NULL;
    committed = false;
    CHECK(gometa_transaction_commit_async(transaction, &future, &error) == GOMETA_OK);
    gometa_transaction_free(transaction);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_committed(future, &committed, &error) == GOMETA_OK && committed);
    gometa_future_free(future);
    holds(client, "t", NULL);
    holds(client, "u", "");

    /* One that writes nothing commits; one that is freed has no effect; a cancelled one is freed. */
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    number_of(transaction, "u");
    committed = false;
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && committed);
    gometa_transaction_free(transaction);
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    set_number(transaction, "u", 9);
    gometa_transaction_free(transaction);
    holds(client, "u", "");
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    set_number(transaction, "w", 9);
    CHECK(gometa_transaction_commit_async(transaction, &future, &error) == GOMETA_OK);
    gometa_future_cancel(future);
    gometa_future_free(future);
    gometa_transaction_free(transaction);

    /* What commit and get refuse. */
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    FAILS(gometa_transaction_get(transaction, "", 0, &value, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_get(transaction, large, 4097, &value, &error), GOMETA_TOO_LARGE);
    CHECK(gometa_transaction_set(transaction, "", 0, "v", 1, &error) == GOMETA_OK);
    committed = true;
    FAILS(gometa_transaction_commit(transaction, &committed, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(committed && value == NULL);
    gometa_transaction_free(transaction);

    /* Until the timeout. */
    CHECK(gometa_client_with_timeout(client, 300 * patience, &brief, &error) == GOMETA_OK);
    CHECK(gometa_client_transaction(brief, &transaction, &error) == GOMETA_OK);
    gometa_client_free(brief);
    gometa_status_t status = GOMETA_OK;
    for (committed = false; status == GOMETA_OK && !committed;) {
        status = gometa_transaction_get(transaction, "x", 1, &value, &error);
        gometa_value_free(value);
        value = NULL;
        if (status == GOMETA_OK) {
            set(client, "x", "other", 5);
            set_number(transaction, "x", 1);
            status = gometa_transaction_commit(transaction, &committed, &error);
        }
    }
    FAILS(status, GOMETA_DEADLINE_EXCEEDED);
    gometa_transaction_free(transaction);
    holds(client, "x", "other");
}

/* Calls on a closed client. A transaction may be used after its client is freed. */
static void closed(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_txn_t *txn = txn_new();
    gometa_txn_result_t *result = NULL;
    gometa_transaction_t *transaction = NULL;
    gometa_value_t *value = NULL;
    gometa_future_t *future = NULL;
    bool committed = false;
    gometa_client_t *client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    gometa_client_free(client);
    set_number(transaction, "closed", 1);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && committed);
    gometa_transaction_free(transaction);

    committed = false;
    client = open_client(peers, 20000 * patience);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "closed", 6, "2", 1, &error) == GOMETA_OK);
    CHECK(gometa_client_transaction(client, &transaction, &error) == GOMETA_OK);
    CHECK(number_of(transaction, "closed") == 1);
    gometa_client_close(client);
    FAILS(gometa_client_commit(client, txn, &result, &error), GOMETA_CLOSED);
    CHECK(gometa_client_commit_async(client, txn, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_txn_result(future, &result, &error), GOMETA_CLOSED);
    gometa_future_free(future);
    gometa_txn_free(txn);
    set_number(transaction, "closed", 3);
    FAILS(gometa_transaction_get(transaction, "other", 5, &value, &error), GOMETA_CLOSED);
    FAILS(gometa_transaction_commit(transaction, &committed, &error), GOMETA_CLOSED);
    CHECK(result == NULL && value == NULL && !committed);
    gometa_client_free(client);
    gometa_transaction_free(transaction);
}

/* NULL for every pointer, and numbers that are no relation and no branch. */
static void nulls(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_txn_t *txn = txn_new();
    gometa_range_t *range = NULL;
    gometa_txn_result_t *result = NULL;
    gometa_transaction_t *transaction = NULL;
    gometa_value_t *value = NULL;
    gometa_future_t *future = NULL;
    bool committed = false;
    size_t length = 9;
    for (int i = 0; i < 2; i++) {
        gometa_txn_free(NULL);
        gometa_txn_result_free(NULL);
        gometa_transaction_free(NULL);
        gometa_value_free(NULL);
    }
    CHECK(!gometa_txn_result_succeeded(NULL) && gometa_txn_result_revision(NULL) == 0);
    CHECK(gometa_txn_result_count(NULL) == 0 && gometa_value_bytes(NULL, &length) == NULL && length == 0);
    is(NULL, 0, GOMETA_RESULT_NONE);
    CHECK(gometa_range_new(&range, &error) == GOMETA_OK);

    FAILS(gometa_txn_new(NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_mod_revision(NULL, "k", 1, GOMETA_EQUAL, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_mod_revision(txn, NULL, 1, GOMETA_EQUAL, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_mod_revision(txn, "k", 1, 4, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_mod_revision(txn, large, SIZE_MAX, GOMETA_EQUAL, 0, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_txn_when_create_revision(NULL, "k", 1, GOMETA_EQUAL, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_create_revision(txn, NULL, 1, GOMETA_EQUAL, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_create_revision(txn, "k", 1, UINT32_MAX, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_value(NULL, "k", 1, GOMETA_EQUAL, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_value(txn, NULL, 1, GOMETA_EQUAL, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_value(txn, "k", 1, GOMETA_EQUAL, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_value(txn, "k", 1, 4, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_set(NULL, GOMETA_THEN, "k", 1, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_set(txn, GOMETA_THEN, NULL, 1, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_set(txn, GOMETA_THEN, "k", 1, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_set(txn, 2, "k", 1, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_delete(NULL, GOMETA_THEN, "k", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_delete(txn, GOMETA_THEN, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_delete(txn, UINT32_MAX, "k", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_get(NULL, GOMETA_THEN, "k", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_get(txn, GOMETA_THEN, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_get(txn, 2, "k", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_range(NULL, GOMETA_THEN, range, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_range(txn, GOMETA_THEN, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_range(txn, 2, range, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_range(NULL, range, 0, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_when_range(txn, NULL, 0, 0, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_delete_range(NULL, GOMETA_THEN, range, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_delete_range(txn, GOMETA_THEN, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_delete_range(txn, 2, range, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_txn_set_read_options(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_range_free(range);
    FAILS(gometa_client_commit(NULL, txn, &result, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_commit(client, NULL, &result, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_commit(client, txn, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_commit_async(NULL, txn, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_commit_async(client, NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_commit_async(client, txn, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_txn_result(NULL, &result, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_value(NULL, &value, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_committed(NULL, &committed, &error), GOMETA_INVALID_ARGUMENT);

    /* Nothing of that was added: it is a read of nothing. */
    result = commit(client, txn);
    CHECK(gometa_txn_result_succeeded(result) && gometa_txn_result_count(result) == 0);
    gometa_txn_result_free(result);

    FAILS(gometa_client_transaction(NULL, &transaction, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_transaction(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_get(NULL, "k", 1, &value, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_get_async(NULL, "k", 1, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_set(NULL, "k", 1, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_delete(NULL, "k", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_commit(NULL, &committed, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_commit_async(NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(transaction == NULL && gometa_client_transaction(client, &transaction, NULL) == GOMETA_OK);
    FAILS(gometa_transaction_get(transaction, NULL, 1, &value, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_get(transaction, "k", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_get_async(transaction, NULL, 1, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_get_async(transaction, "k", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_set(transaction, NULL, 1, "v", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_set(transaction, "k", 1, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_delete(transaction, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_commit(transaction, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_transaction_commit_async(transaction, NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_transaction_get_async(transaction, "k", 1, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_value(future, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    /* None of the refused calls has ended it. */
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_OK && committed && value == NULL);
    gometa_transaction_free(transaction);
}

int main(int count, char **given)
{
    CHECK(count == 3);
    patience = strtoull(given[1], NULL, 10);
    CHECK(patience > 0);
    gometa_client_t *client = open_client(given[2], 20000 * patience);
    nulls(client);
    branches(client);
    ranges(client);
    comparisons(client);
    reads(client);
    futures(client);
    refused(client);
    conflicts(client);
    attempts(client);
    closed(given[2]);
    gometa_client_free(client);
    puts("passed");
    return 0;
}
