/* SHA-256 (libcrypto). */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>

#include "base/status.h"

enum { SHA256_HEX_SIZE = 65 };

struct sha256;

enum status sha256_begin(struct sha256 **out) STATUS_CHECKED;
void sha256_update(struct sha256 *sha, const void *bytes, size_t length);
/* Writes the digest in hexadecimal and frees `sha`; NULL is accepted and writes "". */
void sha256_finish(struct sha256 *sha, char hex[SHA256_HEX_SIZE]);

/* Digest of one buffer, or of a whole file. */
enum status sha256_bytes(char hex[SHA256_HEX_SIZE], const void *bytes, size_t length) STATUS_CHECKED;
enum status sha256_file(char hex[SHA256_HEX_SIZE], const char *path) STATUS_CHECKED;

#endif
