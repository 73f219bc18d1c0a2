/*
 * Quicksort of 1 Mi 32-bit numbers, then two checks: the order, and that sum and exclusive or
 * are still those of the numbers that were drawn.
 */
#include <stdlib.h>

#include "flipsim.h"

enum { COUNT = 1 << 20, SMALL = 16 };

static void swap(uint32_t *a, uint32_t *b)
{
	uint32_t kept = *a;

	*a = *b;
	*b = kept;
}

static void insertion_sort(uint32_t *items, long count)
{
	for (long i = 1; i < count; i++) {
		uint32_t item = items[i];
		long at = i;

		for (; at > 0 && items[at - 1] > item; at--)
			items[at] = items[at - 1];
		items[at] = item;
	}
}

/* Recurses into the smaller part only, so the depth is at most log2 of the count. */
static void sort(uint32_t *items, long count)
{
	while (count > SMALL) {
		uint32_t *low = items, *middle = items + count / 2, *high = items + count - 1;
		uint32_t pivot;
		long left = 0, right = count - 1;

		if (*middle < *low)
			swap(middle, low);
		if (*high < *middle)
			swap(high, middle);
		if (*middle < *low)
			swap(middle, low);
		pivot = *middle;
		while (left <= right) {
			while (items[left] < pivot)
				left++;
			while (items[right] > pivot)
				right--;
			if (left <= right)
				swap(items + left++, items + right--);
		}
		if (right + 1 < count - left) {
			sort(items, right + 1);
			items += left;
			count -= left;
		} else {
			sort(items + left, count - left);
			count = right + 1;
		}
	}
	insertion_sort(items, count);
}

void workload_qsort(struct sha256 *hash)
{
	struct generator generator = { seeded(0x9e3779b97f4a7c15ULL) };
	uint32_t *items = work_memory(COUNT * sizeof(*items));
	uint64_t sum = 0, mix = 0;

	for (long i = 0; i < COUNT; i++) {
		items[i] = (uint32_t)(generator_next(&generator) >> 32);
		sum += items[i];
		mix ^= items[i];
	}
	sort(items, COUNT);
	for (long i = 0; i < COUNT; i++) {
		sum -= items[i];
		mix ^= items[i];
		if (i > 0 && items[i - 1] > items[i])
			damaged("item %ld, %#x, is after %#x", i, (unsigned)items[i], (unsigned)items[i - 1]);
	}
	if (sum != 0 || mix != 0)
		damaged("the sorted numbers are not those that were drawn");
	for (long i = 0; i < COUNT; i += 2)
		sha256_update_u64(hash, items[i] | (uint64_t)items[i + 1] << 32);
	free(items);
}
