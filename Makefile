# kvetch: build, run, test.  `make help` lists the targets.
VERSION   := 0.1.0
CC        ?= cc
# BUILD is the folder of one configuration; the sanitizer targets use their own.
BUILD     ?= build
MODEL     ?=
PREFIX    ?= /usr/local
ARGS      ?=

# Debian packages: what the build and the tests need.
PACKAGES  := gcc libc6-dev make pkg-config libncurses-dev libreadline-dev libopenblas-dev libyaml-dev \
             libsqlite3-dev libpcre2-dev libutf8proc-dev libxxhash-dev \
             libcjson-dev libcmocka-dev tmux

FOLDERS   := config kv model app ui
SRC       := $(wildcard $(addsuffix /*.c,$(FOLDERS)))
ARCH      := $(shell uname -m)
ifneq ($(ARCH),x86_64)
SRC       := $(filter-out %_avx2.c %_avx512.c,$(SRC))
endif
ifneq ($(ARCH),aarch64)
SRC       := $(filter-out %_neon.c,$(SRC))
endif
OBJ       := $(SRC:%.c=$(BUILD)/%.o) $(BUILD)/config/personas.o $(BUILD)/model/guide_data.o
LIB_OBJ   := $(filter-out $(BUILD)/app/main.o,$(OBJ))
TESTS     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
# The trainer is no part of the program: its own target and the tests link it.
TRAIN_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/main.c,$(wildcard model/train/*.c)))
BENCHES   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench_*.c))
SUPPORT   := $(patsubst tests/%.c,$(BUILD)/tests/%.o,$(wildcard tests/support_*.c))

WARN      := -Wall -Wextra -Wshadow -Wconversion -Wvla $(if $(WERROR),-Werror)
OPT       ?= -O2 -g
SAN       ?=
CPPFLAGS  += -D_GNU_SOURCE -DKVETCH_VERSION='"$(VERSION)"' -I.
CFLAGS    += -std=c11 $(WARN) $(OPT) $(SAN) -ffp-contract=off -pthread
PKGS      := ncursesw readline openblas yaml-0.1 sqlite3 libpcre2-8 libutf8proc libxxhash libcjson
# Asked for at first use and once: in `make deps run` the libraries are not there yet when this file is read.
PKG_FLAGS  = $(eval PKG_FLAGS := $$(shell pkg-config --cflags $(PKGS)))$(PKG_FLAGS)
LIBS       = $(eval LIBS := $$(shell pkg-config --libs $(PKGS)) -lm -ldl -pthread)$(LIBS)

# Instruction sets are chosen at run time: only these files may use them.
%_avx2.o:   ISA := -mavx2 -mfma -mf16c
%_avx512.o: ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c -mprefer-vector-width=512

# The trainer runs where it is built. SIMD pragmas let sums be taken in lanes.
$(BUILD)/model/train/%.o: ISA := -O3 -march=native -fopenmp-simd -ffp-contract=fast -fno-math-errno -fno-trapping-math

MAKEFLAGS += --no-print-directory

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help run deps test check-plugin soak asan tsan fuzz bench guide guide-score layers format install uninstall clean

all: $(BUILD)/kvetch ## build the program (the default)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

$(BUILD)/kvetch: $(OBJ)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libkvetch.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_FLAGS) $(CFLAGS) $(ISA) -MMD -MP -c -o $@ $<

# The shipped personas become one table of (name, text) in the binary.
PERSONAS  := $(sort $(wildcard config/personas/*.yaml))
$(BUILD)/config/personas.c: $(PERSONAS) config/personas.sh
	@mkdir -p $(@D)
	sh config/personas.sh $(PERSONAS) > $@
$(BUILD)/config/personas.o: $(BUILD)/config/personas.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The built-in model, checked against the checksum beside it.
GUIDE     := model/guide/guide.gguf
$(BUILD)/model/checksum/checksum: $(addprefix $(BUILD)/,model/checksum/checksum.o config/buf.o config/err.o config/hash.o config/paths.o config/utf8.o)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/model/guide_data.s: model/guide.sh $(BUILD)/model/checksum/checksum $(GUIDE) $(GUIDE:=.xxh)
	sh model/guide.sh $(BUILD)/model/checksum/checksum $(GUIDE) > $@
$(BUILD)/model/guide_data.o: $(BUILD)/model/guide_data.s
	$(CC) -c -o $@ $<

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(SUPPORT) $(BUILD)/libkvetch.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(BUILD)/libkvetch.a $(LIBS) -lcmocka

$(BUILD)/tests/guide_score: $(BUILD)/tests/guide_score.o $(SUPPORT) $(BUILD)/libkvetch.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(BUILD)/libkvetch.a $(LIBS) -lcmocka

$(BUILD)/tests/bench_%: $(BUILD)/tests/bench_%.o $(SUPPORT) $(BUILD)/libkvetch.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(BUILD)/libkvetch.a $(LIBS) -lcmocka

# What a save writes comes through the test.
$(BUILD)/tests/test_kv_save: private LDFLAGS += -Wl,--wrap=pwrite,--wrap=fsync,--wrap=rename,--wrap=ftruncate
# Memory plug-ins, for the tests: shared objects that link nothing of the program.
PLUGINS   := $(patsubst %.c,$(BUILD)/%.so,$(wildcard tests/plugins/*.c))
$(BUILD)/tests/plugins/%.so: tests/plugins/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -fPIC -shared -MMD -MP -MF $(@:.so=.d) -o $@ $< -lm

$(addprefix $(BUILD)/tests/test_,memory kv_memory script): | $(PLUGINS)

# Counts the allocations of the project's own code.
$(BUILD)/tests/test_session: private LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc

$(BUILD)/libtrain.a: $(TRAIN_OBJ)
	@rm -f $@
	ar rcs $@ $^

# The trainer is linked without the built-in model, so that it can replace a damaged one.
$(BUILD)/model/train/no_guide.s: model/guide.sh
	@mkdir -p $(@D)
	sh model/guide.sh > $@
$(BUILD)/model/train/no_guide.o: $(BUILD)/model/train/no_guide.s
	$(CC) -c -o $@ $<
$(BUILD)/guide-train: $(addprefix $(BUILD)/model/train/,main.o no_guide.o) $(TRAIN_OBJ) $(filter-out %/guide_data.o,$(LIB_OBJ))
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

TRAIN_TESTS := $(filter $(BUILD)/tests/test_train_% $(BUILD)/tests/test_corpus $(BUILD)/tests/test_corpus_% $(BUILD)/tests/test_guide_exam,$(TESTS)) $(BUILD)/tests/bench_train
$(TRAIN_TESTS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT) $(BUILD)/libtrain.a $(BUILD)/libkvetch.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(BUILD)/libtrain.a $(BUILD)/libkvetch.a $(LIBS) -lcmocka

# A program that tests/test_screen.c drives in a terminal.
$(BUILD)/tests/test_screen: | $(BUILD)/tests/demo_ui
$(BUILD)/tests/demo_ui: $(BUILD)/tests/demo_ui.o $(BUILD)/libkvetch.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

run: $(BUILD)/kvetch ## build and open a chat: with the guide, or make run MODEL=file.gguf
	@exec $(BUILD)/kvetch $(if $(MODEL),-m "$(MODEL)") $(ARGS)

# Beside other goals deps comes first, also under -j.
ifneq ($(filter deps,$(MAKECMDGOALS)),)
$(OBJ) $(TESTS:=.o) $(SUPPORT) $(BENCHES:=.o): | deps
endif
deps: ## install the Debian packages that are missing
	@sh tests/deps.sh $(PACKAGES) </dev/null

test: $(BUILD)/kvetch $(TESTS) ## build and run all tests
	@KVETCH=$(BUILD)/kvetch sh tests/run.sh $(TESTS)

soak: ## the tests' long forms
	@KVETCH_SOAK=1 $(MAKE) test

check-plugin: $(BUILD)/tests/test_memory ## put a memory plug-in through its conformance tests: make check-plugin PLUGIN=file.so
	@$(if $(PLUGIN),,echo "check-plugin: which one? make check-plugin PLUGIN=file.so" >&2; exit 2;) $< $(PLUGIN)

asan: ## the tests under AddressSanitizer and UBSan
	@$(MAKE) BUILD=build/asan OPT="-O1 -g" SAN="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" test

tsan: ## the tests under ThreadSanitizer
	@$(MAKE) BUILD=build/tsan OPT="-O1 -g" SAN="-fsanitize=thread" test

bench: $(BENCHES) ## time the kernels alone (a whole model: build/kvetch bench -m FILE)
	@for b in $(BENCHES); do echo "== $$b"; $$b || exit 1; done

guide-score: $(BUILD)/tests/guide_score ## put its examination to the guide, or to another: make guide-score MODEL=file.gguf
	@$(BUILD)/tests/guide_score $(if $(MODEL),--model "$(MODEL)")

layers: ## check who includes whom
	@sh tests/layers.sh

format: ## lay out the sources by .clang-format
	clang-format -i $(SRC) $(wildcard */*.h tests/*.c)

# The processor alone is to decide the kernels, and with them the bits.
guide: $(BUILD)/guide-train $(BUILD)/model/checksum/checksum ## train the guide anew: model/guide/guide.gguf (56 minutes on two cores)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BUILD)/guide-train --out model/guide/guide.gguf --checkpoint $(BUILD)/guide.checkpoint $(ARGS)
	$(BUILD)/model/checksum/checksum model/guide/guide.gguf > model/guide/guide.gguf.xxh

install: all ## install under PREFIX
	install -D $(BUILD)/kvetch $(DESTDIR)$(PREFIX)/bin/kvetch
	XDG_CONFIG_HOME=/nonexistent $(BUILD)/kvetch help --man > $(BUILD)/kvetch.1
	install -D -m 644 $(BUILD)/kvetch.1 $(DESTDIR)$(PREFIX)/share/man/man1/kvetch.1

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/kvetch $(DESTDIR)$(PREFIX)/share/man/man1/kvetch.1

clean: ## remove everything that was built
	rm -rf build

-include $(OBJ:.o=.d) $(PLUGINS:.so=.d) $(BUILD)/model/checksum/checksum.d $(TRAIN_OBJ:.o=.d) $(BUILD)/model/train/main.d $(TESTS:=.d) $(BENCHES:=.d) $(SUPPORT:.o=.d) $(BUILD)/tests/guide_score.d $(BUILD)/tests/demo_ui.d
