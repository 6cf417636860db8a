# shellcheck shell=bash disable=SC2154

script() { echo "job { source = '$RAW', target = '$W/new' }" >"$W/job.lua"; }
go() { script && t check "$@" "$W/job.lua"; }
broken() { echo 'error "broken"' >"$W/job.lua" && t check "$@" "$W/job.lua"; }
