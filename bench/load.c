/* The clients: opens flows from many addresses to many, and tells what became of them.
 *
 * usage: load [OPTION...] ALLOWED BLOCKED        two files: a request that is to be answered, one that is not to be
 *   -p PORT  -n FLOWS  -j AT-A-TIME              as fast as the answers come, or:
 *   -r FLOWS-A-SECOND                            at this pace; the time to first byte counts from when the flow was due
 *   -b N      every Nth flow asks for a blocked name      -k N  requests in a flow
 *   -d BYTES  to download once a flow is answered          -u BYTES  to send behind the request
 *   -H        leave a flow that is answered as it is: it stays open, for all that can be seen from outside
 * Prints JSON. Where a request has "000000" a number is put, so that names differ; a name lives at one address. An answer
 * begins as the server's do (what a gateway says in its place is none) and ends with "\nend\n". One thread and no TLS of
 * its own, so that as little as possible of what is measured is this program.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS 250 /* addresses: 10.1.0.1 and on, of flows that are left open 10.1.1.1 and on; 10.2.0.1 and on */
#define SERVERS 64
#define NAMES 1000
#define BLOCKED_NAMES 10
#define SILENCE 5.0 /* seconds, after which what is missing has failed */

struct request { char bytes[1 << 16]; size_t length; char *number; };
struct flow { double due; long left, asked; int number; char blocked, judged, answered; };

static struct request requests[2]; /* allowed, blocked */
static struct flow *flows;         /* by descriptor */
static float *times;               /* to first byte, in microseconds */
static long count = 1000, parallel = 64, rate, every, per_flow = 1, download, upload, port = 80;
static long begun, answers, timed, refused, through, failed, finished;
static int poller, hold;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void begin(double due)
{
    long n = begun++;
    int blocked = every && n % every == every / 2, number = blocked ? n / every % BLOCKED_NAMES : n * 7919 % NAMES;
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl((hold ? 0x0a010101 : 0x0a010001) + n % CLIENTS) };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(0x0a020001 + number % SERVERS) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct epoll_event event = { .events = EPOLLOUT, .data.fd = fd };

    /* The port is chosen when the other side is known, so that one address has 28,000 to each server. */
    if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on)
        || bind(fd, (void *)&from, sizeof from) || (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS)) {
        perror("load: a new flow");
        exit(1);
    }
    flows[fd] = (struct flow){ .due = due, .left = per_flow, .number = number, .blocked = blocked };
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void end(int fd, long *outcome)
{
    ++*outcome;
    finished++;
    if (hold && outcome == &answers)
        setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &hold, sizeof(int)); /* closing it says nothing to the other side */
    close(fd);
}

static void ask(int fd, struct flow *flow)
{
    struct request *request = &requests[(int)flow->blocked];
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    static char zeros[1 << 18];
    char digits[7];
    long sent = request->length;

    if (!flow->asked) {
        snprintf(digits, sizeof digits, "%06d", flow->number);
        memcpy(request->number, digits, 6);
        if (send(fd, request->bytes, request->length, MSG_NOSIGNAL) != sent)
            return end(fd, flow->blocked ? &refused : &failed);
    }
    flow->asked += sent * !flow->asked;
    while (flow->asked < (long)request->length + upload) {
        long rest = request->length + upload - flow->asked;
        sent = send(fd, zeros, rest < (long)sizeof zeros ? rest : (long)sizeof zeros, MSG_NOSIGNAL);
        if (sent < 0) {
            event.events = EPOLLOUT;
            break;
        }
        flow->asked += sent;
    }
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

static void hear(int fd, struct flow *flow, double time)
{
    static char answer[1 << 18];
    unsigned char more[13] = { 0x17, 3, 3, 0, 8 }; /* a record of application data: how many bytes are wanted */
    long got = recv(fd, answer, sizeof answer, 0);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        return end(fd, flow->blocked && !flow->judged ? &refused : &failed);
    if (flow->answered) { /* downloading */
        if ((flow->left -= got) <= 0)
            end(fd, &answers);
        return;
    }
    if (!flow->judged) {
        flow->judged = 1;
        if (answer[0] != 0x16 && (got < 12 || memcmp(answer, "HTTP/1.1 200", 12)))
            return end(fd, flow->blocked ? &refused : &failed);
        if (flow->blocked)
            return end(fd, &through);
        times[timed++] = (time - flow->due) * 1e6;
    }
    if (got < 5 || memcmp(answer + got - 5, "\nend\n", 5))
        return;
    if (download) {
        for (int i = 0; i < 8; i++)
            more[5 + i] = download >> (56 - 8 * i);
        flow->answered = 1;
        flow->left = download;
        if (send(fd, more, sizeof more, MSG_NOSIGNAL) != sizeof more)
            end(fd, &failed);
    } else if (--flow->left) {
        flow->asked = 0;
        ask(fd, flow);
    } else {
        end(fd, &answers);
    }
}

static void load(struct request *request, const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t length = read(fd, request->bytes, sizeof request->bytes);

    request->length = length > 0 ? length : 0;
    request->number = memmem(request->bytes, request->length, "000000", 6);
    if (!request->number) {
        fprintf(stderr, "load: %s: no request with a number in it\n", path);
        exit(2);
    }
    close(fd);
}

static int by_size(const void *one, const void *other)
{
    float a = *(float *)one, b = *(float *)other;

    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    long *options[128] = { ['p'] = &port, ['n'] = &count, ['j'] = &parallel, ['r'] = &rate, ['b'] = &every,
                           ['k'] = &per_flow, ['d'] = &download, ['u'] = &upload };
    double started, time, heard;
    int letter;

    while ((letter = getopt(argc, argv, "p:n:j:r:b:k:d:u:H")) != -1)
        if (letter == 'H')
            hold = 1;
        else if (letter == '?')
            return 2;
        else
            *options[letter] = atol(optarg);
    if (argc - optind != 2)
        return 2;
    load(&requests[0], argv[optind]);
    load(&requests[1], argv[optind + 1]);
    flows = calloc(1 << 20, sizeof *flows);
    times = calloc(count + 1, sizeof *times);
    poller = epoll_create1(0);
    heard = time = started = now();
    while (finished < count && time - heard < SILENCE) {
        struct timespec wait = { 1, 0 };
        int ready;

        if (rate) {
            double next;
            for (; (next = started + (double)begun / rate) <= time && begun < count;)
                begin(next);
            if (begun < count)
                wait = (struct timespec){ 0, (next - time) * 1e9 };
        } else {
            while (begun - finished < parallel && begun < count)
                begin(now());
        }
        ready = epoll_pwait2(poller, events, 256, &wait, NULL);
        time = now();
        if (ready > 0)
            heard = time;
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (events[i].events & EPOLLIN || events[i].events & (EPOLLERR | EPOLLHUP))
                hear(fd, &flows[fd], time);
            else
                ask(fd, &flows[fd]);
        }
    }
    time = heard - started; /* without the silence at the end */
    qsort(times, timed, sizeof *times, by_size);
    printf("{\"answered\": %ld, \"refused\": %ld, \"through\": %ld, \"failed\": %ld, \"seconds\": %.6f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f}\n", answers, refused, through, failed + count - finished, time,
           timed ? times[timed / 2] : 0, timed ? times[timed * 99 / 100] : 0);
    return 0;
}
