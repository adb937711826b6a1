/*
 * Invalid arguments and peers that are not gometa return an error of the right kind within the timeout: no crash, no
 * hang.
 *
 *     misuse PATIENCE PEERS DEAD BAD...
 *
 * PEERS are the addresses of an ensemble. Nothing listens at DEAD. At each BAD something listens that is not gometa.
 * Timeouts are multiplied by PATIENCE, 1 unless something slows the program down.
 */
#include "check.h"
#include <poll.h>
#include <string.h>

static uint64_t patience;

static void arguments(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_options_t *options = NULL;
    const char *nonsense[] = {"", ",", "no port", "a:b", "a:99999", "a:1,,b", "\xff:1"};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        gometa_status_t status = gometa_client_new(nonsense[i], NULL, &client, &error);
        if (status == GOMETA_OK) {
            /* Empty elements of a list are ignored. */
            gometa_client_free(client);
            CHECK(strcmp(nonsense[i], "a:1,,b") != 0);
        } else {
            FAILS(status, GOMETA_INVALID_ARGUMENT);
        }
    }
    FAILS(gometa_client_new(NULL, NULL, &client, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_new(peers, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_new(NULL, NULL, &client, NULL) == GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_options_new(NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_options_new(&options, &error) == GOMETA_OK && error == NULL);
    const uint64_t no_timeouts[] = {0, UINT64_C(31536000001), UINT64_MAX};
    for (size_t i = 0; i < sizeof no_timeouts / sizeof *no_timeouts; i++) {
        FAILS(gometa_options_set_timeout_ms(options, no_timeouts[i], &error), GOMETA_INVALID_ARGUMENT);
        FAILS(gometa_options_set_connect_timeout_ms(options, no_timeouts[i], &error), GOMETA_INVALID_ARGUMENT);
        FAILS(gometa_options_set_keepalive_ms(options, no_timeouts[i], 1, &error), GOMETA_INVALID_ARGUMENT);
        FAILS(gometa_options_set_keepalive_ms(options, 1, no_timeouts[i], &error), GOMETA_INVALID_ARGUMENT);
    }
    FAILS(gometa_options_set_timeout_ms(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_options_set_name(options, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_options_set_name(options, "\xff", &error), GOMETA_INVALID_ARGUMENT);
    gometa_options_free(options);

    client = open_client(peers, 20000 * patience);
    gometa_client_t *never = NULL;
    for (size_t i = 0; i < sizeof no_timeouts / sizeof *no_timeouts; i++) {
        FAILS(gometa_client_with_timeout(client, no_timeouts[i], &never, &error), GOMETA_INVALID_ARGUMENT);
    }
    CHECK(never == NULL);
    gometa_written_t written = {42, 42};
    gometa_entry_t *entry = NULL;
    gometa_future_t *future = NULL;
    gometa_read_options_t *reading = NULL;
    FAILS(gometa_client_set(NULL, "k", 1, "v", 1, &written, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set(client, NULL, 1, "v", 1, &written, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set(client, "k", 1, NULL, 1, &written, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set(client, NULL, 0, "v", 1, &written, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get(client, "k", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get_with(client, "k", 1, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_read_options_new(NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_read_options_new(&reading, &error) == GOMETA_OK);
    FAILS(gometa_read_options_set_consistency(reading, 9, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_read_options_set_consistency(NULL, GOMETA_LOCAL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_read_options_set_min_revision(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_read_options_set_min_revision(reading, UINT64_MAX, &error) == GOMETA_OK);
    gometa_read_options_free(reading);
    FAILS(gometa_client_get_async(client, "k", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_wait(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(written.revision == 42 && written.version == 42 && entry == NULL);

    /* Sizes at and beyond the limits, and any bytes. */
    static char large[(1 << 20) + 1];
    CHECK(gometa_client_set(client, "large", 5, large, 1 << 20, &written, &error) == GOMETA_OK);
    FAILS(gometa_client_set(client, "large", 5, large, sizeof large, NULL, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_client_set(client, large, 4097, "v", 1, NULL, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_client_get(client, large, 4097, &entry, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_client_set(client, "k", 1, large, SIZE_MAX, NULL, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_client_set(client, large, SIZE_MAX, "v", 1, NULL, &error), GOMETA_TOO_LARGE);
    CHECK(gometa_client_set(client, large, 4096, "v", 1, NULL, &error) == GOMETA_OK);
    CHECK(gometa_client_set(client, "a\0b", 3, NULL, 0, NULL, &error) == GOMETA_OK);
    size_t length = 9;
    CHECK(gometa_client_get(client, "a\0b", 3, &entry, &error) == GOMETA_OK);
    CHECK(gometa_entry_value(entry, &length) != NULL && length == 0);
    CHECK(memcmp(gometa_entry_key(entry, &length), "a\0b", 3) == 0 && length == 3);
    gometa_entry_free(entry);
    entry = NULL;
    FAILS(gometa_client_get(client, "a", 1, &entry, &error), GOMETA_NOT_FOUND);
    CHECK(entry == NULL);

    /* A future that is read with the wrong function, repeatedly, and after a cancellation. */
    gometa_deleted_t deleted;
    written.revision = 0;
    CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 5000 * patience, &error) == GOMETA_OK && gometa_future_is_ready(future));
    FAILS(gometa_future_deleted(future, &deleted, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_future_written(future, &written, &error) == GOMETA_OK && written.revision > 0);
    CHECK(gometa_future_written(future, NULL, &error) == GOMETA_OK);
    gometa_future_cancel(future);
    CHECK(gometa_future_written(future, NULL, &error) == GOMETA_OK);
    FAILS(gometa_future_on_ready(future, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);

    gometa_client_free(client);
}

/* Every call on a closed client, blocking and asynchronous. */
static void use_after_close(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_client_t *other = NULL;
    gometa_entry_t *entry = NULL;
    gometa_node_status_t *status = NULL;
    gometa_members_t *members = NULL;
    gometa_membership_t *membership = NULL;
    gometa_stop_advice_t *advice = NULL;
    uint64_t requests = 0, history_id = 0;
    uint64_t node = 1;
    client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_with_timeout(client, 1000, &other, &error) == GOMETA_OK);
    CHECK(gometa_client_set(client, "k", 1, "v", 1, NULL, &error) == GOMETA_OK);
    gometa_client_close(other);
    gometa_client_close(client);
    gometa_client_close(client);
    for (int i = 0; i < 2; i++) {
        const gometa_client_t *closed = i == 0 ? client : other;
        FAILS(gometa_client_add(closed, "k", 1, "v", 1, NULL, &error), GOMETA_CLOSED);
        FAILS(gometa_client_set(closed, "k", 1, "v", 1, NULL, &error), GOMETA_CLOSED);
        FAILS(gometa_client_cas(closed, "k", 1, 1, "v", 1, NULL, &error), GOMETA_CLOSED);
        FAILS(gometa_client_delete(closed, "k", 1, NULL, &error), GOMETA_CLOSED);
        FAILS(gometa_client_delete_if(closed, "k", 1, 1, NULL, &error), GOMETA_CLOSED);
        FAILS(gometa_client_get(closed, "k", 1, &entry, &error), GOMETA_CLOSED);
        FAILS(gometa_client_get_with(closed, "k", 1, NULL, &entry, &error), GOMETA_CLOSED);
        FAILS(gometa_client_status(closed, NULL, &status, &error), GOMETA_CLOSED);
        FAILS(gometa_client_status(closed, peers, &status, &error), GOMETA_INVALID_ARGUMENT);
        FAILS(gometa_client_members(closed, &members, &error), GOMETA_CLOSED);
        FAILS(gometa_client_membership(closed, &membership, &error), GOMETA_CLOSED);
        FAILS(gometa_client_promote_member(closed, 1, NULL, &membership, &error), GOMETA_CLOSED);
        FAILS(gometa_client_remove_member(closed, 1, NULL, &membership, &error), GOMETA_CLOSED);
        FAILS(gometa_client_replace_member(closed, 1, 2, NULL, &membership, &error), GOMETA_CLOSED);
        FAILS(gometa_client_cancel_promotion(closed, 1, NULL, &membership, &error), GOMETA_CLOSED);
        FAILS(gometa_client_transfer_leadership(closed, 0, NULL, &error), GOMETA_CLOSED);
        FAILS(gometa_client_safe_to_stop(closed, &node, 1, &advice, &error), GOMETA_CLOSED);
        CHECK(gometa_client_counter(closed, GOMETA_COUNTER_IN_FLIGHT, &requests, &error) == GOMETA_OK);
        CHECK(requests == 0);
        CHECK(gometa_client_history_id(closed, &history_id, &error) == GOMETA_OK && history_id >= 1);
    }
    gometa_future_t *futures[3] = {NULL, NULL, NULL};
    CHECK(gometa_client_set_async(client, "k", 1, "v", 1, &futures[0], &error) == GOMETA_OK);
    CHECK(gometa_client_get_async(client, "k", 1, &futures[1], &error) == GOMETA_OK);
    CHECK(gometa_client_delete_async(other, "k", 1, &futures[2], &error) == GOMETA_OK);
    for (int i = 0; i < 3; i++) {
        CHECK(gometa_future_wait(futures[i], 5000 * patience, &error) == GOMETA_OK);
    }
    FAILS(gometa_future_written(futures[0], NULL, &error), GOMETA_CLOSED);
    FAILS(gometa_future_entry(futures[1], &entry, &error), GOMETA_CLOSED);
    FAILS(gometa_future_deleted(futures[2], NULL, &error), GOMETA_CLOSED);
    for (int i = 0; i < 3; i++) {
        gometa_future_free(futures[i]);
    }
    gometa_client_free(client);
    gometa_client_free(other);
    CHECK(entry == NULL && status == NULL && members == NULL && membership == NULL && advice == NULL);
}

/* NULL for every pointer. */
static void nulls(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_future_t *future = NULL;
    gometa_queue_t *queue = NULL;
    uint64_t number = 42;
    size_t length = 9;
    gometa_error_free(NULL);
    gometa_client_free(NULL);
    gometa_client_close(NULL);
    gometa_entry_free(NULL);
    gometa_future_free(NULL);
    gometa_queue_free(NULL);
    gometa_node_status_free(NULL);
    gometa_members_free(NULL);
    gometa_membership_free(NULL);
    gometa_stop_advice_free(NULL);
    gometa_options_free(NULL);
    gometa_read_options_free(NULL);
    gometa_queue_close(NULL);
    gometa_future_cancel(NULL);
    CHECK(gometa_entry_version(NULL) == 0 && gometa_entry_value(NULL, &length) == NULL && length == 0);
    length = 9;
    CHECK(gometa_entry_key(NULL, &length) == NULL && length == 0);
    CHECK(gometa_entry_create_revision(NULL) == 0 && gometa_entry_mod_revision(NULL) == 0);
    CHECK(gometa_error_status(NULL) == GOMETA_OK && *gometa_error_message(NULL) == '\0');
    CHECK(*gometa_error_operation(NULL) == '\0' && *gometa_error_leader_address(NULL) == '\0');
    CHECK(!gometa_error_is_retryable(NULL) && gometa_error_outcome(NULL) == GOMETA_OUTCOME_UNKNOWN);
    CHECK(!gometa_error_actual_revision(NULL, &number) && number == 42);
    CHECK(gometa_members_role(NULL) == GOMETA_ROLE_UNKNOWN && *gometa_members_leader_address(NULL) == '\0');
    CHECK(gometa_members_count(NULL) == 0 && gometa_members_node_id(NULL, 0) == 0);
    CHECK(*gometa_members_message_address(NULL, 0) == '\0' && *gometa_members_request_address(NULL, 0) == '\0');
    CHECK(gometa_membership_version(NULL).epoch == 0 && gometa_membership_version(NULL).revision == 0);
    CHECK(!gometa_membership_is_committed(NULL) && !gometa_membership_has_changed(NULL));
    CHECK(gometa_membership_count(NULL) == 0 && gometa_membership_node_id(NULL, 0) == 0);
    CHECK(!gometa_membership_is_voter(NULL, 0) && !gometa_membership_is_promised(NULL, 0));
    CHECK(gometa_membership_replaces(NULL, 0) == 0);
    length = 9;
    CHECK(gometa_membership_incarnation(NULL, 0, &length) == NULL && length == 0);
    CHECK(*gometa_membership_election_address(NULL, 0) == '\0' && *gometa_membership_message_address(NULL, 0) == '\0');
    CHECK(*gometa_membership_request_address(NULL, 0) == '\0');
    CHECK(!gometa_stop_advice_is_safe(NULL) && *gometa_stop_advice_reason(NULL) == '\0');
    CHECK(gometa_node_status_role(NULL) == GOMETA_ROLE_UNKNOWN && gometa_node_status_node_id(NULL) == 0);
    CHECK(gometa_node_status_leader_id(NULL) == 0 && gometa_node_status_epoch(NULL) == 0);
    CHECK(gometa_node_status_last_revision(NULL) == 0 && gometa_node_status_commit_revision(NULL) == 0);
    CHECK(gometa_node_status_applied_revision(NULL) == 0 && gometa_node_status_sessions(NULL) == 0);
    CHECK(gometa_node_status_storage(NULL, GOMETA_STORAGE_LOG_BYTES) == 0);
    CHECK(gometa_node_status_keys(NULL) == 0 && !gometa_node_status_is_voter(NULL));
    CHECK(*gometa_node_status_detail(NULL) == '\0' && *gometa_node_status_version(NULL) == '\0');
    CHECK(gometa_node_status_state_hash(NULL, &length) == NULL && length == 0 && gometa_node_status_peer_count(NULL) == 0);
    CHECK(gometa_node_status_peer_id(NULL, 0) == 0 && *gometa_node_status_peer_detail(NULL, 0) == '\0');
    CHECK(*gometa_node_status_peer_message_address(NULL, 0) == '\0');
    CHECK(*gometa_node_status_peer_request_address(NULL, 0) == '\0');
    CHECK(!gometa_node_status_peer_is_voter(NULL, 0) && !gometa_node_status_peer_connected(NULL, 0));
    CHECK(gometa_node_status_peer_acked_revision(NULL, 0) == 0);
    CHECK(!gometa_future_is_ready(NULL) && gometa_queue_fd(NULL) == -1);

    FAILS(gometa_client_with_timeout(NULL, 1, &client, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_counter(NULL, GOMETA_COUNTER_REQUESTS, &number, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history_id(NULL, &number, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_add(NULL, "k", 1, "v", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_cas(NULL, "k", 1, 1, "v", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_delete(NULL, "k", 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_delete_if(NULL, "k", 1, 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_set_async(NULL, "k", 1, "v", 1, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_status(NULL, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_members(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_membership(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_remove_member(NULL, 1, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_transfer_leadership(NULL, 0, &number, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_safe_to_stop(NULL, &number, 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_written(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_deleted(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_entry(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_status(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_members(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_membership(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_leader(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_stop_advice(NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_enqueue(NULL, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_on_ready(NULL, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_queue_new(NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_queue_next(NULL, 0, &number, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(client == NULL && future == NULL && number == 42);

    client = open_client(peers, 20000 * patience);
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    FAILS(gometa_client_counter(client, GOMETA_COUNTER_REQUESTS, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_history_id(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_with_timeout(client, 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_status(client, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_members(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_members_async(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_membership(client, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_promote_member(client, 1, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_remove_member_async(client, 1, NULL, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_safe_to_stop(client, &number, 1, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_safe_to_stop_async(client, NULL, 1, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_safe_to_stop_async(client, NULL, 0, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_safe_to_stop_async(client, &number, SIZE_MAX, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_queue_next(queue, 0, NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_get_async(client, "k", 1, &future, &error) == GOMETA_OK);
    FAILS(gometa_future_enqueue(future, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    /* Without an error output. */
    CHECK(gometa_future_enqueue(future, NULL, 1, NULL) == GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_set(client, NULL, 0, NULL, 0, NULL, NULL) == GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    gometa_queue_free(queue);
    gometa_client_free(client);
}

static void unreachable(const char *address)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_client_t *limited = NULL;
    client = open_client(address, 20000 * patience);
    CHECK(gometa_client_with_timeout(client, 200 * patience, &limited, &error) == GOMETA_OK);
    gometa_status_t status = gometa_client_set(limited, "k", 1, "v", 1, NULL, &error);
    CHECK(gometa_error_is_retryable(error) && gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED);
    FAILS(status, GOMETA_UNAVAILABLE);

    /* A queue, and a future that is cancelled while its call is in flight. */
    gometa_queue_t *queue = NULL;
    gometa_future_t *future = NULL;
    uint64_t tag = 0;
    CHECK(gometa_queue_new(&queue, &error) == GOMETA_OK);
    struct pollfd look = {gometa_queue_fd(queue), POLLIN, 0};
    CHECK(gometa_client_get_async(client, "k", 1, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_enqueue(future, queue, 99, &error) == GOMETA_OK);
    FAILS(gometa_future_enqueue(future, queue, 98, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_queue_next(queue, 10, &tag, &error), GOMETA_DEADLINE_EXCEEDED);
    FAILS(gometa_future_wait(future, 0, &error), GOMETA_DEADLINE_EXCEEDED);
    gometa_entry_t *entry = NULL;
    FAILS(gometa_future_entry(future, &entry, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(poll(&look, 1, 0) == 0);
    gometa_future_cancel(future);
    CHECK(poll(&look, 1, (int)(5000 * patience)) == 1);
    CHECK(gometa_queue_next(queue, 5000 * patience, &tag, &error) == GOMETA_OK && tag == 99);
    CHECK(poll(&look, 1, 0) == 0);
    FAILS(gometa_future_entry(future, &entry, &error), GOMETA_CANCELLED);
    gometa_future_free(future);
    gometa_queue_close(queue);
    CHECK(poll(&look, 1, 0) == 1);
    FAILS(gometa_queue_next(queue, 5000 * patience, &tag, &error), GOMETA_CLOSED);
    gometa_queue_close(queue);
    /* A future whose queue is closed, and then freed. */
    CHECK(gometa_client_get_async(limited, "k", 1, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_enqueue(future, queue, 1, &error) == GOMETA_OK);
    gometa_queue_free(queue);
    CHECK(gometa_future_wait(future, 5000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_entry(future, &entry, &error), GOMETA_UNAVAILABLE);
    gometa_future_free(future);
    gometa_client_free(client);
    gometa_client_free(limited);
}

/* Records of a client go to its log, and to no other. */
static void logs(const char *address)
{
    gometa_error_t *error = NULL;
    gometa_options_t *options = NULL;
    gometa_client_t *client = NULL;
    gometa_log_t *log = NULL;
    gometa_log_t *other = NULL;
    gometa_log_record_t *record = NULL;
    gometa_entry_t *entry = NULL;
    FAILS(gometa_log_new(0, &log, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_log_new(4, &log, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_log_new(GOMETA_LOG_WARN, NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_log_new(GOMETA_LOG_WARN, &log, &error) == GOMETA_OK);
    CHECK(gometa_log_new(GOMETA_LOG_DEBUG, &other, &error) == GOMETA_OK);
    struct pollfd look = {gometa_log_fd(log), POLLIN, 0};
    CHECK(poll(&look, 1, 0) == 0);
    FAILS(gometa_log_next(log, 0, &record, &error), GOMETA_DEADLINE_EXCEEDED);
    CHECK(gometa_options_new(&options, &error) == GOMETA_OK);
    FAILS(gometa_options_set_log(options, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_options_set_log(NULL, log, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_options_set_timeout_ms(options, 200 * patience, &error) == GOMETA_OK);
    CHECK(gometa_options_set_log(options, log, &error) == GOMETA_OK);
    CHECK(gometa_client_new(address, options, &client, &error) == GOMETA_OK);
    gometa_options_free(options);

    uint64_t before = (uint64_t)time(NULL) * 1000000;
    FAILS(gometa_client_get(client, "k", 1, &entry, &error), GOMETA_UNAVAILABLE);
    CHECK(poll(&look, 1, 0) == 1);
    FAILS(gometa_log_next(log, 0, NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_log_next(log, 0, &record, &error) == GOMETA_OK);
    CHECK(gometa_log_record_level(record) == GOMETA_LOG_WARN);
    CHECK(gometa_log_record_time_us(record) >= before && gometa_log_record_time_us(record) < before + 600000000);
    CHECK(strstr(gometa_log_record_message(record), "dial failed address=") != NULL);
    CHECK(strstr(gometa_log_record_message(record), address) != NULL);
    gometa_log_record_free(record);
    FAILS(gometa_log_next(other, 0, &record, &error), GOMETA_DEADLINE_EXCEEDED);

    /* A closed log returns the records that are left. Its client works after it is freed. */
    gometa_log_close(log);
    gometa_log_close(log);
    CHECK(poll(&look, 1, 0) == 1);
    FAILS(gometa_log_next(log, 1000, &record, &error), GOMETA_CLOSED);
    gometa_log_free(log);
    FAILS(gometa_client_get(client, "k", 1, &entry, &error), GOMETA_UNAVAILABLE);
    gometa_client_free(client);
    gometa_log_free(other);
    gometa_log_free(NULL);
    gometa_log_close(NULL);
    gometa_log_record_free(NULL);
    CHECK(gometa_log_fd(NULL) == -1 && gometa_log_record_level(NULL) == 0 && gometa_log_record_time_us(NULL) == 0);
    CHECK(*gometa_log_record_message(NULL) == '\0');
    FAILS(gometa_log_next(NULL, 0, &record, &error), GOMETA_INVALID_ARGUMENT);
}

/* Waits until the leader has this number of sessions. */
static void until_sessions(const gometa_client_t *client, uint64_t wanted)
{
    uint64_t begun = now_ms();
    for (uint64_t found = wanted + 1; found != wanted;) {
        gometa_members_t *members = NULL;
        gometa_node_status_t *status = NULL;
        CHECK(now_ms() - begun < 20000 * patience);
        CHECK(gometa_client_members(client, &members, NULL) == GOMETA_OK);
        CHECK(gometa_client_status(client, gometa_members_leader_address(members), &status, NULL) == GOMETA_OK);
        found = gometa_node_status_sessions(status);
        gometa_node_status_free(status);
        gometa_members_free(members);
    }
}

/* Closing or freeing a client ends its session; freeing one of two handles does not. */
static void sessions_end(const char *peers)
{
    gometa_client_t *looking = open_client(peers, 20000 * patience);
    gometa_client_t *other = NULL;
    for (int i = 0; i < 2; i++) {
        gometa_client_t *client = open_client(peers, 20000 * patience);
        CHECK(gometa_client_set(client, "k", 1, "v", 1, NULL, NULL) == GOMETA_OK);
        CHECK(gometa_client_with_timeout(client, 20000 * patience, &other, NULL) == GOMETA_OK);
        gometa_client_free(other);
        until_sessions(looking, 1);
        if (i == 0) {
            gometa_client_close(client);
        } else {
            gometa_client_free(client);
        }
        until_sessions(looking, 0);
        if (i == 0) {
            gometa_client_free(client);
        }
    }
    gometa_client_free(looking);
}

/* A peer that is not gometa. */
static void bad(const char *address)
{
    uint64_t timeout = 500 * patience;
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_options_t *options = NULL;
    gometa_entry_t *entry = NULL;
    gometa_node_status_t *status = NULL;
    CHECK(gometa_options_new(&options, &error) == GOMETA_OK);
    CHECK(gometa_options_set_timeout_ms(options, timeout, &error) == GOMETA_OK);
    CHECK(gometa_client_new(address, options, &client, &error) == GOMETA_OK);
    gometa_options_free(options);
    uint64_t begun = now_ms();
    gometa_status_t ended = gometa_client_set(client, "k", 1, "v", 1, NULL, &error);
    CHECK(gometa_error_is_retryable(error) && gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED);
    FAILS(ended, GOMETA_UNAVAILABLE);
    FAILS(gometa_client_get(client, "k", 1, &entry, &error), GOMETA_UNAVAILABLE);
    CHECK(now_ms() - begun >= 2 * timeout - 20);
    CHECK(now_ms() - begun < 2 * timeout + 2000 * patience);
    /* A status call is not retried, and returns the cause. */
    begun = now_ms();
    ended = gometa_client_status(client, address, &status, &error);
    CHECK(now_ms() - begun < timeout + 1000 * patience);
    CHECK(ended == GOMETA_UNAVAILABLE || ended == GOMETA_CONNECTION_LOST || ended == GOMETA_DEADLINE_EXCEEDED);
    FAILS(ended, ended);
    CHECK(entry == NULL && status == NULL);
    gometa_client_free(client);
}

static void members_and_status(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_members_t *members = NULL;
    gometa_node_status_t *status = NULL;
    uint64_t requests = 0, history_id = 0;
    client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_members(client, &members, &error) == GOMETA_OK);
    CHECK(gometa_members_count(members) == 3 && *gometa_members_leader_address(members) != '\0');
    CHECK(*gometa_members_request_address(members, 2) != '\0' && *gometa_members_request_address(members, 3) == '\0');
    CHECK(gometa_client_status(client, gometa_members_leader_address(members), &status, &error) == GOMETA_OK);
    CHECK(gometa_node_status_role(status) == GOMETA_ROLE_LEADING && gometa_node_status_is_voter(status));
    CHECK(gometa_node_status_peer_count(status) == 2 && *gometa_node_status_peer_message_address(status, 1) != '\0');
    size_t length = 0;
    CHECK(gometa_node_status_state_hash(status, &length) != NULL && length == 16);
    CHECK(gometa_client_counter(client, GOMETA_COUNTER_REQUESTS, &requests, &error) == GOMETA_OK && requests == 2);
    FAILS(gometa_client_counter(client, 77, &requests, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_history_id(client, &history_id, &error) == GOMETA_OK && history_id >= 1);
    CHECK(strcmp(gometa_status_name(GOMETA_HISTORY_CHANGED), "HistoryChanged") == 0);
    FAILS(gometa_client_status(client, "nonsense", &status, &error), GOMETA_INVALID_ARGUMENT);
    gometa_node_status_free(status);
    gometa_members_free(members);
    gometa_client_free(client);
}

/* Members with their roles; changes that hold already, and changes that are refused. */
static void membership_and_changes(const char *peers)
{
    const uint64_t stranger = UINT64_MAX;
    const gometa_members_version_t stale = {1ull << 40, 1};
    gometa_error_t *error = NULL;
    gometa_client_t *client = NULL;
    gometa_membership_t *membership = NULL;
    gometa_membership_t *after = NULL;
    gometa_membership_t *refused = NULL;
    gometa_stop_advice_t *advice = NULL;
    gometa_future_t *future = NULL;
    gometa_written_t written;
    uint64_t leader = 0;
    size_t length = 0;
    client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_membership(client, &membership, &error) == GOMETA_OK);
    gometa_members_version_t version = gometa_membership_version(membership);
    CHECK(version.epoch == 0 && version.revision == 0 && gometa_membership_is_committed(membership));
    CHECK(gometa_membership_count(membership) == 3 && !gometa_membership_has_changed(membership));
    for (size_t i = 0; i < 3; i++) {
        CHECK(gometa_membership_node_id(membership, i) > (i == 0 ? 0 : gometa_membership_node_id(membership, i - 1)));
        CHECK(gometa_membership_is_voter(membership, i) && !gometa_membership_is_promised(membership, i));
        CHECK(gometa_membership_incarnation(membership, i, &length) != NULL && length == 16);
        CHECK(*gometa_membership_election_address(membership, i) != '\0');
        CHECK(*gometa_membership_message_address(membership, i) != '\0');
        CHECK(*gometa_membership_request_address(membership, i) != '\0');
    }
    CHECK(gometa_membership_node_id(membership, 3) == 0 && !gometa_membership_is_voter(membership, 3));
    CHECK(*gometa_membership_message_address(membership, 3) == '\0');
    CHECK(gometa_membership_incarnation(membership, 3, &length) != NULL && length == 0);

    uint64_t nodes[3] = {gometa_membership_node_id(membership, 0), gometa_membership_node_id(membership, 1), stranger};
    CHECK(gometa_client_remove_member(client, stranger, &version, &after, &error) == GOMETA_OK);
    CHECK(!gometa_membership_has_changed(after) && gometa_membership_count(after) == 3);
    gometa_membership_free(after);
    CHECK(gometa_client_promote_member(client, nodes[0], NULL, &after, &error) == GOMETA_OK);
    CHECK(!gometa_membership_has_changed(after));
    gometa_membership_free(after);
    FAILS(gometa_client_remove_member(client, nodes[0], &stale, &refused, &error), GOMETA_FAILED_PRECONDITION);
    FAILS(gometa_client_cancel_promotion(client, nodes[0], NULL, &refused, &error), GOMETA_FAILED_PRECONDITION);
    FAILS(gometa_client_replace_member(client, nodes[0], nodes[0], NULL, &refused, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_replace_member(client, nodes[0], 4711, NULL, &refused, &error), GOMETA_NOT_FOUND);
    FAILS(gometa_client_promote_member(client, stranger, NULL, &refused, &error), GOMETA_NOT_FOUND);
    FAILS(gometa_client_promote_member(client, 0, NULL, &refused, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_transfer_leadership(client, stranger, &leader, &error), GOMETA_NOT_FOUND);
    FAILS(gometa_client_safe_to_stop(client, nodes, 3, &advice, &error), GOMETA_NOT_FOUND);
    FAILS(gometa_client_safe_to_stop(client, nodes, 0, &advice, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(refused == NULL && leader == 0 && advice == NULL);
    CHECK(gometa_client_safe_to_stop(client, nodes, 2, &advice, &error) == GOMETA_OK);
    CHECK(!gometa_stop_advice_is_safe(advice) && *gometa_stop_advice_reason(advice) != '\0');
    gometa_stop_advice_free(advice);
    CHECK(gometa_client_transfer_leadership(client, nodes[0], NULL, &error) == GOMETA_OK);
    CHECK(gometa_client_transfer_leadership(client, nodes[0], &leader, &error) == GOMETA_OK && leader == nodes[0]);

    /* The same by futures. */
    CHECK(gometa_client_membership_async(client, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_membership(future, &after, &error) == GOMETA_OK && gometa_membership_count(after) == 3);
    gometa_membership_free(after);
    FAILS(gometa_future_leader(future, &leader, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_stop_advice(future, &advice, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_written(future, &written, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    CHECK(gometa_client_promote_member_async(client, stranger, &version, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_membership(future, &refused, &error), GOMETA_NOT_FOUND);
    gometa_future_free(future);
    CHECK(gometa_client_remove_member_async(client, stranger, NULL, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_membership(future, &after, &error) == GOMETA_OK && !gometa_membership_has_changed(after));
    gometa_membership_free(after);
    gometa_future_free(future);
    CHECK(gometa_client_replace_member_async(client, nodes[0], 4711, NULL, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_membership(future, &refused, &error), GOMETA_NOT_FOUND);
    gometa_future_free(future);
    CHECK(gometa_client_cancel_promotion_async(client, nodes[0], NULL, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_membership(future, &refused, &error), GOMETA_FAILED_PRECONDITION);
    gometa_future_free(future);
    CHECK(gometa_client_transfer_leadership_async(client, nodes[0], &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    leader = 0;
    CHECK(gometa_future_leader(future, &leader, &error) == GOMETA_OK && leader == nodes[0]);
    FAILS(gometa_future_membership(future, &refused, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    CHECK(gometa_client_safe_to_stop_async(client, nodes, 2, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_stop_advice(future, &advice, &error) == GOMETA_OK && !gometa_stop_advice_is_safe(advice));
    gometa_stop_advice_free(advice);
    gometa_future_free(future);
    CHECK(refused == NULL);
    gometa_membership_free(membership);
    gometa_client_free(client);
}

int main(int count, char **given)
{
    CHECK(count >= 4);
    patience = strtoull(given[1], NULL, 10);
    CHECK(patience > 0);
    /* First, while the ensemble has no sessions. */
    sessions_end(given[2]);
    arguments(given[2]);
    use_after_close(given[2]);
    nulls(given[2]);
    members_and_status(given[2]);
    membership_and_changes(given[2]);
    unreachable(given[3]);
    logs(given[3]);
    bad(given[3]);
    bad("nobody.invalid:5003");
    for (int i = 4; i < count; i++) {
        bad(given[i]);
    }
    puts("passed");
    return 0;
}
