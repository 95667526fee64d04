/* The servers: answers requests on port 80 and ClientHellos on port 443, at as little cost as there can be.
 *
 * usage: serve        says "ready" once it listens
 * Port 80: to each request a small page; a body of Content-Length bytes is read first. Port 443: to a ClientHello a
 * ServerHello, change_cipher_spec and a record of the length that a certificate's has (RFC 8446, 4.1.3); to a record of
 * eight bytes behind it, as many bytes as they say. All answers end with "\nend\n". A flow that asks for /hold is left as
 * it is once answered. A name that begins with "b" is blocked: a request for it is told of on standard error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CERTIFICATE 2800 /* bytes of the encrypted record: a chain of two certificates on elliptic curves */

struct flow { char tls, greeted; unsigned char head[4096]; size_t got; long body, owed; };

static struct flow **flows; /* by descriptor */
static int poller;
static const char page[] = "HTTP/1.1 200 OK\r\nServer: serve\r\nContent-Type: text/plain\r\nContent-Length: 105\r\n\r\n"
                           "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
                           "456789\nend\n";

static void done(int fd)
{
    free(flows[fd]);
    flows[fd] = NULL;
    close(fd);
}

/* Sends what is owed of a download; false: the flow is gone. */
static int pay(int fd, struct flow *flow)
{
    static char bytes[1 << 18];
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    while (flow->owed > 0) {
        ssize_t sent = send(fd, bytes, flow->owed < (long)sizeof bytes ? flow->owed : (long)sizeof bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return 0;
        if (sent < 0) {
            event.events |= EPOLLOUT;
            break;
        }
        flow->owed -= sent;
    }
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
    return 1;
}

static int greet(int fd, const unsigned char *hello)
{
    unsigned char out[4096] = { 0x16, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3 };
    static const unsigned char rest[] = { 0x13, 0x01, 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32 };
    size_t id = hello[43] <= 32 ? hello[43] : 0, body = 2 + 32 + 1 + id + sizeof rest + 32, at = 11 + 32;

    memset(out + 11, 0xab, 32); /* the random */
    memcpy(out + at, hello + 43, 1 + id);
    memcpy(out + (at += 1 + id), rest, sizeof rest);
    at += sizeof rest + 32; /* the key share: zeros will do */
    out[3] = (body + 4) >> 8, out[4] = body + 4;
    out[7] = body >> 8, out[8] = body;
    memcpy(out + at, "\x14\3\3\0\1\1\x17\3\3", 9);
    at += 9;
    out[at] = CERTIFICATE >> 8, out[at + 1] = CERTIFICATE & 255;
    at += 2 + CERTIFICATE;
    memcpy(out + at - 5, "\nend\n", 5);
    return send(fd, out, at, MSG_NOSIGNAL) == (ssize_t)at;
}

/* Answers what is whole of what has come; false: the flow is to be closed. */
static int answer(int fd, struct flow *flow)
{
    char *end, *length;
    int on = 1;

    flow->head[flow->got] = 0;
    if (flow->tls && !flow->greeted) {
        if (flow->got < 44 || flow->got < 5u + flow->head[3] * 256 + flow->head[4])
            return 1;
        flow->greeted = 1;
        flow->got = 0;
        return greet(fd, flow->head);
    }
    if (flow->tls) {
        for (int i = 0; flow->got >= 13 && i < 8; i++)
            flow->owed = flow->owed << 8 | flow->head[5 + i];
        flow->got = 0;
        return pay(fd, flow);
    }
    if (!flow->body) {
        if (!(end = strstr((char *)flow->head, "\r\n\r\n")))
            return flow->got < sizeof flow->head - 1;
        if (strstr((char *)flow->head, "Host: b"))
            fprintf(stderr, "serve: a blocked name has come through\n");
        length = strcasestr((char *)flow->head, "content-length:");
        flow->body = (length ? atol(length + 15) : 0) - (long)(flow->got - (end + 4 - (char *)flow->head));
        flow->got = 0;
        if (flow->body > 0)
            return 1;
        flow->body = 0;
    }
    if (send(fd, page, sizeof page - 1, MSG_NOSIGNAL) != sizeof page - 1)
        return 0;
    return memcmp(flow->head, "GET /hold ", 10) || setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
}

static int hear(int fd, struct flow *flow)
{
    static char waste[1 << 18];
    ssize_t got;

    if (flow->body) {
        if ((got = recv(fd, waste, sizeof waste, 0)) > 0 && (flow->body -= got) <= 0) {
            flow->body = 0;
            return send(fd, page, sizeof page - 1, MSG_NOSIGNAL) == sizeof page - 1;
        }
    } else if ((got = recv(fd, flow->head + flow->got, sizeof flow->head - 1 - flow->got, 0)) > 0) {
        flow->got += got;
        return answer(fd, flow);
    }
    return got > 0 || (got < 0 && errno == EAGAIN);
}

static int listen_on(int port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&here, sizeof here) || listen(fd, 65535)) {
        perror("serve: listening");
        exit(1);
    }
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

int main(void)
{
    struct epoll_event events[256];
    int http, https;

    flows = calloc(1 << 20, sizeof *flows);
    poller = epoll_create1(0);
    http = listen_on(80);
    https = listen_on(443);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd, peer;
            if (fd != http && fd != https) {
                if (!(events[i].events & EPOLLOUT ? pay(fd, flows[fd]) : hear(fd, flows[fd])))
                    done(fd);
                continue;
            }
            while ((peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                struct epoll_event event = { .events = EPOLLIN, .data.fd = peer };
                flows[peer] = calloc(1, sizeof **flows);
                flows[peer]->tls = fd == https;
                epoll_ctl(poller, EPOLL_CTL_ADD, peer, &event);
            }
        }
    }
}
