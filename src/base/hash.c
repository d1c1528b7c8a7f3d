#include "base/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

struct sha256; /* an EVP_MD_CTX under another name */

enum status sha256_begin(struct sha256 **out) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return status_fail("cannot start SHA-256");
    }
    *out = (struct sha256 *)context;
    return STATUS_OK;
}

void sha256_update(struct sha256 *sha, const void *bytes, size_t length) {
    EVP_DigestUpdate((EVP_MD_CTX *)sha, bytes, length);
}

void sha256_finish(struct sha256 *sha, char hex[SHA256_HEX_SIZE]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (sha) EVP_DigestFinal_ex((EVP_MD_CTX *)sha, digest, &length);
    EVP_MD_CTX_free((EVP_MD_CTX *)sha);
    hex[0] = '\0';
    if (length == SHA256_SIZE) sha256_format(hex, digest);
}

void sha256_format(char hex[SHA256_HEX_SIZE], const unsigned char digest[SHA256_SIZE]) {
    for (int i = 0; i < SHA256_SIZE; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

enum status sha256_raw(unsigned char out[SHA256_SIZE], const void *head, size_t head_length,
                       const void *bytes, size_t length) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, head, head_length) == 1 &&
                EVP_DigestUpdate(context, bytes, length) == 1 &&
                EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    return good ? STATUS_OK : status_fail("cannot compute SHA-256");
}

enum status sha256_bytes(char hex[SHA256_HEX_SIZE], const void *bytes, size_t length) {
    struct sha256 *sha;
    enum status status = sha256_begin(&sha);
    if (status) return status;
    sha256_update(sha, bytes, length);
    sha256_finish(sha, hex);
    return STATUS_OK;
}

enum status sha256_file(char hex[SHA256_HEX_SIZE], const char *path) {
    FILE *file;
    struct sha256 *sha = NULL;
    enum status status = file_open(&file, path);
    if (status) return status;
    status = sha256_begin(&sha);
    char block[1 << 14]; /* a thread may have a stack of 64 KiB */
    size_t got;
    while (!status && (got = fread(block, 1, sizeof block, file)) > 0)
        sha256_update(sha, block, got);
    if (!status && ferror(file)) status = status_fail("cannot read \"%s\"", path);
    fclose(file);
    sha256_finish(sha, hex);
    return status;
}

const char *hash_library_version(void) {
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
