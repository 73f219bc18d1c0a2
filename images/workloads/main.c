/*
 * flipsim-workload NAME [ROUNDS [FOLDER]]: runs one workload and prints what came of it.
 * flipsim-workload --list: every workload with its right digest and one line about it.
 *
 * Lines on the standard output, which is the guest's console:
 *   FLIPSIM ROUND n digest=HEX                              after each round, when ROUNDS is above 1
 *   FLIPSIM CHECK workload=NAME text                        damage that the workload noticed itself
 *   FLIPSIM DONE workload=NAME digest=HEX status=ok|wrong|error
 *
 * HEX is the first 16 digits of the SHA-256 of a round's result; of several rounds, the first
 * one that is not right. Exit codes: 0 ok, 1 wrong, 2 error, 64 wrong use.
 *
 * FLIPSIM_SEED=N in the environment gives other data, the same for the same N. Only those of 0, the
 * default, have a digest that is known; with others the rounds are compared with the first one.
 *
 * All workloads are one program, so that one file is in the guest's page cache whichever runs.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flipsim.h"

enum { HEX_DIGITS = 16, CHECKS_SHOWN = 8 };

static const struct workload {
	const char *name;
	void (*run)(struct sha256 *hash);
	const char *digest; /* of a run without a fault; the same in recipe.toml */
	const char *about;
} workloads[] = {
	{ "idle", workload_idle, "43a2b5e6328f4063", "2 s of sleeps and timers" },
	{ "sha256", workload_sha256, "92833bfe35e0646c", "SHA-256 over 8 MiB of generated data" },
	{ "matmul", workload_matmul, "56ce11c9dee07cb3", "matrix products in doubles, checked by row sums" },
	{ "qsort", workload_qsort, "5d8e8e08fb0545cf", "quicksort of a million numbers, checked for order" },
	{ "fs", workload_fs, "f9ff76fe26dd6e47", "files written, synced, read back from disk and compared" },
	{ "traps", workload_traps, "363957dd7ab427c1", "accesses to memory that are easily missed" },
	{ "objects", workload_objects, "e4cd302972b0cf4e", "what the kernel says of its memory" },
};

enum { WORKLOADS = sizeof(workloads) / sizeof(workloads[0]) };

static uint64_t seed;

uint64_t seeded(uint64_t start)
{
	uint64_t other = start ^ seed * 0x9e3779b97f4a7c15ULL;

	return other ? other : start;
}

const char *scratch_folder = "/var/tmp";
int in_guest = 1;

static const struct workload *current;
static int checks;

static void print_done(const char *digest, const char *status)
{
	printf("FLIPSIM DONE workload=%s digest=%s status=%s\n", current->name, digest, status);
}

static void print_check(const char *format, va_list values)
{
	/* A serial line is slow: after some lines nothing new is said. */
	if (checks++ >= CHECKS_SHOWN)
		return;
	printf("FLIPSIM CHECK workload=%s ", current->name);
	vprintf(format, values);
	putchar('\n');
}

void damaged(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	print_check(format, values);
	va_end(values);
}

void failed(const char *format, ...)
{
	va_list values;

	checks = 0;
	va_start(values, format);
	print_check(format, values);
	va_end(values);
	print_done("0000000000000000", "error");
	fflush(stdout);
	exit(2);
}

void *work_memory(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		failed("no memory for %zu bytes", size);
	return memory;
}

void generator_fill(struct generator *generator, uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size; at += 8) {
		uint64_t word = generator_next(generator);

		for (int i = 0; i < 8; i++)
			data[at + i] = (uint8_t)(word >> 8 * i);
	}
}

static void run_round(char hex[HEX_DIGITS + 1])
{
	struct sha256 hash;
	uint8_t digest[32];

	sha256_init(&hash);
	current->run(&hash);
	sha256_final(&hash, digest);
	for (int i = 0; i < HEX_DIGITS / 2; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static int run_rounds(long rounds)
{
	char first_wrong[HEX_DIGITS + 1] = "", right[HEX_DIGITS + 1];

	strcpy(right, current->digest);
	for (long round = 1; round <= rounds; round++) {
		char hex[HEX_DIGITS + 1];

		run_round(hex);
		if (rounds > 1)
			printf("FLIPSIM ROUND %ld digest=%s\n", round, hex);
		if (seed != 0 && round == 1)
			memcpy(right, hex, sizeof(hex));
		if (!first_wrong[0] && strcmp(hex, right) != 0)
			memcpy(first_wrong, hex, sizeof(hex));
	}
	if (first_wrong[0] || checks > 0) {
		print_done(first_wrong[0] ? first_wrong : right, "wrong");
		return 1;
	}
	print_done(right, "ok");
	return 0;
}

int main(int count, char **words)
{
	const char *data = getenv("FLIPSIM_SEED");
	long rounds = 1;
	char *end = "", *data_end = "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count == 2 && strcmp(words[1], "--list") == 0) {
		for (int i = 0; i < WORKLOADS; i++)
			printf("%s %s %s\n", workloads[i].name, workloads[i].digest, workloads[i].about);
		return 0;
	}
	for (int i = 0; count >= 2 && i < WORKLOADS; i++)
		if (strcmp(words[1], workloads[i].name) == 0)
			current = &workloads[i];
	if (count >= 3)
		rounds = strtol(words[2], &end, 10);
	if (count >= 4) {
		scratch_folder = words[3];
		in_guest = 0;
	}
	if (data)
		seed = strtoull(data, &data_end, 10);
	if (!current || count > 4 || rounds < 1 || *end || *data_end) {
		fprintf(stderr, "use: %s NAME [ROUNDS [FOLDER]], or --list for the names; "
				"FOLDER is for runs outside the guest; FLIPSIM_SEED is a number\n", words[0]);
		return 64;
	}
	return run_rounds(rounds);
}
