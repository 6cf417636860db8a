/* The hint that a range will be read: the kernel has it in its cache soon, and nothing else. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev.h"
#include "unit/dev_helper.h"

#define BYTES (8 * MIB)
#define PAGE 4096

/* Pages of [off, off + len) of the file that are in the page cache. */
static size_t resident(int fd, size_t off, size_t len)
{
	uint8_t *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)off);
	unsigned char *pages = calloc(1, len / PAGE);
	size_t count = 0;

	assert_true(map != MAP_FAILED && pages != NULL);
	assert_int_equal(mincore(map, len, pages), 0);
	for (size_t i = 0; i < len / PAGE; i++)
		count += pages[i] & 1;
	free(pages);
	munmap(map, len);
	return count;
}

static bool soon_resident(int fd, size_t off, size_t len)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 0; i < 5000; i++) {
		if (resident(fd, off, len) == len / PAGE)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void test_will_read(void **state)
{
	uint8_t *model = calloc(1, BYTES);
	struct dev *file, *slice;
	struct err e;
	int fd;

	(void)state;
	assert_non_null(model);
	dev_helper_write_file(dev_helper_path("hinted"), model, BYTES);
	free(model);
	fd = open(dev_helper_path("hinted"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fsync(fd) == 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	if (resident(fd, 0, BYTES) > 0) {
		print_message("the file system keeps its files in memory\n");
		close(fd);
		skip();
	}
	assert_ok(dev_open(dev_helper_path("hinted"), 0, &file, &e), &e);
	assert_ok(dev_open_slice(file, MIB, MIB, &slice, &e), &e);
	dev_will_read(slice, 64 * KIB, 64 * KIB);
	assert_true(soon_resident(fd, MIB + 64 * KIB, 64 * KIB));
	assert_int_equal(resident(fd, 0, MIB), 0);
	assert_int_equal(resident(fd, 6 * MIB, 2 * MIB), 0);
	dev_will_read(file, 100 * MIB, MIB); /* behind the end: a hint is no error */
	dev_close(slice);
	dev_close(file);
	close(fd);
}

/* A device without a descriptor has nothing to do. */
static void test_memory(void **state)
{
	struct dev *d;
	struct err e;

	(void)state;
	assert_ok(dev_open_mem(NULL, PAGE, &d, &e), &e);
	dev_will_read(d, 0, PAGE);
	dev_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_will_read),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, dev_helper_setup, dev_helper_teardown);
}
