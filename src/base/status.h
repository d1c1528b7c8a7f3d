/* Status codes and the message that goes with a failure.
 *
 * Every function that can fail returns `enum status`. The function that finds the fault sets the
 * message (with the file, tensor or key in double quotes and both values where two disagree) and
 * returns what status_fail() returned; callers pass the status on and release what they own.
 * Only src/cmd prints messages and chooses exit codes. The values are the exit codes. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

enum status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_INTERRUPTED = 130,
};

#define STATUS_CHECKED __attribute__((warn_unused_result))
#define STATUS_PRINTF(string, first) __attribute__((format(printf, string, first)))

/* Set this thread's message (printf-style, one lower-case line, no final newline) and return
 * STATUS_FAILED. The arguments may include the current message. */
enum status status_fail(const char *format, ...) STATUS_PRINTF(1, 2);

/* The same, but returns `code`. */
enum status status_set(enum status code, const char *format, ...) STATUS_PRINTF(2, 3);

/* This thread's last message; "" when none was set. Borrowed, valid until the next status_fail. */
const char *status_message(void);

#endif
