/*
 * Guards of writes, and the settings of the ensemble: by blocking calls, by futures, with invalid arguments,
 * and after their client is closed or freed.
 *
 *     guards PATIENCE PEERS
 *
 * PEERS are the addresses of an ensemble. Timeouts are multiplied by PATIENCE, 1 unless something slows the program
 * down.
 */
#include "check.h"
#include <string.h>

static uint64_t patience;

static char large[4097];

static uint64_t set_text(const gometa_client_t *client, const char *key, const char *value)
{
    return set(client, key, value, strlen(value));
}

static gometa_client_t *guarded_by(const gometa_client_t *client, const char *key, uint64_t create_revision)
{
    gometa_client_t *guarded = NULL;
    gometa_error_t *error = NULL;
    CHECK(gometa_client_with_guard(client, key, strlen(key), create_revision, &guarded, &error) == GOMETA_OK);
    CHECK(guarded != NULL && error == NULL);
    return guarded;
}

/* Creates a key anew; returns the revision of that. */
static uint64_t take(const gometa_client_t *client, const char *key)
{
    gometa_written_t written;
    CHECK(gometa_client_delete(client, key, strlen(key), NULL, NULL) == GOMETA_OK);
    CHECK(gometa_client_add(client, key, strlen(key), "", 0, &written, NULL) == GOMETA_OK);
    return written.revision;
}

/* The call has failed because of its guard, whose key was created at the actual revision. */
static void check_refusal(int line, gometa_status_t status, gometa_error_t **error, uint64_t actual)
{
    uint64_t revision = 42;
    bool complete = gometa_error_actual_revision(*error, &revision) && revision == actual &&
                    gometa_error_outcome(*error) == GOMETA_OUTCOME_NOT_APPLIED && !gometa_error_is_retryable(*error);
    if (!complete) {
        fprintf(stderr, "line %d: revision %llu, not %llu: %s\n", line, (unsigned long long)revision,
                (unsigned long long)actual, gometa_error_message(*error));
        exit(1);
    }
    check_failure(__FILE__, line, status, error, GOMETA_GUARD_FAILED);
}

#define REFUSED(call, actual)                                     \
    do {                                                          \
        gometa_status_t refusal = call;                           \
        check_refusal(__LINE__, refusal, &error, actual);         \
    } while (0)

/* A transaction that writes two keys in one branch, and in the other reads one. */
static gometa_txn_t *txn_of(const char *value)
{
    gometa_txn_t *txn = NULL;
    CHECK(gometa_txn_new(&txn, NULL) == GOMETA_OK);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "guarded/t", 9, value, strlen(value), NULL) == GOMETA_OK);
    CHECK(gometa_txn_set(txn, GOMETA_THEN, "guarded/u", 9, value, strlen(value), NULL) == GOMETA_OK);
    CHECK(gometa_txn_get(txn, GOMETA_OTHERWISE, "guarded/t", 9, NULL) == GOMETA_OK);
    return txn;
}

/* Reads and writes a key in a transaction; the status of its commit. */
static gometa_status_t transact(const gometa_client_t *client, bool *committed, gometa_error_t **error)
{
    gometa_transaction_t *transaction = NULL;
    gometa_value_t *value = NULL;
    CHECK(gometa_client_transaction(client, &transaction, NULL) == GOMETA_OK);
    CHECK(gometa_transaction_get(transaction, "guarded/k", 9, &value, NULL) == GOMETA_OK && value != NULL);
    CHECK(gometa_transaction_set(transaction, "guarded/k", 9, "transacted", 10, NULL) == GOMETA_OK);
    gometa_value_free(value);
    gometa_status_t status = gometa_transaction_commit(transaction, committed, error);
    gometa_transaction_free(transaction);
    return status;
}

/* Every kind of write through a handle whose lock is held, then through one whose lock is lost. */
static void every_write(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_txn_result_t *result = NULL;
    gometa_entry_t *entry = NULL;
    gometa_written_t written = {0, 0};
    gometa_deleted_t deleted = {0, false};
    uint64_t count = 0, revision = 0, age = 61;
    bool committed = false;
    uint64_t lock = take(client, "lock");
    gometa_client_t *guarded = guarded_by(client, "lock", lock);
    gometa_txn_t *txn = txn_of("1");
    CHECK(gometa_client_delete_prefix(client, "guarded/", 8, NULL, NULL) == GOMETA_OK);

    /* A write to the lock's key does not end the guard. */
    set_text(client, "lock", "still mine");
    CHECK(gometa_client_add(guarded, "guarded/k", 9, "1", 1, &written, &error) == GOMETA_OK);
    CHECK(gometa_client_cas(guarded, "guarded/k", 9, written.revision, "2", 1, &written, &error) == GOMETA_OK);
    set_text(guarded, "guarded/l", "1");
    set_text(guarded, "guarded/m", "1");
    CHECK(gometa_client_delete_if(guarded, "guarded/k", 9, written.revision, &deleted, &error) == GOMETA_OK);
    CHECK(deleted.existed && gometa_client_delete(guarded, "guarded/l", 9, &deleted, &error) == GOMETA_OK);
    CHECK(deleted.existed && gometa_client_delete_prefix(guarded, "guarded/", 8, &count, &error) == GOMETA_OK);
    CHECK(count == 1 && gometa_client_commit(guarded, txn, &result, &error) == GOMETA_OK);
    CHECK(gometa_txn_result_succeeded(result));
    gometa_txn_result_free(result);
    result = NULL;
    set_text(guarded, "guarded/k", "1");
    CHECK(transact(guarded, &committed, &error) == GOMETA_OK && committed);
    CHECK(gometa_client_set_setting(guarded, "HistoryAgeMinutes", &age, &revision, &error) == GOMETA_OK);
    CHECK(revision > written.revision);
    CHECK(gometa_client_set_setting(guarded, "HistoryAgeMinutes", NULL, NULL, &error) == GOMETA_OK);
    gometa_txn_free(txn);

    /* The lock is lost: first to no one, then to another owner. */
    txn = txn_of("2");
    for (int i = 0; i < 2; i++) {
        uint64_t actual = 0;
        committed = false;
        if (i == 0) {
            CHECK(gometa_client_delete(client, "lock", 4, NULL, NULL) == GOMETA_OK);
        } else {
            actual = take(client, "lock");
            CHECK(actual > lock);
        }
        REFUSED(gometa_client_add(guarded, "guarded/n", 9, "1", 1, NULL, &error), actual);
        REFUSED(gometa_client_set(guarded, "guarded/k", 9, "lost", 4, NULL, &error), actual);
        REFUSED(gometa_client_cas(guarded, "guarded/n", 9, 0, "lost", 4, NULL, &error), actual);
        REFUSED(gometa_client_delete(guarded, "guarded/k", 9, NULL, &error), actual);
        REFUSED(gometa_client_delete_if(guarded, "guarded/k", 9, 1, NULL, &error), actual);
        REFUSED(gometa_client_commit(guarded, txn, &result, &error), actual);
        REFUSED(transact(guarded, &committed, &error), actual);
        REFUSED(gometa_client_set_setting(guarded, "HistoryAgeMinutes", &age, NULL, &error), actual);
        /* A deletion of several keys does not know whether some were deleted. */
        FAILS(gometa_client_delete_prefix(guarded, "guarded/", 8, NULL, &error), GOMETA_GUARD_FAILED);
        CHECK(!committed && result == NULL);
        /* Reads have no guard. */
        CHECK(gometa_client_get(guarded, "guarded/k", 9, &entry, &error) == GOMETA_OK);
        gometa_entry_free(entry);
    }
    gometa_txn_free(txn);
    gometa_client_free(guarded);
    holds(client, "guarded/k", "transacted");
    holds(client, "guarded/n", NULL);
    holds(client, "guarded/t", "1");
    holds(client, "guarded/u", "1");
}

/* Guards are copied into handles, which are used and freed independently. */
static void handles(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = open_client(peers, 20000 * patience);
    gometa_client_t *brief = NULL;
    char name[] = "lock";
    uint64_t lock = take(client, "lock");
    gometa_client_t *wrong = guarded_by(client, name, lock + 1);
    memset(name, 'x', sizeof name - 1);
    REFUSED(gometa_client_set(wrong, "k", 1, "", 0, NULL, &error), lock);
    /* Another guard replaces it; another timeout keeps it. */
    gometa_client_t *right = guarded_by(wrong, "lock", lock);
    set_text(right, "k", "right");
    CHECK(gometa_client_with_timeout(wrong, 19000 * patience, &brief, &error) == GOMETA_OK);
    REFUSED(gometa_client_set(brief, "k", 1, "", 0, NULL, &error), lock);
    set_text(client, "k", "without");
    gometa_client_free(brief);
    gometa_client_free(wrong);

    /* The guard of a transaction is that of the handle that has begun it, which may be freed. */
    gometa_transaction_t *transaction = NULL;
    bool committed = false;
    CHECK(gometa_client_transaction(right, &transaction, &error) == GOMETA_OK);
    gometa_client_free(right);
    take(client, "lock");
    CHECK(gometa_transaction_set(transaction, "k", 1, "lost", 4, &error) == GOMETA_OK);
    CHECK(gometa_transaction_commit(transaction, &committed, &error) == GOMETA_GUARD_FAILED && !committed);
    gometa_error_free(error);
    error = NULL;
    gometa_transaction_free(transaction);
    holds(client, "k", "without");

    /* A handle works without the one that it was made from. Closing it closes all. */
    gometa_client_t *second = guarded_by(client, "k", 1);
    gometa_client_free(client);
    holds(second, "k", "without");
    client = guarded_by(second, "k", 2);
    gometa_client_close(second);
    FAILS(gometa_client_set(client, "k", 1, "", 0, NULL, &error), GOMETA_CLOSED);
    gometa_client_free(second);
    gometa_client_free(client);
}

/* Returns the index of a setting, which must exist. */
static size_t index_of(const gometa_settings_t *settings, const char *name)
{
    size_t index = 0;
    while (strcmp(gometa_settings_name(settings, index), name) != 0) {
        CHECK(++index < gometa_settings_count(settings));
    }
    return index;
}

/* A setting has this value; returns whether it is set. */
static bool check_setting(const gometa_client_t *client, const char *name, uint64_t value)
{
    gometa_settings_t *settings = NULL;
    CHECK(gometa_client_settings(client, &settings, NULL) == GOMETA_OK);
    size_t index = index_of(settings, name);
    CHECK(gometa_settings_value(settings, index) == value);
    bool is_set = gometa_settings_is_set(settings, index);
    gometa_settings_free(settings);
    return is_set;
}

static void change_settings(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_settings_t *settings = NULL;
    const char *name = "HistoryRevisionsMin";
    uint64_t value = 2000, first = 0, second = 0;
    CHECK(gometa_client_set_setting(client, name, NULL, &first, &error) == GOMETA_OK && first > 0);
    CHECK(gometa_client_settings(client, &settings, &error) == GOMETA_OK && error == NULL);
    size_t index = index_of(settings, name), count = gometa_settings_count(settings);
    CHECK(count >= 3 && !gometa_settings_is_set(settings, index));
    CHECK(gometa_settings_value(settings, index) == 10000 && gometa_settings_default(settings, index) == 10000);
    CHECK(gometa_settings_min(settings, index) == 1000 && gometa_settings_max(settings, index) == 1000000000);
    for (size_t i = 1; i < count; i++) {
        CHECK(strcmp(gometa_settings_name(settings, i - 1), gometa_settings_name(settings, i)) < 0);
    }
    for (size_t out = count; out != 0; out = out == count ? SIZE_MAX : 0) {
        CHECK(*gometa_settings_name(settings, out) == '\0' && gometa_settings_value(settings, out) == 0);
        CHECK(!gometa_settings_is_set(settings, out) && gometa_settings_default(settings, out) == 0);
        CHECK(gometa_settings_min(settings, out) == 0 && gometa_settings_max(settings, out) == 0);
    }

    CHECK(gometa_client_set_setting(client, name, &value, &second, &error) == GOMETA_OK && second > first);
    CHECK(check_setting(client, name, 2000));
    /* What was read before is unchanged. */
    CHECK(gometa_settings_value(settings, index) == 10000);
    gometa_settings_free(settings);
    value = 10000;
    CHECK(gometa_client_set_setting(client, name, &value, NULL, &error) == GOMETA_OK);
    CHECK(check_setting(client, name, 10000));
    CHECK(gometa_client_set_setting(client, name, NULL, NULL, &error) == GOMETA_OK);
    CHECK(!check_setting(client, name, 10000));

    /* Refused values leave it as it is. */
    const uint64_t bounds[] = {999, 1000000001, UINT64_MAX};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        FAILS(gometa_client_set_setting(client, name, &bounds[i], &second, &error), GOMETA_INVALID_ARGUMENT);
    }
    CHECK(gometa_client_set_setting(client, "historyrevisionsmin", &value, NULL, &error) == GOMETA_INVALID_ARGUMENT);
    CHECK(strstr(gometa_error_message(error), name) != NULL);
    CHECK(gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED);
    gometa_error_free(error);
    CHECK(!check_setting(client, name, 10000));
}

/* The same by futures, of which a queue has the tags. */
static void futures(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_queue_t *queue = NULL;
    gometa_future_t *calls[4] = {NULL, NULL, NULL, NULL};
    gometa_settings_t *settings = NULL;
    gometa_written_t written = {0, 42};
    uint64_t revision = 0, count = 42, tags = 0, value = 3000;
    const char *name = "HistoryRevisionsMin";
    char copied[] = "HistoryRevisionsMin";
    uint64_t lock = take(client, "lock");
    gometa_client_t *guarded = guarded_by(client, "lock", lock);
    gometa_client_t *lost = guarded_by(client, "lock", lock + 1);
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    CHECK(gometa_client_set_setting_async(client, copied, &value, &calls[0], &error) == GOMETA_OK);
    CHECK(gometa_client_settings_async(client, &calls[1], &error) == GOMETA_OK);
    CHECK(gometa_client_set_async(guarded, "k", 1, "guarded", 7, &calls[2], &error) == GOMETA_OK);
    CHECK(gometa_client_set_async(lost, "l", 1, "lost", 4, &calls[3], &error) == GOMETA_OK);
    /* Arguments were copied, and futures do without their handles. */
    memset(copied, 'x', sizeof copied - 1);
    value = 0;
    gometa_client_free(guarded);
    gometa_client_free(lost);
    for (uint64_t tag = 0; tag < 4; tag++) {
        CHECK(gometa_future_enqueue(calls[tag], queue, tag, &error) == GOMETA_OK);
    }
    for (int i = 0; i < 4; i++) {
        uint64_t tag = 0;
        CHECK(gometa_queue_next(queue, 20000 * patience, &tag, &error) == GOMETA_OK && tag < 4);
        tags |= (uint64_t)1 << tag;
    }
    CHECK(tags == 15);
    CHECK(gometa_future_revision(calls[0], NULL, &error) == GOMETA_OK);
    CHECK(gometa_future_revision(calls[0], &revision, &error) == GOMETA_OK && revision > lock);
    CHECK(check_setting(client, name, 3000));
    CHECK(gometa_future_settings(calls[1], &settings, &error) == GOMETA_OK);
    CHECK(gometa_settings_default(settings, index_of(settings, name)) == 10000);
    CHECK(gometa_future_written(calls[2], &written, &error) == GOMETA_OK && written.revision > lock);
    REFUSED(gometa_future_written(calls[3], &written, &error), lock);

    /* A result is read by the function of its type. */
    FAILS(gometa_future_count(calls[0], &count, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_written(calls[0], &written, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_revision(calls[1], &revision, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_revision(calls[2], &revision, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_settings(calls[1], NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_settings_free(settings);
    settings = NULL;
    FAILS(gometa_future_settings(calls[0], &settings, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(settings == NULL && count == 42);
    for (int i = 0; i < 4; i++) {
        gometa_future_free(calls[i]);
    }
    gometa_queue_free(queue);
    CHECK(gometa_client_set_setting(client, name, NULL, NULL, &error) == GOMETA_OK);
}

static void misuse(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_client_t *other = NULL;
    gometa_settings_t *settings = NULL;
    gometa_future_t *future = NULL;
    uint64_t revision = 42;
    FAILS(gometa_client_with_guard(NULL, "k", 1, 1, &other, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_with_guard(client, NULL, 1, 1, &other, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_with_guard(client, "k", 1, 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_with_guard(client, "k", SIZE_MAX, 1, &other, &error), GOMETA_TOO_LARGE);
    CHECK(other == NULL);
    /* Writes check the rest; reads do not. */
    const struct {
        const char *key;
        size_t length;
        uint64_t create_revision;
        gometa_status_t status;
    } guards[] = {
        {NULL, 0, 1, GOMETA_INVALID_ARGUMENT},
        {"", 0, 1, GOMETA_INVALID_ARGUMENT},
        {"k", 1, 0, GOMETA_INVALID_ARGUMENT},
        {large, sizeof large, 1, GOMETA_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) {
        gometa_entry_t *entry = NULL;
        CHECK(gometa_client_with_guard(client, guards[i].key, guards[i].length, guards[i].create_revision, &other,
                                       &error) == GOMETA_OK);
        gometa_status_t status = gometa_client_set(other, "refused", 7, "", 0, NULL, &error);
        CHECK(gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED);
        FAILS(status, guards[i].status);
        FAILS(gometa_client_get(other, "refused", 7, &entry, &error), GOMETA_NOT_FOUND);
        gometa_client_free(other);
    }

    gometa_settings_free(NULL);
    CHECK(gometa_settings_count(NULL) == 0 && *gometa_settings_name(NULL, 0) == '\0');
    CHECK(gometa_settings_value(NULL, 0) == 0 && !gometa_settings_is_set(NULL, 0));
    CHECK(gometa_settings_default(NULL, 0) == 0);
    CHECK(gometa_settings_min(NULL, 0) == 0 && gometa_settings_max(NULL, 0) == 0);
    FAILS(gometa_client_settings(NULL, &settings, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_settings(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_settings_async(NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_settings_async(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting(NULL, "HistoryAgeMinutes", NULL, &revision, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting(client, NULL, NULL, &revision, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting(client, "", NULL, &revision, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting(client, "\xff", NULL, &revision, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting_async(NULL, "HistoryAgeMinutes", NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting_async(client, NULL, NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_setting_async(client, "HistoryAgeMinutes", NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_settings(NULL, &settings, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_revision(NULL, &revision, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(settings == NULL && future == NULL && revision == 42);
}

static void closed(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *other = NULL;
    gometa_settings_t *settings = NULL;
    gometa_future_t *future = NULL;
    uint64_t revision = 42;
    gometa_client_t *client = open_client(peers, 20000 * patience);
    gometa_client_close(client);
    FAILS(gometa_client_settings(client, &settings, &error), GOMETA_CLOSED);
    FAILS(gometa_client_set_setting(client, "HistoryAgeMinutes", NULL, &revision, &error), GOMETA_CLOSED);
    CHECK(gometa_client_settings_async(client, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_settings(future, &settings, &error), GOMETA_CLOSED);
    gometa_future_free(future);
    CHECK(gometa_client_with_guard(client, "k", 1, 1, &other, &error) == GOMETA_OK);
    FAILS(gometa_client_set(other, "k", 1, "", 0, NULL, &error), GOMETA_CLOSED);
    CHECK(settings == NULL && revision == 42);
    gometa_client_free(client);
    gometa_client_free(other);
}

int main(int count, char **given)
{
    CHECK(count == 3);
    patience = strtoull(given[1], NULL, 10);
    CHECK(patience > 0);
    memset(large, 'k', sizeof large);
    gometa_client_t *client = open_client(given[2], 20000 * patience);
    misuse(client);
    every_write(client);
    handles(given[2]);
    change_settings(client);
    futures(client);
    closed(given[2]);
    gometa_client_free(client);
    puts("passed");
    return 0;
}
