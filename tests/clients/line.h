/* The lines that the driver in C reads (number, verb and name=value fields), and its answers. */
#ifndef LINE_H
#define LINE_H

#include <errno.h>
#include <gometa.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("c-driver: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void *must(void *memory)
{
    if (memory == NULL) {
        fail("no memory");
    }
    return memory;
}

static char *copy_of(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(must(malloc(size)), text, size);
}

/* A line: number, verb and name=value fields, parsed in place. */
typedef struct {
    char *number, *verb;
    char *names[WORDS_MAX], *values[WORDS_MAX];
    int count;
} line_t;

static void parse(char *text, line_t *line)
{
    memset(line, 0, sizeof *line);
    for (char *word = text; word != NULL;) {
        char *next = strchr(word, ' ');
        if (next != NULL) {
            *next++ = '\0';
        }
        if (line->number == NULL) {
            line->number = word;
        } else if (line->verb == NULL) {
            line->verb = word;
        } else {
            char *value = strchr(word, '=');
            if (value == NULL || line->count == WORDS_MAX) {
                fail("cannot understand %s of line %s", word, line->number);
            }
            *value = '\0';
            line->names[line->count] = word;
            line->values[line->count++] = value + 1;
        }
        word = next;
    }
    if (line->verb == NULL) {
        fail("cannot understand a line");
    }
}

/* Returns NULL if the line has no such field. */
static char *find(const line_t *line, const char *name)
{
    for (int i = 0; i < line->count; i++) {
        if (strcmp(line->names[i], name) == 0) {
            return line->values[i];
        }
    }
    return NULL;
}

static char *text_of(const line_t *line, const char *name)
{
    char *value = find(line, name);
    if (value == NULL) {
        fail("line %s: %s without %s", line->number, line->verb, name);
    }
    return value;
}

static uint64_t number_in(const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0') {
        fail("%s is no number", text);
    }
    return number;
}

static uint64_t number_of(const line_t *line, const char *name)
{
    return number_in(text_of(line, name));
}

typedef struct {
    unsigned char *data;
    size_t length;
} bytes_t;

static int digit(char sign)
{
    const char *digits = "0123456789abcdef";
    const char *found = sign == '\0' ? NULL : strchr(digits, sign);
    return found == NULL ? -1 : (int)(found - digits);
}

/* The bytes of a text; the name is for messages. */
static bytes_t bytes_in(const line_t *line, const char *name, const char *text)
{
    bytes_t bytes = {NULL, strlen(text) / 2};
    if (strlen(text) % 2 != 0) {
        fail("line %s: %s has half a byte", line->number, name);
    }
    bytes.data = must(malloc(bytes.length + 1));
    for (size_t i = 0; i < bytes.length; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            fail("line %s: %s is not hexadecimal", line->number, name);
        }
        bytes.data[i] = (unsigned char)(high << 4 | low);
    }
    return bytes;
}

static bytes_t bytes_of(const line_t *line, const char *name)
{
    return bytes_in(line, name, text_of(line, name));
}

/* Returns false if the line has no such field. */
static bool flag_of(const line_t *line, const char *name)
{
    const char *value = find(line, name);
    if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
        fail("line %s: %s is %s", line->number, name, value);
    }
    return value != NULL && strcmp(value, "true") == 0;
}

/* Answers: each line is written at once, by one thread at a time. */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

static void begin(void)
{
    pthread_mutex_lock(&writing);
}

static void end(void)
{
    putchar('\n');
    if (fflush(stdout) != 0) {
        fail("cannot write");
    }
    pthread_mutex_unlock(&writing);
}

static void put_hex(const void *data, size_t length)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        putchar("0123456789abcdef"[bytes[i] >> 4]);
        putchar("0123456789abcdef"[bytes[i] & 15]);
    }
}

static void answer(const char *number, const char *what)
{
    begin();
    printf("%s %s", number, what);
    end();
}

/* Frees the error. */
static void answer_error(const char *number, gometa_error_t *error)
{
    gometa_status_t status = gometa_error_status(error);
    const char *outcome = gometa_error_outcome(error) == GOMETA_OUTCOME_NOT_APPLIED ? "not_applied" : "unknown";
    const char *retryable = gometa_error_is_retryable(error) ? "true" : "false";
    uint64_t actual = 0;
    begin();
    printf("%s error kind=%s number=%" PRIu32 " retryable=%s outcome=%s", number, gometa_status_name(status),
           (uint32_t)status, retryable, outcome);
    if (gometa_error_actual_revision(error, &actual)) {
        printf(" actual_revision=%" PRIu64, actual);
    }
    printf(" message=");
    put_hex(gometa_error_message(error), strlen(gometa_error_message(error)));
    end();
    gometa_error_free(error);
}

#endif
