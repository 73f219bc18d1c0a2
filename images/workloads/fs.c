/*
 * Files on the root file system: written, synced, renamed, read back from the disk, removed.
 *
 * The page cache is dropped between writing and reading, so that what is read went through the
 * file system, the block layer and the disk both ways.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flipsim.h"

enum { FILES = 16, FILE_SIZE = 192 << 10, CHUNK = 16 << 10 };

static char folder[512];

static const char *path_of(const char *kind, int number)
{
	static char paths[2][600];
	static int turn;

	turn ^= 1;
	snprintf(paths[turn], sizeof(paths[turn]), "%s/%s-%02d", folder, kind, number);
	return paths[turn];
}

static struct generator content_of(int number)
{
	return (struct generator){ seeded(0xf11e5eed00000001ULL + 2 * (uint64_t)number) };
}

static void sync_and_close(int file, const char *path)
{
	if (fsync(file) != 0)
		failed("fsync %s: %s", path, strerror(errno));
	if (close(file) != 0)
		failed("close %s: %s", path, strerror(errno));
}

static void write_file(int number, uint8_t *chunk)
{
	struct generator content = content_of(number);
	const char *path = path_of("new", number);
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (file < 0)
		failed("open %s: %s", path, strerror(errno));
	for (int at = 0; at < FILE_SIZE; at += CHUNK) {
		generator_fill(&content, chunk, CHUNK);
		for (ssize_t done = 0; done < CHUNK;) {
			ssize_t part = write(file, chunk + done, CHUNK - done);

			if (part <= 0)
				failed("write %s: %s", path, strerror(errno));
			done += part;
		}
	}
	sync_and_close(file, path);
	if (rename(path, path_of("file", number)) != 0)
		failed("rename %s: %s", path, strerror(errno));
}

static void read_file(int number, uint8_t *chunk, uint8_t *expected, struct sha256 *hash)
{
	struct generator content = content_of(number);
	const char *path = path_of("file", number);
	int file = open(path, O_RDONLY);
	struct stat stat;

	if (file < 0)
		failed("open %s: %s", path, strerror(errno));
	if (fstat(file, &stat) != 0)
		failed("stat %s: %s", path, strerror(errno));
	if (stat.st_size != FILE_SIZE)
		damaged("%s has %lld bytes, not %d", path, (long long)stat.st_size, FILE_SIZE);
	for (int at = 0; at < FILE_SIZE; at += CHUNK) {
		ssize_t size = 0, part;

		while (size < CHUNK && (part = read(file, chunk + size, CHUNK - size)) != 0) {
			if (part < 0)
				failed("read %s: %s", path, strerror(errno));
			size += part;
		}
		generator_fill(&content, expected, CHUNK);
		if (size != CHUNK || memcmp(chunk, expected, CHUNK) != 0)
			damaged("%s differs in the %d bytes from %d on", path, CHUNK, at);
		sha256_update(hash, chunk, (size_t)size);
	}
	close(file);
}

static void sync_folder(void)
{
	int file = open(folder, O_RDONLY | O_DIRECTORY);

	if (file < 0)
		failed("open %s: %s", folder, strerror(errno));
	sync_and_close(file, folder);
}

static void drop_caches(void)
{
	int file = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (file < 0 || write(file, "3\n", 2) != 2)
		failed("/proc/sys/vm/drop_caches: %s", strerror(errno));
	close(file);
}

static int count_files(void)
{
	DIR *listing = opendir(folder);
	int count = 0;

	if (!listing)
		failed("open %s: %s", folder, strerror(errno));
	for (struct dirent *entry; (entry = readdir(listing));)
		count += entry->d_name[0] != '.';
	closedir(listing);
	return count;
}

void workload_fs(struct sha256 *hash)
{
	uint8_t *chunk = work_memory(CHUNK), *expected = work_memory(CHUNK);
	int count;

	snprintf(folder, sizeof(folder), "%s/fs", scratch_folder);
	if (mkdir(folder, 0755) != 0)
		failed("mkdir %s: %s", folder, strerror(errno));
	for (int number = 0; number < FILES; number++)
		write_file(number, chunk);
	sync_folder();
	if (in_guest)
		drop_caches();

	count = count_files();
	if (count != FILES)
		damaged("%s has %d files, not %d", folder, count, FILES);
	sha256_update_u64(hash, (uint64_t)count);
	for (int number = 0; number < FILES; number++)
		read_file(number, chunk, expected, hash);

	for (int number = 0; number < FILES; number++)
		if (unlink(path_of("file", number)) != 0)
			failed("unlink %s: %s", path_of("file", number), strerror(errno));
	if (rmdir(folder) != 0)
		failed("rmdir %s: %s", folder, strerror(errno));
	free(expected);
	free(chunk);
}
