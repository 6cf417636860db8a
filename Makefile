# imgtool: build, test, lint, install. `make help` lists the targets.
#
# Useful variables:
#   BUILD=build      where products go; a second BUILD directory is independent of the first
#   SAN=address,undefined   build with these sanitizers
#   T=unit/map       run only these tests (names, folders or patterns: T='unit cli/image*')
#   FOLDERS="base map"      build only these folders of src/ (to work on one of them alone)
#   CC, CFLAGS, LDFLAGS, WERROR=1, V=1, PREFIX, DESTDIR

VERSION := 0.1.0
PREFIX ?= /usr/local
BUILD ?= build
CFLAGS ?= -O2 -g
ifeq ($(origin CC),default)
CC := gcc
endif

# All cores, unless -j was said or this make was started by another one.
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
endif
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(V),)
say = @echo "  $(1)	$(patsubst $(CURDIR)/%,%,$@)";
else
say =
endif

# Dependencies: looked for once. The targets that only start another make do without them.
WITHOUT_DEPS := help clean quickstart check check-root check-asan check-ubsan check-tsan \
	check-valgrind soak docs fuzz bench lint lint-% format tidy uninstall FORCE
ifneq ($(filter-out $(WITHOUT_DEPS),$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/deps.mk
endif

$(BUILD)/deps.mk: scripts/find-deps
	@mkdir -p $(@D)
	@scripts/find-deps > $@.tmp
	@mv $@.tmp $@

# ---- Flags ---------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
	-Wno-format-truncation -Wpointer-arith -Wwrite-strings -Werror=implicit -Werror=int-conversion \
	-Werror=incompatible-pointer-types -Werror=return-type
ifneq ($(WERROR),)
# Except the one that depends on what the optimizer happens to inline.
WARN += -Werror -Wno-error=maybe-uninitialized
endif
ifneq ($(SAN),)
SAN_FLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -pthread $(CFLAGS) $(WARN) $(SAN_FLAGS) \
	-Isrc -I$(BUILD)/gen $(PKG_CFLAGS)
ALL_LDFLAGS = -pthread $(SAN_FLAGS) -Wl,--as-needed $(LDFLAGS)
LIBS = $(LUA_LIBS) $(PKG_LIBS)

# write-if-changed: a file whose time stamp says when its content last became different
define write_if_changed
	@mkdir -p $(@D)
	@printf '%s\n' $(1) > $@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
endef

$(BUILD)/flags: FORCE
	$(call write_if_changed,'$(CC) $(ALL_CFLAGS)')
$(BUILD)/ldflags: FORCE
	$(call write_if_changed,'$(CC) $(ALL_LDFLAGS) $(LIBS) $(sort $(OBJS))')

# ---- Generated sources ---------------------------------------------------------------------

# The commit is asked for only where this tree is itself a repository, and never takes git's lock.
COMMIT = $(shell [ -e .git ] && GIT_OPTIONAL_LOCKS=0 git describe --always --dirty --abbrev=12 \
	--exclude='*' 2>/dev/null || echo unknown)
$(BUILD)/gen/version.h: FORCE
	$(call write_if_changed,'/* Made by the Makefile. */' \
		'#define IMGTOOL_VERSION "$(VERSION)"' '#define IMGTOOL_COMMIT "$(COMMIT)"')

# The Lua sources go into the binary as text; the stubs in meta/ are for readers and editors only.
LUA_SRC := $(sort $(shell find lua -name '*.lua' -not -path 'lua/imgtool/meta/*' 2>/dev/null))
$(BUILD)/gen/lua.list: FORCE
	$(call write_if_changed,$(LUA_SRC) '$(ARGPARSE)')
$(BUILD)/gen/embedded_lua.c: $(LUA_SRC) $(BUILD)/gen/lua.list scripts/embed-lua
	$(call say,LUA)lua5.4 scripts/embed-lua --out $@ --root lua argparse=$(ARGPARSE) $(LUA_SRC)

# ---- Products ------------------------------------------------------------------------------

FOLDERS ?= $(shell awk '{print $$1}' src/LAYERS)
SRC := $(foreach d,$(FOLDERS),$(wildcard src/$(d)/*.c))
OBJS := $(SRC:%.c=$(BUILD)/%.o) $(BUILD)/gen/embedded_lua.o
LIB := $(BUILD)/libimgtool.a

NBDKIT_PLUGIN := $(BUILD)/nbdkit-imgtool-plugin.so

all: $(BUILD)/imgtool $(NBDKIT_PLUGIN) $(BUILD)/imgtool_c.so ## build all that is installed or tested

$(BUILD)/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/version.h
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(ALL_CFLAGS) $(if $(filter tests/%,$<),-Itests) -MMD -MP -c -o $@ $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	$(call say,CC)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Made anew, so that no object of a deleted source stays in it.
$(LIB): $(OBJS) $(BUILD)/ldflags
	$(call say,AR)rm -f $@ && $(AR) rcs $@ $(OBJS)

# lua-cjson and lua-filesystem come as static archives that are not position independent: they can
# go into the program, not into the module below, which takes the shared ones.
$(BUILD)/imgtool: $(BUILD)/src/main.o $(LIB) $(BUILD)/ldflags
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $< $(LIB) $(LUA_MODULE_LIBS) $(LIBS)

# The C modules for a stock Lua interpreter, which brings the Lua API itself. -z now: a symbol that
# is nowhere shows when the module is loaded, not when it is first called.
$(BUILD)/imgtool_c.so: $(OBJS) $(BUILD)/ldflags
	$(call say,LD)$(CC) -shared $(ALL_LDFLAGS) -Wl,-z,now -o $@ $(OBJS) $(LUA_MODULE_SHARED) \
		$(PKG_LIBS)

$(NBDKIT_PLUGIN): $(BUILD)/src/nbdkit_plugin.o $(LIB) $(BUILD)/ldflags
	$(call say,LD)$(CC) -shared $(ALL_LDFLAGS) -Wl,-z,now -o $@ $< $(LIB) $(PKG_LIBS)

# ---- Tests ---------------------------------------------------------------------------------

UNIT := $(patsubst tests/%_test.c,%,$(wildcard tests/unit/*_test.c tests/fault/*_test.c))
FUZZ := $(patsubst tests/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
LUA := $(patsubst tests/%_test.lua,%,$(wildcard tests/lua/*_test.lua))
CLI := $(patsubst tests/%_test.sh,%,$(wildcard tests/cli/*_test.sh))
ROOT := $(patsubst tests/%_test.sh,%,$(wildcard tests/root/*_test.sh))

# Helpers shared by C tests: every other C file beside them.
HELPER_SRC := $(filter-out %_test.c,$(wildcard tests/unit/*.c tests/fault/*.c))
HELPER_LIB := $(BUILD)/tests/libhelper.a

# T=unit/map: the names in T, what lies in a folder named in T, or what a pattern with * matches.
pick = $(if $(T),$(filter $(foreach t,$(subst *,%,$(T)),$(t) $(t)/%),$(1)),$(1))
# The slow ones first, so that the quick ones fill what is left of the cores' time.
KINDS ?= CLI UNIT FUZZ LUA
SELECTED := $(strip $(foreach k,$(KINDS),$(call pick,$($(k)))))
TEST_FILES = $(foreach n,$(SELECTED),$(call file_of_$(firstword $(subst /, ,$(n))),$(n)))
file_of_unit = $(BUILD)/tests/$(1)_test
file_of_fault = $(BUILD)/tests/$(1)_test
file_of_fuzz = $(BUILD)/tests/$(1)_replay
file_of_lua = tests/$(1)_test.lua
file_of_cli = tests/$(1)_test.sh
file_of_root = tests/$(1)_test.sh
TEST_NEEDS = $(filter $(BUILD)/%,$(TEST_FILES)) \
	$(if $(filter lua/%,$(SELECTED)),$(BUILD)/imgtool_c.so) \
	$(if $(filter cli/% root/%,$(SELECTED)),$(BUILD)/imgtool $(NBDKIT_PLUGIN))

$(HELPER_LIB): $(HELPER_SRC:%.c=$(BUILD)/%.o)
	@mkdir -p $(@D)
	$(call say,AR)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/%_test: $(BUILD)/tests/%_test.o $(HELPER_LIB) $(LIB) $(BUILD)/ldflags
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $< $(HELPER_LIB) $(LIB) $(LIBS) -lcmocka

$(BUILD)/tests/%_replay: $(BUILD)/tests/%_fuzz.o $(BUILD)/tests/fuzz/replay_main.o $(LIB) \
		$(BUILD)/ldflags
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $< $(BUILD)/tests/fuzz/replay_main.o $(LIB) $(LIBS)

# It runs the Lua of the program, which wants the modules that the program has.
$(BUILD)/tests/fuzz/meta_replay $(BUILD)/tests/fuzz/meta_fuzzer: LIBS := $(LUA_MODULE_LIBS) $(LIBS)

$(BUILD)/tests/%_fuzzer: $(BUILD)/tests/%_fuzz.o $(LIB) $(BUILD)/ldflags
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB) $(LIBS)

# Not for the command line: the targets below start these in a make of their own, after the
# packages are there.
TEST_TIMEOUT ?= 300
MAKE_TARGET ?= check
run-tests: $(TEST_NEEDS)
	@$(if $(SELECTED),:,echo "no test matches '$(T)' ($(MAKE_TARGET))" >&2; exit 2)
	@BUILD='$(BUILD)' MAKE_TARGET='$(MAKE_TARGET)' scripts/run-tests --timeout $(TEST_TIMEOUT) \
		$(TEST_FILES)
run-fuzz: $(foreach n,$(call pick,$(FUZZ)),$(BUILD)/tests/$(n)_fuzzer)
	@for n in $(call pick,$(FUZZ)); do \
		scripts/run-fuzzer $(BUILD)/tests/$${n}_fuzzer $${n#fuzz/} $(FUZZ_SECONDS) || exit 1; \
	done
test-programs: $(UNIT:%=$(BUILD)/tests/%_test) $(FUZZ:%=$(BUILD)/tests/%_replay)

check: ## unit, fault, fuzz corpus, Lua and CLI tests; T=unit/map for one; no root, no network
	@scripts/setup --soft test
	@$(MAKE) run-tests

check-root: ## tests with loop devices and mounts; needs root
	@scripts/setup --soft root
	@$(MAKE) run-tests KINDS=ROOT MAKE_TARGET=check-root TEST_TIMEOUT=900

# Sanitized programs run the C and CLI tests; the Lua tests need an interpreter that was built so.
# A report goes to the test's own output, and its exit status is none of imgtool's.
SAN_TIMEOUT ?= 600
SAN_OPTIONS := exitcode=99:abort_on_error=0
check-asan: ## C and CLI tests under AddressSanitizer, LeakSanitizer and UBSan
	@scripts/setup --soft test
	@ASAN_OPTIONS=$(SAN_OPTIONS):detect_leaks=1:detect_stack_use_after_return=1 \
		UBSAN_OPTIONS=$(SAN_OPTIONS):print_stacktrace=1 \
		$(MAKE) run-tests BUILD=$(BUILD)/asan SAN=address,undefined CFLAGS='-O1 -g' \
		KINDS='CLI UNIT FUZZ' MAKE_TARGET=check-asan TEST_TIMEOUT=$(SAN_TIMEOUT)

# All three servers, or it fails; and time for each of them besides what a test gets anyway.
SOAK_SECONDS ?= 120
soak: ## the servers under load, SOAK_SECONDS=120 each, under AddressSanitizer and UBSan
	@SOAK_SECONDS=$(SOAK_SECONDS) SOAK_REQUIRED=1 $(MAKE) check-asan T=cli/soak \
		SAN_TIMEOUT=$$((600 + 4 * $(SOAK_SECONDS)))

check-ubsan: ## C and CLI tests under UBSan alone
	@scripts/setup --soft test
	@UBSAN_OPTIONS=$(SAN_OPTIONS):print_stacktrace=1 \
		$(MAKE) run-tests BUILD=$(BUILD)/ubsan SAN=undefined CFLAGS='-O1 -g' \
		KINDS='CLI UNIT FUZZ' MAKE_TARGET=check-ubsan TEST_TIMEOUT=$(SAN_TIMEOUT)

check-tsan: ## C and CLI tests under ThreadSanitizer
	@scripts/setup --soft test
	@TSAN_OPTIONS=$(SAN_OPTIONS):halt_on_error=1:second_deadlock_stack=1 \
		$(MAKE) run-tests BUILD=$(BUILD)/tsan SAN=thread CFLAGS='-O1 -g' \
		KINDS='CLI UNIT' MAKE_TARGET=check-tsan TEST_TIMEOUT=$(SAN_TIMEOUT)

check-valgrind: ## unit and fault tests under valgrind memcheck
	@scripts/setup --soft test
	@TEST_WRAPPER='valgrind -q --leak-check=full --error-exitcode=99 --child-silent-after-fork=yes' \
		$(MAKE) run-tests KINDS=UNIT MAKE_TARGET=check-valgrind TEST_TIMEOUT=900

FUZZ_SECONDS ?= 60
fuzz: ## run every fuzz target FUZZ_SECONDS=60 long (T=fuzz/x for one); needs clang
	@scripts/setup --soft test
	@$(MAKE) run-fuzz BUILD=$(BUILD)/fuzz CC=clang CFLAGS='-O1 -g' \
		SAN=address,undefined,fuzzer-no-link

bench: ## measure speed and memory against other tools
	@scripts/setup --soft bench
	@$(MAKE) all
	@scripts/bench
	@scripts/bench-serve

quickstart: ## install build packages, build, image and restore a real file system
	@scripts/setup build
	@$(MAKE) all
	@IMGTOOL=$(BUILD)/imgtool scripts/quickstart

# ---- Lint ----------------------------------------------------------------------------------

C_FILES = $(wildcard src/*.[ch] src/*/*.[ch] tests/*/*.[ch])
LUA_FILES = $(sort $(shell find lua tests/lua examples -name '*.lua' 2>/dev/null))
LUA_SCRIPTS := scripts/bench-stalls scripts/check-docs scripts/check-layers scripts/check-style scripts/embed-lua \
	scripts/gen-docs
LINTS := lint-layers lint-style lint-docs lint-lua lint-format

lint: ## layers, style, docs, luacheck, clang-format
	@scripts/setup --soft test
	@$(MAKE) --keep-going $(LINTS)
lint-layers:
	@scripts/check-layers --self-test && scripts/check-layers
lint-style:
	@scripts/check-style --self-test && scripts/check-style
lint-docs:
	@scripts/check-docs --self-test && scripts/check-docs
lint-lua:
	@scripts/check-lua $(LUA_SCRIPTS) $(LUA_FILES)
lint-format:
	@clang-format --dry-run -Werror $(C_FILES)

docs: ## make the manual page, the completion and the tables of docs/ anew
	@scripts/gen-docs

format: ## let clang-format rewrite the C sources
	@clang-format -i $(C_FILES)

tidy: ## clang-tidy over src/ (an aid, not a gate)
	@$(MAKE) run-tidy
run-tidy: $(BUILD)/gen/version.h
	@clang-tidy --quiet $(SRC) -- -std=c11 -D_GNU_SOURCE -Isrc -I$(BUILD)/gen $(PKG_CFLAGS)

# ---- Install -------------------------------------------------------------------------------

BINDIR = $(DESTDIR)$(PREFIX)/bin
LIBDIR = $(DESTDIR)$(PREFIX)/lib/imgtool
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man1
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/imgtool
COMPDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
EXAMPLES = $(wildcard examples/*.lua examples/*.md)

install: all ## install under DESTDIR/PREFIX (/usr/local)
	install -D -m 755 $(BUILD)/imgtool $(BINDIR)/imgtool
	install -D -m 644 $(NBDKIT_PLUGIN) $(LIBDIR)/$(notdir $(NBDKIT_PLUGIN))
	$(if $(wildcard docs/imgtool.1),install -D -m 644 docs/imgtool.1 $(MANDIR)/imgtool.1)
	$(if $(EXAMPLES),install -d $(DOCDIR)/examples)
	$(if $(EXAMPLES),install -m 644 $(EXAMPLES) $(DOCDIR)/examples)
	$(if $(wildcard scripts/completion.bash),install -D -m 644 scripts/completion.bash \
		$(COMPDIR)/imgtool)

uninstall: ## remove what install made
	rm -f $(BINDIR)/imgtool $(MANDIR)/imgtool.1 $(COMPDIR)/imgtool
	rm -rf $(DOCDIR) $(LIBDIR)

clean: ## remove everything that was built
	rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

FORCE:
.PHONY: all bench check check-asan check-root check-tsan check-ubsan check-valgrind clean docs \
	format fuzz help install lint $(LINTS) quickstart run-fuzz run-tests run-tidy soak test-programs \
	tidy uninstall FORCE
.SECONDARY:

-include $(wildcard $(OBJS:.o=.d) $(BUILD)/src/main.d $(BUILD)/src/nbdkit_plugin.d $(BUILD)/tests/*/*.d)
