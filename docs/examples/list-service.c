/*
 * A service to put under test: records in linked lists, which it inserts, looks up and removes in a sequence that is the
 * same each time. It prints what it has found so far, and at the end a digest of all records.
 *
 *   aarch64-linux-gnu-gcc -O2 -static list-service.c -o list             as it is
 *   aarch64-linux-gnu-gcc -O2 -static -DTMR list-service.c -o list-tmr   each word three times, with a vote on reading
 *
 * How many words it has corrected it says at the end, on standard error: that is no result.
 */
#include <inttypes.h>
#include <stdio.h>

enum { LISTS = 1 << 15, NODES = 3 << 16, OPERATIONS = 1 << 19, REPORTS = 8 };

/* What a node has, in words: where the next one is, the key of its record, and the record. */
enum { NEXT, KEY, RECORD, FIELDS = 16 };

/* Where a word lies: the first node of each list, that of the free ones, how many were ever used, and the nodes. */
enum { FREE = LISTS, USED, FIRST_NODE, WORDS = FIRST_NODE + NODES * FIELDS };

#ifdef TMR
enum { COPIES = 3 };
#else
enum { COPIES = 1 };
#endif

static uint64_t words[COPIES][WORDS];
static unsigned long corrected;

static void store(uint64_t at, uint64_t value)
{
	for (int copy = 0; copy < COPIES; copy++)
		words[copy][at] = value;
}

static uint64_t load(uint64_t at)
{
	uint64_t value = words[0][at];
#ifdef TMR
	uint64_t second = words[1][at], third = words[2][at];

	if (value != second || value != third) {
		value = (value & second) | (value & third) | (second & third);
		store(at, value);
		corrected++;
	}
#endif
	return value;
}

/* Nodes are numbered from 1; 0 ends a list. */
static uint64_t field(uint64_t node, int which)
{
	return FIRST_NODE + (node - 1) * FIELDS + which;
}

/* The word that says where the node with this key is, or where it would be. */
static uint64_t find(uint64_t key)
{
	uint64_t at = key % LISTS, node;

	while ((node = load(at)) && load(field(node, KEY)) != key)
		at = field(node, NEXT);
	return at;
}

static uint64_t digest_of(uint64_t node, uint64_t digest)
{
	for (int word = KEY; word < FIELDS; word++)
		digest = digest * 31 + load(field(node, word));
	return digest;
}

static void insert(uint64_t key, uint64_t value)
{
	uint64_t at = find(key), node = load(at);

	if (!node) {
		node = load(FREE);
		if (node) {
			store(FREE, load(field(node, NEXT)));
		} else {
			node = load(USED) + 1;
			if (node > NODES)
				return;
			store(USED, node);
		}
		store(field(node, KEY), key);
		store(field(node, NEXT), 0);
		store(at, node);
	}
	for (int word = RECORD; word < FIELDS; word++)
		store(field(node, word), value += key);
}

static void take_out(uint64_t key)
{
	uint64_t at = find(key), node = load(at);

	if (!node)
		return;
	store(at, load(field(node, NEXT)));
	store(field(node, NEXT), load(FREE));
	store(FREE, node);
}

int main(void)
{
	uint64_t random = 1, found = 0, digest = 0, node;

	for (uint64_t key = 0; key < NODES * 3 / 4; key++)
		insert(key, key);
	for (long done = 1; done <= OPERATIONS; done++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		uint64_t key = (random >> 33) % NODES;

		if (random >> 62 == 0)
			insert(key, random);
		else if (random >> 62 == 1)
			take_out(key);
		else if ((node = load(find(key))) && ++found)
			digest = digest_of(node, digest);
		if (done % (OPERATIONS / REPORTS) == 0)
			printf("%ld operations: found %" PRIu64 ", digest %016" PRIx64 "\n", done, found, digest);
	}
	for (uint64_t list = 0; list < LISTS; list++)
		for (node = load(list); node; node = load(field(node, NEXT)))
			digest = digest_of(node, digest);
	printf("all records: digest %016" PRIx64 "\n", digest);
	if (COPIES > 1)
		fprintf(stderr, "corrected %lu\n", corrected);
	return 0;
}
