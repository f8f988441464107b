#!/usr/bin/env bash
# packages_test.sh PACKAGES_SH: install_missing on a pretended Debian, whose commands only write down their calls.
set -euo pipefail

packages_sh=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$work/bin
mkdir "$bin"
real_path=$PATH
bash=$BASH
env_command=$(command -v env)
failures=0

# pretend COMMAND BODY: a command that notes its call and runs BODY.
pretend() {
  printf '#!%s\necho "%s $*" >>"%s/calls"\n%s\n' "$bash" "$1" "$work" "$2" >"$bin/$1"
  PATH=$real_path chmod +x "$bin/$1"
}
reset() {
  rm -f "$bin"/* "$work/calls"
  touch "$work/calls"
  ln -s "$env_command" "$bin/env"
  pretend id 'echo 0'
  pretend dpkg-query 'echo -n "installed=here config-files=removed "; exit 1'
  pretend apt-get ''
  pretend sudo '"$@"'
  pretend tool ''
  rm -f "$work/calls" && touch "$work/calls"
}
# on PACKAGE...: runs install_missing; sets status, said (stderr) and calls.
on() {
  status=0
  PATH=$bin "$bash" -euo pipefail -c 'source "$1"; shift; install_missing "$@"; echo "installed: $packages_installed" >&2' \
    - "$packages_sh" "$@" 2>"$work/said" >"$work/out" || status=$?
  said=$(cat "$work/said")
  calls=$(grep -v '^id ' "$work/calls" || true)
}
expect() {
  if [[ $2 != $3 ]]; then
    echo "$1: expected '$3', got '$2'"
    failures=$((failures + 1))
  fi
}

reset
on here tool:package-of-tool
expect "nothing missing: status" "$status" 0
expect "nothing missing: silent" "$said" "installed: "
expect "nothing missing: only asks" "$calls" "dpkg-query -W -f* here"

reset
on tool:package-of-tool
expect "a command is enough" "$status$calls" 0

reset
on here gone no-tool:package-of-no-tool removed
expect "root: status" "$status" 0
expect "root: says what it installs" "$said" "*Installing Debian packages: package-of-no-tool gone removed*"
expect "root: tells its caller" "$said" "*installed: package-of-no-tool gone removed"
expect "root: updates first" "$calls" "dpkg-query*"$'\n'"apt-get update*"$'\n'"apt-get install -y*"
expect "root: installs only those" "$calls" "*--no-install-recommends package-of-no-tool gone removed"
[[ $calls != *sudo* ]] || expect "root: no sudo" "$calls" "no sudo"

reset
pretend id 'echo 1000'
on here gone
expect "user with sudo: status" "$status" 0
expect "user with sudo: both calls" "$calls" "*sudo apt-get update*sudo env DEBIAN_FRONTEND=noninteractive apt-get install*gone*"

reset
pretend id 'echo 1000'
rm "$bin/sudo"
on here gone
expect "user without sudo: status" "$status" 1
expect "user without sudo: says what to do" "$said" "*As root: apt-get install gone"
[[ $calls != *apt-get* ]] || expect "user without sudo: installs nothing" "$calls" "no apt-get"

reset
pretend apt-get '[[ $1 == update ]]'
on gone
expect "installation fails: status" "$status" 1
expect "installation fails: says so" "$said" "*Could not install: gone"

reset
pretend apt-get '[[ $1 == install ]]'
on gone
expect "lists cannot be fetched: goes on" "$status" 0

reset
rm "$bin/dpkg-query"
on gone no-tool:package-of-no-tool
expect "no Debian: status" "$status" 0
expect "no Debian: names what is needed" "$said" "Not a Debian system*gone package-of-no-tool*"
expect "no Debian: does nothing" "$calls" ""

echo "$failures failures"
exit $((failures > 0))
