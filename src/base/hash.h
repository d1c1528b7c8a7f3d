/* SHA-256 (libcrypto). */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>

#include "base/status.h"

enum { SHA256_SIZE = 32, SHA256_HEX_SIZE = 65 };

struct sha256;

enum status sha256_begin(struct sha256 **out) STATUS_CHECKED;
void sha256_update(struct sha256 *sha, const void *bytes, size_t length);
/* Writes the digest in hexadecimal and frees `sha`; NULL is accepted and writes "". */
void sha256_finish(struct sha256 *sha, char hex[SHA256_HEX_SIZE]);

/* Digest of one buffer, or of a whole file. */
enum status sha256_bytes(char hex[SHA256_HEX_SIZE], const void *bytes,
                         size_t length) STATUS_CHECKED;
enum status sha256_file(char hex[SHA256_HEX_SIZE], const char *path) STATUS_CHECKED;

/* The digest of two buffers, one after the other, as bytes. Any thread may call this. */
enum status sha256_raw(unsigned char out[SHA256_SIZE], const void *head, size_t head_length,
                       const void *bytes, size_t length) STATUS_CHECKED;
void sha256_format(char hex[SHA256_HEX_SIZE], const unsigned char digest[SHA256_SIZE]);

const char *hash_library_version(void); /* of OpenSSL: "3.0.17" */

#endif
