/* The guard of a line, its calls about settings, and their answers, for the driver in C. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "line.h"

/* Makes a handle with the guard of a line, key:revision. */
static gometa_status_t with_guard(const line_t *line, const gometa_client_t *client, gometa_client_t **guarded,
                                  gometa_error_t **error)
{
    char *text = text_of(line, "guard");
    char *revision = strchr(text, ':');
    if (revision == NULL) {
        fail("line %s: %s is no guard", line->number, text);
    }
    *revision++ = '\0';
    bytes_t key = bytes_in(line, "guard", text);
    gometa_status_t status =
        gometa_client_with_guard(client, key.data, key.length, number_in(revision), guarded, error);
    free(key.data);
    return status;
}

static gometa_status_t start_set_setting(const line_t *line, const gometa_client_t *client, gometa_future_t **future,
                                         gometa_error_t **error)
{
    uint64_t value = 0;
    const uint64_t *given = NULL;
    if (find(line, "number") != NULL) {
        value = number_of(line, "number");
        given = &value;
    }
    return gometa_client_set_setting_async(client, text_of(line, "setting"), given, future, error);
}

static void answer_settings(const char *number, const gometa_future_t *future, gometa_error_t **error)
{
    gometa_settings_t *settings = NULL;
    if (gometa_future_settings(future, &settings, error) == GOMETA_OK) {
        begin();
        printf("%s ok", number);
        for (size_t i = 0; i < gometa_settings_count(settings); i++) {
            printf(" %s=%" PRIu64, gometa_settings_name(settings, i), gometa_settings_value(settings, i));
        }
        end();
    }
    gometa_settings_free(settings);
}

static void answer_set_setting(const char *number, const gometa_future_t *future, gometa_error_t **error)
{
    uint64_t revision = 0;
    if (gometa_future_revision(future, &revision, error) == GOMETA_OK) {
        begin();
        printf("%s ok revision=%" PRIu64, number, revision);
        end();
    }
}

#endif
