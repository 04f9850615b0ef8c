/* net/id.c - names on the Hub, and the environment variables that say where and as whom.
 *
 * Names and variables are huggingface_hub's; a value that is unusable is an error naming the
 * variable, and a token is never shown. */
#include "net/internal.h"

#include <ctype.h>

/* ---- names --------------------------------------------------------------------------- */

enum { REPO_MAX = 96, REVISION_MAX = 255, PATH_MAX_BYTES = 1024 };

/* One part of ORG/NAME: letters, digits, '-', '_', '.', no end in '-' or '.', no ".." or "--".
 */
static bool is_part(const char *s, size_t n)
{
    if (n == 0 || !isalnum((unsigned char)s[n - 1]))
        if (n == 0 || s[n - 1] != '_')
            return false;
    if (!isalnum((unsigned char)s[0]) && s[0] != '_')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr("-_.", s[i]))
            return false;
        if (i && s[i] == s[i - 1] && (s[i] == '-' || s[i] == '.'))
            return false;
    }
    return true;
}

bool hub_path_safe(const char *path)
{
    size_t n = strlen(path);
    if (n == 0 || n > PATH_MAX_BYTES || utf8_valid(path, n) != n)
        return false;
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127 || *p == '\\')
            return false;
    for (const char *p = path;; p++) {
        size_t part = strcspn(p, "/");
        if (part == 0 || (part == 1 && p[0] == '.') ||
            (part == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += part;
        if (!*p)
            return true;
    }
}

bool hub_revision_safe(const char *revision)
{
    return hub_path_safe(revision) && strlen(revision) <= REVISION_MAX &&
           !strchr(revision, ' ');
}

bool hub_is_commit(const char *s)
{
    return strlen(s) == 40 && strspn(s, "0123456789abcdef") == 40;
}

const char *hub_word(enum hub_kind kind)
{
    return kind == HUB_MODEL ? "model" : "dataset";
}

/* Length of ORG/NAME at the start of a name that is one, else 0. */
static size_t repo_length(const char *name)
{
    size_t n = strcspn(name, "@:"), org = strcspn(name, "/@:");
    if (name[org] != '/' || n > REPO_MAX || n <= org + 1)
        return 0;
    // paths of this project's own shape that can be no repository there: the Hub keeps these
    // words
    static const char *const reserved[] = {"models/", "datasets/", "spaces/"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (str_starts(name, reserved[i]))
            return 0;
    static const char *const files[] = {".json",        ".jsonl",   ".gz",  ".gguf",
                                        ".csv",         ".parquet", ".txt", ".yaml",
                                        ".safetensors", ".db",      ".git"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        size_t m = strlen(files[i]);
        if (n > m && !strncmp(name + n - m, files[i], m))
            return 0;
    }
    return is_part(name, org) && is_part(name + org + 1, n - org - 1) ? n : 0;
}

static int take_apart(struct hub_id *id, const char *name, struct err *err)
{
    size_t n = repo_length(name);
    if (!n)
        return err_set(err, ERR_VALUE,
                       "'%s' is not a name on the Hub: ORG/NAME[@REVISION][:FILE]", name);
    const char *rest = name + n, *revision = NULL, *file = NULL;
    size_t r = 0;
    if (*rest == '@') {
        revision = rest + 1;
        r = strcspn(revision, ":");
        rest = revision + r;
    }
    if (*rest == ':')
        file = rest + 1;
    id->repo = str_printf("%.*s", (int)n, name);
    id->revision = revision ? str_printf("%.*s", (int)r, revision) : str_printf("main");
    id->file = file ? str_printf("%s", file) : NULL;
    if (!id->repo || !id->revision || (file && !id->file))
        return err_set(err, ERR_MEMORY, "no memory for a name");
    if (!hub_revision_safe(id->revision))
        return err_set(err, ERR_VALUE, "%s: '%s' cannot be a revision", name, id->revision);
    if (file && !hub_path_safe(file))
        return err_set(err, ERR_VALUE, "%s: '%s' cannot be a file of a repository", name, file);
    return 0;
}

int hub_id_parse(struct hub_id *id, enum hub_kind kind, const char *name, struct err *err)
{
    *id = (struct hub_id){.kind = kind};
    int rc = take_apart(id, name, err);
    if (rc)
        hub_id_release(id);
    return rc;
}

void hub_id_release(struct hub_id *id)
{
    free(id->repo);
    free(id->revision);
    free(id->file);
    *id = (struct hub_id){0};
}

bool hub_is_id(const char *name)
{
    struct hub_id id;
    if (hub_id_parse(&id, HUB_MODEL, name, NULL))
        return false;
    hub_id_release(&id);
    return true;
}

/* ---- environment --------------------------------------------------------------------- */

static const char *env(const char *name)
{
    const char *s = getenv(name);
    return s && *s ? s : NULL;
}

static bool env_true(const char *name)
{
    const char *s = env(name);
    return s && (!strcmp(s, "1") || !strcasecmp(s, "on") || !strcasecmp(s, "yes") ||
                 !strcasecmp(s, "true"));
}

/* A path with a leading "~/" replaced. */
static char *home_path(const char *path)
{
    const char *home = env("HOME");
    if (path[0] == '~' && (path[1] == '/' || !path[1]))
        return str_printf("%s%s", home ? home : "", path + 1);
    return str_printf("%s", path);
}

static char *hf_home(void)
{
    const char *s = env("HF_HOME"), *xdg = env("XDG_CACHE_HOME");
    return s     ? home_path(s)
           : xdg ? str_printf("%s/huggingface", xdg)
                 : home_path("~/.cache/huggingface");
}

static char *cache_folder(void)
{
    const char *s = env("HF_HUB_CACHE");
    if (!s)
        s = env("HUGGINGFACE_HUB_CACHE");
    if (s)
        return home_path(s);
    char *home = hf_home(), *path = home ? path_join(home, "hub") : NULL;
    free(home);
    return path;
}

/* Without the white space around it; NULL where nothing is left. */
static char *trimmed(const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    return n ? str_printf("%.*s", (int)n, s) : NULL;
}

static char *token_file(void)
{
    const char *s = env("HF_TOKEN_PATH");
    if (s)
        return home_path(s);
    char *home = hf_home(), *path = home ? path_join(home, "token") : NULL;
    free(home);
    return path;
}

static int read_token(char **out, struct err *err)
{
    const char *s = env("HF_TOKEN"), *from = "HF_TOKEN";
    if (!s)
        s = env(from = "HUGGING_FACE_HUB_TOKEN");
    *out = s ? trimmed(s) : NULL;
    char *path = *out || env_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? NULL : token_file();
    int rc = 0;
    if (path && file_exists(path)) {
        char *text;
        size_t n;
        rc = file_read(&text, &n, path, 4096, err);
        if (rc == 0) {
            *out = trimmed(text);
            free(text);
            from = path;
        }
    }
    for (const char *p = *out; rc == 0 && p && *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p > 126)
            rc = err_set(err, ERR_VALUE, "%s: the token holds a character that none can have",
                         from);
    free(path);
    if (rc) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

static int read_endpoint(char **out, struct err *err)
{
    const char *s = env("HF_ENDPOINT");
    char *e = str_printf("%s", s ? s : "https://huggingface.co");
    if (!e)
        return err_set(err, ERR_MEMORY, "no memory");
    for (size_t n = strlen(e); n && e[n - 1] == '/'; n--)
        e[n - 1] = 0;
    *out = e;
    if ((str_starts(e, "http://") || str_starts(e, "https://")) && !strpbrk(e, " \r\n?#"))
        return 0;
    return err_set(err, ERR_VALUE, "HF_ENDPOINT is '%s', expected http://HOST or https://HOST",
                   e);
}

int hub_env_read(struct hub_env *e, struct err *err)
{
    *e = (struct hub_env){0};
    const char *seconds = env("HF_HUB_DOWNLOAD_TIMEOUT");
    double d;
    if (seconds && (!str_to_double(seconds, &d) || d < 1 || d > 86400))
        return err_set(err, ERR_VALUE,
                       "HF_HUB_DOWNLOAD_TIMEOUT is '%s', expected seconds from 1", seconds);
    e->stall = seconds ? d : 0;
    e->offline = env_true("HF_HUB_OFFLINE") || env_true("TRANSFORMERS_OFFLINE");
    e->no_links = env_true("HF_HUB_DISABLE_SYMLINKS");
    int rc = read_endpoint(&e->endpoint, err);
    if (rc == 0)
        rc = read_token(&e->token, err);
    if (rc == 0 && !(e->cache = cache_folder()))
        rc = err_set(err, ERR_MEMORY, "no memory");
    if (rc)
        hub_env_release(e);
    return rc;
}

void hub_env_release(struct hub_env *e)
{
    free(e->endpoint);
    free(e->cache);
    free(e->token);
    *e = (struct hub_env){0};
}
