# shellcheck shell=bash
# Steps of ./dev that make releases: libraries for other platforms, their inspection, the bundle.

# Oldest glibc that the distributed libraries run on: that of CentOS 7, where most others draw the line too.
GLIBC_FLOOR=2.17
DIST_TARGETS="x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-musl
  aarch64-apple-darwin x86_64-apple-darwin x86_64-pc-windows-gnu"
# The oldest macOS: that of the first Macs with ARM.
MACOS_FLOOR=11.0
DIST_JAR_BYTES=12000000

need_zigbuild() {
  if [ ! -x build/tools/bin/cargo-zigbuild ]; then
    need python3=python3
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    say "installing cargo-zigbuild and zig into build/tools"
    show python3 -m venv build/tools
    show build/tools/bin/pip install --quiet cargo-zigbuild ziglang
  fi
  PATH=$PWD/build/tools/bin:$PATH
  export CARGO_ZIGBUILD_PYTHON_PATH=$PWD/rust/fold
}

# The code of one target for each operating system that this machine does not run; nothing is linked.
PORTS="aarch64-apple-darwin x86_64-pc-windows-gnu"

step_ports() {
  need_cargo
  local target
  for target in $PORTS; do
    if ! show rustup target add "$target"; then
      echo "left out: this machine's Rust has no $target"
      return
    fi
  done
  # Only for the C compiler that some crates' build scripts run.
  if ! (need_zigbuild); then
    echo "left out: cargo-zigbuild cannot be installed here"
    return
  fi
  need_zigbuild
  for target in $PORTS; do
    RUSTFLAGS="-D warnings" show cargo-zigbuild check --target "$target" -p httpkit-jni --locked
  done
}

# Its directory in the jar.
platform_of() {
  local os
  case $1 in
    *linux*)  os=linux ;;
    *darwin*) os=macos ;;
    *)        os=windows ;;
  esac
  case $1 in
    *musl) echo "$os-${1%%-*}-musl" ;;
    *)     echo "$os-${1%%-*}" ;;
  esac
}

# One library, into build/native, inspected.
dist_one() {
  local target=$1 platform
  platform=$(platform_of "$target")
  show rustup target add "$target" || return 1
  case $target in
    # The C library comes from the system, as a library that Java loads needs it.
    *musl)   RUSTFLAGS="-C target-feature=-crt-static" gradle_run nativeIndex -PcargoTarget="$target" ;;
    *linux*) gradle_run nativeIndex -PcargoTarget="$target.$GLIBC_FLOOR" ;;
    *darwin) MACOSX_DEPLOYMENT_TARGET=$MACOS_FLOOR RUSTFLAGS="-C link-arg=-Wl,-install_name,@rpath/libhttpkit.dylib" \
               gradle_run nativeIndex -PcargoTarget="$target" ;;
    *)       gradle_run nativeIndex -PcargoTarget="$target" ;;
  esac || return 1
  show python3 tests/platforms/inspect.py build/native/native/"$platform"/* "$platform"
}

# A target that fails is left out of the jar, and makes the whole fail at its end.
# shellcheck disable=SC2120 # `main` passes arguments.
step_dist() {
  # shellcheck disable=SC2086
  [ $# -gt 0 ] || set -- $DIST_TARGETS
  need_cargo
  need_zigbuild
  local target jar failed=() log=$LOGS/dist.log
  mkdir -p $LOGS
  rm -rf build/native
  for target; do
    say "$target"
    if ! dist_one "$target" 2>&1 | tee $log; then
      failed+=("$target: $(grep -vE '^ *\$|^$' $log | grep -m1 -E '^error|: it |FAILURE' || tail -n 1 $log)")
      rm -rf "build/native/native/$(platform_of "$target")"
    fi
  done
  if [ -d build/native/native ]; then
    gradle_run jar -PnativesBuilt
    jar=build/libs/http-kit-$(version).jar
    ls -l build/native/native/*/* "$jar" >&2
    [ "$(stat -c %s "$jar")" -le $DIST_JAR_BYTES ] || failed+=("$jar is larger than $DIST_JAR_BYTES bytes")
  fi
  if [ ${#failed[@]} != 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    return 1
  fi
}

# What emulates other platforms; where apt has none of it, that platform is not run.
EMULATORS="/usr/lib/wine/wine64=wine64 /usr/x86_64-w64-mingw32/lib/zlib1.dll=libz-mingw-w64 qemu-aarch64=qemu-user
  /usr/aarch64-linux-gnu/lib/libc.so.6=libc6-arm64-cross musl-gcc=musl-tools"

step_platforms() {
  [ -d build/native/native ] || fail "./dev dist makes the libraries that this step runs"
  need $BUILD_TOOLS openssl=openssl
  (need $EMULATORS) || say "some emulators are missing"
  need_zigbuild
  gradle_run classes
  need_jars clojure12
  show env JAVA="$(build_java)/bin/java" tests/platforms/run
}

# This machine's library, from a copy of the sources in another directory too.
step_reproducible() {
  step_jar
  local copy=build/elsewhere/http-kit library
  library=$(basename "$(dirname build/native/native/*/*)")
  rm -rf build/elsewhere
  mkdir -p $copy
  git ls-files -z | xargs -0 cp --parents -t $copy
  # Without .git, the date must be told.
  (cd $copy && SOURCE_DATE_EPOCH=$(git -C "$OLDPWD" log -1 --format=%ct) ./dev jar)
  cmp build/native/native/"$library"/* $copy/build/native/native/"$library"/* || fail "the libraries of two directories differ"
  cmp build/libs/*.jar $copy/build/libs/*.jar || fail "the jars of two directories differ"
  echo "the jars of two directories are the same, byte by byte"
}

# publish-bundle [--here] [arguments of gradle]
step_publish_bundle() {
  local natives=()
  if [ "${1:-}" = --here ]; then
    shift
  else
    step_dist
    natives=(-PnativesBuilt)
  fi
  gradle_run repository "${natives[@]}" "$@"
  if [ -n "${HTTPKIT_GPG_KEY:-}" ]; then sign_bundle; fi
  find build/bundle -type f ! -name '*.md5' ! -name '*.sha*' ! -name '*.asc' -exec ls -l {} + >&2
}

# A signature for each file but the checksums, in the bundle and in the repository.
sign_bundle() {
  need gpg=gpg
  local file
  for file in build/bundle/*; do
    case $file in *.md5|*.sha1|*.sha256|*.sha512|*.asc) continue ;; esac
    show gpg --batch --yes --armor --local-user "$HTTPKIT_GPG_KEY" --detach-sign "$file"
    cp "$file.asc" "build/repo/http-kit/http-kit/$(version)/"
  done
}
