# SPDX-License-Identifier: GPL-2.0-or-later
#
# make help says what there is. Kbuild describes the module, userspace/Makefile the tool.

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
KERNEL ?= uml
PREFIX ?= /usr/local
DESTDIR ?=
N ?= 1000000
SEED ?= 1

# For the running kernel; the test kernels have theirs in build/KERNEL (tests/vm/module).
out := $(CURDIR)/build/host-$(KVER)
moddir = $(DESTDIR)/lib/modules/$(KVER)/updates

all: tool host-module

tool:
	$(MAKE) -C userspace all

# Built from a copy, so that the tree stays clean.
host-module:
ifneq ($(wildcard $(KDIR)/Makefile),)
	mkdir -p $(out)
	cp -ru Kbuild kernel include $(out)/
	$(MAKE) -C $(KDIR) M=$(out) modules
else
	@echo "No headers of kernel $(KVER) in $(KDIR): only the tool was built."
	@echo "(apt-get install linux-headers-$(KVER); 'make demo' brings its own kernel)"
endif

install: all
	$(MAKE) -C userspace install DESTDIR=$(DESTDIR) PREFIX=$(PREFIX)
	if [ -f $(out)/qcow2blk.ko ]; then \
		install -D -m 644 -t $(moddir) $(out)/qcow2blk.ko && \
		depmod $(if $(DESTDIR),-b $(DESTDIR)) $(KVER); fi

uninstall:
	$(MAKE) -C userspace uninstall DESTDIR=$(DESTDIR) PREFIX=$(PREFIX)
	if [ -f $(moddir)/qcow2blk.ko ]; then \
		rm $(moddir)/qcow2blk.ko && depmod $(if $(DESTDIR),-b $(DESTDIR)) $(KVER); fi

dkms-install dkms-remove deb rpm:
	$(MAKE) -C userspace/packaging $@

# Everything below installs the packages it needs.
packages:
	tests/packages

module: packages
	tests/vm/module $(KERNEL)

test-tools:
	$(MAKE) -C tests/tools
	$(MAKE) -C tests/crash

demo: packages
	tests/demo

check: packages
	tests/check

check-all: packages
	tests/check all

style: packages
	tests/style

fuzz: packages
	$(MAKE) -C tests/fuzz fuzz N=$(N) SEED=$(SEED)

crash: packages
	$(MAKE) -s tool test-tools
	tests/crash/run --states $(or $(STATES),60000) --seed $(or $(SEED),1)

differ: packages
	$(MAKE) -s tool test-tools
	tests/differ --seed $(or $(SEED),1)

matrix: packages
	$(MAKE) -s tool test-tools
	tests/matrix/run $(if $(N),--sample $(N)) --seed $(or $(SEED),1)

coverage: packages
	$(MAKE) -s tool test-tools
	tests/coverage

# KERNEL's default is not for these.
bench bench-quick: packages
	tests/bench/run $(if $(filter-out file,$(origin KERNEL)),--kernel $(KERNEL)) $(if $(JSON),--json $(JSON)) \
		$(if $(CASES),--cases '$(CASES)') $(if $(filter bench-quick,$@),--quick)

clean:
	rm -rf build

help:
	@echo 'make                      the tool, and the module for the running kernel'
	@echo 'make install, uninstall   both, below PREFIX=$(PREFIX) and /lib/modules; DESTDIR= for packagers'
	@echo 'make dkms-install         have DKMS build and install the module, now and for kernels to come;'
	@echo '                          KVERS="k...": for those, default: all that have headers here'
	@echo 'make dkms-remove          undo that'
	@echo 'make deb, rpm             packages qcow2blk-dkms and qcow2blk-tools, in build/deb, build/rpm'
	@echo 'make clean                remove build/'
	@echo
	@echo 'These install packages with apt and bring their own kernels:'
	@echo 'make demo                 attach and mount a disk image in a VM; IMAGE=path: your own,'
	@echo '                          read-only; HOST=1: with the running kernel, not in a VM;'
	@echo '                          KERNEL=k: in a VM with that test kernel, not with 6.1'
	@echo 'make check                all tests; the last line counts them'
	@echo 'make check-all            and the functional tests on every kernel there is'
	@echo 'make style                checkpatch, sparse, shellcheck and the rules of the house'
	@echo 'make fuzz N=n SEED=s      n mutated images through the format code'
	@echo 'make crash STATES=n SEED=s  what n crashes may leave of images that are written'
	@echo 'make differ SEED=s        random changes of 300 images, against memory and qemu-img'
	@echo 'make matrix N=n SEED=s    the same of images of every kind that qemu-img offers, each pair of'
	@echo '                          options; or of n of them, drawn at random'
	@echo 'make coverage             which lines of the module are run by tests, and which never'
	@echo 'make bench KERNEL=k JSON=f  how fast, against a raw file, loop, qemu-nbd; k: 6.1, 7.2 (instructions'
	@echo '                          counted) or uml; results also to file f; CASES=regex: only those'
	@echo 'make bench-quick          some of it'
	@echo 'make module KERNEL=k      the module for a test kernel: uml, uml-debug, 6.1, 6.12, 7.2'
	@echo
	@echo 'One test: tests/run --kernel uml tests/test_smoke_01.sh; a command: tests/vm/run --help'

export IMAGE HOST

.PHONY: all tool host-module install uninstall packages module test-tools demo check check-all \
	style fuzz crash differ matrix coverage bench bench-quick \
	dkms-install dkms-remove deb rpm clean help
