/*
 * Ranges of keys: pages, scans, counts, reads at a revision and deletions by prefix; with invalid arguments, after
 * cancellations, and after their client is closed or freed.
 *
 *     ranges PATIENCE PEERS
 *
 * PEERS are the addresses of an ensemble. Timeouts are multiplied by PATIENCE, 1 unless something slows the program
 * down.
 */
#include "check.h"
#include <string.h>

static uint64_t patience;

/* So large that a page holds one of them. */
static char large[700000];
#define LARGE 3

/* Sets large/0, large/1, … to values that begin with a character; returns the last revision. */
static uint64_t set_large(const gometa_client_t *client, char first)
{
    uint64_t revision = 0;
    large[0] = first;
    for (char i = 0; i < LARGE; i++) {
        char key[] = {'l', 'a', 'r', 'g', 'e', '/', (char)('0' + i), '\0'};
        revision = set(client, key, large, sizeof large);
    }
    return revision;
}

/* The page has these keys, separated by spaces, in this order. */
static void has_keys(const gometa_page_t *page, const char *expected)
{
    char keys[256] = "";
    for (size_t i = 0; i < gometa_page_count(page); i++) {
        size_t length = 0;
        const uint8_t *key = gometa_entry_key(gometa_page_entry(page, i), &length);
        strcat(keys, i == 0 ? "" : " ");
        strncat(keys, (const char *)key, length);
    }
    if (strcmp(keys, expected) != 0) {
        fprintf(stderr, "expected the keys %s, not %s\n", expected, keys);
        exit(1);
    }
}

/* The first page of the range has these keys. Returns its revision. */
static uint64_t reads(const gometa_client_t *client, const gometa_range_t *range, const char *expected)
{
    gometa_page_t *page = NULL;
    CHECK(gometa_client_range(client, range, &page, NULL) == GOMETA_OK);
    has_keys(page, expected);
    uint64_t revision = gometa_page_revision(page);
    gometa_page_free(page);
    return revision;
}

static void pages(const gometa_client_t *client)
{
    gometa_range_t *range = range_of("r/");
    gometa_read_options_t *local = NULL;
    gometa_page_t *page = NULL;
    size_t length = 9;
    set(client, "r/a", "1", 1);
    set(client, "r/b/1", "2", 1);
    set(client, "r/b/2", "3", 1);
    uint64_t revision = set(client, "r/c", "4", 1);
    CHECK(reads(client, range, "r/a r/b/1 r/b/2 r/c") >= revision);

    /* The entries of a page, and where the next one begins. */
    CHECK(gometa_range_set_limit(range, 2, NULL) == GOMETA_OK);
    CHECK(gometa_client_range(client, range, &page, NULL) == GOMETA_OK && gometa_page_count(page) == 2);
    const gometa_entry_t *entry = gometa_page_entry(page, 1);
    CHECK(*gometa_entry_value(entry, &length) == '2' && length == 1 && !gometa_entry_is_group(entry));
    CHECK(gometa_entry_version(entry) == 1 && gometa_entry_create_revision(entry) > 0);
    CHECK(gometa_entry_mod_revision(entry) == gometa_entry_create_revision(entry));
    CHECK(gometa_page_entry(page, 2) == NULL && gometa_page_entry(page, SIZE_MAX) == NULL);
    const uint8_t *next = gometa_page_next(page, &length);
    CHECK(length == 5 && memcmp(next, "r/b/2", 5) == 0);
    CHECK(gometa_range_set_start(range, next, length, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_at_revision(range, gometa_page_revision(page), NULL) == GOMETA_OK);
    gometa_page_free(page);
    set(client, "r/d", "5", 1);
    CHECK(gometa_range_set_limit(range, 0, NULL) == GOMETA_OK);
    CHECK(gometa_client_range(client, range, &page, NULL) == GOMETA_OK);
    has_keys(page, "r/b/2 r/c");
    CHECK(gometa_page_next(page, &length) == NULL && length == 0 && gometa_page_next(page, NULL) == NULL);
    gometa_page_free(page);

    /* Every part of a range can be changed and taken back. */
    CHECK(gometa_range_set_start(range, NULL, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_at_revision(range, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_reverse(range, true, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_limit(range, 2, NULL) == GOMETA_OK);
    reads(client, range, "r/d r/c");
    CHECK(gometa_range_set_reverse(range, false, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_limit(range, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_end(range, "r/c", 3, NULL) == GOMETA_OK);
    reads(client, range, "r/a r/b/1 r/b/2");
    CHECK(gometa_range_set_end(range, "", 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_keys_only(range, true, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_delimiter(range, "/", 1, NULL) == GOMETA_OK);
    CHECK(gometa_client_range(client, range, &page, NULL) == GOMETA_OK);
    has_keys(page, "r/a r/b/ r/c r/d");
    entry = gometa_page_entry(page, 0);
    CHECK(gometa_entry_value(entry, &length) != NULL && length == 0 && gometa_entry_version(entry) == 1);
    entry = gometa_page_entry(page, 1);
    CHECK(gometa_entry_is_group(entry) && gometa_entry_version(entry) == 0 && gometa_entry_mod_revision(entry) == 0);
    gometa_page_free(page);
    CHECK(gometa_range_set_delimiter(range, NULL, 0, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_new(&local, NULL) == GOMETA_OK);
    CHECK(gometa_read_options_set_consistency(local, GOMETA_LOCAL, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_read_options(range, local, NULL) == GOMETA_OK);
    gometa_read_options_free(local);
    reads(client, range, "r/a r/b/1 r/b/2 r/c r/d");
    CHECK(gometa_range_set_read_options(range, NULL, NULL) == GOMETA_OK);
    reads(client, range, "r/a r/b/1 r/b/2 r/c r/d");
    gometa_range_free(range);
}

static void counts_and_revisions(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_range_t *range = range_of("r/");
    gometa_entry_t *entry = NULL;
    gometa_future_t *future = NULL;
    uint64_t count = 42;
    uint64_t before = set(client, "r/a", "old", 3);
    uint64_t after = set(client, "r/a", "new", 3);
    CHECK(gometa_client_count(client, range, &count, &error) == GOMETA_OK && count == 5);
    CHECK(gometa_client_count(client, range, NULL, &error) == GOMETA_OK);
    CHECK(gometa_range_set_limit(range, 3, NULL) == GOMETA_OK);
    CHECK(gometa_client_count(client, range, &count, &error) == GOMETA_OK && count == 3);
    CHECK(gometa_range_set_limit(range, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_delimiter(range, "/", 1, NULL) == GOMETA_OK);
    CHECK(gometa_client_count(client, range, &count, &error) == GOMETA_OK && count == 4);

    CHECK(gometa_client_get_at(client, "r/a", 3, before, &entry, &error) == GOMETA_OK);
    CHECK(memcmp(gometa_entry_value(entry, NULL), "old", 3) == 0 && gometa_entry_mod_revision(entry) == before);
    gometa_entry_free(entry);
    CHECK(gometa_client_get_at_async(client, "r/a", 3, after, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_entry(future, &entry, &error) == GOMETA_OK);
    CHECK(memcmp(gometa_entry_value(entry, NULL), "new", 3) == 0);
    gometa_entry_free(entry);
    gometa_future_free(future);
    entry = NULL;
    FAILS(gometa_client_get_at(client, "r/absent", 8, after, &entry, &error), GOMETA_NOT_FOUND);
    FAILS(gometa_client_get_at(client, "r/a", 3, UINT64_MAX / 2, &entry, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get_at(client, "", 0, after, &entry, &error), GOMETA_INVALID_ARGUMENT);

    /* By a future, whose range is freed before it is ready; and all keys. */
    uint64_t deleted = 0;
    CHECK(gometa_client_count_async(client, range, &future, &error) == GOMETA_OK);
    gometa_range_free(range);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_count(future, NULL, &error) == GOMETA_OK);
    CHECK(gometa_future_count(future, &count, &error) == GOMETA_OK && count == 4);
    FAILS(gometa_future_entry(future, &entry, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    CHECK(gometa_client_delete_prefix(client, "r/b/", 4, &deleted, &error) == GOMETA_OK && deleted == 2);
    CHECK(gometa_client_delete_prefix(client, "r/b/", 4, NULL, &error) == GOMETA_OK);
    CHECK(gometa_client_delete_prefix_async(client, "r/", 2, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_count(future, &deleted, &error) == GOMETA_OK && deleted == 3);
    gometa_future_free(future);
    CHECK(entry == NULL);
}

/* Reads the other pages of a scan of large values, which begin with a character, and its end. */
static void rest(gometa_scan_t *scan, char first, int count, uint64_t revision)
{
    gometa_page_t *page = NULL;
    for (int i = 0; i < count; i++) {
        size_t length = 0;
        CHECK(gometa_scan_next(scan, &page, NULL) == GOMETA_OK && gometa_page_count(page) == 1);
        CHECK(*gometa_entry_value(gometa_page_entry(page, 0), &length) == first && length == sizeof large);
        CHECK(gometa_page_revision(page) == revision);
        gometa_page_free(page);
    }
    for (int i = 0; i < 2; i++) {
        gometa_error_t *error = NULL;
        CHECK(gometa_scan_next(scan, &page, &error) == GOMETA_OK && page == NULL && error == NULL);
    }
}

static void scans(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_range_t *range = range_of("large/");
    gometa_scan_t *scan = NULL;
    gometa_page_t *page = NULL;
    gometa_future_t *future = NULL;
    uint64_t revision = set_large(client, 'a');

    /* All pages are those of one revision, while the keys change. */
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    CHECK(gometa_scan_next(scan, &page, &error) == GOMETA_OK);
    has_keys(page, "large/0");
    CHECK(gometa_page_revision(page) >= revision);
    revision = gometa_page_revision(page);
    gometa_page_free(page);
    set_large(client, 'b');
    CHECK(gometa_client_delete(client, "large/1", 7, NULL, &error) == GOMETA_OK);
    rest(scan, 'a', LARGE - 1, revision);
    gometa_scan_free(scan);

    /* In descending order, as it was, and no more than the limit; the range is freed before. */
    CHECK(gometa_range_set_at_revision(range, revision, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_reverse(range, true, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_limit(range, LARGE - 1, NULL) == GOMETA_OK);
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    gometa_range_free(range);
    CHECK(gometa_scan_next_async(scan, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_page(future, &page, &error) == GOMETA_OK);
    has_keys(page, "large/2");
    gometa_page_free(page);
    /* The result can be read again, but not as another one. */
    CHECK(gometa_future_page(future, &page, &error) == GOMETA_OK);
    gometa_page_free(page);
    FAILS(gometa_future_count(future, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    rest(scan, 'a', 1, revision);
    CHECK(gometa_scan_next_async(scan, &future, &error) == GOMETA_OK);
    gometa_scan_free(scan);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    CHECK(gometa_future_page(future, &page, &error) == GOMETA_OK && page == NULL);
    gometa_future_free(future);

    /* A scan of nothing has one page. A scan may be freed at any time. */
    range = range_of("nothing/");
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    CHECK(gometa_scan_next(scan, &page, &error) == GOMETA_OK && gometa_page_count(page) == 0);
    gometa_page_free(page);
    rest(scan, 'a', 0, 0);
    gometa_scan_free(scan);
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    gometa_scan_free(scan);
    gometa_range_free(range);
}

/* A cancelled call loses no page, an error ends the scan. */
static void interrupted(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_range_t *range = range_of("large/");
    gometa_scan_t *scan = NULL;
    gometa_page_t *page = NULL;
    gometa_future_t *future = NULL;
    set_large(client, 'c');
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    for (int i = 0; i < LARGE; i++) {
        CHECK(gometa_scan_next_async(scan, &future, &error) == GOMETA_OK);
        gometa_future_cancel(future);
        gometa_status_t status = gometa_future_page(future, &page, &error);
        gometa_future_free(future);
        if (status == GOMETA_OK) {
            /* It was ready already. */
            gometa_page_free(page);
        } else {
            FAILS(status, GOMETA_CANCELLED);
            CHECK(gometa_scan_next(scan, &page, &error) == GOMETA_OK && page != NULL);
            gometa_page_free(page);
        }
    }
    rest(scan, 'c', 0, 0);
    gometa_scan_free(scan);

    page = NULL;
    CHECK(gometa_range_set_at_revision(range, UINT64_MAX / 2, NULL) == GOMETA_OK);
    FAILS(gometa_client_range(client, range, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_count(client, range, NULL, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    FAILS(gometa_scan_next(scan, &page, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(page == NULL);
    rest(scan, 'c', 0, 0);
    gometa_scan_free(scan);
    CHECK(gometa_range_set_at_revision(range, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_start(range, "z", 1, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_end(range, "a", 1, NULL) == GOMETA_OK);
    FAILS(gometa_client_range(client, range, &page, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_range_set_end(range, NULL, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_prefix(range, large, 4097, NULL) == GOMETA_OK);
    FAILS(gometa_client_range(client, range, &page, &error), GOMETA_TOO_LARGE);
    CHECK(gometa_range_set_prefix(range, NULL, 0, NULL) == GOMETA_OK);
    CHECK(gometa_range_set_delimiter(range, large, 17, NULL) == GOMETA_OK);
    FAILS(gometa_client_range(client, range, &page, &error), GOMETA_TOO_LARGE);
    CHECK(page == NULL);
    gometa_range_free(range);
}

/* Calls on a closed client, and scans that were begun before. A scan may be used after its client is freed. */
static void closed(const char *peers)
{
    gometa_error_t *error = NULL;
    gometa_client_t *client = open_client(peers, 20000 * patience);
    gometa_range_t *range = range_of("large/");
    gometa_scan_t *unused = NULL;
    gometa_scan_t *begun = NULL;
    gometa_page_t *page = NULL;
    gometa_entry_t *entry = NULL;
    gometa_future_t *future = NULL;
    uint64_t count = 42;
    CHECK(gometa_client_scan(client, range, &begun, &error) == GOMETA_OK);
    gometa_client_free(client);
    CHECK(gometa_scan_next(begun, &page, &error) == GOMETA_OK);
    uint64_t revision = gometa_page_revision(page);
    gometa_page_free(page);
    rest(begun, 'c', LARGE - 1, revision);
    gometa_scan_free(begun);

    client = open_client(peers, 20000 * patience);
    CHECK(gometa_client_scan(client, range, &unused, &error) == GOMETA_OK);
    CHECK(gometa_client_scan(client, range, &begun, &error) == GOMETA_OK);
    CHECK(gometa_scan_next(begun, &page, &error) == GOMETA_OK);
    gometa_page_free(page);
    page = NULL;
    gometa_client_close(client);
    FAILS(gometa_client_range(client, range, &page, &error), GOMETA_CLOSED);
    FAILS(gometa_client_count(client, range, &count, &error), GOMETA_CLOSED);
    FAILS(gometa_client_get_at(client, "k", 1, 1, &entry, &error), GOMETA_CLOSED);
    FAILS(gometa_client_delete_prefix(client, "r/", 2, &count, &error), GOMETA_CLOSED);
    FAILS(gometa_scan_next(unused, &page, &error), GOMETA_CLOSED);
    CHECK(page == NULL && count == 42 && entry == NULL);
    CHECK(gometa_client_range_async(client, range, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_page(future, &page, &error), GOMETA_CLOSED);
    gometa_future_free(future);
    gometa_client_free(client);
    /* The page that was read ahead may have arrived before. */
    gometa_status_t status = gometa_scan_next(begun, &page, &error);
    if (status == GOMETA_OK) {
        gometa_page_free(page);
        status = gometa_scan_next(begun, &page, &error);
    }
    FAILS(status, GOMETA_CLOSED);
    gometa_scan_free(begun);
    gometa_scan_free(unused);
    gometa_range_free(range);
}

/* NULL for every pointer. */
static void nulls(const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    gometa_range_t *range = range_of("");
    gometa_read_options_t *options = NULL;
    gometa_scan_t *scan = NULL;
    gometa_page_t *page = NULL;
    gometa_entry_t *entry = NULL;
    gometa_future_t *future = NULL;
    uint64_t count = 42;
    size_t length = 9;
    for (int i = 0; i < 2; i++) {
        gometa_range_free(NULL);
        gometa_page_free(NULL);
        gometa_scan_free(NULL);
    }
    CHECK(gometa_page_count(NULL) == 0 && gometa_page_entry(NULL, 0) == NULL && gometa_page_revision(NULL) == 0);
    CHECK(gometa_page_next(NULL, &length) == NULL && length == 0 && !gometa_entry_is_group(NULL));
    CHECK(gometa_read_options_new(&options, NULL) == GOMETA_OK);
    FAILS(gometa_range_new(NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_prefix(NULL, "a", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_prefix(range, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_prefix(range, large, SIZE_MAX, &error), GOMETA_TOO_LARGE);
    FAILS(gometa_range_set_start(NULL, "a", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_start(range, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_end(NULL, "a", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_end(range, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_delimiter(NULL, "/", 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_delimiter(range, NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_at_revision(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_limit(NULL, 1, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_reverse(NULL, true, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_keys_only(NULL, true, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_range_set_read_options(NULL, options, &error), GOMETA_INVALID_ARGUMENT);
    gometa_read_options_free(options);

    FAILS(gometa_client_range(NULL, range, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_range(client, NULL, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_range(client, range, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_range_async(NULL, range, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_range_async(client, NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_range_async(client, range, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_count(NULL, range, &count, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_count(client, NULL, &count, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_count_async(client, NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_count_async(client, range, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get_at(NULL, "k", 1, 0, &entry, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get_at(client, NULL, 1, 0, &entry, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get_at(client, "k", 1, 0, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_get_at_async(client, "k", 1, 0, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_delete_prefix(NULL, "r/", 2, &count, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_delete_prefix(client, NULL, 2, &count, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_delete_prefix_async(client, NULL, 2, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_delete_prefix_async(client, "r/", 2, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_scan(NULL, range, &scan, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_scan(client, NULL, &scan, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_client_scan(client, range, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_scan_next(NULL, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_scan_next_async(NULL, &future, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_page(NULL, &page, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_future_count(NULL, &count, &error), GOMETA_INVALID_ARGUMENT);
    CHECK(gometa_client_scan(client, range, &scan, &error) == GOMETA_OK);
    FAILS(gometa_scan_next(scan, NULL, &error), GOMETA_INVALID_ARGUMENT);
    FAILS(gometa_scan_next_async(scan, NULL, &error), GOMETA_INVALID_ARGUMENT);
    /* Without an error output. */
    CHECK(gometa_scan_next(scan, NULL, NULL) == GOMETA_INVALID_ARGUMENT);
    gometa_scan_free(scan);
    CHECK(gometa_client_range_async(client, range, &future, &error) == GOMETA_OK);
    CHECK(gometa_future_wait(future, 20000 * patience, &error) == GOMETA_OK);
    FAILS(gometa_future_page(future, NULL, &error), GOMETA_INVALID_ARGUMENT);
    gometa_future_free(future);
    gometa_range_free(range);
    CHECK(page == NULL && entry == NULL && count == 42);
}

int main(int count, char **given)
{
    CHECK(count == 3);
    patience = strtoull(given[1], NULL, 10);
    CHECK(patience > 0);
    gometa_client_t *client = open_client(given[2], 20000 * patience);
    nulls(client);
    pages(client);
    counts_and_revisions(client);
    scans(client);
    interrupted(client);
    closed(given[2]);
    gometa_client_free(client);
    puts("passed");
    return 0;
}
