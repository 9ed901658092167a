# SPDX-License-Identifier: Apache-2.0
# One Makefile for the whole tree. `make help` lists the targets.
#
# Sources are found by wildcard: a new .c file in a room needs no line here. Every room goes into one
# archive, of which each program links what it uses. Variants: SAN=1 (address and undefined-behaviour
# sanitizers), MUTANTS=1 (broken variants of cores, base/mutant.h), CC=clang, O=-O0; each has a build
# directory of its own.

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
O ?= -O2
variant := $(notdir $(CC))$(if $(SAN),-san)$(if $(MUTANTS),-mutants)$(filter-out -O2,$(O))
B := build/$(variant)
BIN := $(B)/bin

ROOMS := base kernel cmd/tenant dsm rpc migrate naming quota cmd/ctl cmd/gate cmd/line
PKGS := liburing libfabric libibverbs libprotobuf-c raft libcrypto libsodium jansson libzstd liblz4 libxxhash

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	-Wno-unused-parameter -Wimplicit-fallthrough -Werror
CFLAGS_ALL := -std=gnu11 $(O) -g -D_GNU_SOURCE -I. -I$(B)/gen $(WARN) -fno-strict-aliasing \
	-ffile-prefix-map=$(CURDIR)/= -pthread $(CFLAGS)
LDFLAGS_ALL := -pthread -Wl,--as-needed $(LDFLAGS)
ifdef MUTANTS
CFLAGS_ALL += -DPANDO_MUTANTS
endif
ifdef SAN
CFLAGS_ALL += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_ALL += -fsanitize=address,undefined
endif
# Looked up once, when first needed: `make help` and install-deps must work without the packages.
LIBS = $(eval LIBS := $$(shell pkg-config --libs $(PKGS)))$(LIBS)

find_c = $(sort $(shell find $(1) -name '*.c' 2>/dev/null))

# Freestanding programs (no libc, static): one folder each, built by a rule of their own.
STUB_SRC := $(wildcard kernel/stub/*.c kernel/stub/*.S)

protos := $(sort $(shell find $(ROOMS) cmd -name '*.proto'))
gen_src := $(protos:%.proto=$(B)/gen/%.pb-c.c)
gen_hdr := $(gen_src:.c=.h)

room_src := $(filter-out $(filter %.c,$(STUB_SRC)),$(call find_c,$(ROOMS)))
room_obj := $(room_src:%.c=$(B)/%.o) $(gen_src:%.c=%.o)
sim_src := $(call find_c,sim)
sim_obj := $(sim_src:%.c=$(B)/%.o)

progs := $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.c))))
cmd_src := $(call find_c,cmd)
cmd_obj := $(cmd_src:%.c=$(B)/%.o)

unit_src := $(wildcard tests/unit/*_test.c)
units := $(unit_src:tests/unit/%.c=$(B)/unit/%)
fuzz_src := $(wildcard tests/fuzz/*_fuzz.c)
fuzzers := $(fuzz_src:tests/fuzz/%.c=$(B)/fuzz/%)
guest_src := $(wildcard tests/guest/*.c)
guests := $(guest_src:tests/guest/%.c=$(B)/guest/%)
bench_src := $(wildcard tests/bench/*.c)
benches := $(bench_src:tests/bench/%.c=$(B)/bench/%)
# Drivers of integration tests that call the rooms themselves; tests/int/NAME.sh runs them.
int_src := $(wildcard tests/int/*.c)
int_progs := $(int_src:tests/int/%.c=$(B)/int/%)
# What several tests share (a cluster fixture, a fake clock): tests/lib/*.c
testlib_src := $(call find_c,tests/lib)
testlib_obj := $(testlib_src:%.c=$(B)/%.o)

all_obj := $(room_obj) $(sim_obj) $(cmd_obj) $(testlib_obj)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help demo test bench soak tidy fmt install install-deps clean build-tests

all: $(progs:%=$(BIN)/%) $(if $(STUB_SRC),$(BIN)/pando-stub) ## build the programs

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install-deps: ## install the Debian packages that are missing
	@./cmd/install-deps.sh

# Everything that needs the packages goes through a second make, after they are there.
demo: install-deps ## build, boot a local cluster, run the main job on it, show it
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@BIN=$(CURDIR)/$(BIN) ./tests/demo.sh

test: install-deps ## build and run every test
	@./tests/emulated/get.sh
	@$(MAKE) --no-print-directory -j$$(nproc) all build-tests
	@B=$(CURDIR)/$(B) ./tests/run.sh $(LAYERS)

bench: install-deps ## print the measured ratios
	@$(MAKE) --no-print-directory -j$$(nproc) all build-tests
	@B=$(CURDIR)/$(B) ./tests/bench.sh

soak: install-deps ## long random runs: SECONDS=n SEED=n
	@./tests/emulated/get.sh
	@$(MAKE) --no-print-directory -j$$(nproc) all build-tests
	@B=$(CURDIR)/$(B) ./tests/soak.sh $(or $(SECONDS),600) $(SEED)

tidy: ## layers, format, both compilers without warnings, clang-tidy
	@./tests/tidy.sh

fmt: ## format every source in place
	@git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs clang-format -i

PREFIX ?= /usr/local
install: all ## copy the programs to PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pando
	install -m 755 $(BIN)/pando $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(filter-out $(BIN)/pando,$(wildcard $(BIN)/*)) $(DESTDIR)$(PREFIX)/lib/pando/

clean: ## remove what was built
	rm -rf build

build-tests: $(units) $(fuzzers) $(guests) $(benches) $(int_progs) $(B)/taken/pando-kernel

# ---- rules ----
$(B)/%.o: %.c | $(gen_hdr)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(B)/gen/%.o: $(B)/gen/%.c
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h &: %.proto
	@mkdir -p $(B)/gen/$(dir $*)
	protoc-c --c_out=$(B)/gen $<

$(B)/libpando.a: $(room_obj)
	rm -f $@ && $(AR) rcs $@ $^

$(B)/libsim.a: $(sim_obj)
	rm -f $@ && $(AR) rcs $@ $^

# A guest kernel without its start, for the tests of its parts (kernel_*).
$(B)/libkernel.a: $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard cmd/pando-kernel/*.c cmd/pando-kernel/*/*.c)))
	rm -f $@ && $(AR) rcs $@ $^

$(B)/libtest.a: $(testlib_obj)
	rm -f $@ && $(AR) rcs $@ $^

# A program: its own folder, the rooms, and for `pando` the simulated world.
define program_rule
$(BIN)/$(1): $(patsubst %.c,$(B)/%.o,$(wildcard cmd/$(1)/*.c cmd/$(1)/*/*.c)) $(if $(and $(sim_src),$(filter pando,$(1))),$(B)/libsim.a) $(B)/libpando.a
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS_ALL) -o $$@ $$^ $$(LIBS)
endef
$(foreach p,$(progs),$(eval $(call program_rule,$(p))))

# Pid 1 of a tenant links nothing but libc, and that statically: its root may be any image.
$(BIN)/pando-init: LIBS :=
ifndef SAN
$(BIN)/pando-init: LDFLAGS_ALL += -static
endif

STUB_FLAGS := $(if $(findstring clang,$(CC)),-Wno-unused-command-line-argument) -std=gnu11 -Os -g -D_GNU_SOURCE -I. $(WARN) -ffreestanding -fno-stack-protector -fno-builtin \
	-fno-asynchronous-unwind-tables -fno-pic -no-pie -mgeneral-regs-only -mno-red-zone -nostdlib -static \
	-Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro
$(BIN)/pando-stub: $(STUB_SRC) $(wildcard kernel/stub/*.h kernel/stub/*.ld)
	@mkdir -p $(@D)
	$(CC) $(STUB_FLAGS) $(patsubst %,-T %,$(wildcard kernel/stub/*.ld)) -o $@ $(filter %.c %.S,$^)

$(B)/unit/kernel_%: $(B)/tests/unit/kernel_%.o $(B)/libtest.a $(B)/libkernel.a $(B)/libpando.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(LIBS)

$(B)/unit/%: $(B)/tests/unit/%.o $(B)/libsim.a $(B)/libtest.a $(B)/libpando.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka -lseccomp $(LIBS)

$(B)/fuzz/kernel_%: $(B)/tests/fuzz/kernel_%.o $(B)/libtest.a $(B)/libkernel.a $(B)/libpando.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libtest.a $(B)/libpando.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/int/%: $(B)/tests/int/%.o $(B)/libtest.a $(B)/libpando.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# A guest kernel that was broken into (tests/taken/taken.c): pando-kernel's own objects, but the last
# step of its start is the test's.
$(B)/taken/pando-kernel: $(B)/tests/taken/taken.o $(patsubst %.c,$(B)/%.o,$(wildcard cmd/pando-kernel/*.c cmd/pando-kernel/*/*.c)) $(B)/libpando.a
	@mkdir -p $(@D)
	objcopy --redefine-sym pod_open=taken_pod_open $(B)/cmd/pando-kernel/main.o $(B)/taken/main.o
	objcopy --redefine-sym real_pod_open=pod_open $(B)/tests/taken/taken.o $(B)/taken/taken.o
	$(CC) $(LDFLAGS_ALL) -o $@ $(B)/taken/main.o $(B)/taken/taken.o $(filter-out $(B)/cmd/pando-kernel/main.o $(B)/tests/taken/taken.o,$^) $(LIBS)

$(B)/bench/%: $(B)/tests/bench/%.o $(B)/libtest.a $(B)/libpando.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# Guest programs are plain Linux programs: nothing of ours is linked in.
$(B)/guest/%: tests/guest/%.c $(wildcard tests/guest/*.h)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g -D_GNU_SOURCE -I. $(WARN) -pthread -o $@ $< -lrt

-include $(shell find $(B) -name '*.d' 2>/dev/null)
