/* The transaction of a line, and its answer, for the driver in C. */
#ifndef TXNS_H
#define TXNS_H

#include "ranges.h"

#define PARTS_MAX 4

/* Splits a text at a sign, in place; returns the number of parts. */
static int split(const line_t *line, char *text, char sign, char **parts)
{
    int count = 0;
    while (text != NULL) {
        char *next = strchr(text, sign);
        if (next != NULL) {
            *next++ = '\0';
        }
        if (count == PARTS_MAX) {
            fail("line %s: %s is one part too many", line->number, text);
        }
        parts[count++] = text;
        text = next;
    }
    return count;
}

static uint32_t relation_of(const line_t *line, const char *sign)
{
    static const char *signs[] = {"=", "!=", "<", ">"};
    static const gometa_relation_t relations[] = {GOMETA_EQUAL, GOMETA_NOT_EQUAL, GOMETA_LESS, GOMETA_GREATER};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (strcmp(sign, signs[i]) == 0) {
            return relations[i];
        }
    }
    fail("line %s: there is no relation %s", line->number, sign);
    return 0;
}

/* Makes the range of a prefix; it is to be freed even after a failure. */
static gometa_status_t new_prefix(bytes_t prefix, gometa_range_t **range, gometa_error_t **error)
{
    gometa_status_t status = gometa_range_new(range, error);
    return status == GOMETA_OK ? gometa_range_set_prefix(*range, prefix.data, prefix.length, error) : status;
}

/* Adds a comparison, fact:relation:key:operand, or range:count:prefix:revision. */
static gometa_status_t add_compare(const line_t *line, char *text, gometa_txn_t *txn, gometa_error_t **error)
{
    char *parts[PARTS_MAX];
    if (split(line, text, ':', parts) != 4) {
        fail("line %s: %s is no comparison", line->number, text);
    }
    bytes_t key = bytes_in(line, "key", parts[2]);
    gometa_status_t status = GOMETA_OK;
    if (strcmp(parts[0], "range") == 0) {
        gometa_range_t *range = NULL;
        status = new_prefix(key, &range, error);
        if (status == GOMETA_OK) {
            status = gometa_txn_when_range(txn, range, number_in(parts[1]), number_in(parts[3]), error);
        }
        gometa_range_free(range);
        free(key.data);
        return status;
    }
    uint32_t relation = relation_of(line, parts[1]);
    if (strcmp(parts[0], "value") == 0) {
        bytes_t value = bytes_in(line, "value", parts[3]);
        status = gometa_txn_when_value(txn, key.data, key.length, relation, value.data, value.length, error);
        free(value.data);
    } else if (strcmp(parts[0], "mod_revision") == 0) {
        status = gometa_txn_when_mod_revision(txn, key.data, key.length, relation, number_in(parts[3]), error);
    } else if (strcmp(parts[0], "create_revision") == 0) {
        status = gometa_txn_when_create_revision(txn, key.data, key.length, relation, number_in(parts[3]), error);
    } else {
        fail("line %s: there is no fact %s", line->number, parts[0]);
    }
    free(key.data);
    return status;
}

/* Adds an operation, verb:key or set:key:value. */
static gometa_status_t add_operation(const line_t *line, char *text, gometa_branch_t branch, gometa_txn_t *txn,
                                     gometa_error_t **error)
{
    char *parts[PARTS_MAX];
    int count = split(line, text, ':', parts);
    if (count != (strcmp(parts[0], "set") == 0 ? 3 : 2)) {
        fail("line %s: %s is no operation", line->number, text);
    }
    bytes_t key = bytes_in(line, "key", parts[1]);
    gometa_status_t status = GOMETA_OK;
    if (count == 3) {
        bytes_t value = bytes_in(line, "value", parts[2]);
        status = gometa_txn_set(txn, branch, key.data, key.length, value.data, value.length, error);
        free(value.data);
    } else if (strcmp(parts[0], "delete") == 0) {
        status = gometa_txn_delete(txn, branch, key.data, key.length, error);
    } else if (strcmp(parts[0], "get") == 0) {
        status = gometa_txn_get(txn, branch, key.data, key.length, error);
    } else if (strcmp(parts[0], "range") == 0 || strcmp(parts[0], "delete_range") == 0) {
        gometa_range_t *range = NULL;
        status = new_prefix(key, &range, error);
        if (status == GOMETA_OK) {
            status = parts[0][0] == 'd' ? gometa_txn_delete_range(txn, branch, range, error)
                                        : gometa_txn_range(txn, branch, range, error);
        }
        gometa_range_free(range);
    } else {
        fail("line %s: there is no operation %s", line->number, parts[0]);
    }
    free(key.data);
    return status;
}

/* Adds the lists of a line, which may be left out. Its text is changed. */
static gometa_status_t set_txn(const line_t *line, gometa_txn_t *txn, gometa_error_t **error)
{
    static const char *lists[] = {"when", "then", "otherwise"};
    gometa_read_options_t *options = NULL;
    gometa_status_t status = read_options_of(line, &options, error);
    if (status == GOMETA_OK) {
        status = gometa_txn_set_read_options(txn, options, error);
    }
    gometa_read_options_free(options);
    for (int i = 0; i < 3; i++) {
        char *part = find(line, lists[i]);
        while (part != NULL && status == GOMETA_OK) {
            char *next = strchr(part, ',');
            if (next != NULL) {
                *next++ = '\0';
            }
            if (i == 0) {
                status = add_compare(line, part, txn, error);
            } else {
                status = add_operation(line, part, i == 1 ? GOMETA_THEN : GOMETA_OTHERWISE, txn, error);
            }
            part = next;
        }
    }
    return status;
}

static gometa_status_t start_txn(const line_t *line, const gometa_client_t *client, gometa_future_t **future,
                                 gometa_error_t **error)
{
    gometa_txn_t *txn = NULL;
    gometa_status_t status = gometa_txn_new(&txn, error);
    if (status == GOMETA_OK) {
        status = set_txn(line, txn, error);
    }
    if (status == GOMETA_OK) {
        status = gometa_client_commit_async(client, txn, future, error);
    }
    gometa_txn_free(txn);
    return status;
}

static void put_result(const gometa_txn_result_t *result, size_t index)
{
    gometa_written_t written = {0, 0};
    gometa_deleted_t deleted = {0, false};
    gometa_deleted_range_t deleted_range = {0, 0};
    const gometa_page_t *page = gometa_txn_result_page(result, index);
    size_t length = 0;
    switch (gometa_txn_result_kind(result, index)) {
    case GOMETA_RESULT_WRITTEN:
        gometa_txn_result_written(result, index, &written);
        printf("written:%" PRIu64, written.version);
        break;
    case GOMETA_RESULT_DELETED:
        gometa_txn_result_deleted(result, index, &deleted);
        printf("deleted:%s", deleted.existed ? "true" : "false");
        break;
    case GOMETA_RESULT_DELETED_RANGE:
        gometa_txn_result_deleted_range(result, index, &deleted_range);
        printf("deleted_range:%" PRIu64, deleted_range.count);
        break;
    case GOMETA_RESULT_ENTRY:
        printf("entry:");
        const uint8_t *value = gometa_entry_value(gometa_txn_result_entry(result, index), &length);
        put_hex(value, length);
        break;
    case GOMETA_RESULT_ABSENT:
        printf("absent");
        break;
    case GOMETA_RESULT_PAGE:
        printf("page:");
        for (size_t i = 0; i < gometa_page_count(page); i++) {
            const uint8_t *key = gometa_entry_key(gometa_page_entry(page, i), &length);
            fputs(i == 0 ? "" : "+", stdout);
            put_hex(key, length);
        }
        break;
    default:
        printf("error:%s", gometa_status_name(gometa_error_status(gometa_txn_result_error(result, index))));
    }
}

/* Answers a transaction, unless it has failed. */
static void answer_txn(const char *number, const gometa_future_t *future, gometa_error_t **error)
{
    gometa_txn_result_t *result = NULL;
    if (gometa_future_txn_result(future, &result, error) != GOMETA_OK) {
        return;
    }
    begin();
    printf("%s ok succeeded=%s revision=%" PRIu64 " results=", number,
           gometa_txn_result_succeeded(result) ? "true" : "false", gometa_txn_result_revision(result));
    for (size_t i = 0; i < gometa_txn_result_count(result); i++) {
        fputs(i == 0 ? "" : ",", stdout);
        put_result(result, i);
    }
    end();
    gometa_txn_result_free(result);
}

#endif
