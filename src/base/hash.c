/* hash.c - XXH3-128 for keys of our own, SHA-256 where others must agree. */
#include "base/base.h"

#include <errno.h>
#include <openssl/evp.h>
#include <xxhash.h>

struct hash128 hash_bytes(const void *p, size_t n)
{
    XXH128_hash_t h = XXH3_128bits(p ? p : "", p ? n : 0);
    return (struct hash128){.lo = h.low64, .hi = h.high64};
}

void hash_hex(char out[33], struct hash128 h)
{
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

/* Feeds a file to `take` in pieces. */
static int each_piece(const char *path, void (*take)(void *, const void *, size_t), void *state,
                      struct err *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: %s", path,
                       strerror(errno));
    enum { PIECE = 1 << 16 };
    char *piece = mem_alloc(PIECE, 1);
    int rc = piece ? 0 : err_set(err, ERR_MEMORY, "%s: no memory to hash it", path);
    size_t n;
    while (rc == 0 && (n = fread(piece, 1, PIECE, f)) > 0)
        take(state, piece, n);
    if (rc == 0 && ferror(f))
        rc = err_set(err, ERR_IO, "%s: reading failed: %s", path, strerror(errno));
    free(piece);
    fclose(f);
    return rc;
}

static void take_xxh(void *state, const void *p, size_t n)
{
    XXH3_128bits_update(state, p, n);
}

int hash_file(char out[33], const char *path, struct err *err)
{
    XXH3_state_t *state = fail_now() ? NULL : XXH3_createState();
    if (!state)
        return err_set(err, ERR_MEMORY, "%s: no memory to hash it", path);
    XXH3_128bits_reset(state);
    int rc = each_piece(path, take_xxh, state, err);
    if (rc == 0) {
        XXH128_hash_t h = XXH3_128bits_digest(state);
        hash_hex(out, (struct hash128){.lo = h.low64, .hi = h.high64});
    }
    XXH3_freeState(state);
    return rc;
}

static void take_sha(void *state, const void *p, size_t n)
{
    EVP_DigestUpdate(state, p, n);
}

int sha256_file(char out[65], const char *path, struct err *err)
{
    EVP_MD_CTX *ctx = fail_now() ? NULL : EVP_MD_CTX_new();
    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(ctx);
        return err_set(err, ERR_MEMORY, "%s: no memory to hash it", path);
    }
    int rc = each_piece(path, take_sha, ctx, err);
    if (rc == 0) {
        unsigned char md[32];
        EVP_DigestFinal_ex(ctx, md, NULL);
        for (int i = 0; i < 32; i++)
            snprintf(out + 2 * i, 3, "%02x", md[i]);
    }
    EVP_MD_CTX_free(ctx);
    return rc;
}
