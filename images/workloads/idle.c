/*
 * Almost nothing: 2 s of guest time in sleeps and timers, so that what runs is the kernel's
 * idle loop, its timers and its scheduler.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "flipsim.h"

enum { SLEEPS = 50, SLEEP_MS = 20, TICKS = 20, TICK_MS = 50 };

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void check_elapsed(const char *what, int64_t since, int64_t at_least_ms)
{
	int64_t elapsed = now_ns() - since;

	if (elapsed < at_least_ms * 1000000)
		damaged("%s of %lld ms took %lld ns", what, (long long)at_least_ms, (long long)elapsed);
}

void workload_idle(struct sha256 *hash)
{
	struct generator generator = { seeded(0x1d1e1d1e1d1e1d1eULL) };
	struct itimerspec period = {
		.it_interval.tv_nsec = TICK_MS * 1000000L,
		.it_value.tv_nsec = TICK_MS * 1000000L,
	};
	struct pollfd timer = { .events = POLLIN };
	int64_t start;
	uint64_t ticks = 0;

	for (int i = 0; i < SLEEPS; i++) {
		struct timespec nap = { .tv_nsec = SLEEP_MS * 1000000L };

		start = now_ns();
		if (nanosleep(&nap, NULL) != 0)
			failed("nanosleep: %s", strerror(errno));
		check_elapsed("a sleep", start, SLEEP_MS);
		sha256_update_u64(hash, generator_next(&generator));
	}

	start = now_ns();
	timer.fd = timerfd_create(CLOCK_MONOTONIC, 0);
	if (timer.fd < 0 || timerfd_settime(timer.fd, 0, &period, NULL) != 0)
		failed("timerfd: %s", strerror(errno));
	while (ticks < TICKS) {
		uint64_t expired = 0;

		if (poll(&timer, 1, -1) != 1 || read(timer.fd, &expired, sizeof(expired)) != sizeof(expired))
			failed("timerfd: %s", strerror(errno));
		/* A busy host may make one wake-up out of several ticks. */
		for (; expired > 0 && ticks < TICKS; expired--, ticks++)
			sha256_update_u64(hash, generator_next(&generator));
	}
	check_elapsed("a timer", start, TICKS * TICK_MS);
	close(timer.fd);
}
