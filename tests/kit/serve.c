/* kit/serve.c - see serve.h. */
#include "kit/serve.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAULTS = 32 };

static char root[512];
static int *used; // (FAULTS) shared: how often each fault was met

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

void serve_in(const char *folder)
{
    snprintf(root, sizeof root, "%s", folder);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    used = serve_shared(FAULTS * sizeof *used);
}

const char *serve_path(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

void *serve_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

int serve_listen(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) || listen(fd, 256) ||
        getsockname(fd, (struct sockaddr *)&a, &n))
        die("127.0.0.1");
    *port = ntohs(a.sin_port);
    return fd;
}

void serve_publish(const char *name, const char *text)
{
    char tmp[610];
    const char *path = serve_path(name);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    FILE *f = fopen(tmp, "w");
    if (!f || fputs(text, f) < 0 || fclose(f) || rename(tmp, path))
        die(path);
}

_Noreturn void serve_forever(const int *fd, int n, void (*on)(int fd, int which))
{
    struct pollfd p[2];
    for (int i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = fd[i], .events = POLLIN};
    for (;;) {
        if (poll(p, (nfds_t)n, -1) < 0)
            continue;
        for (int i = 0; i < n; i++) {
            int c = p[i].revents & POLLIN ? accept(fd[i], NULL, NULL) : -1;
            if (c >= 0 && fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (int k = 0; k < n; k++)
                    close(fd[k]);
                on(c, i);
                exit(0);
            }
            if (c >= 0)
                close(c);
        }
    }
}

void serve_faults(const char *what, void *fault,
                  void (*apply)(void *fault, const char *action, const char *a, const char *b))
{
    char line[1024];
    FILE *s = fopen(serve_path("faults"), "r");
    for (int i = 0; s && i < FAULTS && fgets(line, sizeof line, s); i++) {
        char part[256], action[32], a[256] = "", b[256] = "";
        int count;
        if (sscanf(line, "%d %255s %31s %255s %255[^\n]", &count, part, action, a, b) < 3 ||
            !strstr(what, part))
            continue;
        if (__atomic_fetch_add(&used[i], 1, __ATOMIC_SEQ_CST) < count)
            apply(fault, action, a, b);
    }
    if (s)
        fclose(s);
}

bool serve_parse(struct serve_head *h, const char *head)
{
    *h = (struct serve_head){.from = -1};
    if (sscanf(head, "%7s %2599s", h->method, h->target) != 2)
        return false;
    for (const char *s = strstr(head, "\r\n"); s && s[2] != '\r'; s = strstr(s + 2, "\r\n")) {
        if (!strncasecmp(s + 2, "authorization:", 14))
            sscanf(s + 16, " %255[^\r]", h->auth);
        else if (!strncasecmp(s + 2, "range: bytes=", 13))
            h->from = atol(s + 15);
        else if (!strncasecmp(s + 2, "connection: close", 17))
            h->close = true;
        else if (!strncasecmp(s + 2, "content-length:", 15))
            h->n_body = (size_t)atol(s + 17);
    }
    return true;
}

void serve_log(const char *line)
{
    size_t n = strlen(line);
    int fd = open(serve_path("log"), O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd >= 0 && write(fd, line, n) == (ssize_t)n)
        close(fd);
}

bool serve_send(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}
