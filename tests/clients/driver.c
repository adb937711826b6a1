/*
 * The driver of the client "c"; README.md beside this file describes the protocol.
 *
 *     cc -std=c99 -D_POSIX_C_SOURCE=200809L driver.c $(pkg-config --cflags --libs gometa) -lpthread -o c-driver
 *
 * One thread reads lines and takes results from a queue; each caller of a benchmark has its own thread, as is usual
 * with blocking calls.
 */
#include "history.h"
#include "settings.h"
#include "txns.h"
#include <dlfcn.h>
#include <gometa.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* All clients, the newest first. They are freed at the end. */
typedef struct client {
    struct client *next;
    char *name;
    gometa_client_t *handle;
} client_t;

static client_t *clients;

static client_t *find_client(const char *name)
{
    client_t *client = clients;
    while (client != NULL && strcmp(client->name, name) != 0) {
        client = client->next;
    }
    return client;
}

static gometa_client_t *client_of(const line_t *line)
{
    client_t *client = find_client(text_of(line, "client"));
    if (client == NULL) {
        fail("line %s: there is no client %s", line->number, text_of(line, "client"));
    }
    return client->handle;
}

static void open_client(const line_t *line)
{
    gometa_options_t *options = NULL;
    gometa_client_t *handle = NULL;
    gometa_error_t *error = NULL;
    gometa_status_t status = gometa_options_new(&options, &error);
    if (status == GOMETA_OK && find(line, "timeout_ms") != NULL) {
        status = gometa_options_set_timeout_ms(options, number_of(line, "timeout_ms"), &error);
    }
    if (status == GOMETA_OK) {
        status = gometa_client_new(text_of(line, "peers"), options, &handle, &error);
    }
    gometa_options_free(options);
    if (status != GOMETA_OK) {
        answer_error(line->number, error);
        return;
    }
    client_t *client = must(malloc(sizeof *client));
    *client = (client_t){clients, copy_of(text_of(line, "client")), handle};
    clients = client;
    answer(line->number, "ok");
}

/* The calls in flight, with their tags in the queue. */
typedef struct call {
    struct call *next;
    uint64_t tag;
    char *number;
    /*
     * What its result is: w(ritten), d(eleted), e(ntry), s(tatus), m(embers), r(oles), c(hange), l(eader), a(dvice),
     * p(age), n(umber of keys), t(ransaction); q for the pages of a scan, g for the number of deleted keys, o for
     * settings, v for the revision of a changed setting, h for the history of a key.
     */
    char kind;
    gometa_future_t *future;
    scan_t scan;
} call_t;

static call_t *calls;
static gometa_queue_t *queue;

/* Starts a call on a range of keys. Returns false if the line is another call. */
static bool start_range_call(const line_t *line, const gometa_client_t *client, call_t *call, gometa_error_t **error,
                             gometa_status_t *status)
{
    const char *verb = line->verb;
    if (strcmp(verb, "delete_prefix") == 0) {
        bytes_t prefix = bytes_of(line, "prefix");
        call->kind = 'g';
        *status = gometa_client_delete_prefix_async(client, prefix.data, prefix.length, &call->future, error);
        free(prefix.data);
        return true;
    }
    if (strcmp(verb, "range") == 0) {
        call->kind = 'p';
    } else if (strcmp(verb, "scan") == 0 || strcmp(verb, "digest") == 0) {
        call->kind = 'q';
        call->scan.is_digest = strcmp(verb, "digest") == 0;
        call->scan.low = 1;
    } else if (strcmp(verb, "count") == 0) {
        call->kind = 'n';
    } else {
        return false;
    }
    gometa_range_t *range = NULL;
    *status = gometa_range_new(&range, error);
    if (*status == GOMETA_OK) {
        *status = set_range(line, range, error);
    }
    call->scan.keys_only = flag_of(line, "keys_only");
    if (*status == GOMETA_OK && call->kind == 'p') {
        *status = gometa_client_range_async(client, range, &call->future, error);
    } else if (*status == GOMETA_OK && call->kind == 'n') {
        *status = gometa_client_count_async(client, range, &call->future, error);
    } else if (*status == GOMETA_OK) {
        *status = gometa_client_scan(client, range, &call->scan.handle, error);
        if (*status == GOMETA_OK) {
            *status = gometa_scan_next_async(call->scan.handle, &call->future, error);
        }
    }
    gometa_range_free(range);
    return true;
}

/* The functions that start writes, by their arguments. */
typedef gometa_status_t (*by_key_t)(const gometa_client_t *, const void *, size_t, gometa_future_t **,
                                    gometa_error_t **);
typedef gometa_status_t (*by_revision_t)(const gometa_client_t *, const void *, size_t, uint64_t, gometa_future_t **,
                                         gometa_error_t **);
typedef gometa_status_t (*by_value_t)(const gometa_client_t *, const void *, size_t, const void *, size_t,
                                      gometa_future_t **, gometa_error_t **);
typedef gometa_status_t (*by_both_t)(const gometa_client_t *, const void *, size_t, uint64_t, const void *, size_t,
                                     gometa_future_t **, gometa_error_t **);
typedef union {
    void *symbol;
    by_key_t by_key;
    by_revision_t by_revision;
    by_value_t by_value;
    by_both_t by_both;
} write_t;

/* The function that starts a line's call; its symbol is NULL if libgometa does not have it. */
static write_t write_of(const line_t *line)
{
    char name[64];
    write_t found;
    bool conditional_delete = strcmp(line->verb, "delete") == 0 && find(line, "revision") != NULL;
    snprintf(name, sizeof name, "gometa_client_%s%s_async", line->verb, conditional_delete ? "_if" : "");
    found.symbol = dlsym(dlopen(NULL, RTLD_LAZY), name);
    return found;
}

/* Starts a call about the members' roles. Returns false if the line is another call. */
static bool start_member_call(const line_t *line, const gometa_client_t *client, call_t *call, gometa_error_t **error,
                              gometa_status_t *status)
{
    gometa_future_t **future = &call->future;
    const char *verb = line->verb;
    gometa_members_version_t version = {0, 0};
    const gometa_members_version_t *follows = NULL;
    if (find(line, "follows_epoch") != NULL) {
        version.epoch = number_of(line, "follows_epoch");
        version.revision = number_of(line, "follows_revision");
        follows = &version;
    }
    if (strcmp(verb, "membership") == 0) {
        call->kind = 'r';
        *status = gometa_client_membership_async(client, future, error);
    } else if (strcmp(verb, "promote_member") == 0) {
        call->kind = 'c';
        *status = gometa_client_promote_member_async(client, number_of(line, "node"), follows, future, error);
    } else if (strcmp(verb, "remove_member") == 0) {
        call->kind = 'c';
        *status = gometa_client_remove_member_async(client, number_of(line, "node"), follows, future, error);
    } else if (strcmp(verb, "replace_member") == 0) {
        call->kind = 'c';
        *status = gometa_client_replace_member_async(client, number_of(line, "node"), number_of(line, "replacement"),
                                                     follows, future, error);
    } else if (strcmp(verb, "cancel_promotion") == 0) {
        call->kind = 'c';
        *status = gometa_client_cancel_promotion_async(client, number_of(line, "node"), follows, future, error);
    } else if (strcmp(verb, "transfer_leadership") == 0) {
        uint64_t to = find(line, "to") != NULL ? number_of(line, "to") : 0;
        call->kind = 'l';
        *status = gometa_client_transfer_leadership_async(client, to, future, error);
    } else if (strcmp(verb, "safe_to_stop") == 0) {
        uint64_t nodes[WORDS_MAX];
        size_t count = 0;
        for (char *word = strtok(text_of(line, "nodes"), ","); word != NULL; word = strtok(NULL, ",")) {
            if (count == WORDS_MAX) {
                fail("line %s: too many nodes", line->number);
            }
            nodes[count++] = number_in(word);
        }
        call->kind = 'a';
        *status = gometa_client_safe_to_stop_async(client, nodes, count, future, error);
    } else {
        return false;
    }
    return true;
}

static gometa_status_t start(const line_t *line, const gometa_client_t *client, call_t *call, gometa_error_t **error)
{
    gometa_future_t **future = &call->future;
    gometa_status_t started = GOMETA_OK;
    const char *verb = line->verb;
    if (strcmp(verb, "status") == 0) {
        call->kind = 's';
        return gometa_client_status_async(client, NULL, future, error);
    }
    if (strcmp(verb, "members") == 0) {
        call->kind = 'm';
        return gometa_client_members_async(client, future, error);
    }
    if (strcmp(verb, "txn") == 0) {
        call->kind = 't';
        return start_txn(line, client, future, error);
    }
    if (strcmp(verb, "history") == 0) {
        call->kind = 'h';
        call->scan.keys_only = flag_of(line, "keys_only");
        return start_history(line, client, future, error);
    }
    if (strcmp(verb, "settings") == 0) {
        call->kind = 'o';
        return gometa_client_settings_async(client, future, error);
    }
    if (strcmp(verb, "set_setting") == 0) {
        call->kind = 'v';
        return start_set_setting(line, client, future, error);
    }
    if (start_member_call(line, client, call, error, &started) ||
        start_range_call(line, client, call, error, &started)) {
        return started;
    }
    bytes_t key = bytes_of(line, "key");
    bytes_t value = {NULL, 0};
    gometa_status_t status;
    if (strcmp(verb, "get") != 0) {
        write_t function = write_of(line);
        bool revised = find(line, "revision") != NULL;
        uint64_t revision = revised ? number_of(line, "revision") : 0;
        call->kind = strcmp(verb, "delete") == 0 ? 'd' : 'w';
        if (find(line, "value") != NULL) {
            value = bytes_of(line, "value");
            status = revised ? function.by_both(client, key.data, key.length, revision, value.data, value.length,
                                                future, error)
                             : function.by_value(client, key.data, key.length, value.data, value.length, future, error);
        } else {
            status = revised ? function.by_revision(client, key.data, key.length, revision, future, error)
                             : function.by_key(client, key.data, key.length, future, error);
        }
    } else {
        gometa_read_options_t *options = NULL;
        call->kind = 'e';
        status = read_options_of(line, &options, error);
        if (status == GOMETA_OK && find(line, "at_revision") != NULL) {
            uint64_t revision = number_of(line, "at_revision");
            status = gometa_client_get_at_async(client, key.data, key.length, revision, future, error);
        } else if (status == GOMETA_OK) {
            status = gometa_client_get_with_async(client, key.data, key.length, options, future, error);
        }
        gometa_read_options_free(options);
    }
    free(key.data);
    free(value.data);
    return status;
}

static void free_call(call_t *call)
{
    for (size_t i = 0; i < call->scan.count; i++) {
        gometa_page_free(call->scan.pages[i]);
    }
    gometa_scan_free(call->scan.handle);
    gometa_future_free(call->future);
    free(call->scan.pages);
    free(call->number);
    free(call);
}

static void start_call(const line_t *line)
{
    static uint64_t last_tag;
    const gometa_client_t *client = client_of(line);
    gometa_client_t *hasty = NULL, *guarded = NULL;
    gometa_error_t *error = NULL;
    gometa_status_t status = GOMETA_OK;
    call_t *call = must(calloc(1, sizeof *call));
    if (find(line, "timeout_ms") != NULL) {
        status = gometa_client_with_timeout(client, number_of(line, "timeout_ms"), &hasty, &error);
        client = hasty;
    }
    if (status == GOMETA_OK && find(line, "guard") != NULL) {
        status = with_guard(line, client, &guarded, &error);
        client = guarded;
    }
    if (status == GOMETA_OK) {
        status = start(line, client, call, &error);
    }
    gometa_client_free(guarded);
    gometa_client_free(hasty);
    call->tag = ++last_tag;
    if (status == GOMETA_OK) {
        status = gometa_future_enqueue(call->future, queue, call->tag, &error);
    }
    if (status != GOMETA_OK) {
        answer_error(line->number, error);
        free_call(call);
        return;
    }
    call->number = copy_of(line->number);
    call->next = calls;
    calls = call;
}

static void cancel_call(const line_t *line)
{
    for (call_t *call = calls; call != NULL; call = call->next) {
        if (strcmp(call->number, text_of(line, "call")) == 0) {
            gometa_future_cancel(call->future);
        }
    }
    answer(line->number, "ok");
}

static const char *role_name(gometa_role_t role)
{
    static const char *names[] = {"unknown", "forming", "looking", "following", "leading", "learning"};
    return role < sizeof names / sizeof *names ? names[role] : names[0];
}

/* Answers a call about the members' roles. */
static void answer_membership(const call_t *call, const gometa_membership_t *membership)
{
    gometa_members_version_t version = gometa_membership_version(membership);
    size_t count = gometa_membership_count(membership);
    size_t voters = 0;
    for (size_t i = 0; i < count; i++) {
        voters += gometa_membership_is_voter(membership, i);
    }
    begin();
    printf("%s ok", call->number);
    if (call->kind == 'c') {
        printf(" changed=%s", gometa_membership_has_changed(membership) ? "true" : "false");
    }
    printf(" epoch=%" PRIu64 " revision=%" PRIu64 " members=%zu voters=%zu committed=%s", version.epoch,
           version.revision, count, voters, gometa_membership_is_committed(membership) ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        printf(" node%zu=%" PRIu64, i + 1, gometa_membership_node_id(membership, i));
    }
    end();
}

/* Takes a page; answers unless it requests another page, and then returns true. */
static bool take_page(call_t *call, gometa_error_t **error)
{
    scan_t *scan = &call->scan;
    gometa_page_t *page = NULL;
    if (gometa_future_page(call->future, &page, error) != GOMETA_OK) {
        return false;
    }
    if (scan->is_digest && page == NULL) {
        begin();
        printf("%s ok count=%" PRIu64 " adler32=%" PRIu32, call->number, scan->entries, scan->high << 16 | scan->low);
        end();
        return false;
    }
    if (scan->is_digest) {
        add_to_digest(scan, page);
        gometa_page_free(page);
    } else if (page != NULL) {
        scan->pages = must(realloc(scan->pages, (scan->count + 1) * sizeof *scan->pages));
        scan->pages[scan->count++] = page;
    }
    if (call->kind == 'p' || page == NULL) {
        answer_entries(call->number, scan);
        return false;
    }
    gometa_future_free(call->future);
    call->future = NULL;
    return gometa_scan_next_async(scan->handle, &call->future, error) == GOMETA_OK &&
           gometa_future_enqueue(call->future, queue, call->tag, error) == GOMETA_OK;
}

/* Returns false if the call goes on. */
static bool end_call(call_t *call)
{
    gometa_error_t *error = NULL;
    gometa_written_t written;
    gometa_deleted_t deleted;
    gometa_entry_t *entry = NULL;
    gometa_node_status_t *status = NULL;
    gometa_members_t *members = NULL;
    gometa_membership_t *membership = NULL;
    gometa_stop_advice_t *advice = NULL;
    uint64_t leader = 0, count = 0;
    size_t length = 0;
    switch (call->kind) {
    case 'p':
    case 'q':
        if (take_page(call, &error)) {
            return false;
        }
        break;
    case 't':
        answer_txn(call->number, call->future, &error);
        break;
    case 'h':
        answer_history(call->number, call->future, call->scan.keys_only, &error);
        break;
    case 'o':
        answer_settings(call->number, call->future, &error);
        break;
    case 'v':
        answer_set_setting(call->number, call->future, &error);
        break;
    case 'n':
    case 'g':
        if (gometa_future_count(call->future, &count, &error) == GOMETA_OK) {
            begin();
            printf("%s ok %s=%" PRIu64, call->number, call->kind == 'n' ? "count" : "deleted", count);
            end();
        }
        break;
    case 'w':
        if (gometa_future_written(call->future, &written, &error) == GOMETA_OK) {
            begin();
            printf("%s ok revision=%" PRIu64 " version=%" PRIu64, call->number, written.revision, written.version);
            end();
        }
        break;
    case 'd':
        if (gometa_future_deleted(call->future, &deleted, &error) == GOMETA_OK) {
            begin();
            printf("%s ok existed=%s revision=%" PRIu64, call->number, deleted.existed ? "true" : "false",
                   deleted.revision);
            end();
        }
        break;
    case 'e':
        if (gometa_future_entry(call->future, &entry, &error) == GOMETA_OK) {
            const uint8_t *value = gometa_entry_value(entry, &length);
            begin();
            printf("%s ok value=", call->number);
            put_hex(value, length);
            printf(" version=%" PRIu64 " create_revision=%" PRIu64 " mod_revision=%" PRIu64,
                   gometa_entry_version(entry), gometa_entry_create_revision(entry), gometa_entry_mod_revision(entry));
            end();
        }
        break;
    case 's':
        if (gometa_future_status(call->future, &status, &error) == GOMETA_OK) {
            begin();
            printf("%s ok role=%s applied_revision=%" PRIu64 " keys=%" PRIu64 " log_bytes=%" PRIu64, call->number,
                   role_name(gometa_node_status_role(status)), gometa_node_status_applied_revision(status),
                   gometa_node_status_keys(status),
                   gometa_node_status_storage(status, GOMETA_STORAGE_LOG_BYTES));
            end();
        }
        break;
    case 'r':
    case 'c':
        if (gometa_future_membership(call->future, &membership, &error) == GOMETA_OK) {
            answer_membership(call, membership);
        }
        break;
    case 'l':
        if (gometa_future_leader(call->future, &leader, &error) == GOMETA_OK) {
            begin();
            printf("%s ok leader=%" PRIu64, call->number, leader);
            end();
        }
        break;
    case 'a':
        if (gometa_future_stop_advice(call->future, &advice, &error) == GOMETA_OK) {
            const char *reason = gometa_stop_advice_reason(advice);
            begin();
            printf("%s ok safe=%s reason=", call->number, gometa_stop_advice_is_safe(advice) ? "true" : "false");
            put_hex(reason, strlen(reason));
            end();
        }
        break;
    default:
        if (gometa_future_members(call->future, &members, &error) == GOMETA_OK) {
            begin();
            printf("%s ok members=%zu leader=%s", call->number, gometa_members_count(members),
                   gometa_members_leader_address(members));
            end();
        }
        break;
    }
    if (error != NULL) {
        answer_error(call->number, error);
    }
    gometa_entry_free(entry);
    gometa_node_status_free(status);
    gometa_members_free(members);
    gometa_membership_free(membership);
    gometa_stop_advice_free(advice);
    free_call(call);
    return true;
}

/* Answers all calls that have ended. */
static void end_calls(void)
{
    uint64_t tag = 0;
    while (gometa_queue_next(queue, 0, &tag, NULL) == GOMETA_OK) {
        call_t **place = &calls;
        while (*place != NULL && (*place)->tag != tag) {
            place = &(*place)->next;
        }
        if (*place != NULL) {
            call_t *call = *place;
            call_t *next = call->next;
            if (end_call(call)) {
                *place = next;
            }
        }
    }
}

/* A benchmark: a thread that starts others and waits for them. */
typedef struct bench {
    struct bench *next;
    pthread_t thread;
    gometa_client_t *client;
    char *number;
    bool set;
    bytes_t key, value;
    uint64_t callers, count, begun, failed;
    pthread_mutex_t lock;
} bench_t;

static bench_t *benches;

static void *call_often(void *context)
{
    bench_t *bench = context;
    for (;;) {
        pthread_mutex_lock(&bench->lock);
        bool more = bench->begun < bench->count;
        bench->begun += more;
        pthread_mutex_unlock(&bench->lock);
        if (!more) {
            return NULL;
        }
        gometa_status_t status;
        if (bench->set) {
            status = gometa_client_set(bench->client, bench->key.data, bench->key.length, bench->value.data,
                                       bench->value.length, NULL, NULL);
        } else {
            gometa_entry_t *entry = NULL;
            status = gometa_client_get(bench->client, bench->key.data, bench->key.length, &entry, NULL);
            gometa_entry_free(entry);
        }
        if (status != GOMETA_OK) {
            pthread_mutex_lock(&bench->lock);
            bench->failed++;
            pthread_mutex_unlock(&bench->lock);
        }
    }
}

static void *run_bench(void *context)
{
    bench_t *bench = context;
    pthread_t *threads = must(calloc(bench->callers + 1, sizeof *threads));
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t i = 0; i < bench->callers; i++) {
        if (pthread_create(&threads[i], NULL, call_often, bench) != 0) {
            fail("line %s: no thread", bench->number);
        }
    }
    for (uint64_t i = 0; i < bench->callers; i++) {
        pthread_join(threads[i], NULL);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    free(threads);
    begin();
    printf("%s ok seconds=%.6f failed=%" PRIu64, bench->number,
           (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9, bench->failed);
    end();
    return NULL;
}

static void start_bench(const line_t *line)
{
    bench_t *bench = must(calloc(1, sizeof *bench));
    const char *wanted = text_of(line, "call");
    bench->client = client_of(line);
    bench->set = strcmp(wanted, "set") == 0;
    if (!bench->set && strcmp(wanted, "get") != 0) {
        fail("line %s: there is no bench of %s", line->number, wanted);
    }
    bench->key = bytes_of(line, "key");
    if (bench->set) {
        bench->value = bytes_of(line, "value");
    }
    bench->count = number_of(line, "count");
    bench->callers = number_of(line, "callers");
    bench->number = copy_of(line->number);
    pthread_mutex_init(&bench->lock, NULL);
    if (pthread_create(&bench->thread, NULL, run_bench, bench) != 0) {
        fail("line %s: no thread", line->number);
    }
    bench->next = benches;
    benches = bench;
}

static void obey(char *text)
{
    line_t line;
    parse(text, &line);
    if (strcmp(line.verb, "open") == 0) {
        open_client(&line);
    } else if (strcmp(line.verb, "close") == 0) {
        gometa_client_close(client_of(&line));
        answer(line.number, "ok");
    } else if (strcmp(line.verb, "cancel") == 0) {
        cancel_call(&line);
    } else if (strcmp(line.verb, "history_id") == 0) {
        answer_history_id(line.number, client_of(&line));
    } else if (strcmp(line.verb, "bench") == 0) {
        start_bench(&line);
    } else if (strcmp(line.verb, "scan") != 0 && strcmp(line.verb, "digest") != 0 &&
               strcmp(line.verb, "txn") != 0 && write_of(&line).symbol == NULL) {
        answer(line.number, "unsupported");
    } else {
        start_call(&line);
    }
}

/* Input that is not processed yet. */
static struct {
    char *data;
    size_t length, room;
} input;

/* Reads available input and processes its complete lines. Returns false at the end. */
static bool read_lines(void)
{
    if (input.room - input.length < 65536) {
        input.room = 2 * input.room + 65536;
        input.data = must(realloc(input.data, input.room));
    }
    ssize_t count = read(STDIN_FILENO, input.data + input.length, input.room - input.length);
    if (count < 0 && errno != EINTR) {
        fail("cannot read: %s", strerror(errno));
    }
    if (count == 0) {
        return false;
    }
    input.length += count > 0 ? (size_t)count : 0;
    char *from = input.data;
    char *newline;
    while ((newline = memchr(from, '\n', input.length - (size_t)(from - input.data))) != NULL) {
        *newline = '\0';
        obey(from);
        from = newline + 1;
    }
    input.length -= (size_t)(from - input.data);
    memmove(input.data, from, input.length);
    return true;
}

int main(void)
{
    gometa_error_t *error = NULL;
    if (gometa_queue_new(&queue, &error) != GOMETA_OK) {
        fail("%s", gometa_error_message(error));
    }
    puts("client c");
    fflush(stdout);

    struct pollfd watched[] = {{gometa_queue_fd(queue), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    bool more = true;
    while (more) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR) {
            fail("poll: %s", strerror(errno));
        }
        if (watched[0].revents != 0) {
            end_calls();
        }
        if (watched[1].revents != 0) {
            more = read_lines();
        }
    }

    for (client_t *client = clients; client != NULL; client = client->next) {
        gometa_client_close(client->handle);
    }
    while (calls != NULL) {
        if (poll(watched, 1, -1) < 0 && errno != EINTR) {
            fail("poll: %s", strerror(errno));
        }
        end_calls();
    }
    while (benches != NULL) {
        bench_t *bench = benches;
        benches = bench->next;
        pthread_join(bench->thread, NULL);
        pthread_mutex_destroy(&bench->lock);
        free(bench->number);
        free(bench->key.data);
        free(bench->value.data);
        free(bench);
    }
    while (clients != NULL) {
        client_t *client = clients;
        clients = client->next;
        gometa_client_free(client->handle);
        free(client->name);
        free(client);
    }
    gometa_queue_free(queue);
    free(input.data);
    return 0;
}
