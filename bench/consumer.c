// SPDX-License-Identifier: Apache-2.0
/*
 * The peer's user space: counts each record and touches every 64 bytes of it. `poll` is what libbpf's examples do, a loop
 * around ring_buffer__poll. A consumer that fast has the ring empty again and again, and each first record in an empty
 * ring costs the traced process a wake-up; so `paced` reads all there is and then naps for a millisecond.
 * A line on standard input is answered, once the ring is empty, with "received lost checksum"; its end ends it.
 *
 * `json` is `paced`, and writes five fields of each record as a line of JSON to /dev/null: what a program of C pays to be read by others.
 * `timed` is for programs that wake nobody: it reads all there is each
 * millisecond. `keep` is `timed`, and answers with the last records that it has seen, oldest first, in hexadecimal.
 *
 *   consumer OBJECT PROGRAM|all PID RING_BYTES poll|paced|json|timed|keep
 *
 * It loads any object with a ring and the variables `target_pid` and `lost`: bench/consumer.bpf.c, bench/peers/.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <fcntl.h>
#include <mntent.h>

#define POLL_MS 5
#define NAP_NS 1000000
#define KEPT 256 /* records */
#define LINKS_MAX 16

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

static struct {
	unsigned char *bytes;
	size_t size;
} kept[KEPT];

static int on_record_to_keep(void *context, void *data, size_t size)
{
	typeof(kept[0]) *place = &kept[received++ % KEPT];

	free(place->bytes);
	place->bytes = malloc(size);
	place->size = place->bytes ? size : 0;
	if (place->bytes)
		memcpy(place->bytes, data, size);
	return 0;
}

static void print_kept(void)
{
	for (uint64_t i = received > KEPT ? received - KEPT : 0; i < received; i++) {
		for (size_t at = 0; at < kept[i % KEPT].size; at++)
			printf("%02x", kept[i % KEPT].bytes[at]);
		putchar(' ');
	}
	putchar('\n');
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

/* A global variable's memory: before the object is loaded, its initial value. */
static void *variable(struct bpf_object *object, const char *section, const char *name)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	const struct btf_type *type = btf__type_by_id(btf, id);
	struct bpf_map *map;
	size_t size;

	bpf_object__for_each_map(map, object)
	{
		if (!type || !strstr(bpf_map__name(map), section))
			continue;
		for (int i = 0; i < btf_vlen(type); i++) {
			const struct btf_var_secinfo *info = btf_var_secinfos(type) + i;
			const struct btf_type *var = btf__type_by_id(btf, info->type);

			if (strcmp(btf__name_by_offset(btf, var->name_off), name) == 0)
				return (char *)bpf_map__initial_value(map, &size) + info->offset;
		}
	}
	fprintf(stderr, "consumer: no %s\n", name);
	exit(1);
}

/* A program of a cgroup: at the root of the v2 hierarchy. */
static struct bpf_link *attach(struct bpf_program *program)
{
	struct bpf_link *link = NULL;
	struct mntent *entry;
	FILE *mounts;

	if (strncmp(bpf_program__section_name(program), "cgroup", 6) != 0)
		return bpf_program__attach(program);
	mounts = setmntent("/proc/mounts", "r");
	while (mounts && !link && (entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0)
			link = bpf_program__attach_cgroup(program, open(entry->mnt_dir, O_RDONLY | O_CLOEXEC));
	if (mounts)
		endmntent(mounts);
	return link;
}

int main(int argc, char **argv)
{
	struct bpf_link *links[LINKS_MAX] = {};
	struct bpf_program *program;
	struct bpf_object *object;
	struct ring_buffer *ring;
	ring_buffer_sample_fn take = on_record;
	volatile uint64_t *lost;
	pthread_t commands;
	const struct timespec nap = { .tv_nsec = NAP_NS };
	int paced, timed, keep, all, count = 0;

	if (argc != 6) {
		fprintf(stderr, "consumer OBJECT PROGRAM|all PID RING_BYTES poll|paced|json|timed|keep\n");
		return 2;
	}
	paced = strcmp(argv[5], "poll") != 0;
	if (strcmp(argv[5], "json") == 0) {
		json = fopen("/dev/null", "w");
		if (!json)
			return fail("/dev/null");
		setvbuf(json, NULL, _IOFBF, 1 << 20);
		take = on_record_as_json;
	}
	keep = strcmp(argv[5], "keep") == 0;
	timed = keep || strcmp(argv[5], "timed") == 0;
	if (keep)
		take = on_record_to_keep;
	all = strcmp(argv[2], "all") == 0;
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return fail(argv[1]);
	*(uint32_t *)variable(object, ".rodata", "target_pid") = strtoul(argv[3], NULL, 10);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "ring"), strtoul(argv[4], NULL, 10));
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, all || strcmp(bpf_program__name(program), argv[2]) == 0);
	if (bpf_object__load(object))
		return fail("loading");
	lost = variable(object, ".bss", "lost");
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), take, NULL, NULL);
	if (!ring)
		return fail("ring_buffer__new");
	bpf_object__for_each_program(program, object)
	{
		if (!bpf_program__autoload(program))
			continue;
		if (count == LINKS_MAX || !(links[count++] = attach(program)))
			return fail("attaching");
	}
	if (pthread_create(&commands, NULL, listen_to_commands, NULL))
		return fail("pthread_create");
	printf("ready\n");
	fflush(stdout);
	while (!atomic_load(&ended)) {
		if ((timed ? ring_buffer__consume(ring) + 1 : ring_buffer__poll(ring, POLL_MS)) > 0 && paced)
			nanosleep(&nap, NULL);
		if (!atomic_exchange(&asked, 0))
			continue;
		while (ring_buffer__consume(ring) > 0)
			;
		if (keep)
			print_kept();
		else
			printf("%llu %llu %llu\n", (unsigned long long)received, (unsigned long long)*lost,
			       (unsigned long long)checksum);
		fflush(stdout);
	}
	while (count)
		bpf_link__destroy(links[--count]);
	ring_buffer__free(ring);
	bpf_object__close(object);
	return 0;
}
