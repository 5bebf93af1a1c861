/* The CNI plugin, as `windrow cni install` compiles it: what a container runtime starts for each call.
 *
 * It hands environment and standard input to `windrow cni serve` as they are (port/frame.py has the protocol) and
 * passes the answer on. Where no server takes the call, it becomes the Python that does the work by itself.
 * It decides nothing: no JSON, no network.
 *
 * Without the C library, where we know how: glibc's start asks the processor for its features, and each CPUID of a
 * virtual machine is a trip to its host. That is 0.3 ms, a tenth of a whole ADD. (With FREESTANDING not defined, or
 * on other processors, it is an ordinary program.)
 *
 * ROOT, NODE, PYTHON, PROGRAM and VERSION are defined on the compiler's command line (apps/cni/install.py).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET "/run/windrow/cni.sock"
#define TAKE_S 2     /* for the server to take the call: after that we do it; all its threads may be waiting for DHCP */
#define ANSWER_S 300 /* for the answer; runtimes give up before that */
#define ENVIRONMENT_MAX (256 * 1024)
#define CONFIG_MAX (4 * 1024 * 1024)
#define ANSWER_MAX (8 * 1024 * 1024)
#define VARIABLES_MAX 16384

enum { ACCEPTED = 1, REFUSED = 2, ANSWER = 3 };
enum outcome { NOT_BEGUN, BROKEN_OFF, UNKNOWN };

const char mark[] __attribute__((used)) = "windrow-cni-plugin " VERSION " compiled";
static const char lost[] = "{\"code\": 11, \"msg\": \"the Windrow server did not answer a call that it had begun\","
                           " \"details\": \"delete the attachment, then try again\"}";

/* Pages of these that are not touched cost nothing. */
static char request[12 + ENVIRONMENT_MAX], config[CONFIG_MAX], answer[ANSWER_MAX];
static char *variables[VARIABLES_MAX + 3]; /* the environment, and room for the two that we may add */

/* ---- System calls. They return a negative number where they fail. ------------------------------------------------ */

#if defined(FREESTANDING) && defined(__x86_64__)
static long sys(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return number;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start");
#elif defined(FREESTANDING) && defined(__aarch64__)
static long sys(long number, long a, long b, long c, long d, long e)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: mov x29, 0\n mov x0, sp\n bl start");
#elif defined(FREESTANDING)
#error "compile it with the C library"
#else
#define sys syscall
#endif

#define SYS2(name, a, b) sys(SYS_##name, (long)(a), (long)(b), 0L, 0L, 0L)
#define SYS3(name, a, b, c) sys(SYS_##name, (long)(a), (long)(b), (long)(c), 0L, 0L)
#define SYS4(name, a, b, c, d) sys(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0L)
#define SYS5(name, a, b, c, d, e) sys(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

/* Up to `size` bytes; fewer at the end of the stream, on an error or when the time is over. */
static size_t read_all(int fd, char *data, size_t size)
{
    size_t have = 0;
    long got;
    while (have < size && (got = SYS3(read, fd, data + have, size - have)) > 0)
        have += got;
    return have;
}

static int write_all(int fd, const char *data, size_t size)
{
    long put;
    for (; size; data += put, size -= put)
        if ((put = SYS3(write, fd, data, size)) <= 0)
            return -1;
    return 0;
}

static int send_all(int fd, const char *data, size_t size)
{
    long put;
    for (; size; data += put, size -= put)
        if ((put = sys(SYS_sendto, fd, (long)data, size, MSG_NOSIGNAL, 0L)) <= 0)
            return -1;
    return 0;
}

/* ---- Texts ------------------------------------------------------------------------------------------------------- */

static size_t length(const char *text)
{
    size_t size = 0;
    while (text[size])
        size++;
    return size;
}

static int starts(const char *text, const char *with)
{
    while (*with && *text == *with)
        text++, with++;
    return !*with;
}

/* A text that is written from left to right; `end` is NULL once it had no room. */
struct text { char *end, *limit; };

static void add(struct text *text, const char *more, size_t size)
{
    if (!text->end || size > (size_t)(text->limit - text->end)) {
        text->end = NULL;
        return;
    }
    while (size--)
        *text->end++ = *more++;
}

static void add_number(struct text *text, unsigned long long number)
{
    char digits[20], *first = digits + sizeof digits;
    do
        *--first = '0' + number % 10;
    while (number /= 10);
    add(text, first, digits + sizeof digits - first);
}

static void put_u32(char *at, unsigned long number)
{
    for (int i = 3; i >= 0; i--, number >>= 8)
        at[i] = number;
}

static const char *variable(const char *name)
{
    for (char **one = variables; *one; one++)
        if (starts(*one, name) && (*one)[length(name)] == '=')
            return *one + length(name) + 1;
    return "";
}

/* Unless it says something already. `entry`: NAME=VALUE */
static void set_default(const char *name, char *entry)
{
    char **one = variables;
    while (*one && !(starts(*one, name) && (*one)[length(name)] == '='))
        one++;
    if (!*one || !(*one)[length(name) + 1])
        *one = entry;
}

/* ---- The call ---------------------------------------------------------------------------------------------------- */

/* "/4:4026531840": device and inode; "/-" where there is nothing. */
static void add_identity(struct text *text, const char *path)
{
    struct stat found;
    add(text, "/", 1);
    if (SYS4(newfstatat, AT_FDCWD, path, &found, 0) < 0) {
        add(text, "-", 1);
        return;
    }
    add_number(text, found.st_dev);
    add(text, ":", 1);
    add_number(text, found.st_ino);
}

/* What the names in this call mean here: a server in another network namespace, or that finds something else under
 * the same paths, would do the work on the wrong things. It compares, and refuses; then we do it. */
static void add_place(struct text *text)
{
    static const char *const fixed[] = { "/proc/self/ns/net", "/", "/etc", "/opt", "/run", "/tmp", "/var/lib" };
    const char *netns = variable("CNI_NETNS");
    add(text, "WINDROW_PLACE=", 14);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        add_identity(text, fixed[i]);
    if (*netns)
        add_identity(text, netns);
    for (const char *path = variable("CNI_PATH"); *path;) {
        static char one[4096];
        struct text directory = { one, one + sizeof one - 1 };
        size_t size = 0;
        while (path[size] && path[size] != ':')
            size++;
        add(&directory, path, size);
        if (directory.end)
            *directory.end = 0;
        if (size)
            add_identity(text, directory.end ? one : "");
        path += size + (path[size] == ':');
    }
    add(text, "", 1);
}

static int wanted(const char *entry)
{
    return (starts(entry, "CNI_") || starts(entry, "WINDROW_") || starts(entry, "PATH="))
        && !starts(entry, "WINDROW_PLACE=") && !starts(entry, "WINDROW_ABOUT=");
}

/* Header and environment; the configuration follows in a send of its own. 0: it is too long. */
static size_t make_request(size_t config_size)
{
    struct text text = { request + 12, request + sizeof request };
    add_place(&text);
    for (char **entry = variables; *entry; entry++)
        if (wanted(*entry))
            add(&text, *entry, length(*entry) + 1);
    if (!text.end)
        return 0;
    struct text magic = { request, request + 4 };
    add(&magic, "WCN1", 4);
    put_u32(request + 4, text.end - request - 12);
    put_u32(request + 8, config_size);
    return text.end - request;
}

static int connected(const char *root)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = TAKE_S };
    struct text path = { address.sun_path, address.sun_path + sizeof address.sun_path };
    size_t size = length(root);
    while (size && root[size - 1] == '/')
        size--;
    add(&path, root, size);
    add(&path, SOCKET, sizeof SOCKET);
    int fd = path.end ? SYS3(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return -1;
    SYS5(setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect, too */
    SYS5(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return SYS3(connect, fd, &address, sizeof address) < 0 ? -1 : fd;
}

static int read_reply(int fd, size_t *size)
{
    unsigned char head[5];
    if (read_all(fd, (char *)head, sizeof head) != sizeof head)
        return 0;
    *size = (size_t)head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4];
    return head[0];
}

/* Returns only where there is no answer.
 *
 * Whether the server has begun is never in doubt: it begins after its ACCEPTED was sent, and that is in our queue
 * then even if it dies at once (unix_stream_read_generic looks at the queue before errors and the end). Out of
 * patience, we shut the socket first and look then: a send that comes later fails (unix_stream_sendmsg checks
 * RCV_SHUTDOWN under the lock under which it queues), and the server does not begin. */
static enum outcome served(const char *root, size_t config_size)
{
    struct timeval limit = { .tv_sec = ANSWER_S };
    size_t size = make_request(config_size);
    int fd = size ? connected(root) : -1;
    if (fd < 0 || send_all(fd, request, size) || send_all(fd, config, config_size))
        return NOT_BEGUN;
    int kind = read_reply(fd, &size);
    if (!kind) {
        SYS2(shutdown, fd, SHUT_RDWR);
        return read_reply(fd, &size) == ACCEPTED ? UNKNOWN : NOT_BEGUN;
    }
    if (kind != ACCEPTED)
        return NOT_BEGUN;
    SYS5(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (read_reply(fd, &size) != ANSWER || !size || size > ANSWER_MAX || read_all(fd, answer, size) != size) {
        SYS4(fcntl, fd, F_SETFL, O_NONBLOCK, 0);
        return SYS3(read, fd, answer, 1) ? UNKNOWN : BROKEN_OFF; /* 0: the end of the stream, so of the server */
    }
    write_all(1, answer + 1, size - 1);
    SYS2(exit_group, (unsigned char)answer[0], 0);
    return UNKNOWN;
}

static int fail(const char *message)
{
    static const char before[] = "{\"code\": 5, \"msg\": \"", after[] = "\"}";
    write_all(1, before, sizeof before - 1);
    write_all(1, message, length(message));
    write_all(1, after, sizeof after - 1);
    return 1;
}

/* Become the Python that does it alone. Standard input is as it came: `size` bytes of it were read, perhaps not all. */
static int alone(size_t size, int was_read)
{
    static char *const argv[] = { PYTHON, "-IS", "-c", PROGRAM, NULL };
    if (was_read) {
        int fd = SYS2(memfd_create, "stdin", 0);
        if (fd < 0 || write_all(fd, config, size))
            return fail("there is no memory for the configuration");
        while (size == CONFIG_MAX && (size = read_all(0, config, CONFIG_MAX)))
            if (write_all(fd, config, size))
                return fail("there is no memory for the configuration");
        SYS3(lseek, fd, 0, SEEK_SET);
        SYS3(dup3, fd, 0, 0);
        SYS2(close, fd, 0);
    }
    SYS3(execve, PYTHON, argv, variables);
    return fail("the Python of this plugin is not there: install the plugins anew, with windrow cni install");
}

static int run(char **environment)
{
    static char root_entry[] = "WINDROW_ROOT=" ROOT, node_entry[] = "WINDROW_NODE=" NODE;
    for (size_t i = 0; i < VARIABLES_MAX && environment[i]; i++)
        variables[i] = environment[i];
    if (*ROOT)
        set_default("WINDROW_ROOT", root_entry);
    if (*NODE)
        set_default("WINDROW_NODE", node_entry);
    const char *command = variable("CNI_COMMAND");
    if (!*command) /* somebody at a terminal wants to know what this is */
        return alone(0, 0);
    size_t size = starts(command, "VERSION") ? 0 : read_all(0, config, CONFIG_MAX); /* VERSION: it is not read */
    enum outcome outcome = size < CONFIG_MAX ? served(variable("WINDROW_ROOT"), size) : NOT_BEGUN;
    /* A server that died in the middle of a DEL, CHECK, STATUS or GC: each may be done again. Not so an ADD, which
     * would find half of itself in its way; a runtime answers its failure with a DEL, and that takes away what the
     * record, which is written first, says. A server that lives, but is slow, may still be at it: nothing is done. */
    if (outcome == NOT_BEGUN || (outcome == BROKEN_OFF && !starts(command, "ADD")))
        return alone(size, !starts(command, "VERSION"));
    write_all(1, lost, sizeof lost - 1);
    return 1;
}

#ifdef FREESTANDING
__attribute__((used, noreturn)) void start(long *stack)
{
    for (long code = run((char **)(stack + stack[0] + 2));;)
        SYS2(exit_group, code, 0);
}
#else
int main(int count, char **arguments, char **environment)
{
    (void)count, (void)arguments;
    return run(environment);
}
#endif
