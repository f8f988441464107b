#!/bin/sh
# embed.sh HOW SOURCE APP WORK: builds and runs the project APP in WORK, with the library at SOURCE as a Meson
# subproject (HOW is "subproject") or installed and found by pkg-config (HOW is "installed").
set -eu
how=$1 source=$2 app=$3 work=$4
meson=${MESON:-meson}

rm -rf "$work"
mkdir -p "$work"
cp -R "$app" "$work/app"

if [ "$how" = subproject ]; then
  mkdir -p "$work/app/subprojects"
  ln -s "$source" "$work/app/subprojects/dpgather"
else
  # shellcheck disable=SC2086 # $meson may be a command with arguments
  $meson setup "$work/library" "$source" --prefix "$work/prefix" -Dtests=disabled -Dexamples=disabled
  $meson install -C "$work/library"
  rm -rf "$work/library"
  export PKG_CONFIG_PATH="$work/prefix/share/pkgconfig"
  test -f "$work/prefix/include/dpgather/dpgather.hpp"
  test "$(pkg-config --modversion dpgather)" = "$(sed -n "s/^  version: '\(.*\)',$/\1/p" "$source/meson.build" | head -n 1)"
fi

# The user's own rules: warnings are errors, and the library's own targets must not be built.
$meson setup "$work/build" "$work/app" --werror
if $meson introspect --targets "$work/build" | grep -q 'test_main'; then
  echo "tests of the library are built in another project"
  exit 1
fi
$meson compile -C "$work/build"
"$work/build/app"
"$work/build/precompiled"

# Nothing of the library is installed with the project that embeds it.
if [ "$how" = subproject ]; then
  DESTDIR="$work/image" $meson install -C "$work/build"
  if find "$work/image" -name '*dpgather*' | grep .; then
    echo "the project installs files of the library"
    exit 1
  fi
fi
