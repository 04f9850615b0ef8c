/* files.c - whole files, maps, folders, and outputs that appear whole or not at all.
 *
 * An output is written under NAME.partial beside its final name, synced, and renamed.  A kill
 * at any moment leaves the old file or the new one; a leftover .partial is overwritten by the
 * next attempt.  What is left out: locks.  Two processes that write the same name at once are
 * the user's mistake. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int sys_err(struct err *err, const char *doing, const char *path)
{
    return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: %s: %s", path, doing,
                   strerror(errno));
}

static int no_memory(struct err *err, const char *path)
{
    return err_set(err, ERR_MEMORY, "%s: no memory", path);
}

/* A read or write that `make torture` wants to fail. */
static bool io_fails(void)
{
    if (!fail_now())
        return false;
    errno = EIO;
    return true;
}

/* ---- reading ---------------------------------------------------------------------- */

/* Grows as it reads, because the size of a pipe or of /proc files is not known. */
static int read_all(struct buf *b, FILE *f, const char *path, size_t max, struct err *err)
{
    for (;;) {
        size_t need = b->len + (b->len < 65536 ? 65536 : b->len / 2);
        char *s = mem_grow(b->s, &b->cap, need + 1, 1);
        if (!s)
            return no_memory(err, path);
        b->s = s;
        size_t got = fread(b->s + b->len, 1, b->cap - b->len - 1, f);
        b->len += got;
        b->s[b->len] = 0;
        if (b->len > max)
            return err_set(err, ERR_FORMAT, "%s: larger than the %zu bytes allowed here", path,
                           max);
        if (got == 0)
            return ferror(f) || io_fails() ? sys_err(err, "reading failed", path) : 0;
    }
}

int file_read(char **out, size_t *n, const char *path, size_t max, struct err *err)
{
    struct buf b = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        return sys_err(err, "cannot be opened", path);
    int rc = read_all(&b, f, path, max ? max : (size_t)1 << 30, err);
    fclose(f);
    if (rc == 0) {
        *n = b.len;
        *out = buf_take(&b);
    }
    buf_release(&b);
    return rc;
}

int file_map_open(struct file_map *m, const char *path, struct err *err)
{
    struct stat st;
    *m = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sys_err(err, "cannot be opened", path);
    int rc = 0;
    if (fstat(fd, &st))
        rc = sys_err(err, "cannot be examined", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_IO, "%s: not a regular file", path);
    else if (st.st_size > 0) {
        void *p = fail_now() ? MAP_FAILED
                             : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = no_memory(err, path);
        else
            *m = (struct file_map){p, (size_t)st.st_size};
    }
    close(fd);
    return rc;
}

void file_map_close(struct file_map *m)
{
    if (m && m->p)
        munmap((void *)m->p, m->n);
    if (m)
        *m = (struct file_map){0};
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

bool dir_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *path_join(const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == 0)
        return str_printf("%s", name);
    return str_printf(str_ends(dir, "/") ? "%s%s" : "%s/%s", dir, name);
}

/* ---- folders ------------------------------------------------------------------------ */

int dir_make(const char *path, struct err *err)
{
    char *p = str_printf("%s", path);
    if (!p)
        return no_memory(err, path);
    int rc = 0;
    for (char *s = p + 1; rc == 0 && p[0]; s++) {
        if (*s != '/' && *s != 0)
            continue;
        char was = *s;
        *s = 0;
        if (mkdir(p, 0777) && !(errno == EEXIST && dir_exists(p)))
            rc = sys_err(err, "this folder cannot be made", p);
        *s = was;
        if (!was)
            break;
    }
    free(p);
    return rc;
}

int dir_make_parent(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    char *dir = str_printf("%.*s", (int)(slash - path), path);
    int rc = dir ? dir_make(dir, err) : no_memory(err, path);
    free(dir);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    return remove(path);
}

int dir_remove(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st))
        return errno == ENOENT ? 0 : sys_err(err, "cannot be examined", path);
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS))
        return sys_err(err, "cannot be removed", path);
    return 0;
}

/* Makes a rename in this folder last through a power failure; file systems that cannot are
 * excused. */
static void sync_parent(const char *path)
{
    char *dir = str_printf("%s", path);
    char *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash)
        slash[slash == dir] = 0;
    int fd = dir ? open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

/* ---- files that appear whole ---------------------------------------------------------- */

int file_out_open(struct file_out *w, const char *path, struct err *err)
{
    *w = (struct file_out){0};
    w->path = str_printf("%s", path);
    w->tmp = str_printf("%s.partial", path);
    if (!w->path || !w->tmp) {
        file_out_close(w);
        return no_memory(err, path);
    }
    w->f = fopen(w->tmp, "wb");
    if (!w->f) {
        int rc = err_set(err, ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
        free(w->tmp);   // whatever stands under that name is not ours to remove
        w->tmp = NULL;
        file_out_close(w);
        return rc;
    }
    return 0;
}

int file_out_commit(struct file_out *w, struct err *err)
{
    int rc = 0;
    // Devices and pipes cannot be synced; that is no failure, a full disk (from fflush or
    // fsync) is.
    if (io_fails() || fflush(w->f) || ferror(w->f) ||
        (fsync(fileno(w->f)) && errno != EINVAL && errno != EROFS))
        rc = err_set(err, ERR_IO, "%s: writing failed: %s", w->path, strerror(errno));
    if (fclose(w->f) && rc == 0)
        rc = err_set(err, ERR_IO, "%s: writing failed: %s", w->path, strerror(errno));
    w->f = NULL;
    if (rc == 0 && rename(w->tmp, w->path))
        rc = err_set(err, ERR_IO, "%s: cannot be renamed into place: %s", w->path,
                     strerror(errno));
    if (rc == 0) {
        sync_parent(w->path);
        free(w->tmp);
        w->tmp = NULL;
    }
    file_out_close(w);
    return rc;
}

void file_out_close(struct file_out *w)
{
    if (!w)
        return;
    if (w->f)
        fclose(w->f);
    if (w->tmp)
        unlink(w->tmp);
    free(w->tmp);
    free(w->path);
    *w = (struct file_out){0};
}

int file_write(const char *path, const void *p, size_t n, struct err *err)
{
    struct file_out w;
    int rc = file_out_open(&w, path, err);
    if (rc)
        return rc;
    if (n && fwrite(p, 1, n, w.f) != n) {
        rc = err_set(err, ERR_IO, "%s: writing failed: %s", path, strerror(errno));
        file_out_close(&w);
        return rc;
    }
    return file_out_commit(&w, err);
}

static int copy_bytes(FILE *to, const struct file_map *m, const char *path, struct err *err)
{
    if (m->n && fwrite(m->p, 1, m->n, to) != m->n)
        return err_set(err, ERR_IO, "%s: writing failed: %s", path, strerror(errno));
    return 0;
}

int file_copy(const char *to, const char *from, struct err *err)
{
    struct file_map m;
    struct file_out w;
    int rc = file_map_open(&m, from, err);
    if (rc)
        return rc;
    rc = file_out_open(&w, to, err);
    if (rc == 0)
        rc = copy_bytes(w.f, &m, to, err);
    if (rc == 0)
        rc = file_out_commit(&w, err);
    file_out_close(&w);
    file_map_close(&m);
    return rc;
}

/* ---- folders that appear whole ----------------------------------------------------------- */

int dir_out_open(char **tmp, const char *path, struct err *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *p = str_printf("%.*s.partial", (int)n, path);
    if (!p)
        return no_memory(err, path);
    int rc = dir_remove(p, err);    // what a kill left behind
    if (rc == 0)
        rc = dir_make(p, err);
    if (rc == 0)
        *tmp = p;
    else
        free(p);
    return rc;
}

/* Puts tmp in the place of path.  Exchanging the two names is one step where the kernel can;
 * elsewhere the old folder steps aside first, and a kill between the two renames leaves it as
 * NAME.partial.old. */
static int take_place(const char *tmp, const char *path, struct err *err)
{
    if (rename(tmp, path) == 0)     // nothing there, or an empty folder
        return 0;
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return dir_remove(tmp, err);
    char *old = str_printf("%s.old", tmp);
    if (!old)
        return no_memory(err, path);
    int rc = dir_remove(old, err);
    if (rc == 0 && (rename(path, old) || rename(tmp, path)))
        rc = err_set(err, ERR_IO, "%s: cannot be renamed into place: %s", path, strerror(errno));
    if (rc == 0)
        rc = dir_remove(old, err);
    free(old);
    return rc;
}

int dir_out_commit(char *tmp, const char *path, struct err *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *plain = str_printf("%.*s", (int)n, path);
    int rc = plain ? take_place(tmp, plain, err) : no_memory(err, path);
    if (rc == 0)
        sync_parent(plain);
    free(plain);
    if (rc == 0)
        free(tmp);
    else
        dir_out_drop(tmp);
    return rc;
}

void dir_out_drop(char *tmp)
{
    if (tmp)
        (void)dir_remove(tmp, NULL);
    free(tmp);
}
