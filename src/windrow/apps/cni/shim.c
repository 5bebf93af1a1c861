/* The CNI plugin, as `windrow cni install` compiles it: what a container runtime starts for each call.
 *
 * It hands environment and standard input to `windrow cni serve` as they are (port/frame.py has the protocol) and
 * passes the answer on. Where no server takes the call, it becomes the Python that does the work by itself.
 * It decides nothing: no JSON, no network.
 *
 * ROOT, NODE, PYTHON, PROGRAM and VERSION are defined on the compiler's command line (apps/cni/install.py).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET "/run/windrow/cni.sock"
#define TAKE_S 2     /* for the server to take the call: after that we do it; all its threads may be waiting for DHCP */
#define ANSWER_S 300 /* for the answer; runtimes give up before that */
#define ENVIRONMENT_MAX (256 * 1024)
#define CONFIG_MAX (4 * 1024 * 1024)
#define ANSWER_MAX (16 * 1024 * 1024)

enum { ACCEPTED = 1, REFUSED = 2, ANSWER = 3 };
enum outcome { NOT_BEGUN, BROKEN_OFF, UNKNOWN };

const char mark[] __attribute__((used)) = "windrow-cni-plugin " VERSION " compiled";
static const char lost[] = "{\"code\": 11, \"msg\": \"the Windrow server did not answer a call that it had begun\","
                           " \"details\": \"delete the attachment, then try again\"}";

extern char **environ;

static int fail(const char *message)
{
    printf("{\"code\": 5, \"msg\": \"%s: install Windrow's plugins anew with windrow cni install\"}", message);
    return 1;
}

/* Up to `size` bytes; fewer at the end of the stream, on an error or when the time is over. */
static size_t read_all(int fd, char *data, size_t size)
{
    size_t have = 0;
    ssize_t got;
    while (have < size && (got = read(fd, data + have, size - have)) > 0)
        have += got;
    return have;
}

static int write_all(int fd, const char *data, size_t size)
{
    ssize_t put;
    for (; size; data += put, size -= put)
        if ((put = write(fd, data, size)) <= 0)
            return -1;
    return 0;
}

static int send_all(int fd, const char *data, size_t size)
{
    ssize_t put;
    for (; size; data += put, size -= put)
        if ((put = send(fd, data, size, MSG_NOSIGNAL)) <= 0)
            return -1;
    return 0;
}

/* Standard input to its end; it grows, so that a longer one than the server takes still reaches the fallback. */
static char *read_input(size_t *size)
{
    size_t room = 16 * 1024, have = 0, got;
    char *data = malloc(room);
    while (data && (got = read_all(0, data + have, room - have)) > 0)
        if ((have += got) == room)
            data = realloc(data, room *= 2);
    *size = have;
    return data;
}

struct text { char *end, *limit; };

/* "/4:4026531840": device and inode; "/-" where there is nothing. */
static void add_identity(struct text *text, const char *path)
{
    struct stat found;
    size_t room = text->limit - text->end;
    int put = stat(path, &found) ? snprintf(text->end, room, "/-")
        : snprintf(text->end, room, "/%llu:%llu", (unsigned long long)found.st_dev, (unsigned long long)found.st_ino);
    text->end = (size_t)put < room ? text->end + put : text->limit;
}

/* What the names in this call mean here: a server in another network namespace, or that finds something else under
 * the same paths, would do the work on the wrong things. It compares, and refuses; then we do it. */
static void add_place(struct text *text)
{
    static const char *const fixed[] = { "/proc/self/ns/net", "/", "/etc", "/opt", "/run", "/tmp", "/var/lib" };
    const char *netns = getenv("CNI_NETNS"), *given = getenv("CNI_PATH");
    char *path = strdup(given ? given : ""), *rest = path, *one;
    text->end += snprintf(text->end, text->limit - text->end, "WINDROW_PLACE=");
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        add_identity(text, fixed[i]);
    if (netns && *netns)
        add_identity(text, netns);
    while (path && (one = strsep(&rest, ":")))
        if (*one)
            add_identity(text, one);
    free(path);
}

static int wanted(const char *entry)
{
    return (!strncmp(entry, "CNI_", 4) || !strncmp(entry, "WINDROW_", 8) || !strncmp(entry, "PATH=", 5))
        && strncmp(entry, "WINDROW_PLACE=", 14) && strncmp(entry, "WINDROW_ABOUT=", 14);
}

/* Header and environment; the configuration follows in a send of its own. NULL: it is too long. */
static char *request(size_t config, size_t *size)
{
    char *data = malloc(12 + ENVIRONMENT_MAX);
    struct text text = { data + 12, data + 12 + ENVIRONMENT_MAX - 1 };
    if (!data || config > CONFIG_MAX)
        return NULL;
    add_place(&text);
    *text.end++ = 0;
    for (char **entry = environ; *entry; entry++) {
        if (!wanted(*entry))
            continue;
        if (text.end + strlen(*entry) >= text.limit)
            return NULL;
        text.end = stpcpy(text.end, *entry) + 1;
    }
    *size = text.end - data;
    uint32_t lengths[2] = { htonl(*size - 12), htonl(config) };
    memcpy(data, "WCN1", 4);
    memcpy(data + 4, lengths, 8);
    return data;
}

static int connected(const char *root)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = TAKE_S };
    int length = strlen(root);
    while (length && root[length - 1] == '/')
        length--;
    if (snprintf(address.sun_path, sizeof address.sun_path, "%.*s" SOCKET, length, root)
        >= (int)sizeof address.sun_path)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect, too */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int read_reply(int fd, uint32_t *size)
{
    char head[5];
    if (read_all(fd, head, sizeof head) != sizeof head)
        return 0;
    memcpy(size, head + 1, 4);
    *size = ntohl(*size);
    return head[0];
}

/* Returns only where there is no answer.
 *
 * Whether the server has begun is never in doubt: it begins after its ACCEPTED was sent, and that is in our queue
 * then even if it dies at once (unix_stream_read_generic looks at the queue before errors and the end). Out of
 * patience, we shut the socket first and look then: a send that comes later fails (unix_stream_sendmsg checks
 * RCV_SHUTDOWN under the lock under which it queues), and the server does not begin. */
static enum outcome served(const char *root, const char *config, size_t config_size)
{
    struct timeval limit = { .tv_sec = ANSWER_S };
    size_t size;
    uint32_t length;
    char *asked = request(config_size, &size), *answer;
    int fd = asked ? connected(root) : -1;
    if (fd < 0 || send_all(fd, asked, size) || send_all(fd, config, config_size))
        return NOT_BEGUN;
    int kind = read_reply(fd, &length);
    if (!kind) {
        shutdown(fd, SHUT_RDWR);
        return read_reply(fd, &length) == ACCEPTED ? UNKNOWN : NOT_BEGUN;
    }
    if (kind != ACCEPTED)
        return NOT_BEGUN;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (read_reply(fd, &length) != ANSWER || !length || length > ANSWER_MAX || !(answer = malloc(length))
        || read_all(fd, answer, length) != length)
        return recv(fd, &kind, 1, MSG_DONTWAIT) ? UNKNOWN : BROKEN_OFF; /* 0: the end of the stream, so of the server */
    write_all(1, answer + 1, length - 1);
    _exit((unsigned char)answer[0]);
}

/* Become the Python that does it alone, with standard input as it came. */
static int alone(const char *root, const char *config, size_t size)
{
    if (config) {
        int fd = memfd_create("stdin", 0);
        if (fd < 0 || write_all(fd, config, size) || lseek(fd, 0, SEEK_SET) || dup2(fd, 0))
            return fail("no memory for the configuration");
        close(fd);
    }
    if (*root)
        setenv("WINDROW_ROOT", root, 1);
    execl(PYTHON, PYTHON, "-IS", "-c", PROGRAM, (char *)NULL);
    return fail("the Python that does this call is not there");
}

int main(void)
{
    const char *command = getenv("CNI_COMMAND"), *root = getenv("WINDROW_ROOT");
    size_t size = 0;
    if (!root || !*root)
        root = ROOT;
    if (*NODE)
        setenv("WINDROW_NODE", NODE, 0);
    if (!command || !*command) /* somebody at a terminal wants to know what this is */
        return alone(root, NULL, 0);
    char *config = strcmp(command, "VERSION") ? read_input(&size) : ""; /* VERSION: it is not read */
    if (!config)
        return fail("no memory for the configuration");
    enum outcome outcome = served(root, config, size);
    /* A server that died in the middle of a DEL, CHECK, STATUS or GC: each may be done again. Not so an ADD, which
     * would find half of itself in its way; a runtime answers its failure with a DEL, and that takes away what the
     * record, which is written first, says. A server that lives, but is slow, may still be at it: nothing is done. */
    if (outcome == NOT_BEGUN || (outcome == BROKEN_OFF && strcmp(command, "ADD")))
        return alone(root, config, size);
    write_all(1, lost, sizeof lost - 1);
    return 1;
}
