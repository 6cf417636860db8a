# imgtool clone: disks in files, without an image between them.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap fdisk sfdisk sgdisk zstd jq e2fsck

out=$TMP/out.img
for kind in gpt dos; do
	disk=$TMP/$kind.img
	make_disk "$disk" $kind 512
	"$IMGTOOL" backup-disk -q --unallocated "$disk" "$TMP/$kind"
	rebuild "$TMP/$kind" "$TMP/want.$kind"
	before=$(sha256sum <"$disk")
	rm -f "$out"
	check "$kind: clone" "$IMGTOOL" clone --verify-after "$disk" "$out"
	check_grep '^  read back: OK' "$TMP/out" "$kind: --verify-after says so"
	same_file "$out" "$TMP/want.$kind" "$kind: what a set of it gives back"
	check_eq "$(sha256sum <"$disk")" "$before" "$kind: R1: the source is as it was"
done
disk=$TMP/gpt.img
want=$TMP/want.gpt
check '--dry-run' "$IMGTOOL" clone --dry-run "$disk" "$TMP/none.img"
check_grep '^would write partition 3 at 62914560, 12\.0 MiB$' "$TMP/out" 'the plan'
check_fails 'nothing is written' test -e "$TMP/none.img" -o -e "$TMP/none.img.partial"
check_status 9 'R8: a file is not replaced' "$IMGTOOL" clone "$disk" "$out"
check_status 9 'R5: the source is not the target' "$IMGTOOL" clone --force "$disk" "$disk"
check_grep 'is the source itself' "$TMP/err" 'why'
check '--force, --from, --to, --new-guids' "$IMGTOOL" clone --force --new-guids --from "$disk" \
	--to "$out"
check_grep 'No problems found' <(sgdisk -v "$out") 'the GPT holds'
ids() { sfdisk -J "$1" | jq -r '.partitiontable | .id, (.partitions[] | .uuid // empty)'; }
check_eq "$(ids "$out" | sort - <(ids "$want") | uniq -d)" '' 'no GUID is an old one'
same_bytes "$out" "$want" $((1 << 20)) $((90 << 20)) 'the content is'
"$IMGTOOL" clone --force --json --parallel 3 --pipeline-depth 7 --max-throughput 500M "$disk" \
	"$out" >"$TMP/events"
check_eq "$(last_progress "$TMP/events" '[.workers, .depth, .max_bytes_per_s]')" \
	'[3,7,524288000]' '--parallel, --pipeline-depth and --max-throughput are in force'
check_status 9 '--grow-last without a table' "$IMGTOOL" clone --grow-last "$TMP/part.ext4" \
	"$TMP/none.img"
check 'a disk without a table' "$IMGTOOL" clone -q --force --verify-after "$TMP/part.ext4" "$out"
check 'its file system is whole' e2fsck -fn "$out"
small() { (trap "" XFSZ && ulimit -f 8000 && exec "$IMGTOOL" clone "$disk" "$TMP/small.img"); }
check_status 6 'a target that is full' small
check_fails 'R7: it does not get its name' test -e "$TMP/small.img"
check_status 2 '--free for a file' "$IMGTOOL" clone --force --free zero "$disk" "$out"
check_status 2 '--undo-dir for a file' "$IMGTOOL" clone --force --undo-dir "$TMP" "$disk" "$out"
make_disk "$TMP/4k.img" gpt 4096
check '--sector-size' "$IMGTOOL" clone -q --force --sector-size 4096 "$TMP/4k.img" "$out"
check_eq "$(dump_of "$out" 4096 | sed "s|${out##*/}|x|")" \
	"$(dump_of "$TMP/4k.img" 4096 | sed 's|4k\.img|x|')" 'the same table'

done_testing
