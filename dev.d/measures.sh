# shellcheck shell=bash
# Steps of ./dev that measure, or run for long: benches, counts, fuzzing, sanitizers, loads with faults.

step_bench() {
  step_jar
  need_jars clojure12 undertow
  if [[ " $* " == *" --tls "* ]]; then need nginx=nginx-light openssl=openssl; fi
  show cargo build --release -p httpkit-load -p httpkit-core --bin httpkit-load --example bare
  jdks | sed -n '1p;$p' | uniq | show benches/run "$@"
}

# How far a count may be from the committed one, in percent.
COUNTS_TOLERANCE=5

# instructions <program> <path> <times>
instructions() {
  local out
  out=$(valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$@" 2>&1) || fail "$out"
  sed -n 's/.*I *refs: *//p' <<<"$out" | tr -d ,
}

# Lines "<path> <count>": instructions of the core. The difference of two runs is free of what a start costs.
count_instructions() {
  local program path few many
  program=$(cargo bench -q -p httpkit-core --bench counts --no-run --message-format=json 2>/dev/null \
    | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
  for path in $("$program"); do
    few=$(instructions "$program" "$path" 200)
    many=$(instructions "$program" "$path" 1200)
    printf '%s\t%d\n' "$path" $(((many - few) / 1000))
  done
}

# The same for bytes that the Java side allocates, from the oldest JDK only: another one has other object layouts.
count_garbage() {
  CLASSPATH=benches/servers:$CLASSPATH java_run "$(build_java)" -XX:TieredStopAtLevel=1 clojure.main -m bench.garbage
}

step_counts() {
  local found=build/counts.tsv
  if ! command -v valgrind >/dev/null && ! (apt_install valgrind); then
    echo "left out: valgrind cannot be installed here"
    return
  fi
  need_cargo
  use_classpath
  show cargo bench -p httpkit-core --bench counts --no-run
  { count_instructions; count_garbage; } > $found
  if [ "${1:-}" = --write ]; then
    show cp $found benches/counts.tsv
    return
  fi
  awk -F'\t' -v most=$COUNTS_TOLERANCE '
    NR == FNR { committed[$1] = $2; next }
    { off = committed[$1] ? 100 * ($2 - committed[$1]) / committed[$1] : 100
      wrong = off > most || off < -most
      printf "%-24s %7d, committed %7d, %+5.1f %%%s\n", $1, $2, committed[$1], off, wrong ? "   WRONG" : ""
      failed += wrong; counted++; delete committed[$1] }
    END { for (gone in committed) { print gone " was not counted"; failed++ }
          exit failed || !counted }' benches/counts.tsv $found \
    || fail "if that is intended: ./dev counts --write, and say why in the commit"
}

# need_nightly [component]: a nightly compiler, which the library does not need.
need_nightly() {
  need_cargo
  cargo +nightly ${1:+"$1"} --version >/dev/null 2>&1 \
    || show rustup toolchain install nightly --profile minimal ${1:+--component "$1,rust-src"}
}

need_fuzzer() {
  need_nightly
  command -v cargo-fuzz >/dev/null || show cargo install --locked cargo-fuzz
}

step_fuzz() {
  need_fuzzer
  local target targets seconds=${2:-60}
  targets=${1:-$(cd rust/core && cargo +nightly fuzz list)}
  for target in $targets; do
    # What it finds goes to its corpus, which is not committed; it begins with the seeds, which are.
    mkdir -p "rust/core/fuzz/corpus/$target"
    (cd rust/core && show cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
      -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=1024 -print_final_stats=1)
  done
}

step_big_upload() {
  use_classpath nginx=nginx-light
  java_run "$(build_java)" clojure.main -m httpkit.big-upload "$@"
}

# Unsafe code and threads of the border that need no JVM, under an interpreter that sees undefined behaviour and races.
# The core has no unsafe code, and its fuzz targets run under AddressSanitizer.
step_miri() {
  need_nightly miri
  # The clock of the machine is read for seeds.
  MIRIFLAGS="-Zmiri-many-seeds=0..${1:-16} -Zmiri-disable-isolation" \
    show cargo +nightly miri test -p httpkit-jni --lib border::
}

# The tests in Rust under AddressSanitizer: code of crates that is unsafe, and C, below all that peers can reach.
step_asan() {
  need_nightly
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  # A build of its own: its flags would make all others begin anew.
  RUSTFLAGS=-Zsanitizer=address show cargo +nightly test --target "$host" --target-dir target/asan \
    -p httpkit-core -p httpkit-jni "$@"
}

step_rig() {
  use_classpath openssl=openssl $RIG
  if [ "${1:-}" = --short ]; then
    on_newest_jdk -Dhttpkit.rig.short=true clojure.main -m httpkit.run httpkit.rig.faults
  else
    on_newest_jdk clojure.main -m httpkit.run httpkit.rig.counted httpkit.rig.faults
  fi
}

step_soak() {
  use_classpath openssl=openssl $RIG
  on_newest_jdk clojure.main -m httpkit.rig.soak "$@"
}

step_drains() {
  use_classpath openssl=openssl nginx=nginx-light $RIG
  on_newest_jdk clojure.main -m httpkit.rig.drains "$@"
}

step_churn() {
  use_classpath
  # A heap that is resident from the start: what grows is outside it.
  java_run "$(build_java)" -Xms256m -Xmx256m -XX:+AlwaysPreTouch clojure.main -m httpkit.soak "$@"
  java_run "$(build_java)" clojure.main -m httpkit.channel-churn "${CHURN_SECONDS:-300}"
}
