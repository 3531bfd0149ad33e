# shellcheck shell=bash
# What the steps of ./dev need: packages, Rust, JDKs, jars and class paths. Installs what is missing, and says so.

as_root() {
  if [ "$(id -u)" = 0 ]; then show "$@"; return; fi
  command -v sudo >/dev/null || fail "needs root for: $*; there is no sudo, so please run it yourself"
  show sudo "$@"
}

# Packages by what shows that they are there: a command, or a file.
BUILD_TOOLS="gradle=gradle"
CLUSTER="redis-server=redis-server haproxy=haproxy"
PEERS="$CLUSTER curl=curl chromium=chromium openssl=openssl nginx=nginx-light tinyproxy=tinyproxy
  node=nodejs python3=python3"
RING="$JAVA_SHARE/ring-core.jar=libring-core-clojure $JAVA_SHARE/compojure.jar=libcompojure-clojure
  $JAVA_SHARE/servlet-api.jar=libservlet-api-java"

RIG="slowhttptest=slowhttptest prlimit=util-linux wrk=wrk haproxy=haproxy"

# need <what=package>...: installs the packages that are missing, all at once.
need() {
  local pair missing=()
  for pair in "$@"; do
    case $pair in
      /*) [ -e "${pair%%=*}" ] || missing+=("${pair#*=}") ;;
      *)  command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}") ;;
    esac
  done
  # Gradle brings no JDK of its own that we can use.
  if [[ " $* " == *" gradle="* ]] && [ -z "$(jdks)" ]; then missing+=(default-jdk-headless); fi
  if [ ${#missing[@]} != 0 ]; then apt_install "${missing[@]}"; fi
}

APT_UPDATED=
apt_install() {
  command -v apt-get >/dev/null || fail "needs $*; this machine has no apt-get, so please install it yourself"
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    fail "needs packages, but you are not root and there is no sudo. Please have this run: apt-get install $*"
  fi
  say "installing $* with apt"
  if [ -z "$APT_UPDATED" ]; then
    as_root apt-get update -qq || fail "apt-get update failed; needed for: $*"
    APT_UPDATED=1
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
    || fail "apt could not install $*"
}

RUST_CHECKED=
need_cargo() {
  if [ -n "$RUST_CHECKED" ]; then return; fi
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null || fail "needs Rust $wanted or later: https://rustup.rs"
  found=$(cargo --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ] \
    || fail "needs Rust $wanted or later, found $found: rustup update stable"
  RUST_CHECKED=1
}

need_component() {
  cargo "$1" --version >/dev/null 2>&1 || show rustup component add "$2"
}

java_major() { sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release" 2>/dev/null; }

# Lines "<major> <home>" of the JDKs from 17 on, oldest first, one per major version.
jdks() {
  local home major
  for home in ${JAVA_HOME:-} /usr/lib/jvm/* /opt/java/* "$HOME"/.sdkman/candidates/java/* \
              "$(dirname "$(dirname "$(readlink -f "$(command -v javac || echo /none/none)")")")"; do
    [ -x "$home/bin/javac" ] || continue
    major=$(java_major "$home")
    if [ "${major:-0}" -ge 17 ]; then echo "$major $home"; fi
  done | sort -n -s -u -k1,1
}

# The JDKs that tests run on: oldest and newest, or the one of HTTPKIT_JDK.
test_jdks() {
  if [ -n "${HTTPKIT_JDK:-}" ]; then
    jdks | grep "^$HTTPKIT_JDK " || fail "HTTPKIT_JDK=$HTTPKIT_JDK: no such JDK found"
  else
    jdks | sed -n '1p;$p' | uniq
  fi
}

build_java() { jdks | sed -n '1s/^[0-9]* //p'; }

gradle_run() {
  need_cargo
  need $BUILD_TOOLS
  # The oldest JDK: Debian's Gradle does not start on newer ones. No daemon: it would keep the environment of its
  # first caller, and outlive us.
  JAVA_HOME=$(build_java) show gradle --no-daemon --console=plain -q "$@" ${HTTPKIT_PROFILE:+-Pprofile=$HTTPKIT_PROFILE}
}

# need_jars <set>...: sets of jars that gradle fetches.
need_jars() {
  local set tasks=()
  for set in "$@"; do
    [ -d "build/test-jars/$set" ] || tasks+=("fetch${set^}")
  done
  if [ ${#tasks[@]} != 0 ]; then gradle_run "${tasks[@]}"; fi
}

# Ring, Compojure and what they stand on: Debian's plain jars.
RING_JARS="ring-core ring-codec compojure clout instaparse medley tools.macro commons-io commons-fileupload
  commons-codec crypto-random crypto-equality clj-time joda-time servlet-api"

jars_of() { printf '%s:' build/test-jars/"$1"/*.jar; }

# classpath_of <clojure9|clojure12>: the checkout, its tests, Clojure and Ring.
classpath_of() {
  local name path=clojure:build/classes/java/main:build/native:tests/clojure:tests/ring-websocket:tests/demo:
  path+=$(jars_of "$1")
  for name in $RING_JARS; do path+=$JAVA_SHARE/$name.jar:; done
  printf '%s\n' "${path%:}"
}

# What a JDK from 24 on asks of callers of native code.
NATIVE_ACCESS=--enable-native-access=ALL-UNNAMED

# java_run <jdk home> <arguments>. The class path comes in CLASSPATH, which keeps the command that is shown readable.
java_run() {
  local home=$1; shift
  show "$home/bin/java" $NATIVE_ACCESS "$@"
}

# The same in place of this script: a signal that ends the script then ends the program.
java_exec() {
  local home=$1; shift
  show exec "$home/bin/java" $NATIVE_ACCESS "$@"
}

# languages <JDKs>: the language of each run. The newest of several JDKs speaks Turkish, where I and i are no pair:
# a letter case that is changed without a locale shows.
languages() {
  local i
  for ((i = 1; i < $1; i++)); do echo "${HTTPKIT_LANGUAGE:-en}"; done
  if [ "$1" -gt 1 ]; then echo "${HTTPKIT_LANGUAGE:-tr}"; else echo "${HTTPKIT_LANGUAGE:-en}"; fi
}

# on_each_jdk <arguments of java>; fails if one run fails, after all have run. The property says which run is the last.
on_each_jdk() {
  local major home language found newest status=0
  found=$(test_jdks) || return 1
  while read -r major home language <&3; do
    say "on JDK $major, language $language"
    newest=false
    if [ "$major $home" = "$(tail -n 1 <<<"$found")" ]; then newest=true; fi
    java_run "$home" -Duser.language="$language" -Dhttpkit.newest.jdk=$newest "$@" || status=1
  done 3< <(paste -d' ' <(echo "$found") <(languages "$(wc -l <<<"$found")"))
  return $status
}

# on_newest_jdk <arguments of java>: for what is not repeated on another JDK.
on_newest_jdk() {
  local found
  found=$(test_jdks) || return 1
  java_run "$(tail -n 1 <<<"$found" | cut -d' ' -f2-)" "$@"
}
