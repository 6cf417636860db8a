/* img.sys, the machine and the process: lua/imgtool/meta/img_sys.lua says what they do. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <blkid/blkid.h>
#include <ext2fs/ext2fs.h>
#include <openssl/crypto.h>
#include <xxhash.h>
#include <zstd.h>

#include "bind/bind_int.h"
#include "format/layout.h"
#include "version.h"

/*
 * S8 is broken here: a signal handler has no argument to find its state by. Lock-free atomics may
 * be touched by a handler; any thread may be the one that it interrupts.
 */
static atomic_uint signal_count;
static atomic_int signal_last;

static void on_signal(int number)
{
	atomic_store(&signal_last, number);
	atomic_fetch_add(&signal_count, 1);
}

unsigned sys_signal_count(void)
{
	return atomic_load(&signal_count);
}

static int f_catch_signals(lua_State *L)
{
	/* Restarted calls: reads and writes under way are not to fail because of Ctrl-C. */
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigaction hangup;

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGINT, &sa, NULL) < 0 || sigaction(SIGTERM, &sa, NULL) < 0 ||
		sigaction(SIGHUP, NULL, &hangup) < 0)
		return luaL_error(L, "catch signals: %s", strerror(errno));
	/* The terminal went away; but nohup(1) stays in force. */
	if (hangup.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
	return 0;
}

static int f_signals(lua_State *L)
{
	push_u64(L, sys_signal_count());
	lua_pushinteger(L, atomic_load(&signal_last));
	return 2;
}

static int f_word(lua_State *L)
{
	lua_pushstring(L, err_word((int)luaL_checkinteger(L, 1)));
	return 1;
}

static int f_meaning(lua_State *L)
{
	lua_pushstring(L, err_meaning((int)luaL_checkinteger(L, 1)));
	return 1;
}

/*
 * Two libraries cannot be asked for their version. The file that the dynamic linker loaded says it
 * in its name: libX.so.2.3.0 behind the link libX.so.2.
 */
static void set_file_version(lua_State *L, const char *name, const char *symbol)
{
	void *address = dlsym(RTLD_DEFAULT, symbol);
	char path[PATH_MAX];
	const char *so = NULL;
	Dl_info info;

	if (address != NULL && dladdr(address, &info) != 0 &&
		realpath(info.dli_fname, path) != NULL)
		so = strstr(path, ".so.");
	set_text(L, name, so == NULL ? "unknown" : so + strlen(".so."));
}

static int f_version(lua_State *L)
{
	const char *text = NULL;
	unsigned xxh = XXH_versionNumber();

	lua_createtable(L, 0, 11);
	set_text(L, "imgtool", IMGTOOL_VERSION);
	set_text(L, "commit", IMGTOOL_COMMIT);
	lua_pushfstring(L, "%d.%d", VERSION_MAJOR, VERSION_MINOR);
	lua_setfield(L, -2, "format");
	set_text(L, "lua", LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE);
	set_text(L, "zstd", ZSTD_versionString());
	ext2fs_get_library_version(&text, NULL);
	set_text(L, "ext2fs", text);
	set_file_version(L, "ntfs3g", "ntfs_device_alloc");
	set_file_version(L, "uring", "io_uring_queue_init");
	blkid_get_library_version(&text, NULL);
	set_text(L, "blkid", text);
	lua_pushfstring(L, "%d.%d.%d", xxh / 10000, xxh / 100 % 100, xxh % 100);
	lua_setfield(L, -2, "xxhash");
	set_text(L, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
	return 1;
}

static int f_clock_ns(lua_State *L)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000000 + now.tv_nsec);
	return 1;
}

/* No state is closed and no thread is joined: what they wait for may never come. */
static int f_exit_now(lua_State *L)
{
	uint64_t code = arg_u64(L, 1);

	luaL_argcheck(L, code <= 255, 1, "no exit status");
	fflush(NULL);
	_exit((int)code);
}

static int f_sleep(lua_State *L)
{
	double seconds = luaL_checknumber(L, 1);
	unsigned caught = sys_signal_count();
	struct timespec left;

	luaL_argcheck(L, seconds >= 0, 1, "must not be negative");
	if (seconds > INT_MAX)
		seconds = INT_MAX;
	left.tv_sec = (time_t)seconds;
	left.tv_nsec = (long)((seconds - floor(seconds)) * 1e9);
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		if (sys_signal_count() != caught)
			break;
	return 0;
}

static int f_uuid(lua_State *L)
{
	uint8_t uuid[16];

	if (getrandom(uuid, sizeof(uuid), 0) != (ssize_t)sizeof(uuid))
		return luaL_error(L, "no random numbers: %s", strerror(errno));
	/* RFC 4122, section 4.4: version 4, variant 10. */
	uuid[6] = (uint8_t)((uuid[6] & 0x0F) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3F) | 0x80);
	push_uuid(L, uuid);
	return 1;
}

static int f_hostname(lua_State *L)
{
	char name[HOST_NAME_MAX + 1] = "";

	if (gethostname(name, sizeof(name)) < 0)
		return luaL_error(L, "host name: %s", strerror(errno));
	name[HOST_NAME_MAX] = '\0';
	lua_pushstring(L, name);
	return 1;
}

static int f_cores(lua_State *L)
{
	cpu_set_t set;
	long n;

	/* Those that this process may use; fails where there are more than the set holds. */
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	else
		n = sysconf(_SC_NPROCESSORS_ONLN);
	lua_pushinteger(L, n < 1 ? 1 : n);
	return 1;
}

static int f_memory_available(lua_State *L)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (file != NULL)
		fclose(file);
	if (kib == 0)
		kib = (unsigned long long)sysconf(_SC_AVPHYS_PAGES) *
			(unsigned long long)sysconf(_SC_PAGESIZE) / 1024;
	push_u64(L, kib * 1024);
	return 1;
}

static int f_euid(lua_State *L)
{
	lua_pushinteger(L, geteuid());
	return 1;
}

static int arg_fd(lua_State *L, int arg)
{
	uint64_t fd = arg_u64(L, arg);

	luaL_argcheck(L, fd <= INT_MAX, arg, "no file descriptor");
	return (int)fd;
}

static int f_isatty(lua_State *L)
{
	lua_pushboolean(L, isatty(arg_fd(L, 1)));
	return 1;
}

static int f_columns(lua_State *L)
{
	struct winsize size = { 0 };
	int fd = arg_fd(L, 1);

	/* A terminal that does not know its width says 0. */
	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		size.ws_col = 80;
	lua_pushinteger(L, size.ws_col);
	return 1;
}

static int f_open_handles(lua_State *L)
{
	box_push_counts(L);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "catch_signals", f_catch_signals },
	{ "signals", f_signals },
	{ "word", f_word },
	{ "meaning", f_meaning },
	{ "version", f_version },
	{ "clock_ns", f_clock_ns },
	{ "sleep", f_sleep },
	{ "exit_now", f_exit_now },
	{ "uuid", f_uuid },
	{ "hostname", f_hostname },
	{ "cores", f_cores },
	{ "memory_available", f_memory_available },
	{ "euid", f_euid },
	{ "isatty", f_isatty },
	{ "columns", f_columns },
	{ "open_handles", f_open_handles },
	{ "overrides", require_overrides },
	{ "embedded", require_embedded },
	{ NULL, NULL },
};

static void set_codes(lua_State *L)
{
	static const int codes[] = {
#define CODE(name, number, word, meaning) name,
		ERR_TABLE(CODE)
#undef CODE
	};

	lua_newtable(L);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		set_u64(L, err_word(codes[i]), (uint64_t)codes[i]);
	lua_setfield(L, -2, "codes");
}

int luaopen_img_sys(lua_State *L)
{
	box_setup(L);
	lock_register(L);
	luaL_newlib(L, functions);
	luaL_setfuncs(L, sys_file_functions, 0);
	luaL_setfuncs(L, sys_readline_functions, 0);
	luaL_setfuncs(L, sys_tool_functions, 0);
	set_codes(L);
	return 1;
}
