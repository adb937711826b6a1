// The calls of libgometa, for native.go and native_results.go: fewer calls from Go to C. Part of their preambles, which
// declare _GoString_.
#include <fcntl.h>
#include <stdlib.h>
#include <gometa.h>
#include <string.h>

// The fields of an error. The strings belong to it.
typedef struct {
    gometa_error_t *error;
    gometa_status_t status;
    gometa_outcome_t outcome;
    bool retryable;
    bool has_actual_revision;
    uint64_t actual_revision;
    const char *message;
    const char *operation;
    const char *leader;
} failure_t;

static void read_failure(gometa_error_t *error, failure_t *failure)
{
    failure->error = error;
    failure->status = gometa_error_status(error);
    failure->outcome = gometa_error_outcome(error);
    failure->retryable = gometa_error_is_retryable(error);
    failure->has_actual_revision = gometa_error_actual_revision(error, &failure->actual_revision);
    failure->message = gometa_error_message(error);
    failure->operation = gometa_error_operation(error);
    failure->leader = gometa_error_leader_address(error);
}

// The operations, for start and take.
enum { CALL_ADD, CALL_SET, CALL_CAS, CALL_DELETE, CALL_DELETE_IF, CALL_GET, CALL_GET_AT, CALL_RANGE, CALL_NEXT_PAGE,
       CALL_COUNT, CALL_HISTORY, CALL_DELETE_PREFIX, CALL_COMMIT, CALL_READ_IN_ATTEMPT, CALL_READ_RANGE_IN_ATTEMPT,
       CALL_COMMIT_ATTEMPT, CALL_SETTINGS,
       CALL_SET_SETTING, CALL_RESET_SETTING, CALL_STATUS, CALL_STATUS_OF, CALL_MEMBERS, CALL_MEMBERSHIP, CALL_PROMOTE,
       CALL_REMOVE, CALL_REPLACE, CALL_CANCEL_PROMOTION, CALL_TRANSFER, CALL_SAFE_TO_STOP };

// The fields of an entry. The bytes belong to it.
typedef struct {
    const uint8_t *key, *value;
    size_t key_len, value_len;
    uint64_t version, create_revision, mod_revision;
    bool is_group;
} entry_t;

static void read_entry(const gometa_entry_t *from, entry_t *entry)
{
    entry->key = gometa_entry_key(from, &entry->key_len);
    entry->value = gometa_entry_value(from, &entry->value_len);
    entry->version = gometa_entry_version(from);
    entry->create_revision = gometa_entry_create_revision(from);
    entry->mod_revision = gometa_entry_mod_revision(from);
    entry->is_group = gometa_entry_is_group(from);
}

// Reads the entries of a page into an array of their number.
static void read_entries(const gometa_page_t *page, entry_t *entries)
{
    size_t count = gometa_page_count(page);
    for (size_t i = 0; i < count; i++) {
        read_entry(gometa_page_entry(page, i), &entries[i]);
    }
}

// The fields of a version of a key. The value belongs to its history.
typedef struct {
    uint64_t revision, version, create_revision, value_size;
    const uint8_t *value;
    size_t value_len;
    bool deleted;
} key_version_t;

// Reads the versions of a history into an array of their number.
static void read_versions(const gometa_history_t *history, key_version_t *versions)
{
    size_t count = gometa_history_count(history);
    for (size_t i = 0; i < count; i++) {
        const gometa_key_version_t *from = gometa_history_version(history, i);
        versions[i].revision = gometa_key_version_revision(from);
        versions[i].version = gometa_key_version_number(from);
        versions[i].create_revision = gometa_key_version_create_revision(from);
        versions[i].value_size = gometa_key_version_value_size(from);
        versions[i].value = gometa_key_version_value(from, &versions[i].value_len);
        versions[i].deleted = gometa_key_version_deleted(from);
    }
}

// A request, and its result once it has completed.
typedef struct {
    gometa_future_t *future;
    failure_t failure;
    gometa_written_t written;
    gometa_deleted_t deleted;
    gometa_entry_t *entry;
    entry_t fields;
    // NULL after the last page of a scan.
    gometa_page_t *page;
    gometa_history_t *history;
    uint64_t count;
    gometa_txn_result_t *result;
    // NULL if the key does not exist.
    gometa_value_t *value;
    bool committed;
    gometa_settings_t *settings;
    uint64_t revision;
    gometa_node_status_t *status;
    gometa_members_t *members;
    gometa_membership_t *membership;
    gometa_stop_advice_t *advice;
    uint64_t leader;
} request_t;

// Creates options of a read.
static gometa_status_t new_read_options(uint32_t consistency, uint64_t min_revision, gometa_read_options_t **options,
                                        gometa_error_t **error)
{
    gometa_status_t status = gometa_read_options_new(options, error);
    if (status == GOMETA_OK) {
        // Neither argument is invalid.
        gometa_read_options_set_consistency(*options, consistency, NULL);
        gometa_read_options_set_min_revision(*options, min_revision, NULL);
    }
    return status;
}

// Creates a range with options of its read.
static gometa_status_t new_range(_GoString_ prefix, _GoString_ start, _GoString_ end, _GoString_ delimiter,
                                 uint64_t at_revision, uint64_t limit, bool reverse, bool keys_only,
                                 uint32_t consistency, uint64_t min_revision, gometa_range_t **range,
                                 gometa_error_t **error)
{
    gometa_read_options_t *options = NULL;
    gometa_range_t *made = NULL;
    gometa_status_t status = new_read_options(consistency, min_revision, &options, error);
    if (status == GOMETA_OK) {
        status = gometa_range_new(&made, error);
    }
    if (status == GOMETA_OK) {
        // No argument is NULL, so none of these fails.
        gometa_range_set_read_options(made, options, NULL);
        gometa_range_set_prefix(made, _GoStringPtr(prefix), _GoStringLen(prefix), NULL);
        gometa_range_set_start(made, _GoStringPtr(start), _GoStringLen(start), NULL);
        gometa_range_set_end(made, _GoStringPtr(end), _GoStringLen(end), NULL);
        gometa_range_set_delimiter(made, _GoStringPtr(delimiter), _GoStringLen(delimiter), NULL);
        gometa_range_set_at_revision(made, at_revision, NULL);
        gometa_range_set_limit(made, limit, NULL);
        gometa_range_set_reverse(made, reverse, NULL);
        gometa_range_set_keys_only(made, keys_only, NULL);
        *range = made;
    }
    gometa_read_options_free(options);
    return status;
}

// Creates options of a history with options of its read.
static gometa_status_t new_history_options(uint64_t before_revision, uint64_t limit, bool keys_only,
                                           uint32_t consistency, uint64_t min_revision,
                                           gometa_history_options_t **history, gometa_error_t **error)
{
    gometa_read_options_t *options = NULL;
    gometa_status_t status = new_read_options(consistency, min_revision, &options, error);
    if (status == GOMETA_OK) {
        status = gometa_history_options_new(history, error);
    }
    if (status == GOMETA_OK) {
        // No argument is NULL, so none of these fails.
        gometa_history_options_set_read_options(*history, options, NULL);
        gometa_history_options_set_before_revision(*history, before_revision, NULL);
        gometa_history_options_set_limit(*history, limit, NULL);
        gometa_history_options_set_keys_only(*history, keys_only, NULL);
    }
    gometa_read_options_free(options);
    return status;
}

// Creates a transaction with options of its read.
static gometa_status_t new_txn(uint32_t consistency, uint64_t min_revision, gometa_txn_t **txn, gometa_error_t **error)
{
    gometa_read_options_t *options = NULL;
    gometa_status_t status = new_read_options(consistency, min_revision, &options, error);
    if (status == GOMETA_OK) {
        status = gometa_txn_new(txn, error);
    }
    if (status == GOMETA_OK) {
        // No argument is NULL, so this does not fail.
        gometa_txn_set_read_options(*txn, options, NULL);
    }
    gometa_read_options_free(options);
    return status;
}

// Comparisons of a range are added by gometa_txn_when_range.
enum { FACT_MOD_REVISION, FACT_CREATE_REVISION, FACT_VALUE, FACT_RANGE };

// Adds a comparison of a key to a transaction.
static gometa_status_t add_compare(gometa_txn_t *txn, int fact, _GoString_ key, uint32_t relation, uint64_t revision,
                                   _GoString_ value, gometa_error_t **error)
{
    const char *data = _GoStringPtr(key);
    size_t length = _GoStringLen(key);
    switch (fact) {
    case FACT_MOD_REVISION:
        return gometa_txn_when_mod_revision(txn, data, length, relation, revision, error);
    case FACT_CREATE_REVISION:
        return gometa_txn_when_create_revision(txn, data, length, relation, revision, error);
    default:
        return gometa_txn_when_value(txn, data, length, relation, _GoStringPtr(value), _GoStringLen(value), error);
    }
}

enum { OP_SET, OP_DELETE, OP_GET, OP_RANGE, OP_DELETE_RANGE };

// Adds an operation to a branch of a transaction.
static gometa_status_t add_operation(gometa_txn_t *txn, uint32_t branch, int kind, _GoString_ key, _GoString_ value,
                                     const gometa_range_t *range, gometa_error_t **error)
{
    const char *data = _GoStringPtr(key);
    size_t length = _GoStringLen(key);
    switch (kind) {
    case OP_SET:
        return gometa_txn_set(txn, branch, data, length, _GoStringPtr(value), _GoStringLen(value), error);
    case OP_DELETE:
        return gometa_txn_delete(txn, branch, data, length, error);
    case OP_GET:
        return gometa_txn_get(txn, branch, data, length, error);
    case OP_DELETE_RANGE:
        return gometa_txn_delete_range(txn, branch, range, error);
    default:
        return gometa_txn_range(txn, branch, range, error);
    }
}

// Handles of a client that one call needs. They are freed by free_handles.
typedef struct {
    gometa_client_t *limited, *guarded;
} handles_t;

// Makes a handle with a timeout and a guard: *client is replaced by it. timeout_ms 0 means the client's timeout.
static gometa_status_t new_handles(const gometa_client_t **client, uint64_t timeout_ms, bool is_guarded,
                                   _GoString_ guard_key, uint64_t guard_revision, handles_t *handles,
                                   gometa_error_t **error)
{
    gometa_status_t status = GOMETA_OK;
    if (timeout_ms != 0) {
        status = gometa_client_with_timeout(*client, timeout_ms, &handles->limited, error);
        *client = handles->limited;
    }
    if (status == GOMETA_OK && is_guarded) {
        status = gometa_client_with_guard(*client, _GoStringPtr(guard_key), _GoStringLen(guard_key), guard_revision,
                                          &handles->guarded, error);
        *client = handles->guarded;
    }
    return status;
}

static void free_handles(handles_t *handles)
{
    gometa_client_free(handles->limited);
    gometa_client_free(handles->guarded);
}

// Begins a transaction that is repeated.
static gometa_status_t begin(const gometa_client_t *client, uint64_t timeout_ms, bool is_guarded,
                             _GoString_ guard_key, uint64_t guard_revision, gometa_transaction_t **transaction,
                             gometa_error_t **error)
{
    handles_t handles = {NULL, NULL};
    gometa_status_t status =
        new_handles(&client, timeout_ms, is_guarded, guard_key, guard_revision, &handles, error);
    if (status == GOMETA_OK) {
        status = gometa_client_transaction(client, transaction, error);
    }
    free_handles(&handles);
    return status;
}

// These fail only for a NULL, or for more bytes than memory has.
static void set_in_attempt(gometa_transaction_t *transaction, _GoString_ key, _GoString_ value)
{
    gometa_transaction_set(transaction, _GoStringPtr(key), _GoStringLen(key), _GoStringPtr(value), _GoStringLen(value),
                           NULL);
}

static void delete_in_attempt(gometa_transaction_t *transaction, _GoString_ key)
{
    gometa_transaction_delete(transaction, _GoStringPtr(key), _GoStringLen(key), NULL);
}

// The arguments of a call; each uses some of them.
typedef struct {
    const void *key, *value;
    size_t key_len, value_len;
    // A node, for the calls about members; value has further ones. The value of a setting.
    uint64_t revision;
    uint32_t consistency;
    const gometa_members_version_t *follows;
    const gometa_range_t *range;
    // NULL until the first page is requested.
    gometa_scan_t **scan;
    const gometa_txn_t *txn;
    gometa_transaction_t *transaction;
    const gometa_history_options_t *history;
} arguments_t;

// Starts a call about members.
static gometa_status_t start_member_call(const gometa_client_t *client, int call, const arguments_t *with,
                                         gometa_future_t **future, gometa_error_t **error)
{
    uint64_t replacement;
    switch (call) {
    case CALL_MEMBERS:
        return gometa_client_members_async(client, future, error);
    case CALL_MEMBERSHIP:
        return gometa_client_membership_async(client, future, error);
    case CALL_PROMOTE:
        return gometa_client_promote_member_async(client, with->revision, with->follows, future, error);
    case CALL_REMOVE:
        return gometa_client_remove_member_async(client, with->revision, with->follows, future, error);
    case CALL_REPLACE:
        memcpy(&replacement, with->value, sizeof replacement);
        return gometa_client_replace_member_async(client, with->revision, replacement, with->follows, future, error);
    case CALL_CANCEL_PROMOTION:
        return gometa_client_cancel_promotion_async(client, with->revision, with->follows, future, error);
    case CALL_TRANSFER:
        return gometa_client_transfer_leadership_async(client, with->revision, future, error);
    default:
        return gometa_client_safe_to_stop_async(client, with->value, with->value_len / sizeof(uint64_t), future, error);
    }
}

// Starts a read of a key with options.
static gometa_status_t start_get(const gometa_client_t *client, const arguments_t *with, gometa_future_t **future,
                                 gometa_error_t **error)
{
    gometa_read_options_t *options = NULL;
    gometa_status_t status = GOMETA_OK;
    if (with->consistency != GOMETA_LINEARIZABLE || with->revision != 0) {
        status = new_read_options(with->consistency, with->revision, &options, error);
    }
    if (status == GOMETA_OK) {
        status = gometa_client_get_with_async(client, with->key, with->key_len, options, future, error);
    }
    gometa_read_options_free(options);
    return status;
}

// Requests the next page of a scan, which is created for the first one.
static gometa_status_t start_next_page(const gometa_client_t *client, const arguments_t *with, gometa_future_t **future,
                                       gometa_error_t **error)
{
    gometa_status_t status = GOMETA_OK;
    if (*with->scan == NULL) {
        status = gometa_client_scan(client, with->range, with->scan, error);
    }
    return status == GOMETA_OK ? gometa_scan_next_async(*with->scan, future, error) : status;
}

static gometa_status_t start_call(const gometa_client_t *client, int call, const arguments_t *with,
                                  gometa_future_t **future, gometa_error_t **error)
{
    const void *key = with->key, *value = with->value;
    size_t key_len = with->key_len, value_len = with->value_len;
    switch (call) {
    case CALL_ADD:
        return gometa_client_add_async(client, key, key_len, value, value_len, future, error);
    case CALL_SET:
        return gometa_client_set_async(client, key, key_len, value, value_len, future, error);
    case CALL_CAS:
        return gometa_client_cas_async(client, key, key_len, with->revision, value, value_len, future, error);
    case CALL_DELETE:
        return gometa_client_delete_async(client, key, key_len, future, error);
    case CALL_DELETE_IF:
        return gometa_client_delete_if_async(client, key, key_len, with->revision, future, error);
    case CALL_GET:
        return start_get(client, with, future, error);
    case CALL_GET_AT:
        return gometa_client_get_at_async(client, key, key_len, with->revision, future, error);
    case CALL_RANGE:
        return gometa_client_range_async(client, with->range, future, error);
    case CALL_NEXT_PAGE:
        return start_next_page(client, with, future, error);
    case CALL_COUNT:
        return gometa_client_count_async(client, with->range, future, error);
    case CALL_HISTORY:
        return gometa_client_history_async(client, key, key_len, with->history, future, error);
    case CALL_DELETE_PREFIX:
        return gometa_client_delete_prefix_async(client, key, key_len, future, error);
    case CALL_COMMIT:
        return gometa_client_commit_async(client, with->txn, future, error);
    case CALL_READ_IN_ATTEMPT:
        return gometa_transaction_get_async(with->transaction, key, key_len, future, error);
    case CALL_READ_RANGE_IN_ATTEMPT:
        return gometa_transaction_range_async(with->transaction, with->range, future, error);
    case CALL_COMMIT_ATTEMPT:
        return gometa_transaction_commit_async(with->transaction, future, error);
    case CALL_SETTINGS:
        return gometa_client_settings_async(client, future, error);
    // The caller has appended a zero byte to these strings.
    case CALL_SET_SETTING:
        return gometa_client_set_setting_async(client, key, &with->revision, future, error);
    case CALL_RESET_SETTING:
        return gometa_client_set_setting_async(client, key, NULL, future, error);
    case CALL_STATUS:
        return gometa_client_status_async(client, NULL, future, error);
    case CALL_STATUS_OF:
        return gometa_client_status_async(client, key, future, error);
    default:
        return start_member_call(client, call, with, future, error);
    }
}

// Starts a request, whose tag is put into the queue when it completes. timeout_ms 0 means the client's timeout.
static gometa_status_t start(const gometa_client_t *client, const gometa_queue_t *queue, int call, uint64_t tag,
                             uint64_t timeout_ms, bool is_guarded, _GoString_ guard_key, uint64_t guard_revision,
                             _GoString_ key, _GoString_ value, uint64_t revision,
                             uint32_t consistency, const gometa_members_version_t *follows,
                             const gometa_range_t *range, gometa_scan_t **scan, const gometa_txn_t *txn,
                             gometa_transaction_t *transaction, const gometa_history_options_t *history,
                             request_t *request)
{
    const arguments_t with = {
        .key = _GoStringPtr(key), .key_len = _GoStringLen(key), .value = _GoStringPtr(value),
        .value_len = _GoStringLen(value), .revision = revision, .consistency = consistency, .follows = follows,
        .range = range, .scan = scan, .txn = txn, .transaction = transaction, .history = history,
    };
    handles_t handles = {NULL, NULL};
    gometa_error_t *error = NULL;
    gometa_status_t status =
        new_handles(&client, timeout_ms, is_guarded, guard_key, guard_revision, &handles, &error);
    if (status == GOMETA_OK) {
        status = start_call(client, call, &with, &request->future, &error);
    }
    if (status == GOMETA_OK) {
        status = gometa_future_enqueue(request->future, queue, tag, &error);
    }
    if (status != GOMETA_OK) {
        read_failure(error, &request->failure);
    }
    free_handles(&handles);
    return status;
}

// Reads the result of a request whose future is ready.
static gometa_status_t take(int call, request_t *request)
{
    gometa_error_t *error = NULL;
    gometa_status_t status;
    switch (call) {
    case CALL_ADD:
    case CALL_SET:
    case CALL_CAS:
        status = gometa_future_written(request->future, &request->written, &error);
        break;
    case CALL_DELETE:
    case CALL_DELETE_IF:
        status = gometa_future_deleted(request->future, &request->deleted, &error);
        break;
    case CALL_GET:
    case CALL_GET_AT:
        status = gometa_future_entry(request->future, &request->entry, &error);
        if (status == GOMETA_OK) {
            read_entry(request->entry, &request->fields);
        }
        break;
    case CALL_RANGE:
    case CALL_NEXT_PAGE:
    case CALL_READ_RANGE_IN_ATTEMPT:
        status = gometa_future_page(request->future, &request->page, &error);
        break;
    case CALL_HISTORY:
        status = gometa_future_history(request->future, &request->history, &error);
        break;
    case CALL_COUNT:
    case CALL_DELETE_PREFIX:
        status = gometa_future_count(request->future, &request->count, &error);
        break;
    case CALL_COMMIT:
        status = gometa_future_txn_result(request->future, &request->result, &error);
        break;
    case CALL_READ_IN_ATTEMPT:
        status = gometa_future_value(request->future, &request->value, &error);
        break;
    case CALL_COMMIT_ATTEMPT:
        status = gometa_future_committed(request->future, &request->committed, &error);
        break;
    case CALL_SETTINGS:
        status = gometa_future_settings(request->future, &request->settings, &error);
        break;
    case CALL_SET_SETTING:
    case CALL_RESET_SETTING:
        status = gometa_future_revision(request->future, &request->revision, &error);
        break;
    case CALL_STATUS:
    case CALL_STATUS_OF:
        status = gometa_future_status(request->future, &request->status, &error);
        break;
    case CALL_MEMBERS:
        status = gometa_future_members(request->future, &request->members, &error);
        break;
    case CALL_TRANSFER:
        status = gometa_future_leader(request->future, &request->leader, &error);
        break;
    case CALL_SAFE_TO_STOP:
        status = gometa_future_stop_advice(request->future, &request->advice, &error);
        break;
    default:
        status = gometa_future_membership(request->future, &request->membership, &error);
        break;
    }
    if (status != GOMETA_OK) {
        read_failure(error, &request->failure);
    }
    return status;
}

// Frees a request and its result.
static void release(request_t *request)
{
    gometa_future_free(request->future);
    gometa_error_free(request->failure.error);
    gometa_entry_free(request->entry);
    gometa_page_free(request->page);
    gometa_history_free(request->history);
    gometa_txn_result_free(request->result);
    gometa_value_free(request->value);
    gometa_settings_free(request->settings);
    gometa_node_status_free(request->status);
    gometa_members_free(request->members);
    gometa_membership_free(request->membership);
    gometa_stop_advice_free(request->advice);
}

// Takes up to `room` tags from the queue; returns their number, or -1 if the queue is closed.
static int tags(const gometa_queue_t *queue, uint64_t *tags, int room)
{
    int count = 0;
    while (count < room) {
        gometa_status_t status = gometa_queue_next(queue, 0, &tags[count], NULL);
        if (status == GOMETA_OK) {
            count++;
        } else if (status == GOMETA_DEADLINE_EXCEEDED) {
            break;
        } else {
            return -1;
        }
    }
    return count;
}

// Takes the next record of a log, if there is one.
static gometa_status_t next_record(const gometa_log_t *log, gometa_log_record_t **record)
{
    return gometa_log_next(log, 0, record, NULL);
}

static int duplicate(int descriptor)
{
    return fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}
