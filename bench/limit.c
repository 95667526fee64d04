/* The limit: the least that a program behind NFQUEUE can do and still decide by name. What nfqdpi is measured against.
 *
 * usage: limit QUEUE MODE NAMES        MODE is fast or strict; NAMES a file of names, one a line: these and all below them
 * It stands behind nfqdpi's own rules, one process a queue, and gives the same marks: it reads the Host or the SNI where
 * it lies in one segment of IPv4, looks the name and its parents up in a hash, marks and repeats. It puts nothing together,
 * remembers no flow, compares no copies, logs nothing and cannot be told anything. Says "ready".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MASK 0xfu
#define DATA(attribute) ((void *)((char *)(attribute) + NLA_HDRLEN))
enum { UNSEEN, INSPECT, ACCELERATE, BLOCK, CONFIRM };

static char **table;
static unsigned slots = 1024, strict;

static char **slot(const char *name, size_t length)
{
    unsigned hash = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (name[i] | 0x20)) * 16777619u;
    while (table[hash &= slots - 1] && (strncasecmp(table[hash], name, length) || table[hash][length]))
        hash++;
    return &table[hash];
}

static void read_names(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[256];
    unsigned count = 0;

    if (!file)
        exit(2);
    while (fgets(line, sizeof line, file))
        count++;
    while (slots < count * 2)
        slots *= 2;
    table = calloc(slots, sizeof *table);
    for (rewind(file); fgets(line, sizeof line, file);)
        *slot(line, strcspn(line, "\n")) = strndup(line, strcspn(line, "\n"));
    fclose(file);
}

static int listed(const char *name, size_t length)
{
    for (const char *end = name + length, *dot; name < end; name = dot + 1) {
        if (*slot(name, end - name))
            return 1;
        if (!(dot = memchr(name, '.', end - name)))
            break;
    }
    return 0;
}

static int blocked_host(const char *data, size_t length)
{
    const char *host = memmem(data, length, "\r\nHost: ", 8), *end;

    return host && (end = memchr(host + 8, '\r', data + length - host - 8)) && listed(host + 8, end - host - 8);
}

static int blocked_sni(const unsigned char *data, size_t length)
{
    size_t at = 43; /* past the headers of record and handshake, version and random */

    if (length < 48 || data[0] != 0x16 || data[5] != 1)
        return 0;
    at += 1 + data[at]; /* session id */
    if (at + 2 < length)
        at += 2 + data[at] * 256 + data[at + 1]; /* cipher suites */
    if (at + 1 < length)
        at += 1 + data[at]; /* compression methods */
    for (at += 2; at + 9 < length; at += 4 + data[at + 2] * 256 + data[at + 3])
        if (!data[at] && !data[at + 1]) { /* server_name */
            size_t name = data[at + 7] * 256 + data[at + 8];
            return at + 9 + name <= length && listed((char *)data + at + 9, name);
        }
    return 0;
}

static unsigned judge(const unsigned char *data, size_t copied, unsigned state)
{
    const struct iphdr *ip = (void *)data;
    const struct tcphdr *tcp = (void *)(data + ip->ihl * 4);
    const unsigned char *payload = (void *)tcp + tcp->doff * 4;
    size_t whole = ntohs(ip->tot_len), length = (whole < copied ? whole : copied) - (payload - data);

    if (tcp->syn)
        return INSPECT; /* a new flow */
    if (payload >= data + whole)
        return state == MASK ? INSPECT : state; /* FIN or RST */
    if (ntohs(tcp->source) <= 443)
        return ACCELERATE; /* the reply to a hello that was allowed */
    if (ntohs(tcp->dest) == 80)
        return blocked_host((char *)payload, length) ? BLOCK : strict ? INSPECT : ACCELERATE;
    if (payload[0] != 0x16)
        return state == MASK ? ACCELERATE : state; /* the rest of a hello */
    return blocked_sni(payload, length) ? BLOCK : strict ? CONFIRM : ACCELERATE;
}

static void put(struct nlmsghdr *message, int type, unsigned value)
{
    struct nlattr *attribute = (void *)((char *)message + message->nlmsg_len);

    *attribute = (struct nlattr){ NLA_HDRLEN + sizeof value, type };
    *(unsigned *)DATA(attribute) = htonl(value);
    message->nlmsg_len += attribute->nla_len;
}

int main(int argc, char **argv)
{
    static char buffer[1 << 17] __attribute__((aligned(8))), answer[256] __attribute__((aligned(8)));
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), size = 16 << 20, on = 1;
    unsigned number = argc == 4 ? atoi(argv[1]) : 0;
    struct nlmsghdr *message = nfq_nlmsg_put(answer, NFQNL_MSG_CONFIG, number);
    ssize_t got;

    if (argc != 4)
        return 2;
    strict = !strcmp(argv[2], "strict");
    read_names(argv[3]);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
    nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
    send(fd, message, message->nlmsg_len, 0);
    message = nfq_nlmsg_put(answer, NFQNL_MSG_CONFIG, number);
    nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, 0xffff - NLA_HDRLEN);
    nfq_nlmsg_cfg_put_qmaxlen(message, 8192);
    put(message, NFQA_CFG_FLAGS, NFQA_CFG_F_GSO); /* packets whole, as they were sent */
    put(message, NFQA_CFG_MASK, NFQA_CFG_F_GSO);
    if (send(fd, message, message->nlmsg_len, 0) < 0) {
        perror("limit: the queue");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        for (struct nlmsghdr *packet = (void *)buffer; NLMSG_OK(packet, got); packet = NLMSG_NEXT(packet, got)) {
            struct nlattr *found[NFQA_MAX + 1] = { 0 };
            unsigned mark;

            if (packet->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) || nfq_nlmsg_parse(packet, found) < 0)
                continue;
            mark = found[NFQA_MARK] ? ntohl(*(unsigned *)DATA(found[NFQA_MARK])) : 0;
            mark = (mark & ~MASK) | judge(DATA(found[NFQA_PAYLOAD]), found[NFQA_PAYLOAD]->nla_len - NLA_HDRLEN,
                                          mark & MASK);
            message = nfq_nlmsg_put(answer, NFQNL_MSG_VERDICT, number);
            nfq_nlmsg_verdict_put(message,
                                  ntohl(((struct nfqnl_msg_packet_hdr *)DATA(found[NFQA_PACKET_HDR]))->packet_id),
                                  NF_REPEAT);
            nfq_nlmsg_verdict_put_mark(message, mark);
            send(fd, message, message->nlmsg_len, 0);
        }
    return 1;
}
