/* net/tree.c - what the Hub says: which commit a revision is, and which files a commit holds.
 *
 * Two questions: /api/models/ORG/NAME/revision/REV (the commit) and
 * /api/models/ORG/NAME/tree/COMMIT (names, sizes and hashes, in pages linked by a Link header).
 * All hashes come from here, before a byte of a file is asked for, so that what arrives is
 * checked against them. */
#include "net/internal.h"

#include <ctype.h>

enum { FILES_MAX = 1000000, PAGES_MAX = 10000 };
static const int64_t SIZE_LIMIT = (int64_t)1
                                  << 42; // of a file; sums of all files stay in 63 bits

int hub_open(struct hub *h, struct err *err)
{
    *h = (struct hub){0};
    return hub_env_read(&h->env, err);
}

void hub_close(struct hub *h)
{
    http_close(h->http);
    hub_env_release(&h->env);
    *h = (struct hub){0};
}

int hub_http(struct hub *h, struct err *err)
{
    struct http_options o = {.stall_timeout = h->env.stall};
    if (h->env.offline)
        return err_set(err, ERR_MISSING,
                       "the cache %s does not hold it, and HF_HUB_OFFLINE is set",
                       h->env.cache);
    return h->http ? 0 : http_open(&h->http, &o, err);
}

/* ---- refusals ------------------------------------------------------------------------ */

static bool says(const struct http_call *c, const char *code)
{
    const char *s = http_header(c, "X-Error-Code");
    return s && !strcmp(s, code);
}

static int no_access(const struct hub *h, const struct hub_id *id, const char *repo,
                     struct err *err)
{
    const char *word = hub_word(id->kind);
    if (h->env.token)
        return err_set(err, ERR_MISSING,
                       "%s: %s has no %s of this name, or the token (HF_TOKEN or "
                       "the token file) may not see it",
                       repo, h->env.endpoint, word);
    return err_set(err, ERR_MISSING,
                   "%s: %s has no %s of this name, or it is private: then set "
                   "HF_TOKEN",
                   repo, h->env.endpoint, word);
}

int hub_refusal(const struct hub *h, const struct hub_id *id, const struct http_call *c,
                const char *what, struct err *err)
{
    const char *kind = id->kind == HUB_DATASET ? "datasets/" : "",
               *more = http_header(c, "X-Error-Message");
    if (says(c, "GatedRepo"))
        return err_set(err, ERR_MISSING,
                       "%s is gated: accept its conditions at %s/%s%s, then set "
                       "HF_TOKEN to a token of that account (status %d)",
                       id->repo, h->env.endpoint, kind, id->repo, c->status);
    if (says(c, "RevisionNotFound"))
        return err_set(err, ERR_MISSING, "%s has no revision '%s'", id->repo, id->revision);
    if (says(c, "EntryNotFound"))
        return err_set(err, ERR_MISSING, "%s has no file %s at this revision", id->repo, what);
    if (c->status == 401 && h->env.token && more && strstr(more, "Invalid"))
        return err_set(err, ERR_VALUE,
                       "%s: the token (HF_TOKEN or the token file) is not valid there "
                       "(status 401)",
                       h->env.endpoint);
    if (c->status == 401 || c->status == 404)
        return no_access(h, id, id->repo, err);
    if (c->status == 403)
        return err_set(err, ERR_MISSING, "%s: access is refused (status 403)%s%s", id->repo,
                       more ? ": " : "; the token may lack the right to read it",
                       more ? more : "");
    if (c->status == 429)
        return err_set(err, ERR_IO,
                       "%s: too many requests (status 429), asked %s again and again; try "
                       "later%s",
                       id->repo, h->env.endpoint, h->env.token ? "" : ", or set HF_TOKEN");
    return err_set(err, ERR_IO, "%s: %s answers %s with status %d", id->repo, h->env.endpoint,
                   what, c->status);
}

/* ---- questions ----------------------------------------------------------------------- */

static json_t *ask_json(struct hub *h, const struct hub_id *id, const char *url, char **next,
                        struct err *err);

char *hub_quoted(const char *s, bool all)
{
    struct buf b = {0};
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (isalnum(c) || strchr("-_.~", c) || (c == '/' && !all))
            buf_add(&b, s, 1);
        else
            buf_addf(&b, "%%%02X", c);
    }
    return buf_take(&b);
}

int hub_ask_commit(char commit[41], struct hub *h, const struct hub_id *id, struct err *err)
{
    int rc = hub_http(h, err);
    if (rc)
        return rc;
    char *rev = hub_quoted(id->revision, true);
    char *url = rev ? str_printf("%s/api/%ss/%s/revision/%s", h->env.endpoint,
                                 hub_word(id->kind), id->repo, rev)
                    : NULL;
    free(rev);
    if (!url)
        return err_set(err, ERR_MEMORY, "no memory");
    json_t *v = ask_json(h, id, url, NULL, err);
    const char *sha = json_string_value(json_object_get(v, "sha"));
    if (!v)
        rc = err ? err->code : ERR_FORMAT;
    else if (!sha || !hub_is_commit(sha))
        rc = err_set(err, ERR_FORMAT, "%s: 'sha' should be a commit of 40 hexadecimal digits",
                     url);
    else
        memcpy(commit, sha, 41);
    json_decref(v);
    free(url);
    return rc;
}

static bool is_hex(const char *s, size_t n)
{
    return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

int hub_tree_add(struct hub_tree *t, const char *path, const struct hub_file *f,
                 const char *where, struct err *err)
{
    if (!path || !hub_path_safe(path))
        return err_set(err, ERR_FORMAT, "%s: lists a file whose path cannot be used: %.100s",
                       where, path ? path : "(none)");
    if (!is_hex(f->blob_id, 40) || !is_hex(f->etag, f->lfs ? 64 : 40) || f->size < 0 ||
        f->size > SIZE_LIMIT)
        return err_set(err, ERR_FORMAT, "%s: the entry of %s lacks a usable hash or size",
                       where, path);
    struct hub_file *list = mem_grow(t->file, &t->cap, (size_t)t->n + 1, sizeof *list);
    if (list)
        t->file = list;
    if (!list || t->n >= FILES_MAX)
        return err_set(err, ERR_MEMORY, "%s: no room for so many files", where);
    struct hub_file *to = &list[t->n];
    *to = *f;
    to->path = arena_strdup(&t->arena, path);
    to->etag = arena_strdup(&t->arena, f->etag);
    to->blob_id = arena_strdup(&t->arena, f->blob_id);
    to->xet = f->xet ? arena_strdup(&t->arena, f->xet) : NULL;
    if (!to->path || !to->etag || !to->blob_id)
        return err_set(err, ERR_MEMORY, "no memory for a listing");
    t->n++;
    return 0;
}

static char *member(const json_t *o, const char *key)
{
    return (char *)json_string_value(json_object_get(o, key));
}

static int64_t size_of(const json_t *o)
{
    const json_t *v = json_object_get(o, "size");
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static int add_file(struct hub_tree *t, const json_t *e, const char *url, struct err *err)
{
    const char *type = member(e, "type");
    const json_t *lfs = json_object_get(e, "lfs");
    struct hub_file f = {.blob_id = member(e, "oid"), .xet = member(e, "xetHash")};
    if (type && strcmp(type, "file"))
        return 0; // a folder
    f.lfs = json_is_object(lfs);
    f.etag = f.lfs ? member(lfs, "oid") : f.blob_id;
    f.size = size_of(f.lfs ? lfs : e);
    return hub_tree_add(t, member(e, "path"), &f, url, err);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct hub_file *)a)->path, ((const struct hub_file *)b)->path);
}

void hub_tree_sort(struct hub_tree *t)
{
    if (t->n)
        qsort(t->file, (size_t)t->n, sizeof *t->file, by_path);
}

struct hub_file *hub_tree_find(const struct hub_tree *t, const char *path)
{
    struct hub_file key = {.path = (char *)path};
    return t->n ? bsearch(&key, t->file, (size_t)t->n, sizeof *t->file, by_path) : NULL;
}

void hub_tree_release(struct hub_tree *t)
{
    free(t->file);
    arena_release(&t->arena);
    *t = (struct hub_tree){0};
}

static int add_page(struct hub_tree *t, const json_t *page, const char *url, struct err *err)
{
    size_t i;
    json_t *e;
    int rc =
        json_is_array(page) ? 0 : err_set(err, ERR_FORMAT, "%s: expected a list of files", url);
    json_array_foreach((json_t *)page, i, e) if (rc == 0) rc = add_file(t, e, url, err);
    return rc;
}

int hub_ask_tree(struct hub_tree *t, struct hub *h, const struct hub_id *id, const char *commit,
                 struct err *err)
{
    *t = (struct hub_tree){0};
    memcpy(t->commit, commit, 41);
    int rc = hub_http(h, err);
    char *url = rc ? NULL
                   : str_printf("%s/api/%ss/%s/tree/%s?recursive=true&expand=false",
                                h->env.endpoint, hub_word(id->kind), id->repo, commit);
    for (int pages = 0; rc == 0 && url; pages++) {
        char *next = NULL;
        json_t *page = ask_json(h, id, url, &next, err);
        rc = page ? add_page(t, page, url, err) : err ? err->code : ERR_FORMAT;
        if (rc == 0 && pages == PAGES_MAX)
            rc = err_set(err, ERR_FORMAT, "%s: the listing does not end", url);
        json_decref(page);
        free(url);
        url = next;
    }
    free(url);
    if (rc == 0)
        hub_tree_sort(t);
    for (int i = 1; rc == 0 && i < t->n; i++)
        if (!strcmp(t->file[i].path, t->file[i - 1].path))
            rc = err_set(err, ERR_FORMAT, "%s: the Hub lists %s twice", id->repo,
                         t->file[i].path);
    if (rc)
        hub_tree_release(t);
    return rc;
}

/* The URL of rel="next" in a Link header: <URL>; rel="next". */
static char *next_link(const char *link, const char *endpoint)
{
    const char *open = link ? strchr(link, '<') : NULL,
               *close = open ? strchr(open, '>') : NULL;
    if (!close || !strstr(close, "rel=\"next\""))
        return NULL;
    char *url = open[1] == '/'
                    ? str_printf("%s%.*s", endpoint, (int)(close - open - 1), open + 1)
                    : str_printf("%.*s", (int)(close - open - 1), open + 1);
    return url;
}

/* The host and port of a URL, for comparing. */
static bool same_host(const char *a, const char *b)
{
    const char *x = strstr(a, "://"), *y = strstr(b, "://");
    size_t n = x ? strcspn(x + 3, "/?#") : 0;
    return x && y && x - a == y - b && !strncmp(a, b, (size_t)(x - a) + 3 + n) &&
           strcspn(y + 3, "/?#") == n;
}

static json_t *ask_json(struct hub *h, const struct hub_id *id, const char *url, char **next,
                        struct err *err)
{
    static const char *const headers[] = {"Accept: application/json"};
    struct http_request q = {.url = url, .headers = headers, .n_headers = 1, .timeout = 120};
    struct http_call *c;
    if (same_host(url, h->env.endpoint)) // a page may be linked from elsewhere
        q.token = h->env.token;
    if (http_fetch(h->http, &c, &q, err))
        return NULL;
    json_t *v = NULL;
    if (c->status != 200)
        hub_refusal(h, id, c, "a question", err);
    else
        v = json_parse(c->reply.s ? c->reply.s : "", c->reply.len, url, err);
    if (v && next)
        *next = next_link(http_header(c, "Link"), h->env.endpoint);
    http_call_free(c);
    return v;
}
