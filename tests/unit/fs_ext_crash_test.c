/*
 * What a crash leaves, without root: the changes that turn one state of a file system into another
 * are logged by debugfs, and have not, or only in part, reached their places. Free is what is free
 * in both states, and a copy that holds only the map's data replays to the right files.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ext_helper.h"

#define CHANGES                                                                                    \
	"(for i in $(seq 30); do echo \"write tree/sub/deep/file$((i * 3 + 2)) new$i\"; done; "    \
	"echo 'mkdir d'; for i in 1 4 7 10 13; do echo \"rm sub/file$i\"; done)"

/*
 * "fs" is before the changes and "after" behind them. Make "fs" what a crash leaves: data that was
 * newly allocated in its place, changed metadata in the log only. A first transaction holds an
 * older content of every block, a last one was never finished. The list of blocks for debugfs.
 */
static void make_crash(const char *open_options)
{
	ext_must("cat >crash.py <<'EOF'\n"
		 "import subprocess, sys\n"
		 "def ask(*a): return subprocess.run(a, capture_output=True, text=True).stdout\n"
		 "head = ask('dumpe2fs', '-h', 'fs')\n"
		 "size = [l for l in head.splitlines() if l.startswith('Block size')][0]\n"
		 "size = int(size.split(':')[1])\n"
		 "a = open('fs', 'rb').read(); b = open('after', 'rb').read()\n"
		 "free = set()\n"
		 "for l in ask('dumpe2fs', 'fs').splitlines():\n"
		 "    if l.startswith('  Free blocks: '):\n"
		 "        for r in l[15:].split(','):\n"
		 "            if r.strip():\n"
		 "                x = [int(v) for v in r.split('-')]\n"
		 "                free |= set(range(x[0], x[-1] + 1))\n"
		 "part = lambda s, i: s[i * size:(i + 1) * size]\n"
		 "changed = [i for i in range(len(a) // size) if part(a, i) != part(b, i)]\n"
		 "fs = open('fs', 'r+b'); log = open('log', 'wb'); old = open('old', 'wb')\n"
		 "logged = []\n"
		 "for i in changed:\n"
		 "    block = part(b, i)\n"
		 "    if i in free:\n"
		 "        fs.seek(i * size); fs.write(block)\n"
		 "    else:\n"
		 "        logged.append(i); log.write(block); old.write(bytes(reversed(block)))\n"
		 "open('list', 'w').write(','.join(map(str, logged)))\n"
		 "print(len(changed), len(logged))\n"
		 "assert len(logged) > 8 and len(changed) > len(logged) + 100\n"
		 "EOF\n"
		 "python3 crash.py");
	ext_must("(echo 'jo %s'; echo \"jw -b $(cat list) old\"; echo \"jw -b $(cat list) log\"; "
		 "echo \"jw -c -b $(cat list) old\"; echo jc) | debugfs -w -f - fs",
		open_options);
}

/* In "fs" some of the logged blocks have reached their places, as in the middle of a checkpoint. */
static void checkpoint_every_other(unsigned block)
{
	ext_must("n=0; for b in $(tr , ' ' <list); do [ $((n %% 2)) -eq 0 ] || [ $b -lt 2 ] || "
		 "dd if=log of=fs bs=%u skip=$n seek=$b count=1 conv=notrunc status=none; "
		 "n=$((n + 1)); done",
		block);
}

/* e2fsck replays the copy, finds nothing wrong, and every file is as after the changes. */
static void check_restored(const struct map *m)
{
	struct dev *d = ext_open("fs");

	ext_restore(d, m, "copy");
	dev_close(d);
	ext_must("e2fsck -fy copy >fsck.out 2>&1 || [ $? -eq 1 ]");
	ext_must("grep 'recovering journal' fsck.out");
	/* The free counts of the superblock are right only after recovery; nothing else may be. */
	ext_must("! grep -iE 'bitmap differences|claims|illegal|invalid|corrupt' fsck.out");
	ext_must("e2fsck -fn copy && rm -rf x y && mkdir x y && debugfs -R 'rdump / x' after && "
		 "debugfs -R 'rdump / y' copy && diff -r --no-dereference x y && [ -f y/new30 ] && "
		 "[ ! -e y/sub/file1 ]");
}

static void test_crash_restores_both_states(void **state)
{
	static const struct {
		const char *mke2fs, *open;
		unsigned block;
	} cases[] = {
		{ "-t ext4 -b 1024", "-c -v 3", 1024 },
		{ "-t ext4 -b 4096", "-c -v 3", 4096 },
		{ "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit", "", 1024 },
		{ "-t ext4 -b 1024 -O bigalloc -C 4096", "-c -v 3", 1024 },
		{ "-t ext3 -b 1024", "", 1024 },
		{ "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "-c -v 2", 1024 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct map *before, *after, *m, *both;
		struct fs_report r;

		ext_must("rm -f fs && truncate -s 64M fs && mke2fs -q -F %s -d tree fs",
			cases[i].mke2fs);
		ext_must("cp fs after && " CHANGES " | debugfs -w -f - after && e2fsck -fn after");
		before = ext_dumped_map("fs", 0, 64 * MIB);
		after = ext_dumped_map("after", 0, 64 * MIB);
		assert_false(map_equal(before, after));
		make_crash(cases[i].open);
		for (int half_done = 0; half_done < 2; half_done++) {
			if (half_done)
				checkpoint_every_other(cases[i].block);
			m = ext_map_of("fs", &r);
			if (!r.used_only)
				fail_msg("%s: %s", cases[i].mke2fs, r.reason);
			assert_non_null(strstr(r.note, "blocks to replay"));
			ext_assert_free_within(m, after);
			if (!half_done) {
				/* Free is what is free before and after, and no more is lost. */
				ext_assert_free_within(m, before);
				both = map_copy(before);
				for (size_t k = 0; k < map_count(after); k++) {
					struct extent x = map_at(after, k);

					if (x.kind == MAP_DATA)
						map_set(both, x.off, x.len, MAP_DATA, NULL);
				}
				ext_assert_equal_maps(m, both, cases[i].mke2fs);
				map_free(both);
			}
			check_restored(m);
			map_free(m);
		}
		map_free(before);
		map_free(after);
	}
}

static int setup(void **state)
{
	static const char *const tools[] = { "mke2fs", "debugfs", "dumpe2fs", "e2fsck", "python3",
		NULL };

	(void)state;
	ext_setup(tools);
	ext_make_tree("tree", 3072);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crash_restores_both_states),
	};

	return cmocka_run_group_tests_name("fs_ext_crash", tests, setup, NULL);
}
