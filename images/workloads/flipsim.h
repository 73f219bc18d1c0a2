/*
 * What the workloads share: a digest, a generator, and the way to report damage.
 *
 * Invariant: a workload's digest depends on nothing outside the program; not on the time, not
 * on an address, not on the architecture. A digest that differs is the work of a flipped bit.
 */
#ifndef FLIPSIM_H
#define FLIPSIM_H

#include <stddef.h>
#include <stdint.h>

/* SHA-256 as in FIPS 180-4. */
struct sha256 {
	uint32_t state[8];
	uint64_t length; /* bytes taken so far */
	uint8_t block[64];
};

void sha256_init(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *data, size_t size);
void sha256_update_u64(struct sha256 *hash, uint64_t value); /* little endian on any host */
void sha256_final(struct sha256 *hash, uint8_t digest[32]);

/* A 64-bit xorshift generator; the seed must not be 0. */
struct generator {
	uint64_t state;
};

static inline uint64_t generator_next(struct generator *generator)
{
	uint64_t x = generator->state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return generator->state = x;
}

/* What a workload's generator starts from: `start`, or another number for each seed. Never 0. */
uint64_t seeded(uint64_t start);

/* Fills memory with the generator's next size / 8 words, little endian; size is a multiple of 8. */
void generator_fill(struct generator *generator, uint8_t *data, size_t size);

/* Memory that is zero; ends the round with an error when there is none. */
void *work_memory(size_t size);

/* The folder in which files may be made, and whether this is the guest, whose caches are ours. */
extern const char *scratch_folder;
extern int in_guest;

/*
 * The workload found damage by itself: prints a line `FLIPSIM CHECK …` and makes the status
 * `wrong`. The round goes on.
 */
void damaged(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The round cannot go on: prints a line `FLIPSIM CHECK …` and ends with the status `error`. */
_Noreturn void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One round of each workload: adds its result to the hash. */
void workload_idle(struct sha256 *hash);
void workload_sha256(struct sha256 *hash);
void workload_matmul(struct sha256 *hash);
void workload_qsort(struct sha256 *hash);
void workload_fs(struct sha256 *hash);
void workload_traps(struct sha256 *hash);
void workload_objects(struct sha256 *hash);

/* Writes and reads a byte of `data` by every way, and reports what was not read as it was written. */
void use_cell(uint8_t *data, uint8_t *other, int file);

#endif
