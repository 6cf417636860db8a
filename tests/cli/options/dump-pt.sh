# shellcheck shell=bash disable=SC2154

go() { t dump-pt "$DISK" "$@"; }
broken() { t dump-pt "$W/none" "$@"; }

opt_device() { says 'name="second"' t dump-pt --device "$DISK"; }
opt_sector_size() {
	says 'start= *256, size= *1024' t dump-pt "$DISK_4K" --sector-size 4096
}
