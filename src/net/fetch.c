/* net/fetch.c - bytes into the cache: several files at once, resumed, verified, whole or absent.
 *
 * A file goes through these states; whatever goes wrong leads back to WAITING until its retries
 * are used up, with the bytes that are there kept.
 *
 *     WAITING -> lock free -> blob there? -> link -> DONE
 *        ^          |             no: open BLOB.incomplete, hash what it holds
 *        |          v
 *        |       busy: another process fetches it; look again in half a second
 *        +------ RUNNING: request from the byte we have, hash and write what comes
 *                   whole: hash right -> sync, rename, link -> DONE
 *                          hash wrong -> begin anew once, then an error
 *
 * The lock keeps two processes from fetching one file twice.  Where a file system only pretends
 * to lock, both write the same bytes to the same places of one file, and the hash decides. */
#include "net/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    AT_ONCE = 8,        // connections
    TRIES = 6,          // in a row without PROGRESS bytes
    PROGRESS = 1 << 16, // fewer than this many new bytes are no progress
};

enum state { WAITING, RUNNING, DONE };

struct item {
    const struct hub_file *f;
    struct job *job;
    enum state state;
    char *part;                // BLOB.incomplete
    int fd, lock;              // -1: none
    EVP_MD_CTX *md;            // of the first `have` bytes
    int64_t have, have_before; // before: when the request was sent
    int tries;
    bool anew;   // its bytes were wrong once
    bool broken; // an error that no retry mends: disk, hash
    double not_before;
};

struct job {
    struct hub *h;
    const struct hub_id *id;
    const struct hub_tree *t;
    char *repo;
    struct item *item;
    int n, left, running;
    bool told; // that we wait for another process
    struct progress bar;
    char note[64];
    struct fetched *got;
};

/* ---- the partial file ---------------------------------------------------------------- */

static int io_error(struct item *it, const char *path, const char *doing, struct err *err)
{
    it->broken = true;
    return err_set(err, ERR_IO, "%s: %s: %s", path, doing, strerror(errno));
}

/* Git names a blob by the SHA-1 of "blob SIZE\0" and its bytes. */
static int start_hash(struct item *it, struct err *err)
{
    char head[40];
    const EVP_MD *kind = it->f->lfs ? EVP_sha256() : EVP_sha1();
    if (!it->md)
        it->md = fail_now() ? NULL : EVP_MD_CTX_new();
    if (!it->md || !EVP_DigestInit_ex(it->md, kind, NULL)) {
        it->broken = true;
        return err_set(err, ERR_MEMORY, "no memory for a hash");
    }
    int n = snprintf(head, sizeof head, "blob %lld", (long long)it->f->size);
    if (!it->f->lfs)
        EVP_DigestUpdate(it->md, head, (size_t)n + 1);
    it->have = 0;
    return 0;
}

static int begin_anew(struct item *it, struct err *err)
{
    if (ftruncate(it->fd, 0))
        return io_error(it, it->part, "cannot be emptied", err);
    return start_hash(it, err);
}

/* Opens the partial file and hashes what an earlier attempt left in it. */
static int open_part(struct item *it, struct err *err)
{
    enum { PIECE = 1 << 20 };
    int rc = start_hash(it, err);
    it->fd = rc ? -1 : open(it->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (rc == 0 && it->fd < 0)
        return io_error(it, it->part, "cannot be written", err);
    struct stat st;
    if (rc == 0 && (fstat(it->fd, &st) || !S_ISREG(st.st_mode)))
        return io_error(it, it->part, "is not a file", err);
    if (rc == 0 && st.st_size > it->f->size)
        return begin_anew(it, err);
    char *piece = rc ? NULL : mem_alloc(PIECE, 1);
    if (rc == 0 && !piece)
        rc = err_set(err, ERR_MEMORY, "no memory to read %s", it->part);
    while (rc == 0) {
        ssize_t n = pread(it->fd, piece, PIECE, it->have);
        if (n <= 0)
            break; // what cannot be read is fetched again
        EVP_DigestUpdate(it->md, piece, (size_t)n);
        it->have += n;
        if (interrupted())
            rc = err_set(err, ERR_INTERRUPTED, "interrupted");
    }
    free(piece);
    return rc;
}

static void close_item(struct item *it)
{
    if (it->fd >= 0)
        close(it->fd);
    cache_unlock(it->lock);
    EVP_MD_CTX_free(it->md);
    it->md = NULL;
    it->fd = it->lock = -1;
}

/* ---- a reply ------------------------------------------------------------------------- */

/* "bytes 100-199/200" to its first byte and total; false where it is no such thing. */
static bool content_range(const char *s, int64_t *first, int64_t *total)
{
    long long a, b, t;
    if (!s || sscanf(s, "bytes %lld-%lld/%lld", &a, &b, &t) != 3 || a < 0 || b < a || t <= b)
        return false;
    *first = a;
    *total = t;
    return true;
}

/* The Hub itself says on the way which commit, hash and size this is: a proxy or mirror that
 * serves something else is found before the bytes come. */
static int check_claims(const struct item *it, const struct http_call *c, struct err *err)
{
    const char *commit = http_first_header(c, "X-Repo-Commit");
    const char *etag = http_first_header(c, "X-Linked-Etag"),
               *size = http_first_header(c, "X-Linked-Size");
    int64_t n;
    if (commit && strcmp(commit, it->job->t->commit))
        return err_set(err, ERR_FORMAT, "%s: asked for commit %s, the Hub answers with %.60s",
                       it->f->path, it->job->t->commit, commit);
    if (etag && !strstr(etag, it->f->etag))
        return err_set(err, ERR_FORMAT,
                       "%s: the listing gives the hash %s, the Hub answers with %.80s",
                       it->f->path, it->f->etag, etag);
    if (size && (!str_to_i64(size, &n) || n != it->f->size))
        return err_set(err, ERR_FORMAT,
                       "%s: the listing gives %lld bytes, the Hub answers with %.40s",
                       it->f->path, (long long)it->f->size, size);
    return 0;
}

static int on_begin(void *user, struct http_call *c, struct err *err)
{
    struct item *it = user;
    int64_t first = 0, total = it->f->size;
    int rc = check_claims(it, c, err);
    if (rc == 0 && c->status == 206 &&
        (!content_range(http_header(c, "Content-Range"), &first, &total) ||
         total != it->f->size || first != it->have)) {
        rc = err_set(err, ERR_IO, "%s: asked from byte %lld of %lld, the server sends '%.60s'",
                     it->f->path, (long long)it->have, (long long)it->f->size,
                     http_header(c, "Content-Range") ? http_header(c, "Content-Range") : "");
        struct err ignored; // its ranges are not to be trusted
        return begin_anew(it, &ignored) ? it->broken = true, rc : rc;
    }
    if (rc == 0 && c->status != 206 && it->have > 0) {
        progress_add(&it->job->bar, -1e-6 * (double)it->have, NULL);
        rc = begin_anew(it, err); // it does not know ranges: all of it comes
    }
    return rc;
}

static int write_all(struct item *it, const char *p, size_t n, struct err *err)
{
    while (n) {
        ssize_t w = fail_now() ? (errno = EIO, -1) : pwrite(it->fd, p, n, it->have);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return io_error(it, it->part, "writing failed", err);
        EVP_DigestUpdate(it->md, p, (size_t)w);
        it->have += w;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int on_bytes(void *user, const void *p, size_t n, struct err *err)
{
    struct item *it = user;
    if ((int64_t)n > it->f->size - it->have) {
        struct err ignored;
        if (begin_anew(it, &ignored))
            it->broken = true;
        return err_set(err, ERR_IO, "%s: more than the %lld bytes of the listing come",
                       it->f->path, (long long)it->f->size);
    }
    int rc = write_all(it, p, n, err);
    it->job->got->bytes += (int64_t)n;
    progress_add(&it->job->bar, 1e-6 * (double)n, it->job->note);
    return rc;
}

/* ---- one file ------------------------------------------------------------------------ */

static int linked(struct job *j, struct item *it, struct err *err)
{
    int rc = cache_link(&j->h->env, j->repo, j->t->commit, it->f, err);
    close_item(it);
    it->state = DONE;
    j->left--;
    snprintf(j->note, sizeof j->note, "%d of %d files", j->n - j->left, j->n);
    return rc;
}

static int finish(struct job *j, struct item *it, struct err *err)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "", *blob = cache_blob(j->repo, it->f->etag);
    EVP_DigestFinal_ex(it->md, md, &n);
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    int rc = blob ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", it->part);
    if (rc == 0 && strcmp(hex, it->f->etag)) {
        rc = err_set(err, ERR_FORMAT, "%s: the bytes that came have the hash %s, expected %s",
                     it->f->path, hex, it->f->etag);
        struct err ignored;
        if (begin_anew(it, &ignored) || it->anew) {
            it->broken = true;
            unlink(it->part); // wrong bytes are nothing to resume from
        }
        it->anew = true;
    } else if (rc == 0 && (fsync(it->fd) || rename(it->part, blob))) {
        rc = io_error(it, blob, "cannot be put in place", err);
    } else if (rc == 0) {
        j->got->files++;
        rc = linked(j, it, err);
    }
    free(blob);
    return rc;
}

static char *file_url(const struct job *j, const struct hub_file *f)
{
    char *path = hub_quoted(f->path, false);
    char *url = path ? str_printf("%s/%s%s/resolve/%s/%s", j->h->env.endpoint,
                                  j->id->kind == HUB_DATASET ? "datasets/" : "", j->id->repo,
                                  j->t->commit, path)
                     : NULL;
    free(path);
    return url;
}

static int request(struct job *j, struct item *it, double delay, struct err *err)
{
    static const char *const headers[] = {"Accept-Encoding: identity"};
    int rc = hub_http(j->h, err); // open already, unless a blob vanished meanwhile
    if (rc)
        return rc;
    char *url = file_url(j, it->f);
    if (!url)
        return err_set(err, ERR_MEMORY, "no memory for a request");
    if (!j->bar.what)
        progress_begin(&j->bar, j->id->repo, "MB", 1e-6 * (double)it->f->size);
    struct http_request q = {.url = url,
                             .token = j->h->env.token,
                             .headers = headers,
                             .n_headers = 1,
                             .from = it->have,
                             .delay = delay,
                             .begin = on_begin,
                             .sink = on_bytes,
                             .user = it};
    it->have_before = it->have;
    rc = http_send(j->h->http, &q, err);
    if (rc == 0) {
        it->state = RUNNING;
        j->running++;
    }
    free(url);
    return rc;
}

static bool blob_whole(const struct job *j, const struct hub_file *f)
{
    struct stat st;
    char *blob = cache_blob(j->repo, f->etag);
    bool ok = blob && stat(blob, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == f->size;
    free(blob);
    return ok;
}

/* Two paths of one repository may hold the same bytes. */
static bool twin_runs(const struct job *j, const struct item *it)
{
    for (int i = 0; i < j->n; i++)
        if (&j->item[i] != it && j->item[i].state == RUNNING &&
            !strcmp(j->item[i].f->etag, it->f->etag))
            return true;
    return false;
}

static int start(struct job *j, struct item *it, struct err *err)
{
    int rc = 0;
    if (twin_runs(j, it))
        return 0;
    if (it->lock < 0) {
        rc = cache_lock(&it->lock, &j->h->env, j->id, it->f->etag, err);
        if (rc == 0 && it->lock == -1) {
            if (!j->told)
                log_info("waiting for another process that fetches the same files");
            j->told = true;
            it->not_before = time_now() + 0.3;
            return 0;
        }
    }
    if (rc == 0 && blob_whole(j, it->f))
        return linked(j, it, err);
    if (rc == 0 && it->fd < 0)
        rc = open_part(it, err);
    if (rc == 0 && it->have == it->f->size && it->f->size > 0)
        rc = finish(j, it, err);
    if (rc == 0 && it->state != DONE) {
        rc = request(j, it, 0, err);
        if (rc == 0)
            progress_add(&j->bar, 1e-6 * (double)it->have, NULL);
    }
    if (rc && it->anew && !it->broken) // the leftovers were wrong: from the first byte
        rc = request(j, it, 0, err);
    return rc;
}

/* Seconds until a file is asked for again, negative where that is no use. */
static double wait_for(const struct item *it, const struct http_call *c, int rc)
{
    if (it->broken || rc == ERR_INTERRUPTED || rc == ERR_MEMORY || it->tries >= TRIES)
        return -1;
    if (c->rc == 0 && c->status / 100 != 2 && c->status != 416)
        return http_retry_wait(c, it->tries);
    bool cut = rc == ERR_IO || (rc == ERR_MISSING && it->have > 0);
    bool wrong = rc == ERR_FORMAT && c->rc == 0; // the hash, for the first time
    return cut || wrong ? http_wait_unit * (1 << it->tries) : -1;
}

/* What a call that has ended means for its file; a sentence where it is not whole. */
static int judge(struct job *j, struct item *it, struct http_call *c, struct err *err)
{
    if (c->rc) {
        *err = c->err;
        return c->rc;
    }
    if (c->status / 100 == 2 && it->have == it->f->size)
        return finish(j, it, err);
    if (c->status / 100 == 2)
        return err_set(err, ERR_IO, "%s: the server ended after byte %lld of %lld", it->f->path,
                       (long long)it->have, (long long)it->f->size);
    if (c->status != 416)
        return hub_refusal(j->h, j->id, c, it->f->path, err);
    int rc = begin_anew(it, err);
    return rc ? rc
              : err_set(err, ERR_IO, "%s: the server has no byte %lld", it->f->path,
                        (long long)it->have_before);
}

static int proceed(struct job *j, struct item *it, struct http_call *c, struct err *err)
{
    struct err why = {0};
    it->state = WAITING;
    j->running--;
    int rc = judge(j, it, c, &why);
    if (rc == 0)
        return 0;
    it->tries = it->have >= it->have_before + PROGRESS ? 0 : it->tries + 1;
    double wait = wait_for(it, c, rc);
    if (wait < 0) {
        if (err)
            *err = why;
        return rc;
    }
    log_warn("%s; going on from byte %lld in %.1f s", why.msg, (long long)it->have, wait);
    return request(j, it, wait, err);
}

/* ---- all of them --------------------------------------------------------------------- */

static int start_more(struct job *j, struct err *err)
{
    int rc = 0;
    double now = time_now();
    for (int i = 0; rc == 0 && i < j->n && j->running < AT_ONCE; i++) {
        struct item *it = &j->item[i];
        if (it->state == WAITING && it->not_before <= now)
            rc = start(j, it, err);
    }
    return rc;
}

static int run(struct job *j, struct err *err)
{
    int rc = 0;
    while (rc == 0 && j->left) {
        struct http_call *c = NULL;
        rc = start_more(j, err);
        if (rc == 0 && j->left && j->running)
            rc = http_next(j->h->http, 0.3, &c, err);
        else if (rc == 0 && j->left && interrupted())
            rc = err_set(err, ERR_INTERRUPTED, "interrupted");
        else if (rc == 0 && j->left)
            usleep(100000); // all that is left is in other hands
        if (c)
            rc = proceed(j, c->user, c, err);
        http_call_free(c);
    }
    return rc;
}

/* Says so before hours of downloading rather than after. */
static int check_room(const struct job *j, int64_t need, struct err *err)
{
    struct statvfs fs;
    if (statvfs(j->repo, &fs) || fs.f_frsize == 0)
        return 0;
    double room = (double)fs.f_bavail * (double)fs.f_frsize;
    if ((double)need <= room)
        return 0;
    return err_set(err, ERR_IO, "%s: %.1f GB are to be fetched and %.1f GB are free there",
                   j->repo, 1e-9 * (double)need, 1e-9 * room);
}

static int prepare(struct job *j, const bool *take, struct err *err)
{
    int64_t need = 0;
    char *blobs = path_join(j->repo, "blobs");
    int rc = blobs ? dir_make(blobs, err) : err_set(err, ERR_MEMORY, "no memory");
    free(blobs);
    for (int i = 0; rc == 0 && i < j->t->n; i++) {
        const struct hub_file *f = &j->t->file[i];
        if (!take[i] || cache_has(j->repo, j->t->commit, f))
            continue;
        struct item *it = &j->item[j->n++];
        *it = (struct item){.f = f, .job = j, .fd = -1, .lock = -1};
        it->part = str_printf("%s/blobs/%s.incomplete", j->repo, f->etag);
        if (!it->part)
            rc = err_set(err, ERR_MEMORY, "no memory");
        if (!blob_whole(j, f))
            need += f->size;
    }
    j->left = j->n;
    if (rc == 0)
        rc = check_room(j, need, err);
    if (rc == 0 && need)
        rc = hub_http(j->h, err);
    if (rc == 0 && need)
        progress_begin(&j->bar, j->id->repo, "MB", 1e-6 * (double)need);
    return rc;
}

int hub_fetch(struct fetched *got, struct hub *h, const struct hub_id *id,
              const struct hub_tree *t, const bool *take, struct err *err)
{
    struct job j = {.h = h, .id = id, .t = t, .got = got, .repo = cache_repo(&h->env, id)};
    j.item = mem_alloc((size_t)t->n + 1, sizeof *j.item);
    int rc = j.item && j.repo ? prepare(&j, take, err) : err_set(err, ERR_MEMORY, "no memory");
    if (rc == 0)
        rc = run(&j, err);
    if (rc == ERR_INTERRUPTED)
        err_set(err, rc,
                "%s: interrupted; what came is kept, the same command goes on from there",
                id->repo);
    if (rc && h->http) { // calls in flight point at the items
        http_close(h->http);
        h->http = NULL;
    }
    if (rc == 0 && j.bar.what)
        progress_end(&j.bar);
    for (int i = 0; j.item && i < j.n; i++) {
        close_item(&j.item[i]);
        free(j.item[i].part);
    }
    free(j.item);
    free(j.repo);
    return rc;
}
