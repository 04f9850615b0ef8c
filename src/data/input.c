/* input.c - the bytes of a file, opened where they are gzipped or compressed with zstd.
 *
 * What the file is is told by its first bytes, never by its name. */
#include "data/internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

enum { PIECE = 1 << 16 };

struct stream {
    gzFile gz;          // plain files pass through unchanged
    ZSTD_DStream *zstd; // with it, gz gives compressed bytes
    ZSTD_inBuffer pending;
    size_t expects; // 0 between frames
    unsigned char piece[PIECE], packed[PIECE];
};

bool file_begins(const char *path, const char *magic, size_t n)
{
    struct stat st;
    char head[8];
    if (stat(path, &st) || !S_ISREG(st.st_mode))
        return false;
    FILE *f = fopen(path, "rb");
    bool yes = f && fread(head, 1, n, f) == n && memcmp(head, magic, n) == 0;
    if (f)
        fclose(f);
    return yes;
}

static int opened(struct input *in, struct err *err)
{
    struct stream *s = in->stream;
    errno = 0;
    s->gz = gzopen(in->path, "rb");
    if (!s->gz)
        return err_set(err,
                       errno == ENOENT ? ERR_MISSING
                       : errno         ? ERR_IO
                                       : ERR_MEMORY,
                       "%s: cannot be opened: %s", in->path,
                       errno ? strerror(errno) : "no memory");
    gzbuffer(s->gz, 1 << 17);
    if (file_begins(in->path, "\x28\xb5\x2f\xfd", 4) && !(s->zstd = ZSTD_createDStream()))
        return err_set(err, ERR_MEMORY, "%s: no memory to read it", in->path);
    s->pending.src = s->packed;
    return 0;
}

struct input *input_open(const char *path, struct err *err)
{
    if (dir_exists(path)) {
        err_set(err, ERR_IO,
                "%s: is a folder, expected a file; name its files, for example '%s/*.parquet'",
                path, path);
        return NULL;
    }
    struct input *in = mem_alloc(1, sizeof *in);
    struct stream *s = in ? mem_alloc(1, sizeof *s) : NULL;
    if (!s) {
        free(in);
        err_set(err, ERR_MEMORY, "%s: no memory to read it", path);
        return NULL;
    }
    *in = (struct input){.path = path, .piece = s->piece, .stream = s};
    if (opened(in, err)) {
        input_close(in);
        return NULL;
    }
    return in;
}

void input_close(struct input *in)
{
    if (!in)
        return;
    if (in->stream->gz)
        gzclose(in->stream->gz);
    ZSTD_freeDStream(in->stream->zstd);
    free(in->stream);
    free(in);
}

/* Bytes read into `to`, 0 at the end. */
static int read_gz(struct input *in, unsigned char *to, struct err *err)
{
    int code, n = gzread(in->stream->gz, to, PIECE);
    if (n > 0)
        return n;
    const char *why = gzerror(in->stream->gz, &code);
    if (code == Z_BUF_ERROR)
        return err_set(err, ERR_FORMAT,
                       "%s: the compressed data ends too early; is the file cut short?",
                       in->path);
    if (code == Z_ERRNO)
        return err_set(err, ERR_IO, "%s: reading failed: %s", in->path, strerror(errno));
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END))
        return err_set(err, ERR_FORMAT, "%s: the compressed data is damaged (%s)", in->path,
                       why);
    return 0;
}

static int read_zstd(struct input *in, struct err *err)
{
    struct stream *s = in->stream;
    ZSTD_outBuffer out = {s->piece, PIECE, 0};
    while (out.pos == 0) {
        if (s->pending.pos == s->pending.size) {
            int n = read_gz(in, s->packed, err);
            if (n < 0)
                return n;
            if (n == 0 && s->expects)
                return err_set(err, ERR_FORMAT,
                               "%s: the compressed data ends too early; is the file cut short?",
                               in->path);
            if (n == 0)
                return 0;
            s->pending = (ZSTD_inBuffer){s->packed, (size_t)n, 0};
        }
        s->expects = ZSTD_decompressStream(s->zstd, &out, &s->pending);
        if (ZSTD_isError(s->expects))
            return err_set(err, ERR_FORMAT, "%s: the compressed data is damaged (%s)", in->path,
                           ZSTD_getErrorName(s->expects));
    }
    return (int)out.pos;
}

int input_fill(struct input *in, struct err *err)
{
    if (in->at < in->len)
        return 1;
    int n = in->stream->zstd ? read_zstd(in, err) : read_gz(in, in->stream->piece, err);
    in->at = 0;
    in->len = n > 0 ? (size_t)n : 0;
    return n > 0 ? 1 : n;
}
