#!/usr/bin/env bash
# Make the base of the cpu image: Debian 12 with its Python 3.11, from this machine's own apt sources.
#
#   containers/debian-base.sh OUT.sif
#
# No mirror is built in: the addresses are those that apt on this machine uses for Debian 12, and they are what the
# image's own sources.list names. Root on Debian 12 with apptainer and debootstrap. An existing OUT.sif is not touched.
# Exit codes: 0 made, 1 failed, 2 usage, 3 the machine lacks something.
set -euo pipefail
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
readonly SUITE=bookworm
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

stop() { # stop CODE WHAT WHY FIX
  printf 'what: %s\nwhy:  %s\nfix:  %s\n' "$2" "$3" "$4" >&2
  exit "$1"
}

[[ $# -eq 1 && $1 == *.sif ]] || stop 2 "arguments: '$*'" 'the one argument is the file to make' "$0 base.sif"
out=$(realpath -m -- "$1")
[[ ! -e $out ]] || stop 2 "$out exists" 'an image in use must not change under its users' "rm '$out', then $0 '$1'"
((EUID == 0)) || stop 3 'not root' 'debootstrap unpacks files with their real owners' "sudo $0 '$1'"
for program in apptainer debootstrap; do
  command -v "$program" >/dev/null || stop 3 "$program is not installed" 'it makes the image' "apt-get install $program"
done
[[ -r $KEYRING ]] || stop 3 "$KEYRING is absent" 'packages are proved by it' 'apt-get install debian-archive-keyring'

# shellcheck disable=SC2016  # the $(...) are fields that apt-get expands
sources=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
  awk -v s="$SUITE" '$1 == "Debian" && ($3 == s || $3 == s "-updates" || $3 == s "-security") {print $2, $3}' | sort -u)
[[ ! $sources =~ ://[^/[:space:]]*@ ]] || stop 3 'an apt source holds a user and password' \
  'it would be written into the image' 'move them to /etc/apt/auth.conf.d, then apt-get update'
mirror=$(awk -v s="$SUITE" '$2 == s {print $1; exit}' <<<"$sources")
[[ -n $mirror ]] || stop 3 "apt here has no package lists of Debian $SUITE" 'the mirror is read from them' \
  'apt-get update, on Debian 12'

work=$(mktemp -d)
trap 'rm -rf --one-file-system -- "$work"' EXIT
chmod 755 "$work"
debootstrap --variant=minbase --keyring="$KEYRING" "$SUITE" "$work/tree" "$mirror" >"$work/log" 2>&1 ||
  { tail -n 15 "$work/log" >&2; stop 1 'debootstrap failed' 'see the lines above' "see whether $mirror answers"; }
# A user namespace cannot make device nodes anew ("failed to Lchown"); Apptainer mounts its own /dev.
rm -rf -- "$work"/tree/dev/* "$work"/tree/var/cache/apt/archives/*.deb "$work"/tree/var/log/*.log
awk -v k="$KEYRING" '{printf "deb [signed-by=%s] %s %s main\n", k, $1, $2}' <<<"$sources" >"$work/tree/etc/apt/sources.list"
# Documents are left out, also of what is installed later; licences stay.
rm -rf -- "$work"/tree/usr/share/{man,info,locale,lintian}/*
find "$work/tree/usr/share/doc" -type f ! -name copyright -delete
printf 'path-exclude /usr/share/%s/*\n' man info locale lintian doc >"$work/tree/etc/dpkg/dpkg.cfg.d/slim"
printf 'path-include /usr/share/doc/*/copyright\n' >>"$work/tree/etc/dpkg/dpkg.cfg.d/slim"

# A proxy that inspects TLS is trusted while the base is made, by a file of its own that does not stay: a bundle bound
# over the image's would break an upgrade of ca-certificates.
certificates=/dev/null
[[ ! -r $CERTIFICATES ]] || certificates=$CERTIFICATES
cp -- "$certificates" "$work/host.crt"
cat >"$work/base.def" <<DEF
Bootstrap: localimage
From: $work/tree

%files
    $work/host.crt /usr/local/share/host.crt

%labels
    org.opencontainers.image.title debian-12-python-3.11
    org.opencontainers.image.version $SUITE

%environment
    export LC_ALL=C.UTF-8

%post
    set -eu
    export DEBIAN_FRONTEND=noninteractive
    trust='-o Acquire::https::CAInfo=/usr/local/share/host.crt'
    test -s /usr/local/share/host.crt || trust=
    apt-get \$trust update -qq
    apt-get \$trust upgrade -y -qq --no-install-recommends
    apt-get \$trust install -y -qq --no-install-recommends ca-certificates python3 python3-venv
    apt-get clean
    rm -rf /var/lib/apt/lists/* /usr/local/share/host.crt

%test
    python3 -c 'import ensurepip, ssl, sqlite3, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))'
DEF
# Without NO_MOUNT the temporary directory of this machine is writable in %post.
APPTAINER_NO_MOUNT=tmp APPTAINER_TMPDIR=$work \
  apptainer build --force --fakeroot "$work/base.sif" "$work/base.def" >"$work/log" 2>&1 ||
  { tail -n 15 "$work/log" >&2; stop 1 'apptainer build failed' 'see the lines above' "correct that, then $0 '$1'"; }
mkdir -p -- "$(dirname -- "$out")"
mv -- "$work/base.sif" "$out.part"
mv -- "$out.part" "$out"
echo "$out: $(stat -c %s -- "$out") bytes, sha256:$(sha256sum <"$out" | cut -c1-64)"
