# shellcheck shell=bash
# What a log of tests says, for the summary of ./dev test.

# totals <log>: "passed failed" of one step, from the closing lines of its test runs. Cargo's has no other form on the
# stable toolchain; those of `httpkit.run` are ours.
totals() {
  awk '/^test result:/ { passed += $4; failed += $6 }
       /^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3 }
       END { print passed + 0, failed + 0 }' "$1"
}

# failures <step> <log>: what failed, for the summary; the whole is far above it by then. Of a place that fails often,
# the first time and the count. `head` must not cut this off: grep would end with an error, and nothing would be told.
failures() {
  awk -v step="$1" '
    /^(FAIL|ERROR) in |^ERROR loading |^failed in |^test .* FAILED$|^---- .* ----$/ {
      left = times[$0]++ ? 0 : 8
      if (left) order[++n] = $0 }
    left { text[order[n]] = text[order[n]] $0 "\n"; left-- }
    END { if (n) print "--- failed in " step
          for (i = 1; i <= n && i <= 15; i++) {
            printf "%s", text[order[i]]
            if (times[order[i]] > 1) print "... " times[order[i]] " times" }
          if (n > 15) print "... and at " n - 15 " other places" }' "$2" | cut -c 1-1000
}
