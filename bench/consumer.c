// SPDX-License-Identifier: Apache-2.0
/*
 * The peer's user space: counts each record and touches every 64 bytes of it. `poll` is what libbpf's examples do, a loop
 * around ring_buffer__poll. A consumer that fast has the ring empty again and again, and each first record in an empty
 * ring costs the traced process a wake-up; so `paced` reads all there is and then naps for a millisecond.
 * A line on standard input is answered, once the ring is empty, with "received lost checksum"; its end ends it.
 *
 * `json` is `paced`, and writes five fields of each record as a line of JSON to /dev/null: what a program of C pays to be read by others.
 *
 *   consumer OBJECT PROGRAM PID RING_BYTES poll|paced|json
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS 5
#define NAP_NS 1000000

static uint64_t received, checksum;
static atomic_int asked, ended;

/* The layout of struct whole_record in consumer.bpf.c. */
struct record {
	uint64_t boot_ns, cgroup_id, start_boot_ns;
	uint32_t pid, tid, ppid, uid, gid, mount_ns;
	char comm[16];
	int32_t error, fd;
	uint32_t flags, mode, path_length;
	char path[];
};

static FILE *json;

static void put_text(const char *text, size_t length)
{
	putc_unlocked('"', json);
	for (size_t i = 0; i < length && text[i]; i++) {
		unsigned char c = text[i];

		if (c == '"' || c == '\\')
			putc_unlocked('\\', json);
		if (c < ' ')
			fprintf(json, "\\u%04x", c);
		else
			putc_unlocked(c, json);
	}
	putc_unlocked('"', json);
}

static int on_record_as_json(void *context, void *data, size_t size)
{
	const struct record *r = data;

	received++;
	fprintf(json, "{\"time\":%llu,\"pid\":%u,\"comm\":", (unsigned long long)r->boot_ns, r->pid);
	put_text(r->comm, sizeof(r->comm));
	fprintf(json, ",\"fd\":%d,\"path\":", r->fd);
	put_text(r->path, r->path_length);
	fputs("}\n", json);
	return 0;
}

static int on_record(void *context, void *data, size_t size)
{
	const unsigned char *bytes = data;

	received++;
	for (size_t i = 0; i < size; i += 64)
		checksum += bytes[i];
	return 0;
}

static void *listen_to_commands(void *unused)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin))
		atomic_store(&asked, 1);
	atomic_store(&ended, 1);
	return NULL;
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

/* The map of a global section: `target_pid` is all of .rodata, `lost` all of .bss. */
static struct bpf_map *section(struct bpf_object *object, const char *name)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (strstr(bpf_map__name(map), name))
			return map;
	}
	fprintf(stderr, "consumer: no %s\n", name);
	exit(1);
}

static unsigned long long lost(struct bpf_object *object)
{
	uint64_t value = 0;
	uint32_t zero = 0;

	bpf_map__lookup_elem(section(object, ".bss"), &zero, sizeof(zero), &value, sizeof(value), 0);
	return value;
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	struct bpf_object *object;
	struct ring_buffer *ring;
	struct bpf_link *link = NULL;
	pthread_t commands;
	const struct timespec nap = { .tv_nsec = NAP_NS };
	uint32_t pid;
	int paced;

	if (argc != 6) {
		fprintf(stderr, "consumer OBJECT PROGRAM PID RING_BYTES poll|paced|json\n");
		return 2;
	}
	paced = strcmp(argv[5], "poll") != 0;
	if (strcmp(argv[5], "json") == 0) {
		json = fopen("/dev/null", "w");
		if (!json)
			return fail("/dev/null");
		setvbuf(json, NULL, _IOFBF, 1 << 20);
	}
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return fail(argv[1]);
	pid = strtoul(argv[3], NULL, 10);
	if (bpf_map__set_initial_value(section(object, ".rodata"), &pid, sizeof(pid)))
		return fail("setting the pid");
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "ring"), strtoul(argv[4], NULL, 10));
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, strcmp(bpf_program__name(program), argv[2]) == 0);
	if (bpf_object__load(object))
		return fail("loading");
	program = bpf_object__find_program_by_name(object, argv[2]);
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), json ? on_record_as_json : on_record,
				NULL, NULL);
	if (!ring)
		return fail("ring_buffer__new");
	link = bpf_program__attach(program);
	if (!link)
		return fail("attaching");
	if (pthread_create(&commands, NULL, listen_to_commands, NULL))
		return fail("pthread_create");
	printf("ready\n");
	fflush(stdout);
	while (!atomic_load(&ended)) {
		if (ring_buffer__poll(ring, POLL_MS) > 0 && paced)
			nanosleep(&nap, NULL);
		if (!atomic_exchange(&asked, 0))
			continue;
		while (ring_buffer__consume(ring) > 0)
			;
		printf("%llu %llu %llu\n", (unsigned long long)received, lost(object), (unsigned long long)checksum);
		fflush(stdout);
	}
	bpf_link__destroy(link);
	ring_buffer__free(ring);
	bpf_object__close(object);
	return 0;
}
