/* kit/hub.c - a Hub to test against: it serves a folder, and misbehaves as a script says.
 *
 *     hub ROOT        writes "PORT CDNPORT" to ROOT/ports, serves on 127.0.0.1 until killed
 *
 *     ROOT/repos/models|datasets/ORG/NAME/
 *         COMMIT/...      files of a commit
 *         refs/REV        the commit of a branch or tag
 *         gated, private  only with the token hf_good
 *     ROOT/faults         lines "COUNT PART ACTION [ARG [ARG]]": the first COUNT requests whose
 *                         "hub|cdn METHOD PATH" contains PART meet ACTION (see `struct fault`)
 *     ROOT/log            a line per request: "hub|cdn METHOD PATH range=... auth=... status"
 *
 * As on the real Hub, large files (.safetensors, .gguf, .parquet, .gz) are answered with a
 * redirect to another host, here the second port, and named by SHA-256; others by git's SHA-1.
 * /echo answers with what it was sent.  One process per connection, which X-Process names; all
 * die with the process that started the first. */
#include "kit/serve.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 16384 };

static int port[2]; // of the Hub and of the other host

/* What a request meets beyond the ordinary.  -1, NULL: nothing. */
struct fault {
    int status; // status N [Header:value]: this status, no body
    char header[256];
    long drop;                // drop N: the connection closes after N bytes of the body
    long stall;               // stall N: silence after N bytes
    long rate;                // rate N: bytes per second
    long flip;                // flip N: byte N of the file arrives wrong
    long shorten;             // short N: claims and sends N bytes
    long extra;               // long N: claims and sends N bytes more
    bool norange;             // norange: 200 and all of it, whatever was asked
    bool badrange;            // badrange: 206 from byte 0, and says so
    bool shifted;             // shifted: 206 as asked, with the bytes from 0
    bool garbage;             // garbage: no HTTP at all
    bool loop;                // loop: redirects to itself
    char set[64], value[256]; // set NAME VALUE: this header, in place of the true one
    int page;                 // page N: entries of a listing per page
    bool body;                // body: 200 with the bytes of ROOT/body
};

struct request {
    int fd, which; // which: 0 hub, 1 cdn
    struct serve_head head;
    char path[2048], query[512], body[4096]; // of its target; what was sent
    struct fault f;
};

/* ---- the script ---------------------------------------------------------------------- */

static void apply(void *fault, const char *action, const char *a, const char *b)
{
    struct fault *f = fault;
    long n = atol(a);
    if (!strcmp(action, "status")) {
        f->status = (int)n;
        snprintf(f->header, sizeof f->header, "%s", b);
    } else if (!strcmp(action, "set")) {
        snprintf(f->set, sizeof f->set, "%s", a);
        snprintf(f->value, sizeof f->value, "%s", b);
    }
    f->drop = !strcmp(action, "drop") ? n : f->drop;
    f->stall = !strcmp(action, "stall") ? n : f->stall;
    f->rate = !strcmp(action, "rate") ? n : f->rate;
    f->flip = !strcmp(action, "flip") ? n : f->flip;
    f->shorten = !strcmp(action, "short") ? n : f->shorten;
    f->extra = !strcmp(action, "long") ? n : f->extra;
    f->page = !strcmp(action, "page") ? (int)n : f->page;
    f->norange |= !strcmp(action, "norange");
    f->badrange |= !strcmp(action, "badrange");
    f->shifted |= !strcmp(action, "shifted");
    f->garbage |= !strcmp(action, "garbage");
    f->loop |= !strcmp(action, "loop");
    f->body |= !strcmp(action, "body");
}

static void find_faults(struct request *r)
{
    char what[2100];
    r->f = (struct fault){.drop = -1, .stall = -1, .flip = -1, .shorten = -1};
    snprintf(what, sizeof what, "%s %s %s", r->which ? "cdn" : "hub", r->head.method, r->path);
    serve_faults(what, &r->f, apply);
}

/* ---- small things -------------------------------------------------------------------- */

static char *slurp(const char *path, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    char *p = calloc((size_t)st.st_size + 1, 1);
    *n = 0;
    for (ssize_t got;
         *n < (size_t)st.st_size && (got = read(fd, p + *n, (size_t)st.st_size - *n)) > 0;)
        *n += (size_t)got;
    close(fd);
    return p;
}

static void hash(char *hex, const EVP_MD *kind, const char *head, size_t nh, const char *p,
                 size_t n)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_DigestInit_ex(c, kind, NULL);
    EVP_DigestUpdate(c, head, nh);
    EVP_DigestUpdate(c, p, n);
    EVP_DigestFinal_ex(c, md, &len);
    EVP_MD_CTX_free(c);
    for (unsigned i = 0; i < len; i++)
        sprintf(hex + 2 * i, "%02x", md[i]);
}

static void git_hash(char *hex, const char *p, size_t n)
{
    char head[40];
    int k = sprintf(head, "blob %zu", n);
    hash(hex, EVP_sha1(), head, (size_t)k + 1, p, n);
}

static bool ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool is_large(const char *path)
{
    return ends(path, ".safetensors") || ends(path, ".gguf") || ends(path, ".parquet") ||
           ends(path, ".gz");
}

static void note(const struct request *r, int status)
{
    char line[4096], range[32] = "-";
    if (r->head.from >= 0)
        snprintf(range, sizeof range, "%ld", r->head.from);
    snprintf(line, sizeof line, "%s %s %s range=%s auth=%s %d\n", r->which ? "cdn" : "hub",
             r->head.method, r->path, range, r->head.auth[0] ? r->head.auth : "-", status);
    serve_log(line);
}

/* ---- replies ------------------------------------------------------------------------- */

static void reply(struct request *r, int status, const char *headers, const char *body,
                  size_t n)
{
    char head[4096];
    int k = snprintf(
        head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nX-Process: %d\r\n%s%s\r\n",
        status, n, (int)getpid(), headers, r->head.close ? "Connection: close\r\n" : "");
    note(r, status);
    if (!serve_send(r->fd, head, (size_t)k) ||
        (strcmp(r->head.method, "HEAD") && !serve_send(r->fd, body, n)))
        r->head.close = true;
}

static void refuse(struct request *r, int status, const char *code)
{
    char head[200];
    snprintf(head, sizeof head, "X-Error-Code: %s\r\nX-Error-Message: %s here\r\n", code, code);
    reply(r, status, head, "{}", 2);
}

static void send_body(struct request *r, const char *p, size_t n)
{
    const struct fault *f = &r->f;
    size_t piece = f->rate > 0 ? (size_t)f->rate / 20 + 1 : 1 << 16;
    for (size_t at = 0; at < n; at += piece) {
        size_t m = n - at < piece ? n - at : piece;
        if (f->drop >= 0 && at + m > (size_t)f->drop)
            m = (size_t)f->drop > at ? (size_t)f->drop - at : 0;
        if (f->stall >= 0 && at + m > (size_t)f->stall)
            m = (size_t)f->stall > at ? (size_t)f->stall - at : 0;
        if (!serve_send(r->fd, p + at, m))
            exit(0);
        if (f->stall >= 0 && at + m >= (size_t)f->stall)
            sleep(30), exit(0);
        if (f->drop >= 0 && at + m >= (size_t)f->drop)
            exit(0);
        if (f->rate > 0)
            usleep(50000);
    }
}

/* A file, or the part from r->head.from, with what the script wants wrong about it. */
static void serve_file(struct request *r, const char *full, const char *headers)
{
    size_t n = 0, from = r->head.from > 0 ? (size_t)r->head.from : 0, at;
    char *p = slurp(full, &n), head[4096];
    const struct fault *f = &r->f;
    if (f->flip >= 0 && (size_t)f->flip < n)
        p[f->flip] ^= 1;
    bool part = r->head.from >= 0 && !f->norange;
    if (part && from >= n) {
        reply(r, 416, "", "", 0);
        free(p);
        return;
    }
    if (!part || f->badrange)
        from = 0;
    size_t len =
        f->shorten >= 0 && (size_t)f->shorten < n - from ? (size_t)f->shorten : n - from;
    int k = snprintf(head, sizeof head,
                     "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nAccept-Ranges: bytes\r\n%s",
                     part ? 206 : 200, len + (size_t)f->extra, headers);
    if (part)
        k += snprintf(head + k, sizeof head - (size_t)k, "Content-Range: bytes %zu-%zu/%zu\r\n",
                      from, n - 1, n);
    k += snprintf(head + k, sizeof head - (size_t)k, "\r\n");
    note(r, part ? 206 : 200);
    at = f->shifted ? 0 : from;
    if (!serve_send(r->fd, head, (size_t)k))
        exit(0);
    if (strcmp(r->head.method, "HEAD"))
        send_body(r, p + at, len);
    for (long i = 0; i < f->extra && strcmp(r->head.method, "HEAD"); i++)
        if (!serve_send(r->fd, "x", 1))
            exit(0);
    free(p);
}

/* "NAME: value" unless the script has another value for it. */
static int add(char *s, size_t size, const struct fault *f, const char *name, const char *value)
{
    return snprintf(s, size, "%s: %s\r\n", name, !strcasecmp(f->set, name) ? f->value : value);
}

/* /ORG/NAME/resolve/COMMIT/PATH: the bytes of a small file, the way to a large one. */
static void serve_resolve(struct request *r, const char *full, const char *commit,
                          const char *below)
{
    char head[3000], etag[80], number[32], hex[65];
    size_t n = 0;
    int k = 0;
    char *p = slurp(full, &n);
    bool large = is_large(full);
    if (large)
        hash(hex, EVP_sha256(), "", 0, p, n);
    else
        git_hash(hex, p, n);
    free(p);
    snprintf(etag, sizeof etag, "\"%s\"", hex);
    snprintf(number, sizeof number, "%zu", n);
    k += add(head + k, sizeof head - (size_t)k, &r->f, "X-Repo-Commit", commit);
    if (!large) {
        add(head + k, sizeof head - (size_t)k, &r->f, "ETag", etag);
        serve_file(r, full, head);
        return;
    }
    k += add(head + k, sizeof head - (size_t)k, &r->f, "X-Linked-Size", number);
    k += add(head + k, sizeof head - (size_t)k, &r->f, "X-Linked-Etag", etag);
    snprintf(head + k, sizeof head - (size_t)k,
             "Location: http://127.0.0.1:%d/cdn%s?X-Signature=secret\r\n", port[1], below);
    reply(r, 302, head, "moved", 5);
}

/* ---- listings ------------------------------------------------------------------------ */

struct list {
    char *path[1000];
    int n;
};

static void walk(struct list *l, const char *folder, const char *prefix)
{
    struct dirent **e;
    int n = scandir(folder, &e, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char full[2048], name[1024];
        struct stat st;
        snprintf(full, sizeof full, "%s/%s", folder, e[i]->d_name);
        snprintf(name, sizeof name, "%s%s", prefix, e[i]->d_name);
        if (e[i]->d_name[0] != '.' && stat(full, &st) == 0 && S_ISDIR(st.st_mode)) {
            strcat(name, "/");
            walk(l, full, name);
        } else if (strcmp(e[i]->d_name, ".") && strcmp(e[i]->d_name, "..") && l->n < 1000) {
            l->path[l->n++] = strdup(name);
        }
        free(e[i]);
    }
    if (n >= 0)
        free(e);
}

static void serve_tree(struct request *r, const char *folder)
{
    struct list l = {.n = 0};
    char *text = NULL, head[1024] = "", sha[65], oid[41];
    size_t len = 0;
    const char *cursor = strstr(r->query, "cursor=");
    int from = cursor ? atoi(cursor + 7) : 0, page = r->f.page ? r->f.page : 1000;
    walk(&l, folder, "");
    FILE *f = open_memstream(&text, &len);
    fputc('[', f);
    for (int i = from; i < l.n && i < from + page; i++) {
        char full[2048];
        size_t n = 0;
        snprintf(full, sizeof full, "%s/%s", folder, l.path[i]);
        char *p = slurp(full, &n);
        git_hash(oid, p, n);
        hash(sha, EVP_sha256(), "", 0, p, n);
        fprintf(f, "%s{\"type\":\"file\",\"oid\":\"%s\",\"size\":%zu,\"path\":\"%s\"",
                i > from ? "," : "", oid, n, l.path[i]);
        if (is_large(l.path[i]))
            fprintf(f, ",\"lfs\":{\"oid\":\"%s\",\"size\":%zu,\"pointerSize\":134}", sha, n);
        fputc('}', f);
        free(p);
    }
    fputc(']', f);
    fclose(f);
    if (from + page < l.n)
        snprintf(head, sizeof head,
                 "Link: <http://127.0.0.1:%d%s?recursive=true&expand=false&cursor=%d>; "
                 "rel=\"next\"\r\n",
                 port[0], r->path, from + page);
    reply(r, 200, head, text, len);
    free(text);
    for (int i = 0; i < l.n; i++)
        free(l.path[i]);
}

static void serve_info(struct request *r, const char *repo, const char *commit)
{
    char body[512];
    int n = snprintf(body, sizeof body,
                     "{\"_id\":\"1\",\"id\":\"%s\",\"sha\":\"%s\",\"private\":false,\"gated\":"
                     "false,\"tags\":[],"
                     "\"downloads\":0,\"likes\":0,\"siblings\":[]}",
                     repo, commit);
    reply(r, 200, "", body, (size_t)n);
}

/* ---- where a path leads -------------------------------------------------------------- */

static bool commit_of(char commit[41], const char *folder, const char *rev)
{
    char path[2048];
    struct stat st;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/refs/%s", folder, rev);
    char *s = slurp(path, &n);
    snprintf(commit, 41, "%s", s ? s : rev);
    free(s);
    snprintf(path, sizeof path, "%s/%s", folder, commit);
    return strlen(commit) == 40 && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool may_see(struct request *r, const char *folder)
{
    char path[1200];
    bool good = !strcmp(r->head.auth, "Bearer hf_good");
    struct stat st;
    snprintf(path, sizeof path, "%s/gated", folder);
    if (!good && stat(path, &st) == 0) {
        refuse(r, r->head.auth[0] ? 403 : 401, "GatedRepo");
        return false;
    }
    snprintf(path, sizeof path, "%s/private", folder);
    if (stat(folder, &st) || (!good && stat(path, &st) == 0)) {
        refuse(r, r->head.auth[0] ? 404 : 401, "RepoNotFound");
        return false;
    }
    return true;
}

static void unquote(char *s)
{
    unsigned c;
    char *to = s;
    for (; *s; s++) {
        if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
            *to++ = (char)c;
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

static void serve_hub(struct request *r)
{
    char path[2048], kind[16] = "models", folder[1200], full[4096], commit[41], *save = NULL;
    snprintf(path, sizeof path, "%s", r->path);
    char *p = path + 1, *org, *name, *verb, *rev, *rest;
    bool api = !strncmp(p, "api/", 4);
    p += api ? 4 : 0;
    if (!strncmp(p, "datasets/", 9) || !strncmp(p, "models/", 7)) {
        snprintf(kind, sizeof kind, "%.*s", (int)strcspn(p, "/"), p);
        p += strcspn(p, "/") + 1;
    }
    org = strtok_r(p, "/", &save);
    name = strtok_r(NULL, "/", &save);
    verb = strtok_r(NULL, "/", &save);
    rev = verb ? strtok_r(NULL, "/", &save) : NULL;
    rest = save && *save ? save : NULL;
    if (!org || !name) {
        reply(r, 404, "", "", 0);
        return;
    }
    if (!verb) // /api/models/ORG/NAME
        verb = "revision";
    if (!rev)
        rev = "main";
    unquote(rev);
    snprintf(folder, sizeof folder, "%s/%s/%s/%s", serve_path("repos"), kind, org, name);
    if (!may_see(r, folder))
        return;
    if (!commit_of(commit, folder, rev)) {
        refuse(r, 404, "RevisionNotFound");
        return;
    }
    snprintf(full, sizeof full, "%s/%s", folder, commit);
    if (api && !strcmp(verb, "revision")) {
        char repo[300];
        snprintf(repo, sizeof repo, "%.140s/%.140s", org, name);
        serve_info(r, repo, commit);
        return;
    }
    if (api && !strcmp(verb, "tree")) {
        serve_tree(r, full);
        return;
    }
    struct stat st;
    char below[3000];
    snprintf(below, sizeof below, "/%s/%s/%s/%s/%s", kind, org, name, commit, rest ? rest : "");
    if (rest)
        unquote(rest);
    snprintf(full, sizeof full, "%s/%s/%s", folder, commit, rest ? rest : "");
    if (api || strcmp(verb, "resolve") || !rest || stat(full, &st) || !S_ISREG(st.st_mode)) {
        char head[200];
        snprintf(head, sizeof head, "X-Error-Code: EntryNotFound\r\nX-Repo-Commit: %s\r\n",
                 commit);
        reply(r, 404, head, "", 0);
        return;
    }
    serve_resolve(r, full, commit, below);
}

static void serve(struct request *r)
{
    char full[4096], head[400], path[2048];
    find_faults(r);
    if (r->f.garbage) {
        serve_send(r->fd, "220 mail.example ESMTP\r\n\r\n", 26);
        exit(0);
    }
    if (r->f.loop) {
        snprintf(head, sizeof head, "Location: http://127.0.0.1:%d%.200s\r\n", port[r->which],
                 r->path);
        reply(r, 302, head, "", 0);
    } else if (r->f.body) {
        size_t n = 0;
        char *p = slurp(serve_path("body"), &n);
        reply(r, 200, "", p ? p : "", n);
        free(p);
    } else if (r->f.status) {
        snprintf(head, sizeof head, "%s%s", r->f.header, r->f.header[0] ? "\r\n" : "");
        reply(r, r->f.status, head, "trouble", 7);
    } else if (!strcmp(r->path, "/echo")) {
        snprintf(head, sizeof head, "X-Method: %s\r\n", r->head.method);
        reply(r, 200, head, r->body, r->head.n_body);
    } else if (r->which == 0) {
        serve_hub(r);
    } else {
        struct stat st;
        snprintf(path, sizeof path, "%s", r->path);
        unquote(path);
        snprintf(full, sizeof full, "%s%s", serve_path("repos"),
                 !strncmp(path, "/cdn/", 5) ? path + 4 : "/none");
        if (stat(full, &st) || !S_ISREG(st.st_mode))
            reply(r, 404, "", "", 0);
        else if (strcmp(r->query, "X-Signature=secret"))
            reply(r, 403, "", "", 0);
        else
            serve_file(r, full, "ETag: \"a-name-of-the-store\"\r\n");
    }
}

/* ---- connections --------------------------------------------------------------------- */

static bool read_request(struct request *r)
{
    char head[HEAD + 1];
    size_t n = 0;
    while (n < HEAD && (n < 4 || !memmem(head, n, "\r\n\r\n", 4))) {
        ssize_t got = recv(r->fd, head + n, 1, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    head[n] = 0;
    if (!serve_parse(&r->head, head))
        return false;
    char *target = r->head.target;
    size_t q = strcspn(target, "?");
    snprintf(r->query, sizeof r->query, "%s", target[q] ? target + q + 1 : "");
    snprintf(r->path, sizeof r->path, "%.*s", (int)q, target);
    if (r->head.n_body >= sizeof r->body)
        return false;
    for (size_t have = 0; have < r->head.n_body;) {
        ssize_t got = recv(r->fd, r->body + have, r->head.n_body - have, 0);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static void on_connection(int fd, int which)
{
    struct request r = {.fd = fd, .which = which};
    while (!r.head.close && read_request(&r))
        serve(&r);
}

int main(int argc, char **argv)
{
    int fd[2];
    char text[64];
    if (argc != 2)
        return 2;
    serve_in(argv[1]);
    for (int i = 0; i < 2; i++)
        fd[i] = serve_listen(&port[i]);
    snprintf(text, sizeof text, "%d %d\n", port[0], port[1]);
    serve_publish("ports", text);
    serve_forever(fd, 2, on_connection);
}
