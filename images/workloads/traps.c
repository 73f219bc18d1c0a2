/*
 * Ways of reading and overwriting memory that whoever records a guest's accesses can miss, each on a page alone.
 *
 * A page begins with "FLIPSIM TRAP" and its name, so that it is found in RAM; what counts are its bytes from DATA on.
 * In each round they are written, then used in the way that the page is named after, and then read, with a rest of
 * milliseconds in between: a fault strikes in one of the rests. What an architecture has no instruction for is done by
 * loads and stores.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "flipsim.h"

enum { PAGE = 4096, DATA = 1024, SIZE = 512, ROUNDS = 3, WORDS = 16, REST = 1200000 };

/* In the registers of floating point during a rest; in no other place of the program's memory. */
#define PATTERN_LOW 0x4ab7
#define PATTERN 0x4ab74ab74ab74ab7

static const int readable = PROT_READ | PROT_WRITE;

static uint8_t *new_page(const char *name, int protection, void *at)
{
	uint8_t *page = mmap(at, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		failed("mmap: %s", strerror(errno));
	memset(page, 0, PAGE);
	snprintf((char *)page, DATA, "FLIPSIM TRAP %s", name);
	return page + DATA;
}

/* Some milliseconds in registers alone. */
static void rest(void)
{
	unsigned long left = REST;

	__asm__ volatile(
#if defined(__aarch64__)
		"1: subs %0, %0, #1\n\tb.ne 1b"
#else
		"1: sub $1, %0\n\tjnz 1b"
#endif
		: "+r"(left) : : "cc");
}

/* Code that adds numbers to its argument; `odd` is the number of each. */
static void write_code(uint8_t *to, uint32_t odd)
{
#if defined(__aarch64__)
	uint32_t code[WORDS + 1];

	for (int i = 0; i < WORDS; i++)
		code[i] = 0x91000000 | odd << 10; /* add x0, x0, #odd */
	code[WORDS] = 0xd65f03c0; /* ret */
	memcpy(to, code, sizeof(code));
#else
	static const uint8_t start[] = { 0x48, 0x89, 0xf8 }; /* mov %rdi, %rax */

	memcpy(to, start, sizeof(start));
	to += sizeof(start);
	for (int i = 0; i < WORDS; i++, to += 6) {
		to[0] = 0x48; /* add $odd, %rax */
		to[1] = 0x05;
		memcpy(to + 2, &odd, sizeof(odd));
	}
	*to = 0xc3; /* ret */
#endif
}

static uint64_t run_code(uint8_t *code, uint64_t argument)
{
	uint64_t (*function)(uint64_t);

	memcpy(&function, &code, sizeof(code));
	return function(argument);
}

static void clear_cache(uint8_t *code)
{
	__builtin___clear_cache((char *)code, (char *)code + SIZE);
}

/* All of it becomes zero; there in blocks, and nothing is read or stored by an instruction that says so. */
static void zero(uint8_t *data)
{
#if defined(__aarch64__)
	for (uint8_t *at = data; at < data + SIZE; at += 64)
		__asm__ volatile("dc zva, %0" : : "r"(at) : "memory");
#else
	memset(data, 0, SIZE);
#endif
}

static void copy(uint8_t *to, uint8_t *from)
{
#if defined(__x86_64__)
	size_t left = SIZE;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(left) : : "memory");
#else
	memcpy(to, from, SIZE);
#endif
}

/* Saves registers that hold `word`, and later loads and adds them. */
static void save_vector(uint8_t *to, uint64_t word)
{
#if defined(__x86_64__)
	__asm__ volatile("movq %1, %%xmm1\n\tmovq %1, %%xmm2\n\tfxsave64 (%0)"
			 : : "r"(to), "r"(word) : "xmm1", "xmm2", "memory");
#else
	memcpy(to + 176, &word, sizeof(word));
	memcpy(to + 192, &word, sizeof(word));
#endif
}

static uint64_t load_vector(uint8_t *from)
{
	uint64_t one, other;

#if defined(__x86_64__)
	__asm__ volatile("fxrstor64 (%2)\n\tmovq %%xmm1, %0\n\tmovq %%xmm2, %1"
			 : "=&r"(one), "=&r"(other) : "r"(from)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
			   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory");
#else
	memcpy(&one, from + 176, sizeof(one));
	memcpy(&other, from + 192, sizeof(other));
#endif
	return one + other;
}

/* Begins an exclusive access, and makes sure that it fails. */
static void begin_exclusive(uint64_t *word, uint64_t value)
{
#if defined(__aarch64__)
	uint64_t old;

	__asm__ volatile("ldxr %0, [%1]\n\tstr %2, [%1]" : "=&r"(old) : "r"(word), "r"(value) : "memory");
#else
	*(volatile uint64_t *)word = value;
#endif
}

static void fail_exclusive(uint64_t *word, uint64_t value)
{
#if defined(__aarch64__)
	uint32_t failed;

	__asm__ volatile("stxr %w0, %2, [%1]" : "=&r"(failed) : "r"(word), "r"(~value) : "memory");
	if (!failed)
		*(volatile uint64_t *)word = value;
#else
	uint64_t wrong = ~value;

	__asm__ volatile("lock cmpxchg %2, %1" : "+a"(wrong), "+m"(*word) : "r"(~value) : "cc");
#endif
}

/* Rests asleep with the pattern in registers, while another process has the processor; their sum. */
static uint64_t sleep_with_vectors(long ns)
{
	struct timespec time = { .tv_nsec = ns };
	uint64_t sum;

#if defined(__aarch64__)
	register const struct timespec *asked __asm__("x0") = &time;
	register void *left __asm__("x1") = NULL;
	register long number __asm__("x8") = SYS_nanosleep;

	__asm__ volatile("mov w9, %4\n\tdup v8.8h, w9\n\tmov w9, #0\n\t"
			 "mov v9.16b, v8.16b\n\tmov v10.16b, v8.16b\n\tmov v11.16b, v8.16b\n\tsvc #0\n\t"
			 "add v8.2d, v8.2d, v9.2d\n\tadd v10.2d, v10.2d, v11.2d\n\tadd v8.2d, v8.2d, v10.2d\n\t"
			 "addp d8, v8.2d\n\tfmov %0, d8"
			 : "=r"(sum), "+r"(asked), "+r"(left) : "r"(number), "i"(PATTERN_LOW)
			 : "x9", "v8", "v9", "v10", "v11", "memory");
#else
	long number = SYS_nanosleep;

	__asm__ volatile("mov $%c4, %%ecx\n\tmovd %%ecx, %%xmm8\n\txor %%ecx, %%ecx\n\tpshuflw $0, %%xmm8, %%xmm8\n\t"
			 "punpcklqdq %%xmm8, %%xmm8\n\tmovdqa %%xmm8, %%xmm9\n\tmovdqa %%xmm8, %%xmm10\n\t"
			 "movdqa %%xmm8, %%xmm11\n\tsyscall\n\tpaddq %%xmm9, %%xmm8\n\tpaddq %%xmm11, %%xmm10\n\t"
			 "paddq %%xmm10, %%xmm8\n\tmovq %%xmm8, %1\n\tpsrldq $8, %%xmm8\n\tmovq %%xmm8, %0\n\tadd %1, %0"
			 : "=&r"(sum), "+a"(number) : "D"(&time), "S"(NULL), "i"(PATTERN_LOW)
			 : "rcx", "r11", "xmm8", "xmm9", "xmm10", "xmm11", "cc", "memory");
#endif
	return sum;
}

/* Uses the processor again and again, so that registers of the other process do not stay in it. */
static pid_t start_other(void)
{
	pid_t other = fork();

	if (other < 0)
		failed("fork: %s", strerror(errno));
	while (other == 0) {
		struct timespec nap = { .tv_nsec = 600000 };

		nanosleep(&nap, NULL);
	}
	return other;
}

static void transfer(ssize_t size, const char *how)
{
	if (size != SIZE)
		failed("%s: %s", how, size < 0 ? strerror(errno) : "too short");
}

void workload_traps(struct sha256 *hash)
{
	/* First, as its pages are copied. */
	pid_t other = start_other();
	struct generator generator = { seeded(0x7247c0de7247c0deULL) };
	uint8_t *partial = new_page("partial", readable, NULL);
	uint8_t *zeroed = new_page("zeroed", readable, NULL);
	uint8_t *source = new_page("source", readable, NULL), *copied = new_page("copied", readable, NULL);
	uint8_t *saved = new_page("saved", readable, NULL);
	uint8_t *exclusive = new_page("exclusive", readable, NULL);
	uint8_t *outbox = new_page("outbox", readable, NULL), *inbox = new_page("inbox", readable, NULL);
	/* By a table of its own. */
	uint8_t *far = new_page("far", readable, (void *)0x3456789000);
	uint8_t *code = new_page("code", readable, NULL);
	uint8_t *changed = new_page("changed", readable | PROT_EXEC, NULL);
	uint8_t *cell;
	char path[512];
	int file;

	snprintf(path, sizeof(path), "%s/traps", scratch_folder);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC | (in_guest ? O_DIRECT | O_SYNC : 0), 0644);
	if (file < 0)
		failed("open %s: %s", path, strerror(errno));
	transfer(pwrite(file, outbox, SIZE, 0), "pwrite");
	generator_fill(&generator, partial, SIZE);
	generator_fill(&generator, far, SIZE);
	write_code(code, 27);
	clear_cache(code);
	if (mprotect(code - DATA, PAGE, PROT_READ | PROT_EXEC) != 0)
		failed("mprotect: %s", strerror(errno));

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		uint64_t value = generator_next(&generator);

		for (int i = 0; i < SIZE; i += 8)
			*(volatile uint8_t *)(partial + i) = (uint8_t)value;
		generator_fill(&generator, zeroed, SIZE);
		generator_fill(&generator, source, SIZE);
		generator_fill(&generator, outbox, SIZE);
		write_code(changed, round);
		clear_cache(changed);
		save_vector(saved, value);
		begin_exclusive((uint64_t *)exclusive, value);
		rest();

		fail_exclusive((uint64_t *)exclusive, value);
		zero(zeroed);
		copy(copied, source);
		sha256_update_u64(hash, load_vector(saved));
		transfer(pwrite(file, outbox, SIZE, 0), "pwrite");
		transfer(pread(file, inbox, SIZE, 0), "pread");
		sha256_update_u64(hash, sleep_with_vectors(3000000));

		sha256_update_u64(hash, run_code(code, value));
		sha256_update_u64(hash, run_code(changed, value));
		sha256_update_u64(hash, *(uint64_t *)exclusive);
		sha256_update(hash, partial, SIZE);
		sha256_update(hash, zeroed, SIZE);
		sha256_update(hash, copied, SIZE);
		sha256_update(hash, inbox, SIZE);
		sha256_update(hash, far, SIZE);
		rest();
	}
	/* A fault strikes while it rests. */
	cell = new_page("cell", readable | PROT_EXEC, NULL);
	rest();
	use_cell(cell, inbox, file);
	close(file);
	if (unlink(path) != 0)
		failed("unlink %s: %s", path, strerror(errno));
	if (kill(other, SIGKILL) != 0 || waitpid(other, NULL, 0) != other)
		failed("kill: %s", strerror(errno));
}
