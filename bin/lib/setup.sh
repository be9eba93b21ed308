# Shared by the scripts in bin/: finds what is missing on this machine, installs it or names it in one line.
# Sourced, not run.

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Runs a command as root, without ever asking for a password behind the user's back in CI.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "this needs root and there is no sudo: $*"
  fi
}

install_package() {
  if command -v apt-get >/dev/null; then
    say "installing $* with apt-get"
    as_root apt-get update -qq </dev/null >&2 &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
  elif command -v brew >/dev/null; then
    say "installing $* with Homebrew"
    brew install --quiet "$@" </dev/null >&2
  else
    return 1
  fi
}

# A program that a test needs, and the package that brings it: installed, never skipped.
need_program() {
  command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] && return
  install_package "$2" || fail "$1 is missing: install the package $2"
}

need_rust() {
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
  fi
  command -v cargo >/dev/null || fail "Rust is missing: install it as https://rustup.rs says, then run this again"
  command -v cc >/dev/null || fail "a C compiler is missing: apt-get install build-essential, or xcode-select --install"
}

# The directory of the newest usable PostgreSQL server, looked for as src/sandbox/binaries.rs does.
find_postgres() {
  local directory
  for directory in \
    ${COUNTERFOIL_PG_BIN:+"$COUNTERFOIL_PG_BIN"} \
    "$(pg_config --bindir 2>/dev/null)" \
    $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) \
    $(ls -d /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin 2>/dev/null | sort -rV) \
    "$(dirname "$(command -v postgres 2>/dev/null || echo /nowhere/postgres)")"
  do
    [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ] || continue
    [ "$("$directory/postgres" --version | sed -E 's/.*\(PostgreSQL\) ([0-9]+).*/\1/')" -ge 15 ] || continue
    printf '%s\n' "$directory"
    return 0
  done
  return 1
}

need_postgres() {
  find_postgres >/dev/null && return
  if command -v brew >/dev/null; then
    install_package postgresql@17 || true
  else
    install_package postgresql || true
    # Older distributions bring an older server, and the script that knows where newer ones are.
    local repository=/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh
    if ! find_postgres >/dev/null && [ -x "$repository" ]; then
      as_root "$repository" -y </dev/null >&2 && install_package postgresql-17 || true
    fi
  fi
  find_postgres >/dev/null ||
    fail "PostgreSQL 15 or newer is missing: install its server, or set COUNTERFOIL_PG_BIN to the directory of initdb and postgres"
}
