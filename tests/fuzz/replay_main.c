/*
 * Run a fuzz target on every file of the directories (or files) given: the corpora are ordinary
 * tests where no fuzzer is at hand. TAP, one case per file; a crash ends the program before the
 * plan is printed, after a comment that names the file.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct tally {
	size_t run;
	size_t failed;
};

/* The whole file, malloc'ed; at its exact size, so that a sanitizer sees a read past its end. */
static uint8_t *read_whole(const char *path, size_t *size)
{
	struct stat st;
	uint8_t *data = NULL;
	FILE *f = fopen(path, "rb");

	if (!f || fstat(fileno(f), &st) < 0)
		goto out;
	*size = (size_t)st.st_size;
	data = malloc(*size ? *size : 1);
	if (data && fread(data, 1, *size, f) != *size) {
		free(data);
		data = NULL;
	}
out:
	if (f)
		fclose(f);
	return data;
}

static void replay_file(const char *path, struct tally *t)
{
	size_t size = 0;
	uint8_t *data = read_whole(path, &size);

	t->run++;
	if (!data) {
		t->failed++;
		printf("not ok %zu - %s\n# %s\n", t->run, path, strerror(errno));
		return;
	}
	printf("# replay %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	printf("ok %zu - %s\n", t->run, path);
}

static int not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* Sorted, so that two runs print the same. */
static void replay_dir(const char *dir, struct tally *t)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, not_hidden, alphasort);

	for (int i = 0; i < n; i++) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		replay_file(path, t);
		free(list[i]);
	}
	free(list);
}

int main(int argc, char **argv)
{
	struct tally t = { 0, 0 };

	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			replay_dir(argv[i], &t);
		else
			replay_file(argv[i], &t);
	}
	if (t.run == 0) {
		printf("not ok 1 - there is a corpus\n1..1\n");
		return 1;
	}
	printf("1..%zu\n", t.run);
	return t.failed ? 1 : 0;
}
