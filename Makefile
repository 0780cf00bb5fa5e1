# One Makefile, no recursion. A folder is a layer; sources are found by pattern, so a new file needs no line here.
#   make            all that is installed   make check   install packages, build, run all tests
#   make python     the Python package, in $(BUILD)/python
#   make demo       install packages, build, sort real text under a memory cap
#   make asan tsan fuzz bench soak format deps install uninstall clean
# Variables: PREFIX DESTDIR BUILD DEBUG=-g (variables in a debugger, not just lines) WERROR=1 SANITIZE=address,undefined|thread
#   UNITY= (compile each file by itself)

PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build
VERSION := $(shell sed -n 's/^\#define SPILLWAY_VERSION_STRING "\(.*\)"/\1/p' include/spillway/version.h)

CXX      ?= g++
CC       ?= gcc
OPT      ?= $(if $(SANITIZE),-Og,-O2)
DEBUG    ?= -g1
WARN     := -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough $(if $(WERROR),-Werror)
SAN      := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# xxHash insists on being inlined through pointers, which -Og does not do.
CPPFLAGS := -I. -Iinclude -D_GNU_SOURCE -DSPILLWAY_TYPED_LZ4 $(if $(SANITIZE),-DXXH_NO_INLINE_HINTS=1)
CXXFLAGS  = -std=c++20 $(OPT) $(DEBUG) $(WARN) $(SAN) -MMD -MP
CFLAGS    = -std=gnu11 $(OPT) $(DEBUG) -Wall -Wextra $(if $(WERROR),-Werror) -MMD -MP
LDFLAGS  := $(SAN) -pthread

# What is loaded into other people's programs: no exceptions, no RTTI, nothing of libstdc++, nothing exported by accident.
# initial-exec: the library is never dlopen'ed, and malloc must not call __tls_get_addr, which may call malloc.
PRELOAD_FLAGS := -fPIC -fvisibility=hidden -fno-exceptions $(if $(SANITIZE),,-fno-rtti) -ftls-model=initial-exec -fno-builtin-malloc \
                 -fno-threadsafe-statics -fno-plt

PIC   := $(BUILD)/obj/pic
OBJ   := $(BUILD)/obj/std
UNITS := $(BUILD)/obj/units

# --- translation units ----------------------------------------------------------------------------------------------
# The files of a folder are compiled as one, because other people's headers, parsed once for each file, took more than half of
# the build. UNITY= compiles each by itself: quicker for who changes one file again and again.
UNITY ?= 1
# unit NAME,PREFIX,FILES: $(NAME_OBJ), what FILES become under PREFIX. The folders are prerequisites, for files that go.
define unit
$(1)_OBJ := $(if $(UNITY),$(2)/$(1).o,$(patsubst %.cc,$(2)/%.o,$(3)))
$(UNITS)/$(1).cc: $(3) $(sort $(dir $(3))) Makefile
	@mkdir -p $$(@D)
	@printf '#include "%s"\n' $(3) > $$@
endef

# What is loaded into programs. The exported functions are apart: the unit tests, and their sanitizer builds, link the others.
PRELOAD_EXPORTS := $(addprefix libpreload/,interpose.cc small.cc thread_cache.cc spillable_heap.cc exm_api.cc preload_api.cc memory_calls.cc lifecycle.cc)
$(eval $(call unit,base,$(PIC),$(wildcard base/core/*.cc base/os/*.cc)))
$(eval $(call unit,libpreload/pager,$(PIC),$(wildcard libpreload/pager/*.cc)))
$(eval $(call unit,libpreload/inner,$(PIC),$(filter-out $(PRELOAD_EXPORTS) libpreload/pager/%,$(wildcard libpreload/*.cc libpreload/*/*.cc))))
PRELOAD_INNER_OBJ := $(libpreload/pager_OBJ) $(libpreload/inner_OBJ) $(base_OBJ)
# libspillway: the pool's client, the segment store, and what they share. It may throw inside, and exports what
# include/spillway declares with SPILLWAY_API. Its objects serve the daemon and the tests as well.
$(eval $(call unit,libpool/client,$(PIC),$(wildcard libpool/*.cc libpool/client/*.cc libpool/format/*.cc libpool/wire/*.cc)))
# The quickest get inlines whatever it sees the code of, so it must not see that of the slow one.
$(eval $(call unit,libpool/segstore,$(PIC),$(filter-out %/get.cc,$(wildcard libpool/segstore/*.cc))))
POOL_OBJ := $(libpool/client_OBJ) $(libpool/segstore_OBJ) $(PIC)/libpool/segstore/get.o $(base_OBJ)
$(eval $(call unit,pooldaemon/service,$(OBJ),$(wildcard pooldaemon/*.cc)))
$(eval $(call unit,pooldaemon/store,$(OBJ),$(wildcard pooldaemon/store/*.cc)))
# What reads traces is tested by the unit tests.
TRACE_SRC := $(wildcard tools/trace_*.cc) tools/finding.cc
$(eval $(call unit,tools/trace_files,$(OBJ),$(TRACE_SRC)))
$(eval $(call unit,tools/commands,$(OBJ),$(filter-out $(TRACE_SRC),$(wildcard tools/*.cc))))
$(eval $(call unit,tests/support,$(OBJ),$(filter-out %/catch_main.cc,$(wildcard tests/support/*.cc))))

POOL_LDLIBS := -lxxhash -llz4 -lzstd -lfmt -ldl
POOL_FLAGS  := -fPIC -fvisibility=hidden -fvisibility-inlines-hidden
PRELOAD_LIB := $(BUILD)/lib/libspillway-preload.so
VICTIMS     := $(patsubst tests/victims/%.cc,$(BUILD)/victims/%,$(wildcard tests/victims/*.cc)) \
               $(patsubst tests/victims/%.c,$(BUILD)/victims/%,$(wildcard tests/victims/*.c)) \
               $(patsubst tests/victims/plugins/%.c,$(BUILD)/victims/%.so,$(wildcard tests/victims/plugins/*.c))
TEST_SUITES := unit $(foreach s,pager simulation pool segstore typed preload real,$(if $(wildcard tests/$(s)/*.cc),$(s)))
TESTS       := $(TEST_SUITES:%=$(BUILD)/tests/%)
BENCHES     := $(patsubst bench/malloc/%.cc,$(BUILD)/bench/%,$(wildcard bench/malloc/*.cc)) \
               $(patsubst bench/outofcore/%.cc,$(BUILD)/bench/%,$(wildcard bench/outofcore/*.cc)) \
               $(patsubst bench/segstore/%.cc,$(BUILD)/bench/%,$(wildcard bench/segstore/*.cc))
POOL_LIBS   := $(BUILD)/lib/libspillway.so $(BUILD)/lib/libspillway.a
# Debian's python3, whose headers and numpy are the packages'; PYTHON= takes the package out of the build.
PYTHON      ?= /usr/bin/python3
PYTHON_SRC  := bindings/python/src/extension.cc
PYTHON_PACKAGE := $(if $(PYTHON),$(patsubst bindings/python/%,$(BUILD)/python/%,$(wildcard bindings/python/spillway/*)) \
               $(BUILD)/python/spillway/_spillway.so)
DAEMON      := $(BUILD)/bin/spillwayd

.DEFAULT_GOAL := all
.PHONY: all python tests check test asan tsan fuzz bench bench-typed soak demo install uninstall format deps clean victims
.SECONDARY:
all: $(PRELOAD_LIB) $(POOL_LIBS) $(DAEMON) $(BUILD)/bin/spillway $(BUILD)/bin/exm
python: $(PYTHON_PACKAGE) $(POOL_LIBS) $(DAEMON)
# The Python package first: its one file takes longest.
tests: python all $(TESTS) $(VICTIMS) $(BENCHES)

# --- the preload library -------------------------------------------------------------------------------------------
# Debian's jemalloc has no private prefix, so its public names are renamed in a copy of the archive and linked in:
# the small-object path is a direct call, and the program may bring a jemalloc of its own without meeting ours.
JEMALLOC_ARCHIVE ?= $(shell $(CC) -print-file-name=libjemalloc_pic.a)
JEMALLOC_NAMES := malloc calloc realloc free memalign posix_memalign aligned_alloc valloc malloc_usable_size mallocx \
  rallocx xallocx sallocx dallocx sdallocx nallocx mallctl mallctlnametomib mallctlbymib malloc_stats_print \
  malloc_conf malloc_message mmap madvise
$(BUILD)/obj/jemalloc.a: $(JEMALLOC_ARCHIVE) Makefile
	@mkdir -p $(@D)
	objcopy $(foreach n,$(JEMALLOC_NAMES),--redefine-sym $(n)=jemalloc_$(n)) $< $@

$(PRELOAD_LIB): $(PRELOAD_EXPORTS:%.cc=$(PIC)/%.o) $(PRELOAD_INNER_OBJ) $(BUILD)/obj/jemalloc.a libpreload/exports.map
	@mkdir -p $(@D)
	$(CC) -shared -o $@ $(filter %.o %.a,$^) -Wl,--version-script=libpreload/exports.map -Wl,--exclude-libs,ALL \
	  -Wl,-Bstatic -luring -llz4 -Wl,-Bdynamic -Wl,--wrap=je_pages_map,--wrap=je_extent_alloc_dss \
	  -Wl,--wrap=je_tcache_alloc_small_hard,--wrap=je_large_malloc \
	  -Wl,--wrap=je_ehooks_default_alloc_impl -Wl,-z,defs,-z,now,-z,relro,-z,nodelete \
	  -Wl,-soname,$(@F) -static-libgcc -Wl,--as-needed -pthread -ldl -lm

# --- from files to objects -----------------------------------------------------------------------------------------
# compiled PREFIX,FOLDER/,FLAGS: objects under PREFIX of the sources of FOLDER, or of units of them.
define compiled
$(1)/$(2)%.o: $(2)%.cc
	@mkdir -p $$(@D)
	$$(CXX) $$(CPPFLAGS) $$(CXXFLAGS) $(3) -c $$< -o $$@
$(1)/$(2)%.o: $(UNITS)/$(2)%.cc
	@mkdir -p $$(@D)
	$$(CXX) $$(CPPFLAGS) $$(CXXFLAGS) $(3) -c $$< -o $$@
endef
$(eval $(call compiled,$(PIC),libpool/,$(POOL_FLAGS)))
$(eval $(call compiled,$(PIC),,$(PRELOAD_FLAGS)))
$(eval $(call compiled,$(OBJ),))
# Argument parsing and test code gain nothing from -O2, and half of the build's time is theirs. But a trace has up to 44 million
# events, the simulation moves gigabytes page by page, and headers that look up millions of keys need an optimiser.
$(OBJ)/tools/%.o $(OBJ)/tests/%.o: OPT := -O0
$(OBJ)/tools/trace%.o $(OBJ)/tests/simulation%.o: OPT := $(if $(SANITIZE),-Og,-O2)
$(OBJ)/tests/typed%.o: OPT := $(if $(SANITIZE),-O0,-O1)

# --- libspillway -------------------------------------------------------------------------------------------------
$(BUILD)/lib/libspillway.a: $(POOL_OBJ)
	@mkdir -p $(@D)
	rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/lib/libspillway.so: $(POOL_OBJ)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -shared -o $@ $(filter %.o,$^) -Wl,-Bstatic -luring -Wl,-Bdynamic -Wl,-z,defs,-z,now,-z,relro -Wl,-soname,$(@F).0 $(POOL_LDLIBS)
	ln -sf $(@F) $@.0

# --- the pool's daemon -------------------------------------------------------------------------------------------
DAEMON_LDLIBS := -lprometheus-cpp-pull -lprometheus-cpp-core -luring -lfmt
$(BUILD)/bin/spillwayd: $(pooldaemon/service_OBJ) $(pooldaemon/store_OBJ) $(POOL_OBJ)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ $(DAEMON_LDLIBS) $(POOL_LDLIBS)

$(BUILD)/lib/libspillway.so: LDFLAGS += -Wl,--version-script=libpool/exports.map

# --- programs ------------------------------------------------------------------------------------------------------
# Linked with the archive, so that the command works wherever it is copied.
$(BUILD)/bin/spillway: $(tools/commands_OBJ) $(tools/trace_files_OBJ) $(BUILD)/lib/libspillway.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ -lfmt -luring -llz4 -lncursesw $(POOL_LDLIBS)

$(BUILD)/bin/exm: $(BUILD)/bin/spillway
	ln -sf spillway $@

# --- examples, as a user would build them ------------------------------------------------------------------------
EXAMPLES := $(patsubst examples/%.cc,$(BUILD)/examples/%,$(wildcard examples/*.cc)) \
            $(patsubst examples/%.c,$(BUILD)/examples/%,$(wildcard examples/*.c))
.PHONY: examples
examples: $(EXAMPLES)
EXAMPLE_LDFLAGS = -L$(BUILD)/lib -lspillway -Wl,-rpath,'$$ORIGIN/../lib'
$(BUILD)/examples/%: examples/%.cc $(BUILD)/lib/libspillway.so
	@mkdir -p $(@D)
	$(CXX) -Iinclude -std=c++20 $(OPT) $(DEBUG) $(WARN) -MMD -MP -o $@ $< $(EXAMPLE_LDFLAGS)
$(BUILD)/examples/%: examples/%.c $(BUILD)/lib/libspillway.so
	@mkdir -p $(@D)
	$(CC) -Iinclude $(CFLAGS) -o $@ $< $(EXAMPLE_LDFLAGS)

# --- the Python package: $(BUILD)/python on PYTHONPATH is enough to use it ------------------------------------------
$(BUILD)/python/spillway/%: bindings/python/spillway/%
	@mkdir -p $(@D)
	cp $< $@
$(BUILD)/obj/python/%.o: bindings/python/src/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(shell $(PYTHON)-config --includes) -fPIC -fvisibility=hidden -c $< -o $@
$(BUILD)/python/spillway/_spillway.so: $(PYTHON_SRC:bindings/python/src/%.cc=$(BUILD)/obj/python/%.o)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -shared -o $@ $^ -llz4

# --- tests ---------------------------------------------------------------------------------------------------------
$(BUILD)/victims/%: tests/victims/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) -std=c++20 $(OPT) $(DEBUG) $(WARN) -MMD -MP -fno-builtin-malloc -rdynamic -o $@ $< -pthread -ldl -lutil
$(BUILD)/victims/%: tests/victims/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fno-builtin -rdynamic -o $@ $< -pthread -ldl -lutil
$(BUILD)/victims/%.so: tests/victims/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fno-builtin -fPIC -shared -o $@ $<
# One victim is linked statically on purpose: spillway run must refuse it in words.
$(BUILD)/victims/static_program: tests/victims/static_program.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -static -o $@ $<

# It takes 20 s, 40 with sanitizers, which would find nothing in it.
CATCH_MAIN := $(OBJ)/tests/support/catch_main.o
$(CATCH_MAIN): SAN :=
# suite NAME,OBJECTS,LIBRARIES
define suite
$$(eval $$(call unit,tests/$(1),$(OBJ),$(wildcard tests/$(1)/*.cc)))
$(BUILD)/tests/$(1): $$(tests/$(1)_OBJ) $(tests/support_OBJ) $(CATCH_MAIN) $(2)
	@mkdir -p $$(@D)
	$$(CXX) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) -ldl -lfmt -luring $$(POOL_LDLIBS) $(3)
endef
$(eval $(call suite,unit,$(PRELOAD_INNER_OBJ) $(tools/trace_files_OBJ)))
$(eval $(call suite,pager,$(PRELOAD_INNER_OBJ)))
# The pager over a kernel that a test makes: of base/os only what is above system calls, and those are the test's own.
SIMULATED_OBJ := $(libpreload/pager_OBJ) $(addprefix $(PIC)/,$(addprefix libpreload/,settings.o small_window.o backing/chunk.o) \
  $(addprefix base/os/,userfault.o file.o))
SIMULATED_CALLS := open close read poll ioctl fcntl syscall pread pwrite fallocate unshare clock_gettime nanosleep
$(eval $(call suite,simulation,$(SIMULATED_OBJ),$$(SIMULATED_CALLS:%=-Wl,--wrap=%)))
$(eval $(call suite,pool,$(POOL_OBJ)))
$(eval $(call suite,segstore,$(POOL_OBJ)))
$(eval $(call suite,typed,,-llz4))
$(eval $(call suite,preload,))
$(eval $(call suite,real,))
$(BUILD)/tests/preload $(BUILD)/tests/real: | $(PRELOAD_LIB) $(BUILD)/bin/exm $(VICTIMS)
$(BUILD)/tests/pool: | $(BUILD)/bin/spillwayd $(BUILD)/bin/spillway \
  $(if $(SANITIZE),,$(EXAMPLES) $(BUILD)/victims/failing_disk.so)
victims: $(VICTIMS)

check: deps
	+@scripts/check all
test: tests
	@scripts/run-tests $(BUILD) $(TEST_SUITES) $(if $(PYTHON_PACKAGE),python)
# A process with threads cannot fork under them, and nothing is preloaded.
asan:
	+$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=address,undefined \
	  $(addprefix build-asan/,bin/spillway $(addprefix tests/,unit pager simulation segstore pool typed))
	scripts/run-tests build-asan unit pager simulation segstore 'pool=~[fork]~[run]' typed
tsan:
	+$(MAKE) --no-print-directory BUILD=build-tsan SANITIZE=thread $(addprefix build-tsan/tests/,unit pager segstore)
	scripts/run-tests build-tsan unit 'pager=~the same holds*' 'segstore=[threads]'
fuzz:
	scripts/fuzz
soak: tests
	scripts/soak $(BUILD)
	FUZZ_INPUTS=1000000 scripts/fuzz typed
	SPILLWAY_SOAK=$${SOAK_FACTOR:-50} SPILLWAY_KILLS=200 TEST_TIMEOUT=36000 scripts/run-tests $(BUILD) segstore pool preload \
	  $(if $(PYTHON_PACKAGE),python)
demo: deps
	+$(MAKE) --no-print-directory $(PRELOAD_LIB) $(BUILD)/bin/exm
	scripts/demo $(BUILD)

# --- benchmarks ----------------------------------------------------------------------------------------------------
$(BUILD)/bench/%: bench/malloc/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -fno-builtin-malloc -o $@ $< -lbenchmark -pthread
$(BUILD)/bench/%: bench/outofcore/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -o $@ $< -pthread
$(BUILD)/bench/%: bench/segstore/%.cc $(BUILD)/lib/libspillway.a
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -o $@ $< $(BUILD)/lib/libspillway.a -llmdb -lleveldb -lhiredis -luring $(POOL_LDLIBS) -pthread
$(BUILD)/bench/%: bench/pool/%.cc $(BUILD)/lib/libspillway.a
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -o $@ $< $(BUILD)/lib/libspillway.a -luring $(POOL_LDLIBS) -lhiredis -pthread
# Its rivals are packages of their own (scripts/install-deps --bench), so it is not part of `all`.
$(BUILD)/bench/typed_cpp: bench/typed/typed_cpp.cc bench/typed/person.fbs
	@mkdir -p $(@D) $(BUILD)/obj/flatbuffers
	flatc --cpp -o $(BUILD)/obj/flatbuffers bench/typed/person.fbs
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -isystem $(BUILD)/obj/flatbuffers -o $@ $< -llz4 $$(pkg-config --libs absl_flat_hash_map)
bench-typed: $(BUILD)/bench/typed_cpp $(PYTHON_PACKAGE)
	$(BUILD)/bench/typed_cpp
	PYTHONPATH=$(BUILD)/python $(PYTHON) bench/typed/typed_python.py
bench: all $(BENCHES) $(addprefix $(BUILD)/bench/pool_,bench pressure durable)
	bench/run $(BUILD)

# --- house keeping -------------------------------------------------------------------------------------------------
deps:
	@scripts/install-deps
format:
	clang-format -i $(shell git ls-files '*.cc' '*.h' '*.hpp' '*.c')
clean:
	rm -rf build build-asan build-tsan build-fuzz build-werror

install: $(PRELOAD_LIB) $(POOL_LIBS) $(DAEMON) $(BUILD)/bin/spillway
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/spillway \
	  $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man7 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(BUILD)/bin/spillway $(DESTDIR)$(PREFIX)/bin/spillway
	ln -sf spillway $(DESTDIR)$(PREFIX)/bin/exm
	install -m 755 $(PRELOAD_LIB) $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(BUILD)/bin/spillwayd $(DESTDIR)$(PREFIX)/bin/spillwayd
	install -m 755 $(BUILD)/lib/libspillway.so $(DESTDIR)$(PREFIX)/lib/libspillway.so.$(VERSION)
	ln -sf libspillway.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libspillway.so.0
	ln -sf libspillway.so.0 $(DESTDIR)$(PREFIX)/lib/libspillway.so
	install -m 644 $(BUILD)/lib/libspillway.a $(DESTDIR)$(PREFIX)/lib/
	install -d $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/lib/systemd/user
	install -m 644 man/spillwayd.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 scripts/systemd/spillwayd.socket $(DESTDIR)$(PREFIX)/lib/systemd/user/
	sed -e 's,@PREFIX@,$(PREFIX),' scripts/systemd/spillwayd.service > $(DESTDIR)$(PREFIX)/lib/systemd/user/spillwayd.service
	install -m 644 include/spillway/*.h* $(DESTDIR)$(PREFIX)/include/spillway/
	install -d $(DESTDIR)$(PREFIX)/include/spillway/typed
	install -m 644 include/spillway/typed/*.hpp $(DESTDIR)$(PREFIX)/include/spillway/typed/
	install -m 644 man/spillway.1 man/exm.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 man/libspillway-preload.7 $(DESTDIR)$(PREFIX)/share/man/man7/
	install -m 644 scripts/spillway.bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/spillway
	ln -sf spillway $(DESTDIR)$(PREFIX)/share/bash-completion/completions/exm
	install -D -m 644 scripts/60-spillway-userfaultfd.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/60-spillway-userfaultfd.rules
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ] && command -v udevadm >/dev/null; then \
	  udevadm control --reload && udevadm trigger --name-match=userfaultfd; fi || true
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@VERSION@,$(VERSION),' scripts/spillway.pc.in \
	  > $(DESTDIR)$(PREFIX)/lib/pkgconfig/spillway.pc

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/spillwayd lib/libspillway.so lib/libspillway.so.0 lib/libspillway.so.$(VERSION) \
	  lib/libspillway.a share/man/man8/spillwayd.8 lib/systemd/user/spillwayd.service lib/systemd/user/spillwayd.socket \
	  lib/udev/rules.d/60-spillway-userfaultfd.rules)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/spillway bin/exm lib/libspillway-preload.so lib/pkgconfig/spillway.pc \
	  share/man/man1/spillway.1 share/man/man1/exm.1 share/man/man7/libspillway-preload.7 \
	  share/bash-completion/completions/spillway share/bash-completion/completions/exm)
	rm -rf $(DESTDIR)$(PREFIX)/include/spillway

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
