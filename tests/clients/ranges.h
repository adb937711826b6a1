/* The fields of a line that are the parts of a range, and the answers with entries, for the driver in C. */
#ifndef RANGES_H
#define RANGES_H

#include "line.h"

static uint32_t consistency_of(const line_t *line)
{
    const char *name = text_of(line, "consistency");
    if (strcmp(name, "linearizable") == 0) {
        return GOMETA_LINEARIZABLE;
    }
    if (strcmp(name, "local") != 0) {
        fail("line %s: there is no consistency %s", line->number, name);
    }
    return GOMETA_LOCAL;
}

/* Returns NULL if the line has no options. */
static gometa_status_t read_options_of(const line_t *line, gometa_read_options_t **options, gometa_error_t **error)
{
    gometa_status_t status = GOMETA_OK;
    if (find(line, "consistency") != NULL || find(line, "min_revision") != NULL) {
        status = gometa_read_options_new(options, error);
    }
    if (status == GOMETA_OK && find(line, "consistency") != NULL) {
        status = gometa_read_options_set_consistency(*options, consistency_of(line), error);
    }
    if (status == GOMETA_OK && find(line, "min_revision") != NULL) {
        status = gometa_read_options_set_min_revision(*options, number_of(line, "min_revision"), error);
    }
    return status;
}

/* Sets a part of a range, if the line has it. */
static gometa_status_t set_part(const line_t *line, const char *name, gometa_range_t *range,
                                gometa_status_t (*set)(gometa_range_t *, const void *, size_t, gometa_error_t **),
                                gometa_error_t **error)
{
    if (find(line, name) == NULL) {
        return GOMETA_OK;
    }
    bytes_t part = bytes_of(line, name);
    gometa_status_t status = set(range, part.data, part.length, error);
    free(part.data);
    return status;
}

static gometa_status_t set_range(const line_t *line, gometa_range_t *range, gometa_error_t **error)
{
    gometa_read_options_t *options = NULL;
    gometa_status_t status = read_options_of(line, &options, error);
    if (status == GOMETA_OK) {
        status = gometa_range_set_read_options(range, options, error);
    }
    gometa_read_options_free(options);
    if (status == GOMETA_OK) {
        status = set_part(line, "prefix", range, gometa_range_set_prefix, error);
    }
    if (status == GOMETA_OK) {
        status = set_part(line, "start", range, gometa_range_set_start, error);
    }
    if (status == GOMETA_OK) {
        status = set_part(line, "end", range, gometa_range_set_end, error);
    }
    if (status == GOMETA_OK) {
        status = set_part(line, "delimiter", range, gometa_range_set_delimiter, error);
    }
    if (status == GOMETA_OK && find(line, "at_revision") != NULL) {
        status = gometa_range_set_at_revision(range, number_of(line, "at_revision"), error);
    }
    if (status == GOMETA_OK && find(line, "limit") != NULL) {
        status = gometa_range_set_limit(range, number_of(line, "limit"), error);
    }
    if (status == GOMETA_OK && flag_of(line, "reverse")) {
        status = gometa_range_set_reverse(range, true, error);
    }
    if (status == GOMETA_OK && flag_of(line, "keys_only")) {
        status = gometa_range_set_keys_only(range, true, error);
    }
    return status;
}

/* The pages of a range, or of a scan so far. */
typedef struct {
    /* NULL for a range. */
    gometa_scan_t *handle;
    bool keys_only;
    gometa_page_t **pages;
    size_t count;
    /* Of a digest, which keeps no pages. */
    bool is_digest;
    uint64_t entries;
    uint32_t low, high;
} scan_t;

/* Adds a page to a digest: Adler-32, which begins with low 1. */
static void add_to_digest(scan_t *scan, const gometa_page_t *page)
{
    for (size_t i = 0; i < gometa_page_count(page); i++) {
        const gometa_entry_t *entry = gometa_page_entry(page, i);
        size_t lengths[2];
        const uint8_t *parts[2] = {gometa_entry_key(entry, &lengths[0]), gometa_entry_value(entry, &lengths[1])};
        for (size_t part = 0; part < 2; part++) {
            for (size_t j = 0; j < lengths[part]; j++) {
                scan->low = (scan->low + parts[part][j]) % 65521;
                scan->high = (scan->high + scan->low) % 65521;
            }
        }
        scan->entries++;
    }
}

/* Writes one field of all entries. */
static void put_entries(const scan_t *scan, const uint8_t *(*field)(const gometa_entry_t *, size_t *))
{
    const char *comma = "";
    for (size_t i = 0; i < scan->count; i++) {
        for (size_t j = 0; j < gometa_page_count(scan->pages[i]); j++) {
            size_t length = 0;
            const uint8_t *bytes = field(gometa_page_entry(scan->pages[i], j), &length);
            fputs(comma, stdout);
            put_hex(bytes, length);
            comma = ",";
        }
    }
}

/* Answers a range or a scan, which has a page at least. */
static void answer_entries(const char *number, const scan_t *scan)
{
    size_t groups = 0, length = 0;
    begin();
    printf("%s ok revision=%" PRIu64, number, gometa_page_revision(scan->pages[0]));
    const uint8_t *next = gometa_page_next(scan->pages[scan->count - 1], &length);
    if (scan->handle == NULL && next != NULL) {
        printf(" next=");
        put_hex(next, length);
    }
    printf(" keys=");
    put_entries(scan, gometa_entry_key);
    if (!scan->keys_only) {
        printf(" values=");
        put_entries(scan, gometa_entry_value);
    }
    for (size_t i = 0; i < scan->count; i++) {
        for (size_t j = 0; j < gometa_page_count(scan->pages[i]); j++) {
            groups += gometa_entry_is_group(gometa_page_entry(scan->pages[i], j));
        }
    }
    printf(" groups=%zu", groups);
    end();
}

#endif
