#!/bin/bash
# Installs what building needs, from the distribution.  --check only tells whether all is there.
set -eu
packages="gcc make git libc6-dev libdnnl-dev libjansson-dev libsqlite3-dev libyaml-dev libpcre2-dev
          libutf8proc-dev zlib1g-dev libsnappy-dev libzstd-dev liblz4-dev libxxhash-dev
          libssl-dev libcurl4-openssl-dev libcmocka-dev"
if [ "${1:-}" = --check ]; then
    read -ra cc <<<"${CC:-gcc}"     # may be two words, as in CC="ccache gcc"
    command -v "${cc[0]}" >/dev/null || exit 1
    for h in dnnl.h jansson.h sqlite3.h yaml.h pcre2.h utf8proc.h zlib.h snappy-c.h zstd.h lz4.h xxhash.h curl/curl.h openssl/sha.h; do
        extra=""; [ $h = pcre2.h ] && extra="-DPCRE2_CODE_UNIT_WIDTH=8"
        echo "#include <$h>" | "${cc[@]}" $extra -fsyntax-only -x c - 2>/dev/null || exit 1
    done
    printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <cmocka.h>\n' |
        "${cc[@]}" -fsyntax-only -x c - 2>/dev/null || exit 1
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "rlaif builds on Debian 12 or newer with one command; elsewhere install the equivalents of:" >&2
    echo "  $packages" | tr -s ' \n' ' ' >&2
    echo >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "not root and no sudo: as root run apt-get install" $packages >&2; exit 1; }
    sudo=sudo
fi
echo "installing:" $packages
export DEBIAN_FRONTEND=noninteractive
# Another installation may be under way: wait for it.
wait="-o DPkg::Lock::Timeout=120"
$sudo apt-get update -qq $wait
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $wait --no-install-recommends $packages >/dev/null
