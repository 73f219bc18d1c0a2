/*
 * One byte of memory, and one of a register, written and read back by every way that there is: a bit that is stuck shows
 * in each.
 *
 * What is read and was not written is reported, a line for each value; in a guest without a fault nothing is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "flipsim.h"

enum { SIZE = 512, OFFSET = 1, TIMES = 1000 };

/* The ways by which something else was read, and what by the last. */
static char ways[256];
static uint8_t last;

static void expect(const char *way, uint8_t wrote, uint8_t read)
{
	size_t used = strlen(ways);

	if (wrote == read)
		return;
	snprintf(ways + used, sizeof(ways) - used, "%s%s", used ? ", " : "", way);
	last = read;
}

/* The compiler knows nothing of what is in memory from here on. */
static void forget(void)
{
	__asm__ volatile("" : : : "memory");
}

/* A store, and a load of the same byte right behind it. */
static uint8_t store_and_load(uint8_t *cell, uint8_t value)
{
	uint8_t found;

#if defined(__aarch64__)
	__asm__ volatile("strb %w2, [%1]\n\tldrb %w0, [%1]" : "=&r"(found) : "r"(cell), "r"(value) : "memory");
#else
	__asm__ volatile("movb %2, (%1)\n\tmovb (%1), %0" : "=&q"(found) : "r"(cell), "q"(value) : "memory");
#endif
	return found;
}

/* The same with 16 bytes. */
static uint8_t by_vectors(uint8_t *data, uint8_t value)
{
	uint8_t from[16] __attribute__((aligned(16))), to[16] __attribute__((aligned(16)));

	memset(from, value, sizeof(from));
#if defined(__aarch64__)
	__asm__ volatile("ldr q0, [%0]\n\tstr q0, [%1]\n\tldr q1, [%1]\n\tstr q1, [%2]"
			 : : "r"(from), "r"(data), "r"(to) : "v0", "v1", "memory");
#else
	__asm__ volatile("movdqa (%0), %%xmm0\n\tmovdqa %%xmm0, (%1)\n\tmovdqa (%1), %%xmm1\n\tmovdqa %%xmm1, (%2)"
			 : : "r"(from), "r"(data), "r"(to) : "xmm0", "xmm1", "memory");
#endif
	return to[OFFSET];
}

/* A vector register, set and read. */
static uint8_t by_register(uint8_t value)
{
	uint32_t word = value, found;

#if defined(__aarch64__)
	__asm__ volatile("fmov s31, %w1\n\tfmov %w0, s31" : "=r"(found) : "r"(word) : "v31");
#else
	__asm__ volatile("movd %1, %%xmm15\n\tmovd %%xmm15, %0" : "=r"(found) : "r"(word) : "xmm15");
#endif
	return (uint8_t)found;
}

/* Zeroes in a block, where there is an instruction for it. */
static void zero(uint8_t *data)
{
#if defined(__aarch64__)
	__asm__ volatile("dc zva, %0" : : "r"(data) : "memory");
#else
	size_t left = 64;

	__asm__ volatile("rep stosb" : "+D"(data), "+c"(left) : "a"(0) : "memory");
#endif
}

static void copy(uint8_t *to, const uint8_t *from)
{
#if defined(__x86_64__)
	size_t left = SIZE;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(left) : : "memory");
#else
	memcpy(to, from, SIZE);
#endif
}

/* Code that returns the byte, which is a part of its first instruction. */
static uint8_t by_code(uint8_t *data, uint8_t value)
{
	uint32_t (*function)(void);
	uint32_t shift;

#if defined(__aarch64__)
	uint32_t code[2] = { 0x52800000 | (uint32_t)value << 8, 0xd65f03c0 }; /* mov w0, #value << 3; ret */

	memcpy(data, code, sizeof(code));
	shift = 3;
#else
	uint8_t code[6] = { 0xb8, value, 0, 0, 0, 0xc3 }; /* mov $value, %eax; ret */

	memcpy(data, code, sizeof(code));
	shift = 0;
#endif
	__builtin___clear_cache((char *)data, (char *)data + 16);
	memcpy(&function, &data, sizeof(data));
	return (uint8_t)(function() >> shift);
}

static void transfer(ssize_t size, const char *how)
{
	if (size != SIZE)
		failed("%s: %s", how, size < 0 ? strerror(errno) : "too short");
}

/* `data` may be executed; `file` is of a device that takes what it is given where it lies. */
void use_cell(uint8_t *data, uint8_t *other, int file)
{
	static const uint8_t values[] = { 0x00, 0xff };
	volatile uint8_t *cell = data + OFFSET;
	int pipe_ends[2];

	if (pipe(pipe_ends) != 0)
		failed("pipe: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(values); i++) {
		uint8_t value = values[i], seen = value;
		uint64_t word;

		expect("store and load", value, store_and_load(data + OFFSET, value));
		for (int n = 0; n < TIMES && seen == value; n++) {
			*cell = (uint8_t)~value;
			*cell = value;
			seen = *cell;
		}
		expect("loop", value, seen);
		memset(data, value, 16);
		forget();
		memcpy(&word, data + OFFSET - 1, sizeof(word));
		expect("word", value, (uint8_t)(word >> 8 * OFFSET));
		expect("vector", value, by_vectors(data, value));
		__atomic_exchange_n(data + OFFSET, value, __ATOMIC_SEQ_CST);
		expect("exchange", value, __atomic_exchange_n(data + OFFSET, value, __ATOMIC_SEQ_CST));
		if (value == 0) {
			memset(data, 0xff, 64);
			forget();
			zero(data);
			expect("zeroed", value, *cell);
		}
		memset(data, value, SIZE);
		forget();
		copy(other, data);
		forget();
		expect("copied", value, other[OFFSET]);

		*cell = value;
		transfer(write(pipe_ends[1], data, SIZE), "write");
		transfer(read(pipe_ends[0], other, SIZE), "read");
		expect("system call", value, other[OFFSET]);

		memset(data, value, SIZE);
		memset(other, ~value, SIZE);
		transfer(pwrite(file, data, SIZE, 0), "pwrite");
		transfer(pread(file, other, SIZE, 0), "pread");
		expect("device reads", value, other[OFFSET]);

		memset(other, value, SIZE);
		memset(data, ~value, SIZE);
		transfer(pwrite(file, other, SIZE, 0), "pwrite");
		transfer(pread(file, data, SIZE, 0), "pread");
		expect("device writes", value, *cell);

		expect("code", value, by_code(data, value));
		expect("register", value, by_register(value));
		if (ways[0])
			damaged("wrote %02x, read %02x by %s", value, last, ways);
		ways[0] = 0;
	}
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}
