/*
 * Two chained products of 256 × 256 matrices of doubles.
 *
 * The elements are integers below 1,024, so every sum is below 2^28 and exact in a double; the
 * order of additions and fused multiply-adds change nothing. Each product is checked as in
 * algorithm-based fault tolerance (Huang and Abraham, 1984): the row sums of A·B must be A times
 * the row sums of B.
 */
#include <stdlib.h>

#include "flipsim.h"

enum { ORDER = 256, PRODUCTS = 2, LIMIT = 1024 };

typedef double matrix[ORDER][ORDER];

static void multiply(matrix product, matrix a, matrix b)
{
	for (int i = 0; i < ORDER; i++) {
		for (int j = 0; j < ORDER; j++)
			product[i][j] = 0;
		for (int k = 0; k < ORDER; k++) {
			double factor = a[i][k];

			for (int j = 0; j < ORDER; j++)
				product[i][j] += factor * b[k][j];
		}
	}
}

static void row_sums(double sums[ORDER], matrix m)
{
	for (int i = 0; i < ORDER; i++) {
		sums[i] = 0;
		for (int j = 0; j < ORDER; j++)
			sums[i] += m[i][j];
	}
}

static void verify(int number, matrix product, matrix a, matrix b)
{
	double of_product[ORDER], of_b[ORDER];

	row_sums(of_product, product);
	row_sums(of_b, b);
	for (int i = 0; i < ORDER; i++) {
		double expected = 0;

		for (int k = 0; k < ORDER; k++)
			expected += a[i][k] * of_b[k];
		if (of_product[i] != expected)
			damaged("product %d: the sum of row %d is %.0f, not %.0f", number, i,
				of_product[i], expected);
	}
}

/* A flipped bit can make an element anything, and a conversion that does not fit is undefined. */
static uint64_t whole(double element)
{
	return element >= 0 && element < 9007199254740992.0 ? (uint64_t)element : UINT64_MAX;
}

void workload_matmul(struct sha256 *hash)
{
	struct generator generator = { seeded(0x3a7301c95eed0001ULL) };
	matrix *m = work_memory(3 * sizeof(matrix));

	for (int i = 0; i < ORDER; i++)
		for (int j = 0; j < ORDER; j++) {
			m[0][i][j] = (double)(generator_next(&generator) % LIMIT);
			m[1][i][j] = (double)(generator_next(&generator) % LIMIT);
		}
	for (int number = 1; number <= PRODUCTS; number++) {
		multiply(m[2], m[0], m[1]);
		verify(number, m[2], m[0], m[1]);
		for (int i = 0; i < ORDER; i++)
			for (int j = 0; j < ORDER; j++)
				m[0][i][j] = (double)(whole(m[2][i][j]) % LIMIT);
	}
	for (int i = 0; i < ORDER; i++)
		for (int j = 0; j < ORDER; j++)
			sha256_update_u64(hash, whole(m[2][i][j]));
	free(m);
}
