# Hostile images (SECURITY.md): bombs.py makes them, runs the commands that read an image on each,
# and says which of them was not refused, and quickly, and within 64 MiB.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires python3 xxhsum

src=$TMP/src
img=$TMP/good.zst
# Zeros, noise, text: every kind of frame but free ones.
{
	head -c 150000 /dev/urandom
	head -c 400000 /dev/zero
	seq 50000
	head -c 200123 /dev/urandom
} >"$src"
image_quietly --chunk-size 256K --block-size 64K "$src" "$img"
mkdir "$TMP/bombs"
# Sanitizers have their own idea of memory.
limit=64
[ -z "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ] || limit=0
python3 "$TESTS_DIR/cli/bombs.py" make "$img" "$TMP/bombs"
python3 "$TESTS_DIR/cli/bombs.py" run "$IMGTOOL" "$src" "$img" "$TMP/bombs" $limit >"$TMP/verdicts"
while read -r verdict name; do
	if [ "$verdict" = ok ]; then
		ok "refused: $name"
	else
		nok "refused: ${name%%: *}" "$name"
	fi
done <"$TMP/verdicts"
[ "$(wc -l <"$TMP/verdicts")" -gt 60 ] && ok 'all were tried' || nok 'all were tried'

done_testing
