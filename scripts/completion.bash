# Bash completion of imgtool. Made by scripts/gen-docs.
# shellcheck shell=bash disable=SC2207

_imgtool() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' words='' i

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	if [ -z "$command" ]; then
		words="list map image verify info explain restore export-raw export-range repair backup-disk verify-set dump-pt restore-set restore-physical clone mount serve-nbd serve-proxy run check repl help --help --verbose --version"
		COMPREPLY=($(compgen -W "$words" -- "$current"))
		return
	fi
	case $command:$previous in
	help:help) [[ $current == -* ]] || words="list map image verify info explain restore export-raw export-range repair backup-disk verify-set dump-pt restore-set restore-physical clone mount serve-nbd serve-proxy run check repl help" ;;
	map:--why) words="free zero rule bad" ;;
	image:--hash) words="xxh3-128 sha256" ;;
	image:--verify) words="none quick full" ;;
	image:--on-read-error) words="abort zero" ;;
	explain:--why) words="free zero rule bad" ;;
	restore:--on-read-error) words="abort zero" ;;
	restore:--free) words="leave discard zero" ;;
	export-raw:--on-read-error) words="abort zero" ;;
	export-range:--on-read-error) words="abort zero" ;;
	backup-disk:--hash) words="xxh3-128 sha256" ;;
	backup-disk:--verify) words="none quick full" ;;
	backup-disk:--on-read-error) words="abort zero" ;;
	restore-set:--on-read-error) words="abort zero" ;;
	restore-physical:--on-read-error) words="abort zero" ;;
	restore-physical:--free) words="leave discard zero" ;;
	clone:--on-read-error) words="abort zero" ;;
	clone:--free) words="leave discard zero" ;;
	serve-nbd:--tls) words="off on require" ;;
	*:--block-size | *:--cache-size | *:--chunk-size | *:--created | *:--device | *:--exclude | *:--from | *:--host | *:--in | *:--length | *:--level | *:--log-file | *:--max-clients | *:--max-throughput | *:--mount-point | *:--name | *:--offset | *:--out | *:--out-dir | *:--out-raw | *:--parallel | *:--partition | *:--pipe | *:--pipeline-depth | *:--port | *:--read-ahead | *:--read-retries | *:--sample | *:--sector-size | *:--seed | *:--set-dir | *:--size | *:--stall-timeout | *:--timeout | *:--tls-certificates | *:--tls-psk | *:--to | *:--undo-dir | *:--uuid | *:--volumes | *:--yes-destroy)
		return ;; # a file, or what only the user knows
	esac
	if [ -n "$words" ]; then
		COMPREPLY=($(compgen -W "$words" -- "$current"))
		return
	fi
	# Operands are files: bash's own completion.
	[[ $current == -* ]] || return
	case $command in
	list) words="--json --verbose --help" ;;
	map) words="--device --exclude --offset --length --why --totals --json --verbose --help" ;;
	image) words="--device --out --name --used-only --all-blocks --exclude --chunk-size --block-size --level --hash --verify --parallel --pipeline-depth --max-throughput --stall-timeout --write-through --on-read-error --read-retries --resume --force --dry-run --auto-tune --created --uuid --volumes --out-dir --json --quiet --log-file --verbose --help" ;;
	verify) words="--in --quick --sample --seed --parallel --pipeline-depth --max-throughput --stall-timeout --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	info) words="--in --chunks --json --verbose --help" ;;
	explain) words="--in --offset --length --why --totals --json --verbose --help" ;;
	restore) words="--in --set-dir --out --partition --parallel --pipeline-depth --max-throughput --stall-timeout --on-read-error --free --only-changed --verify-after --undo-dir --yes-destroy --force --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	export-raw) words="--in --out --offset --length --parallel --pipeline-depth --max-throughput --stall-timeout --on-read-error --force --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	export-range) words="--in --offset --length --on-read-error --json --log-file --verbose --help" ;;
	repair) words="--in --out --force --dry-run --json --quiet --log-file --verbose --help" ;;
	backup-disk) words="--device --set-dir --sector-size --unallocated --used-only --all-blocks --exclude --chunk-size --block-size --level --hash --verify --parallel --pipeline-depth --max-throughput --stall-timeout --write-through --on-read-error --read-retries --resume --force --dry-run --auto-tune --created --uuid --json --quiet --log-file --verbose --help" ;;
	verify-set) words="--set-dir --quick --sample --seed --parallel --pipeline-depth --max-throughput --stall-timeout --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	dump-pt) words="--device --sector-size --json --verbose --help" ;;
	restore-set) words="--set-dir --out-raw --size --parallel --pipeline-depth --max-throughput --stall-timeout --on-read-error --verify-after --new-guids --grow-last --force --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	restore-physical) words="--set-dir --device --parallel --pipeline-depth --max-throughput --stall-timeout --on-read-error --free --only-changed --verify-after --new-guids --grow-last --undo-dir --yes-destroy --force --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	clone) words="--from --to --sector-size --parallel --pipeline-depth --max-throughput --stall-timeout --on-read-error --read-retries --free --verify-after --new-guids --grow-last --undo-dir --yes-destroy --force --dry-run --auto-tune --json --quiet --log-file --verbose --help" ;;
	mount) words="--in --set-dir --partition --offset --length --cache-size --read-ahead --mount-point --files --allow-other --json --quiet --log-file --verbose --help" ;;
	serve-nbd) words="--in --set-dir --partition --offset --length --cache-size --read-ahead --host --port --pipe --cow --tls --tls-certificates --tls-psk --tls-verify-peer --json --quiet --log-file --verbose --help" ;;
	serve-proxy) words="--in --set-dir --partition --offset --length --cache-size --read-ahead --host --port --pipe --max-clients --timeout --json --quiet --log-file --verbose --help" ;;
	run) words="--dry-run --json --quiet --log-file --verbose --help" ;;
	check) words="--json --quiet --log-file --verbose --help" ;;
	repl) words="--verbose --help" ;;
	help) words="--verbose --help" ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -o bashdefault -F _imgtool imgtool
