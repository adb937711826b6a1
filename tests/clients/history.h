/* The history of a key, for the driver in C. */
#ifndef HISTORY_H
#define HISTORY_H

#include "ranges.h"

static gometa_status_t set_history_options(const line_t *line, gometa_history_options_t *options,
                                           gometa_error_t **error)
{
    gometa_read_options_t *read = NULL;
    gometa_status_t status = read_options_of(line, &read, error);
    if (status == GOMETA_OK) {
        status = gometa_history_options_set_read_options(options, read, error);
    }
    gometa_read_options_free(read);
    if (status == GOMETA_OK && find(line, "before_revision") != NULL) {
        status = gometa_history_options_set_before_revision(options, number_of(line, "before_revision"), error);
    }
    if (status == GOMETA_OK && find(line, "limit") != NULL) {
        status = gometa_history_options_set_limit(options, number_of(line, "limit"), error);
    }
    if (status == GOMETA_OK && flag_of(line, "keys_only")) {
        status = gometa_history_options_set_keys_only(options, true, error);
    }
    return status;
}

static gometa_status_t start_history(const line_t *line, const gometa_client_t *client, gometa_future_t **future,
                                     gometa_error_t **error)
{
    gometa_history_options_t *options = NULL;
    bytes_t key = bytes_of(line, "key");
    gometa_status_t status = gometa_history_options_new(&options, error);
    if (status == GOMETA_OK) {
        status = set_history_options(line, options, error);
    }
    if (status == GOMETA_OK) {
        status = gometa_client_history_async(client, key.data, key.length, options, future, error);
    }
    gometa_history_options_free(options);
    free(key.data);
    return status;
}

/* Writes the version at an index without its value. */
static void put_version(const gometa_history_t *history, size_t index)
{
    const gometa_key_version_t *version = gometa_history_version(history, index);
    printf("%s%" PRIu64, index == 0 ? "" : ",", gometa_key_version_revision(version));
    if (gometa_key_version_deleted(version)) {
        printf(":deleted");
    } else {
        printf(":%" PRIu64 ":%" PRIu64 ":%" PRIu64, gometa_key_version_number(version),
               gometa_key_version_create_revision(version), gometa_key_version_value_size(version));
    }
}

static void answer_history(const char *number, const gometa_future_t *future, bool keys_only, gometa_error_t **error)
{
    gometa_history_t *history = NULL;
    if (gometa_future_history(future, &history, error) != GOMETA_OK) {
        return;
    }
    begin();
    printf("%s ok revision=%" PRIu64 " oldest_revision=%" PRIu64, number, gometa_history_revision(history),
           gometa_history_oldest_revision(history));
    if (gometa_history_next_before(history) != 0) {
        printf(" next_before=%" PRIu64, gometa_history_next_before(history));
    }
    printf(" versions=");
    for (size_t i = 0; i < gometa_history_count(history); i++) {
        put_version(history, i);
    }
    if (!keys_only) {
        printf(" values=");
    }
    for (size_t i = 0; i < gometa_history_count(history) && !keys_only; i++) {
        size_t length = 0;
        const uint8_t *value = gometa_key_version_value(gometa_history_version(history, i), &length);
        fputs(i == 0 ? "" : ",", stdout);
        put_hex(value, length);
    }
    end();
    gometa_history_free(history);
}

/* The id of the history that the client knows, without a call. */
static void answer_history_id(const char *number, const gometa_client_t *client)
{
    gometa_error_t *error = NULL;
    uint64_t history = 0;
    if (gometa_client_history_id(client, &history, &error) != GOMETA_OK) {
        fail("line %s: %s", number, gometa_error_message(error));
    }
    begin();
    printf("%s ok", number);
    if (history != 0) {
        printf(" history=%" PRIu64, history);
    }
    end();
}

#endif
