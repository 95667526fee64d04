/* Opens connections as fast as they go: connect, send a request, read the first of the answer, reset, the next.
 *
 * usage: visit ADDRESS PORT COUNT PARALLEL < REQUEST
 * Prints: answered failed seconds. One thread and no TLS of its own, so that as little as possible of what is measured is
 * this program. The reset at the end (SO_LINGER 0) keeps ports out of TIME_WAIT.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct addrinfo *server;
static int poller;

static void begin(void)
{
    int fd = socket(server->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct linger reset = { 1, 0 };
    struct epoll_event event = { .events = EPOLLOUT, .data.fd = fd };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (fd < 0 || (connect(fd, server->ai_addr, server->ai_addrlen) && errno != EINPROGRESS)) {
        perror("connect");
        exit(1);
    }
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static char request[1 << 16], answer[1 << 14];
    struct addrinfo numeric = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
    struct epoll_event events[256];
    long answered = 0, failed = 0, begun = 0, count, parallel;
    size_t length = fread(request, 1, sizeof request, stdin);
    double started;

    if (argc != 5 || getaddrinfo(argv[1], argv[2], &numeric, &server)) {
        fprintf(stderr, "usage: visit ADDRESS PORT COUNT PARALLEL < REQUEST\n");
        return 2;
    }
    count = atol(argv[3]);
    parallel = atol(argv[4]);
    poller = epoll_create1(0);
    started = now();
    for (; begun < parallel && begun < count; begun++)
        begin();
    while (answered + failed < count) {
        int ready = epoll_wait(poller, events, 256, 10000);
        if (ready <= 0)
            break; /* ten seconds of silence: what is missing has failed */
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            struct epoll_event readable = { .events = EPOLLIN, .data.fd = fd };
            if (events[i].events == EPOLLOUT && send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length) {
                epoll_ctl(poller, EPOLL_CTL_MOD, fd, &readable);
                continue;
            }
            if (events[i].events == EPOLLIN && recv(fd, answer, sizeof answer, 0) > 0)
                answered++;
            else
                failed++;
            close(fd);
            if (begun++ < count)
                begin();
        }
    }
    printf("%ld %ld %.6f\n", answered, count - answered, now() - started);
    return 0;
}
