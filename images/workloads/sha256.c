/*
 * SHA-256 (FIPS 180-4), and the workload that does little else: 8 MiB are generated, hashed,
 * and every byte counts in the result.
 */
#include <stdlib.h>
#include <string.h>

#include "flipsim.h"

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int by)
{
	return x >> by | x << (32 - by);
}

/* One round. The caller moves the roles of the eight variables on, so that none is copied. */
static inline __attribute__((always_inline)) void round_of(uint32_t a, uint32_t b, uint32_t c, uint32_t *d,
							    uint32_t e, uint32_t f, uint32_t g, uint32_t *h,
							    uint32_t input)
{
	uint32_t first = *h + (g ^ (e & (f ^ g))) + input + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25));

	*d += first;
	*h = first + ((a & b) | (c & (a | b))) + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22));
}

static void absorb(uint32_t state[8], const uint8_t *block)
{
	uint32_t schedule[64];
	uint32_t a, b, c, d, e, f, g, h;

	for (int i = 0; i < 16; i++, block += 4)
		schedule[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 |
			      (uint32_t)block[2] << 8 | block[3];
	for (int i = 16; i < 64; i++) {
		uint32_t near = schedule[i - 2], far = schedule[i - 15];

		schedule[i] = schedule[i - 16] + schedule[i - 7] +
			      (rotate(near, 17) ^ rotate(near, 19) ^ near >> 10) +
			      (rotate(far, 7) ^ rotate(far, 18) ^ far >> 3);
	}

	a = state[0], b = state[1], c = state[2], d = state[3];
	e = state[4], f = state[5], g = state[6], h = state[7];
	for (int i = 0; i < 64; i += 8) {
		round_of(a, b, c, &d, e, f, g, &h, round_constants[i] + schedule[i]);
		round_of(h, a, b, &c, d, e, f, &g, round_constants[i + 1] + schedule[i + 1]);
		round_of(g, h, a, &b, c, d, e, &f, round_constants[i + 2] + schedule[i + 2]);
		round_of(f, g, h, &a, b, c, d, &e, round_constants[i + 3] + schedule[i + 3]);
		round_of(e, f, g, &h, a, b, c, &d, round_constants[i + 4] + schedule[i + 4]);
		round_of(d, e, f, &g, h, a, b, &c, round_constants[i + 5] + schedule[i + 5]);
		round_of(c, d, e, &f, g, h, a, &b, round_constants[i + 6] + schedule[i + 6]);
		round_of(b, c, d, &e, f, g, h, &a, round_constants[i + 7] + schedule[i + 7]);
	}
	state[0] += a, state[1] += b, state[2] += c, state[3] += d;
	state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void sha256_init(struct sha256 *hash)
{
	/* FIPS 180-4, 5.3.3. */
	static const uint32_t start[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};

	memcpy(hash->state, start, sizeof(start));
	hash->length = 0;
}

void sha256_update(struct sha256 *hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	size_t used = hash->length % 64;

	hash->length += size;
	if (used) {
		size_t part = size < 64 - used ? size : 64 - used;

		memcpy(hash->block + used, bytes, part);
		bytes += part;
		size -= part;
		if (used + part < 64)
			return;
		absorb(hash->state, hash->block);
	}
	for (; size >= 64; bytes += 64, size -= 64)
		absorb(hash->state, bytes);
	memcpy(hash->block, bytes, size);
}

void sha256_update_u64(struct sha256 *hash, uint64_t value)
{
	uint8_t bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
	sha256_update(hash, bytes, sizeof(bytes));
}

void sha256_final(struct sha256 *hash, uint8_t digest[32])
{
	static const uint8_t padding[64] = { 0x80 };
	uint64_t bits = hash->length * 8;
	size_t used = hash->length % 64;
	uint8_t length[8];

	sha256_update(hash, padding, (used < 56 ? 56 : 120) - used);
	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(bits >> (56 - 8 * i));
	sha256_update(hash, length, sizeof(length));
	for (int i = 0; i < 32; i++)
		digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void workload_sha256(struct sha256 *hash)
{
	const size_t size = 8 << 20;
	struct generator generator = { seeded(0x5ba256f1195a11edULL) };
	uint8_t *data = work_memory(size);

	generator_fill(&generator, data, size);
	sha256_update(hash, data, size);
	free(data);
}
