#!/bin/sh
# Installs the agent of Saker on this host, or brings it to another version. Rendered by hbs:
#   curl -fsSL @HBS@/install.sh | sudo sh
#   curl -fsSL @HBS@/install.sh | sudo sh -s -- --help
# All of it is in functions and the last line calls them, so a download that was cut does nothing.
set -eu

usage() {
  cat <<'TEXT'
Usage: install.sh [flags]

Installs the Saker agent from the hbs that this script came from, and starts it. Run again, it installs what is newer
there and leaves the configuration alone; with nothing newer it changes nothing.

  --hbs URL        hbs of the agent (default: where this script came from); may be given several times
  --transfer URL   transfer of the agent (default: the same host, port 6060); may be given several times
  --endpoint NAME  name of this host in its samples (default: its host name)
  --label K=V      label on every sample; may be given several times
  --no-start       install, but start nothing
  --root DIR       install below DIR, for images; starts nothing and adds no user
  --dry-run        say what would be done
  --uninstall      stop and remove the agent; configuration and data stay
  --help           this text

Exit codes: 0 done, 1 failed (nothing was changed if it was the download), 64 wrong flags, 69 hbs cannot be reached,
  77 not root.
TEXT
}

say() { printf 'saker: %s\n' "$*"; }
die() { code=$1; shift; printf 'saker: %s\n' "$*" >&2; exit "$code"; }

# Digests of what hbs has, one `<architecture> <SHA-256>` a line.
digests() {
  cat <<'TEXT'
@DIGESTS@
TEXT
}

# The values end up between quotes in a TOML file.
plain() {
  case $2 in
    '' | *[!]0-9A-Za-z._:/=@%+[-]*) die 64 "$1 has characters that are not allowed: $2" ;;
  esac
}

fetch() {
  if command -v curl >/dev/null; then
    curl -fsSL --connect-timeout 10 --max-time 600 -o "$2" "$1" || return 1
  else
    wget -q -T 60 -O "$2" "$1" || return 1
  fi
}

quoted_list() {
  list=
  for item in "$@"; do list="$list${list:+, }\"$item\""; done
  printf '[%s]' "$list"
}

config() {
  echo "# Written by install.sh of $origin. Every key: agent.example.toml, or saker-agent --help."
  [ -z "$endpoint" ] || echo "endpoint = \"$endpoint\""
  if [ -n "$labels" ]; then
    echo; echo "[labels]"
    for label in $labels; do echo "\"${label%%=*}\" = \"${label#*=}\""; done
  fi
  echo; echo "[transfer]"
  # shellcheck disable=SC2086 # a list of addresses without spaces
  echo "addresses = $(quoted_list $transfers)"
  echo; echo "[hbs]"
  # shellcheck disable=SC2086
  echo "addresses = $(quoted_list $addresses)"
}

has_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

uninstall() {
  say "removing the agent; /etc/saker, /var/lib/saker-agent and /opt/saker/agent stay"
  [ -z "$dry" ] || return 0
  if has_systemd; then systemctl disable --now saker-agent.service || true; fi
  rm -rf "$root/usr/lib/saker"
  rm -f "$root/usr/bin/saker-agent" "$root/lib/systemd/system/saker-agent.service"
  if has_systemd; then systemctl daemon-reload; fi
}

# A program that runs cannot be written to, but its name can be given to another file, in one step.
put() {
  mkdir -p "$root/$(dirname "$1")"
  cp -P "$work/files/$1" "$root/$1.new"
  mv -f "$root/$1.new" "$root/$1"
}

install_files() {
  mkdir -p "$work/files"
  tar -xzf "$work/archive" -C "$work/files" || die 1 "the archive cannot be unpacked; nothing was installed"
  for file in usr/lib/saker/saker-launcher usr/lib/saker/baseline/saker-agent usr/bin/saker-agent \
    lib/systemd/system/saker-agent.service usr/lib/saker/baseline/version; do
    [ -e "$work/files/$file" ] || [ -L "$work/files/$file" ] || die 1 "the archive has no $file"
    put "$file"
  done
  mkdir -p "$root/opt/saker/agent/versions" "$root/opt/saker/agent/downloads" "$root/etc/saker"
  if [ ! -e "$root/etc/saker/agent.toml" ]; then
    (umask 027; config >"$root/etc/saker/agent.toml.new")
    mv "$root/etc/saker/agent.toml.new" "$root/etc/saker/agent.toml"
    say "wrote /etc/saker/agent.toml"
  fi
  [ -z "$root" ] || return 0
  getent passwd saker-agent >/dev/null || useradd --system --user-group --home-dir /var/lib/saker-agent \
    --no-create-home --shell /usr/sbin/nologin saker-agent
  chown saker-agent:saker-agent /opt/saker/agent /opt/saker/agent/versions /opt/saker/agent/downloads
  chgrp saker-agent /etc/saker/agent.toml
}

start() {
  if [ -n "$nostart" ] || ! has_systemd; then
    say "installed; not started"
    return 0
  fi
  systemctl daemon-reload
  systemctl enable saker-agent.service
  systemctl restart saker-agent.service || die 1 "the agent does not start: see journalctl -u saker-agent"
  say "installed and started: saker-agent check, journalctl -u saker-agent"
}

main() {
  origin='@HBS@'
  addresses= transfers= endpoint= labels= nostart= root= dry= remove=
  while [ $# -gt 0 ]; do
    case $1 in
      --hbs | --transfer | --endpoint | --label | --root)
        [ $# -ge 2 ] || die 64 "$1 needs a value (see --help)"
        plain "$1" "$2"
        case $1 in
          --hbs) addresses="$addresses $2" ;;
          --transfer) transfers="$transfers $2" ;;
          --endpoint) endpoint=$2 ;;
          --label) case $2 in ?*=*) labels="$labels $2" ;; *) die 64 "--label is K=V, not $2" ;; esac ;;
          --root) root=${2%/} ;;
        esac
        shift 2 ;;
      --no-start) nostart=yes; shift ;;
      --dry-run) dry=yes; shift ;;
      --uninstall) remove=yes; shift ;;
      --help | -h) usage; exit 0 ;;
      *) die 64 "unknown flag $1 (see --help)" ;;
    esac
  done
  [ -n "$addresses" ] || addresses=$origin
  host=${origin#http://}
  case $host in *]) ;; *:*) host=${host%:*} ;; esac
  [ -n "$transfers" ] || transfers="http://$host:6060"
  [ -n "$root$dry" ] || [ "$(id -u)" = 0 ] || die 77 "run this as root: curl ... | sudo sh"
  if [ -z "$root" ] && command -v dpkg-query >/dev/null && dpkg-query -W saker-agent >/dev/null 2>&1; then
    die 1 "the agent is installed as a Debian package: use apt or dpkg for it"
  fi
  if [ -n "$remove" ]; then uninstall; exit 0; fi

  arch=$(uname -m)
  digest=$(digests | sed -n "s/^$arch //p")
  [ -n "$digest" ] || die 1 "hbs has no agent for $arch: put saker-agent_$arch.tar.gz and SHA256SUMS of \
scripts/package into the folder of hbs.upgrade.files"
  mark=$root/usr/lib/saker/archive.sha256
  if [ "$(cat "$mark" 2>/dev/null)" = "$digest" ] && [ -e "$root/etc/saker/agent.toml" ]; then
    say "this version is installed already; nothing was changed"
    exit 0
  fi
  if [ -n "$dry" ]; then
    say "would install the agent for $arch from $origin below ${root:-/}"
    [ -e "$root/etc/saker/agent.toml" ] || { say "with this /etc/saker/agent.toml:"; config; }
    exit 0
  fi
  for tool in tar sha256sum; do command -v $tool >/dev/null || die 1 "$tool is missing"; done
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  fetch "$origin/file/saker-agent_$arch.tar.gz" "$work/archive" ||
    die 69 "cannot fetch $origin/file/saker-agent_$arch.tar.gz; nothing was installed"
  found=$(sha256sum "$work/archive" | cut -d' ' -f1)
  [ "$found" = "$digest" ] || die 1 "the archive has SHA-256 $found, not $digest; nothing was installed"
  install_files
  start
  printf '%s\n' "$digest" >"$mark"
}

# Cut anywhere, this line is not shell: nothing runs.
{ main "$@"; exit; }
