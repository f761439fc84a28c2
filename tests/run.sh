#!/bin/sh
# Runs every test program given, in turn, and sums up what they say. The last line is
# "N passed, N failed, N skipped" over all of them; the status is 0 only where none failed.
export KVETCH_TEST_DATA="${KVETCH_TEST_DATA:-../shared/data}"
export LC_ALL=C.UTF-8
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0
for t in "$@"; do
    echo "== $(basename "$t")"
    "$t" >"$log" 2>&1
    status=$?
    p=$(grep -c '^\[       OK \]' "$log")
    s=$(grep -c '^\[  SKIPPED \] .' "$log")
    f=$(grep -cE '^\[  (FAILED|ERROR)  ?\] [^0-9]' "$log")
    # cmocka names a skipped or failed test twice, once in the summary at its end
    s=$(sed -n 's/^\[  SKIPPED \] \([0-9][0-9]*\) test.*/\1/p' "$log" | tail -n 1); s=${s:-0}
    f=$(sed -n 's/^ \([0-9][0-9]*\) FAILED TEST(S)/\1/p' "$log" | tail -n 1); f=${f:-0}
    if [ $status -ne 0 ] && [ "$f" -eq 0 ]; then f=1; echo "   $t ended with status $status outside a test"; fi
    if [ "$f" -ne 0 ]; then cat "$log"; else grep -E '^\[  SKIPPED \] [^0-9]' "$log" | sort -u; fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
