#!/usr/bin/env bash
# sysroot.sh DIR VERSION: Debian's Python VERSION and C library for arm64, unpacked into DIR; needs neither root nor chroot.
# Returns 3 if this system's sources do not offer that version for arm64.
set -euo pipefail
root=$1
version=$2
apt=$root.apt
packages="libc6 libgcc-s1 libstdc++6 libgomp1 python$version-minimal libpython$version-stdlib libpython$version-dev"
rm -rf "$root" "$apt"
mkdir -p "$apt"/state/lists/partial "$apt"/cache/archives/partial "$apt"/etc/{apt.conf.d,preferences.d,sources.list.d,trusted.gpg.d} "$root"
: > "$apt/state/status"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do # the mirrors that this machine uses
    [ -f "$list" ] && cp "$list" "$apt/etc/sources.list.d/"
done
cp /etc/apt/trusted.gpg.d/* "$apt/etc/trusted.gpg.d/" 2>/dev/null || true
cp /etc/apt/apt.conf.d/*proxy* "$apt/etc/apt.conf.d/" 2>/dev/null || true
cat > "$apt/apt.conf" <<CONF
APT::Architecture "arm64"; APT::Architectures { "arm64"; };
Dir::State "$apt/state"; Dir::State::status "$apt/state/status"; Dir::Cache "$apt/cache"; Dir::Etc "$apt/etc";
Acquire::Languages "none"; APT::Install-Recommends "false"; APT::Sandbox::User "root"; Acquire::Retries "3";
CONF
export APT_CONFIG="$apt/apt.conf"
apt-get -qq update || true # other sources than Debian's may have nothing for arm64
apt-cache show "python$version-minimal" >/dev/null 2>&1 || {
    echo "sysroot: this system's package sources offer no Python $version for arm64" >&2
    exit 3
}
apt-get -qq -y --download-only install $packages >/dev/null
for deb in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$root"; done
for dir in lib bin sbin; do # /lib and /usr/lib as one, so that a single prefix serves
    if [ -d "$root/$dir" ] && [ ! -L "$root/$dir" ]; then
        mkdir -p "$root/usr/$dir"
        cp -a "$root/$dir/." "$root/usr/$dir/"
        rm -rf "${root:?}/$dir"
    fi
    [ -e "$root/$dir" ] || ln -s "usr/$dir" "$root/$dir"
done
touch "$root/.python$version"
