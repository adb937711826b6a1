/*
 * The history of a key: versions, deletions, pages; with invalid arguments, and after its client is closed.
 *
 *     history PATIENCE PEERS
 *
 * PEERS are the addresses of an ensemble. Timeouts are multiplied by PATIENCE, 1 unless something slows the program
 * down.
 */
#include "check.h"

static uint64_t patience;

/* The version has this revision, number, size and value; number 0: it is a deletion. */
static void is(const gometa_history_t *history, size_t index, uint64_t revision, uint64_t number, uint64_t size,
               const char *value)
{
    const gometa_key_version_t *version = gometa_history_version(history, index);
    size_t length = 9;
    CHECK(version != NULL && gometa_key_version_revision(version) == revision);
    CHECK(gometa_key_version_deleted(version) == (number == 0));
    CHECK(gometa_key_version_number(version) == number && gometa_key_version_value_size(version) == size);
    CHECK((gometa_key_version_create_revision(version) == 0) == (number == 0));
    const uint8_t *bytes = gometa_key_version_value(version, &length);
    CHECK(bytes != NULL && length == strlen(value) && memcmp(bytes, value, length) == 0);
    CHECK(gometa_key_version_value(version, NULL) == bytes);
}

static void versions(const gometa_client_t *client)
{
    gometa_history_options_t *options = NULL;
    gometa_read_options_t *local = NULL;
    gometa_history_t *history = NULL;
    gometa_future_t *future = NULL;
    gometa_deleted_t deleted;
    uint64_t first = set(client, "h", "one", 3);
    uint64_t second = set(client, "h", "three", 5);
    CHECK(gometa_client_delete(client, "h", 1, &deleted, NULL) == GOMETA_OK);
    uint64_t again = set(client, "h", "", 0);

    /* All of them; a deletion is one. */
    CHECK(gometa_client_history(client, "h", 1, NULL, &history, NULL) == GOMETA_OK);
    CHECK(gometa_history_count(history) == 4 && gometa_history_next_before(history) == 0);
    CHECK(gometa_history_revision(history) >= again);
    CHECK(gometa_history_oldest_revision(history) <= gometa_history_revision(history));
    is(history, 0, again, 1, 0, "");
    is(history, 1, deleted.revision, 0, 0, "");
    is(history, 2, second, 2, 5, "three");
    is(history, 3, first, 1, 3, "one");
    CHECK(gometa_history_version(history, 4) == NULL && gometa_history_version(history, SIZE_MAX) == NULL);
    gometa_history_free(history);

    /* Pages, without values, by a future. */
    CHECK(gometa_history_options_new(&options, NULL) == GOMETA_OK);
    CHECK(gometa_history_options_set_limit(options, 3, NULL) == GOMETA_OK);
    CHECK(gometa_history_options_set_keys_only(options, true, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_new(&local, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_set_consistency(local, GOMETA_LOCAL, NULL) == GOMETA_OK);
    CHECK(gometa_history_options_set_read_options(options, local, NULL) == GOMETA_OK);
    gometa_read_options_free(local);
    CHECK(gometa_client_history_async(client, "h", 1, options, &future, NULL) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, NULL) == GOMETA_OK);
    CHECK(gometa_future_history(future, &history, NULL) == GOMETA_OK && gometa_history_count(history) == 3);
    gometa_future_free(future);
    is(history, 2, second, 2, 5, "");
    uint64_t next = gometa_history_next_before(history);
    CHECK(next == second);
    gometa_history_free(history);
    set(client, "h", "later", 5);
    CHECK(gometa_history_options_set_before_revision(options, next, NULL) == GOMETA_OK);
    CHECK(gometa_history_options_set_keys_only(options, false, NULL) == GOMETA_OK);
    CHECK(gometa_history_options_set_read_options(options, NULL, NULL) == GOMETA_OK);
    CHECK(gometa_client_history(client, "h", 1, options, &history, NULL) == GOMETA_OK);
    CHECK(gometa_history_count(history) == 1 && gometa_history_next_before(history) == 0);
    is(history, 0, first, 1, 3, "one");
    gometa_history_free(history);
    gometa_history_options_free(options);

    /* A key that never existed. */
    CHECK(gometa_client_history(client, "h/never", 7, NULL, &history, NULL) == GOMETA_OK);
    CHECK(gometa_history_count(history) == 0 && gometa_history_next_before(history) == 0);
    gometa_history_free(history);
}

static void nulls(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_history_options_t *options = NULL;
    gometa_history_t *history = NULL;
    gometa_future_t *future = NULL;
    size_t length = 9;
    char large[4097] = {0};
    FAILS(gometa_history_options_new(NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_history_options_set_before_revision(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_history_options_set_limit(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_history_options_set_keys_only(NULL, true, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_history_options_set_read_options(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_history_options_free(NULL);
    gometa_history_free(NULL);
    CHECK(gometa_history_count(NULL) == 0 && gometa_history_version(NULL, 0) == NULL);
    CHECK(gometa_history_next_before(NULL) == 0 && gometa_history_revision(NULL) == 0);
    CHECK(gometa_history_oldest_revision(NULL) == 0);
    CHECK(gometa_key_version_revision(NULL) == 0 && !gometa_key_version_deleted(NULL));
    CHECK(gometa_key_version_number(NULL) == 0 && gometa_key_version_create_revision(NULL) == 0);
    CHECK(gometa_key_version_value(NULL, &length) == NULL && length == 0);
    CHECK(gometa_key_version_value(NULL, NULL) == NULL && gometa_key_version_value_size(NULL) == 0);
    FAILS(gometa_client_history(NULL, "h", 1, options, &history, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history(client, NULL, 1, options, &history, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history(client, "", 0, options, &history, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history(client, large, sizeof large, options, &history, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_client_history(client, "h", 1, options, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history_async(NULL, "h", 1, options, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history_async(client, NULL, 1, options, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history_async(client, "h", 1, options, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_history(NULL, &history, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_history_async(client, "h", 1, NULL, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_history(future, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    CHECK(history == NULL && error == NULL);
}

static void closed(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_history_t *history = NULL;
    gometa_client_t *client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_history(client, "h", 1, NULL, &history, &error) == GOMETA_OK);
    gometa_client_close(client);
    /* The history outlives its client. */
    is(history, gometa_history_count(history) - 1,
       gometa_key_version_revision(gometa_history_version(history, gometa_history_count(history) - 1)), 1, 3, "one");
    gometa_history_free(history);
    history = NULL;
    FAILS(gometa_client_history(client, "h", 1, NULL, &history, &error), GOMETA_CLOSED);
    gometa_client_free(client);
    CHECK(history == NULL);
}

int main(int count, char **given)
{
    CHECK(count == 3);
    patience = strtoull(given[1], NULL, 10);
    CHECK(patience > 0);
    gometa_client_t *client = open_client(given[2], 20000 * patience);
    nulls(client);
    versions(client);
    closed(given[2]);
    gometa_client_free(client);
    puts("passed");
    return 0;
}
