# Options of what makes images. The command's file defines `fact FILTER OPTION...`: of an image made
# with them from something that can be packed; and SOURCE, of several chunks of 128K.
# shellcheck shell=bash disable=SC2034,SC2154

opt_chunk_size() { [ "$(fact .chunk_bytes --block-size 64K --chunk-size 128K)" = 131072 ]; }
opt_block_size() { [ "$(fact .block_bytes --block-size 64K)" = 65536 ]; }
opt_level() {
	local low high level
	low=$(fact .stored_bytes --level 1)
	read -r high level < <(fact '"\(.stored_bytes) \(.head.settings.level)"' --level 15)
	[ "$high" -lt "$low" ] && [ "$level" = 15 ]
}
opt_hash() { [ "$(fact .hash --hash sha256)" = sha256 ]; }
opt_created() { [ "$(fact .created_s --created 2001-02-03T04:05:06Z)" = 981173106 ]; }
opt_write_through() {
	local lazy
	need_strace || return
	traced -e trace=fdatasync -- $CMD -q --block-size 64K --chunk-size 128K "$SOURCE" "$W/a"
	lazy=$(grep -c 'fdatasync(' "$W/trace")
	traced -e trace=fdatasync -- $CMD -q --block-size 64K --chunk-size 128K "$SOURCE" "$W/b" \
		--write-through
	[ "$(grep -c 'fdatasync(' "$W/trace")" -gt "$lazy" ]
}
