#!/usr/bin/env bash
# Builds, shows and tests Felloe on a bare Debian 12 and later.
#
#   ./build.sh          build/felloe and the images
#   ./build.sh demo     build, and run the demonstration network (qemu/labs/dmvpn-phase3)
#   ./build.sh test     all tests, with the race detector, and boots of the images
#   ./build.sh interop  everything against strongSwan, BIRD, FRR, libreswan and the Linux kernel; writes docs/interop.md
#   ./build.sh soak     50 FlexVPN spokes on three hubs that are killed in random order, for ten minutes
#   ./build.sh bench    what a packet costs
#   ./build.sh fuzz     every fuzz target for a while (./build.sh fuzz 5m)
#   ./build.sh clean    remove what was built, but not what was downloaded
#
# What is missing is installed from Debian's packages by name (as root, or with sudo). The Go toolchain that go.mod names
# comes through the Go module proxy when the machine has none.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

start=$SECONDS
say() { printf '== %s\n' "$*"; }
die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

# need PACKAGE...: installs those that are missing.
need() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "not root; install first: apt-get install --no-install-recommends ${missing[*]}"
    root=(sudo)
  fi
  say "installing ${missing[*]}"
  local log; log=$(mktemp)
  refresh_lists "${root[@]}"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; rm -f "$log"; die "cannot install ${missing[*]}"; }
  rm -f "$log"
}

# need_quietly PACKAGE...: the same for daemons: none of them is started on this machine. Peers run only inside labs.
need_quietly() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  fi
  need "$@"
)

# refresh_lists [sudo]: fetches the package lists once a run.
lists_fresh=
refresh_lists() {
  [ -z "$lists_fresh" ] || return 0
  "$@" apt-get -qq update >/dev/null 2>&1 || say "package lists could not be fetched; going on with those that are there"
  lists_fresh=1
}

# find_go: sets GO to a Go that is, or fetches by itself, the toolchain of go.mod.
find_go() {
  local want g v
  want=$(awk '$1 == "go" {print $2; exit}' go.mod)
  for g in "${GO:-}" "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go; do
    [ -n "$g" ] && [ -x "$g" ] || continue
    v=$("$g" env GOVERSION 2>/dev/null || (cd / && "$g" env GOVERSION 2>/dev/null) || true); v=${v#go}
    [ -n "$v" ] || continue
    if newer "$v" "$want"; then GO=$g; return; fi
    # Since 1.21 a Go command fetches the toolchain that go.mod names.
    if newer "$v" 1.21; then GO=$g; export GOTOOLCHAIN=auto; return; fi
  done
  # Older ones can fetch it as the module that it is; the checksum database vouches for it like for any other.
  need golang-go ca-certificates
  local tool=golang.org/toolchain@v0.0.1-go$want.linux-amd64 dir old
  old=$(command -v go)
  if v=$(cd / && go env GOVERSION); newer "${v#go}" 1.21; then GO=$old; export GOTOOLCHAIN=auto; return; fi
  say "fetching the Go $want toolchain"
  dir=$(cd / && GO111MODULE=on GOFLAGS=-mod=mod "$old" mod download -json "$tool" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -d "$dir" ] || die "cannot fetch $tool through the Go module proxy"
  chmod -R u+x "$dir/bin" "$dir/pkg/tool"
  GO=$dir/bin/go
}

# newer A B: whether version A is B or later.
newer() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

version() {
  git describe --tags --always --dirty 2>/dev/null || echo unversioned
}

build() {
  need ca-certificates
  find_go
  mkdir -p build
  say "building build/felloe with $("$GO" env GOVERSION)"
  CGO_ENABLED=0 GOOS=linux GOARCH=amd64 "$GO" build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -X main.version=$(version)" -o build/felloe ./cmd/felloe \
    2> >(grep -v '^go: downloading' >&2 || true)
  # The images are made anew only when something in them is.
  local sum; sum=$(cat build/felloe $(find build/cache -name "*.deb" 2>/dev/null | sort) | sha256sum)
  if [ -f build/felloe.qcow2 ] && [ "$(cat build/.images 2>/dev/null)" = "$sum" ]; then return; fi
  say "building the images"
  rm -f build/.images # whatever becomes of this, the images are no longer what it says
  ls build/cache/*.deb >/dev/null 2>&1 || refresh_lists $([ "$(id -u)" = 0 ] || echo sudo)
  build/felloe image build -o build
  cat build/felloe $(find build/cache -name "*.deb" 2>/dev/null | sort) | sha256sum >build/.images
}

demo() {
  build
  need qemu-system-x86 tshark
  say "the demonstration network (captures, consoles and keys go to build/demo)"
  rm -rf build/demo
  build/felloe lab run qemu/labs/dmvpn-phase3/lab.toml -captures build/demo -logs build/demo
  say "every byte of the underlay's captures, and what tshark reads with the lab's keys"
  CGO_ENABLED=0 "$GO" run ./tests/wire/wirecheck -clear 10.10.10.0/24,192.168.11.0/24,192.168.22.0/24,192.168.33.0/24 \
    -keys build/demo/keys -hub 172.16.1.1 build/demo/wan*.pcapng
  say "done after $((SECONDS - start)) s"
}

run_tests() {
  need git gcc libc6-dev ca-certificates qemu-system-x86 ovmf tshark iproute2 ethtool
  [ "$(id -u)" = 0 ] || die "the tests make network namespaces: run them as root"
  need_quietly procps iputils-ping charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins \
    libstrongswan-extra-plugins bird2 frr
  build
  say "formatting"
  local bad; bad=$("$(dirname "$GO")"/gofmt -l $(git ls-files '*.go') 2>/dev/null || gofmt -l $(git ls-files '*.go'))
  [ -z "$bad" ] || die "gofmt would change: $bad"
  say "vet"
  "$GO" vet ./...
  say "tests with the race detector"
  export FELLOE_IMAGES=$PWD/build CGO_ENABLED=1
  local log=build/test.log
  "$GO" test -race -p 2 -timeout 14m ./... | grep --line-buffered -v '\[no test files\]' | tee "$log" || once_more "$log"
  say "the short set against software of others"
  CGO_ENABLED=0 "$GO" run ./tests/interop -short -felloe build/felloe
  say "all tests passed after $((SECONDS - start)) s"
}

# once_more LOG: whole networks run in real time, and one whose routers got no processor for a second may lose a packet that it
# should not. So what failed of them is run again, one test at a time, once. A race or a panic is final, and so are many failures.
once_more() {
  local pkg path again
  ! grep -Eq 'WARNING: DATA RACE|^panic:|^fatal error:|\[(build|setup) failed\]' "$1" || die "tests failed"
  # The names of failed tests stand before the line of their package; of a test and its subtests the latter are run.
  again=$(awk '$1 == "---" && $2 == "FAIL:" {n[$3]; up = $3; while (sub(/\/[^\/]*$/, "", up)) parent[up]}
    $1 == "ok" {delete n; delete parent}
    $1 == "FAIL" && NF > 1 {some = 0; for (t in n) if (!(t in parent)) {print $2, t; some = 1}; if (!some) print $2, "-"; delete n; delete parent}' "$1")
  [ -n "$again" ] && [ "$(wc -l <<<"$again")" -le 6 ] || die "tests failed"
  while read -r pkg path; do
    case $pkg:$path in *:-) die "$pkg failed" ;; felloe/boot:* | felloe/qemu:* | felloe/routing/bgp/gobgp:* | felloe/tests/scenario:*) ;; *) die "$pkg failed: $path" ;; esac
    say "once more, alone: $pkg $path"
    "$GO" test -race -count=1 -timeout 5m -run "^${path//\//\$/^}\$" "$pkg" </dev/null | tee "$1.again" || die "$pkg failed twice: $path"
    ! grep -q 'no tests to run' "$1.again" || die "$pkg failed: $path, and there is no way to run that alone"
  done <<<"$again"
}

# interop [ARGUMENT...]: the whole matrix; with arguments (-only PATTERN, -list, -v …) a part of it, and no document.
interop() {
  need git ca-certificates
  [ "$(id -u)" = 0 ] || die "it makes network namespaces: run it as root"
  build
  if [ $# -gt 0 ]; then "$GO" run ./tests/interop -felloe build/felloe "$@"; return; fi
  "$GO" run ./tests/interop -felloe build/felloe -docs docs/interop.md
  say "done after $((SECONDS - start)) s; docs/interop.md holds the matrix"
}

# soak [ARGUMENT...]: -spokes, -hubs, -for, -seed, -keep, -memory, -profile.
soak() {
  find_go
  "$GO" run ./tests/soak "$@"
}

bench() {
  find_go
  "$GO" run ./tests/bench "$@"
}

# fuzz [TIME [PATTERN]]: every fuzz target whose package and name match, one after the other, TIME each.
fuzz() {
  find_go
  local time=${1:-5m} pattern=${2:-.} list pkg name log failed=0 n=0
  log=$(mktemp)
  list=$(git grep -o -E '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sed 's#/[^/]*_test.go:func # #')
  while read -r pkg name; do
    grep -Eq "$pattern" <<<"./$pkg:$name" || continue
    if "$GO" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5x -timeout 0 "./$pkg" </dev/null >"$log" 2>&1; then
      printf 'clean   %-60s %s\n' "$pkg $name" "$(grep -o 'execs: [0-9]*' "$log" | tail -1)"
      n=$((n + 1))
    else
      printf 'FAILED  %s %s\n' "$pkg" "$name"; tail -n 30 "$log"; failed=$((failed + 1))
    fi
  done <<<"$list"
  rm -f "$log"
  say "$n passed, $failed failed"
  [ $failed = 0 ]
}

case ${1:-build} in
  build) build; say "built after $((SECONDS - start)) s: $(cd build && ls felloe felloe.vmlinuz felloe.initrd felloe.qcow2 | tr '\n' ' ')" ;;
  demo) demo ;;
  test) run_tests ;;
  interop) shift; interop "$@" ;;
  soak) shift; soak "$@" ;;
  bench) shift; bench "$@" ;;
  fuzz) shift; fuzz "$@" ;;
  clean) find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} + 2>/dev/null || true ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
