# Sourced by examples/run, tests/run and bench/run. Installs the Debian packages that are missing and says so;
# without any missing it runs dpkg-query once and nothing else. Everything goes to stderr.

# What each command needs, as Debian names. `command:package` is also met by a command of another origin.
packages_to_build='c++:g++ meson:meson ninja:ninja-build pkg-config:pkg-config mpicxx:libopenmpi-dev mpirun:openmpi-bin'
packages_of_examples='libcli11-dev nlohmann-json3-dev libfmt-dev libeigen3-dev'
packages_of_plots='gnuplot:gnuplot-nox'
packages_of_benches='libbenchmark-dev libgloo-dev'
packages_of_tests='doctest-dev spin:spin'

# install_missing WANTED...: 0 if all is there in the end. Sets packages_installed to what it installed.
install_missing() {
  packages_installed=
  if ! command -v dpkg-query >/dev/null; then
    echo "Not a Debian system: please make sure that these are installed: $(package_names "$@")" >&2
    return 0
  fi
  local missing=() names=() wanted present
  for wanted in "$@"; do
    case $wanted in
      *:*) command -v "${wanted%%:*}" >/dev/null || missing+=("${wanted#*:}") ;;
      *) names+=("$wanted") ;;
    esac
  done
  if [ ${#names[@]} -gt 0 ]; then
    present=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' "${names[@]}" 2>/dev/null || true)"
    for wanted in "${names[@]}"; do
      [[ $present == *" installed=$wanted "* ]] || missing+=("$wanted")
    done
  fi
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "These packages are missing: ${missing[*]}" >&2
      echo "Neither root nor sudo is at hand. As root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing Debian packages: ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -qq >&2 || echo "apt-get update failed, going on with the lists at hand" >&2
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; then
    echo "Could not install: ${missing[*]}" >&2
    return 1
  fi
  packages_installed=${missing[*]}
}

package_names() {
  local wanted
  for wanted in "$@"; do echo -n "${wanted#*:} "; done
}

# configure BUILD OPTION...: sets the build folder up, or again after an installation. To stderr.
configure() {
  local build=$1
  shift
  if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" "$root" "$@" >&2
  elif [ -n "$packages_installed" ]; then
    meson setup --reconfigure "$build" "$root" "$@" >&2
  fi
}
