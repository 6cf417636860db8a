# A small machine in an emulator, for the tests that need what the running kernel may not have
# (device mapper, nbd, file systems), or a machine that is switched off. Sourced after lib.sh.
#
#   . "$(dirname "$0")/vm.sh"
#   vm_program dmsetup mkfs.ext4
#   vm_module dm-mod dm-flakey
#   vm_requires                         # skips the file, with the reason, where it can not be
#   truncate -s 64M "$TMP/a"
#   vm_run 'a failing disk' - "$TMP/a" <<'VM'
#   check 'mkfs' mkfs.ext4 -q /dev/vda
#   VM
#   done_testing
#
# The script is bash with lib.sh, as tests are here: the same checks, $TMP, $IMGTOOL, cleanup. Its
# cases become cases of the file, and a machine that does not come to its end is a failed one. The
# first drive is /dev/vda, and so on. A boot takes 3 to 10 seconds: group what belongs together.
#
# The kernel is Debian's linux-image-6.12*-cloud-amd64, fetched by apt-get download and unpacked
# into build/vm, never installed. It has dm-*, LVM's targets, nbd, scsi_debug, null_blk, ext4, XFS,
# Btrfs, vfat, exFAT and ntfs3; `vm_kernel amd64` before vm_requires takes the larger one, which has
# F2FS and 9p too. No kvm: it may be there and hang.
# shellcheck shell=bash

VM_CACHE=${VM_CACHE:-$TOP/build/vm}
vm_flavour=cloud-amd64
vm_memory=768
vm_programs=(bash stty mount umount losetup blkid blockdev findmnt modprobe dmesg ip sed grep awk
	cmp diff find tar jq)
vm_modules=(virtio_pci virtio_blk crc32c_generic)
vm_files=()
vm_network=()
VM_PID=
VM_LOG=

# vm_kernel FLAVOUR: cloud-amd64, or amd64
vm_kernel() { vm_flavour=$1; }

# vm_ram MIB
vm_ram() { vm_memory=$1; }

# vm_program NAME...: the host's programs, with their shared libraries. Coreutils, bash, busybox's
# applets and imgtool are there anyhow.
vm_program() { vm_programs+=("$@"); }

# vm_module NAME...: loaded in this order before the script begins.
vm_module() { vm_modules+=("$@"); }

# vm_packed_module NAME...: there for the script's own modprobe.
vm_packed_module() { vm_packed+=("$@"); }
vm_packed=()

# vm_file FILE PATH: a file of the host's, or a folder, at a path in the machine
vm_file() { vm_files+=("$1" "$2"); }

# vm_with_network: the machine is 10.0.2.15; 10.0.2.2 is the host's loopback.
vm_with_network() {
	vm_module virtio_net
	vm_network=(-netdev 'user,id=net0' -device 'virtio-net-pci,netdev=net0,romfile=')
}

# Newest of the packages of this flavour that apt knows.
vm_newest_package() {
	apt-cache search --names-only "^linux-image-6\\.12\\.[0-9]+\\+deb12-$vm_flavour\$" |
		cut -d' ' -f1 | sort -V | tail -n 1
}

# Download and unpack the kernel, once. Prints why not.
vm_fetch_kernel() {
	local dir=$VM_CACHE/$vm_flavour package
	mkdir -p "$VM_CACHE"
	exec 9>"$VM_CACHE/lock"
	flock 9
	if [ ! -e "$dir/done" ]; then
		package=$(vm_newest_package)
		if [ -z "$package" ]; then
			echo "apt knows no linux-image-6.12 for $vm_flavour"
			return 1
		fi
		rm -rf "$dir"
		mkdir -p "$dir/deb" "$dir/k"
		if ! { (cd "$dir/deb" && apt-get -q download "$package") &&
			dpkg-deb -x "$dir"/deb/*.deb "$dir/k"; } >"$dir/log" 2>&1; then
			echo "$package can not be downloaded: $(tail -n 1 "$dir/log")"
			return 1
		fi
		rm -r "$dir/deb"
		touch "$dir/done"
	fi
	exec 9>&-
}

# vm_requires: a kernel, an emulator and the programs asked for; skips the file otherwise.
vm_requires() {
	local why
	requires_root
	[ "$(uname -m)" = x86_64 ] || skip 'the emulated machine is an x86_64'
	requires qemu-system-x86_64 busybox cpio modprobe depmod apt-get apt-cache dpkg-deb xz \
		"${vm_programs[@]}"
	why=$(vm_fetch_kernel) || skip "$why"
	vm_kernel_dir=$VM_CACHE/$vm_flavour/k
	vm_release=$(ls "$vm_kernel_dir/lib/modules")
	vm_make_initramfs "$TMP/initramfs"
}

# vm_copy_programs ROOT NAME...
vm_copy_programs() {
	local root=$1 name path lib
	shift
	for name in "$@"; do
		path=$(command -v "$name") || continue
		cp -L --remove-destination "$path" "$root/usr/bin/$(basename "$name")"
		# No library at all is no mistake: a static program, or a script.
		{ ldd "$path" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r lib; do
			[ -e "$root$lib" ] || install -D "$lib" "$root$lib"
		done
	done
}

# vm_copy_modules ROOT: those asked for and what they need, not compressed.
vm_copy_modules() {
	local root=$1 to=$1/lib/modules/$vm_release module file
	mkdir -p "$to"
	cp "$vm_kernel_dir/lib/modules/$vm_release"/modules.{builtin,builtin.modinfo,order} "$to/"
	[ -e "$vm_kernel_dir/lib/modules/$vm_release/modules.dep" ] ||
		depmod -b "$vm_kernel_dir" "$vm_release"
	for module in "${vm_modules[@]}" "${vm_packed[@]}"; do
		modprobe -d "$vm_kernel_dir" -S "$vm_release" --show-depends "$module" ||
			echo "vm: the kernel has no module $module" >&2
	done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r file; do
		module=$to/${file#*"/$vm_release/"}
		mkdir -p "$(dirname "$module")"
		case $file in
		*.xz) xz -dc "$file" >"${module%.xz}" ;;
		*) cp "$file" "$module" ;;
		esac
	done
	depmod -b "$root" "$vm_release"
}

# vm_make_initramfs FILE: everything but the script, which is an archive of its own.
vm_make_initramfs() {
	local root=$TMP/vm.root i
	mkdir -p "$root"/{usr/bin,usr/lib,usr/lib64,proc,sys,dev,tmp,run,etc,mnt,root,vm}
	mkdir -p "$root/tests/root"
	ln -s usr/lib "$root/lib"
	ln -s usr/lib64 "$root/lib64"
	ln -s usr/bin "$root/bin"
	ln -s usr/bin "$root/sbin"
	ln -s bin "$root/usr/sbin"
	ln -s /proc/mounts "$root/etc/mtab"
	echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
	cp "$(command -v busybox)" "$root/usr/bin/busybox"
	for i in $("$root/usr/bin/busybox" --list | grep -vx busybox); do
		ln -s busybox "$root/usr/bin/$i"
	done
	# The real ones replace the applets, whose options differ.
	# shellcheck disable=SC2046
	vm_copy_programs "$root" $(dpkg -L coreutils | grep -E 'bin/[^/]+$') "${vm_programs[@]}" \
		"$IMGTOOL"
	cp "$TESTS_DIR/lib.sh" "$root/tests/"
	install -m 755 "$TESTS_DIR/root/vm/init" "$root/init"
	for ((i = 0; i < ${#vm_files[@]}; i += 2)); do
		mkdir -p "$root$(dirname "${vm_files[i + 1]}")"
		cp -RL "${vm_files[i]}" "$root${vm_files[i + 1]}"
	done
	vm_copy_modules "$root"
	printf '%s\n' "${vm_modules[@]}" >"$root/vm/modules"
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$1"
	rm -rf "$root"
}

# vm_boot SCRIPT [DRIVE...]: start the machine. A script of - is read from stdin. A drive is a raw
# file, or FILE,OPTIONS with qemu's options of -drive (FILE,cache=none,format=raw). Sets VM_PID and
# VM_LOG.
vm_boot() {
	local script=$1 drives=() drive dir=$TMP/vm.script
	shift
	rm -rf "$dir"
	mkdir -p "$dir/tests/root"
	{
		# shellcheck disable=SC2016
		echo '. /tests/lib.sh'
		cat "$script"
		echo
		echo done_testing
	} >"$dir/tests/root/script.sh"
	# The kernel unpacks several archives, one behind the other.
	{
		cat "$TMP/initramfs"
		(cd "$dir" && find . | cpio -o -H newc --quiet)
	} >"$TMP/initramfs.script"
	for drive in "$@"; do
		case $drive in
		*format=*) ;;
		*) drive=$drive,format=raw ;;
		esac
		drives+=(-drive "if=virtio,file=$drive")
	done
	VM_LOG=$TMP/vm.log
	: >"$VM_LOG"
	timeout --kill-after=5 "${VM_SECONDS:-600}" qemu-system-x86_64 -accel tcg -cpu max \
		-m "$vm_memory" -smp 1 -nodefaults -nographic -no-reboot \
		-kernel "$vm_kernel_dir/boot/vmlinuz-$vm_release" -initrd "$TMP/initramfs.script" \
		-append 'console=ttyS0 quiet loglevel=1 panic=-1' -serial "file:$VM_LOG" \
		"${vm_network[@]}" "${drives[@]}" </dev/null >"$TMP/vm.qemu" 2>&1 &
	VM_PID=$!
	cleanup vm_kill
}

# vm_wait_for PATTERN: until the machine has printed such a line. Fails when it ends before.
vm_wait_for() {
	until grep -Eq -e "$1" "$VM_LOG"; do
		kill -0 "$VM_PID" 2>/dev/null || return 1
		sleep 0.1
	done
}

# Switch the machine off at once: what it has not written is lost.
vm_kill() {
	[ -n "$VM_PID" ] || return 0
	# The child of timeout is the machine; a KILL for timeout alone would leave it running.
	pkill -KILL -P "$VM_PID" 2>/dev/null || true
	wait "$VM_PID" 2>/dev/null || true
	VM_PID=
}

# vm_end DESC: wait until the machine is off; its cases become cases here.
vm_end() {
	local desc=$1 line printed=0 planned=none
	wait "$VM_PID" || true
	VM_PID=
	tr -d '\r' <"$VM_LOG" | sed -n '/^VM BEGIN/,/^VM END/p' >"$TMP/vm.tap"
	while IFS= read -r line; do
		case $line in
		'ok '[0-9]*) ok "$desc: ${line#ok * - }" ;;
		'not ok '[0-9]*) nok "$desc: ${line#not ok * - }" ;;
		'1..'[0-9]*)
			planned=${line#1..}
			planned=${planned%% *}
			continue
			;;
		*)
			echo "# ${line#\# }"
			continue
			;;
		esac
		printed=$((printed + 1))
	done <"$TMP/vm.tap"
	if grep -q '^VM END' "$TMP/vm.tap" && [ "$planned" = $printed ]; then
		ok "$desc: the machine came to its end"
	else
		nok "$desc: the machine came to its end" \
			"$printed cases of $planned; its console, and the emulator:
$(tail -n 40 "$VM_LOG" | tr -d '\r\000')
$(tail -n 5 "$TMP/vm.qemu")"
	fi
}

# vm_run DESC SCRIPT [DRIVE...]
vm_run() {
	local desc=$1
	shift
	vm_boot "$@"
	vm_end "$desc"
}
