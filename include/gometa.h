/*
 * libgometa: a client of gometa, the replicated metadata store.
 *
 * Generated from ffi/src; do not edit.
 *
 * Conventions
 *
 * - Every call that can fail returns a gometa_status_t, GOMETA_OK (0) or the kind of the failure, and takes as its
 *   last argument where to put the particulars, or NULL. Outputs are written on success only, except *error, which
 *   is set on failure and set to NULL on success.
 * - Inputs are copied before a call returns. Keys and values are bytes with a length; a NULL pointer is fine with
 *   length 0. Other strings end with a zero byte and are UTF-8.
 * - What a call returns by a pointer to a pointer belongs to the caller, until the _free of its type, which takes
 *   NULL too. What a getter returns belongs to the object it is asked of, and lives as long.
 * - A client, a queue, a log may be used by several threads at a time; a _free must be the last use of an object.
 *   Anything else belongs to one thread at a time; pointers to const are only read, by any number of threads.
 * - Every wait has an end: each call has a deadline, 5 seconds unless it is set otherwise. Closing a client, or
 *   freeing the last handle on it, ends its session and takes 200 ms at most.
 * - A process that was forked cannot use what its parent made: calls say GOMETA_FORKED, and _free only gives the
 *   handle up. It makes a client of its own.
 */

#ifndef GOMETA_H
#define GOMETA_H



#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The major version that the header belongs to.
#define GOMETA_VERSION_MAJOR 0

// The minor version that the header belongs to.
#define GOMETA_VERSION_MINOR 1

// The patch version that the header belongs to.
#define GOMETA_VERSION_PATCH 0

// What came of a call. Numbers are for ever.
enum gometa_status_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It succeeded.
  GOMETA_OK = 0,
  // The request makes no sense: a NULL where none may be, an empty key, an address that is none.
  GOMETA_INVALID_ARGUMENT = 1,
  // There is no such key.
  GOMETA_NOT_FOUND = 2,
  // The key is there already; gometa_error_actual_revision says at which revision.
  GOMETA_ALREADY_EXISTS = 3,
  // The key's revision is not the expected one; gometa_error_actual_revision says which it is.
  GOMETA_CAS_MISMATCH = 4,
  // No answer within the deadline, of a node that could be reached.
  GOMETA_DEADLINE_EXCEEDED = 5,
  // There was no connection to any node until the deadline, or the one that was asked cannot be reached.
  GOMETA_UNAVAILABLE = 6,
  // Another node leads. The library moves on by itself; callers do not see it.
  GOMETA_NOT_LEADER = 7,
  // The connection ended before the answer came, where the library does not try again.
  GOMETA_CONNECTION_LOST = 8,
  // A key or a value exceeds its limit.
  GOMETA_TOO_LARGE = 9,
  // The session ended between two attempts of a write; the next write opens another.
  GOMETA_SESSION_EXPIRED = 10,
  // The client has not said who it is.
  GOMETA_UNAUTHENTICATED = 11,
  // The client may not do this.
  GOMETA_PERMISSION_DENIED = 12,
  // A bound on what is open or in flight is reached.
  GOMETA_RESOURCE_EXHAUSTED = 13,
  // The revision asked for is no longer kept.
  GOMETA_COMPACTED = 14,
  // The call was cancelled.
  GOMETA_CANCELLED = 15,
  // The client, or the queue, was closed.
  GOMETA_CLOSED = 16,
  // The node does not know this request.
  GOMETA_UNSUPPORTED = 17,
  // A fault of gometa's own.
  GOMETA_INTERNAL = 18,
  // The process was forked after the object was made.
  GOMETA_FORKED = 19,
  // A write below its session's floor. Callers do not see it.
  GOMETA_FORGOTTEN = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_status_t gometa_status_t;
#else
typedef uint32_t gometa_status_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Whether a call that failed may have taken effect all the same.
enum gometa_outcome_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It may have, or may yet: a write whose answer was not awaited to the end.
  GOMETA_OUTCOME_UNKNOWN = 0,
  // It has not, and never will.
  GOMETA_OUTCOME_NOT_APPLIED = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_outcome_t gometa_outcome_t;
#else
typedef uint32_t gometa_outcome_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a node does in its ensemble.
enum gometa_role_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A role that this library does not know.
  GOMETA_ROLE_UNKNOWN = 0,
  // Waits for every configured voter to form the ensemble.
  GOMETA_ROLE_FORMING = 1,
  // Looks for a leader.
  GOMETA_ROLE_LOOKING = 2,
  // Follows the leader.
  GOMETA_ROLE_FOLLOWING = 3,
  // Leads.
  GOMETA_ROLE_LEADING = 4,
  // Follows the leader, but is counted in no quorum.
  GOMETA_ROLE_LEARNING = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_role_t gometa_role_t;
#else
typedef uint32_t gometa_role_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a read sees.
enum gometa_consistency_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Every write that was acknowledged, to anybody, before the read began.
  GOMETA_LINEARIZABLE = 0,
  // What the answering node has applied, but nothing older than what this client has seen before.
  GOMETA_LOCAL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_consistency_t gometa_consistency_t;
#else
typedef uint32_t gometa_consistency_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a client counts.
enum gometa_counter_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Calls made.
  GOMETA_COUNTER_REQUESTS = 1,
  // Attempts beyond a call's first.
  GOMETA_COUNTER_RETRIES = 2,
  // Connections made after one was lost or left; neither the first one nor a move to the leader.
  GOMETA_COUNTER_RECONNECTS = 3,
  // Calls that have not ended yet.
  GOMETA_COUNTER_IN_FLIGHT = 4,
  // The highest revision that an answer has shown.
  GOMETA_COUNTER_SEEN_REVISION = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_counter_t gometa_counter_t;
#else
typedef uint32_t gometa_counter_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much a record matters.
enum gometa_log_level_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A node cannot be used.
  GOMETA_LOG_WARN = 1,
  // A connection stands again after one was lost.
  GOMETA_LOG_INFO = 2,
  // Everything else: attempts, sessions, moves to the leader.
  GOMETA_LOG_DEBUG = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum gometa_log_level_t gometa_log_level_t;
#else
typedef uint32_t gometa_log_level_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A handle on an ensemble. Any number of threads may use it at a time. It does no IO before its first call.
typedef struct gometa_client_t gometa_client_t;

// A key as it was read. Free it with gometa_entry_free. Any thread may read it.
typedef struct gometa_entry_t gometa_entry_t;

// The particulars of a failure. Free it with gometa_error_free. Any thread may read it.
typedef struct gometa_error_t gometa_error_t;

// A call under way. Free it with gometa_future_free. One thread at a time, but for gometa_future_cancel,
// which any thread may call meanwhile.
typedef struct gometa_future_t gometa_future_t;

// One thing that a client reports. Free it with gometa_log_record_free. Any thread may read it.
typedef struct gometa_log_record_t gometa_log_record_t;

// Where records of clients wait, in the order in which they were made. Any number of threads may use it at a
// time. Free it with gometa_log_free.
typedef struct gometa_log_t gometa_log_t;

// The members of the ensemble, as the node in use knows them. Free it with gometa_members_free. Any thread
// may read it.
typedef struct gometa_members_t gometa_members_t;

// How a node is. Free it with gometa_node_status_free. Any thread may read it. Getters of numbers give 0 for
// NULL, of truths false, of strings an empty one.
typedef struct gometa_node_status_t gometa_node_status_t;

// Settings of a client. Free them with gometa_options_free, also after gometa_client_new, which copies them.
// One thread at a time.
typedef struct gometa_options_t gometa_options_t;

// Tags of futures that are ready, in the order in which they became so. Any number of threads may use it at
// a time. Free it with gometa_queue_free.
typedef struct gometa_queue_t gometa_queue_t;

// What a write came to.
typedef struct {
  // The revision that the write made: the key's new mod_revision.
  uint64_t revision;
  // 1, 2, ... since the key was created.
  uint64_t version;
} gometa_written_t;

// What a deletion came to.
typedef struct {
  // The revision of the deletion, 0 where there was nothing to delete.
  uint64_t revision;
  // Whether the key was there.
  bool existed;
} gometa_deleted_t;

// Called when a future is ready, on a thread of the library. *context* is what gometa_future_on_ready was
// given.
typedef void (*gometa_callback_t)(void *context, gometa_future_t *future);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a client of these peers: addresses of nodes' ports for clients, "host:port", with commas between
// them. Does no IO, so it succeeds with every peer down. *options* may be NULL. Free *client* with
// gometa_client_free.
//
// GOMETA_INVALID_ARGUMENT if there is no address or one that cannot be an address; GOMETA_INTERNAL if no
// thread can be started.
gometa_status_t gometa_client_new(const char *peers,
                                  const gometa_options_t *options,
                                  gometa_client_t **client,
                                  gometa_error_t **error);

// The same client, with its connection, whose calls may take timeout_ms milliseconds. Free *other* with
// gometa_client_free, in any order. Closing either closes both. GOMETA_INVALID_ARGUMENT for a timeout of 0 and
// for more than 31,536,000,000 (365 days).
gometa_status_t gometa_client_with_timeout(const gometa_client_t *client,
                                           uint64_t timeout_ms,
                                           gometa_client_t **other,
                                           gometa_error_t **error);

// Ends every call that runs on the client, with GOMETA_CLOSED, and every later one, at once. Then has the
// client's session ended, which takes 200 ms at most; in a callback it does not wait for that. Closing again
// does nothing, nor does NULL. Any thread.
void gometa_client_close(const gometa_client_t *client);

// Frees a client, which no thread may use any more. The last handle that is freed has the client's session
// ended, as gometa_client_close, if no future runs. Futures of its calls go on; gometa_client_close ends them.
// In a forked child it gives the handle up and leaves the parent's session alone. NULL is a no-op.
void gometa_client_free(gometa_client_t *client);

// What the client and its handles have done so far; a counter is one of gometa_counter_t.
gometa_status_t gometa_client_counter(const gometa_client_t *client,
                                      uint32_t counter,
                                      uint64_t *value,
                                      gometa_error_t **error);

// Creates a key. *written* may be NULL. Blocks.
//
// GOMETA_ALREADY_EXISTS, and what every write can meet: see gometa_client_set.
gometa_status_t gometa_client_add(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  const void *value,
                                  size_t value_len,
                                  gometa_written_t *written,
                                  gometa_error_t **error);

// Starts what gometa_client_add does; the result is had by gometa_future_written. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_add_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        const void *value,
                                        size_t value_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Creates or replaces a key. *written* may be NULL. Blocks.
//
// GOMETA_INVALID_ARGUMENT for an empty key, GOMETA_TOO_LARGE, GOMETA_UNAVAILABLE if there was no connection to
// any node until the deadline, GOMETA_DEADLINE_EXCEEDED if there was one and no answer in time,
// GOMETA_SESSION_EXPIRED, GOMETA_CLOSED, GOMETA_FORKED. gometa_error_outcome says whether the write may have
// taken effect; with GOMETA_UNAVAILABLE it has not.
gometa_status_t gometa_client_set(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  const void *value,
                                  size_t value_len,
                                  gometa_written_t *written,
                                  gometa_error_t **error);

// Starts what gometa_client_set does; the result is had by gometa_future_written. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_set_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        const void *value,
                                        size_t value_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Replaces a key if its mod_revision is *revision*; 0 stands for "it does not exist". *written* may be NULL.
// Blocks.
//
// GOMETA_CAS_MISMATCH, and what every write can meet: see gometa_client_set.
gometa_status_t gometa_client_cas(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  uint64_t revision,
                                  const void *value,
                                  size_t value_len,
                                  gometa_written_t *written,
                                  gometa_error_t **error);

// Starts what gometa_client_cas does; the result is had by gometa_future_written. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_cas_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        uint64_t revision,
                                        const void *value,
                                        size_t value_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Removes a key, whether it is there or not. *deleted* may be NULL. Blocks.
//
// What every write can meet: see gometa_client_set.
gometa_status_t gometa_client_delete(const gometa_client_t *client,
                                     const void *key,
                                     size_t key_len,
                                     gometa_deleted_t *deleted,
                                     gometa_error_t **error);

// Starts what gometa_client_delete does; the result is had by gometa_future_deleted. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_delete_async(const gometa_client_t *client,
                                           const void *key,
                                           size_t key_len,
                                           gometa_future_t **future,
                                           gometa_error_t **error);

// Removes a key if its mod_revision is *revision*. *deleted* may be NULL. Blocks.
//
// GOMETA_CAS_MISMATCH, and what every write can meet: see gometa_client_set.
gometa_status_t gometa_client_delete_if(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        uint64_t revision,
                                        gometa_deleted_t *deleted,
                                        gometa_error_t **error);

// Starts what gometa_client_delete_if does; the result is had by gometa_future_deleted. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_delete_if_async(const gometa_client_t *client,
                                              const void *key,
                                              size_t key_len,
                                              uint64_t revision,
                                              gometa_future_t **future,
                                              gometa_error_t **error);

// Reads a key, seeing every write that was acknowledged before. Free *entry* with gometa_entry_free. Blocks.
//
// GOMETA_NOT_FOUND, GOMETA_INVALID_ARGUMENT for an empty key, GOMETA_TOO_LARGE, GOMETA_UNAVAILABLE,
// GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED, GOMETA_CLOSED, GOMETA_FORKED.
gometa_status_t gometa_client_get(const gometa_client_t *client,
                                  const void *key,
                                  size_t key_len,
                                  gometa_entry_t **entry,
                                  gometa_error_t **error);

// Starts what gometa_client_get does; the result is had by gometa_future_entry. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_get_async(const gometa_client_t *client,
                                        const void *key,
                                        size_t key_len,
                                        gometa_future_t **future,
                                        gometa_error_t **error);

// Reads a key with a gometa_consistency_t. With GOMETA_LOCAL the answer waits until the node has applied
// *min_revision*, or the highest one that this client has seen if that is higher. Free *entry* with
// gometa_entry_free. Blocks.
//
// As gometa_client_get, and GOMETA_INVALID_ARGUMENT for a consistency that is none.
gometa_status_t gometa_client_get_with(const gometa_client_t *client,
                                       const void *key,
                                       size_t key_len,
                                       uint32_t consistency,
                                       uint64_t min_revision,
                                       gometa_entry_t **entry,
                                       gometa_error_t **error);

// Starts what gometa_client_get_with does; the result is had by gometa_future_entry. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_get_with_async(const gometa_client_t *client,
                                             const void *key,
                                             size_t key_len,
                                             uint32_t consistency,
                                             uint64_t min_revision,
                                             gometa_future_t **future,
                                             gometa_error_t **error);

// How the node in use is, or the one at *address*, "host:port", over a connection of its own, if that is not
// NULL. Free *status* with gometa_node_status_free. Blocks.
//
// GOMETA_INVALID_ARGUMENT for what cannot be an address, GOMETA_UNAVAILABLE if it cannot be reached,
// GOMETA_CONNECTION_LOST, GOMETA_DEADLINE_EXCEEDED, GOMETA_CLOSED, GOMETA_FORKED.
gometa_status_t gometa_client_status(const gometa_client_t *client,
                                     const char *address,
                                     gometa_node_status_t **status,
                                     gometa_error_t **error);

// Starts what gometa_client_status does; the result is had by gometa_future_status. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_status_async(const gometa_client_t *client,
                                           const char *address,
                                           gometa_future_t **future,
                                           gometa_error_t **error);

// Who the members are, and what the node in use says of its role and the leader. Free *members* with
// gometa_members_free. Blocks.
//
// GOMETA_DEADLINE_EXCEEDED, GOMETA_CLOSED, GOMETA_FORKED.
gometa_status_t gometa_client_members(const gometa_client_t *client,
                                      gometa_members_t **members,
                                      gometa_error_t **error);

// Starts what gometa_client_members does; the result is had by gometa_future_members. Free *future* with
// gometa_future_free. Does not block.
//
// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
gometa_status_t gometa_client_members_async(const gometa_client_t *client,
                                            gometa_future_t **future,
                                            gometa_error_t **error);

// Its name, and in *len* (may be NULL) how many bytes that is. It lives as long as the entry. NULL and 0 for
// NULL.
const uint8_t *gometa_entry_key(const gometa_entry_t *entry, size_t *len);

// Its value, and in *len* (may be NULL) how many bytes that is; the pointer is not NULL where the length is
// 0. It lives as long as the entry. NULL and 0 for NULL.
const uint8_t *gometa_entry_value(const gometa_entry_t *entry, size_t *len);

// 1, 2, ... since the key was created. 0 for NULL.
uint64_t gometa_entry_version(const gometa_entry_t *entry);

// The revision that created the key. 0 for NULL.
uint64_t gometa_entry_create_revision(const gometa_entry_t *entry);

// The revision that changed the key last: what gometa_client_cas compares. 0 for NULL.
uint64_t gometa_entry_mod_revision(const gometa_entry_t *entry);

// Frees an entry. NULL is a no-op.
void gometa_entry_free(gometa_entry_t *entry);

// What went wrong. GOMETA_OK for NULL.
gometa_status_t gometa_error_status(const gometa_error_t *error);

// What happened, to what, in one line for people, UTF-8, without a line feed. It lives as long as the error.
// Empty for NULL.
const char *gometa_error_message(const gometa_error_t *error);

// What was wanted: "set", "get", "build client". It lives as long as the error. Empty for NULL.
const char *gometa_error_operation(const gometa_error_t *error);

// Whether the same call may succeed when it is made again. It is then a new call: look at
// gometa_error_outcome first, where it matters that a write happens once. False for NULL.
bool gometa_error_is_retryable(const gometa_error_t *error);

// Whether the call may have taken effect all the same. GOMETA_OUTCOME_NOT_APPLIED for reads and for NULL.
gometa_outcome_t gometa_error_outcome(const gometa_error_t *error);

// The leader's address for clients, "host:port", where the failing node named it; else empty. It lives as
// long as the error.
const char *gometa_error_leader(const gometa_error_t *error);

// The key's mod_revision, 0 where there is no such key. Returns whether the error has it, which those of
// GOMETA_CAS_MISMATCH and GOMETA_ALREADY_EXISTS have; otherwise *revision is left as it was.
bool gometa_error_actual_revision(const gometa_error_t *error, uint64_t *revision);

// Frees an error. NULL is a no-op.
void gometa_error_free(gometa_error_t *error);

// Waits until the future is ready, at most timeout_ms milliseconds; 0 only looks. The call's own deadline
// ends it in any case. GOMETA_OK if it is ready, however the call ended; GOMETA_DEADLINE_EXCEEDED if it is
// not; GOMETA_FORKED.
gometa_status_t gometa_future_wait(const gometa_future_t *future,
                                   uint64_t timeout_ms,
                                   gometa_error_t **error);

// Whether the future is ready. False for NULL and in a forked child.
bool gometa_future_is_ready(const gometa_future_t *future);

// Ends the call: the future is ready then, with GOMETA_CANCELLED, if it was not before. A write may take
// effect all the same. Any thread, at any time before gometa_future_free. NULL is a no-op.
void gometa_future_cancel(const gometa_future_t *future);

// Frees a future. A call that is not done is cancelled, and neither its callback nor its queue hears of it
// any more; but a callback that runs at this moment is not waited for, so free a future that has one in the
// callback or behind it. NULL is a no-op.
void gometa_future_free(gometa_future_t *future);

// Has *callback* called with *context* and the future, once, when it is ready, which may be at once, on a
// thread of the library, never within a call of the caller's. Callbacks of one client come one after
// another. A future tells one callback or one queue, and one time: GOMETA_INVALID_ARGUMENT otherwise.
gometa_status_t gometa_future_on_ready(gometa_future_t *future,
                                       void *context,
                                       gometa_callback_t callback,
                                       gometa_error_t **error);

// Has *tag* put into *queue* when the future is ready, which may be at once. A future tells one callback or
// one queue, and one time: GOMETA_INVALID_ARGUMENT otherwise.
gometa_status_t gometa_future_enqueue(const gometa_future_t *future,
                                      const gometa_queue_t *queue,
                                      uint64_t tag,
                                      gometa_error_t **error);

// The result of a future of add, set and cas; it can be had again. The call's own failure,
// GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is another call's,
// GOMETA_FORKED.
gometa_status_t gometa_future_written(const gometa_future_t *future,
                                      gometa_written_t *written,
                                      gometa_error_t **error);

// The result of a future of delete and delete_if; it can be had again. The call's own failure,
// GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is another call's,
// GOMETA_FORKED.
gometa_status_t gometa_future_deleted(const gometa_future_t *future,
                                      gometa_deleted_t *deleted,
                                      gometa_error_t **error);

// The result of a future of get and get_with; it can be had again. Free *entry* with gometa_entry_free. The
// call's own failure, GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is
// another call's, GOMETA_FORKED.
gometa_status_t gometa_future_entry(const gometa_future_t *future,
                                    gometa_entry_t **entry,
                                    gometa_error_t **error);

// The result of a future of status; it can be had again. Free *status* with gometa_node_status_free. The
// call's own failure, GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is
// another call's, GOMETA_FORKED.
gometa_status_t gometa_future_status(const gometa_future_t *future,
                                     gometa_node_status_t **status,
                                     gometa_error_t **error);

// The result of a future of members; it can be had again. Free *members* with gometa_members_free. The
// call's own failure, GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is
// another call's, GOMETA_FORKED.
gometa_status_t gometa_future_members(const gometa_future_t *future,
                                      gometa_members_t **members,
                                      gometa_error_t **error);

// A log that keeps records up to *level*, a gometa_log_level_t: 1,000 at a time; later ones are lost, and the
// next record that finds room says how many. GOMETA_RESOURCE_EXHAUSTED if there is no descriptor.
gometa_status_t gometa_log_new(uint32_t level, gometa_log_t **log, gometa_error_t **error);

// Has clients that are made of *options* put their records into *log*. One log may serve several clients. It
// may be freed before them; then they report to none.
gometa_status_t gometa_options_set_log(gometa_options_t *options,
                                       const gometa_log_t *log,
                                       gometa_error_t **error);

// A descriptor that is readable while the log holds a record, or is closed: for poll, epoll and their like. Do
// not read from it and do not close it; it lives as long as the log. -1 for NULL.
int32_t gometa_log_fd(const gometa_log_t *log);

// The next record; waits for one, at most timeout_ms milliseconds; 0 only looks. Free *record* with
// gometa_log_record_free. GOMETA_DEADLINE_EXCEEDED if there is none, GOMETA_CLOSED if the log is closed and
// empty, GOMETA_FORKED.
gometa_status_t gometa_log_next(const gometa_log_t *log,
                                uint64_t timeout_ms,
                                gometa_log_record_t **record,
                                gometa_error_t **error);

// How much a record matters. 0 for NULL.
uint32_t gometa_log_record_level(const gometa_log_record_t *record);

// When it happened, in microseconds since 1970-01-01 00:00 UTC. 0 for NULL.
uint64_t gometa_log_record_time_us(const gometa_log_record_t *record);

// A fixed phrase and its fields in one line, UTF-8, without a line feed:
// "dial failed address=127.0.0.1:5003 reason=connection refused". It lives as long as the record. Empty for NULL.
const char *gometa_log_record_message(const gometa_log_record_t *record);

// Frees a record. NULL is a no-op.
void gometa_log_record_free(gometa_log_record_t *record);

// Wakes every thread that waits in gometa_log_next, which returns the records that are there and then
// GOMETA_CLOSED. Closing again does nothing, nor does NULL. Any thread.
void gometa_log_close(const gometa_log_t *log);

// Frees a log, which no thread may use any more; clients that it served report to none. NULL is a no-op.
void gometa_log_free(gometa_log_t *log);

// What the node in use does. GOMETA_ROLE_UNKNOWN for NULL.
gometa_role_t gometa_members_role(const gometa_members_t *members);

// The leader's address for clients, empty where it is not known. It lives as long as *members*.
const char *gometa_members_leader(const gometa_members_t *members);

// How many members there are. 0 for NULL.
size_t gometa_members_count(const gometa_members_t *members);

// The id of member number *member*, from 0. 0 for NULL and where there is none of this number.
uint64_t gometa_members_node(const gometa_members_t *members, size_t member);

// The address for nodes, which people are shown, of member number *member*, from 0. It lives as long as
// *members*. Empty for NULL and where there is none of this number.
const char *gometa_members_message_address(const gometa_members_t *members, size_t member);

// The address for clients of member number *member*, from 0; empty where it is not known, for NULL, and
// where there is none of this number. It lives as long as *members*.
const char *gometa_members_request_address(const gometa_members_t *members, size_t member);

// Frees them. NULL is a no-op.
void gometa_members_free(gometa_members_t *members);

// The node's id; people are shown its address for nodes instead.
uint64_t gometa_node_status_node(const gometa_node_status_t *status);

// What it does. GOMETA_ROLE_UNKNOWN for NULL.
gometa_role_t gometa_node_status_role(const gometa_node_status_t *status);

// The id of the leader that it knows, 0 if it knows none.
uint64_t gometa_node_status_leader(const gometa_node_status_t *status);

// The epoch of its leader.
uint64_t gometa_node_status_epoch(const gometa_node_status_t *status);

// The last revision in its log.
uint64_t gometa_node_status_last_revision(const gometa_node_status_t *status);

// The last revision that it knows to be committed.
uint64_t gometa_node_status_commit_revision(const gometa_node_status_t *status);

// The last revision that it has applied.
uint64_t gometa_node_status_applied_revision(const gometa_node_status_t *status);

// Sessions of clients.
uint64_t gometa_node_status_sessions(const gometa_node_status_t *status);

// Keys.
uint64_t gometa_node_status_keys(const gometa_node_status_t *status);

// Whether it is counted in quorums.
bool gometa_node_status_votes(const gometa_node_status_t *status);

// One line that says what it waits for or why it is counted in no quorum; empty if all is well. It lives as
// long as the status.
const char *gometa_node_status_detail(const gometa_node_status_t *status);

// The version of its program. It lives as long as the status.
const char *gometa_node_status_version(const gometa_node_status_t *status);

// The hash of everything that it holds at its applied_revision, 16 bytes, and in *len* (may be NULL) their
// number: equal on all nodes at one revision. It lives as long as the status. NULL and 0 for NULL.
const uint8_t *gometa_node_status_state_hash(const gometa_node_status_t *status, size_t *len);

// How many other members there are.
size_t gometa_node_status_peers(const gometa_node_status_t *status);

// The id of the other member number *peer*, from 0. 0 if there is none of this number.
uint64_t gometa_node_status_peer_node(const gometa_node_status_t *status, size_t peer);

// The address for nodes, which people are shown, of the other member number *peer*, from 0. It lives as long
// as the status. Empty if there is none of this number.
const char *gometa_node_status_peer_message_address(const gometa_node_status_t *status, size_t peer);

// The address for clients of the other member number *peer*, from 0; empty where it is not known, and if
// there is none of this number. It lives as long as the status.
const char *gometa_node_status_peer_request_address(const gometa_node_status_t *status, size_t peer);

// Whether the other member number *peer*, from 0, is counted in quorums.
bool gometa_node_status_peer_votes(const gometa_node_status_t *status, size_t peer);

// In a leader's status: whether the other member number *peer*, from 0, follows it now. In another's:
// whether that member is the leader that it follows.
bool gometa_node_status_peer_connected(const gometa_node_status_t *status, size_t peer);

// In a leader's status: the last revision that the other member number *peer*, from 0, has acknowledged as
// durable.
uint64_t gometa_node_status_peer_acked_revision(const gometa_node_status_t *status, size_t peer);

// What the node says of the other member number *peer*, from 0, in one line; empty if all is well. It lives
// as long as the status.
const char *gometa_node_status_peer_detail(const gometa_node_status_t *status, size_t peer);

// Frees a status. NULL is a no-op.
void gometa_node_status_free(gometa_node_status_t *status);

// The usual settings. Cannot fail but for a NULL in *options*.
gometa_status_t gometa_options_new(gometa_options_t **options, gometa_error_t **error);

// Frees settings. NULL is a no-op.
void gometa_options_free(gometa_options_t *options);

// What a call may take, everything included, in milliseconds; 5,000 if not set. GOMETA_INVALID_ARGUMENT for
// 0 and for more than 31,536,000,000 (365 days).
gometa_status_t gometa_options_set_timeout_ms(gometa_options_t *options,
                                              uint64_t timeout_ms,
                                              gometa_error_t **error);

// What resolving a name, connecting and the handshake with one node may take together, in milliseconds;
// 2,000 if not set. GOMETA_INVALID_ARGUMENT for 0 and for more than 365 days.
gometa_status_t gometa_options_set_connect_timeout_ms(gometa_options_t *options,
                                                      uint64_t timeout_ms,
                                                      gometa_error_t **error);

// How silent a node may be that owes an answer, in milliseconds: it is asked for a sign of life after
// quiet_ms (500 if not set), and left silence_ms later (1,000 if not set). A node that has owed an answer for
// quiet_ms when a call's deadline passes is left too. GOMETA_INVALID_ARGUMENT for a 0 and for more than
// 365 days.
gometa_status_t gometa_options_set_silence_ms(gometa_options_t *options,
                                              uint64_t quiet_ms,
                                              uint64_t silence_ms,
                                              gometa_error_t **error);

// The application's name in the nodes' logs; its first 16 characters count. "gometa-c" if not set.
gometa_status_t gometa_options_set_name(gometa_options_t *options, const char *name, gometa_error_t **error);

// Whether to use only the given addresses, in their order, and to follow neither the leader's hint nor the
// members' addresses: for tools that examine one node. False if not set.
gometa_status_t gometa_options_set_pinned(gometa_options_t *options, bool pinned, gometa_error_t **error);

// A queue. GOMETA_RESOURCE_EXHAUSTED if there is no descriptor to be had.
gometa_status_t gometa_queue_new(gometa_queue_t **queue, gometa_error_t **error);

// A descriptor that is readable while the queue holds a tag, or is closed: for poll, epoll and their like.
// Do not read from it and do not close it; it lives as long as the queue. -1 for NULL.
int32_t gometa_queue_fd(const gometa_queue_t *queue);

// The next tag; waits for one, at most timeout_ms milliseconds; 0 only looks. GOMETA_DEADLINE_EXCEEDED if
// there is none, GOMETA_CLOSED, GOMETA_FORKED.
gometa_status_t gometa_queue_next(const gometa_queue_t *queue,
                                  uint64_t timeout_ms,
                                  uint64_t *tag,
                                  gometa_error_t **error);

// Wakes every thread that waits in gometa_queue_next, which says GOMETA_CLOSED from now on. Closing again
// does nothing, nor does NULL. Any thread.
void gometa_queue_close(const gometa_queue_t *queue);

// Frees a queue, which nobody may use any more; futures that would have told it tell nobody. NULL is
// nothing.
void gometa_queue_free(gometa_queue_t *queue);

// The name of a status: "NotFound"; "Ok" for GOMETA_OK, "Unknown" for a number that is none. It lives as
// long as the program. Any thread.
const char *gometa_status_name(uint32_t status);

// The version of the library that runs: "0.1.0". It lives as long as the program. Any thread.
const char *gometa_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GOMETA_H */
