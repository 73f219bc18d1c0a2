/*
 * What the guest's kernel says of its memory, read by a program in it, left in that program's own memory: what is read from
 * outside is compared with it.
 *
 * The memory begins with the words FLIPSIM TABLES and the length of what follows: parts of a line `NAME BYTES` and so many
 * bytes. The records of the page frames come last, so that as little as can be changes behind them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "flipsim.h"

enum { HEADER = 32, SIZE = 6 << 20, NAME = 64, PAGE = 4096 };

static uint8_t *tables;
static size_t used = HEADER;

/* Where a part begins whose length is not known yet. */
static size_t begin(const char *name)
{
	if (used + NAME > SIZE)
		failed("the tables are too long");
	memset(tables + used, ' ', NAME);
	memcpy(tables + used, name, strlen(name));
	used += NAME;
	return used;
}

static void end(size_t from)
{
	char length[24];

	snprintf(length, sizeof(length), "%zu\n", used - from);
	memcpy(tables + from - strlen(length), length, strlen(length));
}

/* So many bytes of a file from one on, or all that there is. */
static void take(int file, off_t from, size_t most)
{
	ssize_t got;

	while (most > 0) {
		size_t room = SIZE - used < most ? SIZE - used : most;

		got = from < 0 ? read(file, tables + used, room) : pread(file, tables + used, room, from);
		if (got <= 0)
			return;
		used += (size_t)got;
		most -= (size_t)got;
		if (from >= 0)
			from += got;
	}
}

static void whole(const char *path, const char *name)
{
	int file = open(path, O_RDONLY);
	size_t from;

	if (file < 0)
		return;
	from = begin(name);
	take(file, -1, SIZE);
	end(from);
	close(file);
}

/* What a process has mapped, and the page frames of it. */
static void process(const char *pid)
{
	char path[NAME], name[NAME], *line;
	size_t from, stop;
	int file;

	snprintf(path, sizeof(path), "/proc/%.16s/maps", pid);
	snprintf(name, sizeof(name), "maps %.16s", pid);
	from = used + NAME;
	whole(path, name);
	stop = used;
	snprintf(path, sizeof(path), "/proc/%.16s/pagemap", pid);
	file = open(path, O_RDONLY);
	for (line = (char *)tables + from; file >= 0 && line < (char *)tables + stop; line = strchr(line, '\n') + 1) {
		uint64_t first, behind;
		size_t at;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &first, &behind) != 2 || first >> 48)
			continue;
		snprintf(name, sizeof(name), "pagemap %.16s %" PRIx64, pid, first);
		at = begin(name);
		take(file, (off_t)(first / PAGE * 8), (behind - first) / PAGE * 8);
		end(at);
	}
	if (file >= 0)
		close(file);
}

static void each_range(int file, const char *what, const char *map)
{
	for (const char *line = map; file >= 0 && *line; line = strchr(line, '\n') + 1) {
		uint64_t first, last;
		char name[NAME];
		size_t at;

		if (*line == ' ' || sscanf(line, "%" SCNx64 "-%" SCNx64, &first, &last) != 2 ||
		    strncmp(strchr(line, ':') + 2, "System RAM", 10))
			continue;
		first = (first + PAGE - 1) / PAGE;
		snprintf(name, sizeof(name), "%s %" PRIx64, what, first);
		at = begin(name);
		take(file, (off_t)(first * 8), ((last + 1) / PAGE - first) * 8);
		end(at);
	}
}

static void leave_tables(void)
{
	struct timespec rest = { .tv_nsec = 200 * 1000 * 1000 };
	static char map[16384];
	struct dirent *entry;
	uint64_t length;
	int slabs, counts, flags;
	size_t from;
	FILE *regions;
	DIR *all;

	tables = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	regions = fopen("/proc/iomem", "r");
	all = opendir("/proc");
	if (tables == MAP_FAILED || !regions || !all)
		failed("no memory, or no /proc");
	map[fread(map, 1, sizeof(map) - 1, regions)] = 0;
	fclose(regions);
	whole("/proc/meminfo", "meminfo");
	whole("/proc/vmallocinfo", "vmallocinfo");
	whole("/proc/modules", "modules");
	while ((entry = readdir(all)))
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			process(entry->d_name);
	closedir(all);
	slabs = open("/proc/slabinfo", O_RDONLY);
	counts = open("/proc/kpagecount", O_RDONLY);
	flags = open("/proc/kpageflags", O_RDONLY);
	/* What was closed is freed a little later. */
	nanosleep(&rest, NULL);
	from = begin("slabinfo");
	take(slabs, -1, SIZE);
	end(from);
	each_range(counts, "kpagecount", map);
	each_range(flags, "kpageflags", map);
	length = used;
	memcpy(tables + 16, &length, sizeof(length));
	memcpy(tables, "FLIPSIM TABLES\n", 16);
	/* Now it is compared. */
	nanosleep(&rest, NULL);
	close(slabs);
	close(counts);
	close(flags);
	munmap(tables, SIZE);
}

void workload_objects(struct sha256 *hash)
{
	/* Another machine's memory is nothing to compare with. */
	if (in_guest)
		leave_tables();
	sha256_update(hash, "objects", 7);
}
