/*
 * libgometa: a client of gometa, the replicated metadata store. docs/c.md is the guide; pkg-config's name is "gometa".
 *
 * Generated from ffi/src; do not edit. For POSIX systems. Before version 1.0 the ABI may change in each version.
 *
 * Conventions
 *
 * - Errors: a function that can fail returns a gometa_status_t: GOMETA_OK (0) or the kind of the error. Its last
 *   parameter `error` may be NULL; then the details and gometa_error_outcome are not available. On failure `*error`
 *   is set to a new error, to be freed with gometa_error_free; on success to NULL. An earlier error in `*error` is
 *   overwritten, not freed. Other outputs are written on success only. The lists of errors below name the usual
 *   ones; any call on a client may also return GOMETA_RESOURCE_EXHAUSTED, GOMETA_UNSUPPORTED or GOMETA_INTERNAL.
 * - NULL: a function returns GOMETA_INVALID_ARGUMENT if a pointer is NULL, unless its comment allows NULL. Getters
 *   of a NULL object return 0, false or "" unless they say otherwise. _free and _close of NULL are no-ops.
 * - Ownership: an object that a function creates is freed with the _free function of its type, and is independent of
 *   other objects: entries, pages, scans, transactions and their results, errors and futures may be used after their
 *   client is freed. A pointer that a getter returns is valid as long as its object. Inputs are copied before the
 *   function returns.
 * - Bytes and strings: keys (1 to 4,096 bytes) and values (0 to 1,048,576 bytes) are a pointer and a length, and may
 *   contain zero bytes; the pointer may be NULL if the length is 0. Strings are UTF-8 and end with a zero byte.
 *   Addresses are "host:port", "[::1]:port" for IPv6.
 * - Revisions: every change of a key has a revision. Revisions increase, with gaps, over all keys; 0 means none. The
 *   version of a key counts its writes, and restarts at 1 when the key is created again after a delete.
 * - Retries: a client's first write opens a session, in which its writes are numbered. The library retries a write
 *   under the same number until the timeout of the call, so the write is applied at most once. A new call is a new
 *   write. Writes of one client that are in flight together may be applied in any order.
 * - Threads: types marked thread-safe may be used by several threads at a time. Any other object may be used by one
 *   thread at a time, or by several threads that all pass it as a pointer to const. A _free must be the last use. The
 *   library starts threads of its own, needs no initialisation, and installs no signal handlers.
 * - Timeouts: a call on a client ends within its timeout, 5 seconds by default, retries included; count and
 *   delete_prefix make several requests, each with this timeout; the attempts of a transaction share one timeout.
 *   Functions that wait for a future, a tag or a record wait for at most 365 days, also if `timeout_ms` is larger.
 * - Futures: a function that ends in _async starts a call, does not block, and returns a future, to be freed with
 *   gometa_future_free. It fails only with GOMETA_INVALID_ARGUMENT, GOMETA_TOO_LARGE and GOMETA_FORKED; other errors
 *   are those of the future.
 * - Fork: in a forked child, functions on clients, scans, transactions, futures, queues and logs of the parent return
 *   GOMETA_FORKED, and _free releases the child's copy only; getters of results work. The child creates its own client.
 */

#ifndef GOMETA_H
#define GOMETA_H



#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The major version of the header.
#define GOMETA_VERSION_MAJOR 0

// The minor version of the header.
#define GOMETA_VERSION_MINOR 1

// The patch version of the header.
#define GOMETA_VERSION_PATCH 0

// The result of a call. Numbers are never reused; a newer library may return numbers that are not listed here.
enum gometa_status_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Success.
  GOMETA_OK = 0,
  // An argument is invalid: a NULL pointer, an empty key, a malformed address.
  GOMETA_INVALID_ARGUMENT = 1,
  // The key does not exist, or the node is no member.
  GOMETA_NOT_FOUND = 2,
  // The key exists. See gometa_error_actual_revision.
  GOMETA_ALREADY_EXISTS = 3,
  // The key's revision is not the expected one. See gometa_error_actual_revision.
  GOMETA_CAS_MISMATCH = 4,
  // A node was reached and did not answer within the timeout, or a wait for a future, a tag or a record timed out.
  GOMETA_DEADLINE_EXCEEDED = 5,
  // No node could be reached within the timeout, or the node asked for its status cannot be reached.
  GOMETA_UNAVAILABLE = 6,
  // Another node leads. Not returned to applications: nodes of this version forward requests to the leader instead.
  GOMETA_NOT_LEADER = 7,
  // The connection was lost before the response. Returned by gometa_client_status only.
  GOMETA_CONNECTION_LOST = 8,
  // A key or a value exceeds its limit, or a transaction.
  GOMETA_TOO_LARGE = 9,
  // The session ended between two attempts of a write, which may have been applied. The next write opens a new one.
  GOMETA_SESSION_EXPIRED = 10,
  // The client is not authenticated. Not returned by this version.
  GOMETA_UNAUTHENTICATED = 11,
  // The client is not authorised for this operation. Not returned by this version.
  GOMETA_PERMISSION_DENIED = 12,
  // A limit is reached: connections, requests in flight, sessions, file descriptors.
  GOMETA_RESOURCE_EXHAUSTED = 13,
  // The requested revision is older than the history. See gometa_error_actual_revision.
  GOMETA_COMPACTED = 14,
  // The call was cancelled.
  GOMETA_CANCELLED = 15,
  // The client, the queue or the log was closed.
  GOMETA_CLOSED = 16,
  // The node does not support this request.
  GOMETA_UNSUPPORTED = 17,
  // An internal error of gometa.
  GOMETA_INTERNAL = 18,
  // The process was forked after the object was created.
  GOMETA_FORKED = 19,
  // The session no longer has the outcome of this write, and does not execute it. Not returned to applications.
  GOMETA_FORGOTTEN = 20,
  // The state of the ensemble does not permit the change; the message says what is missing.
  GOMETA_FAILED_PRECONDITION = 21,
  // The key of the write's guard does not exist, or was created at another revision. See gometa_error_actual_revision.
  GOMETA_GUARD_FAILED = 22,
  // The ensemble was founded anew from old data: revisions that were read before are void. Returned once; later calls
  // work with the new history. See gometa_client_history_id.
  GOMETA_HISTORY_CHANGED = 23,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_status_t gometa_status_t;
#else
typedef uint32_t gometa_status_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Whether a failed call may have been applied.
enum gometa_outcome_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It may have been applied, or may be applied later.
  GOMETA_OUTCOME_UNKNOWN = 0,
  // It has not been applied and will not be.
  GOMETA_OUTCOME_NOT_APPLIED = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_outcome_t gometa_outcome_t;
#else
typedef uint32_t gometa_outcome_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What the result of an operation of a transaction is.
enum gometa_result_kind_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // There is no such operation: the index is out of range.
  GOMETA_RESULT_NONE = 0,
  // Of a set: gometa_txn_result_written.
  GOMETA_RESULT_WRITTEN = 1,
  // Of a delete: gometa_txn_result_deleted.
  GOMETA_RESULT_DELETED = 2,
  // Of a get: gometa_txn_result_entry.
  GOMETA_RESULT_ENTRY = 3,
  // Of a get of a key that did not exist.
  GOMETA_RESULT_ABSENT = 4,
  // Of a range: gometa_txn_result_page.
  GOMETA_RESULT_PAGE = 5,
  // The operation was executed, but its result was left out of the response: gometa_txn_result_error.
  GOMETA_RESULT_ERROR = 6,
  // Of the deletion of a range: gometa_txn_result_deleted_range.
  GOMETA_RESULT_DELETED_RANGE = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_result_kind_t gometa_result_kind_t;
#else
typedef uint32_t gometa_result_kind_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The role of a node.
enum gometa_role_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A role that this version of the library does not know.
  GOMETA_ROLE_UNKNOWN = 0,
  // Waiting for all configured voters to form the ensemble.
  GOMETA_ROLE_FORMING = 1,
  // Looking for a leader.
  GOMETA_ROLE_LOOKING = 2,
  // Following the leader.
  GOMETA_ROLE_FOLLOWING = 3,
  // Leading.
  GOMETA_ROLE_LEADING = 4,
  // Following the leader without counting in quorums.
  GOMETA_ROLE_LEARNING = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_role_t gometa_role_t;
#else
typedef uint32_t gometa_role_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A branch of a transaction.
typedef enum {
  // Executed if every comparison holds.
  GOMETA_THEN = 0,
  // Executed if a comparison does not hold.
  GOMETA_OTHERWISE = 1,
} gometa_branch_t;

// The consistency of a read.
typedef enum {
  // Sees every write of any client that was acknowledged before the read began.
  GOMETA_LINEARIZABLE = 0,
  // Reads the state of the answering node: faster, possibly stale, but never older than what this client has seen.
  GOMETA_LOCAL = 1,
} gometa_consistency_t;

// The counters of a client, for gometa_client_counter.
typedef enum {
  // Calls made.
  GOMETA_COUNTER_REQUESTS = 1,
  // Attempts beyond a call's first.
  GOMETA_COUNTER_RETRIES = 2,
  // Connections that replaced a lost one. The first connection and those made to reach the leader do not count.
  GOMETA_COUNTER_RECONNECTS = 3,
  // Calls in flight.
  GOMETA_COUNTER_IN_FLIGHT = 4,
  // The highest revision in any answer so far; 0 again once the history of the ensemble has changed.
  GOMETA_COUNTER_SEEN_REVISION = 5,
} gometa_counter_t;

// The level of a log record.
typedef enum {
  // Warnings, for example: a node cannot be reached.
  GOMETA_LOG_WARN = 1,
  // Changes of the connection, for example: a lost one was replaced.
  GOMETA_LOG_INFO = 2,
  // Details: connection attempts, sessions, reconnecting to the leader.
  GOMETA_LOG_DEBUG = 3,
} gometa_log_level_t;

// How a fact of a key, on the left, relates to an operand. Values are ordered by their bytes.
typedef enum {
  // The same.
  GOMETA_EQUAL = 0,
  // Another.
  GOMETA_NOT_EQUAL = 1,
  // Lower.
  GOMETA_LESS = 2,
  // Higher.
  GOMETA_GREATER = 3,
} gometa_relation_t;

// The figures of what a node stores, for gometa_node_status_storage. Bytes are those on disk.
typedef enum {
  // The log has the entries above this revision.
  GOMETA_STORAGE_LOG_BASE = 1,
  // The size of the log. It ends at the node's last revision.
  GOMETA_STORAGE_LOG_BYTES = 2,
  // The size of the state: keys and sessions.
  GOMETA_STORAGE_STATE_BYTES = 3,
  // The free space on the file system of the data directory.
  GOMETA_STORAGE_FREE_BYTES = 4,
  // The state is durable through this revision.
  GOMETA_STORAGE_FLUSHED_REVISION = 5,
  // The time since the state was last flushed, or since the node was started.
  GOMETA_STORAGE_FLUSH_AGE_MS = 6,
  // The size of the snapshot that is being sent or received, 0 if none; the sum if the node sends to several.
  GOMETA_STORAGE_SNAPSHOT_BYTES = 7,
  // The bytes of it that are transferred.
  GOMETA_STORAGE_SNAPSHOT_DONE_BYTES = 8,
} gometa_storage_t;

// A client of an ensemble: one connection, shared by all its calls. Thread-safe. Connects on its first call.
typedef struct gometa_client_t gometa_client_t;

// A key, its value and its revisions (not a log entry). Free with gometa_entry_free, unless it belongs to a page.
typedef struct gometa_entry_t gometa_entry_t;

// The details of a failed call. Free with gometa_error_free.
typedef struct gometa_error_t gometa_error_t;

// A call in flight, and its result. Free with gometa_future_free. Thread-safe.
typedef struct gometa_future_t gometa_future_t;

// Which versions of a key to read, and how. Free with gometa_history_options_free. Not thread-safe while it is changed.
typedef struct gometa_history_options_t gometa_history_options_t;

// A part of the history of a key: at most 1,000 versions, with at most 1 MiB of values. Free with gometa_history_free.
typedef struct gometa_history_t gometa_history_t;

// What a key became at a revision: a value, or nothing. Belongs to a history: do not free it.
typedef struct gometa_key_version_t gometa_key_version_t;

// A log record. Free with gometa_log_record_free.
typedef struct gometa_log_record_t gometa_log_record_t;

// A queue of log records of one or more clients, oldest first. Thread-safe. Free with gometa_log_free.
typedef struct gometa_log_t gometa_log_t;

// The members of the ensemble and its leader, as known to one node. Free with gometa_members_free.
typedef struct gometa_members_t gometa_members_t;

// The members of the ensemble with their roles. Free with gometa_membership_free.
typedef struct gometa_membership_t gometa_membership_t;

// The status of a node. Free with gometa_node_status_free.
typedef struct gometa_node_status_t gometa_node_status_t;

// Options of a client. Free with gometa_options_free. Not thread-safe while they are changed.
typedef struct gometa_options_t gometa_options_t;

// A part of a range, read at one revision: at most 1,000 entries and 1 MiB. Free with gometa_page_free.
typedef struct gometa_page_t gometa_page_t;

// The tags of futures that are ready, in the order of their completion. Thread-safe. Free with gometa_queue_free.
typedef struct gometa_queue_t gometa_queue_t;

// Which keys to read, and how: those that begin with the prefix, are not below the start, and are below the end. Keys
// are ordered by their bytes. Free with gometa_range_free. Not thread-safe while it is changed.
typedef struct gometa_range_t gometa_range_t;

// Options of a read. Free with gometa_read_options_free. Not thread-safe while it is changed.
typedef struct gometa_read_options_t gometa_read_options_t;

// The pages of a range, all at one revision. Free with gometa_scan_free. It keeps its client's connection, also after
// the client is freed.
typedef struct gometa_scan_t gometa_scan_t;

// The settings of the ensemble, ascending by name, as known to one node. Free with gometa_settings_free.
typedef struct gometa_settings_t gometa_settings_t;

// Whether nodes can be stopped. Free with gometa_stop_advice_free.
typedef struct gometa_stop_advice_t gometa_stop_advice_t;

// Reads and writes of keys that take effect as one, if nothing that was read has changed meanwhile. Free with
// gometa_transaction_free. It keeps its client's connection, also after the client is freed.
typedef struct gometa_transaction_t gometa_transaction_t;

// The result of a committed transaction, and of each operation of the executed branch, in their order. Free with
// gometa_txn_result_free.
typedef struct gometa_txn_result_t gometa_txn_result_t;

// Several operations on any keys, executed as one, for gometa_client_commit: those of GOMETA_THEN if every comparison
// holds, which is so without any, else those of GOMETA_OTHERWISE. Each operation sees what earlier ones have written.
// At most 128 comparisons, and 128 operations in each branch, which writes no key twice. It can be committed
// repeatedly. Free with gometa_txn_free. Not thread-safe while it is changed.
typedef struct gometa_txn_t gometa_txn_t;

// A value that a transaction has read. Free with gometa_value_free.
typedef struct gometa_value_t gometa_value_t;

// The result of a write.
typedef struct {
  // The revision of the write: the key's new mod_revision.
  uint64_t revision;
  // The number of writes to the key since it was created, this one included.
  uint64_t version;
} gometa_written_t;

// The result of a deletion.
typedef struct {
  // The revision of the deletion, 0 if the key did not exist.
  uint64_t revision;
  // Whether the key existed.
  bool existed;
} gometa_deleted_t;

// The version of the members. Versions ascend: compare the epochs, then the revisions. Both are 0 for the founding
// members, which is a version like any other.
typedef struct {
  // The epoch of the leader that made the change.
  uint64_t epoch;
  // The revision of the change.
  uint64_t revision;
} gometa_members_version_t;

// The result of the deletion of a range in a transaction.
typedef struct {
  // The revision of the deletion, 0 if there was no key.
  uint64_t revision;
  // The number of deleted keys.
  uint64_t count;
} gometa_deleted_range_t;

// A function that is called when a future is ready. `context` is the pointer given to gometa_future_on_ready.
typedef void (*gometa_callback_t)(void *context, gometa_future_t *future);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the version of the library: "0.1.0". Static. Thread-safe.
const char *gometa_version(void);

// Returns the name of a status: "Ok", "NotFound"; "Unknown" for an unknown number. Static, never NULL. Thread-safe.
const char *gometa_status_name(uint32_t status);

// Returns the status that the failed call returned. GOMETA_OK if `error` is NULL.
gometa_status_t gometa_error_status(const gometa_error_t *error);

// Returns the message: operation, key and cause, one line of UTF-8. Valid as long as the error.
const char *gometa_error_message(const gometa_error_t *error);

// Returns the name of the operation: "set", "get", "build client". Valid as long as the error.
const char *gometa_error_operation(const gometa_error_t *error);

// Returns whether the same call may succeed if it is made again. That is a new call: a write may then be applied
// twice, unless gometa_error_outcome is GOMETA_OUTCOME_NOT_APPLIED.
bool gometa_error_is_retryable(const gometa_error_t *error);

// Returns whether the call may have been applied: GOMETA_OUTCOME_NOT_APPLIED for reads, _UNKNOWN if `error` is NULL.
gometa_outcome_t gometa_error_outcome(const gometa_error_t *error);

// Returns the leader's client address, if the node sent it or the call timed out and the client knows it; else "".
const char *gometa_error_leader_address(const gometa_error_t *error);

// Writes a revision to `*revision`, which may be NULL: with GOMETA_CAS_MISMATCH and GOMETA_ALREADY_EXISTS the key's
// mod_revision, 0 if the key does not exist; with GOMETA_GUARD_FAILED the create_revision of the guard's key, 0 if it
// does not exist; with GOMETA_COMPACTED the oldest revision that can be read; with GOMETA_TOO_LARGE of
// gometa_txn_result_error, the revision at which the result can be read.
//
// Returns whether the error has it. Else `*revision` is unchanged.
bool gometa_error_actual_revision(const gometa_error_t *error, uint64_t *revision);

// Frees an error. NULL is a no-op.
void gometa_error_free(gometa_error_t *error);

// Creates options with defaults. Free `*options` with gometa_options_free, also after gometa_client_new.
gometa_status_t gometa_options_new(gometa_options_t **options, gometa_error_t **error);

// Frees options. NULL is a no-op.
void gometa_options_free(gometa_options_t *options);

// Sets the timeout of a call in milliseconds, retries included. Default 5,000.
//
// Returns GOMETA_INVALID_ARGUMENT if `timeout_ms` is 0 or above 31,536,000,000 (365 days).
gometa_status_t gometa_options_set_timeout_ms(gometa_options_t *options, uint64_t timeout_ms, gometa_error_t **error);

// Sets the timeout of connecting to one node in milliseconds, name resolution and handshake included. Default 2,000.
//
// Returns GOMETA_INVALID_ARGUMENT if `timeout_ms` is 0 or above 365 days.
gometa_status_t gometa_options_set_connect_timeout_ms(gometa_options_t *options,
                                                      uint64_t timeout_ms,
                                                      gometa_error_t **error);

// Sets the keepalive of the connection in milliseconds. While a response is pending and nothing is received for
// `interval_ms` (default 500), the client sends a ping; it closes the connection if nothing is received for another
// `timeout_ms` (default 1,000), and connects to another node. It also closes a connection when a call times out
// that has waited for its response for at least `interval_ms`.
//
// Returns GOMETA_INVALID_ARGUMENT if either is 0 or above 365 days.
gometa_status_t gometa_options_set_keepalive_ms(gometa_options_t *options,
                                                uint64_t interval_ms,
                                                uint64_t timeout_ms,
                                                gometa_error_t **error);

// Sets the application's name, which the nodes log; cut after 16 characters. Default "gometa-c".
//
// Returns GOMETA_INVALID_ARGUMENT if `name` is NULL or not UTF-8.
gometa_status_t gometa_options_set_name(gometa_options_t *options, const char *name, gometa_error_t **error);

// Sets whether the client uses only the given addresses, in their order, and ignores the leader's address and
// the members that nodes send: for tools that examine one node. Default false.
gometa_status_t gometa_options_set_pinned(gometa_options_t *options, bool pinned, gometa_error_t **error);

// Sets the log that receives the client's records. One log may serve several clients, and may be freed before them.
gometa_status_t gometa_options_set_log(gometa_options_t *options, const gometa_log_t *log, gometa_error_t **error);

// Creates a client. Does no IO, so it succeeds even if no node can be reached.
//
// `peers` are the client addresses (RequestAddr) of one or more nodes, separated by commas. `options` may be NULL for
// the defaults; they are copied. Free `*client` with gometa_client_free.
//
// Returns GOMETA_INVALID_ARGUMENT if `peers` has no or an invalid address, GOMETA_INTERNAL if no thread can start.
gometa_status_t gometa_client_new(const char *peers,
                                  const gometa_options_t *options,
                                  gometa_client_t **client,
                                  gometa_error_t **error);

// Creates a second handle on the same client and connection, with a timeout of its own for the calls made through it.
// Its guard is that of `client`. Both handles must be freed with gometa_client_free, in any order. Closing either
// closes both.
//
// Returns GOMETA_INVALID_ARGUMENT if `timeout_ms` is 0 or above 31,536,000,000 (365 days).
gometa_status_t gometa_client_with_timeout(const gometa_client_t *client,
                                           uint64_t timeout_ms,
                                           gometa_client_t **other,
                                           gometa_error_t **error);

// Creates a second handle, like gometa_client_with_timeout, with a guard: every write made through it, transactions and
// set_setting included, is executed only if `key` exists and was created at `create_revision`; else it fails with
// GOMETA_GUARD_FAILED. Reads, transactions that write in neither branch, and changes of the members have no guard. It
// replaces the guard of `client`, and keeps its timeout.
//
// With the key of a lock, it excludes writes of an owner that has lost the lock without noticing: `create_revision` is
// the gometa_entry_create_revision of the lock's key, or the revision of the gometa_client_add that created it.
//
// The writes check key and revision: they return GOMETA_INVALID_ARGUMENT if `key` is empty or `create_revision` is 0,
// GOMETA_TOO_LARGE if the key exceeds its limit.
gometa_status_t gometa_client_with_guard(const gometa_client_t *client,
                                         const void *key,
                                         size_t key_len,
                                         uint64_t create_revision,
                                         gometa_client_t **other,
                                         gometa_error_t **error);

// Closes a client: calls in flight and all later calls fail with GOMETA_CLOSED.
// Then ends the client's session, which blocks for at most 200 ms; called from a callback, it does not block.
// Thread-safe. A second close is a no-op, and so is NULL.
void gometa_client_close(const gometa_client_t *client);

// Frees a client, which must not be in use by any thread. NULL is a no-op.
//
// Calls that are in flight as futures continue; use gometa_client_close to end them. Freeing the last handle ends the
// session, for which it blocks for at most 200 ms; with calls in flight the session ends after the last of them. In a
// forked child it does not touch the parent's session.
void gometa_client_free(gometa_client_t *client);

// Reads a counter of a client and all its handles. GOMETA_INVALID_ARGUMENT if `counter` is not a gometa_counter_t.
gometa_status_t gometa_client_counter(const gometa_client_t *client,
                                      uint32_t counter,
                                      uint64_t *value,
                                      gometa_error_t **error);

// Reads the id of the ensemble's history that a client knows: 0 before the first connection to a formed ensemble. It
// rises when the ensemble is founded anew from old data: then calls in progress return
// GOMETA_HISTORY_CHANGED, and so do those that begin before one of them has returned it; later calls work with the new
// history. Does not wait; works on a closed client too.
gometa_status_t gometa_client_history_id(const gometa_client_t *client, uint64_t *history_id, gometa_error_t **error);

// Creates a key. Blocks. `written` may be NULL.
//
// Returns GOMETA_ALREADY_EXISTS if the key exists, and the errors of gometa_client_set.
gometa_status_t gometa_client_add(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  const void *value,
                                  size_t value_len,
                                  gometa_written_t *written,
                                  gometa_error_t **error);

// Starts gometa_client_add. Read the result with gometa_future_written.
gometa_status_t gometa_client_add_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        const void *value,
                                        size_t value_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Creates or replaces a key. Blocks. `written` may be NULL.
//
// Returns GOMETA_INVALID_ARGUMENT if `key` is NULL or empty, or if `value` is NULL and `value_len` is not 0.
// Returns GOMETA_TOO_LARGE if the key or the value exceeds its limit.
// Returns GOMETA_UNAVAILABLE if no node could be reached within the timeout; the write has not been applied.
// Returns GOMETA_DEADLINE_EXCEEDED if a node was reached and did not answer within the timeout.
// Returns GOMETA_SESSION_EXPIRED if the session ended between two attempts of the write.
// Returns GOMETA_CLOSED if the client is closed.
// After an error, gometa_error_outcome says whether the write may have been applied.
gometa_status_t gometa_client_set(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  const void *value,
                                  size_t value_len,
                                  gometa_written_t *written,
                                  gometa_error_t **error);

// Starts gometa_client_set. Read the result with gometa_future_written.
gometa_status_t gometa_client_set_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        const void *value,
                                        size_t value_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Sets a key if its mod_revision is `revision`; with 0, creates it if it does not exist. Blocks. `written` may be NULL.
//
// Returns GOMETA_CAS_MISMATCH if the revision differs, and the errors of gometa_client_set.
gometa_status_t gometa_client_cas(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  uint64_t revision,
                                  const void *value,
                                  size_t value_len,
                                  gometa_written_t *written,
                                  gometa_error_t **error);

// Starts gometa_client_cas. Read the result with gometa_future_written.
gometa_status_t gometa_client_cas_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        uint64_t revision,
                                        const void *value,
                                        size_t value_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Deletes a key. Succeeds if the key does not exist. Blocks. `deleted` may be NULL.
//
// Returns the errors of gometa_client_set.
gometa_status_t gometa_client_delete(const gometa_client_t *client,
                                     const void *key,
                                     size_t key_len,
                                     gometa_deleted_t *deleted,
                                     gometa_error_t **error);

// Starts gometa_client_delete. Read the result with gometa_future_deleted.
gometa_status_t gometa_client_delete_async(const gometa_client_t *client,
                                           const void *key,
                                           size_t key_len,
                                           gometa_future_t **future,
                                           gometa_error_t **error);

// Deletes a key if its mod_revision equals `revision`. Blocks. `deleted` may be NULL.
//
// Returns GOMETA_CAS_MISMATCH if the revision differs, and the errors of gometa_client_set. If the key does not
// exist, `revision` 0 succeeds, and any other is a mismatch.
gometa_status_t gometa_client_delete_if(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        uint64_t revision,
                                        gometa_deleted_t *deleted,
                                        gometa_error_t **error);

// Starts gometa_client_delete_if. Read the result with gometa_future_deleted.
gometa_status_t gometa_client_delete_if_async(const gometa_client_t *client,
                                              const void *key,
                                              size_t key_len,
                                              uint64_t revision,
                                              gometa_future_t **future,
                                              gometa_error_t **error);

// Reads a key, linearizable. Blocks. Free `*entry` with gometa_entry_free.
//
// Returns GOMETA_NOT_FOUND if the key does not exist.
// Returns GOMETA_INVALID_ARGUMENT if `key` is NULL or empty, GOMETA_TOO_LARGE if it exceeds its limit.
// Returns GOMETA_UNAVAILABLE if no node could be reached within the timeout.
// Returns GOMETA_DEADLINE_EXCEEDED if a node was reached and did not answer within the timeout.
// Returns GOMETA_CLOSED if the client is closed.
gometa_status_t gometa_client_get(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  gometa_entry_t **entry,
                                  gometa_error_t **error);

// Starts gometa_client_get. Read the result with gometa_future_entry.
gometa_status_t gometa_client_get_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Reads a key with options, which may be NULL for the defaults. Otherwise like gometa_client_get.
gometa_status_t gometa_client_get_with(const gometa_client_t *client,
                                       const void *key,
                                       size_t key_len,
                                       const gometa_read_options_t *options,
                                       gometa_entry_t **entry,
                                       gometa_error_t **error);

// Starts gometa_client_get_with. Read the result with gometa_future_entry.
gometa_status_t gometa_client_get_with_async(const gometa_client_t *client,
                                             const void *key,
                                             size_t key_len,
                                             const gometa_read_options_t *options,
                                             gometa_future_t **future,
                                             gometa_error_t **error);

// Reads a key as it was at a revision; 0 means the present. Blocks. Free `*entry` with gometa_entry_free.
//
// Returns GOMETA_NOT_FOUND if the key did not exist at that revision.
// Returns GOMETA_COMPACTED if the revision is older than the ensemble's history; gometa_error_actual_revision returns
// the oldest one that can be read.
// Returns GOMETA_INVALID_ARGUMENT if the revision is in the future, and otherwise the errors of gometa_client_get.
gometa_status_t gometa_client_get_at(const gometa_client_t *client,
                                     const void *key,
                                     size_t key_len,
                                     uint64_t revision,
                                     gometa_entry_t **entry,
                                     gometa_error_t **error);

// Starts gometa_client_get_at. Read the result with gometa_future_entry.
gometa_status_t gometa_client_get_at_async(const gometa_client_t *client,
                                           const void *key,
                                           size_t key_len,
                                           uint64_t revision,
                                           gometa_future_t **future,
                                           gometa_error_t **error);

// Reads the status of a node. Blocks. Free `*status` with gometa_node_status_free.
//
// `address` is the client address of a node, "host:port", which is contacted over a connection of its own; NULL
// means the node that the client is connected to.
//
// Returns GOMETA_INVALID_ARGUMENT if `address` is invalid.
// Returns GOMETA_UNAVAILABLE if the node cannot be reached, GOMETA_CONNECTION_LOST if it closes the connection.
// Returns GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_client_status(const gometa_client_t *client,
                                     const char *address,
                                     gometa_node_status_t **status,
                                     gometa_error_t **error);

// Starts gometa_client_status. Read the result with gometa_future_status.
gometa_status_t gometa_client_status_async(const gometa_client_t *client,
                                           const char *address,
                                           gometa_future_t **future,
                                           gometa_error_t **error);

// Reads the members of the ensemble and its leader, as known to the node that the client is connected to. Blocks.
// Free `*members` with gometa_members_free.
//
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_client_members(const gometa_client_t *client,
                                      gometa_members_t **members,
                                      gometa_error_t **error);

// Starts gometa_client_members. Read the result with gometa_future_members.
gometa_status_t gometa_client_members_async(const gometa_client_t *client,
                                            gometa_future_t **future,
                                            gometa_error_t **error);

// Reads the first page of a range: at most 1,000 entries and 1 MiB. Blocks. Free `*page` with gometa_page_free.
// gometa_client_scan reads all pages.
//
// Returns GOMETA_INVALID_ARGUMENT if the start is above the end, or the revision is in the future; a GOMETA_LOCAL read
// waits for the revision until the timeout.
// Returns GOMETA_TOO_LARGE if the prefix, the start, the end or the delimiter exceeds its limit.
// Returns GOMETA_COMPACTED if the revision is older than the ensemble's history; gometa_error_actual_revision returns
// the oldest one that can be read.
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_client_range(const gometa_client_t *client,
                                    const gometa_range_t *range,
                                    gometa_page_t **page,
                                    gometa_error_t **error);

// Starts gometa_client_range. Read the result with gometa_future_page.
gometa_status_t gometa_client_range_async(const gometa_client_t *client,
                                          const gometa_range_t *range,
                                          gometa_future_t **future,
                                          gometa_error_t **error);

// Counts the keys of a range at one revision, at most its limit; with a delimiter, each group once. Blocks. `count` may
// be NULL. A large range takes several requests, each with the client's timeout.
//
// Returns the errors of gometa_client_range.
gometa_status_t gometa_client_count(const gometa_client_t *client,
                                    const gometa_range_t *range,
                                    uint64_t *count,
                                    gometa_error_t **error);

// Starts gometa_client_count. Read the result with gometa_future_count.
gometa_status_t gometa_client_count_async(const gometa_client_t *client,
                                          const gometa_range_t *range,
                                          gometa_future_t **future,
                                          gometa_error_t **error);

// Deletes the keys that begin with `prefix`, all keys if it is empty. NOT ATOMIC: it deletes one key after the other,
// and keys that are created meanwhile may be left. Blocks. `count`, the number of deleted keys, may be NULL. The
// client's timeout is that of each request.
//
// Returns the errors of gometa_client_range and gometa_client_delete. After an error, keys that were deleted before
// stay deleted; gometa_error_outcome returns GOMETA_OUTCOME_UNKNOWN once a deletion has begun. The same call again is
// safe.
gometa_status_t gometa_client_delete_prefix(const gometa_client_t *client,
                                            const void *prefix,
                                            size_t prefix_len,
                                            uint64_t *count,
                                            gometa_error_t **error);

// Starts gometa_client_delete_prefix. Read the result with gometa_future_count.
gometa_status_t gometa_client_delete_prefix_async(const gometa_client_t *client,
                                                  const void *prefix,
                                                  size_t prefix_len,
                                                  gometa_future_t **future,
                                                  gometa_error_t **error);

// Executes a transaction, once. Blocks. If it writes in neither branch, it is a read of one revision. That a comparison
// does not hold is not an error. Free `*result` with gometa_txn_result_free.
//
// Returns GOMETA_INVALID_ARGUMENT for an empty key, a key that a branch writes twice, a range to read that has a
// revision or read options, or stands between two writes to its keys, a range to compare or to delete that has more
// than a prefix, a start and an end, and a range to delete without any of these, or with keys that the branch writes
// otherwise.
// Returns GOMETA_TOO_LARGE for more than 128 comparisons, more than 128 operations in a branch, more than 1,052,800
// bytes encoded, or if the keys that it compares or may write have more than 8 MiB of values together. Likewise if the
// ranges that it compares, or those that it may delete, have more than 8 MiB of records, if the branch would change
// more than 1,000 keys, or delete ranges whose keys have more than 1 MiB.
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED, GOMETA_SESSION_EXPIRED and GOMETA_CLOSED like
// gometa_client_set.
gometa_status_t gometa_client_commit(const gometa_client_t *client,
                                     const gometa_txn_t *txn,
                                     gometa_txn_result_t **result,
                                     gometa_error_t **error);

// Starts gometa_client_commit. Read the result with gometa_future_txn_result.
gometa_status_t gometa_client_commit_async(const gometa_client_t *client,
                                           const gometa_txn_t *txn,
                                           gometa_future_t **future,
                                           gometa_error_t **error);

// Begins a transaction. Does no IO. Read keys, note writes, and commit; repeat that while gometa_transaction_commit
// sets `*committed` to false. The timeout of `client` begins now, and is that of all attempts together. An attempt that
// writes may read 128 keys and ranges and write 128 keys, within the limits of gometa_client_commit; else commit
// returns GOMETA_TOO_LARGE. Free `*transaction` with gometa_transaction_free.
gometa_status_t gometa_client_transaction(const gometa_client_t *client,
                                          gometa_transaction_t **transaction,
                                          gometa_error_t **error);

// Reads a key: the value that the transaction has set, or that of the revision that it reads at, which its first read
// fixes. `*value` is NULL if the key does not exist. Blocks. Free `*value` with gometa_value_free.
//
// Returns GOMETA_INVALID_ARGUMENT if the key is empty, GOMETA_TOO_LARGE if it is too long.
// Returns GOMETA_COMPACTED if the revision has left the ensemble's history. Then commit writes nothing and begins
// another attempt.
// Returns GOMETA_DEADLINE_EXCEEDED also when the time of all attempts is over.
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_transaction_get(gometa_transaction_t *transaction,
                                       const void *key,
                                       size_t key_len,
                                       gometa_value_t **value,
                                       gometa_error_t **error);

// Starts gometa_transaction_get. Read the result with gometa_future_value.
gometa_status_t gometa_transaction_get_async(gometa_transaction_t *transaction,
                                             const void *key,
                                             size_t key_len,
                                             gometa_future_t **future,
                                             gometa_error_t **error);

// Reads all keys of a range: those that the transaction has set, whose version and revisions are 0, and others as of
// the revision that it reads at. The range has a prefix, a start, an end, a direction, and whether values are read.
// Blocks. Free `*page`, which is the only one, with gometa_page_free.
//
// Returns GOMETA_INVALID_ARGUMENT if the range has anything else.
// Returns GOMETA_TOO_LARGE if the ranges that the transaction reads have more than 1,000 keys together.
// Returns the other errors of gometa_transaction_get.
gometa_status_t gometa_transaction_range(gometa_transaction_t *transaction,
                                         const gometa_range_t *range,
                                         gometa_page_t **page,
                                         gometa_error_t **error);

// Starts gometa_transaction_range. Read the result with gometa_future_page.
gometa_status_t gometa_transaction_range_async(gometa_transaction_t *transaction,
                                               const gometa_range_t *range,
                                               gometa_future_t **future,
                                               gometa_error_t **error);

// Notes that a key is created or replaced by commit, which also checks key and value. Does no IO.
gometa_status_t gometa_transaction_set(gometa_transaction_t *transaction,
                                       const void *key,
                                       size_t key_len,
                                       const void *value,
                                       size_t value_len,
                                       gometa_error_t **error);

// Notes that a key is deleted by commit, if it exists. Does no IO.
gometa_status_t gometa_transaction_delete(gometa_transaction_t *transaction,
                                          const void *key,
                                          size_t key_len,
                                          gometa_error_t **error);

// Makes the writes take effect, once, if nothing that was read has changed. Blocks. `*committed` is false if something
// has changed: then nothing was written, and another attempt has begun, without reads and writes. After true, and after
// an error, the transaction has ended: free it.
//
// Returns GOMETA_DEADLINE_EXCEEDED, with GOMETA_OUTCOME_NOT_APPLIED, if other writes have changed what was read each
// time; with GOMETA_OUTCOME_UNKNOWN, if the time ends while the commit awaits its answer.
// Returns the errors of gometa_client_commit; GOMETA_INVALID_ARGUMENT also if the transaction has ended.
gometa_status_t gometa_transaction_commit(gometa_transaction_t *transaction, bool *committed, gometa_error_t **error);

// Starts gometa_transaction_commit. Read the result with gometa_future_committed. Until the future is ready, only
// gometa_transaction_free may be called with the transaction: a write that is noted meanwhile may be lost. If the
// future is cancelled, or freed before it is ready, the writes may take effect; free the transaction then.
gometa_status_t gometa_transaction_commit_async(gometa_transaction_t *transaction,
                                                gometa_future_t **future,
                                                gometa_error_t **error);

// Frees a transaction; what it has not committed has no effect. Its futures continue. If it is the last handle of its
// client, it ends the session like gometa_client_free. NULL is a no-op.
void gometa_transaction_free(gometa_transaction_t *transaction);

// Reads the members with their roles, as known to the node that the client is connected to. Blocks. Free
// `*membership` with gometa_membership_free.
//
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_client_membership(const gometa_client_t *client,
                                         gometa_membership_t **membership,
                                         gometa_error_t **error);

// Starts gometa_client_membership. Read the result with gometa_future_membership.
gometa_status_t gometa_client_membership_async(const gometa_client_t *client,
                                               gometa_future_t **future,
                                               gometa_error_t **error);

// Makes a learner a voter, also if that has been done. Blocks. Free `*membership`, the members after the change, with
// gometa_membership_free. `follows` is the version of the members that the change is to follow; NULL for any.
//
// Returns GOMETA_FAILED_PRECONDITION if the learner is not up to date, if too few of the voters after the change are,
// or if `follows` is another version; the error's message says what is missing.
// Returns GOMETA_NOT_FOUND if the node is no member.
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
// After an error, gometa_error_outcome says whether the change may have been made. The same call again is safe.
gometa_status_t gometa_client_promote_member(const gometa_client_t *client,
                                             uint64_t node,
                                             const gometa_members_version_t *follows,
                                             gometa_membership_t **membership,
                                             gometa_error_t **error);

// Starts gometa_client_promote_member. Read the result with gometa_future_membership.
gometa_status_t gometa_client_promote_member_async(const gometa_client_t *client,
                                                   uint64_t node,
                                                   const gometa_members_version_t *follows,
                                                   gometa_future_t **future,
                                                   gometa_error_t **error);

// Removes a voter or a learner; succeeds if the node is no member. A leader hands over before it is removed. Blocks.
// `follows` and `membership` are those of gometa_client_promote_member.
//
// Returns GOMETA_FAILED_PRECONDITION also if it is the last voter, and otherwise the errors of
// gometa_client_promote_member, except for GOMETA_NOT_FOUND.
gometa_status_t gometa_client_remove_member(const gometa_client_t *client,
                                            uint64_t node,
                                            const gometa_members_version_t *follows,
                                            gometa_membership_t **membership,
                                            gometa_error_t **error);

// Starts gometa_client_remove_member. Read the result with gometa_future_membership.
gometa_status_t gometa_client_remove_member_async(const gometa_client_t *client,
                                                  uint64_t node,
                                                  const gometa_members_version_t *follows,
                                                  gometa_future_t **future,
                                                  gometa_error_t **error);

// Replaces the voter `node`: makes the learner `replacement` a voter, and removes `node`. Blocks until this is
// recorded. The leader then does it in steps, as soon as the learner is up to date, also after a change of the leader;
// it is done when gometa_client_membership lists `replacement` as a voter and `node` not at all. `follows` and
// `membership` are those of gometa_client_promote_member.
//
// Returns GOMETA_FAILED_PRECONDITION if `replacement` is a voter already, if `node` is a learner, if one of the two
// takes part in another replacement, or if `follows` is another version.
// Returns GOMETA_INVALID_ARGUMENT if `node` and `replacement` are the same, and otherwise the errors of
// gometa_client_promote_member.
gometa_status_t gometa_client_replace_member(const gometa_client_t *client,
                                             uint64_t node,
                                             uint64_t replacement,
                                             const gometa_members_version_t *follows,
                                             gometa_membership_t **membership,
                                             gometa_error_t **error);

// Starts gometa_client_replace_member. Read the result with gometa_future_membership.
gometa_status_t gometa_client_replace_member_async(const gometa_client_t *client,
                                                   uint64_t node,
                                                   uint64_t replacement,
                                                   const gometa_members_version_t *follows,
                                                   gometa_future_t **future,
                                                   gometa_error_t **error);

// Leaves a learner that is to become a voter a learner; a replacement of another member by this one ends. Blocks.
// `follows` and `membership` are those of gometa_client_promote_member.
//
// Returns GOMETA_FAILED_PRECONDITION if the node is a voter already, and the errors of gometa_client_promote_member.
gometa_status_t gometa_client_cancel_promotion(const gometa_client_t *client,
                                               uint64_t node,
                                               const gometa_members_version_t *follows,
                                               gometa_membership_t **membership,
                                               gometa_error_t **error);

// Starts gometa_client_cancel_promotion. Read the result with gometa_future_membership.
gometa_status_t gometa_client_cancel_promotion_async(const gometa_client_t *client,
                                                     uint64_t node,
                                                     const gometa_members_version_t *follows,
                                                     gometa_future_t **future,
                                                     gometa_error_t **error);

// Hands the leadership over to the voter `to`, or with 0 to any other one. Blocks. `leader`, the id of the node that
// leads now, may be NULL.
//
// Returns GOMETA_FAILED_PRECONDITION if no such voter is up to date, with disk space and without a fault, and the
// errors of gometa_client_promote_member. The same call again is safe with a `to` that is not 0; with 0 it hands over
// again.
gometa_status_t gometa_client_transfer_leadership(const gometa_client_t *client,
                                                  uint64_t to,
                                                  uint64_t *leader,
                                                  gometa_error_t **error);

// Starts gometa_client_transfer_leadership. Read the result with gometa_future_leader.
gometa_status_t gometa_client_transfer_leadership_async(const gometa_client_t *client,
                                                        uint64_t to,
                                                        gometa_future_t **future,
                                                        gometa_error_t **error);

// Asks whether the `count` members whose ids are at `nodes` can be stopped together without stopping the ensemble.
// Blocks. Free `*advice` with gometa_stop_advice_free.
//
// Returns GOMETA_NOT_FOUND if one is no member, GOMETA_INVALID_ARGUMENT if `count` is 0.
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_client_safe_to_stop(const gometa_client_t *client,
                                           const uint64_t *nodes,
                                           size_t count,
                                           gometa_stop_advice_t **advice,
                                           gometa_error_t **error);

// Starts gometa_client_safe_to_stop. Read the result with gometa_future_stop_advice.
gometa_status_t gometa_client_safe_to_stop_async(const gometa_client_t *client,
                                                 const uint64_t *nodes,
                                                 size_t count,
                                                 gometa_future_t **future,
                                                 gometa_error_t **error);

// Returns the settings of the ensemble, as the node that the client is connected to has applied them. Blocks. Free
// `*settings` with gometa_settings_free.
//
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
gometa_status_t gometa_client_settings(const gometa_client_t *client,
                                       gometa_settings_t **settings,
                                       gometa_error_t **error);

// Starts gometa_client_settings. Read the result with gometa_future_settings.
gometa_status_t gometa_client_settings_async(const gometa_client_t *client,
                                             gometa_future_t **future,
                                             gometa_error_t **error);

// Changes a setting of the ensemble; it is a write. Blocks. NULL for `value` means the default. `revision`, that of the
// change, may be NULL.
//
// Returns GOMETA_INVALID_ARGUMENT if there is no setting `name`, or the value is out of its bounds; the error's message
// lists the names or the bounds.
// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED, GOMETA_SESSION_EXPIRED and GOMETA_CLOSED like
// gometa_client_set.
gometa_status_t gometa_client_set_setting(const gometa_client_t *client,
                                          const char *name,
                                          const uint64_t *value,
                                          uint64_t *revision,
                                          gometa_error_t **error);

// Starts gometa_client_set_setting. Read the result with gometa_future_revision.
gometa_status_t gometa_client_set_setting_async(const gometa_client_t *client,
                                                const char *name,
                                                const uint64_t *value,
                                                gometa_future_t **future,
                                                gometa_error_t **error);

// Creates options of a read: GOMETA_LINEARIZABLE, no minimum revision. Free with gometa_read_options_free.
gometa_status_t gometa_read_options_new(gometa_read_options_t **options, gometa_error_t **error);

// Frees options. NULL is a no-op.
void gometa_read_options_free(gometa_read_options_t *options);

// Sets the consistency. Returns GOMETA_INVALID_ARGUMENT if `consistency` is not a gometa_consistency_t.
gometa_status_t gometa_read_options_set_consistency(gometa_read_options_t *options,
                                                    uint32_t consistency,
                                                    gometa_error_t **error);

// Sets the minimum revision of a GOMETA_LOCAL read: the node answers when it has applied this revision, or the call
// times out. Default 0; a higher revision that the client has seen takes its place. Others ignore it.
gometa_status_t gometa_read_options_set_min_revision(gometa_read_options_t *options,
                                                     uint64_t min_revision,
                                                     gometa_error_t **error);

// Creates a range of all keys, read at the present. Free with gometa_range_free.
gometa_status_t gometa_range_new(gometa_range_t **range, gometa_error_t **error);

// Frees a range. NULL is a no-op.
void gometa_range_free(gometa_range_t *range);

// Sets the prefix: keys that do not begin with it are left out. Empty, the default, means no bound.
gometa_status_t gometa_range_set_prefix(gometa_range_t *range,
                                        const void *prefix,
                                        size_t prefix_len,
                                        gometa_error_t **error);

// Sets the start: keys below it are left out. Empty, the default, means no bound.
gometa_status_t gometa_range_set_start(gometa_range_t *range,
                                       const void *start,
                                       size_t start_len,
                                       gometa_error_t **error);

// Sets the end: this key and those above it are left out. Empty, the default, means no bound.
gometa_status_t gometa_range_set_end(gometa_range_t *range, const void *end, size_t end_len, gometa_error_t **error);

// Sets the revision to read at. 0, the default, means the present.
gometa_status_t gometa_range_set_at_revision(gometa_range_t *range, uint64_t at_revision, gometa_error_t **error);

// Sets the maximum number of entries. 0, the default, means no maximum; a page has at most 1,000 in any case.
gometa_status_t gometa_range_set_limit(gometa_range_t *range, uint64_t limit, gometa_error_t **error);

// Sets whether the range is read in descending order, from its last key on. Default false.
gometa_status_t gometa_range_set_reverse(gometa_range_t *range, bool reverse, gometa_error_t **error);

// Sets whether values are left out: the entries then have empty ones. Default false.
gometa_status_t gometa_range_set_keys_only(gometa_range_t *range, bool keys_only, gometa_error_t **error);

// Sets the delimiter, at most 16 bytes: keys that share what comes before its first occurrence behind the prefix are
// one entry, a group (gometa_entry_is_group). So "/" reads one level of a hierarchy. Empty, the default, means none.
gometa_status_t gometa_range_set_delimiter(gometa_range_t *range,
                                           const void *delimiter,
                                           size_t delimiter_len,
                                           gometa_error_t **error);

// Sets the options of the read, which are copied; of a scan, those of its first page. NULL means the defaults.
gometa_status_t gometa_range_set_read_options(gometa_range_t *range,
                                              const gometa_read_options_t *options,
                                              gometa_error_t **error);

// Creates a transaction without comparisons and operations. Free `*txn` with gometa_txn_free.
gometa_status_t gometa_txn_new(gometa_txn_t **txn, gometa_error_t **error);

// Frees a transaction. NULL is a no-op.
void gometa_txn_free(gometa_txn_t *txn);

// Adds a comparison of the revision of the last write to a key; 0 if the key does not exist. So GOMETA_EQUAL with 0
// means that it does not exist, GOMETA_GREATER with 0 that it does.
//
// Returns GOMETA_INVALID_ARGUMENT if `relation` is not a gometa_relation_t. Keys and limits are checked by commit.
gometa_status_t gometa_txn_when_mod_revision(gometa_txn_t *txn,
                                             const void *key,
                                             size_t key_len,
                                             uint32_t relation,
                                             uint64_t revision,
                                             gometa_error_t **error);

// Adds a comparison of the revision at which a key was created, like gometa_txn_when_mod_revision.
gometa_status_t gometa_txn_when_create_revision(gometa_txn_t *txn,
                                                const void *key,
                                                size_t key_len,
                                                uint32_t relation,
                                                uint64_t revision,
                                                gometa_error_t **error);

// Adds a comparison of a key's value, like gometa_txn_when_mod_revision. It never holds if the key does not exist.
gometa_status_t gometa_txn_when_value(gometa_txn_t *txn,
                                      const void *key,
                                      size_t key_len,
                                      uint32_t relation,
                                      const void *value,
                                      size_t value_len,
                                      gometa_error_t **error);

// Adds a comparison of a range, which is copied: it holds if the range has exactly `count` keys, and none of them was
// written after `revision`, so that the range is as a scan at that revision found it. With a `count` of 0: the range
// has no key. All such comparisons of a transaction have at most 1,000 keys together. The range has a prefix, a start
// and an end only: else commit returns GOMETA_INVALID_ARGUMENT.
gometa_status_t gometa_txn_when_range(gometa_txn_t *txn,
                                      const gometa_range_t *range,
                                      uint64_t count,
                                      uint64_t revision,
                                      gometa_error_t **error);

// Adds an operation to a branch: creates or replaces a key. Its result is a GOMETA_RESULT_WRITTEN.
//
// Returns GOMETA_INVALID_ARGUMENT if `branch` is not a gometa_branch_t. Keys and limits are checked by commit.
gometa_status_t gometa_txn_set(gometa_txn_t *txn,
                               uint32_t branch,
                               const void *key,
                               size_t key_len,
                               const void *value,
                               size_t value_len,
                               gometa_error_t **error);

// Adds an operation, like gometa_txn_set: deletes a key, if it exists. Its result is a GOMETA_RESULT_DELETED.
gometa_status_t gometa_txn_delete(gometa_txn_t *txn,
                                  uint32_t branch,
                                  const void *key,
                                  size_t key_len,
                                  gometa_error_t **error);

// Adds an operation, like gometa_txn_set: deletes all keys of a range, which is copied, at most 1,000 less the number
// of the other writes of the branch. The range has a prefix, a start or an end, and nothing else. The branch writes
// none of its keys otherwise. Its result is a GOMETA_RESULT_DELETED_RANGE.
gometa_status_t gometa_txn_delete_range(gometa_txn_t *txn,
                                        uint32_t branch,
                                        const gometa_range_t *range,
                                        gometa_error_t **error);

// Adds an operation, like gometa_txn_set: reads a key. Its result is a GOMETA_RESULT_ENTRY or a GOMETA_RESULT_ABSENT.
gometa_status_t gometa_txn_get(gometa_txn_t *txn,
                               uint32_t branch,
                               const void *key,
                               size_t key_len,
                               gometa_error_t **error);

// Adds an operation, like gometa_txn_set: reads the first page of a range, which is copied. The range has no revision
// and no read options, and must not stand between two writes to its keys. Its result is a GOMETA_RESULT_PAGE.
gometa_status_t gometa_txn_range(gometa_txn_t *txn,
                                 uint32_t branch,
                                 const gometa_range_t *range,
                                 gometa_error_t **error);

// Sets the options of a transaction that writes in neither branch, which are copied. On others they have no effect.
// NULL means the defaults.
gometa_status_t gometa_txn_set_read_options(gometa_txn_t *txn,
                                            const gometa_read_options_t *options,
                                            gometa_error_t **error);

// Returns whether every comparison held, so that GOMETA_THEN was executed; else GOMETA_OTHERWISE was.
bool gometa_txn_result_succeeded(const gometa_txn_result_t *result);

// Returns the revision at which the transaction was executed; if it writes in neither branch, the one that was read.
uint64_t gometa_txn_result_revision(const gometa_txn_result_t *result);

// Returns the number of operations that were executed, each of which has a result.
size_t gometa_txn_result_count(const gometa_txn_result_t *result);

// Returns what the result of an operation is, by index, in the order of the branch.
gometa_result_kind_t gometa_txn_result_kind(const gometa_txn_result_t *result, size_t index);

// Writes the result of a set to `*written`, which may be NULL. Returns whether there is one: else it is unchanged.
bool gometa_txn_result_written(const gometa_txn_result_t *result, size_t index, gometa_written_t *written);

// Writes the result of a delete to `*deleted`, which may be NULL. Returns whether there is one: else it is unchanged.
bool gometa_txn_result_deleted(const gometa_txn_result_t *result, size_t index, gometa_deleted_t *deleted);

// Writes the result of the deletion of a range to `*deleted`, which may be NULL. Returns whether there is one: else it
// is unchanged.
bool gometa_txn_result_deleted_range(const gometa_txn_result_t *result, size_t index, gometa_deleted_range_t *deleted);

// Returns the entry that a get has read. Valid as long as the result: do not free it. NULL if the key did not exist,
// and if it is another result.
const gometa_entry_t *gometa_txn_result_entry(const gometa_txn_result_t *result, size_t index);

// Returns the page that a range has read. Valid as long as the result: do not free it. NULL if it is another result.
const gometa_page_t *gometa_txn_result_page(const gometa_txn_result_t *result, size_t index);

// Returns why a result was left out. Valid as long as the result: do not free it. NULL if it is another result.
//
// GOMETA_TOO_LARGE: the response is full; read the rest at the revision of gometa_error_actual_revision.
// GOMETA_COMPACTED: the ensemble's history begins after the transaction by now.
const gometa_error_t *gometa_txn_result_error(const gometa_txn_result_t *result, size_t index);

// Frees a result, with its entries, pages and errors. NULL is a no-op.
void gometa_txn_result_free(gometa_txn_result_t *result);

// Returns the key, and its length in `*len`, which may be NULL. Valid as long as the entry. NULL if `entry` is NULL.
const uint8_t *gometa_entry_key(const gometa_entry_t *entry, size_t *len);

// Returns the value, and its length in `*len`, which may be NULL. Not NULL if it is empty; NULL if `entry` is NULL.
const uint8_t *gometa_entry_value(const gometa_entry_t *entry, size_t *len);

// Returns the number of writes to the key since it was created.
uint64_t gometa_entry_version(const gometa_entry_t *entry);

// Returns the revision at which the key was created.
uint64_t gometa_entry_create_revision(const gometa_entry_t *entry);

// Returns the revision of the last write to the key, which gometa_client_cas compares.
uint64_t gometa_entry_mod_revision(const gometa_entry_t *entry);

// Returns whether this is a group: it stands for all keys that begin with its key, which ends with the delimiter of
// the range (gometa_range_set_delimiter). It has no value, version and revisions.
bool gometa_entry_is_group(const gometa_entry_t *entry);

// Frees an entry, but not one of a page, which gometa_page_free frees. NULL is a no-op.
void gometa_entry_free(gometa_entry_t *entry);

// Returns the bytes of a value, and their length in `*len`, which may be NULL. Not NULL if it is empty. NULL and 0 if
// `value` is NULL, as it is if the key does not exist.
const uint8_t *gometa_value_bytes(const gometa_value_t *value, size_t *len);

// Frees a value. NULL is a no-op.
void gometa_value_free(gometa_value_t *value);

// Returns the number of entries. A page may be short, even empty, and not be the last one.
size_t gometa_page_count(const gometa_page_t *page);

// Returns an entry by index, in the order of the range. Valid as long as the page: do not free it. NULL if `index` is
// out of range.
const gometa_entry_t *gometa_page_entry(const gometa_page_t *page, size_t index);

// Returns where the next page begins, and its length in `*len`, which may be NULL: the `start` of the next page, or
// its `end` if the range is reversed. Valid as long as the page. NULL and 0 after the last page.
const uint8_t *gometa_page_next(const gometa_page_t *page, size_t *len);

// Returns the revision that the page was read at, for gometa_range_set_at_revision.
uint64_t gometa_page_revision(const gometa_page_t *page);

// Frees a page and its entries. NULL is a no-op.
void gometa_page_free(gometa_page_t *page);

// Creates options: the newest versions, with their values. Free with gometa_history_options_free.
gometa_status_t gometa_history_options_new(gometa_history_options_t **options, gometa_error_t **error);

// Frees options. NULL is a no-op.
void gometa_history_options_free(gometa_history_options_t *options);

// Sets that only versions with a lower revision are read: gometa_history_next_before of the page before. 0, the
// default, means all.
gometa_status_t gometa_history_options_set_before_revision(gometa_history_options_t *options,
                                                           uint64_t before_revision,
                                                           gometa_error_t **error);

// Sets the maximum number of versions. 0, the default, and whatever is above 1,000, means 1,000.
gometa_status_t gometa_history_options_set_limit(gometa_history_options_t *options,
                                                 uint64_t limit,
                                                 gometa_error_t **error);

// Sets whether values are left out: the versions then have empty ones, and their sizes. Default false.
gometa_status_t gometa_history_options_set_keys_only(gometa_history_options_t *options,
                                                     bool keys_only,
                                                     gometa_error_t **error);

// Sets the options of the read, which are copied. NULL means the defaults.
gometa_status_t gometa_history_options_set_read_options(gometa_history_options_t *options,
                                                        const gometa_read_options_t *read_options,
                                                        gometa_error_t **error);

// Reads the versions of a key that the ensemble keeps, newest first: one page. A deletion is a version too. Blocks.
// `options` may be NULL. Free `*history` with gometa_history_free.
//
// Versions never change, so pages have no gap and no duplicate, whenever each is read. If the ensemble drops history
// meanwhile, the list ends earlier. It is no error if the key does not exist.
//
// Returns GOMETA_INVALID_ARGUMENT, GOMETA_TOO_LARGE, GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED
// like gometa_client_get.
gometa_status_t gometa_client_history(const gometa_client_t *client,
                                      const void *key,
                                      size_t key_len,
                                      const gometa_history_options_t *options,
                                      gometa_history_t **history,
                                      gometa_error_t **error);

// Starts gometa_client_history. Read the result with gometa_future_history.
gometa_status_t gometa_client_history_async(const gometa_client_t *client,
                                            const void *key,
                                            size_t key_len,
                                            const gometa_history_options_t *options,
                                            gometa_future_t **future,
                                            gometa_error_t **error);

// Returns the number of versions. 0 if the key never existed, or was deleted before the history begins.
size_t gometa_history_count(const gometa_history_t *history);

// Returns a version by index, newest first. Valid as long as the history: do not free it. NULL if `index` is out of
// range.
const gometa_key_version_t *gometa_history_version(const gometa_history_t *history, size_t index);

// Returns the revision for gometa_history_options_set_before_revision of the next page. 0 after the last page.
uint64_t gometa_history_next_before(const gometa_history_t *history);

// Returns the revision that was read at.
uint64_t gometa_history_revision(const gometa_history_t *history);

// Returns where the ensemble's history begins. The version that the key had at that revision is the oldest one that is
// kept, whatever its own revision.
uint64_t gometa_history_oldest_revision(const gometa_history_t *history);

// Frees a history and its versions. NULL is a no-op.
void gometa_history_free(gometa_history_t *history);

// Returns the revision that wrote the key, its mod_revision then, or deleted it.
uint64_t gometa_key_version_revision(const gometa_key_version_t *version);

// Returns whether the key was deleted. It then has no value, version and create_revision.
bool gometa_key_version_deleted(const gometa_key_version_t *version);

// Returns the number of writes since the key was created, from 1; 0 of a deletion.
uint64_t gometa_key_version_number(const gometa_key_version_t *version);

// Returns the revision at which the key was created; 0 of a deletion.
uint64_t gometa_key_version_create_revision(const gometa_key_version_t *version);

// Returns the value, and its length in `*len`, which may be NULL. Valid as long as the history. Not NULL if it is empty
// or was not read; NULL if `version` is NULL.
const uint8_t *gometa_key_version_value(const gometa_key_version_t *version, size_t *len);

// Returns the size of the value in bytes, also if values were not read.
uint64_t gometa_key_version_value_size(const gometa_key_version_t *version);

// Creates a scan of a range, which is copied. Does no IO: gometa_scan_next reads the pages. Free `*scan` with
// gometa_scan_free. Timeouts are those of `client`, for each page.
//
// Returns GOMETA_INVALID_ARGUMENT if `range` is NULL.
gometa_status_t gometa_client_scan(const gometa_client_t *client,
                                   const gometa_range_t *range,
                                   gometa_scan_t **scan,
                                   gometa_error_t **error);

// Reads the next page of a scan; after the last one `*page` is NULL. Blocks. Free `*page` with gometa_page_free. The
// first page fixes the revision of the others; each is requested while the one before is used.
//
// Returns the errors of gometa_client_range; GOMETA_COMPACTED also if the scan takes longer than history is kept.
// After an error the scan has ended: further calls return GOMETA_OK and a NULL page. After the client is closed, a
// page that has been read ahead may be returned before GOMETA_CLOSED.
gometa_status_t gometa_scan_next(gometa_scan_t *scan, gometa_page_t **page, gometa_error_t **error);

// Starts gometa_scan_next. Read the result with gometa_future_page. Start one after the other: the pages of futures
// that are in flight together come in any order. If the future is cancelled, or freed before it is ready, the next call
// returns the page.
gometa_status_t gometa_scan_next_async(gometa_scan_t *scan, gometa_future_t **future, gometa_error_t **error);

// Frees a scan, and cancels the request of the page that is read ahead. Futures of its pages that are in flight
// continue. If it is the last handle of its client, it ends the session like gometa_client_free. NULL is a no-op.
void gometa_scan_free(gometa_scan_t *scan);

// Returns the role of the node that answered.
gometa_role_t gometa_members_role(const gometa_members_t *members);

// Returns the leader's client address, empty if it is unknown. Valid as long as `members`.
const char *gometa_members_leader_address(const gometa_members_t *members);

// Returns the number of members, the answering node included. Their order is fixed within this object.
size_t gometa_members_count(const gometa_members_t *members);

// Returns the id of a member by index, 0 if `index` is out of range.
uint64_t gometa_members_node_id(const gometa_members_t *members, size_t index);

// Returns the peer address (MessageAddr) of the member at `index`; logs name members by it. Empty if out of range.
const char *gometa_members_message_address(const gometa_members_t *members, size_t index);

// Returns the client address (RequestAddr) of a member by index. Empty if unknown or `index` is out of range.
const char *gometa_members_request_address(const gometa_members_t *members, size_t index);

// Frees a list of members. NULL is a no-op.
void gometa_members_free(gometa_members_t *members);

// Returns the version of the members, for the parameter `follows` of a change.
gometa_members_version_t gometa_membership_version(const gometa_membership_t *membership);

// Returns whether the latest change is known to be committed.
bool gometa_membership_is_committed(const gometa_membership_t *membership);

// Returns whether the call that returned `membership` has changed it. False for gometa_client_membership, and if
// there was nothing to change.
bool gometa_membership_has_changed(const gometa_membership_t *membership);

// Returns the number of members. They are in ascending order of their ids.
size_t gometa_membership_count(const gometa_membership_t *membership);

// Returns the id of a member by index, 0 if `index` is out of range.
uint64_t gometa_membership_node_id(const gometa_membership_t *membership, size_t index);

// Returns whether the member at `index` is a voter, which counts in quorums, and not a learner.
bool gometa_membership_is_voter(const gometa_membership_t *membership, size_t index);

// Returns whether the member at `index` is a learner that the leader makes a voter as soon as it is up to date.
bool gometa_membership_is_promised(const gometa_membership_t *membership, size_t index);

// Returns the id of the member that is removed when the member at `index` is a voter, since this one takes its place;
// 0 if there is none.
uint64_t gometa_membership_replaces(const gometa_membership_t *membership, size_t index);

// Returns the identity of the data directory of the member at `index`, 16 bytes, and its length in `*len`, which may
// be NULL. The length is 0 for a voter that was absent when the ensemble was formed, and if `index` is out of range.
// Valid as long as `membership`. NULL if `membership` is NULL.
const uint8_t *gometa_membership_incarnation(const gometa_membership_t *membership, size_t index, size_t *len);

// Returns the address for votes (ElectionAddr) of the member at `index`. Empty if out of range.
const char *gometa_membership_election_address(const gometa_membership_t *membership, size_t index);

// Returns the peer address (MessageAddr) of the member at `index`; logs name members by it. Empty if out of range.
const char *gometa_membership_message_address(const gometa_membership_t *membership, size_t index);

// Returns the client address (RequestAddr) of the member at `index`. Empty if out of range.
const char *gometa_membership_request_address(const gometa_membership_t *membership, size_t index);

// Frees a membership. NULL is a no-op.
void gometa_membership_free(gometa_membership_t *membership);

// Returns whether the other voters are a quorum that is connected and has every committed write.
bool gometa_stop_advice_is_safe(const gometa_stop_advice_t *advice);

// Returns one line: why it is not safe. Empty if it is. Valid as long as `advice`.
const char *gometa_stop_advice_reason(const gometa_stop_advice_t *advice);

// Frees an advice. NULL is a no-op.
void gometa_stop_advice_free(gometa_stop_advice_t *advice);

// Returns the node's id.
uint64_t gometa_node_status_node_id(const gometa_node_status_t *status);

// Returns the node's role.
gometa_role_t gometa_node_status_role(const gometa_node_status_t *status);

// Returns the id of the leader known to the node, 0 if none.
uint64_t gometa_node_status_leader_id(const gometa_node_status_t *status);

// Returns the node's current epoch.
uint64_t gometa_node_status_epoch(const gometa_node_status_t *status);

// Returns the position of the last log entry that is durable on the node. Not every log entry changes a key.
uint64_t gometa_node_status_last_revision(const gometa_node_status_t *status);

// Returns the position of the last log entry that the node knows to be committed.
uint64_t gometa_node_status_commit_revision(const gometa_node_status_t *status);

// Returns the position of the last log entry that the node has applied.
uint64_t gometa_node_status_applied_revision(const gometa_node_status_t *status);

// Returns the number of client sessions.
uint64_t gometa_node_status_sessions(const gometa_node_status_t *status);

// Returns the number of keys.
uint64_t gometa_node_status_keys(const gometa_node_status_t *status);

// Returns a gometa_storage_t, refreshed about once a second; 0 if there is no such figure.
uint64_t gometa_node_status_storage(const gometa_node_status_t *status, uint32_t figure);

// Returns whether the node counts in quorums.
bool gometa_node_status_is_voter(const gometa_node_status_t *status);

// Returns one line: what the node waits for, or why it does not count in quorums. Empty if it is healthy.
const char *gometa_node_status_detail(const gometa_node_status_t *status);

// Returns one line: the change of the members that is not made yet, and what it waits for. Empty if there is none.
// Valid as long as the status.
const char *gometa_node_status_pending_change(const gometa_node_status_t *status);

// Returns the version of the server. Valid as long as the status.
const char *gometa_node_status_version(const gometa_node_status_t *status);

// Returns the hash of all data at the applied revision, 16 bytes, and its length in `*len`, which may be NULL. Nodes
// with the same applied revision have the same hash. Valid as long as the status. NULL if `status` is NULL.
const uint8_t *gometa_node_status_state_hash(const gometa_node_status_t *status, size_t *len);

// Returns the number of peers, the other members of the ensemble.
size_t gometa_node_status_peer_count(const gometa_node_status_t *status);

// Returns the id of a peer by index, 0 if `index` is out of range.
uint64_t gometa_node_status_peer_id(const gometa_node_status_t *status, size_t index);

// Returns the peer address (MessageAddr) of the peer at `index`; logs name peers by it. Empty if out of range.
const char *gometa_node_status_peer_message_address(const gometa_node_status_t *status, size_t index);

// Returns the client address (RequestAddr) of a peer by index. Empty if unknown or `index` is out of range.
const char *gometa_node_status_peer_request_address(const gometa_node_status_t *status, size_t index);

// Returns whether a peer, by index, counts in quorums.
bool gometa_node_status_peer_is_voter(const gometa_node_status_t *status, size_t index);

// If the node leads: whether the peer at `index` follows it. Otherwise: whether the peer at `index` is its leader.
// This is not a test of the network.
bool gometa_node_status_peer_connected(const gometa_node_status_t *status, size_t index);

// If the node leads: the last revision that the peer at `index` has acknowledged as durable. Otherwise 0.
uint64_t gometa_node_status_peer_acked_revision(const gometa_node_status_t *status, size_t index);

// Returns one line about a peer, by index. Empty if it is healthy. Valid as long as the status.
const char *gometa_node_status_peer_detail(const gometa_node_status_t *status, size_t index);

// Frees a status. NULL is a no-op.
void gometa_node_status_free(gometa_node_status_t *status);

// Returns the number of settings.
size_t gometa_settings_count(const gometa_settings_t *settings);

// Returns the name of a setting by index, which has its unit. Valid as long as `settings`. Empty if out of range.
const char *gometa_settings_name(const gometa_settings_t *settings, size_t index);

// Returns the value of a setting by index: the default unless it is set. 0 if `index` is out of range.
uint64_t gometa_settings_value(const gometa_settings_t *settings, size_t index);

// Returns whether a setting is set, by index, maybe to its default. False if `index` is out of range.
bool gometa_settings_is_set(const gometa_settings_t *settings, size_t index);

// Returns the default of a setting by index, 0 if `index` is out of range.
uint64_t gometa_settings_default(const gometa_settings_t *settings, size_t index);

// Returns the lowest value of a setting by index, 0 if `index` is out of range.
uint64_t gometa_settings_min(const gometa_settings_t *settings, size_t index);

// Returns the highest value of a setting by index, 0 if `index` is out of range.
uint64_t gometa_settings_max(const gometa_settings_t *settings, size_t index);

// Frees a list of settings. NULL is a no-op.
void gometa_settings_free(gometa_settings_t *settings);

// Waits until the future is ready, for at most `timeout_ms`; 0 means not at all. A future is ready when its call
// has succeeded or failed, which happens within the call's timeout.
//
// Returns GOMETA_OK if the future is ready, GOMETA_DEADLINE_EXCEEDED if it is not.
gometa_status_t gometa_future_wait(const gometa_future_t *future, uint64_t timeout_ms, gometa_error_t **error);

// Returns whether the future is ready. False if `future` is NULL, and in a forked child.
bool gometa_future_is_ready(const gometa_future_t *future);

// Cancels the call: unless the future is ready, it becomes ready with GOMETA_CANCELLED. A write may still be applied.
// NULL is a no-op.
void gometa_future_cancel(const gometa_future_t *future);

// Frees a future. Its call is cancelled if it is in flight, and its callback or queue is no longer notified. A callback
// that is already running is not waited for, so free the future in its callback or after it. NULL is a no-op.
void gometa_future_free(gometa_future_t *future);

// Calls `callback` with `context` and the future once it is ready, also if it is ready already.
//
// Callbacks run on a thread of the library, never on the calling thread, one at a time for each client. They may free
// the future, and may make blocking calls, which delay the client's other callbacks.
//
// Returns GOMETA_INVALID_ARGUMENT if `callback` is NULL or the future has a callback or a queue already.
gometa_status_t gometa_future_on_ready(gometa_future_t *future,
                                       void *context,
                                       gometa_callback_t callback,
                                       gometa_error_t **error);

// Puts `tag` into `queue` once the future is ready, also if it is ready already. The caller chooses the tag.
//
// Returns GOMETA_INVALID_ARGUMENT if `queue` is NULL or the future has a callback or a queue already.
gometa_status_t gometa_future_enqueue(const gometa_future_t *future,
                                      const gometa_queue_t *queue,
                                      uint64_t tag,
                                      gometa_error_t **error);

// Reads the result of add, set or cas. It can be read repeatedly. `written` may be NULL.
//
// Returns the call's error if it failed, GOMETA_INVALID_ARGUMENT if the future is not ready or of another operation.
gometa_status_t gometa_future_written(const gometa_future_t *future, gometa_written_t *written, gometa_error_t **error);

// Reads the result of delete or delete_if, like gometa_future_written. `deleted` may be NULL.
gometa_status_t gometa_future_deleted(const gometa_future_t *future, gometa_deleted_t *deleted, gometa_error_t **error);

// Reads the result of get, get_with or get_at, like gometa_future_written. Free `*entry` with gometa_entry_free.
gometa_status_t gometa_future_entry(const gometa_future_t *future, gometa_entry_t **entry, gometa_error_t **error);

// Reads the result of range or of scan_next, like gometa_future_written; after the last page of a scan `*page` is NULL.
// Free `*page` with gometa_page_free.
gometa_status_t gometa_future_page(const gometa_future_t *future, gometa_page_t **page, gometa_error_t **error);

// Reads the result of history, like gometa_future_written. Free `*history` with gometa_history_free.
gometa_status_t gometa_future_history(const gometa_future_t *future,
                                      gometa_history_t **history,
                                      gometa_error_t **error);

// Reads the result of count or delete_prefix, like gometa_future_written. `count` may be NULL.
gometa_status_t gometa_future_count(const gometa_future_t *future, uint64_t *count, gometa_error_t **error);

// Reads the result of commit, like gometa_future_written. Free `*result` with gometa_txn_result_free.
gometa_status_t gometa_future_txn_result(const gometa_future_t *future,
                                         gometa_txn_result_t **result,
                                         gometa_error_t **error);

// Reads the result of transaction_get, like gometa_future_written; `*value` is NULL if the key does not exist. Free
// `*value` with gometa_value_free.
gometa_status_t gometa_future_value(const gometa_future_t *future, gometa_value_t **value, gometa_error_t **error);

// Reads the result of transaction_commit, like gometa_future_written.
gometa_status_t gometa_future_committed(const gometa_future_t *future, bool *committed, gometa_error_t **error);

// Reads the result of status, like gometa_future_written. Free `*status` with gometa_node_status_free.
gometa_status_t gometa_future_status(const gometa_future_t *future,
                                     gometa_node_status_t **status,
                                     gometa_error_t **error);

// Reads the result of members, like gometa_future_written. Free `*members` with gometa_members_free.
gometa_status_t gometa_future_members(const gometa_future_t *future,
                                      gometa_members_t **members,
                                      gometa_error_t **error);

// Reads the result of membership, promote_member, remove_member, replace_member or cancel_promotion, like
// gometa_future_written. Free `*membership` with gometa_membership_free.
gometa_status_t gometa_future_membership(const gometa_future_t *future,
                                         gometa_membership_t **membership,
                                         gometa_error_t **error);

// Reads the result of transfer_leadership, like gometa_future_written. `leader` may be NULL.
gometa_status_t gometa_future_leader(const gometa_future_t *future, uint64_t *leader, gometa_error_t **error);

// Reads the result of safe_to_stop, like gometa_future_written. Free `*advice` with gometa_stop_advice_free.
gometa_status_t gometa_future_stop_advice(const gometa_future_t *future,
                                          gometa_stop_advice_t **advice,
                                          gometa_error_t **error);

// Reads the result of settings, like gometa_future_written. Free `*settings` with gometa_settings_free.
gometa_status_t gometa_future_settings(const gometa_future_t *future,
                                       gometa_settings_t **settings,
                                       gometa_error_t **error);

// Reads the result of set_setting, like gometa_future_written. `revision` may be NULL.
gometa_status_t gometa_future_revision(const gometa_future_t *future, uint64_t *revision, gometa_error_t **error);

// Creates a queue. Free `*queue` with gometa_queue_free.
//
// Returns GOMETA_RESOURCE_EXHAUSTED if no file descriptor is available.
gometa_status_t gometa_queue_new(gometa_queue_t **queue, gometa_error_t **error);

// Returns a file descriptor for poll or epoll, readable while it has a tag or is closed (level-triggered). Do not
// read from it or close it. Valid as long as the queue. -1 if `queue` is NULL.
int32_t gometa_queue_fd(const gometa_queue_t *queue);

// Takes the next tag; waits for at most `timeout_ms`, 0 means not at all.
//
// Returns GOMETA_DEADLINE_EXCEEDED if there is no tag, GOMETA_CLOSED if the queue is closed.
gometa_status_t gometa_queue_next(const gometa_queue_t *queue,
                                  uint64_t timeout_ms,
                                  uint64_t *tag,
                                  gometa_error_t **error);

// Closes a queue and drops its tags: waiting threads are woken, and gometa_queue_next returns GOMETA_CLOSED.
// Thread-safe. A second close is a no-op, and so is NULL.
void gometa_queue_close(const gometa_queue_t *queue);

// Frees a queue, which no thread may be using. Tags of futures that complete later are dropped. NULL is a no-op.
void gometa_queue_free(gometa_queue_t *queue);

// Creates a log for records up to `level`, a gometa_log_level_t. It holds 1,000 records. When it is full, new records
// are dropped; the next one that fits is preceded by one with the number dropped. Free `*log` with gometa_log_free.
//
// Returns GOMETA_INVALID_ARGUMENT if `level` is not a gometa_log_level_t, GOMETA_RESOURCE_EXHAUSTED without descriptor.
gometa_status_t gometa_log_new(uint32_t level, gometa_log_t **log, gometa_error_t **error);

// Returns a file descriptor for poll or epoll, readable while it has a record or is closed (level-triggered). Do not
// read from it or close it. Valid as long as the log. -1 if `log` is NULL.
int32_t gometa_log_fd(const gometa_log_t *log);

// Takes the next record; waits for at most `timeout_ms`, 0 means not at all. Free with gometa_log_record_free.
//
// Returns GOMETA_DEADLINE_EXCEEDED if there is no record, GOMETA_CLOSED if the log is closed and empty.
gometa_status_t gometa_log_next(const gometa_log_t *log,
                                uint64_t timeout_ms,
                                gometa_log_record_t **record,
                                gometa_error_t **error);

// Returns the level, a gometa_log_level_t. 0 if `record` is NULL.
uint32_t gometa_log_record_level(const gometa_log_record_t *record);

// Returns the time of the event in microseconds since 1970-01-01 00:00 UTC.
uint64_t gometa_log_record_time_us(const gometa_log_record_t *record);

// Returns the message: a fixed phrase and fields, one line of UTF-8, for example
// "dial failed address=127.0.0.1:5003 reason=connection refused". Valid as long as the record.
const char *gometa_log_record_message(const gometa_log_record_t *record);

// Frees a record. NULL is a no-op.
void gometa_log_record_free(gometa_log_record_t *record);

// Closes a log: it accepts no more records, and waiting threads are woken. gometa_log_next returns the records that are
// left, then GOMETA_CLOSED. Thread-safe. A second close is a no-op, and so is NULL.
void gometa_log_close(const gometa_log_t *log);

// Frees a log, which must not be in use by any thread. Further records of its clients are dropped. NULL is a no-op.
void gometa_log_free(gometa_log_t *log);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GOMETA_H */
